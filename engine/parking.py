"""Parked messages: what an actor's failed turn leaves behind, durable and in order.

While an actor has parked rows it is quarantined: later internal messages queue up behind them,
and external commands are refused at once. The rows are few (an operator looks at each), so
their keys' owners and dates are counted in memory.
"""

from collections import Counter

import msgspec

from engine.message import Envelope, StoredEnvelope
from storage.row import PARKED
from storage.store import Snapshot

encode = msgspec.msgpack.Encoder().encode
decode_stored = msgspec.msgpack.Decoder(StoredEnvelope).decode


def stored(envelope: Envelope, *, attempts: int = 0, error: str = "") -> bytes:
    """Return an envelope as a row holds it."""
    return encode(
        StoredEnvelope(
            envelope.to,
            envelope.sender,
            encode(envelope.body),
            envelope.business_date,
            envelope.token,
            envelope.amount_minor,
            envelope.currency,
            attempts,
            error.encode("utf-8", "replace").decode()[:500],
        )
    )


class Parking:
    """Which actors are quarantined, and which business dates have something parked."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.by_actor: Counter[str] = Counter()
        self.by_date: Counter[str] = Counter()
        self._next = 1
        for key, payload in snapshot.scan(PARKED):
            row = decode_stored(payload)
            self.by_actor[row.to] += 1
            self.by_date[row.business_date] += 1
            self._next = max(self._next, int.from_bytes(key[-8:], "big") + 1)

    def add(self, actor_key: bytes, envelope: Envelope) -> bytes:
        """Count one more parked message; returns the key of its row."""
        self.by_actor[envelope.to] += 1
        self.by_date[envelope.business_date] += 1
        sequence, self._next = self._next, self._next + 1
        return actor_key + b"\0" + sequence.to_bytes(8, "big")

    def remove(self, row: StoredEnvelope) -> None:
        """Count one parked message less."""
        for counts, name in ((self.by_actor, row.to), (self.by_date, row.business_date)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
