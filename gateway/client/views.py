"""What the bank says about itself, as a client reads it.

Answers about money are the domain's own types (`actors.answers`). These few belong to the
gateway's handlers, which a client does not load: they would bring the whole engine along. A test
holds them to the handlers' types; what a client does not know of an answer it passes over.
"""

from msgspec import Struct

from actors.answers import EventView


class NodeView(Struct, frozen=True):
    """Where the node stands; `now` is the clock of its domain, wall or not."""

    version: str
    business_date: str
    now: str
    clock: str
    durable_seq: list[int]
    incarnation: str


class DayCutView(Struct, frozen=True):
    """A business date that was cut; `closed_at` is None while something of it is parked."""

    business_date: str
    state: str
    next_date: str
    cut_at: str
    closed_at: str | None
    sums: dict[str, int]


class PostingView(Struct, frozen=True):
    """One entry of an account; `sequence` is the journal's, over all accounts."""

    sequence: int
    business_date: str
    amount_minor: int
    currency: str
    balance_after_minor: int
    reference: str


class CodeView(Struct, frozen=True):
    """One code of the bank's: its status, what it means and what to do."""

    code: str
    status: int
    title: str
    advice: str


class EventsView(Struct, frozen=True):
    """Events in their sequence; `newest` is the merchant's last one."""

    items: list[EventView]
    newest: int


class NewCertificateView(Struct, frozen=True):
    """A certificate that the bank has made."""

    pem: str
