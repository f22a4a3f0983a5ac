"""SIGSTOP: a node that stands still under load and goes on, as on a machine that swaps or sleeps.

Its clients give up waiting and send the same again, also while it stands still; when it goes on
it finds everything twice and more often, some of it too late.
"""

import random
import signal
from pathlib import Path

import pytest
import trio

from tests.crash.crowd import crowd, open_town
from tests.crash.log import Log
from tests.crash.witness import Witness, conclude
from tests.e2e.process import make_store, node

STOPPED_S = 2.0


async def _paused(path: Path, shards: int) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    data, told = path / f"bank-{shards}", path / f"told-{shards}"
    log = Log(told)
    witness = Witness(log)
    await make_store(data, shards)
    # The clients' patience ends before the node's own time does, and both while it stands still.
    patience = {"pause_s": 0.05, "patience_s": 0.6, "timeout_s": 1.0}
    async with crowd(told, 9, seed, **patience) as client, node(data) as running:
        await open_town(running.address)
        await client.go_to(running.address)
        await client.told_more(100)
        for _ in range(2):
            running.process.send_signal(signal.SIGSTOP)
            with trio.move_on_after(STOPPED_S):
                assert await running.process.wait() is None
            running.process.send_signal(signal.SIGCONT)
            await client.told_more(150)
        await client.end()
        await witness.check(running.address)
        assert await running.end() == 0
        assert running.errors == b""
    await conclude(witness, log, data)


@pytest.mark.first
async def test_node_stopped_under_load_goes_on_and_every_command_has_one_outcome(
    tmp_path: Path,
) -> None:
    async with trio.open_nursery() as nursery:
        for shards in (1, 3):
            nursery.start_soon(_paused, tmp_path, shards)
