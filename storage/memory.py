"""The in-memory twin of a store: same interface, same bytes, commits inline.

It seals rows and links the chain exactly as the LMDB store does, so that whatever reads a store
(verify, audit, the engine) cannot tell them apart.
"""

import bisect
import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec.structs import replace

from storage.errors import CommitError, StorageError
from storage.journal import chained, encode, first_commit, pages, sequence_key
from storage.link import new_ends
from storage.row import COMMITS, JOURNAL, LINKS, TABLES, seal, unseal
from storage.store import CommitTimes, Format, Writes

_Table = dict[bytes, bytes]
_KEY_BYTES_MAX: Final = 511
"""As in LMDB: a key that it refuses must not get past its twin."""


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
        rows = self._tables[table]
        keys = sorted(rows)
        first = bisect.bisect_left(keys, start)
        last = len(keys) if stop is None else bisect.bisect_left(keys, stop)
        chosen = keys[first:last]
        for key in reversed(chosen) if reverse else chosen:
            yield key, unseal(table, key, self._tables[table][key])

    def seeking(self, table: str) -> Callable[[bytes], bytes | None]:
        """See `Snapshot.seeking`."""
        keys = sorted(self._tables[table])

        def seek(key: bytes) -> bytes | None:
            at = bisect.bisect_left(keys, key)
            return keys[at] if at < len(keys) else None

        return seek

    def raw(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        """See `Snapshot.raw`."""
        yield from sorted(self._tables[table].items())

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
        self._tables: dict[str, _Table] = {table: {} for table in TABLES}
        key = sequence_key(0)
        self._tables[COMMITS][key] = seal(COMMITS, key, encode(self.last))
        for key, payload in new_ends(format_.shard, format_.shards, format_.incarnation).items():
            self._tables[LINKS][key] = seal(LINKS, key, payload)
        self._clean = False
        self._failed = False

    def reopened(self) -> "MemoryStore":
        """Return the store as the next process opens it: what was committed, nothing else."""
        store = MemoryStore(self.format, self.last.business_date)
        self.give_content(store)
        return store

    def give_content(self, store: "MemoryStore") -> None:
        """Have another store hold what this one has committed, as the next process opens it."""
        store._tables = {table: dict(rows) for table, rows in self._tables.items()}
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
        for table, rows in writes.rows.items():
            changed = tables[table] = dict(tables[table])
            for key, payload in rows.items():
                if not 0 < len(key) <= _KEY_BYTES_MAX:
                    self._failed = True
                    raise CommitError(f"key of {len(key)} bytes")
                if payload is None:
                    changed.pop(key, None)
                else:
                    changed[key] = seal(table, key, payload)
        linked = replace(commit, chain=chained(self.last.chain, commit, writes.postings))
        journal = tables[JOURNAL] = dict(tables[JOURNAL])
        for key, payload in pages(commit.posting_first, writes.postings):
            journal[key] = seal(JOURNAL, key, payload)
        key = sequence_key(commit.sequence)
        tables[COMMITS] = {**tables[COMMITS], key: seal(COMMITS, key, encode(linked))}
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

    def clear_readers(self) -> int:
        """See `Store.clear_readers`: there are no other processes."""
        return 0

    def close(self, *, clean: bool) -> None:
        """See `Store.close`."""
        self._clean = clean
