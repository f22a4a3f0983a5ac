"""The machine's time: how much of its CPUs this run took, and how much others did.

What all took is in /proc/stat, user's and system's time and what the hypervisor kept ("steal");
ours is that of our processes, with those that they have started and waited for (proc(5)).
Interrupts and kernel threads are nobody's: they send our answers and write our pages as well as
others'. The kernel counts in hundredths of a second, so that a second on two cores is known to
a few hundredths. Linux only, as all of `bench`.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from msgspec import Struct

from bench.peers.result import Load

_PROC: Final = Path("/proc")
_LOOKS_MAX: Final = 50
_KERNEL_THREADS: Final = 2
"""Process id of the parent of all of them, where they are seen at all."""


class Reading(Struct, frozen=True):
    """What had been taken since the machine started, in seconds of CPU.

    Attributes:
        at_s: when, on the monotonic clock.
        busy_s: by everybody, in user's and system's mode.
        stolen_s: by the hypervisor.
        ours_s, kernel_s: by this run's processes, and by kernel threads.
    """

    at_s: float
    busy_s: float
    stolen_s: float
    ours_s: float
    kernel_s: float


class _Process(Struct, frozen=True):
    """A process: ticks of its own, and of those that it has waited for."""

    parent: int
    name: str
    ticks: int


def reading(names: Collection[str] = ()) -> Reading:
    """Read the clocks.

    Args:
        names: processes of these names are ours too, whoever has started them.

    Raises:
        OSError: this system has no such files.
    """
    hz = os.sysconf("SC_CLK_TCK")
    processes = _settled()
    at_s = time.monotonic()
    # user nice system idle iowait irq softirq steal; a guest's time is in user's already.
    ticks = list(map(int, (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]))
    ours = {os.getpid()} | {pid for pid, each in processes.items() if each.name in names}
    kernel = {_KERNEL_THREADS} if _is_kernel(processes) else set[int]()
    return Reading(
        at_s,
        sum(ticks[:3]) / hz,
        ticks[7] / hz,
        sum(processes[pid].ticks for pid in _with_children(ours, processes)) / hz,
        sum(processes[pid].ticks for pid in _with_children(kernel, processes)) / hz,
    )


def load(before: Reading, after: Reading) -> Load:
    """Return what was taken between two readings, as shares of all that there was to take."""
    there_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    ours_s = max(0.0, after.ours_s - before.ours_s)
    stolen_s = after.stolen_s - before.stolen_s
    kernel_s = max(0.0, after.kernel_s - before.kernel_s)
    others_s = max(0.0, after.busy_s - before.busy_s - ours_s - kernel_s) + stolen_s
    return Load(*(round(each / there_s, 3) for each in (ours_s, others_s, stolen_s)))


def _settled() -> dict[int, _Process]:
    """Return all processes, as they are while none comes or goes.

    Files are read one by one: of a process that is waited for meanwhile, its time would be its own
    and its parent's as well, or neither's. A server's clients all end right after a round.
    """
    before = _processes()
    for _ in range(_LOOKS_MAX):
        after = _processes()
        if after.keys() == before.keys():
            return after  # the first of the two may have seen less, or more
        before = after
    return before


def _processes() -> dict[int, _Process]:
    found = {}
    for each in _PROC.iterdir():
        if each.name.isdigit():
            try:
                line = (each / "stat").read_text()
            except OSError:
                continue  # it has just ended
            begin, _, rest = line.rpartition(")")  # its name may hold anything
            fields = rest.split()
            found[int(each.name)] = _Process(
                int(fields[1]), begin.partition("(")[2], sum(map(int, fields[11:15]))
            )
    return found


def _is_kernel(processes: dict[int, _Process]) -> bool:
    first = processes.get(_KERNEL_THREADS)
    return first is not None and (first.parent, first.name) == (0, "kthreadd")


def _with_children(first: set[int], processes: dict[int, _Process]) -> set[int]:
    """Return processes and all that descend from them."""
    found = first & processes.keys()
    more = found
    while more:
        more = {pid for pid, each in processes.items() if each.parent in more} - found
        found = found | more
    return found
