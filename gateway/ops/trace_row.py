"""The row of a payment's trace: the turns that touched it, the commits they are in, its postings.

The commands about an order begin chains (`engine.history.Beginnings`), and the rings of all shards
hold the turns of these chains for as long as they hold any. What has been forgotten there is not
found again, and the trace says so; the payment itself is there for ever, and so are its postings,
which then are found from its payer (`gateway.ops.footprint`).
"""

import time
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Annotated, Final

import trio
from msgspec import Meta, Struct

from actors.answers import instant, instant_if
from actors.commands import CreatePayment
from actors.kinds import MERCHANT
from actors.messages import PaymentDebited
from actors.payment import PAYMENTS, Payment
from actors.refusal import Refusal
from engine.address import NUMBER_PATTERN
from engine.history import History, TurnTaken
from engine.node import Node
from engine.shard import Shard
from gateway.answer import Answer, failed
from gateway.errors import problem
from gateway.lookup import record_of
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.footprint import debit_of
from gateway.ops.masking import Eyes, Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.journal import Posting, open_commit, open_page, sequence_key
from storage.row import COMMITS, JOURNAL
from storage.store import Snapshot

_DEBITED: Final = frozenset({"SUCCEEDED", "REVERSED"})
"""States of a payment to which its payer's account has said yes."""

Number = Annotated[str, Meta(pattern=NUMBER_PATTERN + r"(?!\n)")]

COMMITS_MAX: Final = 50
"""Commits whose postings are looked through; a payment and its refunds have few."""
PAGES_AT_ONCE: Final = 25
"""Pages of a commit's postings that are read before others have their turn: a millisecond."""


class GetTrace(Struct, frozen=True, forbid_unknown_fields=True):
    """Of which payment.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    merchant_no: Number
    order_no: Number
    reason: Reason | None = None


class TracedTurn(Struct, frozen=True):
    """A turn of the payment's.

    Attributes:
        after_us: since the first turn of all that are known began.
        sequence: the commit of its shard that holds its effects.
    """

    at: str
    after_us: float
    duration_us: float
    shard: int
    address: str
    message: str
    outcome: str
    sequence: int
    durable: bool


class TracedCommit(Struct, frozen=True):
    """A commit that holds turns of the payment's.

    Attributes:
        at: when it was cut, by the shard's clock.
        commit_ns: how long it took; null where that has been forgotten.
    """

    shard: int
    sequence: int
    at: str
    commit_ns: int | None


class TracedPosting(Struct, frozen=True):
    """A posting of the payment's or its reversal's, on one of its accounts."""

    shard: int
    sequence: int
    account: str
    business_date: str
    amount_minor: int
    currency: str


class TraceView(Struct, frozen=True, tag_field="object", tag="trace"):
    """A payment's way through the node.

    Attributes:
        complete: its first turn is still known, and so are all that came after.
        turns: of the payment, of its reversal and of its refunds, in the order of time.
        postings: in the commits of these turns; where no ring remembers the debit, in the commit
            that holds it.
    """

    merchant_no: str
    order_no: str
    payer: str
    state: str
    amount_minor: int
    currency: str
    refunded_minor: int
    created_at: str
    settled_at: str | None
    masked: bool
    complete: bool
    turns: list[TracedTurn]
    commits: list[TracedCommit]
    postings: list[TracedPosting]


async def get_payment_trace(desk: OpsDesk, visitor: Visitor, asked: GetTrace) -> Answer:
    """Return the turns that touched a payment, with their times, commits and postings."""
    eyes = eyes_of(visitor, asked.reason)
    node, merchant = desk.node, f"{MERCHANT.name}/{asked.merchant_no}"
    payment = record_of(node, merchant, PAYMENTS, asked.order_no)
    if payment is None:
        return failed(problem(Refusal.NO_SUCH_PAYMENT))
    taken = _taken(node, merchant, asked.order_no)
    began = time.time_ns() - time.perf_counter_ns()
    turns = [
        TracedTurn(
            instant(turn.begun_ns + began),
            (turn.begun_ns - taken[0][1].begun_ns) / 1e3,
            turn.duration_ns / 1e3,
            shard.stage.number,
            eyes.address(turn.address),
            turn.message,
            turn.outcome,
            turn.sequence,
            turn.sequence <= shard.stage.durable_seq,
        )
        for shard, turn in taken
    ]
    rings = [shard.stage.history for shard in node.shards]
    complete = _is_complete(payment, [turn for _, turn in taken], rings)
    held = {(shard, turn.sequence) for shard, turn in taken}
    commits, postings = await _durable(held, asked)
    known = any(each.account == payment.payer for *_, each in postings)
    if payment.state in _DEBITED and not known:
        reference = f"payment/{asked.merchant_no}/{asked.order_no}"
        debit = await debit_of(node, payment.payer, reference)
        commits, postings = await _durable({*held, *filter(None, (debit,))}, asked)
    return Answer(200, _view(asked, payment, eyes, complete, turns, commits, postings))


def _view(
    asked: GetTrace,
    payment: Payment,
    eyes: Eyes,
    complete: bool,
    turns: list[TracedTurn],
    commits: list[TracedCommit],
    postings: list[tuple[int, int, Posting]],
) -> TraceView:
    return TraceView(
        asked.merchant_no,
        asked.order_no,
        eyes.account(payment.payer),
        payment.state,
        payment.amount_minor,
        payment.currency,
        payment.refunded_minor,
        instant(payment.created_ns),
        instant_if(payment.settled_ns),
        not eyes.all,
        complete,
        turns,
        commits,
        [
            TracedPosting(
                shard,
                sequence,
                # A merchant's ledger accounts are called by its address.
                each.account if "/" in each.account else eyes.account(each.account),
                each.business_date,
                each.amount_minor,
                each.currency,
            )
            for shard, sequence, each in postings
        ],
    )


def _is_complete(payment: Payment, turns: list[TurnTaken], rings: Iterable[History]) -> bool:
    """Return whether no ring can have forgotten a turn of a payment, its turns given in order."""
    known = {turn.message for turn in turns}
    begun_ns = next((each.begun_ns for each in turns if each.message == CreatePayment.__name__), 0)
    if not begun_ns:
        return False
    if payment.state in _DEBITED and PaymentDebited.__name__ not in known:
        return False  # what is known is a command that was repeated later
    # One shard may have forgotten what came later on it, while a quiet one has the first turn.
    return all(len(ring) < (ring.maxlen or 0) or ring[0][0] <= begun_ns for ring in rings)


def _taken(node: Node, merchant: str, order_no: str) -> list[tuple[Shard, TurnTaken]]:
    """Return the turns of the chains about an order, in the order of time."""
    tokens = node.shard_of(merchant).stage.beginnings.of(merchant, order_no)
    found = [(shard, turn) for shard in node.shards for turn in shard.stage.history.chains(tokens)]
    return sorted(found, key=lambda each: each[1].begun_ns)


async def _durable(
    held: set[tuple[Shard, int]], asked: GetTrace
) -> tuple[list[TracedCommit], list[tuple[int, int, Posting]]]:
    """Return those of some commits that are durable, and what was posted in them for the payment.

    A commit may hold thousands of payments' postings: others have their turn between its pages.
    """
    of_payment = {
        f"{what}/{asked.merchant_no}/{asked.order_no}" for what in ("payment", "reversal")
    }
    commits: list[TracedCommit] = []
    postings: list[tuple[int, int, Posting]] = []
    shards = {shard.stage.number: shard for shard, _ in held}
    for number, shard in sorted(shards.items()):
        sequences = sorted(sequence for on, sequence in held if on is shard)[:COMMITS_MAX]
        times = {each.sequence: each.total_ns for each in shard.vitals.recent}
        for sequence in sequences:
            key = sequence_key(sequence)
            with closing(shard.store.snapshot()) as snapshot:
                payload = snapshot.get(COMMITS, key)
            if payload is None:
                continue  # not durable yet
            commit = open_commit(key, payload)
            at = instant(commit.now_ns)
            commits.append(TracedCommit(number, sequence, at, times.get(sequence)))
            following, end = commit.posting_first, commit.posting_first + commit.postings
            while following < end:
                rows = _postings(shard.store.snapshot(), following, end)
                postings += ((number, *row) for row in rows if row[1].reference in of_payment)
                following = rows[-1][0] + 1 if rows else end
                await trio.lowlevel.checkpoint()
    return commits, postings


def _postings(snapshot: Snapshot, first: int, end: int) -> list[tuple[int, Posting]]:
    """Return what is on the next pages of a commit, which begin with its postings."""
    with closing(snapshot):
        pages = snapshot.scan(JOURNAL, sequence_key(first), sequence_key(end))
        return [row for page in islice(pages, PAGES_AT_ONCE) for row in open_page(*page)]


ROWS: Final = (
    read(
        "/ops/payments/{merchant_no}/{order_no}/trace",
        GetTrace,
        get_payment_trace,
        Right.LOOK,
        TraceView,
    ),
)
