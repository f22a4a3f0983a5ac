"""The audit of events: each thing that happens has its one, and webhooks know of no others.

Part of `actors.audit`. Events are held against what they tell as sums over each merchant and type:
of amounts, and of checksums of numbers, so memory does not grow with what has happened.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import MsgspecError

from actors.event import (
    OUTCOMES,
    PAGE_EVENTS,
    Event,
    EventPage,
    EventType,
    open_events,
    tail_of,
)
from actors.merchant import Merchant
from actors.outcome import Bound
from actors.tally import Tally, Violation
from actors.webhook import Delivery, Webhook

ABNORMAL: Final = EventType.PAYMENT_REFUND_ABNORMAL


class EventAudit:
    """Counts events, what must have had one, and what webhooks have heard of."""

    def __init__(self) -> None:
        self._pages = Tally("events-gapless", "records", "pages", "their first sequences")
        self._events = Tally("events", "records", "events", "amount_minor", "numbers' checksums")
        self._deliveries = Tally("webhook-counts", "actors", "pending", "delivered", "failed")
        self._happened: dict[str, int] = {}
        self._heard_of: dict[str, int] = {}

    def merchant(self, address: str, merchant: Merchant) -> Iterator[Violation]:
        """Take a merchant's state, which has its newest events in it."""
        self._happened[address.partition("/")[2]] = merchant.events
        pages = merchant.events // PAGE_EVENTS
        self._pages.take(address, pages, pages + PAGE_EVENTS * (pages * (pages - 1) // 2))
        key = f"{address} {merchant.events}"
        yield from self._appended(address, lambda: tail_of(merchant)[1], "actors", key)

    def page(self, address: str, name: str, page: EventPage, key: str) -> Iterator[Violation]:
        """Take a page of events."""
        self._pages.add(address, 1, int(name))
        if (int(name) - 1) % PAGE_EVENTS:
            yield Violation("events-gapless", "records", key, "no page begins here")
        events = page.events
        yield from self._appended(address, lambda: open_events(events, PAGE_EVENTS), "records", key)

    def outcome(self, address: str, what: str, name: str, amount: int, bound: Bound) -> None:
        """Take an outcome, which has its event."""
        self.happened(address, OUTCOMES[what][bound.state == "FAILED"], name, amount, -1)

    def happened(self, address: str, type_: EventType, number: str, amount: int, sign: int) -> None:
        """Count an event (1), or what must have had one (-1)."""
        checksum = zlib.crc32(number.encode())
        # A redirect that failed does not know what the refund is of.
        if type_ is EventType.AUTHORIZATION_REFUND_ABNORMAL:
            type_ = ABNORMAL
        self._events.add(f"{address} {type_.name}", sign, sign * amount, sign * checksum)

    def webhook(self, address: str, webhook: Webhook) -> Iterator[Violation]:
        """Take a webhook's state."""
        self._deliveries.add(address, webhook.pending, webhook.delivered, webhook.failed)
        self._hears_of(address, webhook.cursor)
        yield from ()

    def delivery(
        self, address: str, name: str, delivery: Delivery, key: str
    ) -> Iterator[Violation]:
        """Take a delivery."""
        states = ("PENDING", "DELIVERED", "FAILED")
        self._deliveries.take(address, *(int(delivery.state == state) for state in states))
        self._hears_of(address, int(name))
        yield from ()

    def left(self) -> Iterator[Violation]:
        """Yield what does not fit, once all rows have been told."""
        for address, sequence in self._heard_of.items():
            events = self._happened.get(address.partition("/")[2], -1)
            if sequence > events:
                detail = f"it knows event {sequence} of {events}"
                yield Violation("webhook-events", "actors", address, detail)
        for tally in (self._pages, self._events, self._deliveries):
            yield from tally.left()

    def _appended(
        self, address: str, events: Callable[[], list[Event]], table: str, key: str
    ) -> Iterator[Violation]:
        """Count the events of a page, or of a merchant's state."""
        try:
            opened = events()
        except MsgspecError as error:
            yield Violation("events-gapless", table, key, str(error))
            return
        for event in opened:
            self.happened(address, event.type, event.number, event.amount_minor, 1)
        times = [event.at_ns for event in opened]
        if times != sorted(times):
            yield Violation("events-gapless", table, key, "not in the order of time")

    def _hears_of(self, address: str, sequence: int) -> None:
        self._heard_of[address] = max(self._heard_of.get(address, 0), sequence)
