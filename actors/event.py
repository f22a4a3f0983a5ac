"""Events: what happened at a merchant, in a gapless sequence of its own: 1, 2, 3, …

Each outcome that concerns a merchant appends one event in the turn that binds it: every number
gets exactly one, refused or not, and an authorization that expires gets one unasked. A refund has
one for each state that it comes to but PROCESSING, whatever brought it there; so a redirect or a
closing that succeeds has none of its own: the refund's says it. What binds nothing (IN_FLIGHT,
NUMBER_USED, a repetition) is no event. Events are in the order of time, because a shard's clock
never goes back.

The newest events stand in the merchant's own state, whose row is written anyway; sixteen at a
time they go into a page, a record under the merchant. So most payments of a batch cost no row
and no page of the file more (docs/decisions/014-events-in-pages-of-sixteen.md).
"""

from collections.abc import Mapping
from datetime import date
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from actors.answers import EventView, instant, instant_if
from actors.merchant import Merchant, existing
from actors.messages import HoldFigures
from actors.refusal import Refusal
from engine.kind import RecordKind
from engine.turn import Turn

PAGE_EVENTS: Final = 16
"""Events in a page. It never changes: a page is found by reckoning with it."""

_DAY_ZERO: Final = date(1970, 1, 1).toordinal()
_DIGITS: Final = 19
"""2**63 has as many: names of a fixed width sort as the sequence does."""


class EventType(IntEnum):
    """What happened; the figures are what is stored."""

    PAYMENT_SUCCEEDED = 1
    PAYMENT_FAILED = 2
    PAYMENT_REVERSED = 3
    REVERSAL_FAILED = 4
    AUTHORIZATION_HELD = 10
    AUTHORIZATION_FAILED = 11
    INCREMENTED = 12
    INCREMENT_FAILED = 13
    CAPTURED = 14
    CAPTURE_FAILED = 15
    VOIDED = 16
    VOID_FAILED = 17
    RELEASED = 18
    RELEASE_FAILED = 19
    EXPIRED = 20
    PAYMENT_REFUNDED = 30
    PAYMENT_REFUND_FAILED = 31
    AUTHORIZATION_REFUNDED = 32
    AUTHORIZATION_REFUND_FAILED = 33
    PAYMENT_REFUND_PENDING = 34
    AUTHORIZATION_REFUND_PENDING = 35
    PAYMENT_REFUND_ABNORMAL = 36
    AUTHORIZATION_REFUND_ABNORMAL = 37
    PAYMENT_REFUND_CLOSED = 38
    AUTHORIZATION_REFUND_CLOSED = 39
    REDIRECT_FAILED = 40
    CLOSING_FAILED = 41


class Meaning(NamedTuple):
    """What callers see of a type.

    Attributes:
        name: the type's name in the API.
        original: kind of what `original` names, None where nothing is named.
        state: the state that it always leaves, None where it is the event's own.
    """

    name: str
    original: str | None = None
    state: str | None = None


_P: Final = "payment"
_A: Final = "authorization"
_R: Final = "refund"

MEANINGS: Final = {
    EventType.PAYMENT_SUCCEEDED: Meaning("payment.succeeded", state="SUCCEEDED"),
    EventType.PAYMENT_FAILED: Meaning("payment.failed", state="FAILED"),
    EventType.PAYMENT_REVERSED: Meaning("payment.reversed", _P, "REVERSED"),
    EventType.REVERSAL_FAILED: Meaning("payment.reversal_failed", _P),
    EventType.AUTHORIZATION_HELD: Meaning("authorization.held"),
    EventType.AUTHORIZATION_FAILED: Meaning("authorization.failed", state="FAILED"),
    EventType.INCREMENTED: Meaning("authorization.incremented", _A),
    EventType.INCREMENT_FAILED: Meaning("authorization.increment_failed", _A),
    EventType.CAPTURED: Meaning("authorization.captured", _A),
    EventType.CAPTURE_FAILED: Meaning("authorization.capture_failed", _A),
    EventType.VOIDED: Meaning("authorization.voided", _A),
    EventType.VOID_FAILED: Meaning("authorization.void_failed", _A),
    EventType.RELEASED: Meaning("authorization.released", _A),
    EventType.RELEASE_FAILED: Meaning("authorization.release_failed", _A),
    EventType.EXPIRED: Meaning("authorization.expired"),
    EventType.PAYMENT_REFUNDED: Meaning("refund.succeeded", _P, "SUCCEEDED"),
    EventType.PAYMENT_REFUND_FAILED: Meaning("refund.failed", _P, "FAILED"),
    EventType.AUTHORIZATION_REFUNDED: Meaning("refund.succeeded", _A, "SUCCEEDED"),
    EventType.AUTHORIZATION_REFUND_FAILED: Meaning("refund.failed", _A, "FAILED"),
    EventType.PAYMENT_REFUND_PENDING: Meaning("refund.pending_funds", _P, "PENDING_FUNDS"),
    EventType.AUTHORIZATION_REFUND_PENDING: Meaning("refund.pending_funds", _A, "PENDING_FUNDS"),
    EventType.PAYMENT_REFUND_ABNORMAL: Meaning("refund.abnormal", _P, "ABNORMAL"),
    EventType.AUTHORIZATION_REFUND_ABNORMAL: Meaning("refund.abnormal", _A, "ABNORMAL"),
    EventType.PAYMENT_REFUND_CLOSED: Meaning("refund.closed", _P, "CLOSED"),
    EventType.AUTHORIZATION_REFUND_CLOSED: Meaning("refund.closed", _A, "CLOSED"),
    EventType.REDIRECT_FAILED: Meaning("refund.redirect_failed", _R),
    EventType.CLOSING_FAILED: Meaning("refund.closing_failed", _R),
}

OUTCOMES: Final[Mapping[str, tuple[EventType, EventType]]] = {
    "payment": (EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_FAILED),
    "reversal": (EventType.PAYMENT_REVERSED, EventType.REVERSAL_FAILED),
    "authorization": (EventType.AUTHORIZATION_HELD, EventType.AUTHORIZATION_FAILED),
    "increment": (EventType.INCREMENTED, EventType.INCREMENT_FAILED),
    "capture": (EventType.CAPTURED, EventType.CAPTURE_FAILED),
    "void": (EventType.VOIDED, EventType.VOID_FAILED),
    "release": (EventType.RELEASED, EventType.RELEASE_FAILED),
}
"""What a number names → the event if that succeeded, and if it failed."""

REFUND_STATES: Final[Mapping[str, Mapping[str, EventType]]] = {
    "payment": {
        "PENDING_FUNDS": EventType.PAYMENT_REFUND_PENDING,
        "ABNORMAL": EventType.PAYMENT_REFUND_ABNORMAL,
        "SUCCEEDED": EventType.PAYMENT_REFUNDED,
        "FAILED": EventType.PAYMENT_REFUND_FAILED,
        "CLOSED": EventType.PAYMENT_REFUND_CLOSED,
    },
    "authorization": {
        "PENDING_FUNDS": EventType.AUTHORIZATION_REFUND_PENDING,
        "ABNORMAL": EventType.AUTHORIZATION_REFUND_ABNORMAL,
        "SUCCEEDED": EventType.AUTHORIZATION_REFUNDED,
        "FAILED": EventType.AUTHORIZATION_REFUND_FAILED,
        "CLOSED": EventType.AUTHORIZATION_REFUND_CLOSED,
    },
}
"""What a refund is of → the state that it comes to → the event."""

REMEDY_FAILED: Final[Mapping[str, EventType]] = {
    "redirect": EventType.REDIRECT_FAILED,
    "closing": EventType.CLOSING_FAILED,
}
"""A kind of remedy → the event if it failed."""


class Event(Struct, frozen=True, array_like=True, gc=False):
    """One event; its sequence follows from where it stands. A payment's takes 44 bytes or so.

    Attributes:
        number: the caller's number that got its outcome; of an expiry the hold_no.
        day: business date, in days since 1970-01-01.
        amount_minor: what was moved, held or asked for; what a void, a release or an expiry
            gave back.
        original: the order_no, hold_no or refund_no that the number belongs to, empty for its own.
        code: why it failed.
        currency: empty for the merchant's own.
        state: what the original is in, where neither type nor hold says so; empty for none.
        hold: the hold right afterwards, None where no account was asked.
    """

    type: EventType
    number: str
    at_ns: int
    day: int
    amount_minor: int
    original: str = ""
    fee_minor: int = 0
    code: Refusal | None = None
    currency: str = ""
    state: str = ""
    hold: HoldFigures | None = None


class EventPage(Struct, frozen=True, array_like=True, gc=False):
    """Sixteen events, encoded one behind the other; a record named by the first one's sequence."""

    events: bytes


EVENTS: Final = RecordKind("e", EventPage)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Event]).decode


def append_event(
    turn: Turn[Merchant],
    type_: EventType,
    number: str,
    amount_minor: int,
    *,
    original: str = "",
    fee_minor: int = 0,
    code: Refusal | None = None,
    currency: str = "",
    state: str = "",
    hold: HoldFigures | None = None,
) -> None:
    """Append an event to the merchant's sequence; see `Event` for the arguments."""
    merchant = existing(turn)
    # On a domain clock time travels with messages: what comes later may be of an earlier time.
    at_ns = max(merchant.events_ns, turn.now_ns)
    event = Event(
        type_,
        number,
        at_ns,
        day_of(turn.business_date),
        amount_minor,
        original,
        fee_minor,
        code,
        currency,
        state,
        hold,
    )
    tail = merchant.tail + _encode(event)
    events = merchant.events + 1
    if not events % PAGE_EVENTS:
        turn.put(EVENTS, page_name(events), EventPage(tail))
        tail = b""
    turn.become(replace(merchant, events=events, tail=tail, events_ns=at_ns))


def page_name(sequence: int) -> str:
    """Return the name of the page that an event goes into, once it is full."""
    return f"{sequence - (sequence - 1) % PAGE_EVENTS:0{_DIGITS}d}"


def open_events(encoded: bytes, count: int) -> list[Event]:
    """Return events that were encoded one behind the other.

    Raises:
        msgspec.DecodeError: these are not so many events.
    """
    return _decode(b"\xdc" + count.to_bytes(2, "big") + encoded)


def tail_of(merchant: Merchant) -> tuple[int, list[Event]]:
    """Return the events in a merchant's state, and the sequence of the first of them."""
    count = merchant.events % PAGE_EVENTS
    return merchant.events - count + 1, open_events(merchant.tail, count)


def view_event(sequence: int, event: Event, currency: str) -> EventView:
    """Return what the merchant sees of an event.

    Args:
        currency: the merchant's.
    """
    meaning = MEANINGS[event.type]
    hold = event.hold
    return EventView(
        sequence=sequence,
        type=meaning.name,
        number=event.number,
        original_kind=meaning.original,
        original=event.original or None,
        amount_minor=event.amount_minor,
        currency=event.currency or currency,
        fee_minor=event.fee_minor,
        state=meaning.state or event.state or (None if hold is None else hold.state),
        code=event.code,
        hold_amount_minor=None if hold is None else hold.amount_minor,
        hold_captured_minor=None if hold is None else hold.captured_minor,
        expires_at=None if hold is None else instant_if(hold.expires_at_ns),
        business_date=date.fromordinal(_DAY_ZERO + event.day).isoformat(),
        occurred_at=instant(event.at_ns),
    )


# Nearly all events of a batch are of one date.
@lru_cache(maxsize=64)
def day_of(business_date: str) -> int:
    """Return an ISO 8601 date as days since 1970-01-01."""
    return date.fromisoformat(business_date).toordinal() - _DAY_ZERO
