"""The power goes, at any moment: what was acknowledged is there, whole, and nothing is doubled.

A real node runs under a real load on a disk that keeps a log (`tests.faults.disk`). From the log,
files are made as they may be found after a cut (`tests.crash.power_cut`), all shards at the same
instant, and judged (`tests.crash.aftermath`). The same is done to nodes that write in the ways
that are forbidden: if nothing were lost there, the lab could not see.
"""

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from engine.address import shard_of
from gateway.exits import FAIL_STOP, OK
from tests.crash import aftermath, customers
from tests.crash.clientele import clientele
from tests.crash.judge import judging
from tests.crash.power_cut import file_after, file_before, moments
from tests.crash.unsynced import unsynced
from tests.e2e.process import PIAOHAO, make_store, node, piaohao
from tests.faults.disk import Call, Disk, Kind

CUSTOMERS = 12


class Recording(NamedTuple):
    """A load, as the disk and the customers saw it.

    Attributes:
        base: each shard's file before it, durable.
        calls: what happened to each since.
        log: the customers' log.
    """

    base: dict[str, bytes]
    calls: dict[str, list[Call]]
    log: Path


async def record(
    place: Path,
    shards: int,
    answers: int,
    command: Sequence[str] = PIAOHAO,
    *,
    sync_fails: bool = False,
) -> Recording:
    """Let customers loose on a node until they have had so many views; then it is told to stop,
    or its next sync fails."""
    data, log = place / "bank", place / "customers"
    await make_store(data, shards)
    names = [f"shard-{shard}/data.mdb" for shard in range(shards)]
    base = {name: (data / name).read_bytes() for name in names}
    disk = Disk(data, place / "disk", log=True)
    async with (
        node(data, command=disk.command(command)) as running,
        clientele(running, log, CUSTOMERS) as loose,
    ):
        await loose.until(answers)
        if sync_fails:
            disk.fail(Kind.SYNC, times=1)
            assert await running.process.wait() == FAIL_STOP
        else:
            assert await running.end() == OK
    calls: dict[str, list[Call]] = {name: [] for name in names}
    for call in disk.read_log():
        if call.name in calls:
            calls[call.name].append(call)
    # What the log holds is what is in the files: nothing went past the disk.
    for name in names:
        assert file_before(base[name], calls[name]) == (data / name).read_bytes()
    return Recording(base, calls, log)


def states(
    recording: Recording,
    place: Path,
    count: int,
    draw: random.Random,
    *,
    after_all: bool = False,
) -> Iterator[tuple[Path, int, str]]:
    """Yield stores as they may be found, the moment of the cut, and a name to find it by."""
    times = [at_ns for at_ns, _ in aftermath.acknowledged(recording.log)]
    every = [call for calls in recording.calls.values() for call in calls]
    cuts = [times[-1] + 10**12] * count if after_all else moments(every, times, count, draw)
    for number, cut_ns in enumerate(cuts):
        torn = number % 2 == 1
        data = place / "found"
        for name, base in recording.base.items():
            (data / name).parent.mkdir(parents=True)
            (data / name).write_bytes(
                file_after(base, recording.calls[name], cut_ns, draw, torn=torn)
            )
        yield data, cut_ns, f"state {number}, {'torn' if torn else 'whole'}, cut at {cut_ns}"
        shutil.rmtree(data)


def seeded() -> random.Random:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


async def survive(place: Path, shards: int, answers: int, count: int, sample: int) -> None:
    """Every state is as it must be; on a sample a node of its own is started and stopped first."""
    draw = seeded()
    recording = await record(place, shards, answers)
    with judging(place / "judge") as judge:
        for number, (data, cut_ns, name) in enumerate(states(recording, place, count, draw)):
            if number < sample:
                async with node(data) as running:
                    assert await running.end() == OK
                assert (await piaohao("verify", "--data", data)).returncode == OK
            assert judge.lost(data, recording.log, cut_ns) == "", name


def test_customers_are_spread_over_all_shards() -> None:
    for kind, numbers in (("account", customers.ACCOUNTS), ("merchant", customers.MERCHANTS)):
        assert {shard_of(f"{kind}/{number}", 3) for number in numbers} == {0, 1, 2}


@pytest.mark.parametrize("shards", [1, 3])
async def test_power_cut_loses_and_doubles_nothing(tmp_path: Path, shards: int) -> None:
    await survive(tmp_path, shards, answers=200, count=30, sample=shards // 3)


@pytest.mark.long
@pytest.mark.parametrize("shards", [1, 3])
async def test_power_cut_at_many_moments_loses_nothing(tmp_path: Path, shards: int) -> None:
    """500 states each, half of them torn."""
    await survive(tmp_path, shards, answers=1_000, count=500, sample=10)


@pytest.mark.long
@pytest.mark.parametrize("shards", [1, 3])
async def test_power_cut_after_a_sync_that_failed_loses_nothing(
    tmp_path: Path, shards: int
) -> None:
    """What the kernel makes of pages that it could not write is its own affair: any of them may be
    there. 100 states."""
    draw = seeded()
    recording = await record(tmp_path, shards, 300, sync_fails=True)
    failed = [call for calls in recording.calls.values() for call in calls if call.result < 0]
    assert len(failed) == 1
    with judging(tmp_path / "judge") as judge:
        for data, cut_ns, name in states(recording, tmp_path, 100, draw, after_all=True):
            assert judge.lost(data, recording.log, cut_ns) == "", name


@pytest.mark.parametrize("what", [pytest.param("sync", marks=pytest.mark.long), "metasync"])
async def test_node_that_does_not_sync_is_seen_to_lose(tmp_path: Path, what: str) -> None:
    """The same load and the same cuts, with LMDB opened as it must not be."""
    draw = seeded()
    recording = await record(tmp_path, 1, 150, unsynced(what))
    with judging(tmp_path / "judge") as judge:
        for data, cut_ns, name in states(recording, tmp_path, 200, draw):
            lost = judge.lost(data, recording.log, cut_ns)
            print(name, lost)
            if "acknowledged" in lost:
                return
    pytest.fail("no state was seen to lose what had been acknowledged")
