"""The trace: what happened in a run, line by line, and a hash to tell two runs apart."""

import hashlib
from collections.abc import Callable


class Trace:
    """Collects lines.

    Args:
        now: virtual time, seconds.
        write: given each line, where somebody wants to read them.
    """

    def __init__(
        self, now: Callable[[], float], write: Callable[[str], object] | None = None
    ) -> None:
        self._now = now
        self._write = write
        self._hash = hashlib.sha256()

    def note(self, *words: object) -> None:
        """Add a line; every word must be the same in every run with this seed."""
        line = " ".join([f"{self._now():.9f}", *map(str, words)]) + "\n"
        self._hash.update(line.encode())
        if self._write is not None:
            self._write(line)

    def digest(self) -> str:
        """Return the SHA-256 of all lines, in hex."""
        return self._hash.hexdigest()
