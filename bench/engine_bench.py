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
from engine.shard import Shard

Mix = Literal["uniform", "zipf", "hot"]
MIXES: Final[tuple[Mix, ...]] = ("uniform", "zipf", "hot")
ZIPF_S: Final = 0.99
_CHOICES: Final = 1 << 18
CURRENCY: Final = "CNY"


class Round(Struct, frozen=True):
    """What one round of the engine did; times in seconds, latencies in nanoseconds."""

    payments: int
    refused: int
    seconds: float
    cpu_s: float
    loop_cpu_s: float
    latencies_ns: list[int]
    commits: int
    batches: list[int]
    commit_ns: list[int]


def choose_payers(mix: Mix, accounts: int, seed: int) -> array[int]:
    """Return payers' indices in order: Zipf with s = 0.99 by rank, or uniform."""
    chance = random.Random(seed)
    if mix != "zipf":
        return array("I", (chance.randrange(accounts) for _ in range(_CHOICES)))
    weights = list(accumulate(1 / rank**ZIPF_S for rank in range(1, accounts + 1)))
    ranks = list(range(accounts))
    chance.shuffle(ranks)
    return array("I", chance.choices(ranks, cum_weights=weights, k=_CHOICES))


class Driver:
    """Keeps a number of payments in flight, in batches that are submitted together.

    Args:
        payers: indices in order, used round and round; payer n pays merchant n modulo
            `merchants`, the one it has an agreement with.
        prefix: begins every order number, so that rounds never repeat one; numbers are dated
            and sequential.
    """

    def __init__(
        self, shard: Shard, payers: Sequence[int], accounts: int, merchants: int, prefix: str
    ) -> None:
        self._shard = shard
        self._payers = payers
        self._account_nos = [account_no(n) for n in range(accounts)]
        self._merchant_nos = [merchant_no(n) for n in range(merchants)]
        self._addresses = [f"merchant/{number}" for number in self._merchant_nos]
        self._prefix = prefix
        self._orders = 0
        self._open = 0
        self._until = 0.0
        self._over = trio.Event()
        self.latencies_ns: list[int] = []
        self.refused = 0

    async def run(self, in_flight: int, batch: int, seconds: float) -> Round:
        """Pay for `seconds`, then wait until everything is answered."""
        shard, vitals = self._shard, self._shard.vitals
        commits = vitals.commits
        begun, cpu, loop_cpu = time.perf_counter(), time.process_time(), time.thread_time()
        self._until = begun + seconds
        for _ in range(max(1, in_flight // batch)):
            self._submit(batch)
        await self._over.wait()
        recent = list(vitals.recent)[-(vitals.commits - commits) :]
        return Round(
            payments=len(self.latencies_ns),
            refused=self.refused,
            seconds=time.perf_counter() - begun,
            cpu_s=time.process_time() - cpu,
            loop_cpu_s=time.thread_time() - loop_cpu,
            latencies_ns=self.latencies_ns,
            commits=shard.vitals.commits - commits,
            batches=[commit.answers for commit in recent],
            commit_ns=[commit.total_ns for commit in recent],
        )

    def _submit(self, count: int) -> None:
        begun = time.perf_counter_ns()
        batch = _Batch(self, count, begun) if count > 1 else None
        deadline = trio.current_time() + 30
        self._open += count
        for _ in range(count):
            self._orders += 1
            payer = self._payers[self._orders % len(self._payers)]
            merchant = payer % len(self._merchant_nos)
            command = CreatePayment(
                self._merchant_nos[merchant],
                f"{self._prefix}-{self._orders:09d}",
                self._account_nos[payer],
                100,
                CURRENCY,
            )
            reply: Callable[[Any], None] = (
                batch.answered if batch else _Single(self, begun).answered
            )
            fault = self._shard.submit(
                self._addresses[merchant], command, reply, deadline=deadline
            )
            assert fault is None, fault

    def answered(self, answer: Any, begun: int) -> None:
        """Count one answer."""
        self.latencies_ns.append(time.perf_counter_ns() - begun)
        if type(answer) is not PaymentView:
            self.refused += 1
        self._open -= 1

    def next(self, count: int) -> None:
        """Submit as many again, or end when the time is over and nothing is open."""
        if time.perf_counter() < self._until:
            self._submit(count)
        elif not self._open:
            self._over.set()


class _Single:
    """One command of its own."""

    __slots__ = ("_begun", "_driver")

    def __init__(self, driver: Driver, begun: int) -> None:
        self._driver = driver
        self._begun = begun

    def answered(self, answer: Any) -> None:
        self._driver.answered(answer, self._begun)
        self._driver.next(1)


class _Batch:
    """Commands submitted together; the next batch follows the last answer."""

    __slots__ = ("_begun", "_count", "_driver", "_left")

    def __init__(self, driver: Driver, count: int, begun: int) -> None:
        self._driver = driver
        self._count = self._left = count
        self._begun = begun

    def answered(self, answer: Any) -> None:
        self._driver.answered(answer, self._begun)
        self._left -= 1
        if not self._left:
            self._driver.next(self._count)


def account_no(n: int) -> str:
    """Return the number of the n-th account of a benchmark's store."""
    return f"6217{n:012d}"


def merchant_no(n: int) -> str:
    """Return the number of the n-th merchant of a benchmark's store."""
    return f"M{n:05d}"


def fdatasync_ms(folder: Path, times: int = 40) -> float:
    """Return the median of writing 8 KiB and syncing it, in milliseconds: what the disk gives."""
    path = folder / "fdatasync.probe"
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    taken = []
    try:
        for _ in range(times):
            os.pwrite(file, b"\x5a" * 8192, 0)
            begun = time.perf_counter_ns()
            os.fdatasync(file)
            taken.append(time.perf_counter_ns() - begun)
    finally:
        os.close(file)
        path.unlink()
    return statistics.median(taken) / 1e6
