"""Links: what both ends of the way from one shard to another keep of it.

Each shard has two rows for every other shard: one for what it sends there, one for what it has
taken from there. Messages of a link are numbered from 1 without a gap and lie in the sender's
outbox until the receiver's cursor has passed them. A store that is created or restored draws a
new incarnation, and both ends hold it: ends of different incarnations do not belong together.
"""

from typing import Final

import msgspec
from msgspec import Struct

from storage.errors import CorruptRowError
from storage.row import LINKS
from storage.store import Snapshot

_OUT: Final = b">"
_IN: Final = b"<"


class Marker(Struct, array_like=True, frozen=True):
    """A shard's word that nothing of a business date is under way in it, and what it counted.

    Attributes:
        sent: messages of that date that it has sent, by receiving shard.
        taken: messages of that date that it has taken, by sending shard.
    """

    sent: dict[int, int]
    taken: dict[int, int]


class Outgoing(Struct, array_like=True, frozen=True):
    """The sending end of a link.

    Attributes:
        incarnation: as in the other end.
        last: number of the newest message.
        sent_minor: money sent since the link began, by currency.
        dated: messages sent of each business date that is not closed.
    """

    incarnation: str
    last: int
    sent_minor: dict[str, int]
    dated: dict[str, int]


class Incoming(Struct, array_like=True, frozen=True):
    """The receiving end of a link.

    Attributes:
        incarnation: as in the other end.
        cursor: number of the newest message that was taken, with its effects.
        received_minor: money taken since the link began, by currency.
        dated: messages taken of each business date that is not closed.
        markers: the other shard's newest marker of each date that is not closed.
        attempts: turns begun, in cautious recovery, with the message after the cursor.
    """

    incarnation: str
    cursor: int
    received_minor: dict[str, int]
    dated: dict[str, int]
    markers: dict[str, Marker]
    attempts: int = 0


encode = msgspec.msgpack.Encoder().encode
_decode_outgoing = msgspec.msgpack.Decoder(Outgoing).decode
_decode_incoming = msgspec.msgpack.Decoder(Incoming).decode


def new_ends(shard: int, shards: int, incarnation: str) -> dict[bytes, bytes]:
    """Return the rows of all links of a shard of a new store."""
    rows = {}
    for other in range(shards):
        if other != shard:
            rows[outgoing_key(other)] = encode(Outgoing(incarnation, 0, {}, {}))
            rows[incoming_key(other)] = encode(Incoming(incarnation, 0, {}, {}, {}))
    return rows


def outgoing_key(receiver: int) -> bytes:
    """Return the row key of the link to a shard."""
    return _OUT + receiver.to_bytes(2, "big")


def incoming_key(sender: int) -> bytes:
    """Return the row key of the link from a shard."""
    return _IN + sender.to_bytes(2, "big")


def ends(snapshot: Snapshot) -> tuple[dict[int, Outgoing], dict[int, Incoming]]:
    """Return a shard's ends of its links, sending and receiving, by the other shard.

    Raises:
        CorruptRowError: a row is not an end of a link.
    """
    outgoing: dict[int, Outgoing] = {}
    incoming: dict[int, Incoming] = {}
    for key, payload in snapshot.scan(LINKS):
        other = int.from_bytes(key[1:], "big")
        try:
            if key[:1] == _OUT:
                outgoing[other] = _decode_outgoing(payload)
            elif key[:1] == _IN:
                incoming[other] = _decode_incoming(payload)
            else:
                raise CorruptRowError(LINKS, key, "not an end of a link")
        except msgspec.DecodeError as error:
            raise CorruptRowError(LINKS, key, str(error)) from error
    return outgoing, incoming


def outbox_key(receiver: int, sequence: int) -> bytes:
    """Return the row key of an outbox row: two bytes of shard, eight of sequence."""
    return receiver.to_bytes(2, "big") + sequence.to_bytes(8, "big")


def outbox_range(receiver: int) -> tuple[bytes, bytes]:
    """Return `(start, stop)` of the outbox rows to a shard."""
    return receiver.to_bytes(2, "big"), (receiver + 1).to_bytes(2, "big")


def check_pair(sender: int, out: Outgoing | None, receiver: int, into: Incoming | None) -> None:
    """Check that two ends are of one link, and that nothing was taken that was never sent.

    Raises:
        CorruptRowError: they do not belong together.
    """
    if out is None or into is None:
        shard, key = (
            (sender, outgoing_key(receiver)) if out is None else (receiver, incoming_key(sender))
        )
        raise CorruptRowError(LINKS, key, f"missing in shard {shard}")
    name = f"shard {sender} to shard {receiver}"
    if out.incarnation != into.incarnation:
        detail = f"{name}: the ends are of incarnations {out.incarnation} and {into.incarnation}"
        raise CorruptRowError(LINKS, incoming_key(sender), detail)
    if into.cursor > out.last:
        detail = f"{name}: message {into.cursor} was taken, {out.last} is the newest sent"
        raise CorruptRowError(LINKS, incoming_key(sender), detail)
