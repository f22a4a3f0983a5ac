"""Commands sent again and again across kills: each has its effect once.

The client sends arrays, most of it commands that it has sent before: answered ones, and ones that
are under way on another connection. The node is killed at random moments.
"""

import random
import time
from pathlib import Path

import pytest
import trio

from tests.crash.crowd import crowd, open_town
from tests.crash.log import Log
from tests.crash.witness import Witness, conclude
from tests.e2e.process import make_store, node

WORKERS = 6


async def _retried(path: Path, shards: int, commands: int, kills: int, array: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    data, told = path / f"bank-{shards}", path / f"told-{shards}"
    log = Log(told)
    witness = Witness(log)
    await make_store(data, shards)
    begun = time.monotonic()
    settings = {"array": array, "repeated": 0.75, "commands": commands}
    async with crowd(told, WORKERS, seed, **settings) as client:
        for number in range(kills):
            async with node(data) as running:
                if number == 0:
                    await open_town(running.address)
                await client.go_to(running.address)
                await client.told_more(int(commands / (kills + 1) * draw.uniform(0.3, 1.1)), 600)
                await running.end(kill=True)
        async with node(data) as running:
            await client.go_to(running.address)
            await client.finish(limit_s=600)
            took_s = time.monotonic() - begun
            await witness.check(running.address, limit_s=600)
            assert await running.end() == 0
    await conclude(witness, log, data)
    assert log.repeated > len(log.told), "most are told more than once"
    print(
        f"{shards} shards, {kills} kills, {client.told} outcomes told in {took_s:.0f} s:"
        f" {len(log.told)} different ones, {log.repeated} told again"
    )
    told.unlink()


async def _both(path: Path, commands: int, kills: int, array: int) -> None:
    """Do half of it with one shard, and half with three."""
    async with trio.open_nursery() as nursery:
        for shards in (1, 3):
            nursery.start_soon(_retried, path, shards, commands // 2, kills // 2, array)


@pytest.mark.first
async def test_commands_retried_across_kills_have_their_effect_once(tmp_path: Path) -> None:
    await _both(tmp_path, 6_000, 6, 50)


@pytest.mark.long
async def test_a_million_commands_retried_across_50_kills_have_their_effect_once(
    tmp_path: Path,
) -> None:
    await _both(tmp_path, 1_000_000, 50, 200)
