"""Operators' actions on a shard: cut the day, release or discard what is parked, move the clock.

They run in the scheduler, between two turns, and are answered when durable. What an operator
names wrongly (a date, an address) is answered, never a failure.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine import dates, parking
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState
from engine.kind import Discarded, Keeping, KeptError
from engine.message import Envelope, StoredEnvelope, Unreadable
from engine.parking import ParkedId
from storage.row import DATES

if TYPE_CHECKING:
    from engine.stage import Stage

RELEASED_AT_ONCE: Final = 100
"""Parked messages that one `ReleaseParked` gives their turns: other work goes on in between."""

_UNREADABLE: Final = "start a program that can read it; release this"

_encode = msgspec.msgpack.Encoder().encode


class ReleaseParked(Struct, frozen=True):
    """Give parked messages of an actor their turns again, first in, first out, up to a hundred.

    It ends at the first that fails again; later ones stay behind it. With `only` it is that one
    alone, if it is the first.
    """

    address: str
    only: ParkedId | None = None


class DiscardParked(Struct, frozen=True):
    """Give the first parked message of an actor up, as its kind says (`ActorKind.discards`).

    With `only` it is that one, or none: repeated, it drops nothing more.
    """

    address: str
    only: ParkedId | None = None


class ParkedLeft(Struct, frozen=True):
    """The answer to both: how many were taken off, how many are left, and why the first is.

    Attributes:
        error: what its turn has failed with, or why it is not given up.
        code: why it is not given up, for programs (`engine.kind.Keeping`); else empty.
    """

    address: str
    taken: int
    left: int
    error: str = ""
    code: str = ""


class ParkedNotFirst(Struct, frozen=True):
    """The answer where one was named that is not the first of its actor, or not parked any
    more; nothing happened. `left` are parked."""

    address: str
    left: int


class MoveClock(Struct, frozen=True):
    """Move a domain clock to `to_ns`, durably; timers that are due by then fire afterwards."""

    to_ns: int


class ClockMoved(Struct, frozen=True):
    """The answer: where the clock stands."""

    now_ns: int


Control = CutDay | ReleaseParked | DiscardParked | MoveClock


def run_control(stage: Stage, control: Control) -> Struct:
    """Run one action and return its answer; its effects are in the shard's batch."""
    if isinstance(control, CutDay):
        return _cut_day(stage, control.business_date)
    if isinstance(control, MoveClock):
        stage.clock.advance_to(control.to_ns)
        stage.batch.forced = True
        return ClockMoved(stage.clock.now_ns())
    only, address = control.only, control.address
    if only is not None and not _is_first(stage, address, only):
        return ParkedNotFirst(address, stage.parking.by_actor[address])
    if isinstance(control, ReleaseParked):
        return _release(stage, address, RELEASED_AT_ONCE if only is None else 1)
    return _discard(stage, address)


def closed_date(stage: Stage, business_date: str) -> ClosedDate | None:
    """Return the row of a date that was cut, as of the turns merged so far."""
    if not dates.is_date(business_date):
        return None
    key = business_date.encode("ascii")
    for batch in (stage.batch, stage.committing):
        payload = batch.dates.get(key) if batch else None
        if payload is not None:
            return dates.open_date(key, payload)
    payload = stage.snapshot().get(DATES, key)
    return None if payload is None else dates.open_date(key, payload)


def _cut_day(stage: Stage, business_date: str) -> ClosedDate | DateNotOpen:
    if business_date != stage.business_date:
        earlier = closed_date(stage, business_date)
        return earlier or DateNotOpen(business_date, stage.business_date)
    stage.business_date = dates.day_after(business_date)
    cut = ClosedDate(
        business_date, DateState.CLOSING, stage.business_date, stage.clock.now_ns(), 0, {}
    )
    stage.batch.dates[business_date.encode("ascii")] = _encode(cut)
    stage.closing.add(business_date)
    stage.closable = True
    if stage.under_way():
        return cut
    close_dates(stage)
    closed = closed_date(stage, business_date)
    assert closed is not None
    return closed


def close_dates(stage: Stage) -> None:
    """Close the dates that were cut and of which nothing is parked; no message is under way.

    With several shards a date is closed once nothing of it is under way in any (`engine.links`).
    """
    stage.closable = False
    links = stage.links
    for business_date in sorted(stage.closing - stage.parking.by_date.keys()):
        if links is not None and not links.quiet(stage.batch, business_date):
            continue
        date = closed_date(stage, business_date)
        assert date is not None, f"{business_date} is closing and was never cut"
        sums = stage.books.close(business_date)
        if links is not None:
            links.close(stage.batch, business_date)
        closed = replace(
            date,
            state=DateState.CLOSED,
            closed_ns=stage.clock.now_ns(),
            sums={each.currency: each.postings_minor for each in sums},
            crossed={
                each.currency: crossed
                for each in sums
                if (crossed := each.sent_minor - each.received_minor)
            },
        )
        stage.batch.dates[business_date.encode("ascii")] = _encode(closed)
        stage.closing.remove(business_date)


def _release(stage: Stage, address: str, limit: int) -> ParkedLeft:
    taken = 0
    for key, row in _parked(stage, address, limit):
        envelope = stage.kinds.opened(row)
        error = stage.try_turn(envelope)
        if error is not None:
            again = replace(row, attempts=row.attempts + 1)
            stage.batch.parked[key] = parking.failed(again, error)
            return ParkedLeft(address, taken, stage.parking.by_actor[address], error)
        _unpark(stage, key, row, envelope)
        taken += 1
    return ParkedLeft(address, taken, stage.parking.by_actor[address])


def _discard(stage: Stage, address: str) -> ParkedLeft:
    first = next(iter(_parked(stage, address, 1)), None)
    if first is None:
        return ParkedLeft(address, 0, 0)
    key, row = first
    envelope = stage.kinds.opened(row)
    left = stage.parking.by_actor[address]
    if type(envelope.body) is Unreadable:
        return _kept(address, left, Keeping.UNREADABLE, _UNREADABLE)
    try:
        error = stage.try_turn(replace(envelope, body=Discarded(envelope.body)))
    except KeptError as kept:
        return _kept(address, left, Keeping.RELEASE_ONLY, str(kept))
    if error is not None:
        return ParkedLeft(address, 0, left, error)
    _unpark(stage, key, row, envelope)
    return ParkedLeft(address, 1, stage.parking.by_actor[address])


def _kept(address: str, left: int, code: Keeping, why: str) -> ParkedLeft:
    return ParkedLeft(address, 0, left, f"{code}: {why}", str(code))


def _is_first(stage: Stage, address: str, only: ParkedId) -> bool:
    return any(only == parking.parked_id(*each) for each in _parked(stage, address, 1))


def _parked(stage: Stage, address: str, limit: int) -> list[tuple[bytes, StoredEnvelope]]:
    if address not in stage.parking.by_actor:
        return []
    overlays = [batch.parked for batch in (stage.committing, stage.batch) if batch]
    return list(islice(parking.parked(stage.snapshot(), overlays, address), limit))


def _unpark(stage: Stage, key: bytes, row: StoredEnvelope, envelope: Envelope) -> None:
    stage.batch.parked[key] = None
    stage.books.take(envelope)
    stage.parking.remove(row)
    # The turn may have sent messages of the same date: it is closed once they are through.
    stage.closable = stage.closable or row.business_date in stage.closing
