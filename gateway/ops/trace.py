"""A trace: the turns that touched a payment or an authorization, the commits they are in, postings.

The commands about an order or a hold begin chains (`engine.history.Beginnings`), and the rings of
all shards hold the turns of these chains for as long as they hold any. What has been forgotten
there is not found again, and the trace says so; what was posted on the payer's account is found
from there (`gateway.ops.footprint`), that of captures and refunds too.
"""

import time
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Final

import trio
from msgspec import Struct

from actors import commands
from actors.answers import instant
from actors.kinds import MERCHANT
from actors.refund import REFUNDS, OriginalKind
from engine.history import History, Taken
from engine.node import Node
from engine.shard import Shard
from gateway.lookup import record_of
from gateway.ops.footprint import commits_with
from gateway.ops.masking import Eyes
from storage.journal import Posting, open_commit, open_page, sequence_key
from storage.row import COMMITS, JOURNAL
from storage.store import Snapshot

COMMITS_MAX: Final = 50
"""Commits whose postings are looked through; a payment and its refunds have few."""
PAGES_AT_ONCE: Final = 25
"""Pages of a commit's postings that are read before others have their turn: a millisecond."""
REFUNDS_AT_ONCE: Final = 50
"""Refunds that are looked up before others have their turn, likewise."""

_COMMANDS: Final[dict[OriginalKind, frozenset[type[Struct]]]] = {
    "payment": frozenset({commands.CreatePayment, commands.ReversePayment, commands.RefundPayment}),
    "authorization": frozenset(
        {
            commands.CreateAuthorization,
            commands.IncrementAuthorization,
            commands.CaptureAuthorization,
            commands.VoidAuthorization,
            commands.ReleaseAuthorization,
            commands.RefundAuthorization,
        }
    ),
}
"""What begins chains about either; an order and a hold of one merchant may have the same number."""
_OF_PAYMENT: Final = frozenset({"payment", "reversal", "unpaid"})
_OF_HOLD: Final = frozenset({"capture", "uncaptured"})
"""What postings are of, by the first word of their reference; the last of each is what a payer has
got back as an operator had given up an answer."""


class TracedTurn(Struct, frozen=True):
    """A turn of a chain's.

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
    """A commit that holds turns or postings.

    Attributes:
        at: when it was cut, by the shard's clock.
        commit_ns: how long it took; null where that has been forgotten.
    """

    shard: int
    sequence: int
    at: str
    commit_ns: int | None


class TracedPosting(Struct, frozen=True):
    """A posting on one of the accounts.

    Attributes:
        reference: what it is of: a payment, a reversal, a capture, a refund.
    """

    shard: int
    sequence: int
    account: str
    business_date: str
    amount_minor: int
    currency: str
    reference: str


class Original(Struct, frozen=True):
    """What is traced.

    Attributes:
        begins: the command that has begun it.
        agreed: the message by which its payer's account has said yes; None where it has not.
        debits: how many postings take money from its payer: of a payment one, of an authorization
            as many as it has captures.
    """

    kind: OriginalKind
    merchant_no: str
    number: str
    payer: str
    begins: type[Struct]
    agreed: type[Struct] | None
    debits: int

    @property
    def merchant(self) -> str:
        """The merchant's address."""
        return f"{MERCHANT.name}/{self.merchant_no}"


class Trace(Struct, frozen=True):
    """What was found, as somebody may see it.

    Attributes:
        complete: its first turn is still known, and so are all that came after.
    """

    complete: bool
    turns: list[TracedTurn]
    commits: list[TracedCommit]
    postings: list[TracedPosting]


async def trace(node: Node, original: Original, eyes: Eyes) -> Trace:
    """Return the way of a payment or an authorization through the node."""
    taken = _taken(node, original)
    rings = [shard.stage.history for shard in node.shards]
    complete = _is_complete(original, [turn for _, turn in taken], rings)
    held = {(shard, turn[5]) for shard, turn in taken}
    commits, postings = await _durable(node, held, original)
    there = [each for *_, each in postings if each.account == original.payer]
    if sum(each.amount_minor < 0 for each in there) < original.debits:
        more = await commits_with(
            node,
            original.payer,
            lambda reference: _belongs(node, original, reference),
            original.debits,
        )
        commits, postings = await _durable(node, held | more, original)
    return Trace(
        complete,
        _seen_turns(taken, eyes),
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
                each.reference,
            )
            for shard, sequence, each in postings
        ],
    )


def _seen_turns(taken: list[tuple[Shard, Taken]], eyes: Eyes) -> list[TracedTurn]:
    began = time.time_ns() - time.perf_counter_ns()
    return [
        TracedTurn(
            instant(begun_ns + began),
            (begun_ns - taken[0][1][0]) / 1e3,
            duration_ns / 1e3,
            shard.stage.number,
            eyes.address(address),
            message.__name__,
            outcome,
            sequence,
            sequence <= shard.stage.durable_seq,
        )
        for shard, (begun_ns, duration_ns, address, message, outcome, sequence, _) in taken
    ]


def _taken(node: Node, original: Original) -> list[tuple[Shard, Taken]]:
    """Return the turns of the chains about an original, in the order of time."""
    merchant = original.merchant
    beginnings = node.shard_of(merchant).stage.beginnings
    tokens = beginnings.of(merchant, original.number)
    found = [
        (shard, turn) for shard in node.shards for turn in shard.stage.history if turn[6] in tokens
    ]
    others = {each for kind, some in _COMMANDS.items() if kind != original.kind for each in some}
    strange = {turn[6] for _, turn in found if turn[2] == merchant and turn[3] in others}
    return sorted(
        (each for each in found if each[1][6] not in strange), key=lambda each: each[1][0]
    )


def _is_complete(original: Original, turns: list[Taken], rings: Iterable[History]) -> bool:
    """Return whether no ring can have forgotten a turn, those that are known given in order."""
    begun_ns = next((turn[0] for turn in turns if turn[3] is original.begins), 0)
    if not begun_ns:
        return False
    if original.agreed is not None and all(turn[3] is not original.agreed for turn in turns):
        return False  # what is known is a command that was repeated later
    # One shard may have forgotten what came later on it, while a quiet one has the first turn.
    return all(len(ring) < (ring.maxlen or 0) or ring[0][0] <= begun_ns for ring in rings)


def _may_belong(original: Original, reference: str) -> bool:
    """Return whether a posting may be of an original, by its reference alone; a refund's names no
    original."""
    merchant_no, number = original.merchant_no, original.number
    if reference.startswith(f"refund/{merchant_no}/"):
        return True
    what, _, of = reference.partition("/")
    if original.kind == "payment":
        return what in _OF_PAYMENT and of == f"{merchant_no}/{number}"
    return what in _OF_HOLD and of.startswith(f"{merchant_no}/{number}/")


def _belongs(node: Node, original: Original, reference: str) -> bool:
    """Return whether a posting is of an original."""
    if not _may_belong(original, reference):
        return False
    what, _, refund_no = reference.split("/", 2)
    if what != "refund":
        return True
    refund = record_of(node, original.merchant, REFUNDS, refund_no)
    return refund is not None and (refund.original_kind, refund.original) == (
        original.kind,
        original.number,
    )


async def _durable(
    node: Node, held: set[tuple[Shard, int]], original: Original
) -> tuple[list[TracedCommit], list[tuple[int, int, Posting]]]:
    """Return those of some commits that are durable, and what was posted in them for an original.

    A commit may hold thousands of payments' postings: others have their turn between its pages.
    """
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
                postings += (
                    (number, *row) for row in rows if _may_belong(original, row[1].reference)
                )
                following = rows[-1][0] + 1 if rows else end
                await trio.lowlevel.checkpoint()
    own = await _those_that_belong(node, original, {each.reference for *_, each in postings})
    return commits, [each for each in postings if each[2].reference in own]


async def _those_that_belong(node: Node, original: Original, references: set[str]) -> set[str]:
    own: set[str] = set()
    for number, reference in enumerate(sorted(references), 1):
        if _belongs(node, original, reference):
            own.add(reference)
        if number % REFUNDS_AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
    return own


def _postings(snapshot: Snapshot, first: int, end: int) -> list[tuple[int, Posting]]:
    """Return what is on the next pages of a commit, which begin with its postings."""
    with closing(snapshot):
        pages = snapshot.scan(JOURNAL, sequence_key(first), sequence_key(end))
        return [row for page in islice(pages, PAGES_AT_ONCE) for row in open_page(*page)]
