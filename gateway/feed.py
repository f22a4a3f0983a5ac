"""Feeds: a merchant's events by their sequence, and lists in the order of time made from them.

Events never change and never move, so a sequence is all the cursor that is needed: whoever keeps
it misses nothing and meets nothing twice. Each event lies in a page whose name follows from its
sequence; a time is found by halving, as events are in the order of time.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Set
from datetime import datetime
from itertools import islice
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from actors.answers import EventView, View
from actors.commands import Number
from actors.event import (
    EVENTS,
    PAGE_EVENTS,
    Event,
    EventType,
    open_events,
    page_name,
    tail_of,
    view_event,
)
from actors.kinds import MERCHANT
from actors.merchant import Merchant
from actors.refusal import Refusal
from engine.address import row_key
from engine.kind import RecordKind
from engine.node import Node
from gateway.answer import Answer, failed
from gateway.errors import RequestCode, RequestError, problem
from gateway.lookup import (
    Cursor,
    Limit,
    Page,
    opened_cursor,
    record_at,
    records_page,
    sealed_cursor,
    state_at,
)
from gateway.series import nanoseconds
from storage.errors import CorruptRowError
from storage.row import RECORDS
from storage.store import Snapshot

R = TypeVar("R", bound=Struct)

SCAN_MAX: Final = 1_000
"""Events that one page of a list looks at: 0.5 ms for those, and a look-up for each item."""

Instant = Annotated[datetime, Meta(tz=True)]

_TIME: Final = b"\0t"
"""Cursors of lists by time begin with it; no name of a record does."""


_FOREIGN: Final = "the cursor is not of this list"


class EventList(Struct, frozen=True, tag_field="object", tag="events"):
    """Events in their sequence; `newest` is the merchant's last one, 0 before the first."""

    items: list[EventView]
    newest: int


class _Feed:
    """One merchant's events as of a snapshot."""

    def __init__(self, snapshot: Snapshot, merchant_no: str, merchant: Merchant) -> None:
        self._snapshot = snapshot
        self._prefix = row_key(f"merchant/{merchant_no}") + b"\0" + EVENTS.tag
        self._merchant = merchant
        self.newest = merchant.events

    def after(self, sequence: int) -> Iterator[tuple[int, Event]]:
        """Yield `(sequence, event)` of those behind a sequence, in order."""
        for page in range(sequence // PAGE_EVENTS, self.newest // PAGE_EVENTS):
            for number, event in enumerate(self._page(page), page * PAGE_EVENTS + 1):
                if number > sequence:
                    yield number, event
        first, tail = tail_of(self._merchant)
        for number, event in enumerate(tail, first):
            if number > sequence:
                yield number, event

    def since(self, at_ns: int) -> int:
        """Return the sequence behind which every event is, at that time or later."""
        pages = self.newest // PAGE_EVENTS
        # The first page whose last event is late enough; none before it has any that is.
        page = bisect_left(range(pages), at_ns, key=lambda n: self._page(n)[-1].at_ns)
        first = page * PAGE_EVENTS
        events = self._page(page) if page < pages else tail_of(self._merchant)[1]
        return first + bisect_left(events, at_ns, key=lambda event: event.at_ns)

    def _page(self, number: int) -> list[Event]:
        key = self._prefix + page_name(number * PAGE_EVENTS + 1).encode("ascii")
        payload = self._snapshot.get(RECORDS, key)
        if payload is None:
            raise CorruptRowError(RECORDS, key, "a page of events is missing")
        try:
            return open_events(EVENTS.decode(payload).events, PAGE_EVENTS)
        except msgspec.DecodeError as error:
            raise CorruptRowError(RECORDS, key, str(error)) from error


def events_after(node: Node, merchant_no: str, after: int, limit: int) -> Answer:
    """Return up to `limit` of a merchant's events behind the sequence `after`."""
    found = event_list(node, merchant_no, after, limit)
    return failed(problem(Refusal.MERCHANT_NOT_FOUND)) if found is None else Answer(200, found)


def event_list(node: Node, merchant_no: str, after: int, limit: int) -> EventList | None:
    """Return up to `limit` of a merchant's events behind a sequence; None: no such merchant."""
    snapshot = node.snapshot(f"merchant/{merchant_no}")
    try:
        merchant = _merchant(snapshot, merchant_no)
        if merchant is None:
            return None
        items = [
            view_event(sequence, event, merchant.currency)
            for sequence, event in islice(
                _Feed(snapshot, merchant_no, merchant).after(after), limit
            )
        ]
    finally:
        snapshot.close()
    return EventList(items, merchant.events)


class Listed(Struct, frozen=True, forbid_unknown_fields=True):
    """A list of a merchant's things, in the order of their numbers or of their outcomes' times.

    `from` (included) and `to` (not) bound the time of the outcome; RFC 3339.
    """

    merchant_no: Number
    limit: Limit = 10
    cursor: Cursor | None = None
    order: Literal["number", "time"] = "number"
    from_: Instant | None = field(default=None, name="from")
    to: Instant | None = None


def list_records(
    node: Node,
    asked: Listed,
    kind: RecordKind[R],
    types: Set[EventType],
    view: Callable[[str, str, R], View],
) -> Answer:
    """Return one page of a merchant's records of a kind, as they stand now.

    By time, a page looks at a bounded number of events, so it may hold less than its limit,
    even nothing, and have a cursor all the same.

    Args:
        types: events of the records' outcomes: each record has at most one of these.
        view: makes an item from (merchant's number, name, record).

    Raises:
        RequestError: bounds without `order=time`, or a cursor of another list.
    """
    merchant_no = asked.merchant_no
    if asked.order == "number":
        if asked.cursor is not None and opened_cursor(asked.cursor).startswith(_TIME):
            raise RequestError(RequestCode.INVALID_REQUEST, _FOREIGN)
        if asked.from_ is not None or asked.to is not None:
            raise RequestError(RequestCode.INVALID_REQUEST, "`from` and `to` take `order=time`")
        return records_page(
            node,
            f"merchant/{merchant_no}",
            kind,
            lambda name, record: view(merchant_no, name, record),
            asked.limit,
            asked.cursor,
        )
    after = 0 if asked.cursor is None else _sequence(asked.cursor)
    snapshot = node.snapshot(f"merchant/{merchant_no}")
    try:
        merchant = _merchant(snapshot, merchant_no)
        if merchant is None:
            return Answer(200, Page([], None))
        feed = _Feed(snapshot, merchant_no, merchant)
        if asked.from_ is not None:
            after = max(after, feed.since(nanoseconds(asked.from_)))
        until_ns = None if asked.to is None else nanoseconds(asked.to)
        names, last = _names(feed, after, until_ns, types, asked.limit)
        items = [
            view(merchant_no, name, record_at(snapshot, f"merchant/{merchant_no}", kind, name))
            for name in names
        ]
    finally:
        snapshot.close()
    return Answer(200, Page(items, None if last is None else _cursor(last)))


def _names(
    feed: _Feed, after: int, until_ns: int | None, types: Set[EventType], limit: int
) -> tuple[list[str], int | None]:
    """Return the numbers that events of some types are about, and where to go on, if anywhere."""
    names: list[str] = []
    last = after
    for sequence, event in feed.after(after):
        if until_ns is not None and event.at_ns >= until_ns:
            break
        if sequence > after + SCAN_MAX:
            return names, last
        if event.type in types:
            if len(names) == limit:
                return names, last
            names.append(event.number)
        last = sequence
    return names, None


def _merchant(snapshot: Snapshot, merchant_no: str) -> Merchant | None:
    merchant: Merchant | None = state_at(snapshot, MERCHANT, merchant_no)
    return merchant


def _cursor(sequence: int) -> str:
    return sealed_cursor(_TIME + sequence.to_bytes(8, "big"))


def _sequence(cursor: str) -> int:
    opened = opened_cursor(cursor)
    if not opened.startswith(_TIME) or len(opened) != len(_TIME) + 8:
        raise RequestError(RequestCode.INVALID_REQUEST, _FOREIGN)
    return int.from_bytes(opened[len(_TIME) :], "big")
