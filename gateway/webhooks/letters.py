"""Letters: events as webhooks are sent them, and what each belongs to.

An event belongs to its payment or authorization, and so does every refund of that and what is done
about the refund. The body of an event is the same bytes however often it is sent.
"""

from typing import Final

from actors.answers import EventView, WebhookEvent
from actors.refund import REFUNDS
from actors.webhook import event_id
from engine.node import Node
from gateway.answer import encode
from gateway.feed import event_list
from gateway.lookup import record_of
from gateway.webhooks.rounds import Key

_REFUND: Final = "refund"


def key_of(node: Node, merchant_no: str, event: EventView) -> Key:
    """Return what an event is kept in order with."""
    kind = event.original_kind or event.type.partition(".")[0]
    number = event.original or event.number
    if kind == _REFUND:
        # A redirect or closing that failed names the refund, and that its payment.
        refund = record_of(node, f"merchant/{merchant_no}", REFUNDS, number)
        if refund is not None:
            return refund.original_kind, refund.original
    return kind, number


def events_behind(node: Node, merchant_no: str, sequence: int, limit: int) -> list[EventView]:
    """Return up to so many of a merchant's events behind a sequence."""
    found = event_list(node, merchant_no, sequence, limit)
    return [] if found is None else found.items


def event_at(node: Node, merchant_no: str, sequence: int) -> EventView:
    """Return an event that is known to be there."""
    (event,) = events_behind(node, merchant_no, sequence - 1, 1)
    return event


def letter(merchant_no: str, event: EventView) -> bytes:
    """Return the body that a webhook is sent."""
    named = event_id(merchant_no, event.sequence)
    return encode(WebhookEvent(event_id=named, merchant_no=merchant_no, event=event))
