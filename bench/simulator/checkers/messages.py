"""Messages and links: what is under way is written down, once, and its money with it.

The checkers `conservation`, `delivery`, `attempts` and `parked`.
"""

from collections import Counter

import msgspec

from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.message import StoredEnvelope
from storage.link import Incoming, Outgoing
from storage.row import LINKS, OUTBOX, PARKED

_decode_message = msgspec.msgpack.Decoder(StoredEnvelope).decode
_decode_messages = msgspec.msgpack.Decoder(list[StoredEnvelope]).decode
_decode_outgoing = msgspec.msgpack.Decoder(Outgoing).decode
_decode_incoming = msgspec.msgpack.Decoder(Incoming).decode


class _Shard:
    """What one shard has under way, and what it found when it began."""

    def __init__(self) -> None:
        self.own: dict[tuple[str, bytes], tuple[str, int]] = {}
        self.written: dict[bytes, tuple[int, int]] = {}
        self.crashed = False
        self.found: dict[int, int] = {}
        self.few = True
        self.announced = False
        self.own_sum: Counter[str] = Counter()
        self.out: dict[int, Outgoing] = {}
        self.into: dict[int, Incoming] = {}
        self.outbox: dict[int, dict[int, list[StoredEnvelope]]] = {}


class Messages:
    """All that is under way.

    Args:
        shards: how many there are.
        fail: told what is wrong.
        effects: counts what is worth knowing of.
    """

    def __init__(self, shards: int, fail: Fail, effects: Counter[str]) -> None:
        self._effects = effects
        self._fail = fail
        self._shards = [_Shard() for _ in range(shards)]

    def booted(self, shard: int, *, crashed: bool, few: bool) -> None:
        """Hear that a shard begins again, after an abnormal exit or a clean one.

        Args:
            few: as few messages as there are must be tried one by one. More may be tried
                together, once an attempt at the first of them is written.
        """
        self._shards[shard].crashed = crashed
        self._shards[shard].few = few
        self._shards[shard].announced = False
        self._shards[shard].found = {
            other: sender.out[shard].last
            for other, sender in enumerate(self._shards)
            if crashed and shard in sender.out
        }

    def committed(self, durable: Durable, posted: Counter[str]) -> None:
        """Check what a commit says of messages.

        Args:
            posted: on its shard so far, by currency.
        """
        shard = self._shards[durable.shard]
        self._messages(shard, durable)
        self._links(shard, durable.writes.rows.get(LINKS, {}))
        self._conservation(durable.shard, posted)
        for other in range(len(self._shards)):
            if other != durable.shard:
                self._link(durable.shard, other)
                self._link(other, durable.shard)

    def _messages(self, shard: _Shard, durable: Durable) -> None:
        own = durable.shard
        for table in (OUTBOX, PARKED):
            for key, payload in durable.writes.rows.get(table, {}).items():
                to, first = int.from_bytes(key[:2], "big"), int.from_bytes(key[2:], "big")
                if table == OUTBOX and to != own:
                    pages = shard.outbox.setdefault(to, {})
                    if payload is None:
                        pages.pop(first, None)
                    else:
                        pages[first] = _decode_messages(payload)
                    continue
                self._in_order(shard, durable, table, key, payload)
                currency, minor = shard.own.pop((table, key), ("", 0))
                shard.own_sum[currency] -= minor
                if payload is not None:
                    message = _decode_message(payload)
                    shard.own[table, key] = (message.currency, message.amount_minor)
                    shard.own_sum[message.currency] += message.amount_minor

    def _in_order(
        self, shard: _Shard, durable: Durable, table: str, key: bytes, payload: bytes | None
    ) -> None:
        """Follow when a message to the shard itself was written, and that parked ones queue."""
        if table == OUTBOX:
            written, attempts = shard.written.pop(key, (durable.epoch, -1))
            if payload is not None:
                self._effects["attempts" if attempts >= 0 else "messages left at a cut"] += 1
                more = _decode_message(payload).attempts
                shard.written[key] = (durable.epoch, more)
                if more <= attempts:
                    self._fail("attempts", f"message {key!r}: {more} attempts after {attempts}")
                shard.announced |= attempts >= 0 and not shard.few
            elif (
                shard.crashed
                and written != durable.epoch
                and not durable.writes.rows.get(PARKED)
                and not shard.announced
            ):
                self._fail("attempts", f"message {key!r} had a turn, and no attempt is written")
        elif payload is not None:
            self._effects["messages parked"] += 1
        else:
            gone = durable.writes.rows[PARKED]
            for of, other in shard.own:
                if of == PARKED and other[:-8] == key[:-8] and other < key and other not in gone:
                    self._fail("parked", f"{key!r} has left before {other!r}")

    def _links(self, shard: _Shard, rows: dict[bytes, bytes | None]) -> None:
        for key, payload in rows.items():
            other = int.from_bytes(key[1:], "big")
            assert payload is not None
            if key[:1] == b">":
                end, outgoing = _decode_outgoing(payload), shard.out.get(other)
                if outgoing is not None and end.last < outgoing.last:
                    self._fail("delivery", f"the newest message to {other} is {end.last}")
                shard.out[other] = end
            else:
                taken, before = _decode_incoming(payload), shard.into.get(other)
                if before is not None and taken.cursor < before.cursor:
                    self._fail("delivery", f"the cursor of {other} goes back to {taken.cursor}")
                self._effects["messages between shards"] += taken.cursor - (
                    before.cursor if before else 0
                )
                cursor, attempts = (before.cursor, before.attempts) if before else (0, 0)
                shard.announced |= taken.attempts > attempts and not shard.few
                if (
                    cursor < min(taken.cursor, shard.found.get(other, 0))
                    and (taken.cursor > cursor + 1 or not attempts)
                    and not shard.announced
                ):
                    detail = f"{cursor + 1} to {taken.cursor} of {other} had {attempts} attempts"
                    self._fail("attempts", detail)
                shard.into[other] = taken

    def _conservation(self, number: int, posted: Counter[str]) -> None:
        shard = self._shards[number]
        off = Counter(posted)
        off.update(shard.own_sum)
        for out in shard.out.values():
            off.update(out.sent_minor)
        for into in shard.into.values():
            off.subtract(into.received_minor)
        for currency, minor in off.items():
            if minor:
                self._fail("conservation", f"shard {number} is off by {minor} {currency}")

    def _link(self, one: int, other: int) -> None:
        sender, receiver = self._shards[one], self._shards[other]
        out, into = sender.out.get(other), receiver.into.get(one)
        last, cursor = out.last if out else 0, into.cursor if into else 0
        waiting: dict[int, StoredEnvelope] = {}
        for first, page in sender.outbox.get(other, {}).items():
            for sequence, message in enumerate(page, first):
                if sequence > cursor:
                    waiting[sequence] = message
        if sorted(waiting) != list(range(cursor + 1, last + 1)):
            detail = f"{one} to {other}: {sorted(waiting)} wait, {cursor} of {last} are taken"
            self._fail("delivery", detail)
        money = Counter(out.sent_minor if out else {})
        money.subtract(into.received_minor if into else {})
        for message in waiting.values():
            money[message.currency] -= message.amount_minor
        if any(money.values()):
            self._fail("delivery", f"the money from {one} to {other} is off: {dict(money)}")
