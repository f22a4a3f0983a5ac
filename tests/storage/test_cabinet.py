"""The cabinet: what is written is durable or not there, and after a failure nothing more is."""

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lmdb
import pytest

from gateway.control import failure_of
from storage.cabinet import Cabinet, Writing
from storage.errors import CabinetError, StorageError, StoreVersionError
from storage.headroom import HEADROOM_BYTES
from storage.row import (
    AUDIT,
    CABINET_TABLES,
    META,
    OPEN_PROPOSALS,
    OPERATORS,
    PROPOSALS,
)


@pytest.fixture
def cabinet(tmp_path: Path) -> Iterator[Cabinet]:
    made = Cabinet(tmp_path / "ops")
    yield made
    made.close()


def put(writing: Writing, value: bytes = b"1") -> None:
    writing.put(OPERATORS, b"duty-1", value)


def get(cabinet: Cabinet) -> bytes | None:
    with cabinet.reading() as snapshot:
        return snapshot.get(OPERATORS, b"duty-1")


def test_write_is_there_after_reopening(cabinet: Cabinet) -> None:
    cabinet.write(put)
    cabinet.close()
    again = Cabinet(cabinet.path)
    assert get(again) == b"1"
    again.close()


def test_change_that_raises_changes_nothing(cabinet: Cabinet) -> None:
    def change(writing: Writing) -> None:
        put(writing)
        assert writing.get(OPERATORS, b"duty-1") == b"1"
        raise LookupError

    with pytest.raises(LookupError):
        cabinet.write(change)
    assert get(cabinet) is None
    cabinet.write(put)
    assert get(cabinet) == b"1"


def test_row_that_is_dropped_is_gone(cabinet: Cabinet) -> None:
    """Also in the transaction itself; one that is not there may be dropped."""

    def change(writing: Writing) -> bytes | None:
        writing.drop(OPERATORS, b"duty-1")
        return writing.get(OPERATORS, b"duty-1")

    cabinet.write(put)
    for _ in range(2):
        assert cabinet.write(change) is None
        assert get(cabinet) is None


def test_cabinet_of_an_earlier_program_gets_the_tables_that_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr("storage.cabinet.CABINET_TABLES", (META, OPERATORS, AUDIT))
        cabinet = Cabinet(tmp_path / "ops")
        cabinet.write(put)
        cabinet.close()
    cabinet = Cabinet(tmp_path / "ops")
    assert get(cabinet) == b"1"
    with cabinet.reading() as snapshot:
        assert {table: snapshot.count(table) for table in CABINET_TABLES if table != META} == {
            OPERATORS: 1,
            AUDIT: 0,
            PROPOSALS: 0,
            OPEN_PROPOSALS: 0,
        }
    cabinet.close()


class FailingCommit:
    """An environment whose next commit fails as a disk's error has it."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env

    def begin(self, write: bool) -> "FailingCommit":
        self.txn = self._env.begin(write=write)
        return self

    def reader_check(self) -> int:
        return self._env.reader_check()

    def __getattr__(self, name: str) -> object:
        return getattr(self.txn, name)

    def commit(self) -> None:
        self.txn.abort()
        raise lmdb.Error("Input/output error")


def test_nothing_is_written_after_a_commit_that_failed(
    cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LMDB would let the next one succeed, over a hole."""
    cabinet.write(put)
    with monkeypatch.context() as patch:
        patch.setattr(cabinet, "_env", FailingCommit(cabinet._env))
        with pytest.raises(StorageError, match="Input/output error"):
            cabinet.write(lambda writing: put(writing, b"2"))
    with pytest.raises(StorageError, match="an earlier write failed"):
        cabinet.write(lambda writing: put(writing, b"3"))
    assert get(cabinet) == b"1"


def test_damaged_row_met_in_a_write_ends_writing(cabinet: Cabinet) -> None:
    with cabinet._env.begin(write=True) as txn:
        txn.put(b"duty-1", b"\0\0\0\0damaged", db=cabinet._tables[OPERATORS])
    with pytest.raises(CabinetError, match="checksum"):
        cabinet.write(lambda writing: writing.get(OPERATORS, b"duty-1"))
    with pytest.raises(StorageError, match="an earlier write failed"):
        cabinet.write(put)


def test_cabinet_of_another_version_is_refused(cabinet: Cabinet) -> None:
    cabinet.write(lambda writing: writing.put(META, b"format", b"piaohao cabinet 9"))
    cabinet.close()
    with pytest.raises(StoreVersionError, match="another version"):
        Cabinet(cabinet.path)


def test_place_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ops").write_text("no folder")
    with pytest.raises(StorageError, match="cannot open"):
        Cabinet(tmp_path / "ops")


def test_cabinet_that_is_cut_short_is_refused(cabinet: Cabinet) -> None:
    """LMDB would read behind the file's end, and the process would die of SIGBUS."""
    for number in range(50):
        cabinet.write(partial(put, value=bytes([number]) * 1_000))
    cabinet.close()
    file = cabinet.path / "data.mdb"
    for pages in (3, 5):
        os.truncate(file, pages * 4096)
        with pytest.raises(CabinetError, match="cut short"):
            Cabinet(cabinet.path)


def test_cabinet_whose_own_row_is_damaged_is_refused(cabinet: Cabinet) -> None:
    with cabinet._env.begin(write=True) as txn:
        txn.put(b"format", b"\0\0\0\0damaged", db=cabinet._tables[META])
    cabinet.close()
    with pytest.raises(CabinetError, match="checksum"):
        Cabinet(cabinet.path)


def test_failure_to_read_is_the_cabinets_own(cabinet: Cabinet) -> None:
    """Else whoever hears of it would take it for a shard's, which ends the node."""

    def look() -> None:
        with cabinet.reading() as snapshot:
            snapshot.close()
            snapshot.get(OPERATORS, b"duty-1")

    with pytest.raises(CabinetError, match="cannot read operators"):
        look()

    def read(writing: Writing) -> None:
        writing._txn.abort()
        writing.get(OPERATORS, b"duty-1")

    with pytest.raises(CabinetError, match="cannot read operators"):
        cabinet.write(read)


def test_reader_that_is_gone_keeps_nothing_back(cabinet: Cabinet) -> None:
    """The documented copy, `mdb_copy` beside a node, may be killed half-way."""
    cabinet.write(put)
    reads = (
        "import lmdb, sys; env = lmdb.open(sys.argv[1], map_size=1 << 40, max_dbs=3); "
        "txn = env.begin(); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", reads, str(cabinet.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reading:
        assert reading.stdout is not None
        assert reading.stdout.readline() == b"\n"
        reading.kill()
    assert str(reading.pid) in cabinet._env.readers()
    cabinet.write(put)
    assert str(reading.pid) not in cabinet._env.readers()


def test_damaged_row_is_not_taken_for_one_of_the_banks(cabinet: Cabinet) -> None:
    """Whose damage has an operator restore it from a backup: what was paid since would be gone."""
    with cabinet._env.begin(write=True) as txn:
        txn.put(b"duty-1", b"\0\0\0\0damaged", db=cabinet._tables[OPERATORS])
    with pytest.raises(CabinetError) as damaged:
        get(cabinet)
    failure = failure_of(damaged.value)
    assert failure is not None
    assert "restore" not in failure.detail


def test_disk_that_is_nearly_full_takes_what_is_urgent_alone_until_there_is_room(
    cabinet: Cabinet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on by itself: nothing has failed. Where the disk cannot be seen it is the same."""
    floor = HEADROOM_BYTES // 4

    def gone(_: Path) -> None:
        raise OSError

    def free(free_bytes: int) -> None:
        disk = SimpleNamespace(f_bavail=free_bytes, f_blocks=1 << 40, f_frsize=1)
        monkeypatch.setattr(os, "statvfs", lambda _: disk)

    free(floor)
    cabinet.write(put)
    free(floor - 1)
    with pytest.raises(CabinetError, match="the disk is nearly full"):
        cabinet.write(partial(put, value=b"2"))
    cabinet.write(partial(put, value=b"3"), urgent=True)
    monkeypatch.setattr(os, "statvfs", gone)
    with pytest.raises(CabinetError, match="the disk is nearly full"):
        cabinet.write(partial(put, value=b"4"))
    assert get(cabinet) == b"3"
    free(floor)
    cabinet.write(partial(put, value=b"5"))
    assert get(cabinet) == b"5"
