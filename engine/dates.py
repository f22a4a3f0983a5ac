"""Business dates: which one new commands are stamped with, and how a date is closed."""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from storage.errors import CorruptRowError
from storage.row import DATES
from storage.store import Snapshot


class DateState(StrEnum):
    """Where a business date stands."""

    OPEN = "OPEN"
    CLOSING = "CLOSING"
    """New commands carry the next date; something of this one is under way or parked."""
    CLOSED = "CLOSED"
    """Nothing of this date is under way, and its postings come out to zero by themselves."""


class ClosedDate(Struct, array_like=True, frozen=True):
    """The row of a date that was cut, and the answer to `CutDay`.

    `sums` are the shard's posting sums of the date by currency, at its close; `crossed` is what it
    has sent to other shards of it less what it has received. The two add up to zero on each
    shard, and each of them over all shards. `closed_ns` is 0 while the date is still closing.
    """

    business_date: str
    state: DateState
    next_date: str
    cut_ns: int
    closed_ns: int
    sums: dict[str, int]
    crossed: dict[str, int] = {}


class CutDay(Struct, frozen=True):
    """Close `business_date` and go on with the day after it. Repeating it changes nothing."""

    business_date: str


class DateNotOpen(Struct, frozen=True):
    """The date to cut is neither the current one nor one that was cut before."""

    business_date: str
    current: str


decode_closed = msgspec.msgpack.Decoder(ClosedDate).decode
_date_matches = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII).fullmatch


def is_date(text: str) -> bool:
    """Return whether the text has the form of a business date, which is also its row's key."""
    return _date_matches(text) is not None


def open_date(key: bytes, payload: bytes) -> ClosedDate:
    """Return the date in a row.

    Raises:
        CorruptRowError: the row is not a date that was cut.
    """
    try:
        return decode_closed(payload)
    except msgspec.DecodeError as error:
        raise CorruptRowError(DATES, key, str(error)) from error


def durable_date(snapshot: Snapshot, business_date: str) -> ClosedDate | None:
    """Return what is durable of a date that was cut, None if it was not."""
    if not is_date(business_date):
        return None
    key = business_date.encode("ascii")
    payload = snapshot.get(DATES, key)
    return None if payload is None else open_date(key, payload)


def merged(dates: Sequence[ClosedDate]) -> ClosedDate:
    """Return a date over all shards, given what each says of it: closed once it is everywhere."""
    closed = all(date.state is DateState.CLOSED for date in dates)
    sums: Counter[str] = Counter()
    crossed: Counter[str] = Counter()
    for date in dates:
        sums.update(date.sums)
        crossed.update(date.crossed)
    return ClosedDate(
        dates[0].business_date,
        DateState.CLOSED if closed else DateState.CLOSING,
        dates[0].next_date,
        min(date.cut_ns for date in dates),
        max(date.closed_ns for date in dates) if closed else 0,
        dict(sums) if closed else {},
        {currency: minor for currency, minor in crossed.items() if minor} if closed else {},
    )


def day_after(business_date: str) -> str:
    """Return the calendar day after an ISO 8601 date."""
    day = datetime.date.fromisoformat(business_date) + datetime.timedelta(days=1)
    return day.isoformat()
