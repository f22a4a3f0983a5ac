"""A node: its shards in one nursery, and the way to the shard that owns an address.

For now there is one shard. Nothing outside this module counts them: callers address actors.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any, Final

import trio
from msgspec import Struct

from engine.admission import Reply
from engine.clock import Clock
from engine.control import Control
from engine.fault import Fault
from engine.kind import Kinds
from engine.shard import Limits, Shard
from storage.store import Snapshot, Store

_IDLE_LOOK_S: Final = 1.0
_IDLE_COLLECT_S: Final = 10.0
_BUSY_COLLECT_S: Final = 300.0


class Node:
    """The engine as the gateway sees it.

    Args:
        stores: one per shard, opened for writing.
        kinds: the domain.
        clock: where turns get their time from.
        limits: bounds of each shard.
        on_failure: called once, when a shard fails and its waiters have been told.
    """

    def __init__(
        self,
        stores: list[Store],
        kinds: Kinds,
        clock: Clock,
        limits: Limits | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.kinds = kinds
        self.clock = clock
        self.shards = [Shard(store, kinds, clock, limits, on_failure) for store in stores]

    def shard_of(self, address: str) -> Shard:
        """Return the shard that owns an address."""
        del address  # every slot maps to the one shard
        return self.shards[0]

    def submit(
        self,
        to: str,
        body: Struct,
        reply: Reply,
        *,
        deadline: float = float("inf"),
        at_ns: int = 0,
        lane: object = None,
    ) -> Fault | None:
        """See `Shard.submit`."""
        shard = self.shard_of(to)
        return shard.submit(to, body, reply, deadline=deadline, at_ns=at_ns, lane=lane)

    async def ask(self, to: str, body: Struct, *, timeout_s: float = 10.0, at_ns: int = 0) -> Any:
        """See `Shard.ask`."""
        return await self.shard_of(to).ask(to, body, timeout_s=timeout_s, at_ns=at_ns)

    async def ask_control(self, control: Control) -> Any:
        """Run an operator's action; a day cut goes to every shard. See `Shard.ask_control`."""
        return await self.shards[0].ask_control(control)

    def snapshot(self, address: str) -> Snapshot:
        """Return a view of what is durable on the shard of an address. Close it soon."""
        return self.shard_of(address).store.snapshot()

    def stop(self) -> None:
        """Refuse new commands; `run` returns when everything admitted has been answered."""
        for shard in self.shards:
            shard.stop()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover and serve until `stop`; reports itself started once it has recovered.

        Raises:
            ShardFailedError: (in a group) a shard failed; nothing more is acknowledged.
        """
        tune_interpreter()
        async with trio.open_nursery() as collecting:
            collecting.start_soon(self._collect_when_idle)
            async with trio.open_nursery() as nursery:
                for shard in self.shards:
                    await nursery.start(shard.run)
                task_status.started()
            collecting.cancel_scope.cancel()

    async def _collect_when_idle(self) -> None:
        """Collect cyclic garbage when nobody waits; under endless load every five minutes.

        The thresholds of `tune_interpreter` put full collections off for good, and cycles would
        leak: exceptions with their frames are such, and library code makes others.
        """
        collected = trio.current_time()
        while True:
            await trio.sleep(_IDLE_LOOK_S)
            idle = not any(shard.stage.asks for shard in self.shards)
            if trio.current_time() - collected >= (_IDLE_COLLECT_S if idle else _BUSY_COLLECT_S):
                gc.collect()
                collected = trio.current_time()


def tune_interpreter() -> None:
    """Set the interpreter up for a process that serves: measured, see docs/PERFORMANCE.md.

    With the default switch interval of 5 ms a committer beside a busy loop waits that long for
    the GIL whenever it needs it. The collector's default thresholds scan young objects thousands
    of times a second; what exists at start-up never dies.
    """
    sys.setswitchinterval(1e-4)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
