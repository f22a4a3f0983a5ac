"""Memory: what a node keeps with ten million accounts on disk, most of which it has no place for.

A node with its default limits serves the large store. Clients have it touch several times as many
accounts as it may keep active, in signed arrays over the express listener. The figure of a round
is the highest anonymous resident memory of the node in it (RssAnon, proc(5)): pages of the store
are not in it, for the kernel can take those back.
"""

import math
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import trio

from bench.engine_bench import anonymous_mib
from bench.load.client import Round
from bench.load.clients import Clients, Outcome, clients
from bench.load.identities import Known
from bench.load.node import Running, running, with_keys
from bench.peers.observer import Measured, Observer
from bench.peers.plan import MEMORY, MERCHANTS, Settings
from bench.peers.result import Row, bound_row
from bench.workloads.payments import Payments
from engine.limits import Limits
from gateway.operations import Call
from gateway.operator import ask

CONNECTIONS: Final = 200
"""Each pays a merchant of its own, from that merchant's customers."""
_BATCH: Final = 10
_TIMES: Final = 3
"""Before the first round so many times as many accounts were touched as may be active."""
_SHARE_MAX: Final = 0.9
"""Of a store with too few accounts for that, this share was."""
_LOOK_S: Final = 0.1


async def memory_rows(
    large: Path, store: Path, settings: Settings, observer: Observer
) -> tuple[list[Row], int, int]:
    """Measure the memory of a node on the large store.

    Args:
        large: data folder of the large store.
        store: a folder for the node's keys.

    Returns the row, what clients were told was paid, and what of it they do not know; minor units.
    """
    place = with_keys(store, large, signed=True)
    async with running(place, express=True) as node:
        known = node.certify(range(CONNECTIONS))
        assert known is not None
        async with clients(1, known, node.pid) as callers:
            touching = _Touching(node, callers, settings)
            enough = min(Limits().actors_max * _TIMES, touching.customers * _SHARE_MAX)
            while touching.touched < enough:
                await touching.round(settings.seconds)
            peaks = []
            syncs = []
            for pair in range(settings.pairs):
                syncs.append(observer.fdatasync_ms())
                peaks.append(
                    await observer.round("memory", "ours", pair, touching.measured, again=False)
                )
                sys.stderr.write(
                    f"memory, round {pair + 1}: {peaks[-1]:,.1f} MiB with "
                    f"about {touching.touched:,} accounts touched\n"
                )
        _revoke(node, known)
    measure = (
        f"memory: a node's anonymous resident memory with {settings.large:,} accounts on disk, "
        f"{Limits().actors_max:,} of them active at the most, about {touching.touched:,} "
        "touched; bound"
    )
    row = bound_row(measure, peaks, MEMORY.bound, MEMORY.aim, "MiB", syncs)
    return [row], touching.told_minor, touching.unknown_minor


def _revoke(node: Running, known: Known) -> None:
    """Revoke the certificates, of which a merchant may only have so many, for the next run."""
    for holder in known.holders:
        path = f"/v1/merchants/{holder.merchant_no}/certificates/{holder.keyid}/revoke"
        ask(node.place.data, Call("POST", path, msgspec.json.encode({}).decode()))


class _Touching:
    """Clients that touch accounts, and what they were told."""

    def __init__(self, node: Running, callers: Clients, settings: Settings) -> None:
        self._node = node
        self._callers = callers
        self._settings = settings
        self._workload = Payments(settings.large, MERCHANTS, seed=settings.seed, own=True)
        self._begun = f"{time.time_ns() // 1_000_000_000:x}"
        self._rounds = 0
        self.payments = 0
        self.told_minor = 0
        self.unknown_minor = 0

    @property
    def customers(self) -> float:
        """Accounts that may be drawn."""
        return CONNECTIONS * self._settings.large / MERCHANTS

    @property
    def touched(self) -> int:
        """About how many accounts were touched: as many as so many draws hit on average."""
        return int(self.customers * (1 - math.exp(-self.payments / self.customers)))

    async def measured(self, _: int) -> Measured:
        """Touch for a round; its value is the highest memory seen."""
        peaks = [0.0]

        async def look() -> None:
            while True:
                peaks[0] = max(peaks[0], anonymous_mib(self._node.pid))
                await trio.sleep(_LOOK_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            outcome = await self.round(self._settings.seconds)
            nursery.cancel_scope.cancel()
        more = {"payments_per_s": outcome.payments / outcome.seconds, "touched": self.touched}
        return Measured(peaks[0], more, "MiB")

    async def round(self, seconds: float) -> Outcome:
        """Touch for so long."""
        self._rounds += 1
        prefix = f"{self._begun}{self._rounds:04d}"
        seed = self._settings.seed + self._rounds  # or all rounds would draw the same payers
        workload = msgspec.structs.replace(self._workload, seed=seed)

        def make(numbers: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
            return Round(
                transport="express",
                address=self._node.addresses["express"],
                workload=workload,
                connections=numbers,
                batch=_BATCH,
                depth=1,
                prefix=prefix,
                start_ns=start_ns,
                gather_ns=0,
                begin_ns=begin_ns,
                end_ns=end_ns,
            )

        outcome = await self._callers.call(make, CONNECTIONS, seconds, warm_s=0.0)
        self.payments += outcome.payments_all
        self.told_minor += outcome.told_minor.total()
        self.unknown_minor += outcome.unknown_minor.total()
        return outcome
