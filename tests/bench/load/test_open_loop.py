"""In an open loop a node that stalls is charged with all that comes meanwhile.

A closed loop, or one that counted from the sending, would have a few slow requests, one for each
connection: that is coordinated omission.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import trio

from bench.load.arrivals import Phase, arrivals
from bench.load.client import OpenLoop, Round
from bench.load.clients import Outcome, clients
from bench.load.inprocess import InProcess
from bench.load.latencies import Latencies
from bench.load.node import compare, prepare, running
from bench.load.workload import Workload

SEED, RATE, SECONDS, CONNECTIONS = 5, 150.0, 2.5, 4
STALL_S = 1.0


def slower(latencies: Latencies, than_s: float) -> int:
    """Return how many took longer than so many seconds."""
    return sum(times for each, times in latencies.counts.items() if each >= than_s * 1e9)


async def test_node_that_stalls_is_charged_with_what_comes_meanwhile(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    phases = [Phase(SECONDS, RATE)]
    stalled: list[int] = []
    place = prepare(tmp_path, 200, 3, shards=1, signed=False)
    async with (
        running(place, express=True) as node,
        clients(1, None, node.pid) as callers,
        trio.open_nursery() as nursery,
    ):
        began: list[int] = []

        async def stall() -> None:
            await trio.sleep(0.8)
            os.kill(node.pid, signal.SIGSTOP)
            stalled.append(time.monotonic_ns())
            try:
                await trio.sleep(STALL_S)
            finally:
                stalled.append(time.monotonic_ns())
                os.kill(node.pid, signal.SIGCONT)

        def make(own: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
            began.append(start_ns)
            nursery.start_soon(stall)
            return Round(
                "express",
                node.addresses["express"],
                Workload("uniform", 200, 3, 1),
                own,
                1,
                1,
                "P",
                start_ns,
                0,
                begin_ns,
                end_ns,
                heeds=False,
                arriving=OpenLoop(phases, SEED),
            )

        outcome: Outcome = await callers.call(make, CONNECTIONS, SECONDS, warm_s=0)
    times = [began[0] + at for at in arrivals(phases, SEED)]
    done = outcome.latencies.counts.total()
    assert done == len(times) == sum(outcome.kinds["pay"].outcomes.values())
    assert not outcome.not_sent
    # Whoever came in the stall's first half waited for the whole second half.
    from_ns, to_ns = stalled
    half_ns = (to_ns - from_ns) // 2
    early = sum(from_ns <= at <= to_ns - half_ns for at in times)
    assert early > 10 * CONNECTIONS
    assert slower(outcome.latencies, half_ns / 1e9 * 0.999) >= early
    # They were sent late, for want of a connection; that is part of what they waited.
    assert outcome.late is not None
    assert slower(outcome.late, half_ns / 1e9 * 0.9) >= early - CONNECTIONS
    held = compare(place.data, 3, outcome.told_minor, outcome.unknown_minor)
    assert (held.missing_minor, held.untold_minor) == (0, 0)


class _Instant(InProcess[int]):
    """Is done with everything at once, and notes how long that was after it came."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies = Latencies()

    def take(self, count: int) -> list[int]:
        """Return as many as are asked for."""
        return list(range(count))

    def submit(self, each: int, since_ns: int, ended: Callable[[], None]) -> None:
        """Be done with it."""
        self.latencies.record(time.monotonic_ns() - since_ns)
        ended()


async def test_engine_that_stalls_is_charged_with_what_comes_meanwhile() -> None:
    loop, late, never = _Instant(), Latencies(), list[int]()
    start_ns = time.monotonic_ns()
    times = [start_ns + at for at in arrivals([Phase(0.6, 500.0)], SEED)]
    stalled: list[int] = []

    async def stall() -> None:
        await trio.sleep(0.2)
        stalled.append(time.monotonic_ns())
        time.sleep(0.2)  # noqa: ASYNC251  (that nothing else goes on is the point)
        stalled.append(time.monotonic_ns())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall)
        await loop.arriving(
            iter(times),
            1,
            start_ns + 600_000_000,
            lambda at: late.record(time.monotonic_ns() - at),
            lambda at, _: never.append(at),
        )
    from_ns, to_ns = stalled
    half_ns = (to_ns - from_ns) // 2
    early = sum(from_ns <= at <= to_ns - half_ns for at in times)
    assert early > 20
    assert loop.latencies.counts.total() == len(times)
    assert slower(loop.latencies, half_ns / 1e9 * 0.999) >= early
    assert slower(late, half_ns / 1e9 * 0.999) >= early
    assert not never
