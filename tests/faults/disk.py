"""A disk that refuses, stalls and remembers: what stands between a node and its files in the labs.

It is a small library (disk.c), built with `cc` where it is used and preloaded into one process; it
acts on the files of one folder and on no others. Faults begin and end while the process runs,
through a file that both have mapped. The log holds every call that wrote, synced or cut a file, in
the order in which they ended, with the times at which each began and ended.
"""

import errno
import mmap
import struct
import subprocess
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.process import PIAOHAO

HANGS_S: Final = 1e6
"""A delay that outlasts any test."""

_SOURCE: Final = Path(__file__).with_name("disk.c")
_RULE: Final = struct.Struct("=8q40s")  # struct rule in disk.c
_NUMBER: Final = struct.Struct("=q")
_HELD: Final = 5 * _NUMBER.size
_COUNTS: Final = struct.Struct("=2q")
_COUNTED: Final = 6 * _NUMBER.size
_RECORD: Final = struct.Struct("=4q2IQ")  # struct record in disk.c


class Kind(IntEnum):
    """What a call does; the numbers are those of disk.c."""

    WRITE = 0
    META = 1
    """A write to a file opened with O_DSYNC: it is durable once it has returned. LMDB writes its
    meta pages so, and nothing else."""
    SYNC = 2
    """fsync or fdatasync."""
    TRUNCATE = 3


class Call(NamedTuple):
    """A call that has ended.

    Attributes:
        name: of the file, relative to the folder.
        start_ns: on CLOCK_MONOTONIC, as `time.monotonic_ns`.
        offset: of what was written, or the length that the file was cut to.
        result: what the call returned, -1 for an error.
        data: what has reached the file.
    """

    kind: Kind
    name: str
    start_ns: int
    end_ns: int
    offset: int
    result: int
    data: bytes


class Disk:
    """The disk of one process; it is well until told otherwise.

    Args:
        below: only the files of this folder are on it.
        place: an empty folder, elsewhere, for the library, the rules and the log.
        log: whether to keep one.
    """

    def __init__(self, below: Path, place: Path, *, log: bool = False) -> None:
        place.mkdir(parents=True, exist_ok=True)
        library, rules = place / "disk.so", place / "rules"
        self.log = place / "log" if log else None
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True
        )
        rules.write_bytes(bytes(_RULE.size * len(Kind)))
        with rules.open("rb+") as file:
            self._rules = mmap.mmap(file.fileno(), 0)
        self._set = {
            "LD_PRELOAD": library,
            "FAULTY_DISK_FOLDER": below.resolve(),
            "FAULTY_DISK_RULES": rules,
            **({"FAULTY_DISK_LOG": self.log} if self.log else {}),
        }

    def command(self, command: Sequence[str] = PIAOHAO) -> list[str]:
        """Return a command that runs another one on this disk."""
        return ["env", *(f"{name}={value}" for name, value in self._set.items()), *command]

    def fail(
        self,
        kind: Kind,
        error: int = errno.EIO,
        *,
        after: int = 0,
        times: int = 0,
        where: str = "",
        short_by: int = 0,
        held: bool = False,
    ) -> None:
        """Let calls of a kind go wrong from now on.

        Args:
            error: what they fail with.
            after: so many still go well.
            times: so many fail then, and the rest goes well again; 0 for all.
            where: only on files with this in their name.
            short_by: instead of failing, write so many bytes less than asked (and no more than
                the first of several pieces).
            held: a call that is to fail waits until `release`.
        """
        self._make(kind, error, (short_by, after, times, 0, held), where)

    def release(self, kind: Kind) -> None:
        """Let the calls that are held fail."""
        _NUMBER.pack_into(self._rules, kind * _RULE.size + _HELD, 0)

    def delay(self, kind: Kind, delay_s: float, *, where: str = "") -> None:
        """Let calls of a kind take so much longer; those that wait already hear of it too."""
        self._make(kind, 0, (0, 0, 0, int(delay_s * 1e6), 0), where)

    def heal(self) -> None:
        """Let everything go well again; a call that waits goes on."""
        for kind in Kind:
            self._make(kind, 0, (0, 0, 0, 0, 0), "")

    def calls(self, kind: Kind) -> tuple[int, int]:
        """Return how many calls a rule has seen since it was made, and how many it has failed."""
        calls, struck = _COUNTS.unpack_from(self._rules, kind * _RULE.size + _COUNTED)
        return calls, struck

    def read_log(self) -> list[Call]:
        """Return what the log holds; the process has ended."""
        assert self.log is not None
        return read_log(self.log)

    def _make(self, kind: Kind, error: int, numbers: tuple[int, ...], where: str) -> None:
        # The error comes last: it is what puts a rule in force.
        at = kind * _RULE.size
        _NUMBER.pack_into(self._rules, at, 0)
        rule = _RULE.pack(0, *numbers, 0, 0, where.encode())
        self._rules[at : at + _RULE.size] = rule
        _NUMBER.pack_into(self._rules, at, error)


def read_log(path: Path) -> list[Call]:
    """Return the calls that a log holds, in the order in which they ended."""
    calls = []
    held = memoryview(path.read_bytes())
    at = 0
    while at < len(held):
        start_ns, end_ns, offset, result, kind, name_bytes, data_bytes = _RECORD.unpack_from(
            held, at
        )
        at += _RECORD.size
        name = str(held[at : at + name_bytes], "utf-8")
        data = bytes(held[at + name_bytes : at + name_bytes + data_bytes])
        at += name_bytes + data_bytes
        calls.append(Call(Kind(kind), name, start_ns, end_ns, offset, result, data))
    return calls
