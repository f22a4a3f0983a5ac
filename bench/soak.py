"""Soak: does a node's memory stay flat, however long it runs?

The engine is driven for a long time with more accounts than it keeps in memory, so that actors
come and go all the while. What is watched is the process's anonymous memory; pages of the store
that the kernel caches do not count, as it takes them back when it needs them.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Final

import trio
from msgspec import Struct

from actors.kinds import KINDS
from bench.engine_bench import Driver, anonymous_mib, choose_payers
from engine.clock import WallClock
from engine.limits import Limits
from engine.node import Node
from storage.lmdb_store import LmdbStore

ACTORS_MAX: Final = 10_000
GROWTH_MAX: Final = 1.05
"""The last fifth's median may be this many times the second fifth's; the first is warm-up."""


class Soaked(Struct, frozen=True):
    """What a soak saw; memory in MiB: the medians of five equal parts of the run."""

    ok: bool
    seconds: float
    payments: int
    actors_max: int
    anonymous_mib: list[float]


async def soak(
    stores: Sequence[LmdbStore], accounts: int, merchants: int, seconds: float
) -> Soaked:
    """Drive a filled store for `seconds` and watch the memory.

    Args:
        stores: all shards of a store, filled by `bench.bulk`, open.
        accounts: how many it has; more than 10,000, else nothing is passivated.
    """
    payers = choose_payers("uniform", accounts, seed=1)
    node = Node(stores, KINDS, WallClock(), Limits(actors_max=ACTORS_MAX))
    samples: list[float] = []
    prefix = f"{stores[0].last.sequence:010d}"
    driver = Driver(node, payers, merchants, prefix, keep_latencies=False)
    begun = time.perf_counter()
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        async with trio.open_nursery() as watching:
            watching.start_soon(_sample, samples, max(0.05, seconds / 2_000))
            result = await driver.run(1_024, 1, seconds)
            watching.cancel_scope.cancel()
        node.stop()
    fifth = max(1, len(samples) // 5)
    parts = [statistics.median(samples[n * fifth : (n + 1) * fifth]) for n in range(5)]
    return Soaked(
        ok=parts[4] <= parts[1] * GROWTH_MAX and not result.refused,
        seconds=time.perf_counter() - begun,
        payments=result.payments,
        actors_max=ACTORS_MAX,
        anonymous_mib=[round(part, 1) for part in parts],
    )


async def _sample(samples: list[float], every_s: float) -> None:
    while True:
        samples.append(anonymous_mib())
        await trio.sleep(every_s)
