"""The simulated disk: a store in memory that is slow, fails, and shows the checkers each commit.

A commit is whole or absent (torn writes are the business of real files). As with LMDB a commit
after a failed one succeeds: that the engine never tries one is for a checker to see, not for the
store to prevent.
"""

import zlib
from collections.abc import Callable

import trio

from bench.simulator.chance import Chance
from bench.simulator.faults import Faults
from bench.simulator.trace import Trace
from storage.errors import CommitError
from storage.journal import Commit
from storage.memory import MemoryStore
from storage.row import seal
from storage.store import CommitTimes, Format, Writes

SIMULATED = "simulated: "
"""How the text of every injected error begins."""


class Durable:
    """What one commit made durable, as the checkers see it.

    Attributes:
        shard, commit, writes: what was written, the commit with its chain.
        sealed: returns the row as it lies in the store, None where there is none.
    """

    def __init__(
        self,
        shard: int,
        commit: Commit,
        writes: Writes,
        sealed: Callable[[str, bytes], bytes | None],
        epoch: int,
        after_failure: bool,
    ) -> None:
        self.shard = shard
        self.commit = commit
        self.writes = writes
        self.sealed = sealed
        self.epoch = epoch
        self.after_failure = after_failure


class Disk(MemoryStore):
    """One shard's store in a simulated world."""

    def __init__(
        self,
        format_: Format,
        business_date: str,
        faults: Faults,
        trace: Trace,
        committed: Callable[[Durable], None],
        seed: str,
    ) -> None:
        super().__init__(format_, business_date)
        self.slow = False
        self._faults = faults
        self._trace = trace
        self._committed = committed
        self._chance = Chance(seed)
        self._broken = False

    def reboot(self) -> "Disk":
        """Return the disk as the next process finds it."""
        disk = Disk(
            self.format,
            self.last.business_date,
            self._faults,
            self._trace,
            self._committed,
            "",
        )
        self.give_content(disk)
        disk._chance = self._chance
        return disk

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`: it takes a while before and after the moment that counts."""
        number, shard = writes.commit.sequence, self.format.shard
        scale = 0.3 if self.slow else 0.002
        await trio.sleep(self._chance.expovariate(1 / scale))
        for fault in ("commit_lost", "map_full"):
            if self._faults.fires(fault):
                self._trace.note("disk", shard, fault, number)
                self._broken = True
                raise CommitError(f"{SIMULATED}{fault}")
        times = self._apply(writes)
        if self._faults.fires("commit_kept"):
            self._trace.note("disk", shard, "commit_kept", number)
            self._broken = True
            raise CommitError(f"{SIMULATED}commit_kept")
        await trio.sleep(self._chance.expovariate(1 / scale))
        return times

    def _apply(self, writes: Writes) -> CommitTimes:
        times = self.commit_now(writes)
        rows = 0
        for table, changed in writes.rows.items():
            for key, payload in changed.items():
                rows = zlib.crc32(seal(table, key, payload or b""), rows)
        self._trace.note(
            "commit", self.format.shard, self.last.sequence, self.last.chain.hex()[:16], rows
        )
        self._committed(
            Durable(self.format.shard, self.last, writes, self.sealed, self.epoch, self._broken)
        )
        return times
