"""A node's data folder: one lock, one LMDB environment per shard, and its backups.

Layout: `lock` (held by the one process that has the store open), `control.sock` (the running
node listens there), `shard-0/`, `shard-1/`, …, and `ops/`, the cabinet, where there are operators
(`storage.cabinet`). Creation and restoring happen under another name and end with renames, shard 0
last, so that a folder either holds a whole store or none.
"""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from storage import lmdb_store
from storage.cabinet import FOLDER as CABINET
from storage.cabinet import Cabinet, CabinetView
from storage.errors import (
    CabinetError,
    CorruptRowError,
    StorageError,
    StoreExistsError,
    StoreInUseError,
    StoreMissingError,
    StoreVersionError,
)
from storage.headroom import disk_of
from storage.lmdb_store import LmdbStore, Look
from storage.store import Format, Snapshot

SOCKET_NAME: Final = "control.sock"
_SHARD: Final = "shard-{}"


class Folder:
    """A data folder whose lock this process holds.

    Args:
        path: the folder; made if need be when `create` is set.
        create: make the folder if it is not there.

    Raises:
        StoreMissingError: there is no such folder.
        StoreInUseError: another process holds the lock.
        StorageError: the folder cannot be used.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        try:
            if create:
                made = [each for each in (path, *path.parents) if not each.exists()]
                path.mkdir(parents=True, exist_ok=True)
                for each in made:
                    _sync_folder(each.parent)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise StoreMissingError(f"there is no store in {path}") from None
        except OSError as error:
            raise StorageError(f"cannot use the folder {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StoreInUseError(f"the store in {path} is in use by another process") from None

    def exists(self) -> bool:
        """Return whether there is a store in the folder."""
        return self._shard(0).is_dir()

    def shards(self) -> int:
        """Return how many shards the store has, 0 where there is none."""
        return len(_shard_folders(self.path)) if self.exists() else 0

    def shard_folders(self) -> list[Path]:
        """Return the folders of the store's shards, in order."""
        return _shard_folders(self.path)

    def create(
        self,
        business_date: str,
        now_ns: int,
        *,
        shards: int = 1,
        map_bytes: int = lmdb_store.MAP_BYTES,
    ) -> None:
        """Create a store of so many shards that begins on `business_date` (ISO 8601).

        Raises:
            StoreExistsError: there is one already.
            StorageError: the folder cannot be written.
        """
        if self.exists():
            raise StoreExistsError(f"there is a store in {self.path} already")
        incarnation = secrets.token_hex(8)
        unfinished = self._unfinished()
        for number in range(shards):
            format_ = Format(
                version=lmdb_store.VERSION,
                incarnation=incarnation,
                shard=number,
                shards=shards,
                slots=lmdb_store.SLOTS,
                slot_map_version=lmdb_store.SLOT_MAP_VERSION,
                created_ns=now_ns,
            )
            lmdb_store.create(_shard(unfinished, number), format_, business_date, map_bytes)
        self._finish(unfinished)

    def open(self, *, map_bytes: int = lmdb_store.MAP_BYTES) -> list[LmdbStore]:
        """Open the store: all of its shards, in order.

        Raises:
            StoreMissingError: there is none.
            StoreVersionError, CorruptRowError: it cannot be used.
            StorageError: a shard is missing, or belongs to another store.
        """
        if not self.exists():
            raise StoreMissingError(f"there is no store in {self.path}")
        return _open_shards(self.path, map_bytes)

    def restore(self, backup: Path) -> str:
        """Make the folder's store from a backup, with an incarnation of its own.

        The bank does not wait for its operators: a cabinet that cannot be used is left out.

        Returns:
            What is wrong with the backup's cabinet; empty where nothing is, or there is none.

        Raises:
            StoreExistsError: there is a store here already.
            StoreMissingError: there is no backup there.
            StorageError: the backup cannot be used, or the folder not be written.
        """
        if self.exists():
            raise StoreExistsError(f"there is a store in {self.path} already")
        sources = _shard_folders(backup)
        # Shard 0 is moved in last: where it is missing a backup was broken off.
        if not (_shard(backup, 0) / "data.mdb").exists():
            raise StoreMissingError(f"there is no backup in {backup}")
        unfinished = self._unfinished()
        try:
            for number, source in enumerate(sources):
                target = _shard(unfinished, number)
                target.mkdir(0o700, parents=True)
                shutil.copyfile(source / "data.mdb", target / "data.mdb")
                _sync_file(target / "data.mdb")
            fault = _restore_cabinet(backup / CABINET, unfinished / CABINET)
        except OSError as error:
            raise StorageError(f"cannot write to {self.path}: {error.strerror}") from error
        stores = _open_shards(unfinished, lmdb_store.MAP_BYTES)
        try:
            incarnation = secrets.token_hex(8)
            for store in stores:
                store.renew_incarnation(incarnation)
        finally:
            release(stores)
        self._finish(unfinished)
        return fault

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def _shard(self, number: int) -> Path:
        return _shard(self.path, number)

    def _unfinished(self) -> Path:
        """Return an empty place to build a store in; there is none in the folder yet.

        Raises:
            StorageError: there are parts of a store that no interrupted creation has left behind.
        """
        path = self.path / "unfinished"
        left = _parts(self.path)
        if left and not path.exists():
            raise StorageError(f"{self.path} holds {left[0].name} of a store without its shard-0")
        for each in (*left, path):
            shutil.rmtree(each, ignore_errors=True)
        return path

    def _finish(self, unfinished: Path) -> None:
        """Make the folder's store of one that is whole: where shard 0 is, the others are."""
        try:
            _publish(unfinished, self.path)
        except OSError as error:
            raise StorageError(f"cannot write to {self.path}: {error.strerror}") from error


def release(stores: Sequence[LmdbStore]) -> None:
    """Close stores that were only read."""
    for store in stores:
        store.release()


def look(path: Path) -> list[Look]:
    """Open all shards of a store that is damaged, without checking anything; see `Look`.

    The caller, or the process that has started it, holds the folder's lock.
    """
    looks: list[Look] = []
    try:
        for shard in _shard_folders(path):
            looks.append(Look(shard))
    except StorageError:
        for each in looks:
            each.release()
        raise
    return looks


def backup(
    stores: Sequence[LmdbStore],
    snapshots: Sequence[Snapshot],
    target: Path,
    cabinet: CabinetView | None = None,
) -> str:
    """Write a consistent, durable copy of what the shards' snapshots show into a new folder.

    Args:
        cabinet: copied too, where there is one; its view is over then.

    Returns:
        Why the cabinet is not in it; empty where it is, or there is none. The bank's copy does not
        wait for it.

    Raises:
        StoreExistsError: the target is there already and not empty.
        StorageError: it cannot be written.
    """
    unfinished = target / f"unfinished-{time.time_ns()}"
    try:
        if target.exists() and any(target.iterdir()):
            raise StoreExistsError(f"{target} is not empty")
        unfinished.mkdir(parents=True)
        try:
            _check_room(stores, snapshots, cabinet, unfinished)
            # First, since it is small: while it waits each look at the bank makes it longer.
            fault = "" if cabinet is None else _copy_cabinet(cabinet, unfinished / CABINET)
            for number, (store, snapshot) in enumerate(zip(stores, snapshots, strict=True)):
                copy = _shard(unfinished, number)
                copy.mkdir(0o700)
                store.copy(copy, snapshot)
                _sync_file(copy / "data.mdb")
            _publish(unfinished, target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync_folder(target.parent)
    except OSError as error:
        raise StorageError(f"cannot write the backup {target}: {error.strerror}") from error
    return fault


def _check_room(
    stores: Sequence[LmdbStore],
    snapshots: Sequence[Snapshot],
    cabinet: CabinetView | None,
    target: Path,
) -> None:
    """Refuse a backup for which there is no room.

    On the disk of the store itself what is kept free for it stays so, and an eighth of the copy for
    what is written meanwhile: nobody could pay, and a commit that then fails ends the node.

    Raises:
        StorageError: there is no room.
        OSError: the disk cannot be seen.
    """
    pairs = zip(stores, snapshots, strict=True)
    wanted = sum(store.copied_bytes(snapshot) for store, snapshot in pairs)
    if cabinet is not None:
        with suppress(StorageError):  # one that cannot be read is left out
            wanted += cabinet.copied_bytes()
    disk, kept = disk_of(target), 0
    if any(_same_disk(store.path, target) for store in stores):
        kept = disk.headroom_bytes + wanted // 8
    if disk.free_bytes < wanted + kept:
        raise StorageError(
            f"there is no room for a backup in {target.parent}: it takes {_mib(wanted)},"
            f" {_mib(disk.free_bytes)} are free, and {_mib(kept)} of it are the node's to write to"
        )


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"


def _copy_cabinet(cabinet: CabinetView, target: Path) -> str:
    """Copy a cabinet; returns why it could not be."""
    target.mkdir(0o700)
    try:
        cabinet.copy(target)
    except CabinetError as error:
        shutil.rmtree(target)
        return str(error)
    _make_durable(target / "data.mdb")
    return ""


def _restore_cabinet(source: Path, target: Path) -> str:
    """Copy a backup's cabinet, if it has one; returns why it cannot be used.

    Backups that were made before there were cabinets in them have none.
    """
    file = source / "data.mdb"
    if not file.exists():
        return ""
    if not file.stat().st_size:
        return f"{file} is empty"  # LMDB would take it for a new one
    target.mkdir(0o700)
    shutil.copyfile(file, target / "data.mdb")
    _make_durable(target / "data.mdb")
    try:
        Cabinet(target).close()
    except (CabinetError, StoreVersionError) as error:
        shutil.rmtree(target)
        return str(error)
    return ""


def _make_durable(cabinet: Path) -> None:
    """Sync a cabinet's copy, and shut it off from others as the cabinet itself is."""
    cabinet.chmod(0o600)
    _sync_file(cabinet)


def _open_shards(path: Path, map_bytes: int) -> list[LmdbStore]:
    """Open all shards of a store and see that they belong together."""
    stores: list[LmdbStore] = []
    try:
        count = 1
        while len(stores) < count:
            stores.append(_open_shard(path, stores, map_bytes))
            count = stores[0].format.shards
    except CorruptRowError as error:
        release(stores)
        where = f"{error.detail}, in {_shard(path, len(stores))}"
        raise CorruptRowError(error.table, error.key, where) from error
    except StorageError:
        release(stores)
        raise
    return stores


def _open_shard(path: Path, before: Sequence[LmdbStore], map_bytes: int) -> LmdbStore:
    """Open the shard that comes after those `before` it."""
    number = len(before)
    folder = _shard(path, number)
    if not (folder / "data.mdb").exists():
        count = before[0].format.shards if before else 1
        raise StorageError(f"{path} has no shard {number} of {count}")
    store = lmdb_store.open_store(folder, map_bytes)
    of_first = store.format if not before else before[0].format
    there = len(_shard_folders(path))
    if store.format != msgspec.structs.replace(of_first, shard=number) or there > of_first.shards:
        store.release()
        raise StorageError(f"{folder} belongs to another store than its neighbours")
    return store


def _shard(path: Path, number: int) -> Path:
    return path / _SHARD.format(number)


def _shard_folders(path: Path) -> list[Path]:
    """Return the folders of a store's shards that are there, in order from shard 0."""
    numbers = sorted(
        int(name)
        for each in path.glob(_SHARD.format("*"))
        for name in (each.name.removeprefix(_SHARD.format("")),)
        if name.isascii() and name.isdigit()
    )
    return [_shard(path, number) for number in numbers]


def _parts(path: Path) -> list[Path]:
    """Return the folders that a store consists of: its shards, from shard 0, then its cabinet."""
    cabinet = path / CABINET
    return [*_shard_folders(path), *([cabinet] if cabinet.is_dir() else [])]


def _publish(unfinished: Path, target: Path) -> None:
    """Move parts that are whole into their folder, shard 0 last: it makes them a store."""
    for part in reversed(_parts(unfinished)):
        _sync_folder(part)
        part.rename(target / part.name)
        _sync_folder(target)
    unfinished.rmdir()


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
