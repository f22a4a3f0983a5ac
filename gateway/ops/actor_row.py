"""The row of one actor: all that the engine knows of it, durable and not, side by side."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from actors.answers import instant
from actors.hold import HOLDS, Hold
from actors.kinds import ACCOUNT
from engine.address import NUMBER_PATTERN, AddressError, row_key
from engine.history import TurnTaken
from engine.inspection import Inspection, inspect
from gateway.answer import Answer, failed
from gateway.errors import RequestCode, problem
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.masking import Eyes, Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.row import RECORDS
from storage.store import Snapshot

HOLDS_MAX: Final = 50
HOLDS_READ_MAX: Final = 500
"""Holds lie by their names, open ones among ended ones: so many are looked through."""
_OPEN: Final = frozenset({"HELD", "PARTIALLY_CAPTURED"})


class GetActor(Struct, frozen=True, forbid_unknown_fields=True):
    """Which actor.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    kind: Annotated[str, Meta(pattern=r"^[a-z]{1,32}$(?!\n)")]
    number: Annotated[str, Meta(pattern=NUMBER_PATTERN + r"(?!\n)")]
    reason: Reason | None = None


class MailboxView(Struct, frozen=True):
    """What waits for its turn.

    Attributes:
        head: type of the next one, empty where there is none.
        head_age_s: how long ago the command behind it was admitted; null where nobody waits for it.
    """

    depth: int
    head: str
    head_age_s: float | None


class WaitsForView(Struct, frozen=True):
    """What the actor waits for (`engine.inspection.WaitsFor`)."""

    commit: int
    chains: int
    messages: list[str]
    operator: bool


class TurnView(Struct, frozen=True):
    """A turn that was taken.

    Attributes:
        at: when it began.
        message: type of what was handled.
        outcome: `ok`, or the exception that undid it.
        sequence: the commit that holds its effects.
    """

    at: str
    duration_us: float
    message: str
    outcome: str
    sequence: int
    durable: bool


class TimerView(Struct, frozen=True):
    """A timer as of the last turn."""

    due_at: str
    name: str
    message: str


class HoldView(Struct, frozen=True):
    """An open hold as of the last commit."""

    merchant_no: str
    hold_no: str
    state: str
    amount_minor: int
    captured_minor: int
    placed_at: str
    expires_at: str


class ParkedView(Struct, frozen=True):
    """A message of the actor's that waits for an operator."""

    sender: str
    message: str
    business_date: str
    amount_minor: int
    currency: str
    attempts: int
    error: str


class PostingView(Struct, frozen=True):
    """A durable posting of the actor's."""

    sequence: int
    business_date: str
    amount_minor: int
    currency: str
    balance_after_minor: int
    reference: str


class ActorView(Struct, frozen=True, tag_field="object", tag="actor"):
    """One actor, as of one moment between two slices.

    Attributes:
        live: it is in memory.
        masked: personal data is masked.
        confirmed, speculative: its state as of the last commit and as of its last turn, by the
            names of its fields; null while it does not exist there.
        staged_seq: the commit that holds its newest change since it was activated, 0 for none.
        durable_seq: the newest commit of its shard; what `staged_seq` is not beyond is durable.
        turns: its last ones that the shard's ring still holds, newest first.
        holds: open ones; `holds_complete` says whether these are all, as `timers_complete` does.
        dead_letters: the first of `dead_letters_count`.
        postings: the newest first.
    """

    address: str
    shard: int
    live: bool
    masked: bool
    confirmed: dict[str, Any] | None
    speculative: dict[str, Any] | None
    staged_seq: int
    durable_seq: int
    mailbox: MailboxView
    waits_for: WaitsForView
    turns: list[TurnView]
    timers: list[TimerView]
    timers_complete: bool
    holds: list[HoldView]
    holds_complete: bool
    dead_letters: list[ParkedView]
    dead_letters_count: int
    postings: list[PostingView]


async def get_actor(desk: OpsDesk, visitor: Visitor, asked: GetActor) -> Answer:
    """Return one actor: states, mailbox, last turns, what it waits for, timers, holds, postings."""
    eyes = eyes_of(visitor, asked.reason)
    address = f"{asked.kind}/{asked.number}"
    shard = desk.node.shard_of(address)
    try:
        seen = inspect(shard, address)
    except AddressError:
        return failed(problem(RequestCode.NOT_FOUND, f"there are no actors of kind {asked.kind}"))
    holds, complete = _holds(shard.store.snapshot(), address)
    if not (seen.live or seen.confirmed is not None or seen.mailbox.depth or seen.parked_count):
        return failed(problem(RequestCode.NOT_FOUND, "there is no actor of this address"))
    return Answer(200, _view(seen, shard.stage.number, eyes, holds, complete))


def _holds(snapshot: Snapshot, address: str) -> tuple[list[tuple[str, Hold]], bool]:
    """Return an account's open holds by name, and whether these are all."""
    if not address.startswith(f"{ACCOUNT.name}/"):
        snapshot.close()
        return [], True
    prefix = row_key(address) + HOLDS.prefix
    found: list[tuple[str, Hold]] = []
    try:
        rows = snapshot.scan(RECORDS, prefix, prefix + b"\xff")
        for key, payload in islice(rows, HOLDS_READ_MAX):
            hold = HOLDS.decode(payload)
            if hold.state in _OPEN:
                found.append((key[len(prefix) :].decode("ascii"), hold))
            if len(found) == HOLDS_MAX:
                return found, False
        return found, next(rows, None) is None
    finally:
        snapshot.close()


def _view(
    seen: Inspection, shard: int, eyes: Eyes, holds: list[tuple[str, Hold]], complete: bool
) -> ActorView:
    own = seen.address
    of_account = own.startswith(f"{ACCOUNT.name}/")

    def reference(text: str) -> str:
        # A merchant's refer to its own orders; an account's say with whom it deals.
        return eyes.text(text) if of_account else text

    return ActorView(
        own,
        shard,
        seen.live,
        not eyes.all,
        eyes.state(seen.confirmed),
        eyes.state(seen.speculative),
        seen.staged_seq,
        seen.durable_seq,
        MailboxView(seen.mailbox.depth, seen.mailbox.head, seen.mailbox.head_age_s),
        WaitsForView(
            seen.waits_for.commit,
            seen.waits_for.chains,
            [eyes.address(each, own) for each in seen.waits_for.messages],
            seen.waits_for.operator,
        ),
        list(_turns(seen.turns, seen.durable_seq)),
        [
            TimerView(instant(each.due_ns), reference(each.name), each.message)
            for each in seen.timers
        ],
        seen.timers_complete,
        [
            HoldView(
                eyes.text(hold.merchant_no),
                eyes.text(hold.hold_no),
                hold.state,
                hold.amount_minor,
                hold.captured_minor,
                instant(hold.placed_ns),
                instant(hold.expires_at_ns),
            )
            for _, hold in holds
        ],
        complete,
        [
            ParkedView(
                eyes.address(each.sender, own),
                each.message,
                each.business_date,
                each.amount_minor,
                each.currency,
                each.attempts,
                eyes.error(each.error),
            )
            for each in seen.parked
        ],
        seen.parked_count,
        [
            PostingView(
                each.sequence,
                each.posting.business_date,
                each.posting.amount_minor,
                each.posting.currency,
                each.posting.balance_after_minor,
                reference(each.posting.reference),
            )
            for each in seen.postings
        ],
    )


def _turns(turns: list[TurnTaken], durable_seq: int) -> Iterator[TurnView]:
    began = time.time_ns() - time.perf_counter_ns()
    """What has to be added to a turn's own clock for the time of day."""
    for turn in turns:
        yield TurnView(
            instant(turn.begun_ns + began),
            turn.duration_ns / 1e3,
            turn.message,
            turn.outcome,
            turn.sequence,
            turn.sequence <= durable_seq,
        )


ROWS: Final = (read("/ops/actors/{kind}/{number}", GetActor, get_actor, Right.LOOK, ActorView),)
