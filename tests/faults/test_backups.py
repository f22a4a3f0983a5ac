"""Backups taken again and again under load: each restores to all that was acknowledged before it.

Customers in a process of their own send through the gateway and log what is acknowledged. Each
backup is restored; a node on it has, word for word, whatever had been acknowledged when the backup
command began, has its books in order, and works on.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx2
import pytest
import trio

from gateway.cli import run
from gateway.exits import INPUT, OK, STORE
from gateway.operations import Verify
from gateway.operator import perform
from tests.crash.clientele import clientele
from tests.crash.customers import ACCOUNTS, MERCHANTS
from tests.crash.judge import judging
from tests.e2e.process import LIMIT_S, PIAOHAO, make_store, node, piaohao
from tests.faults.bank import make_bank

ROUNDS: Final = int(os.environ.get("PIAOHAO_BACKUPS", "2"))
"""Backups with each number of shards."""
BETWEEN: Final = 100
"""Acknowledgements between one backup and the next."""
CUSTOMERS: Final = 6

PAY_ON: Final = {
    "merchant_no": MERCHANTS[0],
    "order_no": "on",
    "payer": ACCOUNTS[0],
    "amount_minor": 7,
    "currency": "USD",
}


@pytest.mark.parametrize("shards", [1, 3])
async def test_backup_under_load_holds_all_that_was_acknowledged(
    shards: int, tmp_path: Path
) -> None:
    data, log = tmp_path / "bank", tmp_path / "acknowledged"
    await make_store(data, shards)
    with judging(tmp_path / "judge") as judge:
        async with node(data) as running, clientele(running, log, CUSTOMERS) as customers:
            for number in range(ROUNDS):
                copy, restored = tmp_path / f"copy-{number}", tmp_path / f"restored-{number}"
                await customers.until(customers.answered + BETWEEN)
                began_ns, size = time.monotonic_ns(), log.stat().st_size
                made = await piaohao("backup", "--data", data, "--out", copy)
                assert (made.returncode, made.stderr) == (OK, ""), made
                assert log.stat().st_size > size, "there was no load meanwhile"
                again = await piaohao("restore", "--backup", copy, "--data", restored)
                assert (again.returncode, again.stderr) == (OK, ""), again
                assert judge.lost(restored, log, began_ns) == "", f"backup {number}"
                await _works_on(restored)


async def _works_on(data: Path) -> None:
    async with node(data) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        answer = await client.post(f"{running.address}/v1/payments", json=PAY_ON)
        assert answer.status_code == 201
        assert await running.end() == OK
    assert perform(data, Verify())["ok"]


# Backups that do not come about.


def test_backup_that_was_killed_does_not_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or it was over: then it is whole. What is left of it is never taken for a backup."""
    data = tmp_path / "bank"
    trio.run(make_bank, data)
    halves = 0
    for number, begun in enumerate(("unfinished-*", "unfinished-*/shard-0", "shard-*")):
        copy, restored = tmp_path / f"copy-{number}", tmp_path / f"restored-{number}"
        process = subprocess.Popen([*PIAOHAO, "backup", "--data", data, "--out", copy])
        while process.poll() is None and not any(copy.glob(begun)):
            pass
        process.kill()
        process.wait()
        capsys.readouterr()
        code = run(["restore", "--backup", str(copy), "--data", str(restored)])
        if code == OK:
            assert perform(restored, Verify())["ok"]
            continue
        halves += 1
        assert code == STORE
        said = capsys.readouterr().err
        assert (f"there is no backup in {copy}" in said, said.count("\n")) == (True, 1)
        assert run(["backup", "--data", str(data), "--out", str(copy)]) == INPUT
        assert capsys.readouterr().err.count("\n") == 1
    assert halves, "each backup was over before it was killed: this test shows nothing"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for less than a backup."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.machine
async def test_backup_to_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, small_disk: Path
) -> None:
    data = tmp_path / "bank"
    await make_bank(data)
    made = await piaohao("backup", "--data", data, "--out", small_disk / "copy")
    assert (made.returncode, made.stderr.count("\n")) == (STORE, 1), made
    assert not any((small_disk / "copy").iterdir())
    restore = await piaohao("restore", "--backup", data, "--data", small_disk / "restored")
    assert (restore.returncode, restore.stderr.count("\n")) == (STORE, 1), restore
    restore = await piaohao("serve", "--data", small_disk / "restored")
    assert (restore.returncode, restore.stderr.count("\n")) == (STORE, 1), restore


def test_backup_to_where_it_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "bank"
    trio.run(make_bank, data)
    (tmp_path / "file").touch()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "something").touch()
    capsys.readouterr()
    for out, code in (("file", STORE), ("file/copy", STORE), ("taken", INPUT)):
        assert run(["backup", "--data", str(data), "--out", str(tmp_path / out)]) == code
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1), said
    assert run(["restore", "--backup", str(data), "--data", str(data)]) == INPUT
    nowhere = tmp_path / "nowhere"
    assert run(["restore", "--backup", str(nowhere), "--data", str(tmp_path / "new")]) == STORE
    assert perform(data, Verify())["ok"]
