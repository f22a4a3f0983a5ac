"""A memory cgroup of our own, for a node that is to run out of memory; version 1 or 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path("/sys/fs/cgroup")
_STEP: Final = 64 << 10


class MemoryGroup:
    """A group of processes whose memory the kernel can limit.

    Args:
        path: its folder.
        unified: it is of version 2.
    """

    def __init__(self, path: Path, *, unified: bool) -> None:
        self._path = path
        self._unified = unified

    def command(self, *command: str) -> tuple[str, ...]:
        """Return a command that joins the group and becomes the given one."""
        script = 'echo $$ > "$0" && exec "$@"'
        return ("sh", "-c", script, str(self._path / "cgroup.procs"), *command)

    def _anonymous(self) -> int:
        """Return how much memory is used that cannot be had back, in bytes."""
        name = "anon" if self._unified else "total_rss"
        return self._figure("memory.stat", name)

    def squeeze(self) -> None:
        """Limit the memory to what is used: as low as the kernel can have it just now."""
        swap, limit = (
            ("memory.swap.max", "memory.max")
            if self._unified
            else ("memory.swappiness", "memory.limit_in_bytes")
        )
        self._path.joinpath(swap).write_text("0")
        size = self._anonymous()
        while True:
            try:
                self._path.joinpath(limit).write_text(str(size))
                return
            except OSError:  # it is in use
                size += _STEP

    def killed(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        name = "memory.events" if self._unified else "memory.oom_control"
        return self._figure(name, "oom_kill")

    def _figure(self, file: str, name: str) -> int:
        lines = self._path.joinpath(file).read_text("ascii").splitlines()
        return int(dict(line.split() for line in lines)[name])


@contextmanager
def memory_group(name: str) -> Iterator[MemoryGroup]:
    """Make a group; the test is skipped where the machine does not allow it."""
    unified = (_ROOT / "cgroup.controllers").exists()
    path = (_ROOT if unified else _ROOT / "memory") / name
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        limit = path / ("memory.max" if unified else "memory.limit_in_bytes")
        if not limit.exists():
            pytest.skip("cgroups have no memory controller here")
        yield MemoryGroup(path, unified=unified)
    finally:
        path.rmdir()
