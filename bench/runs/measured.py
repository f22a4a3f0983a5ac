"""What a target hands back once it was driven: plain counts, from which the result is made.

The driver's loops differ by target, what they come to does not.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct

from bench.load.arrivals import Phase
from bench.load.latencies import Latencies
from bench.load.tally import Interval, Kind
from bench.runs.sampler import Sample
from bench.runs.settings import Settings
from bench.runs.store import Prepared
from bench.workloads.errand import Moved, Source


class Measured(Struct):
    """One loop, driven to its end.

    Attributes:
        kinds, intervals, late, not_sent: see `bench.load.tally.Counted`.
        refused: code → operations, connections that were refused or lost among them.
        done_all: operations that were carried out, warm-up and last answers included.
        cpu_server_s, cpu_clients_s: of the same; None where clients are in the server's process.
        busiest_client_s: of the client process that took most.
        loop_cpu_s: of the event loop's thread, where that is known.
        took_s: how long the loop took, first request to last answer.
        others_s: CPU that others on the machine took meanwhile.
        samples: one for each interval.
    """

    kinds: Mapping[str, Kind]
    intervals: list[Interval]
    late: Latencies
    not_sent: int
    refused: Mapping[str, int]
    unexplained: int
    moved: Moved
    signatures: int
    done_all: int
    cpu_server_s: float
    cpu_clients_s: float | None
    busiest_client_s: float | None
    loop_cpu_s: float | None
    took_s: float
    samples: list[Sample]
    others_s: float = 0.0

    @property
    def done(self) -> int:
        """Operations carried out, and answered in the window."""
        return sum(kind.done for kind in self.kinds.values())

    @property
    def intended(self) -> int:
        """Operations that belong to the window."""
        counted = sum(sum(kind.outcomes.values()) for kind in self.kinds.values())
        return counted + self.not_sent


class Loop(Struct, frozen=True):
    """What a target is asked to do.

    Attributes:
        prefix: begins all numbers of the loop.
        seconds, warm_up_s: of the window, and before it.
        phases: rates of an open loop, the warm-up first; None for a closed one.
        every_ns: the length of an interval.
        connections: over how many, where there are any.
    """

    prefix: str
    seconds: float
    warm_up_s: float
    phases: list[Phase] | None
    every_ns: int
    connections: int


class Driven(Struct, frozen=True):
    """What a target is driven with.

    Attributes:
        scratch: a folder on the store's disk.
        source: makes the source of a number with a prefix.
    """

    settings: Settings
    store: Prepared
    scratch: Path
    source: Callable[[int, str], Source]


Drive = Callable[[Loop], Awaitable[Measured]]
"""Drives a target once through a loop."""
