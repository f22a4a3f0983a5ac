"""The file of a replay, read line by line: memory does not grow with it, nor with its lines.

One row a line; a field may be quoted, but a line break always ends the row, so that a stray quote
costs one row and not the rest of the file. Blank lines are no rows. Lines are counted from 1, and
the header is the first.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from bench.replay.row import COLUMNS, Mistake, Row, fields, parse
from gateway.exits import INPUT, CommandError

LINE_MAX: Final = 4_096
"""Bytes of the longest line that is looked at, its line break included."""
_CHUNK: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


class FileError(CommandError):
    """The file cannot be read, or is none of a replay's."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(INPUT, f"{path}: {detail}")


class Place(Struct, frozen=True):
    """A place between two lines of the file.

    Attributes:
        line: how many lines come before it.
        offset: how many bytes do.
        latest_us: the time of the newest well-formed row before it, 0 if there is none.
    """

    line: int = 1
    offset: int = 0
    latest_us: int = 0


class Read(Struct, frozen=True):
    """One row as it was read, and the place behind it."""

    said: Row | Mistake
    after: Place


class ReplayFile:
    """A file that is open and has the right header.

    Raises:
        FileError: it cannot be opened, is no regular file, is empty, or has another header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise FileError(path, f"cannot be opened: {error.strerror}") from error
        try:
            self._check_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _check_header(self) -> None:
        if not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode):
            raise FileError(self.path, "is not a regular file")
        line = self._line(LINE_MAX)
        if not line:
            raise FileError(self.path, "is empty")
        header = fields(line.removeprefix(_BOM).rstrip(b"\r\n"))
        if isinstance(header, Mistake) or tuple(header) != COLUMNS:
            raise FileError(self.path, f"its first line is not {','.join(COLUMNS)}")
        self.begin = Place(1, len(line))

    def _line(self, size: int) -> bytes:
        try:
            return self._file.readline(size)
        except OSError as error:
            raise FileError(self.path, f"cannot be read: {error.strerror}") from error

    def rows(self, place: Place) -> Iterator[Read]:
        """Yield all rows behind a place.

        Raises:
            FileError: the file cannot be read any further.
        """
        number, offset, latest_us = place.line, place.offset, place.latest_us
        self._file.seek(offset)
        while line := self._line(LINE_MAX):
            number += 1
            offset += len(line)
            said: Row | Mistake
            if len(line) == LINE_MAX and not line.endswith(b"\n"):
                while rest := self._line(_CHUNK):
                    offset += len(rest)
                    if rest.endswith(b"\n"):
                        break
                said = Mistake.LINE_TOO_LONG
            else:
                text = line.rstrip(b"\r\n")
                if not text:
                    continue
                said = parse(text)
                if isinstance(said, Row):
                    if said.at_us < latest_us:
                        said = Mistake.TIME_GOES_BACK
                    else:
                        latest_us = said.at_us
            yield Read(said, Place(number, offset, latest_us))

    def first_time(self) -> str | None:
        """Return the time of the first well-formed row, None where there is none."""
        for read in self.rows(self.begin):
            if isinstance(read.said, Row):
                return read.said.time
        return None

    def lines_behind(self, place: Place) -> int:
        """Return how many lines there are behind a place, for a progress bar."""
        count = 0
        with self.path.open("rb") as file:
            file.seek(place.offset)
            while chunk := file.read(_CHUNK):
                count += chunk.count(b"\n")
        return count


class Fingerprint:
    """The SHA-256 of a file's beginning, up to a place that only moves forward."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._hash = hashlib.sha256()
        self._left_off = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def up_to(self, offset: int) -> str:
        """Return the digest of the first `offset` bytes, in hex, or of all if there are fewer."""
        while self._left_off < offset:
            chunk = self._file.read(min(_CHUNK, offset - self._left_off))
            if not chunk:
                break
            self._hash.update(chunk)
            self._left_off += len(chunk)
        return self._hash.hexdigest()
