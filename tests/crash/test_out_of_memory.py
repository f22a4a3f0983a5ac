"""A node that the kernel kills for want of memory: a kill at a moment of its own choice."""

import os
import random
from pathlib import Path

import pytest
import trio

from tests.crash.cgroup import memory_group
from tests.crash.crowd import crowd, open_town
from tests.crash.log import Log
from tests.crash.witness import Witness, conclude
from tests.e2e.process import LIMIT_S, PIAOHAO, make_store, node


@pytest.mark.machine
async def test_node_killed_for_want_of_memory_under_load_loses_nothing(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    data, told = tmp_path / "bank", tmp_path / "told"
    log = Log(told)
    await make_store(data, shards=3)
    with memory_group(f"piaohao-{os.getpid()}") as group:
        async with crowd(told, 9, seed, array=100) as client:
            async with node(data, command=group.command(*PIAOHAO)) as running:
                await open_town(running.address)
                await client.go_to(running.address)
                await client.told_more(500)
                group.squeeze()
                with trio.fail_after(LIMIT_S):
                    await running.process.wait()
                assert running.process.returncode == -9
                assert group.killed() == 1
            async with node(data) as running:
                witness = Witness(log)
                await witness.check(running.address)
                await client.go_to(running.address)
                await client.end()
                await witness.check(running.address)
                assert await running.end() == 0
    await conclude(witness, log, data)
