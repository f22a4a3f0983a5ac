"""kill -9 at random moments under mixed load: what was told is there, once, and nothing is changed.

A client in another process does errands through the gateway, logs every outcome that it is told,
and sends again whatever it was not told the outcome of. After each kill the store is verified;
after each start everything told is read back over HTTP (`witness.py`). Some nodes are killed again
before they have recovered, some right after.
"""

import random
import time
from pathlib import Path

import pytest
import trio

from gateway.operations import Verify
from gateway.operator import perform
from tests.crash.crowd import Crowd, crowd, open_town
from tests.crash.log import Log
from tests.crash.town import crosses
from tests.crash.witness import Witness
from tests.e2e.process import make_store, node, starting
from tests.effort import effort

WORKERS = 9
TOLD_MOST = 150
"""Outcomes between a start and a kill. All of them are looked back at after each further start."""


class Lab:
    """One store, killed again and again.

    Args:
        told_most: outcomes between a start and a kill.

    Attributes:
        witness: what was seen of it.
        log: what its client was told.
        recovery_s: the longest that a start after a kill took, from process start to ready.
    """

    def __init__(self, path: Path, shards: int, seed: int, told_most: int) -> None:
        self.data = path / f"bank-{shards}"
        self.shards = shards
        self.log = Log(path / f"told-{shards}")
        self.witness = Witness(self.log)
        self.recovery_s = 0.0
        self._path = path / f"told-{shards}"
        self._seed = seed
        self._told_most = told_most
        self._draw = random.Random(seed)

    async def run(self, rounds: int) -> None:
        """Kill it so many times."""
        await make_store(self.data, self.shards)
        async with crowd(self._path, WORKERS, self._seed) as client:
            for number in range(rounds):
                if number % 5 == 3:
                    await self._killed_while_starting()
                await self._round(client, opened=number > 0)
                report = await trio.to_thread.run_sync(perform, self.data, Verify())
                assert report["ok"], report["violations"]
        async with node(self.data) as running:
            await self.witness.check(running.address)
        payments = [t.command for t in self.log.told.values() if "payer" in t.command]
        if self.shards > 1:
            crossing = sum(crosses(payment, self.shards) for payment in payments)
            assert crossing > len(payments) / 2, "too few of them cross shards"
        # Of many that were told a quarter are told again; of few, where each kill came soon, fewer.
        assert self.log.repeated * 50 > len(self.log.told)
        assert self.log.reused > 0

    async def _killed_while_starting(self) -> None:
        """Kill it before it is ready, once or twice: its recovery is cut off anywhere."""
        for _ in range(self._draw.randrange(1, 3)):
            wait_s = self._draw.uniform(0.3, 1.0) * self.recovery_s
            async with starting(self.data) as process:
                with trio.move_on_after(wait_s):
                    await process.wait()
                assert process.returncode is None, "it does not start"
                process.kill()
                await process.wait()

    async def _round(self, client: Crowd, *, opened: bool) -> None:
        begun = time.perf_counter()
        async with node(self.data) as running:
            if opened:
                self.recovery_s = max(self.recovery_s, time.perf_counter() - begun)
                await self.witness.check(running.address)
            else:
                await open_town(running.address)
            await client.go_to(running.address)
            # Killed in the middle of whatever comes next; now and then at the very beginning.
            quick = self._draw.random() < 0.2
            await client.told_more(self._draw.randrange(1, 5 if quick else self._told_most))
            await running.end(kill=True)


async def _labs(path: Path, rounds: int, told_most: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    labs = [Lab(path, shards, seed, told_most) for shards in (1, 3)]
    async with trio.open_nursery() as nursery:
        for lab in labs:
            nursery.start_soon(lab.run, rounds)
    for lab in labs:
        print(
            f"{lab.shards} shards, {rounds} kills: {len(lab.log.told)} commands told,"
            f" {lab.log.repeated} told again, {lab.log.reused} numbers reused; at most"
            f" {lab.witness.untold} had happened untold; at most {lab.recovery_s:.2f} s to ready"
        )


@pytest.mark.first
async def test_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    await _labs(tmp_path, 15, effort(40, TOLD_MOST))


@pytest.mark.long
@pytest.mark.parametrize("run", range(10))
async def test_kill_at_any_moment_200_times_loses_and_doubles_nothing(
    run: int, tmp_path: Path
) -> None:
    await _labs(tmp_path, 20, TOLD_MOST)
