"""A batch: every effect of the turns since the last cut, on its way to one commit.

What is not durable yet is read from here (the overlay): the batch that is being filled first,
then the one that is being committed, then the store.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from engine.message import Envelope, Token, stored
from storage.store import Snapshot

if TYPE_CHECKING:
    from engine.admission import Ask, Reply

encode_stored = msgspec.msgpack.Encoder().encode
Payloads = dict[bytes, bytes | None]


def overlaid(
    snapshot: Snapshot,
    table: str,
    overlays: Iterable[Payloads],
    start: bytes = b"",
    stop: bytes | None = None,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield `(key, payload)` with `start <= key < stop` in key order, as of the newest overlay.

    Args:
        snapshot: what is durable.
        overlays: rows of the table put and deleted since, older batch first.
    """
    changed: Payloads = {}
    for overlay in overlays:
        changed.update(overlay)
    fresh = sorted(
        (key, payload)
        for key, payload in changed.items()
        if payload is not None and key >= start and (stop is None or key < stop)
    )
    durable = (row for row in snapshot.scan(table, start, stop) if row[0] not in changed)
    return heapq.merge(fresh, durable)


class Batch:
    """Effects that become durable together.

    Attributes:
        sequence: the commit that will hold them.
        actors, hubs: key → encoded state.
        records: key → encoded record, None where it goes; `objects` holds them as they were put.
        timers, outbox, parked, dates, marks: key → payload, None where the row goes.
        postings: encoded postings in journal order.
        answers: who is told what once the batch is durable: the output gate.
        controlled: the same for operators' actions.
        ended: asks whose chain of messages has come to its end.
        turns: how many turns are in it.
        links: ends of links, key → payload.
        departures: messages to other shards with their encoded rows, by shard.
        carried: number of the first of them, by shard, once the batch is cut.
        taken: number of the newest message taken, by sending shard.
        told: answers to callers of other shards.
        moved: how many messages more (or less) chains of other shards have, by token.
        forced: the commit is written even though nothing else is.
    """

    __slots__ = (
        "actors",
        "answers",
        "carried",
        "controlled",
        "dates",
        "departures",
        "ended",
        "forced",
        "hubs",
        "links",
        "marks",
        "moved",
        "objects",
        "outbox",
        "parked",
        "postings",
        "records",
        "sequence",
        "taken",
        "timers",
        "told",
        "turns",
    )

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.actors: Payloads = {}
        self.hubs: Payloads = {}
        self.records: Payloads = {}
        self.objects: dict[bytes, Struct] = {}
        self.timers: Payloads = {}
        self.outbox: Payloads = {}
        self.parked: Payloads = {}
        self.dates: Payloads = {}
        self.postings: list[bytes] = []
        self.answers: list[tuple[Ask, Any]] = []
        self.controlled: list[tuple[Reply, Any]] = []
        self.ended: list[Ask] = []
        self.turns = 0
        self.links: Payloads = {}
        self.marks: Payloads = {}
        self.departures: dict[int, list[tuple[Envelope, bytes]]] = {}
        self.carried: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self.told: list[tuple[Token, Any]] = []
        self.moved: list[tuple[Token, int]] = []
        self.forced = False

    def depart(self, shard: int, envelope: Envelope, encoded: bytes | None = None) -> None:
        """Send a message to another shard once this batch is durable."""
        if encoded is None:
            encoded = encode_stored(stored(envelope))
        self.departures.setdefault(shard, []).append((envelope, encoded))

    def writes(self) -> bool:
        """Return whether there is anything to write. Without, only answers wait for their turn."""
        return bool(
            self.actors
            or self.hubs
            or self.records
            or self.timers
            or self.outbox
            or self.parked
            or self.dates
            or self.postings
            or self.links
            or self.marks
            or self.forced
        )

    def pending(self) -> bool:
        """Return whether the batch holds anything at all."""
        return self.writes() or bool(
            self.answers
            or self.ended
            or self.controlled
            or self.departures
            or self.taken
            or self.told
            or self.moved
        )
