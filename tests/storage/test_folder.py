"""A data folder holds a whole store or none, for one process at a time."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from engine.clock import DomainClock
from storage import folder as folders
from storage import lmdb_store
from storage.cabinet import Cabinet, Writing
from storage.errors import (
    CabinetError,
    StorageError,
    StoreExistsError,
    StoreInUseError,
    StoreMissingError,
)
from storage.folder import Folder, backup, release
from storage.headroom import HEADROOM_BYTES
from storage.lmdb_store import LmdbStore
from storage.row import META, OPERATORS
from tests.engine.purses import balances, check_books, give_ok, running
from tests.storage.stores import DATE, NOW_NS


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    made = Folder(tmp_path / "deep" / "data", create=True)
    yield made
    made.close()


class Interrupted(BaseException):
    """What a kill looks like from inside."""


def _interrupt(*_: object) -> None:
    raise Interrupted


def test_folder_is_for_one_process(folder: Folder) -> None:
    with pytest.raises(StoreInUseError):
        Folder(folder.path)
    code = "import sys, pathlib, storage.folder as f; f.Folder(pathlib.Path(sys.argv[1]))"
    other = subprocess.run(
        [sys.executable, "-c", code, str(folder.path)], check=False, capture_output=True, text=True
    )
    assert "StoreInUseError" in other.stderr


def test_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(3):
        Folder(tmp_path / "data", create=True).close()


def test_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        Folder(tmp_path / "none")
    (tmp_path / "file").write_text("")
    for create in (True, False):
        with pytest.raises(StorageError):
            Folder(tmp_path / "file", create=create)


def test_store_is_created_once(folder: Folder) -> None:
    assert not folder.exists()
    with pytest.raises(StoreMissingError):
        folder.open()
    folder.create(DATE, NOW_NS)
    with pytest.raises(StoreExistsError):
        folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    assert (store.last.business_date, store.format.shards) == (DATE, 1)
    store.release()


@pytest.mark.parametrize("where", ["create", "_sync_folder"])
def test_creation_that_was_interrupted_leaves_no_store(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    module = lmdb_store if where == "create" else folders
    whole = getattr(module, where)

    def interrupted(*args: object) -> None:
        if where == "create":
            whole(*args)
        raise Interrupted

    monkeypatch.setattr(module, where, interrupted)
    with pytest.raises(Interrupted):
        folder.create(DATE, NOW_NS)
    monkeypatch.undo()
    assert not folder.exists()
    folder.create(DATE, NOW_NS)
    release(folder.open())


async def test_backup_beside_commits_restores_to_a_store_that_balances(
    folder: Folder, tmp_path: Path
) -> None:
    """It holds everything that was acknowledged before it began, and is a store of its own."""
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    store.begin_epoch()
    acknowledged: list[int] = []
    async with running(store, clock=DomainClock(NOW_NS)) as shard:

        async def load(number: int) -> None:
            while len(acknowledged) < 20:
                await give_ok(shard, "purse/bank", f"purse/{number}", 1)

        await give_ok(shard, "purse/bank", "purse/first", 1)
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(load, number)
            for number in range(20):
                before = -balances(store)["bank"]
                target = tmp_path / f"backup-{number}"
                await trio.to_thread.run_sync(_back_up, store, target)
                acknowledged.append(before)
    store.close(clean=True)
    for number, minor in enumerate(acknowledged):
        restored = Folder(tmp_path / f"restored-{number}", create=True)
        restored.restore(tmp_path / f"backup-{number}")
        (copy,) = restored.open()
        assert copy.format.incarnation != store.format.incarnation
        copy.begin_epoch()
        check_books(copy)
        assert -balances(copy)["bank"] >= minor
        if number == 0:
            async with running(copy, clock=DomainClock(NOW_NS)) as shard:
                await give_ok(shard, "purse/bank", "purse/first", 1)
            check_books(copy)
        copy.close(clean=True)
        restored.close()
    first, second = acknowledged[0], acknowledged[-1]
    assert first < second, "there was nothing beside the backups"


def _back_up(store: LmdbStore, target: Path) -> None:
    snapshot = store.snapshot()
    try:
        backup([store], [snapshot], target)
    finally:
        snapshot.close()


def _backed_up(folder: Folder, target: Path) -> Path:
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    _back_up(store, target)
    store.release()
    return target


def test_backup_goes_into_a_new_folder_only(folder: Folder, tmp_path: Path) -> None:
    target = _backed_up(folder, tmp_path / "b")
    (store,) = folder.open()
    (tmp_path / "file").write_text("")
    for wrong in (target, tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError):
            _back_up(store, wrong)
    store.release()


def test_backup_that_was_interrupted_is_none_and_can_be_repeated(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    monkeypatch.setattr(folders, "_sync_file", _interrupt)
    with pytest.raises(Interrupted):
        _back_up(store, tmp_path / "b")
    monkeypatch.undo()
    with pytest.raises(StoreMissingError):
        Folder(tmp_path / "r", create=True).restore(tmp_path / "b")
    _back_up(store, tmp_path / "b")
    store.release()


def test_shards_are_their_owners_alone_wherever_they_are_written(
    folder: Folder, tmp_path: Path
) -> None:
    """LMDB's own files may be read by everybody; who is not let into their folder cannot."""
    before = os.umask(0o022)
    try:
        target = _backed_up(folder, tmp_path / "b")
        with closing(Folder(tmp_path / "r", create=True)) as restored:
            restored.restore(target)
    finally:
        os.umask(before)
    written = [tmp_path / "b" / "shard-0", tmp_path / "r" / "shard-0", *folder.shard_folders()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in written} == {0o700}


def test_restore_needs_an_empty_folder_and_a_backup(folder: Folder, tmp_path: Path) -> None:
    target = _backed_up(folder, tmp_path / "b")
    with pytest.raises(StoreExistsError):
        folder.restore(target)
    restored = Folder(tmp_path / "r", create=True)
    with pytest.raises(StoreMissingError):
        restored.restore(tmp_path / "none")
    (target / "shard-0" / "data.mdb").write_bytes(b"damaged" * 9_000)
    with pytest.raises(StorageError):
        restored.restore(target)
    assert not restored.exists()
    restored.close()


@pytest.mark.parametrize("where", ["_sync_file", "_sync_folder"])
def test_restore_that_was_interrupted_leaves_no_store(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    target = _backed_up(folder, tmp_path / "b")
    restored = Folder(tmp_path / "r", create=True)
    monkeypatch.setattr(folders, where, _interrupt)
    with pytest.raises(Interrupted):
        restored.restore(target)
    monkeypatch.undo()
    assert not restored.exists()
    restored.restore(target)
    release(restored.open())
    restored.close()


def test_disk_that_fails_a_restore_is_our_error(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = _backed_up(folder, tmp_path / "b")
    restored = Folder(tmp_path / "r", create=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for module, name in ((shutil, "copyfile"), (folders, "_sync_folder")):
        monkeypatch.setattr(module, name, full)
        with pytest.raises(StorageError, match="No space left"):
            restored.restore(target)
        monkeypatch.undo()
        assert not restored.exists()
    restored.close()


def _put_operator(writing: Writing, value: bytes) -> None:
    writing.put(OPERATORS, b"duty-1", value)


def _operator(data: Path) -> bytes | None:
    """Return the operator in a folder's cabinet."""
    with closing(Cabinet(data / "ops")) as cabinet, cabinet.reading() as snapshot:
        return snapshot.get(OPERATORS, b"duty-1")


def _backed_up_with_operator(folder: Folder, target: Path) -> Path:
    """Back up a store with a cabinet, in which something changes before it is copied."""
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    with closing(Cabinet(folder.path / "ops")) as cabinet:
        cabinet.write(lambda writing: _put_operator(writing, b"1"))
        with closing(store.snapshot()) as snapshot, cabinet.viewing() as view:
            cabinet.write(lambda writing: _put_operator(writing, b"2"))
            assert backup([store], [snapshot], target, view) == ""
    store.release()
    return target


def test_backup_holds_the_cabinet_as_it_was_when_it_was_looked_at(
    folder: Folder, tmp_path: Path
) -> None:
    """Writes go on beside it; who else may read the machine cannot read the copies."""
    before = os.umask(0o022)
    try:
        target = _backed_up_with_operator(folder, tmp_path / "b")
        with closing(Folder(tmp_path / "r", create=True)) as restored:
            assert restored.restore(target) == ""
    finally:
        os.umask(before)
    assert (_operator(folder.path), _operator(tmp_path / "r")) == (b"2", b"1")
    for place in (target, tmp_path / "r"):
        assert stat.S_IMODE((place / "ops").stat().st_mode) == 0o700
        assert stat.S_IMODE((place / "ops" / "data.mdb").stat().st_mode) == 0o600


def test_cabinet_is_not_looked_at_for_as_long_as_shards_are_copied(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may take minutes, in which each look of an operator would make its file longer."""
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    file, grown = folder.path / "ops" / "data.mdb", []
    copy = store.copy
    with closing(Cabinet(folder.path / "ops")) as cabinet:

        def copied(*arguments: Any) -> None:
            before = file.stat().st_size
            for number in range(50):
                cabinet.write(partial(_put_operator, value=b"%d" % number))
            grown.append(file.stat().st_size - before)
            copy(*arguments)

        monkeypatch.setattr(store, "copy", copied)
        with closing(store.snapshot()) as snapshot, cabinet.viewing() as view:
            assert backup([store], [snapshot], tmp_path / "b", view) == ""
    store.release()
    assert grown[0] <= 16 * 4096, "it was 148 pages"


def test_backup_of_before_there_were_cabinets_restores_without_one(
    folder: Folder, tmp_path: Path
) -> None:
    target = _backed_up(folder, tmp_path / "b")
    with closing(Folder(tmp_path / "r", create=True)) as restored:
        assert restored.restore(target) == ""
        release(restored.open())
    assert not (tmp_path / "r" / "ops").exists()


def test_backup_of_the_bank_does_not_wait_for_a_cabinet_that_cannot_be_read(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    with closing(Cabinet(folder.path / "ops")) as cabinet, cabinet.viewing() as view:
        monkeypatch.setattr(view, "copy", _fails)
        with closing(store.snapshot()) as snapshot:
            assert "Input/output error" in backup([store], [snapshot], tmp_path / "b", view)
    store.release()
    assert [each.name for each in (tmp_path / "b").iterdir()] == ["shard-0"]
    with closing(Folder(tmp_path / "r", create=True)) as restored:
        restored.restore(tmp_path / "b")
        release(restored.open())


def _fails(*_: object) -> None:
    raise CabinetError("Input/output error")


def _cut_short(file: Path) -> None:
    os.truncate(file, 3 * 4096)


def _empty(file: Path) -> None:
    os.truncate(file, 0)


def _scribble(file: Path) -> None:
    file.write_bytes(b"damaged" * 9_000)


def _make_new(file: Path) -> None:
    with closing(Cabinet(file.parent)) as cabinet:
        cabinet.write(lambda writing: writing.put(META, b"format", b"piaohao cabinet 9"))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_cut_short, "cut short"),
        (_empty, "is empty"),
        (_scribble, "cannot open"),
        (_make_new, "another version"),
    ],
)
def test_restored_bank_does_not_wait_for_a_cabinet_that_cannot_be_used(
    folder: Folder, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """It is said, and the bank works without: operators can be taken on anew."""
    target = _backed_up_with_operator(folder, tmp_path / "b")
    spoil(target / "ops" / "data.mdb")
    with closing(Folder(tmp_path / "r", create=True)) as restored:
        assert said in restored.restore(target)
        release(restored.open())
    assert not (tmp_path / "r" / "ops").exists()
    assert _operator(tmp_path / "r") is None


def test_restore_that_was_interrupted_anywhere_brings_the_cabinet_when_repeated(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = _backed_up_with_operator(folder, tmp_path / "b")
    whole = folders._sync_folder
    for at in range(100):
        restored = Folder(tmp_path / f"r{at}", create=True)
        left = [at]

        def interrupted(path: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Interrupted
            whole(path)

        monkeypatch.setattr(folders, "_sync_folder", interrupted)
        with suppress(Interrupted):
            restored.restore(target)
        monkeypatch.undo()
        over = restored.exists()
        if not over:
            restored.restore(target)
        release(restored.open())
        restored.close()
        assert _operator(restored.path) == b"1"
        if over and left[0] >= 0:
            break
    assert 3 <= at < 99, "it was interrupted before and after the cabinet"


def test_operators_of_a_store_that_is_gone_are_not_overwritten(
    folder: Folder, tmp_path: Path
) -> None:
    """Whoever has moved the shards of a folder away has not looked into `ops` yet."""
    target = _backed_up_with_operator(folder, tmp_path / "b")
    shutil.rmtree(folder.path / "shard-0")
    with pytest.raises(StorageError, match="holds ops of a store without its shard-0"):
        folder.restore(target)
    with pytest.raises(StorageError, match="holds ops of a store without its shard-0"):
        folder.create(DATE, NOW_NS)
    assert _operator(folder.path) == b"2"


def test_copy_is_as_long_as_was_foretold(folder: Folder, tmp_path: Path) -> None:
    target = _backed_up_with_operator(folder, tmp_path / "b")
    (store,) = folder.open()
    with (
        closing(Cabinet(folder.path / "ops")) as cabinet,
        closing(store.snapshot()) as snapshot,
        cabinet.viewing() as view,
    ):
        foretold = {"shard-0": store.copied_bytes(snapshot), "ops": view.copied_bytes()}
    store.release()
    for part, length in foretold.items():
        assert (target / part / "data.mdb").stat().st_size == length


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_backup_that_would_take_the_nodes_room_is_not_begun(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool, refused: bool
) -> None:
    """On a disk of its own it may take all there is; beside the store nobody could pay then."""
    folder.create(DATE, NOW_NS)
    (store,) = folder.open()
    with closing(store.snapshot()) as snapshot:
        wanted = store.copied_bytes(snapshot)
    kept = HEADROOM_BYTES + wanted // 8 if beside else 0
    disk = SimpleNamespace(f_bavail=wanted + kept - refused, f_blocks=1 << 40, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    monkeypatch.setattr(folders, "_same_disk", lambda *_: beside)
    with pytest.raises(StorageError, match="no room") if refused else nullcontext():
        _back_up(store, tmp_path / "b")
    store.release()
    assert [each.name for each in (tmp_path / "b").iterdir()] == ([] if refused else ["shard-0"])
