"""A node's data folder: one lock, one LMDB environment per shard, and its backups.

Layout: `lock` (held by the one process that has the store open), `control.sock` (the running
node listens there), `shard-0/`, `shard-1/`, … Creation and restoring happen under another name
and end with a rename, so that a folder either holds a whole store or none.
"""

import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Final

from storage import lmdb_store
from storage.errors import (
    StorageError,
    StoreExistsError,
    StoreInUseError,
    StoreMissingError,
)
from storage.lmdb_store import LmdbStore
from storage.store import Format

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

    def create(
        self, business_date: str, now_ns: int, *, map_bytes: int = lmdb_store.MAP_BYTES
    ) -> None:
        """Create a store of one shard that begins on `business_date` (ISO 8601).

        Raises:
            StoreExistsError: there is one already.
            StorageError: the folder cannot be written.
        """
        if self.exists():
            raise StoreExistsError(f"there is a store in {self.path} already")
        format_ = Format(
            version=lmdb_store.VERSION,
            incarnation=secrets.token_hex(8),
            shard=0,
            shards=1,
            slots=1024,
            slot_map_version=1,
            created_ns=now_ns,
        )
        unfinished = self._unfinished()
        lmdb_store.create(unfinished, format_, business_date, map_bytes)
        self._finish(unfinished)

    def open(self, *, map_bytes: int = lmdb_store.MAP_BYTES) -> LmdbStore:
        """Open the store.

        Raises:
            StoreMissingError: there is none.
            StoreVersionError, CorruptRowError: it cannot be used.
        """
        if not self.exists():
            raise StoreMissingError(f"there is no store in {self.path}")
        return lmdb_store.open_store(self._shard(0), map_bytes)

    def restore(self, backup: Path) -> None:
        """Make the folder's store from a backup, with an incarnation of its own.

        Raises:
            StoreExistsError: there is a store here already.
            StoreMissingError: there is no backup there.
            StorageError: the backup cannot be used, or the folder not be written.
        """
        if self.exists():
            raise StoreExistsError(f"there is a store in {self.path} already")
        source = backup / _SHARD.format(0)
        if not (source / "data.mdb").exists():
            raise StoreMissingError(f"there is no backup in {backup}")
        unfinished = self._unfinished()
        try:
            unfinished.mkdir()
            shutil.copyfile(source / "data.mdb", unfinished / "data.mdb")
            _sync_file(unfinished / "data.mdb")
        except OSError as error:
            raise StorageError(f"cannot write to {self.path}: {error.strerror}") from error
        store = lmdb_store.open_store(unfinished)
        try:
            store.renew_incarnation(secrets.token_hex(8))
        finally:
            store.release()
        self._finish(unfinished)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._lock)

    def _shard(self, number: int) -> Path:
        return self.path / _SHARD.format(number)

    def _unfinished(self) -> Path:
        path = self.path / "unfinished"
        shutil.rmtree(path, ignore_errors=True)
        return path

    def _finish(self, unfinished: Path) -> None:
        """Make the folder's store of one that is whole."""
        try:
            _sync_folder(unfinished)
            unfinished.rename(self._shard(0))
            _sync_folder(self.path)
        except OSError as error:
            raise StorageError(f"cannot write to {self.path}: {error.strerror}") from error


def backup(store: LmdbStore, target: Path) -> None:
    """Write a consistent, durable copy of an open store into the new folder `target`.

    Raises:
        StoreExistsError: the target is there already and not empty.
        StorageError: it cannot be written.
    """
    shard = target / _SHARD.format(0)
    unfinished = target / f"unfinished-{time.time_ns()}"
    try:
        if target.exists() and any(target.iterdir()):
            raise StoreExistsError(f"{target} is not empty")
        unfinished.mkdir(parents=True)
        try:
            store.copy(unfinished)
            _sync_file(unfinished / "data.mdb")
            _sync_folder(unfinished)
            unfinished.rename(shard)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        _sync_folder(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StorageError(f"cannot write the backup {target}: {error.strerror}") from error


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
