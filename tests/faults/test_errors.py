"""A disk that fails: callers are told that the outcome is unknown, never that it failed.

Each kind of call by which LMDB commits is made to fail once, or from then on, on one shard or on
three, while every payer waits for an answer. Within a second all of them are told and the node has
ended with 74; what was acknowledged is there after the next start, once.
"""

import errno
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from gateway.exits import FAIL_STOP
from tests.crash.judge import Judge, judging
from tests.e2e.process import LIMIT_S, make_store, node
from tests.faults.disk import Disk, Kind
from tests.faults.payers import Payers, lateness

PAYERS = 24
WITHIN_S = 1.0


class Fault(NamedTuple):
    """What goes wrong; `said` is in the node's last words."""

    kind: Kind
    error: int
    said: bytes
    short_by: int = 0


FAULTS = {
    "sync": Fault(Kind.SYNC, errno.EIO, b"Input/output error"),
    "write": Fault(Kind.WRITE, errno.EIO, b"Input/output error"),
    "full": Fault(Kind.WRITE, errno.ENOSPC, b"No space left on device"),
    "short": Fault(Kind.WRITE, errno.EIO, b"Input/output error", short_by=512),
    "meta": Fault(Kind.META, errno.EIO, b"Input/output error"),
    "short-meta": Fault(Kind.META, errno.EIO, b"Input/output error", short_by=8),
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with judging(tmp_path_factory.mktemp("judge") / "said") as judge:
        yield judge


async def fail(place: Path, judge: Judge, name: str, shards: int, times: int) -> None:
    """Let a call fail while everybody waits, and see what becomes of it."""
    fault = FAULTS[name]
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    data = place / "bank"
    await make_store(data, shards)
    disk = Disk(data, place / "disk")
    async with node(data, command=disk.command()) as running:
        payers = Payers(running.address, PAYERS)
        await payers.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(payers.pay)
            await payers.until(acknowledged=50)
            after = random.Random(seed).randrange(20)
            disk.fail(
                fault.kind,
                fault.error,
                after=after,
                times=times,
                short_by=fault.short_by,
                held=True,
            )
            await payers.until_all_wait()
            while disk.calls(fault.kind)[0] <= after:  # a busy machine had them wait till now
                await payers.until_all_wait()
            async with lateness() as late:
                begun_ns = time.monotonic_ns()
                disk.release(fault.kind)
                with trio.fail_after(LIMIT_S):
                    assert await running.process.wait() == FAIL_STOP
                ended_ns = time.monotonic_ns()
        within_ns = (WITHIN_S + late[-1]) * 1e9
        assert fault.said in running.errors
    told = [each for each in payers.answers if each.at_ns >= begun_ns]
    assert sorted(each.payer for each in told) == list(range(PAYERS))
    assert {(each.status, each.body.get("code")) for each in told} == {(504, "OUTCOME_UNKNOWN")}
    told_ns, gone_ns = told[-1].at_ns - begun_ns, ended_ns - begun_ns
    print(f"told in {told_ns / 1e9:.3f} s, ended in {gone_ns / 1e9:.3f} s, late {late[-1]:.3f} s")
    assert told_ns < within_ns
    assert gone_ns < within_ns
    assert judge.lost(data, payers.write(place / "acknowledged")) == ""


@pytest.mark.parametrize(
    ("name", "shards", "times"),
    [("sync", 3, 1), ("write", 1, 1), ("full", 3, 0), ("meta", 1, 1)],
)
async def test_failing_call_tells_every_waiter_and_ends_with_74(
    tmp_path: Path, judge: Judge, name: str, shards: int, times: int
) -> None:
    await fail(tmp_path, judge, name, shards, times)


@pytest.mark.long
@pytest.mark.parametrize("round_", range(5))
@pytest.mark.parametrize("times", [0, 1])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("name", FAULTS)
async def test_every_failing_call_does_so_every_time(
    tmp_path: Path, judge: Judge, name: str, shards: int, times: int, round_: int
) -> None:
    """All of them, five times each, at another call of its kind each time."""
    await fail(tmp_path, judge, name, shards, times)
