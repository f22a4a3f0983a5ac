"""The interface of a store, and what the engine hands to it: one value per commit.

There are two: LMDB (`storage.lmdb_store`) for everything real, and memory (`storage.memory`)
for the simulator and fast tests, which commits inline and never waits.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec import Struct

from storage.journal import Commit


class Format(Struct, frozen=True):
    """What `init` fixes for the life of a store; the row `format` of its `meta` table.

    `incarnation` is drawn anew whenever a store is created or restored from a backup.
    """

    version: int
    incarnation: str
    shard: int
    shards: int
    slots: int
    slot_map_version: int
    created_ns: int


class Opening(Struct, array_like=True, frozen=True):
    """The row `epoch`: how often the store was opened, and whether it is closed cleanly."""

    epoch: int
    clean: bool


class Writes(Struct):
    """Everything one batch writes, as plain values; encoded, not yet sealed.

    Attributes:
        commit: the commit row, its chain still empty: the store links it.
        postings: encoded postings, in sequence from `commit.posting_first`.
        rows: table → key → payload, None to delete the row.
    """

    commit: Commit
    postings: list[bytes]
    rows: dict[str, dict[bytes, bytes | None]]


class CommitTimes(Struct, frozen=True):
    """How long a commit took, in nanoseconds: all of it, and the part in LMDB's own commit."""

    total_ns: int
    sync_ns: int


class Room(Struct, frozen=True):
    """What a store takes and what is left, in bytes.

    Attributes:
        used: its pages, free ones among them; the file is as long.
        free: what its disk still has for it.
    """

    used: int
    free: int


class Snapshot(Protocol):
    """A consistent view of everything that was durable when it was opened."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return the payload of a row, None where there is none.

        Raises:
            CorruptRowError: the row's checksum does not fit.
        """

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield `(key, payload)` with `start <= key < stop` in key order, or backwards.

        Raises:
            CorruptRowError: a row's checksum does not fit.
        """

    def seeking(self, table: str) -> Callable[[bytes], bytes | None]:
        """Return what finds the first key of a table that is not below another, None for none.

        It is for walks that leap over most of a table: no checksum is looked at, so whoever means
        to say that a row is there reads it.
        """

    def raw(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """Yield every `(key, sealed row)` of a table, checksums unchecked, for `verify`."""

    def count(self, table: str) -> int:
        """Return the number of rows of a table."""

    def close(self) -> None:
        """End the read transaction. Iterators over it are dead from then on."""


class Store(Protocol):
    """One shard's durable state.

    Attributes:
        format: what `init` fixed.
        epoch: how often the store was opened for writing, this time included.
        was_clean: whether the last process closed it.
        last: the newest durable commit.
    """

    format: Format
    epoch: int
    was_clean: bool
    last: Commit

    def snapshot(self) -> Snapshot:
        """Open a read transaction. Short ones only, and never across an `await`."""

    def commit_now(self, writes: Writes) -> CommitTimes:
        """Write one batch in one transaction and return once it is durable.

        Raises:
            CommitError: it failed; the store must not be used any more.
            StoreFencedError: another process has opened the store since.
        """

    async def commit(self, writes: Writes) -> CommitTimes:
        """As `commit_now`, without holding up the event loop (LMDB: in a worker thread)."""

    def has_headroom(self) -> bool:
        """Return whether there is room for new work, on the disk and in the map."""

    def clear_readers(self) -> int:
        """Free what processes that are gone were still reading; returns how many there were."""

    def close(self, *, clean: bool) -> None:
        """Close the store; `clean` records that nothing has to be recovered."""
