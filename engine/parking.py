"""Parked messages: what an actor's failed turn leaves behind, durable and in order.

While an actor has parked rows it is quarantined: later internal messages queue up behind them,
and external commands are refused at once, all but those that its kind has unhindered. The rows are
few (an operator looks at each), so their keys' owners and dates are counted in memory.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from engine.address import row_key
from engine.batch import Payloads, overlaid
from engine.message import StoredEnvelope
from storage.errors import CorruptRowError
from storage.row import PARKED
from storage.store import Snapshot

encode = msgspec.msgpack.Encoder().encode
decode_stored = msgspec.msgpack.Decoder(StoredEnvelope).decode

_ERROR_CHARACTERS_MAX = 500
_SUFFIX_BYTES = 9
"""What a parked row's key has behind its actor's: a zero byte and the sequence."""


class ParkedId(Struct, frozen=True):
    """Names one parked message for good.

    Attributes:
        key: of its row. After a restart another message may have it: keys go on from what is
            parked then.
        content: the digest of what it says (`parked_id`).
    """

    key: bytes
    content: bytes


def parked_id(key: bytes, row: StoredEnvelope) -> ParkedId:
    """Return what names a parked message, however often it was tried since."""
    said = encode(replace(row, token=None, attempts=0, error=""))
    return ParkedId(key, hashlib.sha256(said).digest())


def failed(row: StoredEnvelope, error: str) -> bytes:
    """Return the row of a message that is parked because of `error`.

    Its token goes: the caller has been told OUTCOME_UNKNOWN, and the chain that the caller's
    slot stands for has ended here. An error's text may hold anything; the row is valid UTF-8.
    """
    text = error[:_ERROR_CHARACTERS_MAX].encode("utf-8", "replace").decode()
    return encode(replace(row, token=None, error=text))


def open_row(table: str, key: bytes, payload: bytes) -> StoredEnvelope:
    """Return the message in a row of the outbox or of what is parked.

    Raises:
        CorruptRowError: the row is not a message.
    """
    try:
        return decode_stored(payload)
    except msgspec.DecodeError as error:
        raise CorruptRowError(table, key, str(error)) from error


def parked(
    snapshot: Snapshot, overlays: Iterable[Payloads], address: str
) -> Iterator[tuple[bytes, StoredEnvelope]]:
    """Yield `(key, message)` of what is parked for an actor, first in, first out.

    Args:
        snapshot: what is durable.
        overlays: parked rows put and deleted since, older batch first.
    """
    start = row_key(address) + b"\0"
    for key, payload in overlaid(snapshot, PARKED, overlays, start, start + b"\xff" * 9):
        yield key, open_row(PARKED, key, payload)


def quarantined(snapshot: Snapshot, limit: int) -> list[str]:
    """Return the first actors that have something parked, durably, in the order of their keys.

    However much is parked for one, it takes one seek.
    """
    found: list[str] = []
    start = b""
    while len(found) < limit:
        row = next(snapshot.scan(PARKED, start), None)
        if row is None:
            break
        own = row[0][:-_SUFFIX_BYTES]
        found.append(own[2:].decode("ascii"))
        start = own + b"\0" + b"\xff" * 9
    return found


class Parking:
    """Which actors are quarantined, and which business dates have something parked."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.by_actor: Counter[str] = Counter()
        self.by_date: Counter[str] = Counter()
        self._next = 1
        for key, payload in snapshot.scan(PARKED):
            row = open_row(PARKED, key, payload)
            self.by_actor[row.to] += 1
            self.by_date[row.business_date] += 1
            self._next = max(self._next, int.from_bytes(key[-8:], "big") + 1)

    def add(self, row: StoredEnvelope) -> bytes:
        """Count one more parked message; returns the key of its row."""
        self.by_actor[row.to] += 1
        self.by_date[row.business_date] += 1
        sequence, self._next = self._next, self._next + 1
        return row_key(row.to) + b"\0" + sequence.to_bytes(8, "big")

    def remove(self, row: StoredEnvelope) -> None:
        """Count one parked message less."""
        for counts, name in ((self.by_actor, row.to), (self.by_date, row.business_date)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
