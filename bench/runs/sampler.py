"""The sampler: looks at both sides every so often while the clients are at it.

Each look closes an interval: CPU and commits are differences to the look before. It measures raw
fdatasync on the same disk in passing, a few times a look, in a thread.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from bench.engine_bench import fdatasync_times_ms
from bench.load.processes import sleep_until_ns

SYNCS: Final = 3
"""Raw syncs a look."""


class ShardSigns(Struct, frozen=True):
    """What is looked at of a shard's vital signs (`engine.inspection.VitalSigns`)."""

    durable_seq: int
    commits: int
    answers: int
    commit_ns_p50: int
    commit_ns_p99: int


class Watched(ABC):
    """Both sides, as far as a sampler looks at them."""

    @abstractmethod
    def cpu_s(self) -> tuple[float, float | None]:
        """Return the CPU that the server has taken, and that the clients have; None where they
        are in the same process."""

    @abstractmethod
    def memory_mib(self) -> float:
        """Return the server's anonymous memory."""

    @abstractmethod
    def signs(self, after: Sequence[int]) -> list[ShardSigns]:
        """Return each shard's signs; of its commits, those after the given one."""


class Sample(Struct, frozen=True):
    """One look; see `bench.runs.result.Point`."""

    at_ns: int
    cpu_server: float
    cpu_clients: float | None
    batch: float | None
    commit_ms_p50: float | None
    commit_ms_p99: float | None
    syncs_ms: list[float]
    anonymous_mib: float


async def sample(
    watched: Watched, folder: Path, begin_ns: int, end_ns: int, every_ns: int, into: list[Sample]
) -> None:
    """Look at the end of each interval of a window.

    Args:
        folder: on the disk where the store is.
    """
    await sleep_until_ns(begin_ns)
    before_ns, cpu, signs = begin_ns, watched.cpu_s(), watched.signs(())
    at_ns = begin_ns
    while at_ns < end_ns:
        at_ns = min(at_ns + every_ns, end_ns)
        await sleep_until_ns(at_ns)
        now_ns = time.monotonic_ns()
        seconds = max(1, now_ns - before_ns) / 1e9
        cpu_now = watched.cpu_s()
        signs_now = watched.signs([each.durable_seq for each in signs])
        commits = sum(each.commits for each in signs_now) - sum(each.commits for each in signs)
        answers = sum(each.answers for each in signs_now) - sum(each.answers for each in signs)
        memory = watched.memory_mib()
        syncs = await trio.to_thread.run_sync(fdatasync_times_ms, folder, SYNCS)
        clients = None
        if cpu_now[1] is not None and cpu[1] is not None:
            clients = (cpu_now[1] - cpu[1]) / seconds
        into.append(
            Sample(
                at_ns,
                (cpu_now[0] - cpu[0]) / seconds,
                clients,
                answers / commits if commits else None,
                max(each.commit_ns_p50 for each in signs_now) / 1e6 if commits else None,
                max(each.commit_ns_p99 for each in signs_now) / 1e6 if commits else None,
                syncs,
                memory,
            )
        )
        before_ns, cpu, signs = now_ns, cpu_now, signs_now
