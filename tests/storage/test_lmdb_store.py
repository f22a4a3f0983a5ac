"""The LMDB store: what is damaged, taken over, full or failed says so, and nothing is half done."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import pytest
import trio
from msgspec.structs import replace

from engine.clock import DomainClock
from engine.fault import DISK_NEARLY_FULL, OUTCOME_UNKNOWN
from engine.limits import Limits
from storage import lmdb_store
from storage.errors import (
    CommitError,
    CorruptRowError,
    StorageError,
    StoreExistsError,
    StoreFencedError,
    StoreMissingError,
    StoreVersionError,
)
from storage.journal import encode, open_commit, sequence_key
from storage.lmdb_store import EPOCH_KEY, FORMAT_KEY, LmdbStore
from storage.row import ACTORS, COMMITS, JOURNAL, META, TABLES, seal
from storage.store import Opening
from storage.verify import Verification
from tests.engine.purses import Look, Purse, Write, check_books, give_ok, running
from tests.storage.stores import (
    DATE,
    FORMAT,
    NOW_NS,
    SMALL_MAP,
    make,
    opened,
    posting,
    put,
    writes,
)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def change(path: Path, table: str, key: bytes, row: bytes | None) -> None:
    """Change a row behind the store's back; None drops it."""
    env = lmdb.open(str(path), map_size=64 << 20, max_dbs=20)
    with env.begin(write=True) as txn:
        tables = env.open_db(table.encode(), txn=txn)
        if row is None:
            txn.delete(key, db=tables)
        else:
            txn.put(key, row, db=tables)
    env.close()


def filled(path: Path) -> Path:
    """Create a store with some commits, and close it as a crash would."""
    store = make(path)
    for n in range(3):
        put(store, {ACTORS: {b"a": bytes([n])}}, [posting(5), posting(-5)])
    store.close(clean=False)
    return path


# What is found at once when a store is opened.


NEWEST = sequence_key(3)
FLIPPED: list[tuple[str, bytes]] = [
    (META, FORMAT_KEY),
    (META, EPOCH_KEY),
    (COMMITS, NEWEST),
    (COMMITS, sequence_key(2)),
    (JOURNAL, sequence_key(5)),
]


@pytest.mark.parametrize(("table", "key"), FLIPPED)
@pytest.mark.parametrize("how", ["flipped", "dropped"])
def test_damaged_metadata_or_tail_refuses_to_open(
    tmp_path: Path, table: str, key: bytes, how: str
) -> None:
    path = filled(tmp_path / "s")
    store = lmdb_store.open_store(path)
    snapshot = store.snapshot()
    row = bytearray(dict(snapshot.raw(table))[key])
    snapshot.close()
    store.release()
    row[-1] ^= 1
    change(path, table, key, bytes(row) if how == "flipped" else None)
    with pytest.raises(CorruptRowError, match=f"corrupt row in ({table}|{COMMITS}|{JOURNAL})"):
        lmdb_store.open_store(path)


def test_newest_commit_that_does_not_follow_refuses_to_open(tmp_path: Path) -> None:
    """Its checksum fits; its chain does not."""
    path = filled(tmp_path / "s")
    store = lmdb_store.open_store(path)
    forged = replace(store.last, now_ns=1)
    store.release()
    change(path, COMMITS, NEWEST, seal(COMMITS, NEWEST, encode(forged)))
    with pytest.raises(CorruptRowError, match="the chain is broken"):
        lmdb_store.open_store(path)


def test_postings_beyond_the_newest_commit_refuse_to_open(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    key = sequence_key(7)
    change(path, JOURNAL, key, seal(JOURNAL, key, b"\xdc\0\1" + posting(1)))
    with pytest.raises(CorruptRowError, match="postings are not there"):
        lmdb_store.open_store(path)


def test_first_commit_that_was_changed_refuses_to_open(tmp_path: Path) -> None:
    path = tmp_path / "s"
    lmdb_store.create(path, FORMAT, DATE)
    key = sequence_key(0)
    store = lmdb_store.open_store(path)
    forged = replace(store.last, business_date="2030-01-01")
    store.release()
    change(path, COMMITS, key, seal(COMMITS, key, encode(forged)))
    with pytest.raises(CorruptRowError, match="the chain is broken"):
        lmdb_store.open_store(path)


@pytest.mark.parametrize(
    "format_",
    [encode({"version": 99, "shards": "many"}), encode({"kind": "other"}), encode([99]), b"\xc1"],
)
def test_version_that_is_not_known_refuses_to_open(tmp_path: Path, format_: bytes) -> None:
    path = filled(tmp_path / "s")
    change(path, META, FORMAT_KEY, seal(META, FORMAT_KEY, format_))
    with pytest.raises(StoreVersionError, match="this version knows format 2 only"):
        lmdb_store.open_store(path)


def test_slot_map_that_is_not_known_refuses_to_open(tmp_path: Path) -> None:
    """With another map an address would be looked for on the wrong shard."""
    for number, changes in enumerate(({"slot_map_version": 2}, {"slots": 4096})):
        path = filled(tmp_path / f"s{number}")
        format_ = encode(replace(FORMAT, version=lmdb_store.VERSION, **changes))
        change(path, META, FORMAT_KEY, seal(META, FORMAT_KEY, format_))
        with pytest.raises(StoreVersionError, match="this version knows map 1 of 1024 only"):
            lmdb_store.open_store(path)


def test_newer_version_with_other_tables_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "s"
    row = seal(META, FORMAT_KEY, encode({"version": 3}))
    path.mkdir()
    change(path, META, FORMAT_KEY, row)
    with pytest.raises(StoreVersionError, match="holds format 3"):
        lmdb_store.open_store(path)


@pytest.mark.parametrize("content", [b"", b"no store at all" * 1000])
def test_file_that_is_no_store_refuses_to_open(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(StorageError):
        lmdb_store.open_store(tmp_path)


def test_file_cut_short_refuses_to_open(tmp_path: Path) -> None:
    """LMDB would die of SIGBUS on the first page that is not there."""
    path = filled(tmp_path / "s")
    os.truncate(path / "data.mdb", (path / "data.mdb").stat().st_size - 4096)
    with pytest.raises(StorageError, match="cut short"):
        lmdb_store.open_store(path)


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0)])
def test_meta_page_written_over_the_other_refuses_to_open(
    tmp_path: Path, source: int, target: int
) -> None:
    """Else the commit before the newest would come back, whole and valid."""
    path = filled(tmp_path / "store")
    with (path / "data.mdb").open("r+b") as file:
        file.seek(source * _PAGE_BYTES)
        page = file.read(_PAGE_BYTES)
        file.seek(target * _PAGE_BYTES)
        file.write(page)
    with pytest.raises(StorageError, match=f"meta page {target} is of transaction"):
        opened(path)


def test_store_is_missing_or_there_already(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError):
        lmdb_store.open_store(tmp_path / "none")
    make(tmp_path / "s").release()
    with pytest.raises(StoreExistsError):
        lmdb_store.create(tmp_path / "s", FORMAT, DATE)


# One process at a time.


def test_second_process_fences_the_first(tmp_path: Path) -> None:
    """The lock was got past: the first one's next commit fails, and its end harms nobody."""
    path = tmp_path / "s"
    first = make(path)
    put(first, {ACTORS: {b"a": b"1"}})
    # The same environment may not be opened twice in one process: the other one's epoch it is.
    with first._env.begin(write=True) as txn:
        row = seal(META, EPOCH_KEY, encode(Opening(first.epoch + 1, clean=False)))
        txn.put(EPOCH_KEY, row, db=first._tables[META])
    with pytest.raises(StoreFencedError):
        put(first, {ACTORS: {b"a": b"2"}})
    with pytest.raises(CommitError):
        put(first, {ACTORS: {b"a": b"3"}})
    assert first.snapshot().get(ACTORS, b"a") == b"1"
    first.close(clean=True)
    second = lmdb_store.open_store(path)
    assert (second.epoch, second.was_clean) == (2, False)
    second.release()


@pytest.mark.parametrize("clean", [True, False])
def test_process_that_was_fenced_leaves_the_others_epoch(tmp_path: Path, clean: bool) -> None:
    """Also when it had nothing more to commit before it closed."""
    path = tmp_path / "s"
    first = make(path)
    with first._env.begin(write=True) as txn:
        row = seal(META, EPOCH_KEY, encode(Opening(7, clean=False)))
        txn.put(EPOCH_KEY, row, db=first._tables[META])
    with pytest.raises(StoreFencedError):
        first.begin_epoch()
    first.close(clean=clean)
    second = lmdb_store.open_store(path)
    assert (second.epoch, second.was_clean) == (7, False)
    second.release()


def test_epochs_count_openings_and_remember_how_the_last_ended(tmp_path: Path) -> None:
    path = tmp_path / "s"
    make(path).close(clean=True)
    seen = []
    for clean in (False, True, True):
        store = opened(path)
        seen.append((store.epoch, store.was_clean))
        store.close(clean=clean)
    assert seen == [(2, True), (3, False), (4, True)]


def test_journal_that_goes_on_beyond_its_end_fails_the_commit(tmp_path: Path) -> None:
    """Appended postings that LMDB would silently leave out are noticed."""
    store = make(tmp_path / "s")
    for table in (JOURNAL, COMMITS):
        with store._env.begin(write=True) as txn:
            txn.put(sequence_key(99), b"x", db=store._tables[table])
        with pytest.raises((CorruptRowError, CommitError)):
            put(store, {}, [posting(1), posting(-1)])
        store._failed = False
        with store._env.begin(write=True) as txn:
            txn.delete(sequence_key(99), db=store._tables[table])
    put(store, {}, [posting(1), posting(-1)])
    store.close(clean=True)


# Full, failed, damaged at run time.


def test_full_map_is_a_clean_failure(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = make(path, SMALL_MAP)
    put(store, {ACTORS: {b"a": b"1"}}, [posting(1), posting(-1)])
    before = store.last
    much: dict[bytes, bytes | None] = {b"k%d" % n: bytes(4000) for n in range(400)}
    with pytest.raises(CommitError, match="MAP_FULL"):
        put(store, {ACTORS: {b"a": b"2", **much}}, [posting(1)])
    assert store.last == before
    assert store.snapshot().get(ACTORS, b"a") == b"1"
    with pytest.raises(CommitError, match="must be reopened"):
        put(store, {ACTORS: {b"a": b"3"}})
    store.close(clean=True)
    again = opened(path, SMALL_MAP)
    assert (again.last, again.was_clean) == (before, False)
    assert again.snapshot().count(ACTORS) == 1
    put(again, {ACTORS: {b"a": b"4"}})
    again.close(clean=True)


def test_headroom_is_gone_before_the_map_is_full(tmp_path: Path) -> None:
    store = make(tmp_path / "s", SMALL_MAP)
    assert store.has_headroom()
    n = 0
    while store.has_headroom():
        n += 1
        put(store, {ACTORS: {b"k%d" % n: bytes(4000)}})
    put(store, {ACTORS: {b"one more": bytes(4000)}})
    store.close(clean=True)


class Disk(NamedTuple):
    f_bavail: int
    f_blocks: int
    f_frsize: int = 4096


@pytest.mark.parametrize(
    ("free_bytes", "all_bytes", "room"),
    [
        (1 << 40, 1 << 41, True),
        (257 << 20, 1 << 40, True),
        (255 << 20, 1 << 40, False),
        (7 << 20, 64 << 20, True),
        (6 << 20, 64 << 20, False),
        (0, 64 << 20, False),
    ],
)
def test_headroom_is_256_mib_or_a_tenth_of_a_small_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_bytes: int, all_bytes: int, room: bool
) -> None:
    store = make(tmp_path / "s")
    disk = Disk(free_bytes // 4096, all_bytes // 4096)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    assert store.has_headroom() is room
    monkeypatch.setattr(os, "statvfs", _raise(OSError("gone")))
    assert not store.has_headroom()
    store.release()


def _raise(error: BaseException) -> Any:
    def raises(*_: object) -> None:
        raise error

    return raises


async def test_shard_refuses_new_work_on_a_disk_nearly_full_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "s")
    async with running(store, clock=DomainClock(NOW_NS)) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
        monkeypatch.setattr(os, "statvfs", lambda _: Disk(1, 1 << 20))
        await give_ok(shard, "purse/bank", "purse/a", 1)
        assert await shard.ask("purse/a", Look()) is DISK_NEARLY_FULL
        monkeypatch.undo()
        shard._check_headroom()  # as the ticker does
        assert await shard.ask("purse/a", Look()) == Purse(2, 4, 2)
    check_books(store)
    store.close(clean=True)


async def test_shard_on_a_full_map_tells_unknown_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = make(path, SMALL_MAP)
    # All in one batch: on a busy machine an earlier one might leave the map nearly full.
    limits = Limits(4_000, 4_000, batch_s=60.0)
    async with running(store, limits, DomainClock(NOW_NS)) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
        answers: list[Any] = []
        for n in range(3_000):
            name = f"{n:04d}" + "n" * 400
            fault = shard.submit("purse/a", Write("p", name, n), answers.append)
            assert fault is None
    assert isinstance(shard.failure, CommitError)
    assert len(answers) == 3_000
    assert answers[-1] is OUTCOME_UNKNOWN
    store.close(clean=False)
    store = opened(path, SMALL_MAP)
    check_books(store)
    async with running(store, clock=DomainClock(NOW_NS)) as shard:
        assert await shard.ask("purse/a", Look()) == Purse(1, 2, 1)
    store.close(clean=True)


async def test_row_damaged_at_run_time_stops_the_shard_and_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = make(path)
    async with running(store, clock=DomainClock(NOW_NS)) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
    snapshot = store.snapshot()
    key, row = next(row for row in snapshot.raw(ACTORS) if row[0].endswith(b"purse/a"))
    snapshot.close()
    store.close(clean=True)
    change(path, ACTORS, key, row[:-1] + b"\x7f")
    store = opened(path)
    async with running(store, clock=DomainClock(NOW_NS)) as shard:
        assert await shard.ask("purse/a", Look()) is OUTCOME_UNKNOWN
        assert isinstance(shard.failure, CorruptRowError)
        assert (shard.failure.table, shard.failure.key) == (ACTORS, key)
    verification = Verification(store.snapshot())
    verification.rows()
    assert [damage.table for damage in verification.damages] == [ACTORS]
    store.close(clean=False)


class Failing:
    """An environment whose next commit fails as a disk would make it."""

    def __init__(self, env: Any, error: Exception) -> None:
        self._env = env
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def begin(self, *, write: bool = False) -> Any:
        return Doomed(self._env.begin(write=True), self._error) if write else self._env.begin()


class Doomed:
    def __init__(self, txn: Any, error: Exception) -> None:
        self._txn = txn
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def __enter__(self) -> "Doomed":
        return self

    def __exit__(self, *_: object) -> None:
        self.commit()

    def commit(self) -> None:
        self._txn.abort()
        raise self._error


@pytest.mark.parametrize("error", [lmdb.Error("Input/output error"), lmdb.PanicError("meta")])
async def test_commit_that_fails_is_never_tried_again(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "s"
    store = make(path)
    put(store, {ACTORS: {b"a": b"1"}})
    whole: Any = store._env
    broken: Any = Failing(whole, error)
    store._env = broken
    with pytest.raises(CommitError):
        await store.commit(writes(store, {ACTORS: {b"a": b"2"}}))
    store._env = whole
    with pytest.raises(CommitError, match="must be reopened"):
        await store.commit(writes(store, {ACTORS: {b"a": b"3"}}))
    store.close(clean=True)
    store = lmdb_store.open_store(path)
    assert not store.was_clean, "there is something to recover"
    assert store.snapshot().get(ACTORS, b"a") == b"1"
    store.release()


def test_opening_or_closing_on_a_failing_disk_is_our_error(tmp_path: Path) -> None:
    path = tmp_path / "s"
    store = make(path)
    whole: Any = store._env
    broken: Any = Failing(whole, lmdb.DiskError("No space left on device"))
    store._env = broken
    with pytest.raises(StorageError):
        store.begin_epoch()
    with pytest.raises(StorageError):
        store.renew_incarnation("01")
    store.close(clean=True)
    with pytest.raises(StorageError):
        store.snapshot()
    assert not lmdb_store.open_store(path).was_clean


def test_errors_of_reading_are_ours(tmp_path: Path) -> None:
    """A turn that meets one must stop the shard, not be taken for a turn that failed."""
    store: LmdbStore = make(tmp_path / "s")
    put(store, {ACTORS: {b"a": b"1"}})
    view = store.snapshot()
    store.close(clean=False)
    for look in (
        lambda: view.get(ACTORS, b"a"),
        lambda: list(view.scan(ACTORS)),
        lambda: list(view.scan(ACTORS, reverse=True)),
        lambda: view.count(ACTORS),
        store.snapshot,
    ):
        with pytest.raises(StorageError):
            look()


def test_snapshot_that_is_closed_holds_no_reader_though_somebody_holds_it(tmp_path: Path) -> None:
    """There are 126: one that stayed with the frames of an exception, until a collection came,
    would keep everybody else from reading, and a node that cannot read ends."""
    store: LmdbStore = make(tmp_path / "s")
    put(store, {ACTORS: {b"a": b"1", b"b": b"2"}})
    held = []
    for _ in range(200):
        snapshot = store.snapshot()
        rows = snapshot.scan(ACTORS)
        assert next(rows) == (b"a", b"1")
        snapshot.close()
        held.append((snapshot, rows))
    with pytest.raises(StorageError, match="closed"):
        held[0][0].get(ACTORS, b"a")
    store.close(clean=True)


async def test_readers_beside_commits_see_whole_commits(tmp_path: Path) -> None:
    """In other threads too, as verify and export read."""
    store = make(tmp_path / "s")
    over = trio.Event()

    def read() -> int:
        snapshot = store.snapshot()
        found = {payload for _, payload in snapshot.scan(ACTORS)}
        newest = open_commit(*next(snapshot.scan(COMMITS, reverse=True)))
        snapshot.close()
        assert found <= {b"%d" % newest.sequence}
        return len(found)

    async def reader() -> None:
        while not over.is_set():
            await trio.to_thread.run_sync(read)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(reader)
        for n in range(1, 60):
            rows: dict[bytes, bytes | None] = {b"%d" % key: b"%d" % n for key in range(50)}
            await store.commit(writes(store, {ACTORS: rows}))
        over.set()
    store.close(clean=True)


def test_every_table_is_there_and_no_other(tmp_path: Path) -> None:
    path = filled(tmp_path / "s")
    env = lmdb.open(str(path), max_dbs=20)
    with env.begin() as txn:
        assert sorted(key.decode() for key, _ in txn.cursor()) == sorted(TABLES)
    env.close()
