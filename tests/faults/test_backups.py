"""Backups taken again and again under load: each restores to all that was acknowledged before it.

A client in a process of its own sends payments, holds and captures through the gateway and logs
what is acknowledged. Each backup is restored; a node on it has, word for word, whatever the log
held when the backup command began, has its books in order, and works on.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import trio

from gateway.cli import run
from gateway.exits import INPUT, OK, STORE
from gateway.operations import Verify
from gateway.operator import perform
from gateway.series import nanoseconds
from storage.folder import Folder
from tests.e2e import shopper
from tests.e2e.process import BEGINS, LIMIT_S, PIAOHAO, node, piaohao
from tests.faults.bank import make_bank

ROUNDS: Final = int(os.environ.get("PIAOHAO_BACKUPS", "2"))
"""Backups with each number of shards."""
BETWEEN: Final = 60
"""Acknowledgements between one backup and the next."""
WORKERS: Final = 6
FUNDS: Final = 10**12

OPENING: Final[list[dict[str, Any]]] = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 1_000},
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": FUNDS,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
]  # fmt: skip


def acknowledged(log: Path) -> list[dict[str, Any]]:
    """Return what is in the log now; a line that is not there in full was not acknowledged yet."""
    text = log.read_text("ascii")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


async def everything(client: httpx2.AsyncClient, address: str) -> dict[tuple[str, str], Any]:
    """Return all payments and authorizations of the merchant, by kind and number."""
    found: dict[tuple[str, str], Any] = {}
    for kind, name in (("payment", "order_no"), ("authorization", "hold_no")):
        cursor = ""
        while cursor is not None:
            path = f"{address}/v1/{kind}s?merchant_no=M1&limit=100{cursor}"
            page = (await client.get(path)).json()
            found |= {(kind, view[name]): view for view in page["items"]}
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return found


async def check(data: Path, views: list[dict[str, Any]]) -> None:
    """Start a node on a restored store: everything is there, nothing twice, and it works on."""
    async with node(data) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        with trio.fail_after(LIMIT_S):
            # What was on its way between shards arrives first.
            report = await trio.to_thread.run_sync(perform, data, Verify())
            while any(each["messages"] for each in report["sums"].values()):
                report = await trio.to_thread.run_sync(perform, data, Verify())
        assert report["ok"], report["violations"]
        found = await everything(client, running.address)
        for view in views:
            if view["object"] == "payment":
                assert found["payment", view["order_no"]] == view, "lost or changed"
            elif view["object"] == "authorization":
                assert found["authorization", view["hold_no"]]["created_at"] == view["created_at"]
            else:
                hold = found["authorization", view["original"]]
                assert (hold["state"], hold["captured_minor"]) == ("CAPTURED", 11), "lost"
        paid = sum(
            view["amount_minor"] if view["object"] == "payment" else view["captured_minor"]
            for view in found.values()
            if view["state"] in {"SUCCEEDED", "CAPTURED"}
        )
        account = (await client.get(f"{running.address}/v1/accounts/A1")).json()
        merchant = (await client.get(f"{running.address}/v1/merchants/M1")).json()
        assert account["posted_minor"] == FUNDS - paid
        assert merchant["posted_minor"] + merchant["fees_minor"] == paid
        payment = {"merchant_no": "M1", "order_no": "on", "payer": "A1", "amount_minor": 7,
                   "currency": "USD"}  # fmt: skip
        answer = await client.post(f"{running.address}/v1/payments", json=payment)
        assert answer.status_code == 201
        assert await running.end() == OK
    assert perform(data, Verify())["ok"]


@pytest.mark.parametrize("shards", [1, 3])
async def test_backup_under_load_holds_all_that_was_acknowledged(
    shards: int, tmp_path: Path
) -> None:
    data, log = tmp_path / "bank", tmp_path / "acknowledged"
    log.touch()
    with closing(Folder(data, create=True)) as folder:
        folder.create(BEGINS.date().isoformat(), nanoseconds(BEGINS), shards=shards)
    client = await trio.lowlevel.open_process(
        [sys.executable, shopper.__file__, str(log), str(WORKERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        async with node(data) as running, trio.open_nursery() as nursery:
            async with httpx2.AsyncClient() as opener:
                answers = await opener.post(f"{running.address}/v1/commands", json=OPENING)
            assert {each["status"] for each in answers.json()} == {201}
            await client.stdin.send_all(running.address.encode() + b"\n")
            told = trio.Semaphore(0)

            async def count() -> None:
                assert client.stdout is not None
                async for chunk in client.stdout:
                    for _ in range(chunk.count(b"\n")):
                        told.release()

            nursery.start_soon(count)
            for number in range(ROUNDS):
                for _ in range(BETWEEN):
                    with trio.fail_after(LIMIT_S):
                        await told.acquire()
                before = acknowledged(log)
                copy, restored = tmp_path / f"copy-{number}", tmp_path / f"restored-{number}"
                made = await piaohao("backup", "--data", data, "--out", copy)
                assert (made.returncode, made.stderr) == (OK, ""), made
                assert len(before) >= BETWEEN
                assert len(acknowledged(log)) > len(before), "there was no load meanwhile"
                again = await piaohao("restore", "--backup", copy, "--data", restored)
                assert (again.returncode, again.stderr) == (OK, ""), again
                assert perform(restored, Verify())["ok"]
                await check(restored, before)
            nursery.cancel_scope.cancel()
    finally:
        client.kill()
        await client.wait()
        await client.stdin.aclose()
        await client.stdout.aclose()


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
