"""The open loop at half load: how long a payment takes that does not wait for those before it.

Each pair has a closed loop, which says what the node can do in this minute, and then an open one
at half of that: signed single payments over the express listener, as a shop sends them, arriving
by a Poisson process. A latency counts from the arrival, so nothing that waits for a free
connection is forgotten (`bench.load.pace`). What was refused or never sent is worse than
anything that was answered.
"""

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Final

from bench.engine_bench import fdatasync_times_ms
from bench.load.arrivals import Phase
from bench.load.client import OpenLoop, Round
from bench.load.clients import Clients, Outcome, clients
from bench.load.latencies import Latencies
from bench.load.node import Running, compare, prepare, running
from bench.load.pace import DRAIN_NS
from bench.peers.observer import Measured, Observer
from bench.peers.plan import LATENCY_MS, LATENCY_SYNCS, Settings
from bench.peers.result import Row, bound_row
from bench.workloads.payments import Payments
from gateway import exits
from gateway.exits import CommandError

MERCHANTS: Final = 100
_WARM_S: Final = 0.5
_SYNCS: Final = 100
"""Raw fdatasyncs before each pair: the 99th percentile is that of all pairs'."""
_TIMES: Final = 2
"""So many times as long as a closed round is an open one, which has half as many payments."""


async def open_rows(store: Path, settings: Settings, observer: Observer) -> list[Row]:
    """Measure a node's p99 at half of what it can do.

    Args:
        store: an empty folder for the node's.
    """
    accounts = settings.target_size()
    place = prepare(store, accounts, MERCHANTS, shards=1, signed=True)
    async with running(place, express=True) as node:
        known = node.certify(range(MERCHANTS))
        async with clients(1, known, node.pid) as callers:
            run = _Run(settings, accounts, node, callers)
            await run.closed(0.5)
            row = await run.row(store, observer)
    held = compare(place.data, MERCHANTS, run.told, run.unknown)
    if held.missing_minor or held.untold_minor or not held.verify_ok:
        detail = f"ours: {held.missing_minor} missing, {held.untold_minor} untold, {held.verify_ok}"
        raise CommandError(exits.CHECK_FAILED, detail)
    return [row]


def p99_ms(latencies: Latencies, failed: int) -> float:
    """Return the 99th percentile of all that arrived: what failed is worse than all that did not.

    Where one in a hundred failed it is the time after which nobody is waited for.
    """
    done = latencies.counts.total()
    share = 0.99 * (done + failed) / done if done else 2.0
    return latencies.percentile_ms(share) if share <= 1 else DRAIN_NS / 1e6


class _Run:
    """A node as it is driven, and what its clients were told in all."""

    def __init__(self, settings: Settings, accounts: int, node: Running, callers: Clients) -> None:
        self._settings = settings
        self._node = node
        self._callers = callers
        self._workload = Payments(accounts, MERCHANTS, seed=settings.seed, own=True)
        self._rounds = 0
        self.told: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    async def row(self, folder: Path, observer: Observer) -> Row:
        """Measure all pairs."""
        settings = self._settings
        group = "open loop"
        capacities, latencies, beside, syncs = [], [], [], []
        for pair in range(settings.pairs):
            syncs += fdatasync_times_ms(folder, _SYNCS)
            beside.append(observer.fdatasync_ms())
            capacities.append(await observer.round(group, "closed loop", pair, self._pay))
            arrive = partial(self._arrive, capacities[-1] / 2)
            latencies.append(await observer.round(group, "ours", pair, arrive))
            sys.stderr.write(
                f"open loop, pair {pair + 1}: {capacities[-1] / 2:,.0f} of {capacities[-1]:,.0f} "
                f"payments/s, p99 {latencies[-1]:.1f} ms\n"
            )
        arrive = partial(self._arrive, capacities[-1] / 2)
        profile = await observer.profile(group, self._node.pid, arrive)
        sync_ms = sorted(syncs)[min(len(syncs) - 1, int(len(syncs) * 0.99))]
        return bound_row(
            f"gateway, open loop: p99 of single payments, signed, express listener, "
            f"{settings.connections} connections, Poisson arrivals at half of the closed loop's "
            f"rate just before; bound: {LATENCY_MS.bound:g} ms + {LATENCY_SYNCS.bound:g} x "
            f"fdatasync's p99 of {sync_ms:.2f} ms",
            latencies,
            LATENCY_MS.bound + LATENCY_SYNCS.bound * sync_ms,
            LATENCY_MS.aim + LATENCY_SYNCS.aim * sync_ms,
            "ms",
            beside,
            disturbed=observer.disturbed(group, "ours", "closed loop"),
            profile=profile,
        )

    async def _pay(self, _: int) -> Measured:
        outcome = await self.closed(self._settings.seconds)
        return Measured(outcome.payments / outcome.seconds)

    async def _arrive(self, rate: float, _: int) -> Measured:
        outcome = await self.open(self._settings.seconds * _TIMES, rate)
        refused = sum(outcome.refused.values())
        more = {
            "arriving_per_s": rate,
            "p50_ms": outcome.latencies.percentile_ms(0.5),
            "p999_ms": outcome.latencies.percentile_ms(0.999),
            "refused": float(refused),
            "not_sent": float(outcome.not_sent),
        }
        return Measured(p99_ms(outcome.latencies, refused + outcome.not_sent), more, "ms")

    async def closed(self, seconds: float) -> Outcome:
        """Pay again as soon as an answer has come."""
        return await self._round(seconds, None)

    async def open(self, seconds: float, rate: float) -> Outcome:
        """Pay as payments arrive, so many a second."""
        return await self._round(seconds, rate)

    async def _round(self, seconds: float, rate: float | None) -> Outcome:
        self._rounds += 1
        number = self._rounds
        arriving = None
        if rate is not None:
            phases = [Phase(_WARM_S + seconds, rate)]
            arriving = OpenLoop(phases, self._settings.seed * 1_000 + number)

        def make(numbers: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
            return Round(
                transport="express",
                address=self._node.addresses["express"],
                workload=self._workload,
                connections=numbers,
                batch=1,
                depth=1,
                prefix=f"{number:04d}",
                start_ns=start_ns,
                gather_ns=0,
                begin_ns=begin_ns,
                end_ns=end_ns,
                arriving=arriving,
            )

        connections = self._settings.connections
        outcome = await self._callers.call(make, connections, seconds, warm_s=_WARM_S)
        if rate is None and not outcome.payments:
            codes = ", ".join(outcome.refused) or "nothing was paid"
            raise CommandError(exits.CHECK_FAILED, f"our node: {codes}")
        self.told.update(outcome.told_minor)
        self.unknown.update(outcome.unknown_minor)
        return outcome
