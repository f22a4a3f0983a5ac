"""The engine's own benchmark: agreement payments, durable before they are answered.

A closed loop drives a shard in-process: each answer brings the next command. Rounds of the
engine and of the floor (`bench.floor`) alternate on the same disk, with raw fdatasync between
them, so that a figure comes with what the machine gave at that moment. CPU time is the
process's: scheduler, committer thread and driver together; `cpu_us_loop` is the event loop's
thread alone.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal

import trio
from msgspec import Struct

from actors.answers import PaymentView
from actors.commands import CreatePayment
from actors.kinds import KINDS
from bench.bulk import CURRENCY, account_no, merchant_no
from bench.floor import Floor, FloorPayment
from bench.load.inprocess import InProcess
from engine.clock import WallClock
from engine.limits import Limits
from engine.marks import KEY_BYTES, Mark, Marks
from engine.node import Node
from gateway.operations import closing_all
from gateway.verification import verify
from storage.lmdb_store import LmdbStore

Mix = Literal["uniform", "zipf", "hot"]
MIXES: Final[tuple[Mix, ...]] = ("uniform", "zipf", "hot")
ZIPF_S: Final = 0.99
FLOOR_ACCOUNTS_MAX: Final = 1_000_000
_CHOICES: Final = (1 << 18, 1 << 22)
"""How many payers are drawn at least and at most before they come round again."""
_PAID: Final = (PaymentView, FloorPayment)


class BenchError(Exception):
    """The benchmark cannot go on."""


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench engine --help`."""

    mix: Mix = "uniform"
    accounts: int = 100_000
    merchants: int = 1_000
    in_flight: int = 1_024
    batch: int = 1
    seconds: float = 10.0
    rounds: int = 5
    seed: int = 1
    never_idle: bool = False
    shards: int = 1
    actors_max: int = 200_000
    skip_verify: bool = False
    marks_s: int = 0

    @property
    def payees(self) -> int:
        """How many merchants are paid."""
        return 1 if self.mix == "hot" else self.merchants

    def memory(self) -> Marks | None:
        """Return a memory that keeps the rows of marks for `marks_s`; None where there are none."""
        if not self.marks_s:
            return None
        window_s = self.marks_s // 2
        return Marks(window_s=window_s, margin_s=self.marks_s - window_s)


class Figures(Struct, frozen=True, omit_defaults=True):
    """The result; CPU in microseconds a payment, latencies from submission to answer.

    `floor_us` is the floor's process CPU a payment in the same run, 0 where it was left out.
    With a never-idle task, `never_idle_ratio` is its rounds' throughput to the quiet rounds'.
    With marks, `marks_us` is how much more of the process's CPU a payment takes in their rounds: by
    the median of the differences to the rounds before, drawing and taking a mark included.
    `first_answer_s` is from before the store was opened to the first payment's answer;
    `anonymous_mib` the process's memory at the end, the driver's latencies among it. `verify_ok`
    is None where it was to be skipped and nothing was refused.
    """

    mix: Mix
    payments: int
    payments_per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us_process: float
    cpu_us_loop: float
    floor_us: float
    commits: int
    batch_p50: float
    commit_ms_p50: float
    fdatasync_ms_p50: float
    first_answer_s: float
    anonymous_mib: float
    verify_ok: bool | None
    never_idle_ratio: float | None = None
    marks_us: float | None = None


class Round(Struct, frozen=True):
    """What one round of the driver did; times in seconds, latencies in nanoseconds."""

    payments: int
    refused: int
    seconds: float
    cpu_s: float
    loop_cpu_s: float
    latencies_ns: list[int]

    @property
    def cpu_us(self) -> float:
        """Process CPU a payment, microseconds."""
        return self.cpu_s / self.payments * 1e6

    @property
    def loop_cpu_us(self) -> float:
        """CPU of the event loop's thread a payment, microseconds."""
        return self.loop_cpu_s / self.payments * 1e6


def choose_payers(mix: Mix, accounts: int, seed: int) -> array[int]:
    """Return payers' indices in order: Zipf with s = 0.99 by rank, or uniform."""
    chance = random.Random(seed)
    choices = min(max(accounts, _CHOICES[0]), _CHOICES[1])
    if mix != "zipf":
        return array("I", (chance.randrange(accounts) for _ in range(choices)))
    weights = list(accumulate(1 / rank**ZIPF_S for rank in range(1, accounts + 1)))
    ranks = list(range(accounts))
    chance.shuffle(ranks)
    return array("I", chance.choices(ranks, cum_weights=weights, k=choices))


class Driver(InProcess[tuple[str, CreatePayment]]):
    """Keeps a number of payments in flight, in batches that are submitted together.

    Args:
        payers: indices in order, used round and round; payer n pays merchant n modulo
            `merchants`, the one it has an agreement with.
        prefix: begins every order number, so that rounds never repeat one; numbers are dated
            and sequential.
        keep_latencies: without, memory does not grow with the run.
        marks: gives each command a mark, taken here as a gateway does it.
    """

    def __init__(
        self,
        target: Node | Floor,
        payers: Sequence[int],
        merchants: int,
        prefix: str,
        *,
        keep_latencies: bool = True,
        marks: Marks | None = None,
    ) -> None:
        super().__init__()
        self._target = target
        self._payers = payers
        self._merchant_nos = [merchant_no(n) for n in range(merchants)]
        self._addresses = [f"merchant/{number}" for number in self._merchant_nos]
        self._prefix = prefix
        self._orders = 0
        self._keep_latencies = keep_latencies
        self._marks = marks
        self.payments = 0
        self.latencies_ns: list[int] = []
        self.refused = 0

    async def run(self, in_flight: int, batch: int, seconds: float) -> Round:
        """Pay for `seconds`, then wait until everything is answered."""
        begun, cpu, loop_cpu = time.perf_counter(), time.process_time(), time.thread_time()
        await self.closed(in_flight, batch, time.monotonic_ns() + int(seconds * 1e9))
        return Round(
            payments=self.payments,
            refused=self.refused,
            seconds=time.perf_counter() - begun,
            cpu_s=time.process_time() - cpu,
            loop_cpu_s=time.thread_time() - loop_cpu,
            latencies_ns=self.latencies_ns,
        )

    def take(self, count: int) -> list[tuple[str, CreatePayment]]:
        """Return the next payments, each with the address it goes to."""
        first = self._orders + 1
        self._orders += count
        taken = []
        for order in range(first, first + count):
            payer = self._payers[order % len(self._payers)]
            merchant = payer % len(self._merchant_nos)
            command = CreatePayment(
                self._merchant_nos[merchant],
                f"{self._prefix}-{order:09d}",
                account_no(payer),
                100,
                CURRENCY,
            )
            taken.append((self._addresses[merchant], command))
        return taken

    def submit(
        self, each: tuple[str, CreatePayment], since_ns: int, ended: Callable[[], None]
    ) -> None:
        """Submit a payment."""
        address, command = each
        mark = None if self._marks is None else _taken(self._marks)
        reply = _Reply(self, since_ns, ended).answered
        deadline = trio.current_time() + 30
        fault = self._target.submit(address, command, reply, deadline=deadline, mark=mark)
        if fault is not None:
            raise BenchError(f"the engine refused a command: {fault.code}")

    def answered(self, answer: Any, since_ns: int) -> None:
        """Count one answer."""
        self.payments += 1
        if self._keep_latencies:
            self.latencies_ns.append(time.monotonic_ns() - since_ns)
        if type(answer) not in _PAID:
            self.refused += 1


class _Reply:
    """Where one answer goes."""

    __slots__ = ("_driver", "_ended", "_since_ns")

    def __init__(self, driver: Driver, since_ns: int, ended: Callable[[], None]) -> None:
        self._driver = driver
        self._since_ns = since_ns
        self._ended = ended

    def answered(self, answer: Any) -> None:
        self._driver.answered(answer, self._since_ns)
        self._ended()


def _taken(marks: Marks) -> Mark:
    now_s = int(time.time())
    mark = Mark(now_s, os.urandom(KEY_BYTES))
    if not marks.take(now_s, mark.key, now_s):
        raise BenchError("a mark was drawn twice, or the clock was set back")
    return mark


async def measure(
    open_stores: Callable[[], Sequence[LmdbStore]],
    scratch: Path,
    settings: Settings,
    say: Callable[[str], None],
) -> Figures:
    """Run rounds of the floor and of the engine in turn, on the disk that `scratch` is on.

    Args:
        open_stores: returns all shards of a store, filled by `bench.bulk` with as many accounts
            and merchants as `settings` has; they are closed at the end.
        scratch: an empty folder for the floor's store.
        say: told how each round went.

    Raises:
        BenchError: the engine refused a command.
    """
    merchants = settings.payees
    payers = choose_payers(settings.mix, settings.accounts, settings.seed)
    opening = time.perf_counter()
    stores = open_stores()
    memory = settings.memory()
    limits = Limits(actors_max=settings.actors_max)
    node = Node(stores, KINDS, WallClock(), limits, marks=memory)
    floors, engines, disturbed, marked, syncs = [], [], [], [], []
    first = f"{max(store.last.sequence for store in stores):010d}"
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        driver = Driver(node, payers, merchants, f"{first}first")
        await driver.run(1, 1, 0)
        first_answer_s = time.perf_counter() - opening
        # The floor keeps all its actors in memory; for a large store it would be another machine's.
        floor = None
        if settings.accounts <= FLOOR_ACCOUNTS_MAX:
            floor = Floor(
                scratch / "floor",
                [account_no(n) for n in range(settings.accounts)],
                [merchant_no(n) for n in range(merchants)],
            )
        commits = sum(shard.vitals.commits for shard in node.shards)
        for number in range(settings.rounds):
            prefix = f"{first}{number:03d}"
            if floor is not None:
                floors.append(await _floor_round(floor, payers, merchants, prefix, settings))
            syncs.append(fdatasync_ms(scratch))
            engines.append(await _round(node, payers, merchants, f"{prefix}a", settings))
            say(_line(number, floors, engines))
            if settings.never_idle:
                with trio.CancelScope() as scope:
                    nursery.start_soon(_never_idle, scope)
                    disturbed.append(await _round(node, payers, merchants, f"{prefix}b", settings))
                    scope.cancel()
            if memory is not None:
                marked.append(await _round(node, payers, merchants, f"{prefix}c", settings, memory))
        commits = sum(shard.vitals.commits for shard in node.shards) - commits
        recent = [commit for shard in node.shards for commit in shard.vitals.recent]
        node.stop()
    if floor is not None:
        floor.close()
    anonymous = anonymous_mib()
    refused = any(each.refused for each in engines)
    verified: bool | None = None
    if not settings.skip_verify or refused:
        with closing_all([store.snapshot() for store in stores]) as snapshots:
            verified = verify(snapshots).ok and not refused
    for store in stores:
        store.close(clean=True)
    latencies = sorted(ns for each in engines for ns in each.latencies_ns)
    return Figures(
        mix=settings.mix,
        payments=sum(each.payments for each in engines),
        payments_per_s=_rate(engines),
        p50_ms=_percentile_ms(latencies, 0.5),
        p99_ms=_percentile_ms(latencies, 0.99),
        p999_ms=_percentile_ms(latencies, 0.999),
        cpu_us_process=statistics.median(each.cpu_us for each in engines),
        cpu_us_loop=statistics.median(each.loop_cpu_us for each in engines),
        floor_us=statistics.median(each.cpu_us for each in floors) if floors else 0.0,
        commits=commits,
        batch_p50=statistics.median(commit.answers for commit in recent),
        commit_ms_p50=statistics.median(commit.total_ns for commit in recent) / 1e6,
        fdatasync_ms_p50=statistics.median(syncs),
        first_answer_s=first_answer_s,
        anonymous_mib=anonymous,
        verify_ok=verified,
        never_idle_ratio=_rate(disturbed) / _rate(engines) if disturbed else None,
        marks_us=_more_us(engines, marked) if marked else None,
    )


async def _floor_round(
    floor: Floor, payers: Sequence[int], merchants: int, prefix: str, settings: Settings
) -> Round:
    async with trio.open_nursery() as nursery:
        await nursery.start(floor.run)
        result = await _round(floor, payers, merchants, prefix, settings)
        nursery.cancel_scope.cancel()
    return result


async def _round(
    target: Node | Floor,
    payers: Sequence[int],
    merchants: int,
    prefix: str,
    settings: Settings,
    marks: Marks | None = None,
) -> Round:
    seconds = settings.seconds / settings.rounds
    driver = Driver(target, payers, merchants, prefix, marks=marks)
    return await driver.run(settings.in_flight, settings.batch, seconds)


async def _never_idle(scope: trio.CancelScope) -> None:
    """Be runnable all the time, so that the event loop never waits and never gives up the GIL."""
    while not scope.cancel_called:
        await trio.lowlevel.checkpoint()


def _rate(rounds: Sequence[Round]) -> float:
    return sum(each.payments for each in rounds) / sum(each.seconds for each in rounds)


def _more_us(rounds: Sequence[Round], others: Sequence[Round]) -> float:
    return statistics.median(
        other.cpu_us - each.cpu_us for each, other in zip(rounds, others, strict=True)
    )


def _percentile_ms(ascending: Sequence[int], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))] / 1e6


def _line(number: int, floors: Sequence[Round], engines: Sequence[Round]) -> str:
    engine = engines[-1]
    line = f"round {number + 1}: {engine.payments / engine.seconds:,.0f} payments/s, "
    line += f"{engine.cpu_us:.1f} us of CPU each ({engine.loop_cpu_us:.1f} in the loop)"
    if floors:
        ratio = engine.cpu_us / floors[-1].cpu_us
        line += f"; floor {floors[-1].cpu_us:.1f} us, ratio {ratio:.2f}"
    return line


def anonymous_mib(process: int | str = "self") -> float:
    """Return a process's anonymous resident memory (Linux: RssAnon), in MiB; this one's if no
    number is given."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell anonymous memory (RssAnon)")


def fdatasync_ms(folder: Path, times: int = 40) -> float:
    """Return the median of writing 8 KiB and syncing it, in milliseconds: what the disk gives."""
    return statistics.median(fdatasync_times_ms(folder, times))


def fdatasync_times_ms(folder: Path, times: int = 40) -> list[float]:
    """Return what each time took to write 8 KiB and to sync it, in milliseconds."""
    path = folder / "fdatasync.probe"
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    taken = []
    try:
        for _ in range(times):
            os.pwrite(file, b"\x5a" * 8192, 0)
            begun = time.perf_counter_ns()
            os.fdatasync(file)
            taken.append((time.perf_counter_ns() - begun) / 1e6)
    finally:
        os.close(file)
        path.unlink()
    return taken
