"""Stores of both kinds for the storage tests, and commits to put into them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage import lmdb_store
from storage.journal import Commit, Posting, Sum, encode
from storage.lmdb_store import LmdbStore
from storage.memory import MemoryStore
from storage.store import Format, Store, Writes

NOW_NS = 1_767_225_600_000_000_000
DATE = "2026-01-01"
FORMAT = Format(
    version=lmdb_store.VERSION,
    incarnation="00",
    shard=0,
    shards=1,
    slots=1024,
    slot_map_version=1,
    created_ns=NOW_NS,
)
SMALL_MAP = 1 << 20
Rows = dict[str, dict[bytes, bytes | None]]


def posting(amount_minor: int, reference: str = "r") -> bytes:
    return encode(Posting("a", amount_minor, "CNY", amount_minor, 0, reference, DATE))


def writes(store: Store, rows: Rows | None = None, postings: list[bytes] | None = None) -> Writes:
    """Return what the next commit of a store would write."""
    last = store.last
    postings = postings or []
    commit = Commit(
        last.sequence + 1,
        store.epoch,
        NOW_NS,
        DATE,
        last.posting_first + last.postings,
        len(postings),
        1,
        0,
        (Sum(DATE, "CNY", 0, 0),),
    )
    return Writes(commit, postings, rows or {})


def put(store: Store, rows: Rows | None = None, postings: list[bytes] | None = None) -> None:
    store.commit_now(writes(store, rows, postings))


def make(path: Path, map_bytes: int = lmdb_store.MAP_BYTES) -> LmdbStore:
    """Create a store in a folder and open it for writing."""
    lmdb_store.create(path, FORMAT, DATE, map_bytes)
    return opened(path, map_bytes)


def opened(path: Path, map_bytes: int = lmdb_store.MAP_BYTES) -> LmdbStore:
    store = lmdb_store.open_store(path, map_bytes)
    store.begin_epoch()
    return store


@contextmanager
def both(path: Path) -> Iterator[tuple[MemoryStore, LmdbStore]]:
    """Give a store of each kind, with the same format."""
    memory, durable = MemoryStore(FORMAT, DATE), make(path, 64 << 20)
    try:
        yield memory, durable
    finally:
        durable.release()
