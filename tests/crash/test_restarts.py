"""Restarts under load, in good order and not: a retry with the same number cures every failure.

The node always comes back at the same address, and the clients know nothing but the documented
rules: Retry-After, TIMEOUT, OUTCOME_UNKNOWN, connections that are cut or refused.
"""

import random
import socket
from pathlib import Path

import pytest
import trio

from tests.crash.crowd import crowd, open_town
from tests.crash.log import Log
from tests.crash.witness import Witness, conclude
from tests.e2e.process import make_store, node
from tests.effort import effort

RESTARTS = 5
"""With one shard, and as many with three."""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def _restarted(path: Path, shards: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    data, told = path / f"bank-{shards}", path / f"told-{shards}"
    log = Log(told)
    witness = Witness(log)
    await make_store(data, shards)
    listen = f"127.0.0.1:{_free_port()}"
    async with crowd(told, 9, seed, pause_s=0.05) as client:
        for restart in range(RESTARTS):
            async with node(data, listen=listen) as running:
                if restart == 0:
                    await open_town(running.address)
                    await client.go_to(running.address)
                await client.told_more(draw.randrange(20, effort(60, 120)))
                killed = draw.random() < 0.5
                code = await running.end(kill=killed)
                assert code == (-9 if killed else 0)
                assert running.errors == b""
        async with node(data, listen=listen) as running:
            await client.end()
            await witness.check(running.address)
            assert await running.end() == 0
    await conclude(witness, log, data)


@pytest.mark.first
async def test_restarts_under_load_leave_every_command_its_one_outcome(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        for shards in (1, 3):
            nursery.start_soon(_restarted, tmp_path, shards)
