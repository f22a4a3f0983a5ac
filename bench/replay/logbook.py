"""The logbook: what a replay has to know to go on, in one small SQLite file beside the store.

It holds how far the file has been carried out, what was refused or malformed up to there, and
which accounts, merchants, agreements, payments and holds the file has named. It is written after
the node has acknowledged what it says, in one transaction: it may lag behind the store, never
lead it, and what it lags behind is sent again and answered with its first outcome. So memory does
not grow with the file, and the counts are those of the whole file however often it was broken off.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from msgspec import Struct

from bench.replay.file import Place
from gateway.exits import STORE, CommandError

NAME: Final = "replay.sqlite"
_CACHED_MAX: Final = 50_000
_SCHEMA: Final = """
    create table if not exists facts (name text primary key, value) without rowid;
    create table if not exists refused (line integer primary key, reference text, code text);
    create table if not exists malformed (line integer primary key, code text);
    create table if not exists named (key text primary key, line integer, said text) without rowid;
"""


class LogbookError(CommandError):
    """The logbook cannot be used."""

    def __init__(self, path: Path, reason: object) -> None:
        super().__init__(STORE, f"the replay's logbook {path} cannot be used: {reason}")


class Progress(Struct, frozen=True):
    """How far a replay has come.

    Attributes:
        place: everything before it has been carried out.
        fingerprint: of the file up to there.
        rows: how many there were, malformed ones included.
    """

    place: Place
    fingerprint: str
    rows: int


class RefusedRow(NamedTuple):
    """A row that was refused."""

    line: int
    reference: str
    code: str


class Logbook:
    """The logbook in a store's folder, made if need be; a context manager that closes it.

    Raises:
        LogbookError: (also from all methods) it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._cached: dict[str, str] = {}
        try:
            # A client that was killed a moment ago may not be quite gone yet.
            self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            # A process that dies loses nothing that was written; after a power failure the file
            # is whole, and older.
            self._db.execute("pragma journal_mode = wal")
            self._db.execute("pragma synchronous = normal")
            # Pages that are touched again and again until the next commit stay in memory: 32 MiB.
            self._db.execute("pragma cache_size = -32768")
            self._db.executescript(_SCHEMA)
            self._db.execute("begin immediate")
        except sqlite3.Error as error:
            raise LogbookError(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def _ask(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Run one statement and return its rows."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise LogbookError(self.path, error) from error

    def _tell(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one statement for each of the rows."""
        try:
            self._db.executemany(sql, rows)
        except sqlite3.Error as error:
            raise LogbookError(self.path, error) from error

    def fact(self, name: str) -> str | None:
        """Return what was noted under a name, None if nothing was."""
        rows = self._ask("select value from facts where name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def note(self, **facts: object) -> None:
        """Note facts under their names."""
        noted = ((name, str(value)) for name, value in facts.items())
        self._tell("insert or replace into facts values (?, ?)", noted)

    def progress(self) -> Progress | None:
        """Return how far it has come, None for a new logbook."""
        rows = self.fact("rows")
        if rows is None:
            return None
        line, offset, latest_us = (int(self.fact(n) or 0) for n in ("line", "offset", "latest_us"))
        return Progress(Place(line, offset, latest_us), self.fact("fingerprint") or "", int(rows))

    def forget_behind(self, line: int) -> None:
        """Forget what was named behind a line: it will be read again."""
        self._cached.clear()
        self._ask("delete from named where line > ?", (line,))

    def start_over(self) -> None:
        """Forget everything but the facts."""
        self.forget_behind(0)
        self._ask("delete from refused")
        self._ask("delete from malformed")

    def first(self, key: str, line: int, said: str) -> str | None:
        """Note what a line says under a key if it is the first to name it.

        Returns:
            What the first line said; None if this is it.
        """
        found = self._cached.get(key)
        if found is not None:
            return found
        try:
            made = self._db.execute(
                "insert or ignore into named values (?, ?, ?)", (key, line, said)
            ).rowcount
        except sqlite3.Error as error:
            raise LogbookError(self.path, error) from error
        if made:
            self._cache(key, said)
            return None
        return self.named(key)

    def named(self, key: str) -> str | None:
        """Return what the first line that named a key said under it, None if none did."""
        found = self._cached.get(key)
        if found is None:
            rows = self._ask("select said from named where key = ?", (key,))
            if not rows:
                return None
            found = str(rows[0][0])
            self._cache(key, found)
        return found

    def _cache(self, key: str, said: str) -> None:
        if len(self._cached) >= _CACHED_MAX:
            self._cached.clear()
        self._cached[key] = said

    def save(
        self, progress: Progress, refused: list[RefusedRow], malformed: list[tuple[int, str]]
    ) -> None:
        """Write how far it has come, and what was refused or malformed since the last time."""
        self._tell("insert into refused values (?, ?, ?)", refused)
        self._tell("insert into malformed values (?, ?)", malformed)
        place = progress.place
        self.note(
            line=place.line,
            offset=place.offset,
            latest_us=place.latest_us,
            fingerprint=progress.fingerprint,
            rows=progress.rows,
        )
        self._ask("commit")
        self._ask("begin immediate")

    def refused(self) -> Iterator[RefusedRow]:
        """Yield the rows that were refused, in the order of the file."""
        try:
            for row in self._db.execute("select line, reference, code from refused order by line"):
                yield RefusedRow(*row)
        except sqlite3.Error as error:
            raise LogbookError(self.path, error) from error

    def malformed(self) -> list[tuple[int, str]]:
        """Return line and code of the malformed rows, in the order of the file."""
        return self._ask("select line, code from malformed order by line")

    def counts(self) -> tuple[Counter[str], int]:
        """Return code → how many rows were refused with it, and how many were malformed."""
        by_code = self._ask("select code, count(*) from refused group by code")
        ((malformed,),) = self._ask("select count(*) from malformed")
        return Counter(dict(by_code)), malformed
