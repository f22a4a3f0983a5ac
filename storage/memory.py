"""The in-memory twin of a store: same interface, same bytes, commits inline.

It seals rows and links the chain exactly as the LMDB store does, so that whatever reads a store
(verify, audit, the engine) cannot tell them apart.
"""

import bisect
import time
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from storage.errors import CommitError, StorageError
from storage.journal import chained, encode, first_commit, pages, sequence_key
from storage.link import new_ends
from storage.row import COMMITS, JOURNAL, LINKS, TABLES, seal, unseal
from storage.store import CommitTimes, Format, Writes

_KEY_BYTES_MAX: Final = 511
"""As in LMDB: a key that it refuses must not get past its twin."""
_INSERTED_MAX: Final = 50


class _Table(dict[bytes, bytes]):
    """Rows as of one commit, never changed afterwards, and their keys in order once asked for."""

    __slots__ = ("_order",)

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        super().__init__(rows)
        self._order: list[bytes] | None = None

    def order(self) -> list[bytes]:
        """Return the keys in order."""
        if self._order is None:
            self._order = sorted(self)
        return self._order

    def changed(self, rows: dict[bytes, bytes | None]) -> "_Table":
        """Return the table with rows put and deleted (None)."""
        table = _Table(self)
        order = self._order
        fresh = [key for key, row in rows.items() if row is not None and key not in self]
        gone = [key for key, row in rows.items() if row is None and key in self]
        for key, row in rows.items():
            if row is None:
                table.pop(key, None)
            else:
                table[key] = row
        if order is not None and len(fresh) + len(gone) <= _INSERTED_MAX:
            # Sorting ten thousand keys for one more costs a hundred times as much.
            if fresh or gone:
                order = order.copy()
                for key in fresh:
                    bisect.insort(order, key)
                for key in gone:
                    del order[bisect.bisect_left(order, key)]
            table._order = order
        return table


class MemorySnapshot:
    """A view of the tables as they were when it was opened."""

    def __init__(self, tables: dict[str, _Table]) -> None:
        self._open_tables: dict[str, _Table] | None = tables

    @property
    def _tables(self) -> dict[str, _Table]:
        if self._open_tables is None:
            raise StorageError("this view is closed")
        return self._open_tables

    def get(self, table: str, key: bytes) -> bytes | None:
        """See `Snapshot.get`."""
        if not key:
            raise StorageError("empty key")
        row = self._tables[table].get(key)
        return None if row is None else unseal(table, key, row)

    def scan(
        self, table: str, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Snapshot.scan`."""
        keys = self._tables[table].order()
        first = bisect.bisect_left(keys, start)
        last = len(keys) if stop is None else bisect.bisect_left(keys, stop)
        chosen = keys[first:last]
        for key in reversed(chosen) if reverse else chosen:
            yield key, unseal(table, key, self._tables[table][key])

    def raw(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Snapshot.raw`."""
        rows = self._tables[table]
        for key in rows.order():
            yield key, rows[key]

    def count(self, table: str) -> int:
        """See `Snapshot.count`."""
        return len(self._tables[table])

    def close(self) -> None:
        """See `Snapshot.close`."""
        self._open_tables = None


class MemoryStore:
    """A store in dictionaries. `reopened` gives what a process would find after a crash."""

    def __init__(self, format_: Format, business_date: str) -> None:
        self.format = format_
        self.epoch = 1
        self.was_clean = True
        self.last = first_commit(format_.created_ns, business_date)
        self.room = True
        self.fail_next: str | None = None
        key = sequence_key(0)
        ends = new_ends(format_.shard, format_.shards, format_.incarnation)
        first: dict[str, dict[bytes, bytes]] = {
            COMMITS: {key: seal(COMMITS, key, encode(self.last))},
            LINKS: {key: seal(LINKS, key, payload) for key, payload in ends.items()},
        }
        self._tables = {table: _Table(first.get(table, {})) for table in TABLES}
        self._clean = False
        self._failed = False

    def reopened(self) -> "MemoryStore":
        """Return the store as the next process opens it: what was committed, nothing else."""
        store = MemoryStore(self.format, self.last.business_date)
        self.give_content(store)
        return store

    def give_content(self, store: "MemoryStore") -> None:
        """Have another store hold what this one has committed, as the next process opens it."""
        store._tables = dict(self._tables)
        store.last = self.last
        store.epoch = self.epoch + 1
        store.was_clean = self._clean

    def sealed(self, table: str, key: bytes) -> bytes | None:
        """Return a row as it is stored, with its checksum; None where there is none."""
        return self._tables[table].get(key)

    def snapshot(self) -> MemorySnapshot:
        """See `Store.snapshot`. The tables are copied on commit, so a view never moves."""
        return MemorySnapshot(dict(self._tables))

    def commit_now(self, writes: Writes) -> CommitTimes:
        """See `Store.commit_now`. `fail_next` = "kept" or "lost" fails the commit once."""
        begun = time.perf_counter_ns()
        if self._failed:
            raise CommitError("an earlier commit failed")
        if self.fail_next == "lost":
            self._failed = True
            raise CommitError("asked to fail; nothing was kept")
        commit, tables = writes.commit, dict(self._tables)
        assert commit.sequence == self.last.sequence + 1, "commits out of sequence"
        linked = replace(commit, chain=chained(self.last.chain, commit, writes.postings))
        changes = dict(writes.rows)
        changes[JOURNAL] = dict(pages(commit.posting_first, writes.postings))
        changes[COMMITS] = {sequence_key(commit.sequence): encode(linked)}
        for table, rows in changes.items():
            if any(not 0 < len(key) <= _KEY_BYTES_MAX for key in rows):
                self._failed = True
                raise CommitError("a key that is too long, or empty")
            tables[table] = tables[table].changed(
                {
                    key: None if payload is None else seal(table, key, payload)
                    for key, payload in rows.items()
                }
            )
        self._tables = tables
        self.last = linked
        if self.fail_next == "kept":
            self._failed = True
            raise CommitError("asked to fail; the batch was kept")
        return CommitTimes(time.perf_counter_ns() - begun, 0)

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`. Runs inline: a simulated store must never use a thread."""
        return self.commit_now(writes)

    def has_headroom(self) -> bool:
        """See `Store.has_headroom`; tests set `room`."""
        return self.room

    def close(self, *, clean: bool) -> None:
        """See `Store.close`."""
        self._clean = clean
