"""Corruption: whatever was changed in a store's files is found, and no wrong value is given out.

Hundreds of damages are done to copies of one store (`tests.faults.corruptor`): flipped bits, lost
and swapped pages and cut files behind LMDB's back, and rows changed, emptied and moved through it.
Then rows are put back as they were hours before, each with its valid checksum: lost writes.
"""

import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import lmdb
import pytest
import trio

from gateway.cli import run
from gateway.exits import CHECK_FAILED, FAIL_STOP, STORE
from gateway.verification import verify
from storage import row
from storage.folder import look
from storage.journal import open_commit
from storage.lmdb_store import LmdbStore
from storage.memory import MemorySnapshot
from tests.e2e.process import LIMIT_S, node, piaohao
from tests.faults import corruptor
from tests.faults.bank import NUMBERS, make_bank

CASES: Final = int(os.environ.get("PIAOHAO_CORRUPTIONS", "150"))
Tables = dict[str, dict[bytes, bytes]]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: each case writes the store anew."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path:
        yield Path(path)


async def test_any_damage_is_found_or_changes_nothing(scratch: Path) -> None:
    """And a node that opened the damaged store all the same would give no wrong value out.

    Where LMDB dies of a page it does so only if the structure was found damaged before.
    """
    await make_bank(scratch / "whole")
    seed = random.randrange(10**6)
    print(f"python tests/faults/corruptor.py BANK SCRATCH {seed} {CASES}")
    (scratch / "copies").mkdir()
    ended = await trio.run_process(
        [sys.executable, corruptor.__file__, str(scratch / "whole"), str(scratch / "copies"),
         str(seed), str(CASES)],
        capture_stdout=True,
        capture_stderr=True,
    )  # fmt: skip
    cases = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(cases) == CASES
    became: Counter[str] = Counter()
    for case in cases:
        said, read = case["verify"], case["node"]
        assert "traceback" not in said, case
        assert "traceback" not in read, case
        assert not read.get("wrong"), f"a wrong value was given out: {case}"
        assert not case.get("missed"), f"verify did not name each bad row: {case}"
        if case["structure"]:
            became["structure"] += 1
        elif said.get("ok"):
            assert case.get("content") is None, f"verify found nothing: {case}"
            assert case.get("afterwards") is None, f"it is broken by what is written next: {case}"
            assert not read.get("hidden"), case
            became["nothing changed"] += 1
        else:
            assert "died" not in said, case
            became["rows"] += 1
        became["node dies"] += "died" in read
        became["node finds rows hidden"] += bool(read.get("hidden"))
        became["node refuses or names"] += "refused" in read or bool(read.get("named"))
    print(dict(became))
    assert became["structure"] > CASES // 20
    assert became["rows"] > CASES // 5
    assert became["nothing changed"] > CASES // 20


def _tables(stores: Any) -> list[Tables]:
    held = []
    for store in stores:
        view = store.snapshot()
        held.append(
            {table: {bytes(k): bytes(v) for k, v in view.raw(table)} for table in row.TABLES}
        )
        view.close()
    return held


async def test_any_lost_write_is_found(scratch: Path) -> None:
    """A row as it was at noon, a new one that is gone, an old one that is back: each by itself.

    Only an outbox row whose message the receiver has taken may be lost, as it waits to be trimmed,
    and a mark: nothing else says that it was there, and in ten minutes it is over. Nor does
    anything come after the newest commit, so where that has no postings its row is not missed.
    """
    noon: list[Tables] = []

    def at_noon(stores: list[LmdbStore]) -> None:
        noon.extend(_tables(stores))

    await make_bank(scratch / "bank", at_noon)
    looks = look(scratch / "bank")
    now = _tables(looks)
    for each in looks:
        each.release()
    assert verify([MemorySnapshot(tables) for tables in now]).ok
    found: Counter[tuple[str, str]] = Counter()
    for before, after in zip(noon, now, strict=True):
        for table, rows in after.items():
            changed = [
                key
                for key in sorted(before[table].keys() | rows.keys())
                if before[table].get(key) != rows.get(key)
            ]
            for key in random.sample(changed, min(len(changed), 12)):
                old, new = before[table].get(key), rows.get(key)
                if old is None:
                    del rows[key]
                else:
                    rows[key] = old
                how = "gone" if old is None else "back" if new is None else "older"
                report = verify([MemorySnapshot(tables) for tables in now])
                if new is None:
                    del rows[key]
                else:
                    rows[key] = new
                if report.ok and (table, how) in ((row.OUTBOX, "gone"), (row.MARKS, "gone")):
                    continue
                if table == row.COMMITS and key == max(rows):
                    newest = open_commit(key, row.unseal(table, key, rows[key]))
                    if report.ok and not newest.postings:
                        continue
                assert not report.ok, f"{table} {key!r} {how}: not found"
                found[table, how] += 1
    print(dict(found))
    assert {table for table, _ in found} == {*row.TABLES} - {row.MARKS}


# What an operator sees.


def _place(data: Path, table: str) -> tuple[Path, bytes]:
    """Return a shard that has rows in a table, and one that is read at the start."""
    for shard in corruptor.shards_of(data):
        rows = _rows(shard, table)
        if rows:
            return shard, rows[0 if table in (row.TIMERS, row.MARKS) else -1][0]
    raise AssertionError(f"no shard has any {table}")


def _rows(shard: Path, table: str) -> list[tuple[bytes, bytes]]:
    env = lmdb.open(str(shard), max_dbs=20)
    with env.begin() as txn:
        db = env.open_db(table.encode(), txn=txn, create=False)
        rows = [(bytes(key), bytes(value)) for key, value in txn.cursor(db)]
    env.close()
    return rows


def _flip(shard: Path, table: str, key: bytes) -> None:
    env = lmdb.open(str(shard), max_dbs=20)
    with env.begin(write=True) as txn:
        db = env.open_db(table.encode(), txn=txn, create=False)
        torn = bytearray(txn.get(key, db=db) or b"")
        torn[-1] ^= 1
        txn.put(key, bytes(torn), db=db)
    env.close()


def test_start_on_a_damaged_row_is_refused_by_its_name(
    scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metadata, the chain's tail, links, dates, parked rows, the outbox, the next timer, marks."""
    trio.run(make_bank, scratch / "whole")
    for table in (row.META, row.COMMITS, row.JOURNAL, row.LINKS, row.DATES, row.PARKED,
                  row.OUTBOX, row.TIMERS, row.MARKS):  # fmt: skip
        data = corruptor.copied(scratch / "whole", scratch)
        shard, key = _place(data, table)
        _flip(shard, table, key)
        capsys.readouterr()
        assert run(["serve", "--unsigned", "--data", str(data), "--listen", "127.0.0.1:0"]) == STORE
        said = capsys.readouterr()
        assert said.out == ""
        (line,) = [each for each in said.err.splitlines() if each.startswith("piaohao: ")]
        assert line.startswith(f"piaohao: corrupt row in {table}, key ")
        assert "piaohao restore --backup BACKUP --data NEW-FOLDER" in line
        assert run(["verify", "--data", str(data)]) == CHECK_FAILED
        said = capsys.readouterr()
        assert said.err == ""
        assert f" {table} " in said.out


async def test_verify_of_a_file_that_kills_lmdb_says_so(scratch: Path) -> None:
    """It dies in a process of its own: the operator has an exit code and a line, not a signal."""
    await make_bank(scratch / "whole")
    # A page that is lost kills LMDB most often, but not always.
    for page in corruptor.pages_in_use(scratch / "whole" / "shard-0")[2:]:
        data = corruptor.copied(scratch / "whole", scratch)
        file = trio.Path(data / "shard-0" / "data.mdb")
        content = bytearray(await file.read_bytes())
        content[page * corruptor.PAGE : (page + 1) * corruptor.PAGE] = bytes(corruptor.PAGE)
        await file.write_bytes(content)
        verified = await piaohao("verify", "--data", data)
        assert (verified.returncode, verified.stderr) == (CHECK_FAILED, ""), verified
        assert "structure: data.mdb shard-0: " in verified.stdout
        if "LMDB ended with SIG" in verified.stdout:
            return
    raise AssertionError("no lost page killed LMDB: this test shows nothing")


async def test_corrupt_row_met_by_a_running_node_ends_it_by_its_name(scratch: Path) -> None:
    """A value that is not what was written is never given out, and nothing is built on it."""
    await make_bank(scratch / "bank", settled=True)
    shard, key = _place(scratch / "bank", row.ACTORS)
    number = key.partition(b"account/")[2].decode()
    other = next(n for n in NUMBERS if f"A{n}" != number)
    _flip(shard, row.ACTORS, key)
    # On the store's own clock no timer is due: nothing touches the account before it is asked for.
    async with (
        node(scratch / "bank", "--clock", "domain") as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
    ):
        path = f"{running.address}/v1/accounts"
        assert (await client.get(f"{path}/A{other}")).status_code == 200
        answer = await client.get(f"{path}/{number}")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
        with trio.fail_after(LIMIT_S):
            assert await running.process.wait() == FAIL_STOP
    said = running.errors.decode()
    # A log has no account numbers; verify names the row in full.
    assert "corrupt row in actors, key " in said
    assert "account/****: checksum does not fit" in said
    assert "piaohao restore --backup BACKUP --data NEW-FOLDER" in said
    verified = await piaohao("verify", "--data", scratch / "bank")
    assert (verified.returncode, verified.stderr) == (CHECK_FAILED, ""), verified
    assert f"account/{number}: shard {shard.name[-1]}: checksum does not fit" in verified.stdout
