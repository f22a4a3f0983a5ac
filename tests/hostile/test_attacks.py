"""Attacks on a node: whoever is honest is served meanwhile, and memory stays bounded.

In the suite all attacks come at once, on a small scale, and nobody is judged by speed. On their own
and in full they are `./just hostile`, which prints a table: p99 of the honest clients' payments
without and with each attack, the two measured in turns, and what the node had in memory.
"""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from msgspec import Struct

from tests.e2e.bank import NAME, Bank
from tests.gateway.serving import Door
from tests.hostile.attackers import ATTACKS, STREAMS
from tests.hostile.bystanders import Bystanders, Noticed, memory_of

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ROUNDS: Final = int(os.environ.get("PIAOHAO_ROUNDS", "3"))
ROUND_S: Final = float(os.environ.get("PIAOHAO_ROUND_S", "8"))
STEADY_S: Final = 3.0
"""After this an attack is what it is going to be: its first burst is over."""
RATIO_MAX: Final = 3.0
STREAM_KIB_MAX: Final = 56
DOORS: Final[tuple[Door, ...]] = ("main", "express")


class Site(Struct, frozen=True):
    """A node's listener that is attacked, by port and name, and the node's process."""

    port: int
    host: str
    pid: int
    bystanders: Bystanders


@asynccontextmanager
async def _attacked(site: Site, attackers: int, *names: str) -> AsyncIterator[None]:
    """Attacks, from when all attackers are in place until the end of this."""
    where = (str(site.port), site.host)
    command = [sys.executable, "-m", "tests.hostile.attackers", *where, str(attackers), *names]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with trio.fail_after(60):
            assert await process.stdout.receive_some(), "the attackers have fallen out"
        yield
        assert process.returncode is None, "the attackers have given up"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def _bank(folder: Path, door: Door, *more: str) -> AsyncIterator[Site]:
    """A node, signed unless told otherwise, and honest clients of one of its listeners."""
    bank = Bank(folder)
    options = (
        *more,
        "--plain",
        "--name",
        NAME,
        "--rate",
        "100000",
        "--express-listen",
        "127.0.0.1:0",
    )
    async with bank.serving(*options) as running:
        await bank.open_business()
        address = running.address if door == "main" else running.express_address
        port = int(address.rpartition(":")[2])
        host = NAME if door == "main" else f"{NAME}:{port}"
        pid = running.process.pid
        bystanders = Bystanders(bank, await bank.merchant(), port, host, pid)
        yield Site(port, host, pid, bystanders)
        await bystanders.hang_up()
        assert await running.end() == 0
    assert b"Traceback" not in running.errors, running.errors.decode()


@pytest.mark.parametrize("door", DOORS)
async def test_attacks_at_once_leave_others_served(door: Door, tmp_path: Path) -> None:
    """Each honest payment gets its answer, and what attackers hold of the memory is little."""
    async with _bank(tmp_path, door) as site:
        quiet = await site.bystanders.notice(0.2)
        before = memory_of(site.pid)
        async with _attacked(site, 50, *ATTACKS):
            during = await site.bystanders.notice(1.5)
        after = await site.bystanders.notice(0.2)
    assert min(len(each.took_s) for each in (quiet, during, after)) > 0
    assert during.peak_bytes < before + (64 << 20)


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_costs_others_little_time(
    name: str, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet, during = Noticed([]), Noticed([])
    async with _bank(tmp_path, door) as site:
        await site.bystanders.notice(1)
        for _ in range(ROUNDS):
            _add(quiet, await site.bystanders.notice(ROUND_S))
            async with _attacked(site, ATTACKS[name][0], name):
                await site.bystanders.notice(STEADY_S)
                _add(during, await site.bystanders.notice(ROUND_S))
    ratio = during.p99_s / quiet.p99_s
    with capsys.disabled():
        print(
            f"\n{name:20} {door:8} p99 {quiet.p99_s * 1e3:6.1f} ms quiet, "
            f"{during.p99_s * 1e3:7.1f} ms attacked, x{ratio:5.2f}; "
            f"{len(during.took_s)}/{len(quiet.took_s)} payments, {during.lost} connections lost; "
            f"memory {quiet.peak_bytes >> 20} -> {during.peak_bytes >> 20} MiB"
        )
    assert ratio <= RATIO_MAX


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
async def test_idle_streams_take_little_memory(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Five thousand of them, each pinged every 25 s; others are served beside them."""
    streams = 5_000
    async with _bank(tmp_path, door, "--unsigned", "--connections", "8000") as site:
        await site.bystanders.notice(1)
        quiet = await site.bystanders.notice(ROUND_S)
        before = memory_of(site.pid)
        async with _attacked(site, streams, STREAMS):
            await site.bystanders.notice(2 * STEADY_S)
            during = await site.bystanders.notice(ROUND_S)
            files = _open_files(site.pid)
            each = (memory_of(site.pid) - before) / streams / 1_024
    with capsys.disabled():
        print(
            f"\n{STREAMS:20} {door:8} p99 {quiet.p99_s * 1e3:6.1f} ms quiet, "
            f"{during.p99_s * 1e3:7.1f} ms beside {streams}; {each:.1f} KiB each"
        )
    assert files > streams
    assert each <= STREAM_KIB_MAX


def _add(sum_: Noticed, more: Noticed) -> None:
    sum_.took_s += more.took_s
    sum_.lost += more.lost
    sum_.peak_bytes = max(sum_.peak_bytes, more.peak_bytes)


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
