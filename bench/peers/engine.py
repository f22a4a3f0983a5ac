"""Our side in-process: the engine on a store of its own, driven as `piaohao bench engine` does it.

It stays up between rounds and does nothing there. At the end the store is verified, and nothing may
have been refused.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from actors.kinds import KINDS
from bench.engine_bench import Driver, Mix, choose_payers
from bench.engine_run import filled
from engine.clock import WallClock
from engine.limits import Limits
from engine.node import Node
from gateway import exits
from gateway.exits import CommandError
from gateway.operations import closing_all
from gateway.verification import verify
from storage.folder import Folder

_ACTORS_MAX = 200_000
"""Actors in memory, as `piaohao bench engine` has it unless told otherwise."""


class Engine:
    """An engine that is up; made by `engine`."""

    def __init__(self, node: Node, mix: Mix, accounts: int, merchants: int, seed: int) -> None:
        self._node = node
        self._payers = choose_payers(mix, accounts, seed)
        self._merchants = merchants
        self._rounds = 0
        self.refused = 0

    async def round(self, in_flight: int, batch: int, seconds: float) -> float:
        """Pay for so long, as many payments in flight; returns payments a second."""
        self._rounds += 1
        prefix = f"{self._rounds:04d}"
        # The driver takes the payers from the first one on: each round goes on elsewhere.
        at = self._rounds * len(self._payers) // 64 % len(self._payers)
        payers = self._payers[at:] + self._payers[:at]
        driver = Driver(self._node, payers, self._merchants, prefix, keep_latencies=False)
        done = await driver.run(in_flight, batch, seconds)
        self.refused += done.refused
        return done.payments / done.seconds


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
        node = Node(stores, KINDS, WallClock(), Limits(actors_max=_ACTORS_MAX))
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            running = Engine(node, mix, accounts, merchants, seed)
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
