"""Clients: the processes that call a node, seen from the benchmark that started them.

Connections are dealt out to them one by one. What all of them were told in a round comes back as
one account of it, with the CPU that they and the node took for it.
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from bench.load.client import PATIENCE_S, Ready, Round
from bench.load.identities import Known
from bench.load.latencies import Latencies
from bench.load.processes import cpu_s, sleep_until_ns, started
from bench.load.tally import Counted, Interval, Kind
from bench.workloads.errand import Moved
from gateway import exits
from gateway.exits import CommandError

S = TypeVar("S", Counted, Ready)

_PATIENCE_S: Final = PATIENCE_S + 30
LEAD_NS: Final = 100_000_000
"""Before the first connection of a round is made: by then every process knows of it."""
_CLIENT: Final = (sys.executable, "-P", "-m", "bench.load.client")
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Counted | Ready).decode


class Outcome(Struct, frozen=True):
    """A round, all clients together; see `bench.load.tally.Counted`.

    Attributes:
        seconds: of the window.
        latencies: of all kinds.
        kinds, late, not_sent: as `Counted` has them.
        busiest_client_s: CPU of the client process that took most.
        took_s: from the first request to the last answer.
        client_cpu_s, server_cpu_s: of the whole round, from before its first request to after its
            last answer: so no request's CPU is counted without its payments, or half of it.
    """

    seconds: float
    payments: int
    payments_all: int
    requests: int
    latencies: Latencies
    refused: Counter[str]
    unexplained: int
    moved: Moved
    verified: int
    intervals: list[Interval]
    client_cpu_s: float
    server_cpu_s: float
    kinds: dict[str, Kind] = {}
    late: Latencies | None = None
    not_sent: int = 0
    busiest_client_s: float = 0.0
    took_s: float = 0.0

    @property
    def each_tenth(self) -> list[int]:
        """What was carried out in each tenth of a second, where no other interval is asked for."""
        return [each.done for each in self.intervals]

    @property
    def told_minor(self) -> Counter[str]:
        """Merchant → sum of what was told to have been paid."""
        return Counter(self.moved.told)

    @property
    def unknown_minor(self) -> Counter[str]:
        """Merchant → sum of the payments whose outcome is not known."""
        return Counter(self.moved.more)

    @property
    def server_us(self) -> float:
        """The server's CPU a payment, in microseconds; 0 where none succeeded."""
        return self.server_cpu_s / self.payments_all * 1e6 if self.payments_all else 0.0

    @property
    def client_us(self) -> float:
        """The clients' CPU a payment, likewise."""
        return self.client_cpu_s / self.payments_all * 1e6 if self.payments_all else 0.0


class Clients:
    """Client processes.

    Args:
        processes: with pipes to their standard input and output.
        server: process id of the node.
    """

    def __init__(self, processes: Sequence[trio.Process], server: int) -> None:
        self._processes = processes
        self._server = server
        self._lines = [_Lines(process) for process in processes]

    async def call(
        self,
        make: Callable[[list[int], int, int, int], Round],
        connections: int,
        seconds: float,
        *,
        warm_s: float,
    ) -> Outcome:
        """Have the node called over so many connections, and return what was told.

        Args:
            make: makes a round of (connections, start_ns, begin_ns, end_ns).
            seconds: of the window that is measured.
            warm_s: for how long they call before it.

        Raises:
            CommandError: a client process has ended, or the node has.
        """
        server_s, clients_s = self._cpu()
        start_ns = time.monotonic_ns() + LEAD_NS
        begin_ns = start_ns + int(warm_s * 1e9)
        end_ns = begin_ns + int(seconds * 1e9)
        count = len(self._processes)
        for n, process in enumerate(self._processes):
            own = list(range(n, connections, count))
            round_ = make(own, start_ns, begin_ns, end_ns)
            await _tell(process, _encode(replace(round_, connections=own)))
        await sleep_until_ns(end_ns)
        counted = [await self._said(n, Counted) for n in range(count)]
        server_s_, clients_s_ = self._cpu()
        taken = [after - before for before, after in zip(clients_s, clients_s_, strict=True)]
        outcome = _together(counted, seconds, taken, server_s_ - server_s)
        return replace(outcome, took_s=(time.monotonic_ns() - start_ns) / 1e9)

    def cpu_s(self) -> tuple[float, float]:
        """Return the CPU that the node has taken, and that its clients have, in seconds.

        Raises:
            CommandError: one of them has ended.
        """
        server_s, clients_s = self._cpu()
        return server_s, sum(clients_s)

    def _cpu(self) -> tuple[float, list[float]]:
        try:
            return cpu_s(self._server), [cpu_s(process.pid) for process in self._processes]
        except OSError:
            raise CommandError(
                exits.CHECK_FAILED, "the node, or a client, has ended before the benchmark"
            ) from None

    async def ready(self) -> None:
        """Wait until all of them have started.

        Raises:
            CommandError: one has not.
        """
        for n in range(len(self._processes)):
            await self._said(n, Ready)

    async def _said(self, n: int, kind: type[S]) -> S:
        with trio.move_on_after(_PATIENCE_S):
            line = await self._lines[n].next()
            if line:
                said = _decode(line)
                assert isinstance(said, kind)
                return said
        code = self._processes[n].poll()
        detail = "says nothing" if code is None else f"has ended with code {code}"
        raise CommandError(exits.CHECK_FAILED, f"a client process {detail}")


@asynccontextmanager
async def clients(count: int, known: Known | None, server: int) -> AsyncIterator[Clients]:
    """Have so many client processes while the block runs.

    Args:
        known: keys; None where nothing is signed.
        server: process id of the node.
    """
    async with AsyncExitStack() as stack:
        processes = [
            await stack.enter_async_context(
                started(_CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(count)
        ]
        for process in processes:
            await _tell(process, _encode(known))
        started_ = Clients(processes, server)
        await started_.ready()
        yield started_


async def _tell(process: trio.Process, line: bytes) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send_all(line + b"\n")
    except trio.BrokenResourceError:
        raise CommandError(exits.CHECK_FAILED, "a client process has ended") from None


class _Lines:
    """The lines that a process says, one by one."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._buffered = b""

    async def next(self) -> bytes:
        """Return the next one, empty once there will be none."""
        while b"\n" not in self._buffered:
            chunk = await self._stdout.receive_some()
            if not chunk:
                return b""
            self._buffered += chunk
        line, _, self._buffered = self._buffered.partition(b"\n")
        return line


def _together(
    counted: Sequence[Counted], seconds: float, clients_s: Sequence[float], server_s: float
) -> Outcome:
    latencies, late = Latencies(), Latencies()
    refused = Counter[str]()
    moved = Moved()
    kinds: dict[str, Kind] = {}
    for each in counted:
        refused.update(each.refused)
        moved.add(each.moved)
        late.add(each.late)
        for name, kind in each.kinds.items():
            kinds.setdefault(name, Kind()).add(kind)
            latencies.add(kind.latencies)
    intervals = [Interval() for _ in counted[0].intervals]
    for each in counted:
        for interval, other in zip(intervals, each.intervals, strict=True):
            interval.add(other)
    return Outcome(
        seconds,
        sum(each.payments for each in counted),
        sum(each.payments_all for each in counted),
        sum(each.requests for each in counted),
        latencies,
        refused,
        sum(each.unexplained for each in counted),
        moved,
        sum(each.verified for each in counted),
        intervals,
        sum(clients_s),
        server_s,
        kinds,
        late,
        sum(each.not_sent for each in counted),
        max(clients_s),
    )
