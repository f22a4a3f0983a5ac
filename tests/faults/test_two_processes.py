"""Two processes on one store, and stores of other versions: one line, and nothing is changed."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx2
import lmdb
import msgspec
import pytest
import trio

from gateway.cli import run
from gateway.exits import FAIL_STOP, INPUT, OK, STORE, UNREACHABLE
from gateway.operations import Verify
from gateway.operator import perform
from storage import lmdb_store, row
from storage.folder import Folder
from tests.e2e.process import LIMIT_S, make_store, node, piaohao
from tests.shards import SHARDS

ROWS: Final = "kind,reference,payer,merchant,amount_minor,currency,time,original\n"


async def _open_account(client: httpx2.AsyncClient, address: str, number: str) -> httpx2.Response:
    body = {"account_no": number, "currency": "USD"}
    return await client.post(f"{address}/v1/accounts", json=body)


async def test_second_process_is_refused_or_asks_the_first(tmp_path: Path) -> None:
    data, file = tmp_path / "bank", tmp_path / "rows.csv"
    await make_store(data)
    await trio.Path(file).write_text(ROWS, "ascii")
    async with node(data) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        assert (await _open_account(client, running.address, "A1")).status_code == 201
        for arguments, code in (
            (("serve", "--listen", "127.0.0.1:0"), STORE),
            (("init",), STORE),
            (("replay", file, "--exit"), STORE),
            (("restore", "--backup", tmp_path / "none"), STORE),
            (("verify",), OK),
            (("backup", "--out", tmp_path / "copy"), OK),
            (("parked", "list"), OK),
            (("day", "cut", "2026-01-05"), OK),
        ):
            ended = await piaohao(*arguments, "--data", data)
            assert ended.returncode == code, ended
            assert ended.stderr.count("\n") == (code != OK), ended
            if code == STORE:
                assert "is in use by another process" in ended.stderr
        assert (await _open_account(client, running.address, "A2")).status_code == 201
        assert await running.end() == OK
    assert perform(data, Verify())["ok"]
    ended = await piaohao("day", "cut", "2026-01-06", "--data", data)
    assert (ended.returncode, ended.stderr.count("\n")) == (UNREACHABLE, 1)


async def test_node_past_the_lock_is_fenced_and_nothing_acknowledged_is_lost(
    tmp_path: Path,
) -> None:
    """Somebody deletes the lock file under a running node and starts another one.

    The first one's next commit finds the other's epoch: it ends with 74 and says why. What either
    has acknowledged is in the store.
    """
    await make_store(tmp_path)
    async with node(tmp_path) as first, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        for n in range(4):
            assert (await _open_account(client, first.address, f"A{n}")).status_code == 201
        await trio.Path(tmp_path / "lock").unlink()
        async with node(tmp_path) as second:
            assert (await _open_account(client, second.address, "B1")).status_code == 201
            answer = await _open_account(client, first.address, "A4")
            assert (answer.status_code, answer.json()["code"]) == (504, "OUTCOME_UNKNOWN")
            with trio.fail_after(LIMIT_S):
                assert await first.process.wait() == FAIL_STOP
            assert b"another process has taken the store over" in first.errors
            for number in ("A0", "A1", "A2", "A3", "B1"):
                path = f"{second.address}/v1/accounts/{number}"
                assert (await client.get(path)).status_code == 200
            assert await second.end() == OK
    assert perform(tmp_path, Verify())["ok"]


async def test_copy_of_a_folder_with_its_lock_is_a_store_of_its_own(tmp_path: Path) -> None:
    """The lock is the kernel's, not the file's: a copied lock file keeps nobody out."""
    await make_store(tmp_path / "bank")
    async with node(tmp_path / "bank") as running, httpx2.AsyncClient() as client:
        await _open_account(client, running.address, "A1")
        assert await running.end(kill=True) != OK
    shutil.copytree(tmp_path / "bank", tmp_path / "copy", ignore=_sockets)
    async with (
        node(tmp_path / "bank") as one,
        node(tmp_path / "copy") as other,
        httpx2.AsyncClient() as client,
    ):
        for address in (one.address, other.address):
            assert (await _open_account(client, address, "A2")).status_code == 201
        assert (await one.end(), await other.end()) == (OK, OK)


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_socket()]


# Stores that another version has written.


def _change_format(shard: Path, **changes: Any) -> None:
    env = lmdb.open(str(shard), max_dbs=20)
    with env.begin(write=True) as txn:
        db = env.open_db(row.META.encode(), txn=txn)
        key = lmdb_store.FORMAT_KEY
        format_ = msgspec.msgpack.decode(row.unseal(row.META, key, txn.get(key, db=db) or b""))
        payload = msgspec.msgpack.encode({**format_, **changes})
        txn.put(key, row.seal(row.META, key, payload), db=db)
    env.close()


def _add_table(shard: Path) -> None:
    env = lmdb.open(str(shard), max_dbs=20)
    env.open_db(b"certificates")
    env.close()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": lmdb_store.VERSION + 1}, "holds format 3; this version knows format 2 only"),
        ({"version": 1}, "holds format 1; this version knows format 2 only"),
        ({"slot_map_version": 2}, "has map 2 of 1024 slots"),
        ({"slots": 2048}, "has map 1 of 2048 slots"),
        (None, "holds tables that this version does not know: certificates"),
    ],
)
def test_store_of_another_version_is_refused_and_not_touched(
    change: dict[str, Any] | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "bank"
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", 1_767_600_000_000_000_000, shards=SHARDS)
        shards = folder.shard_folders()
    for shard in shards:
        if change is None:
            _add_table(shard)
        else:
            _change_format(shard, **change)
    before = [(shard / "data.mdb").read_bytes() for shard in shards]
    new = tmp_path / "new"
    for arguments in (
        ("serve", "--unsigned", "--listen", "127.0.0.1:0", "--data", data),
        ("verify", "--data", data),
        ("export", "accounts", "--out", tmp_path / "out.csv", "--data", data),
        ("backup", "--out", tmp_path / "copy", "--data", data),
        ("restore", "--backup", data, "--data", new),
    ):
        assert run([str(each) for each in arguments]) == STORE, arguments
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1), said
        assert says in said.err
    assert [(shard / "data.mdb").read_bytes() for shard in shards] == before
    assert not (tmp_path / "copy").exists()
    assert run(["init", "--data", str(data)]) == INPUT
