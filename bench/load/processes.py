"""Processes as a benchmark sees them: started for a while, and what CPU they have taken.

The CPU clock of a process counts all of its threads, also those that have ended, to the
nanosecond (POSIX, clock_getcpuclockid); Linux only.
"""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio


def cpu_s(pid: int) -> float:
    """Return the CPU that a process has taken, user's and system's, in seconds.

    Raises:
        OSError: there is no such process.
    """
    # The kernel's name for the clock of another process: clock_getcpuclockid(3) makes the same.
    return time.clock_gettime((~pid << 3) | 2)


def machine_cpu_s() -> float:
    """Return the CPU that everything on this machine has taken, stolen time too, in seconds."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


async def sleep_until_ns(when_ns: int) -> None:
    """Sleep until a time of the monotonic clock."""
    await trio.sleep(max(0.0, (when_ns - time.monotonic_ns()) / 1e9))


@asynccontextmanager
async def started(
    arguments: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> AsyncIterator[trio.Process]:
    """Run a process while the block runs; what is left of it then is killed."""
    process = await trio.lowlevel.open_process(
        list(arguments), stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds, cwd=cwd
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    await trio.aclose_forcefully(pipe)
