"""The cabinet: a small store beside the shards, for what belongs to the house and not to the bank.

It holds operators, what they propose and their audit log (`gateway.ops`). It is an LMDB environment
of its own, so that whoever looks never waits for payments, nor payments for them. Synced in full as
every store is; one process has it open, whoever holds the data folder's lock. A write is one
transaction in one thread, durable when it returns, and refused while the disk is nearly full, since
what is left is the bank's (`storage.headroom`); after one that failed nothing more is written
until it is opened again (see `storage.lmdb_store`).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import lmdb
import msgspec

from storage.errors import CabinetError, CorruptRowError, StorageError, StoreVersionError
from storage.headroom import disk_of
from storage.lmdb_store import FORMAT_KEY, MAP_BYTES, LmdbSnapshot, check_file
from storage.row import CABINET_TABLES, META, seal

FOLDER: Final = "ops"
"""Its name in a data folder."""
_FORMAT: Final = b"piaohao cabinet 1"

T = TypeVar("T")


def opened(decode: Callable[[bytes], T], table: str, key: bytes, payload: bytes) -> T:
    """Return what a row of the cabinet says.

    Raises:
        CorruptRowError: nothing that this program understands; its checksum may be right.
    """
    try:
        return decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptRowError(table, key, str(error)) from error


class CabinetView:
    """A cabinet as it was at one moment.

    Attributes:
        snapshot: its rows.
    """

    def __init__(self, env: lmdb.Environment, snapshot: LmdbSnapshot) -> None:
        self._env = env
        self.snapshot = snapshot

    def copied_bytes(self) -> int:
        """Return how long the copy is.

        Raises:
            StorageError: it cannot be read.
        """
        return self.snapshot.copied_bytes()

    def copy(self, target: Path) -> None:
        """Write it into the empty folder `target`, unused pages left out, and end the view: for as
        long as there is one no page is used again, and each write takes 20 KiB more of the disk.

        Raises:
            CabinetError: it cannot be read or written.
        """
        try:
            self._env.copy(str(target), compact=True, txn=self.snapshot._txn)
        except lmdb.Error as error:
            raise CabinetError(f"cannot copy the cabinet to {target}: {error}") from error
        finally:
            self.snapshot.close()


class Writing(LmdbSnapshot):
    """A write transaction: what is put shows in what is read."""

    __slots__ = ()

    def __init__(self, txn: Any, tables: dict[str, Any]) -> None:
        self._txn = txn
        self._tables = tables

    def put(self, table: str, key: bytes, payload: bytes) -> None:
        """Write a row, whether it is there or not."""
        self._txn.put(key, seal(table, key, payload), db=self._tables[table])

    def drop(self, table: str, key: bytes) -> None:
        """Delete a row, if it is there."""
        self._txn.delete(key, db=self._tables[table])


class Cabinet:
    """A cabinet, made if it is not there.

    Args:
        path: its folder; only its owner may enter.

    Raises:
        CabinetError: it cannot be opened or made.
        StoreVersionError: it is of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._failed = False
        try:
            path.mkdir(0o700, exist_ok=True)
            self._env = lmdb.open(
                str(path), map_size=MAP_BYTES, max_dbs=len(CABINET_TABLES), mode=0o600
            )
        except (OSError, lmdb.Error) as error:
            raise CabinetError(f"cannot open {path}: {error}") from error
        try:
            check_file(path, self._env)
            self._tables = {table: self._env.open_db(table.encode()) for table in CABINET_TABLES}
            self._check_format()
        except (CabinetError, StoreVersionError):
            self._env.close()
            raise
        except (OSError, lmdb.Error, StorageError) as error:
            self._env.close()
            raise CabinetError(f"cannot use {path}: {error}") from error

    def _check_format(self) -> None:
        snapshot = self.snapshot()
        try:
            found = snapshot.get(META, FORMAT_KEY)
        finally:
            snapshot.close()
        if found is None:
            self.write(lambda writing: writing.put(META, FORMAT_KEY, _FORMAT))
        elif found != _FORMAT:
            raise StoreVersionError(f"{self.path} is of another version than this program")

    def snapshot(self) -> LmdbSnapshot:
        """Open a read transaction; see `reading`."""
        return LmdbSnapshot(self._env, self._tables)

    @contextmanager
    def reading(self) -> Iterator[LmdbSnapshot]:
        """Open a read transaction for the length of a block: a short one, without an `await`.

        Raises:
            CabinetError: it cannot be read, or a row is damaged. A shard's would end the node, and
                have an operator restore the bank from a backup, which this is no part of.
        """
        try:
            with closing(self.snapshot()) as snapshot:
                yield snapshot
        except StorageError as error:
            raise CabinetError(f"{self.path}: {error}") from error

    @contextmanager
    def viewing(self) -> Iterator[CabinetView]:
        """Open a view for as long as it takes to copy it; writes go on beside it.

        Raises:
            CabinetError: it cannot be read.
        """
        try:
            snapshot = self.snapshot()
        except StorageError as error:
            raise CabinetError(f"{self.path}: {error}") from error
        with closing(snapshot):
            yield CabinetView(self._env, snapshot)

    def write(self, change: Callable[[Writing], T], *, urgent: bool = False) -> T:
        """Change something in one transaction; returns what `change` returned, once durable.

        Args:
            change: called in this thread; if it raises nothing is changed.
            urgent: also where the disk is nearly full: for what finishes something, or is rare.

        Raises:
            CabinetError: it could not be made durable, or an earlier change could not, or a row is
                damaged, or the disk is nearly full.
        """
        with self._lock:
            if self._failed:
                raise CabinetError(f"{self.path}: an earlier write failed; start the node again")
            if not urgent and not self._has_room():
                raise CabinetError(f"{self.path}: the disk is nearly full")
            try:
                # Of programs that died while they read: LMDB would keep every page for them, and
                # a look that replaces five of them would have the file grow by five.
                self._env.reader_check()
                txn = self._env.begin(write=True)
            except lmdb.Error as error:
                raise CabinetError(f"{self.path}: {error}") from error
            try:
                result = change(Writing(txn, self._tables))
            except CorruptRowError as error:
                self._failed = True
                txn.abort()
                raise CabinetError(f"{self.path}: {error}") from error
            except (lmdb.Error, StorageError) as error:
                txn.abort()
                raise CabinetError(f"{self.path}: {error}") from error
            except BaseException:
                txn.abort()
                raise
            try:
                txn.commit()
            except lmdb.Error as error:
                # LMDB lets a later commit succeed after a failed sync, which would hide the hole.
                self._failed = True
                raise CabinetError(f"{self.path}: {error}") from error
            return result

    def _has_room(self) -> bool:
        """Return whether whoever looks may have something written: 2 µs."""
        try:
            disk = disk_of(self.path)
        except OSError:
            return False
        return disk.free_bytes >= disk.headroom_bytes // 4

    def close(self) -> None:
        """Close it."""
        self._env.close()
