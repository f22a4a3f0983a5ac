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

from tests.e2e.bank import NAME, Bank
from tests.hostile.attackers import ATTACKS
from tests.hostile.bystanders import Bystanders, Noticed, memory_of

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ROUNDS: Final = int(os.environ.get("PIAOHAO_ROUNDS", "3"))
ROUND_S: Final = float(os.environ.get("PIAOHAO_ROUND_S", "8"))
RATIO_MAX: Final = 3.0


@asynccontextmanager
async def _attacked(port: int, attackers: int, *names: str) -> AsyncIterator[None]:
    """Attacks, from when all attackers are in place until the end of this."""
    command = [sys.executable, "-m", "tests.hostile.attackers", str(port), str(attackers), *names]
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
async def _bank(folder: Path) -> AsyncIterator[tuple[Bystanders, int, int]]:
    """A signed node, its honest clients, its port and its process."""
    bank = Bank(folder)
    options = ("--plain", "--name", NAME, "--rate", "100000")
    async with bank.serving(*options) as running:
        await bank.open_business()
        port = int(running.address.rpartition(":")[2])
        pid = running.process.pid
        bystanders = Bystanders(bank, await bank.merchant(), port, pid)
        yield bystanders, port, pid
        await bystanders.hang_up()
        assert await running.end() == 0
    assert b"Traceback" not in running.errors, running.errors.decode()


async def test_attacks_at_once_leave_others_served(tmp_path: Path) -> None:
    """Each honest payment gets its answer, and what attackers hold of the memory is little."""
    async with _bank(tmp_path) as (bystanders, port, pid):
        quiet = await bystanders.notice(0.5)
        before = memory_of(pid)
        async with _attacked(port, 50, *ATTACKS):
            during = await bystanders.notice(2)
        after = await bystanders.notice(0.5)
    assert min(len(each.took_s) for each in (quiet, during, after)) > 0
    assert during.peak_bytes < before + (64 << 20)


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
async def test_attack_costs_others_little_time(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet, during = Noticed([]), Noticed([])
    async with _bank(tmp_path) as (bystanders, port, _):
        await bystanders.notice(1)
        for _ in range(ROUNDS):
            _add(quiet, await bystanders.notice(ROUND_S))
            async with _attacked(port, ATTACKS[name][0], name):
                _add(during, await bystanders.notice(ROUND_S))
    ratio = during.p99_s / quiet.p99_s
    with capsys.disabled():
        print(
            f"\n{name:22} p99 {quiet.p99_s * 1e3:6.1f} ms quiet, {during.p99_s * 1e3:7.1f} ms "
            f"attacked, x{ratio:5.2f}; {len(during.took_s)}/{len(quiet.took_s)} payments, "
            f"{during.lost} connections lost; memory {quiet.peak_bytes >> 20} -> "
            f"{during.peak_bytes >> 20} MiB"
        )
    assert ratio <= RATIO_MAX


def _add(sum_: Noticed, more: Noticed) -> None:
    sum_.took_s += more.took_s
    sum_.lost += more.lost
    sum_.peak_bytes = max(sum_.peak_bytes, more.peak_bytes)
