"""The log: deliveries as the last commit has them, for couriers, callers and operators.

They lie in the order of the events' sequences. The log keeps the newest 10,000 that were delivered,
as many that were given up, and all that are under way; an event that it has forgotten can still be
ordered again, as the sequence itself forgets nothing.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Final, Literal

import trio

from actors.answers import DeliveryView
from actors.kinds import MERCHANT, WEBHOOK
from actors.merchant import Merchant
from actors.webhook import DELIVERIES, Delivery, Webhook, delivery_name, view_delivery
from engine.address import row_key
from engine.node import Node
from gateway.errors import RequestCode, RequestError
from gateway.lookup import Page, opened_cursor, sealed_cursor, state_of
from storage.row import RECORDS
from storage.store import Snapshot

LOG_MAX: Final = 10_000
"""So many deliveries are kept of those that were delivered, and of those that were given up."""
DROPPED_MAX: Final = 500
"""Beyond that so many are dropped at once."""
_READ_AT_ONCE: Final = 100
"""Deliveries at a time: whoever takes them on looks each event up, 30 µs, and others wait."""
_SCAN_MAX: Final = 2_000
"""Deliveries that one page of a list looks at."""

State = Literal["PENDING", "DELIVERED", "FAILED"]


def webhook_of(node: Node, merchant_no: str) -> Webhook | None:
    """Return a merchant's webhook, None where there is none."""
    webhook: Webhook | None = state_of(node, WEBHOOK, merchant_no)
    return webhook


def newest_event(node: Node, merchant_no: str) -> int | None:
    """Return the sequence of a merchant's newest event; None where there is no such merchant."""
    merchant: Merchant | None = state_of(node, MERCHANT, merchant_no)
    return None if merchant is None else merchant.events


def _rows(
    snapshot: Snapshot, merchant_no: str, first: int, stop: int | None, *, newest_first: bool
) -> Iterator[tuple[int, Delivery]]:
    prefix = row_key(f"webhook/{merchant_no}") + b"\0" + DELIVERIES.tag
    start = prefix + delivery_name(first).encode("ascii")
    end = prefix + (b"\xff" if stop is None else delivery_name(stop).encode("ascii"))
    for key, payload in snapshot.scan(RECORDS, start, end, reverse=newest_first):
        yield int(key[len(prefix) :]), DELIVERIES.decode(payload)


def _read(
    node: Node, merchant_no: str, first: int, stop: int | None, count: int, *, newest_first: bool
) -> list[tuple[int, Delivery]]:
    snapshot = node.snapshot(f"webhook/{merchant_no}")
    try:
        rows = _rows(snapshot, merchant_no, first, stop, newest_first=newest_first)
        return list(islice(rows, count))
    finally:
        snapshot.close()


async def look_through(
    node: Node, merchant_no: str, first: int, stop: int | None = None
) -> AsyncGenerator[list[tuple[int, Delivery]]]:
    """Yield the log from an event on, piece by piece, each as it is now; others have their turns.

    Args:
        stop: the event before which it ends, None for none.
    """
    while True:
        rows = _read(node, merchant_no, first, stop, _READ_AT_ONCE, newest_first=False)
        yield rows
        if len(rows) < _READ_AT_ONCE:
            return
        first = rows[-1][0] + 1
        await trio.lowlevel.checkpoint()


async def too_old(node: Node, merchant_no: str, webhook: Webhook) -> tuple[int, ...]:
    """Return which deliveries the log is to forget now; up to 1,000.

    Those of one state may lie behind 10,000 of the other, so it looks piece by piece.
    """
    excess: dict[str, int] = {}
    for state, count in (("DELIVERED", webhook.delivered), ("FAILED", webhook.failed)):
        if count >= LOG_MAX + DROPPED_MAX:
            excess[state] = DROPPED_MAX
    if not excess:
        return ()
    found: list[int] = []
    async with aclosing(look_through(node, merchant_no, 1, webhook.cursor + 1)) as pieces:
        async for rows in pieces:
            for sequence, delivery in rows:
                if excess.get(delivery.state):
                    found.append(sequence)
                    excess[delivery.state] -= 1
            if not any(excess.values()):
                break
    return tuple(found)


def delivery_of(node: Node, merchant_no: str, webhook: Webhook, sequence: int) -> Delivery | None:
    """Return what has become of an event; None where the log does not know.

    One that the cursor has not come to is PENDING, though nothing is noted of it.
    """
    rows = _read(node, merchant_no, sequence, sequence + 1, 1, newest_first=False)
    if rows:
        return rows[0][1]
    newest = newest_event(node, merchant_no) or 0
    return Delivery("PENDING") if webhook.cursor < sequence <= newest else None


def deliveries_page(
    node: Node, merchant_no: str, state: State | None, limit: int, cursor: str | None
) -> Page[DeliveryView]:
    """Return one page of the log, the newest event first.

    A page looks at a bounded number of deliveries, so it may hold less than its limit, even
    nothing, and have a cursor all the same.

    Raises:
        RequestError: INVALID_REQUEST for a cursor of another list.
    """
    stop = None if cursor is None else _before(cursor)
    rows = _read(node, merchant_no, 1, stop, _SCAN_MAX if state else limit + 1, newest_first=True)
    chosen = [each for each in rows if state is None or each[1].state == state]
    items = [view_delivery(merchant_no, *each) for each in chosen[:limit]]
    if len(chosen) > limit:
        last = chosen[limit - 1][0]
    elif state and len(rows) == _SCAN_MAX:
        last = rows[-1][0]
    else:
        return Page(items, None)
    return Page(items, sealed_cursor(_MARK + delivery_name(last).encode("ascii")))


_MARK: Final = b"\0w"
"""Cursors of the log begin with it."""


def _before(cursor: str) -> int:
    opened = opened_cursor(cursor)
    digits = opened.removeprefix(_MARK)
    if len(digits) == len(opened) or len(digits) > len(delivery_name(1)) or not digits.isdigit():
        raise RequestError(RequestCode.INVALID_REQUEST, "the cursor is not of this list")
    return int(digits)
