"""The same bank on three shards: every command of the model, over links.

Time passes as commands have it pass, from one timer to the next; it never leaps over them.

Commands that stand in one lane are given one after the other: what begins first on one shard need
not arrive first on another. A plan's burst is given at once, its crash kills all shards after so
many steps of the event loop, and its failing commit is one shard's.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import trio
import trio.lowlevel
from msgspec.structs import replace

from actors import commands
from actors.kinds import KINDS
from engine.clock import DomainClock
from engine.dates import CutDay
from engine.fault import FaultCode
from engine.limits import Limits
from engine.node import Node
from engine.shard import ShardFailedError
from storage import link
from storage.errors import CommitError
from storage.memory import MemoryStore
from storage.row import PARKED
from tests.model.world import (
    FORMAT,
    START_DATE,
    Answer,
    Plan,
    ViolationError,
    World,
    _answer,
    typed,
)

SHARDS = 3
_REST_S = 60.0


class ShardedWorld(World):
    """See `World`."""

    node: Node

    def __init__(self, limits: Limits) -> None:
        self.shards = [
            MemoryStore(replace(FORMAT, shard=shard, shards=SHARDS), START_DATE)
            for shard in range(SHARDS)
        ]
        super().__init__(limits)

    def _stores(self) -> list[MemoryStore]:
        return self.shards

    async def _start(self) -> None:
        self.clock = DomainClock(self.clock.now_ns())
        self.node = Node(self.shards, KINDS, self.clock, self._limits)
        self._stopped = trio.Event()
        await self._nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope() as self._scope, contextlib.suppress(ShardFailedError):
            try:
                await self.node.run(task_status=task_status)
            except* ShardFailedError:
                pass  # why, is for `_rest` to judge
        self._stopped.set()

    async def _restart(self, clean: bool, to_ns: int) -> None:
        if clean:
            self.node.stop()
        else:
            self._scope.cancel()
        await self._stopped.wait()
        for store in self.shards:
            if clean:
                store.close(clean=True)
        self.shards = [store.reopened() for store in self.shards]
        await self._start()
        await self._rest()
        if to_ns:
            await self._advance(to_ns)

    def _failure(self) -> BaseException | None:
        return next((shard.failure for shard in self.node.shards if shard.failure), None)

    def _at_rest(self) -> bool:
        return (
            all(
                shard.at_rest() and shard.stage.next_due > shard.clock.now_ns()
                for shard in self.node.shards
            )
            and not self.node._timekeeper.waits()
        )

    async def _rest(self) -> None:
        with trio.move_on_after(_REST_S) as patience:
            while self._failure() is None and not self._at_rest():
                await trio.lowlevel.checkpoint()
        if patience.cancelled_caught:
            raise ViolationError(f"after {_REST_S} s something is still under way")
        failure = self._failure()
        if failure is not None and not isinstance(failure, CommitError):
            raise ViolationError(f"a shard has failed: {failure!r}") from failure

    async def _advance(self, to_ns: int) -> None:
        moved = trio.Event()
        self.node.advance(to_ns, lambda _: moved.set())
        with trio.fail_after(_REST_S):
            await moved.wait()
        await self._rest()

    async def _cut_day(self, business_date: str) -> Any:
        await self.node.ask_control(CutDay(business_date))
        await self._rest()
        return await self.node.ask_control(CutDay(business_date))

    async def _submit(
        self, asked: Sequence[Mapping[str, Any]], plan: Plan | None, at_ns: int, deadline: float
    ) -> list[Answer | FaultCode | None]:
        told: list[list[Any]] = [[] for _ in asked]
        if plan is not None and plan.commit is not None:
            self.shards[len(plan.choices) % SHARDS].fail_next = plan.commit
        for number, each in enumerate(asked):
            command = typed(each)
            fault = self.node.submit(
                commands.first_actor(command),
                command,
                told[number].append,
                at_ns=at_ns,
                deadline=deadline,
                lane="burst" if plan is None else number,
            )
            assert fault is None, fault
            if plan is None:
                await self._rest()
        if plan is not None and plan.crash_after >= 0:
            for _ in range(plan.crash_after):
                await trio.lowlevel.checkpoint()
            await self._restart(False, 0)
            # Nobody is left to tell them, and what they know of the outcome is this.
            return [_answer(each) if each else FaultCode.OUTCOME_UNKNOWN for each in told]
        await self._rest()
        for store in self.shards:
            store.fail_next = None
        if self._failure() is not None:
            await self._restart(False, 0)
        return [_answer(each) for each in told]

    def _check_messages(self) -> None:
        ends = [link.ends(store.snapshot()) for store in self.shards]
        for one, (outgoing, _) in enumerate(ends):
            for other, out in outgoing.items():
                into = ends[other][1][one]
                if into.cursor != out.last or into.received_minor != out.sent_minor:
                    raise ViolationError(f"left on the way from {one} to {other}: {out}, {into}")
        for key, _ in self._scan(PARKED):
            raise ViolationError(f"{PARKED}: a message is left over: {key!r}")
