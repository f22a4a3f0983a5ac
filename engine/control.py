"""Operators' actions on a shard: cut the day, release or discard what is parked.

They run in the scheduler, between two chains of messages, and are answered when durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine import dates
from engine.address import row_key
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState
from engine.message import Envelope, StoredEnvelope
from engine.parking import decode_stored
from storage.row import DATES, PARKED

if TYPE_CHECKING:
    from engine.stage import Stage

_encode = msgspec.msgpack.Encoder().encode


class ReleaseParked(Struct, frozen=True):
    """Give the parked messages of an actor their turns again, first in, first out."""

    address: str


class DiscardParked(Struct, frozen=True):
    """Drop the first parked message of an actor; money in it goes to a suspense account."""

    address: str


class ParkedLeft(Struct, frozen=True):
    """The answer to both: how many were taken off, how many are left, and why the first is."""

    address: str
    taken: int
    left: int
    error: str = ""


Control = CutDay | ReleaseParked | DiscardParked


def run_control(stage: Stage, control: Control) -> Struct:
    """Run one action and return its answer; its effects are in the shard's batch."""
    if isinstance(control, CutDay):
        return _cut_day(stage, control.business_date)
    if isinstance(control, ReleaseParked):
        return _release(stage, control.address)
    return _discard(stage, control.address)


def closed_date(stage: Stage, business_date: str) -> ClosedDate | None:
    """Return the row of a date that was cut, as of the turns merged so far."""
    key = business_date.encode("ascii", "replace")
    for batch in (stage.batch, stage.committing):
        payload = batch.dates.get(key) if batch else None
        if payload is not None:
            return dates.decode_closed(payload)
    payload = stage.snapshot().get(DATES, key)
    return None if payload is None else dates.decode_closed(payload)


def _cut_day(stage: Stage, business_date: str) -> ClosedDate | DateNotOpen:
    if business_date != stage.business_date:
        earlier = closed_date(stage, business_date)
        return earlier or DateNotOpen(business_date, stage.business_date)
    stage.business_date = dates.day_after(business_date)
    cut = ClosedDate(
        business_date, DateState.CLOSING, stage.business_date, stage.clock.now_ns(), 0, {}
    )
    return _close_if_done(stage, cut)


def _close_if_done(stage: Stage, date: ClosedDate) -> ClosedDate:
    """Close a date that was cut once nothing of it is parked; chains are over at this point."""
    if date.business_date not in stage.parking.by_date:
        date = replace(
            date,
            state=DateState.CLOSED,
            closed_ns=stage.clock.now_ns(),
            sums=stage.books.close(date.business_date),
        )
    stage.batch.dates[date.business_date.encode("ascii")] = _encode(date)
    return date


def _parked(stage: Stage, address: str) -> list[tuple[bytes, StoredEnvelope]]:
    start = row_key(address) + b"\0"
    rows = dict(stage.snapshot().scan(PARKED, start, start + b"\xff" * 9))
    for batch in (stage.committing, stage.batch):
        for key, payload in batch.parked.items() if batch else ():
            if key.startswith(start):
                if payload is None:
                    rows.pop(key, None)
                else:
                    rows[key] = payload
    return [(key, decode_stored(rows[key])) for key in sorted(rows)]


def _release(stage: Stage, address: str) -> ParkedLeft:
    taken = 0
    for key, row in _parked(stage, address):
        envelope = _envelope(stage, row)
        error = stage.try_turn(envelope)
        if error is not None:
            stage.batch.parked[key] = _encode(
                replace(row, attempts=row.attempts + 1, error=error[:500])
            )
            return ParkedLeft(address, taken, stage.parking.by_actor[address], error)
        _unpark(stage, key, row, envelope)
        taken += 1
    return ParkedLeft(address, taken, stage.parking.by_actor[address])


def _discard(stage: Stage, address: str) -> ParkedLeft:
    parked = _parked(stage, address)
    if not parked:
        return ParkedLeft(address, 0, 0)
    key, row = parked[0]
    envelope = _envelope(stage, row)
    if row.amount_minor:
        to, body = stage.kinds.suspend(row.currency, f"{row.sender}->{row.to}")
        suspended = replace(envelope, to=to, body=body, token=None)
        error = stage.try_turn(suspended)
        if error is not None:
            return ParkedLeft(address, 0, len(parked), error)
    _unpark(stage, key, row, envelope)
    return ParkedLeft(address, 1, len(parked) - 1)


def _envelope(stage: Stage, row: StoredEnvelope) -> Envelope:
    return Envelope(
        row.to,
        row.sender,
        stage.kinds.of(row.to).decode_body(row.body),
        row.business_date,
        row.token,
        row.amount_minor,
        row.currency,
    )


def _unpark(stage: Stage, key: bytes, row: StoredEnvelope, envelope: Envelope) -> None:
    stage.batch.parked[key] = None
    stage.books.take(envelope)
    stage.parking.remove(row)
    if row.business_date != stage.business_date:
        date = closed_date(stage, row.business_date)
        if date is not None and date.state is DateState.CLOSING:
            _close_if_done(stage, date)
