"""A shard's store in LMDB: full sync only, one write transaction per batch, in one thread.

`NOSYNC`, `NOMETASYNC` and `WRITEMAP` lose acknowledged commits on a power cut (or die of SIGBUS
on a full disk), so they are not offered. The map is 1 TiB from the start and never resized:
resizing kills live readers, and an empty map costs 12 KiB on disk.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from storage import link
from storage.aside import ROWS_MIN, StandingAside
from storage.errors import (
    CommitError,
    CorruptRowError,
    StorageError,
    StoreExistsError,
    StoreFencedError,
    StoreMissingError,
    StoreVersionError,
)
from storage.handover import handed_over
from storage.headroom import disk_of
from storage.journal import (
    GENESIS,
    Commit,
    chained,
    encode,
    first_commit,
    newest_commit,
    open_commit,
    page_postings,
    pages,
    sequence_key,
)
from storage.row import COMMITS, JOURNAL, LATER_TABLES, LINKS, META, TABLES, seal, unseal
from storage.store import CommitTimes, Format, Opening, Room, Snapshot, Writes
from storage.structure import transaction_faults

VERSION: Final = 2
SLOTS: Final = 1024
SLOT_MAP_VERSION: Final = 1
"""Slots lie on shards in equal ranges, in order (`engine.address.shard_of`)."""
MAP_BYTES: Final = 1 << 40
FORMAT_KEY: Final = b"format"
EPOCH_KEY: Final = b"epoch"
_PAGE: Final = 4096

log = logging.getLogger("piaohao.storage")

_decode_format = msgspec.msgpack.Decoder(Format).decode
_decode_opening = msgspec.msgpack.Decoder(Opening).decode


class _Version(Struct):
    """What every version's format row says of itself."""

    version: int


_decode_version = msgspec.msgpack.Decoder(_Version).decode


@contextmanager
def _mapped(doing: str) -> Iterator[None]:
    """Make LMDB's errors ours, so that nobody takes a store that failed for a turn that did."""
    try:
        yield
    except lmdb.Error as error:
        raise StorageError(f"{doing}: {error}") from error


class LmdbSnapshot:
    """A read transaction. See `storage.store.Snapshot`."""

    __slots__ = ("_tables", "_txn")

    def __init__(self, env: lmdb.Environment, tables: dict[str, Any]) -> None:
        try:
            self._txn: Any = env.begin()
        except lmdb.Error as error:  # written out: a third of what a look at a certificate costs
            raise StorageError(f"cannot begin to read: {error}") from error
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `Snapshot.get`."""
        try:
            row = self._txn.get(key, db=self._tables[table])
            if row is None:
                self._check_neighbours(table, key)
                return None
        except lmdb.Error as error:  # written out: this is the hottest read
            raise StorageError(f"cannot read {table}: {error}") from error
        return unseal(table, key, row)

    def _check_neighbours(self, table: str, key: bytes) -> None:
        """Check the rows between which a row would lie that is not there.

        A bit that flipped in a row's key hides the row: a payment would be made again, as its
        number looks unused. But the row still lies where it was, and there its key is looked for.
        Where the bit was in the way to the row, what is found there lies on the wrong side.
        """
        cursor: Any = self._txn.cursor(self._tables[table])
        found = cursor.set_range(key)
        if found:
            after, row = cursor.item()
            unseal(table, after, row)
            if after < key:
                raise CorruptRowError(table, key, "the way to it is damaged")
            found = cursor.prev()
        else:
            found = cursor.last()
        if found:
            before, row = cursor.item()
            unseal(table, before, row)
            if before >= key:
                raise CorruptRowError(table, key, "the way to it is damaged")

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Snapshot.scan`."""
        begins = stop if reverse else start
        with _mapped(f"cannot read {table}"):
            if self._lacks(table):
                return
            if begins:
                self._check_neighbours(table, begins)
            cursor = self._txn.cursor(self._tables[table])
            if reverse:
                below = stop is not None and cursor.set_range(stop)
                found = cursor.prev() if below else cursor.last()
                rows = cursor.iterprev() if found else iter(())
            else:
                rows = cursor.iternext() if cursor.set_range(start) else iter(())
            for key, row in rows:
                # The row that ends the scan is checked too: its key may be what is damaged.
                payload = unseal(table, key, row)
                if key < start or (stop is not None and key >= stop):
                    return
                yield key, payload

    def seeking(self, table: str) -> Callable[[bytes], bytes | None]:
        """See `Snapshot.seeking`. A microsecond a leap, where a scan takes ten to begin."""
        with _mapped(f"cannot read {table}"):
            cursor: Any = self._txn.cursor(self._tables[table])
        leap, key_there = cursor.set_range, cursor.key

        def seek(key: bytes) -> bytes | None:
            try:
                return key_there() if leap(key) else None
            except lmdb.Error as error:
                raise StorageError(f"cannot read {table}: {error}") from error

        return seek

    def raw(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Snapshot.raw`."""
        with _mapped(f"cannot read {table}"):
            if not self._lacks(table):
                yield from self._txn.cursor(self._tables[table])

    def count(self, table: str) -> int:
        """See `Snapshot.count`."""
        with _mapped(f"cannot read {table}"):
            if self._lacks(table):
                return 0
            entries: int = self._txn.stat(self._tables[table])["entries"]
        return entries

    def copied_bytes(self) -> int:
        """Return how long a copy of what it shows is: its tables' pages, and three of LMDB's own.

        Raises:
            StorageError: it cannot be read.
        """
        with _mapped("cannot see how much there is"):
            tables = [self._txn.stat(table) for table in self._tables.values()]
        pages: int = sum(
            each["branch_pages"] + each["leaf_pages"] + each["overflow_pages"] for each in tables
        )
        return (3 + pages) * _PAGE

    def _lacks(self, table: str) -> bool:
        """Return whether the store was made by an earlier program and not written to since."""
        return table in LATER_TABLES and table not in self._tables

    def close(self) -> None:
        """See `Snapshot.close`."""
        txn, self._txn = self._txn, _CLOSED
        txn.abort()


class _Closed:
    """Stands where a snapshot's transaction was.

    One that is aborted keeps its place among LMDB's 126 readers until it is freed, so nobody may
    hold it: a snapshot itself may be held for long, by the frames of an exception that goes round
    in circles until the next collection (one that comes out of a thread of Trio's does). What is
    read of it is an error as before.
    """

    def abort(self) -> None:
        """Close what is closed."""

    def __getattr__(self, name: str) -> Any:
        raise lmdb.Error("the snapshot is closed")


_CLOSED: Final = _Closed()


class LmdbStore:
    """One LMDB environment. See `storage.store.Store`; made by `create` and `open_store`.

    The folder's lock (`storage.folder`) keeps other processes out; the epoch row, checked in
    every commit, finds the one that got past it.
    """

    def __init__(self, path: Path, env: lmdb.Environment, map_bytes: int) -> None:
        self.path = path
        self._env = env
        self._map_bytes = map_bytes
        self._failed = False
        # A store of another version may have other tables, so its version comes first.
        self._tables = {META: _open_table(env, META)}
        self.format = self._format()
        _check_tables(path, env)
        self._tables |= _open_tables(env)
        snapshot = self.snapshot()
        try:
            opening = snapshot.get(META, EPOCH_KEY)
            if opening is None:
                raise CorruptRowError(META, EPOCH_KEY, "missing")
            self.epoch, self.was_clean = msgspec.structs.astuple(_decode_opening(opening))
            self.last = newest_commit(snapshot)
            if self.last.epoch > self.epoch:
                detail = f"epoch {self.epoch}, and a commit of epoch {self.last.epoch}"
                raise CorruptRowError(META, EPOCH_KEY, detail)
            _check_tail(snapshot, self.last)
        finally:
            snapshot.close()

    def _format(self) -> Format:
        snapshot = self.snapshot()
        try:
            payload = snapshot.get(META, FORMAT_KEY)
        finally:
            snapshot.close()
        if payload is None:
            raise CorruptRowError(META, FORMAT_KEY, "missing")
        _check_version(self.path, payload)
        format_ = _decode_format(payload)
        if (format_.slots, format_.slot_map_version) != (SLOTS, SLOT_MAP_VERSION):
            raise StoreVersionError(
                f"{self.path} has map {format_.slot_map_version} of {format_.slots} slots; this "
                f"version knows map {SLOT_MAP_VERSION} of {SLOTS} only"
            )
        return format_

    def begin_epoch(self) -> None:
        """Take the store over for writing: the next epoch, and tables that it lacks, on disk.

        Raises:
            StoreFencedError: another process has written to it since we opened it.
            StorageError: it cannot be written.
        """
        self.clear_readers()
        with _mapped(f"{self.path} cannot be taken over"), self._env.begin(write=True) as txn:
            self._check_epoch(txn)
            self.epoch += 1
            self._put_opening(txn, clean=False)
            made = {
                table: self._env.open_db(table.encode(), txn=txn)
                for table in LATER_TABLES
                if table not in self._tables
            }
        self._tables |= made

    def snapshot(self) -> LmdbSnapshot:
        """See `Store.snapshot`."""
        return LmdbSnapshot(self._env, self._tables)

    def commit_now(self, writes: Writes) -> CommitTimes:
        """See `Store.commit_now`."""
        return self._commit(writes, nullcontext())

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`. Never cancelled half-way: the thread is always waited for."""
        aside: AbstractContextManager[None] = nullcontext()
        if sum(map(len, writes.rows.values())) >= ROWS_MIN:
            aside = StandingAside(trio.lowlevel.current_trio_token())
        return await handed_over(partial(self._commit, writes, aside))

    def _commit(self, writes: Writes, aside: AbstractContextManager[None]) -> CommitTimes:
        # It must begin, put and commit in one thread: LMDB's rule.
        if self._failed:
            # LMDB lets a later commit succeed after a failed fsync, which would hide the hole.
            raise CommitError("an earlier commit failed; the store must be reopened")
        begun = time.perf_counter_ns()
        try:
            txn = self._env.begin(write=True)
            try:
                with aside:
                    linked = self._write(txn, writes)
                written = time.perf_counter_ns()
                txn.commit()
            except BaseException:
                txn.abort()
                raise
        except (lmdb.Error, OSError) as error:
            self._failed = True
            raise CommitError(f"{self.path}: {error}") from error
        except BaseException:
            self._failed = True
            raise
        self.last = linked
        ended = time.perf_counter_ns()
        return CommitTimes(ended - begun, ended - written)

    def _write(self, txn: lmdb.Transaction, writes: Writes) -> Commit:
        tables = self._tables
        self._check_epoch(txn)
        commit = writes.commit
        assert commit.sequence == self.last.sequence + 1, "commits out of sequence"
        for table, rows in writes.rows.items():
            # In key order neighbours share pages; `putmulti` is one call, though it still
            # releases the GIL once a row.
            puts = [
                (key, seal(table, key, payload))
                for key, payload in sorted(rows.items())
                if payload is not None
            ]
            txn.cursor(tables[table]).putmulti(puts)
            if len(puts) < len(rows):
                for key, payload in rows.items():
                    if payload is None:
                        txn.delete(key, db=tables[table])
        journal = [
            (key, seal(JOURNAL, key, payload))
            for key, payload in pages(commit.posting_first, writes.postings)
        ]
        _, added = txn.cursor(tables[JOURNAL]).putmulti(journal, append=True)
        if added != len(journal):
            raise CorruptRowError(JOURNAL, journal[0][0], "the journal goes on beyond its end")
        linked = replace(commit, chain=chained(self.last.chain, commit, writes.postings))
        key = sequence_key(commit.sequence)
        row = seal(COMMITS, key, encode(linked))
        if not txn.put(key, row, db=tables[COMMITS], append=True):
            raise CorruptRowError(COMMITS, key, "there are commits beyond the newest")
        return linked

    def _check_epoch(self, txn: lmdb.Transaction) -> None:
        held = txn.get(EPOCH_KEY, db=self._tables[META])
        if held is None:
            raise CorruptRowError(META, EPOCH_KEY, "missing")
        if _decode_opening(unseal(META, EPOCH_KEY, bytes(held))).epoch != self.epoch:
            raise StoreFencedError(f"{self.path}: another process has taken the store over")

    def has_headroom(self) -> bool:
        """See `Store.has_headroom`: 256 MiB or a tenth of the disk, and a tenth of the map."""
        try:
            disk = disk_of(self.path)
        except OSError:
            return False
        if disk.free_bytes < disk.headroom_bytes:
            return False
        used: int = self._env.info()["last_pgno"] * _PAGE
        return used < self._map_bytes - self._map_bytes // 10

    def room(self) -> Room:
        """Return what it takes of its disk, and what is left there; 0 where that cannot be seen."""
        used: int = (self._env.info()["last_pgno"] + 1) * _PAGE
        try:
            disk = disk_of(self.path)
        except OSError:
            return Room(used, 0)
        return Room(used, disk.free_bytes)

    def clear_readers(self) -> int:
        """See `Store.clear_readers`.

        A process that was killed while it read (`mdb_copy`, say) leaves its place in the table of
        readers, and LMDB keeps every page that it might still see: the file would grow for ever.
        """
        with _mapped(f"{self.path}: cannot look after its readers"):
            gone: int = self._env.reader_check()
        if gone:
            log.warning("%s: %d readers are gone without having ended", self.path, gone)
        return gone

    def copy(self, target: Path, snapshot: Snapshot) -> None:
        """Write what the snapshot shows into the empty folder `target`; may run beside commits,
        which it never holds up. Unused pages are left out.

        Raises:
            StorageError: it cannot be written.
        """
        assert isinstance(snapshot, LmdbSnapshot)
        with _mapped(f"cannot copy to {target}"):
            self._env.copy(str(target), compact=True, txn=snapshot._txn)

    def copied_bytes(self, snapshot: Snapshot) -> int:
        """Return how long the file is that `copy` makes of what a snapshot shows."""
        assert isinstance(snapshot, LmdbSnapshot)
        return snapshot.copied_bytes()

    def close(self, *, clean: bool) -> None:
        """See `Store.close`. Where it cannot be recorded, the next start recovers with caution."""
        try:
            if clean and not self._failed:
                with self._env.begin(write=True) as txn:
                    self._check_epoch(txn)
                    self._put_opening(txn, clean=True)
        except (lmdb.Error, StorageError) as error:
            log.warning("%s: not recorded as closed cleanly: %s", self.path, str(error))
        finally:
            self._env.close()

    def release(self) -> None:
        """Close a store that was only read; nothing is written."""
        self._env.close()

    def renew_incarnation(self, incarnation: str) -> None:
        """Give a restored store, and its ends of all links, an identity of its own."""
        self.format = replace(self.format, incarnation=incarnation)
        snapshot = self.snapshot()
        try:
            outgoing, incoming = link.ends(snapshot)
        finally:
            snapshot.close()
        rows = {
            **{link.outgoing_key(other): end for other, end in outgoing.items()},
            **{link.incoming_key(other): end for other, end in incoming.items()},
        }
        with _mapped(f"{self.path} cannot be written"), self._env.begin(write=True) as txn:
            payload = encode(self.format)
            txn.put(FORMAT_KEY, seal(META, FORMAT_KEY, payload), db=self._tables[META])
            for key, end in rows.items():
                payload = link.encode(replace(end, incarnation=incarnation))
                txn.put(key, seal(LINKS, key, payload), db=self._tables[LINKS])

    def _put_opening(self, txn: lmdb.Transaction, *, clean: bool) -> None:
        payload = encode(Opening(self.epoch, clean))
        txn.put(EPOCH_KEY, seal(META, EPOCH_KEY, payload), db=self._tables[META])


def _check_version(path: Path, format_: bytes) -> None:
    try:
        version = _decode_version(format_).version
    except msgspec.DecodeError:
        version = None
    if version != VERSION:
        raise StoreVersionError(
            f"{path} holds format {version}; this version knows format {VERSION} only"
        )


def _check_tables(path: Path, env: lmdb.Environment) -> None:
    with env.begin() as txn:
        unknown = {key.decode("ascii", "replace") for key, _ in txn.cursor()} - {*TABLES}
    if unknown:
        raise StoreVersionError(
            f"{path} holds tables that this version does not know: {', '.join(sorted(unknown))}"
        )


def _open_table(env: lmdb.Environment, table: str) -> Any:
    try:
        return env.open_db(table.encode(), create=False)
    except lmdb.NotFoundError:
        raise CorruptRowError(table, b"", "the table is missing") from None


def _open_tables(env: lmdb.Environment) -> dict[str, Any]:
    """Open the tables of a store; one of an earlier program lacks those that came later."""
    with env.begin() as txn:
        there = {key.decode("ascii", "replace") for key, _ in txn.cursor()}
    return {
        table: _open_table(env, table)
        for table in TABLES
        if table in there or table not in LATER_TABLES
    }


def _check_tail(snapshot: LmdbSnapshot, last: Commit) -> None:
    """Check the newest commit against the one before it and against its postings' bytes."""
    before = GENESIS
    if last.sequence:
        key = sequence_key(last.sequence - 1)
        payload = snapshot.get(COMMITS, key)
        if payload is None:
            raise CorruptRowError(COMMITS, key, "missing")
        before = open_commit(key, payload).chain
    # A batch's postings begin on a page of their own and fill whole pages.
    first = sequence_key(last.posting_first)
    opened = [page_postings(*row) for row in snapshot.scan(JOURNAL, first)]
    if sum(count for count, _ in opened) != last.postings:
        raise CorruptRowError(JOURNAL, first, "the newest commit's postings are not there")
    if chained(before, last, (postings for _, postings in opened)) != last.chain:
        raise CorruptRowError(COMMITS, sequence_key(last.sequence), "the chain is broken")


def _open_env(path: Path, map_bytes: int) -> lmdb.Environment:
    # No read-ahead: a store larger than memory is read at random.
    return lmdb.open(str(path), map_size=map_bytes, max_dbs=len(TABLES), readahead=False)


def _check_length(path: Path, env: lmdb.Environment) -> None:
    # LMDB reads through a map: reading what is missing at the file's end kills the process.
    if (path / "data.mdb").stat().st_size < (env.info()["last_pgno"] + 1) * _PAGE:
        raise StorageError(f"cannot open the store in {path}: data.mdb is cut short")


def check_file(path: Path, env: lmdb.Environment) -> None:
    """Check what LMDB would believe, before anything of the file is read through its map.

    Raises:
        StorageError: it is cut short, or its newest transaction is not whole.
        OSError: it cannot be read.
    """
    _check_length(path, env)
    for fault in transaction_faults(path):
        raise StorageError(f"cannot open the store in {path}: {fault}")


def create(path: Path, format_: Format, business_date: str, map_bytes: int = MAP_BYTES) -> None:
    """Create a store in the folder `path`, made if need be, and close it again.

    Raises:
        StoreExistsError: there is one already.
        StorageError: the folder cannot be written.
    """
    if (path / "data.mdb").exists():
        raise StoreExistsError(f"{path} holds a store already")
    try:
        path.mkdir(0o700, parents=True, exist_ok=True)
        env = _open_env(path, map_bytes)
        tables = {table: env.open_db(table.encode()) for table in TABLES}
        with env.begin(write=True) as txn:
            for key, payload in (
                (FORMAT_KEY, encode(format_)),
                (EPOCH_KEY, encode(Opening(0, clean=True))),
            ):
                txn.put(key, seal(META, key, payload), db=tables[META])
            ends = link.new_ends(format_.shard, format_.shards, format_.incarnation)
            for key, payload in ends.items():
                txn.put(key, seal(LINKS, key, payload), db=tables[LINKS])
            key = sequence_key(0)
            commit = encode(first_commit(format_.created_ns, business_date))
            txn.put(key, seal(COMMITS, key, commit), db=tables[COMMITS])
        env.close()
    except (OSError, lmdb.Error) as error:
        raise StorageError(f"cannot create a store in {path}: {error}") from error


def open_store(path: Path, map_bytes: int = MAP_BYTES) -> LmdbStore:
    """Open a store that exists. Call `begin_epoch` before writing.

    Raises:
        StoreMissingError: there is none.
        StoreVersionError: its format is not known.
        CorruptRowError: metadata or the newest commit are damaged.
    """
    if not (path / "data.mdb").exists():
        raise StoreMissingError(f"{path} holds no store")
    try:
        env = _open_env(path, map_bytes)
    except lmdb.Error as error:
        raise StorageError(f"cannot open the store in {path}: {error}") from error
    try:
        check_file(path, env)
        return LmdbStore(path, env, map_bytes)
    except (lmdb.Error, OSError) as error:
        env.close()
        raise StorageError(f"cannot read the store in {path}: {error}") from error
    except StorageError:
        env.close()
        raise


class Look:
    """A store opened for `verify`: whatever can be read of it, damaged or not.

    Args:
        path: folder of the store, which no process writes to.

    Raises:
        StoreVersionError: its format is not known.
        CorruptRowError: a table is missing.
        StorageError: LMDB cannot open it.
    """

    def __init__(self, path: Path) -> None:
        with _mapped(f"cannot open the store in {path}"):
            self._env = _open_env(path, MAP_BYTES)
        try:
            with _mapped(f"cannot read the store in {path}"):
                _check_length(path, self._env)
                self._tables = {META: _open_table(self._env, META)}
                self._check_version(path)
                _check_tables(path, self._env)
                self._tables |= _open_tables(self._env)
        except StorageError:
            self._env.close()
            raise

    def _check_version(self, path: Path) -> None:
        with closing(self.snapshot()) as snapshot:
            try:
                format_ = snapshot.get(META, FORMAT_KEY)
            except CorruptRowError:
                return  # it will be named with the others
        if format_ is not None:
            _check_version(path, format_)

    def snapshot(self) -> LmdbSnapshot:
        """Return a view of it."""
        return LmdbSnapshot(self._env, self._tables)

    def release(self) -> None:
        """Close it; nothing is written."""
        self._env.close()
