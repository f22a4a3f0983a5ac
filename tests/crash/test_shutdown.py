"""A file system that is really shut down under load: the kernel decides what is left.

The node's store is on an ext4 of its own. In the middle of the load the file system is shut down
without a flush, so that whatever was not synced is gone; then it is mounted again and judged.
"""

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from pathlib import Path

import pytest
import trio

from gateway.exits import FAIL_STOP
from tests.crash.clientele import clientele
from tests.crash.judge import judging
from tests.crash.unsynced import unsynced
from tests.e2e.process import LIMIT_S, PIAOHAO, make_store, node
from tests.faults.loop import Loop, loop

CUSTOMERS = 12


async def shut_down(
    mounted: Loop, log: Path, shards: int, draw: random.Random, command: Sequence[str] = PIAOHAO
) -> Path:
    """Shut the file system down under a node; returns its store, mounted again."""
    data = mounted.path / "bank"
    await make_store(data, shards)
    async with (
        node(data, command=command) as running,
        clientele(running, log, CUSTOMERS) as customers,
    ):
        await customers.until(draw.randrange(30, 200))
        await trio.sleep(draw.random() / 20)  # anywhere within a few commits
        try:
            mounted.shut_down()
        except OSError as error:
            pytest.skip(f"ext4 cannot be shut down here: {error.strerror}")
        with trio.fail_after(LIMIT_S):
            assert await running.process.wait() == FAIL_STOP
    mounted.unmount()
    mounted.mount()
    return data


async def rounds(place: Path, command: Sequence[str] = PIAOHAO) -> AsyncGenerator[str, None]:
    """Yield what each round has lost; every other one has three shards, each a new file system."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    with judging(place / "judge") as judge:
        for round_ in count():
            home = place / str(round_)
            with loop(home) as mounted:
                log = home / "customers"
                data = await shut_down(mounted, log, 1 if round_ % 2 else 3, draw, command)
                yield judge.lost(data, log)


async def nothing_is_lost(place: Path, wanted: int) -> None:
    async with aclosing(rounds(place)) as every:
        done = 0
        async for lost in every:
            assert lost == "", f"round {done}"
            done += 1
            if done == wanted:
                return


@pytest.mark.machine
async def test_file_system_shut_down_under_load_loses_nothing(tmp_path: Path) -> None:
    await nothing_is_lost(tmp_path, 1)


@pytest.mark.machine
@pytest.mark.long
async def test_file_system_shut_down_many_times_loses_nothing(tmp_path: Path) -> None:
    await nothing_is_lost(tmp_path, 40)


@pytest.mark.machine
@pytest.mark.long
@pytest.mark.parametrize("what", ["sync", "metasync"])
async def test_file_system_shut_down_is_seen_to_lose_what_is_not_synced(
    tmp_path: Path, what: str
) -> None:
    """The same with LMDB opened as it must not be: within ten rounds something is lost."""
    async with aclosing(rounds(tmp_path, unsynced(what))) as every:
        done = 0
        async for lost in every:
            print(lost)
            if lost:
                return
            done += 1
            assert done < 10, "nothing is lost: the lab cannot see"
