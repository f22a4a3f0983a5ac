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
    from engine.shard import Shard

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


def run_control(shard: Shard, control: Control) -> Struct:
    """Run one action and return its answer; its effects are in the shard's batch."""
    if isinstance(control, CutDay):
        return _cut_day(shard, control.business_date)
    if isinstance(control, ReleaseParked):
        return _release(shard, control.address)
    return _discard(shard, control.address)


def closed_date(shard: Shard, business_date: str) -> ClosedDate | None:
    """Return the row of a date that was cut, as of the turns merged so far."""
    key = business_date.encode("ascii", "replace")
    for batch in (shard.batch, shard.committing):
        payload = batch.dates.get(key) if batch else None
        if payload is not None:
            return dates.decode_closed(payload)
    payload = shard.snapshot().get(DATES, key)
    return None if payload is None else dates.decode_closed(payload)


def _cut_day(shard: Shard, business_date: str) -> ClosedDate | DateNotOpen:
    if business_date != shard.business_date:
        earlier = closed_date(shard, business_date)
        return earlier or DateNotOpen(business_date, shard.business_date)
    shard.business_date = dates.day_after(business_date)
    cut = ClosedDate(
        business_date, DateState.CLOSING, shard.business_date, shard.clock.now_ns(), 0, {}
    )
    return _close_if_done(shard, cut)


def _close_if_done(shard: Shard, date: ClosedDate) -> ClosedDate:
    """Close a date that was cut once nothing of it is parked; chains are over at this point."""
    if date.business_date not in shard.parking.by_date:
        date = replace(
            date,
            state=DateState.CLOSED,
            closed_ns=shard.clock.now_ns(),
            sums=shard.books.close(date.business_date),
        )
    shard.batch.dates[date.business_date.encode("ascii")] = _encode(date)
    return date


def _parked(shard: Shard, address: str) -> list[tuple[bytes, StoredEnvelope]]:
    start = row_key(address) + b"\0"
    rows = dict(shard.snapshot().scan(PARKED, start, start + b"\xff" * 9))
    for batch in (shard.committing, shard.batch):
        for key, payload in batch.parked.items() if batch else ():
            if key.startswith(start):
                if payload is None:
                    rows.pop(key, None)
                else:
                    rows[key] = payload
    return [(key, decode_stored(rows[key])) for key in sorted(rows)]


def _release(shard: Shard, address: str) -> ParkedLeft:
    taken = 0
    for key, row in _parked(shard, address):
        envelope = _envelope(shard, row)
        error = shard.try_turn(envelope)
        if error is not None:
            shard.batch.parked[key] = _encode(
                replace(row, attempts=row.attempts + 1, error=error[:500])
            )
            return ParkedLeft(address, taken, shard.parking.by_actor[address], error)
        _unpark(shard, key, row, envelope)
        taken += 1
    return ParkedLeft(address, taken, shard.parking.by_actor[address])


def _discard(shard: Shard, address: str) -> ParkedLeft:
    parked = _parked(shard, address)
    if not parked:
        return ParkedLeft(address, 0, 0)
    key, row = parked[0]
    envelope = _envelope(shard, row)
    if row.amount_minor:
        to, body = shard.kinds.suspend(row.currency, f"{row.sender}->{row.to}")
        suspended = replace(envelope, to=to, body=body, token=None)
        error = shard.try_turn(suspended)
        if error is not None:
            return ParkedLeft(address, 0, len(parked), error)
    _unpark(shard, key, row, envelope)
    return ParkedLeft(address, 1, len(parked) - 1)


def _envelope(shard: Shard, row: StoredEnvelope) -> Envelope:
    return Envelope(
        row.to,
        row.sender,
        shard.kinds.of(row.to).decode_body(row.body),
        row.business_date,
        row.token,
        row.amount_minor,
        row.currency,
    )


def _unpark(shard: Shard, key: bytes, row: StoredEnvelope, envelope: Envelope) -> None:
    shard.batch.parked[key] = None
    shard.books.take(envelope)
    shard.parking.remove(row)
    if row.business_date != shard.business_date:
        date = closed_date(shard, row.business_date)
        if date is not None and date.state is DateState.CLOSING:
            _close_if_done(shard, date)
