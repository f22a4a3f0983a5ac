"""Our side in-process: the engine on a store of its own, driven as `piaohao bench engine` does it.

It stays up between rounds and does nothing there. At the end the store is verified, and nothing may
have been refused.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from actors.kinds import KINDS
from bench.engine_bench import Driver, Mix, Round, choose_payers
from bench.engine_run import filled
from engine.clock import WallClock
from engine.node import Node
from gateway import exits
from gateway.exits import CommandError
from gateway.operations import closing_all
from gateway.verification import verify
from storage.folder import Folder


class Engine:
    """Pays on a node that is up.

    Args:
        payers: indices in order; each round goes on elsewhere among them.
        begun: begins every order number, so that runs on one store never repeat one.
    """

    def __init__(self, node: Node, payers: array[int], merchants: int, begun: str = "") -> None:
        self._node = node
        self._payers = payers
        self._merchants = merchants
        self._begun = begun
        self._rounds = 0
        self._at = 0
        self.refused = 0

    async def round(self, in_flight: int, batch: int, seconds: float) -> float:
        """Pay for so long, as many payments in flight; returns payments a second."""
        done = await self.round_(in_flight, batch, seconds)
        return done.payments / done.seconds

    async def round_(self, in_flight: int, batch: int, seconds: float) -> Round:
        """Pay for so long, as many payments in flight."""
        self._rounds += 1
        prefix = f"{self._begun}{self._rounds:04d}"
        # The driver takes the payers from the second one on.
        payers = self._payers[self._at :] + self._payers[: self._at]
        driver = Driver(self._node, payers, self._merchants, prefix, keep_latencies=False)
        done = await driver.run(in_flight, batch, seconds)
        self._at = (self._at + done.payments) % len(self._payers)
        self.refused += done.refused
        return done

    async def everyone(self, in_flight: int) -> None:
        """Have all payers pay once at least."""
        paid = 0
        while paid < len(self._payers):
            paid += (await self.round_(in_flight, 1, 1.0)).payments


@asynccontextmanager
async def engine(
    path: Path, mix: Mix, accounts: int, merchants: int, seed: int
) -> AsyncIterator[Engine]:
    """Have an engine while the block runs, on a new store in the new folder `path`; both then go.

    Raises:
        CommandError: at the end: the store does not verify, or payments were refused.
    """
    with closing(Folder(path, create=True)) as folder:
        for store in filled(folder, accounts, merchants, paid=False, shards=1):
            store.close(clean=True)
        stores = folder.open()
        for store in stores:
            store.begin_epoch()
        node = Node(stores, KINDS, WallClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            running = Engine(node, choose_payers(mix, accounts, seed), merchants)
            yield running
            node.stop()
        with closing_all([store.snapshot() for store in stores]) as snapshots:
            ok = verify(snapshots).ok
        for store in stores:
            store.close(clean=True)
    shutil.rmtree(path)
    if not ok or running.refused:
        detail = f"our store {'verifies' if ok else 'does not verify'}, {running.refused} refused"
        raise CommandError(exits.CHECK_FAILED, detail)
