"""Messages between actors, as plain values.

An envelope carries everything that has to survive a crash with the message: the money in it,
the business date of the command that caused it and the token of the caller that waits. The
body is a tagged msgspec Struct that only the receiving kind understands.
"""

from typing import Any

import msgspec
from msgspec import Struct

Token = tuple[int, int, int]
"""Names one waiting caller as (boot epoch, shard, n): a token of an earlier boot can never answer
a later caller. A plain tuple: one is made a command, and a named one costs five times as much."""


class Envelope(Struct, array_like=True, frozen=True, gc=False):
    """One message on its way from `sender` to `to`.

    `amount_minor` is money that has left the sender's books and is not yet in the receiver's;
    while the envelope exists, that money is "in a message" and counted there. `currency` is
    empty exactly when no money travels. `business_date` is an ISO 8601 date. Messages hold nothing
    that could refer back to them, so the garbage collector need not look at them (`gc=False`).
    `at_ns` is a domain clock's time at the command that caused it; it travels like the business
    date, as the outcome of a command must not depend on how far another shard's clock is. On wall
    time it is 0. A marker between shards (`engine.links`) is addressed to nobody.
    """

    to: str
    sender: str
    body: Any
    business_date: str
    token: Token | None = None
    amount_minor: int = 0
    currency: str = ""
    at_ns: int = 0


class StoredEnvelope(Struct, array_like=True, frozen=True):
    """An envelope as a row holds it: the body's bytes are decoded once the receiver is known.

    `attempts` counts turns begun with it during cautious recovery; `error` says why it was
    parked, empty while it was not.
    """

    to: str
    sender: str
    body: bytes
    business_date: str
    token: Token | None
    amount_minor: int
    currency: str
    attempts: int = 0
    error: str = ""
    at_ns: int = 0


class Unreadable(Struct, frozen=True):
    """Stands for a stored body that its receiver cannot read, as after a change of version.

    Its turn fails, so that the message is parked with its bytes as they were.
    """

    raw: bytes
    why: str


_encode_body = msgspec.msgpack.Encoder().encode


def stored(envelope: Envelope, *, attempts: int = 0) -> StoredEnvelope:
    """Return an envelope as a row holds it."""
    body = envelope.body
    return StoredEnvelope(
        envelope.to,
        envelope.sender,
        body.raw if type(body) is Unreadable else _encode_body(body),
        envelope.business_date,
        envelope.token,
        envelope.amount_minor,
        envelope.currency,
        attempts,
        "",
        envelope.at_ns,
    )
