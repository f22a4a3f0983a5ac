"""A batch: every effect of the turns since the last cut, on its way to one commit.

What is not durable yet is read from here (the overlay): the batch that is being filled first,
then the one that is being committed, then the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from engine.admission import Ask, Reply

Payloads = dict[bytes, bytes | None]


class Batch:
    """Effects that become durable together.

    Attributes:
        sequence: the commit that will hold them.
        actors, hubs: key → encoded state.
        records: key → encoded record; `objects` holds the same records as they were put.
        timers, outbox, parked, dates: key → payload, None where the row goes.
        postings: encoded postings in journal order.
        answers: who is told what once the batch is durable: the output gate.
        controlled: the same for operators' actions.
        ended: asks whose chain of messages has come to its end.
        turns: how many turns are in it.
        moved: something is to be written even if no row changed (a new business date).
    """

    __slots__ = (
        "actors",
        "answers",
        "controlled",
        "dates",
        "ended",
        "hubs",
        "moved",
        "objects",
        "outbox",
        "parked",
        "postings",
        "records",
        "sequence",
        "timers",
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
        self.moved = False

    def writes(self) -> bool:
        """Return whether there is anything to write. Without, only answers wait for their turn."""
        return bool(
            self.moved
            or self.actors
            or self.hubs
            or self.records
            or self.timers
            or self.outbox
            or self.parked
            or self.dates
            or self.postings
        )

    def pending(self) -> bool:
        """Return whether the batch holds anything at all."""
        return self.writes() or bool(self.answers or self.ended or self.controlled)
