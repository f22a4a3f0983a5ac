"""A node: its shards in one nursery, and the way to the shard that owns an address.

Nothing outside this module counts the shards: callers address actors, cut days and take views of
the whole. A shard that fails takes the node down.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

import trio
from msgspec import Struct

from engine import dates as dates_
from engine.address import is_address, shard_of
from engine.admission import Reply
from engine.clock import Clock, DomainClock
from engine.control import Control, MoveClock
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState
from engine.exchange import Exchange
from engine.fault import OUTCOME_UNKNOWN, Fault
from engine.kind import Kinds
from engine.limits import Limits
from engine.marks import Mark, Marks
from engine.shard import Shard
from engine.timekeeper import Timekeeper
from engine.watch import Changed
from storage.errors import StorageError
from storage.store import Snapshot, Store

_IDLE_LOOK_S: Final = 1.0
_IDLE_COLLECT_S: Final = 10.0
_BUSY_COLLECT_S: Final = 300.0
_CLOSED_WITHIN_S: Final = 1.0
_VIEW_WITHIN_S: Final = 10.0


class Node:
    """The engine as the gateway sees it.

    Args:
        stores: one per shard, in order, opened for writing.
        kinds: the domain.
        clock: where turns get their time from.
        limits: bounds of each shard.
        on_failure: called once, when a shard has failed and all waiters have been told.
        make_exchange: makes the way between the shards.
        marks: the memory of requests; by default one that begins now.

    Raises:
        CorruptRowError: the ends of a link between two shards do not fit together.

    Attributes:
        marks: which requests have come already, those of earlier processes recalled.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        kinds: Kinds,
        clock: Clock,
        limits: Limits | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
        make_exchange: type[Exchange] | Callable[..., Exchange] = Exchange,
        marks: Marks | None = None,
    ) -> None:
        self.kinds = kinds
        self.clock = clock
        self.marks = Marks() if marks is None else marks
        self._on_failure = on_failure
        self._failed = False
        self._commit = trio.Event()
        self._one_barrier = trio.Lock()
        self._one_cut = trio.Lock()
        clock.not_before(max(store.last.now_ns for store in stores))
        exchange = make_exchange(self._end_if_at_rest, self._hear_of_commit)
        way = exchange if len(stores) > 1 else None
        self.shards = exchange.shards
        for store in stores:
            own = clock
            if way is not None and clock.movable:
                own = DomainClock(clock.now_ns())
            self.shards.append(
                Shard(store, kinds, own, limits, self._shard_failed, way, self.marks)
            )
        exchange.open_links()
        self._timekeeper = Timekeeper(self.shards, clock)

    def shard_of(self, address: str) -> Shard:
        """Return the shard that owns an address."""
        shards = self.shards
        return shards[0] if len(shards) == 1 else shards[shard_of(address, len(shards))]

    def submit(
        self,
        to: str,
        body: Struct,
        reply: Reply,
        *,
        deadline: float = float("inf"),
        at_ns: int = 0,
        lane: object = None,
        mark: Mark | None = None,
    ) -> Fault | None:
        """See `Shard.submit`. On a domain clock it may wait for timers that are due first."""
        if not self.clock.movable:
            shard = self.shard_of(to)
            return shard.submit(
                to, body, reply, deadline=deadline, at_ns=at_ns, lane=lane, mark=mark
            )
        return self._timekeeper.submit(
            self.shard_of(to), to, body, reply, deadline, at_ns, lane, mark
        )

    def full(self) -> bool:
        """Return whether a command would be refused with NODE_BUSY, whoever it is for."""
        return all(shard.admission.full() for shard in self.shards)

    async def ask(
        self,
        to: str,
        body: Struct,
        *,
        timeout_s: float = 10.0,
        at_ns: int = 0,
        mark: Mark | None = None,
    ) -> Any:
        """Submit a command and wait for its answer (a Struct or a `Fault`).

        Cancelling the wait leaves the command alone.
        """
        waiter = _Waiter()
        deadline = trio.current_time() + timeout_s
        fault = self.submit(to, body, waiter.tell, deadline=deadline, at_ns=at_ns, mark=mark)
        return fault if fault is not None else await waiter.told()

    def advance(self, at_ns: int, reply: Reply, *, deadline: float = float("inf")) -> None:
        """Move a domain clock; what is due on the way fires first, each timer at its own time.

        Args:
            reply: called with `engine.control.ClockMoved`, or a `Fault`, once it is durable.
            deadline: on Trio's clock, seconds; after it the clock stays where it is, TIMEOUT.
        """
        self._timekeeper.advance(at_ns, reply, deadline)

    async def ask_control(
        self, control: Control, *, timeout_s: float = 60.0, mark: Mark | None = None
    ) -> Any:
        """Run an operator's action where it belongs. See `Shard.ask_control`.

        A day cut goes to every shard, and its answer waits a moment for the date to be closed on
        all of them.
        """
        if isinstance(control, CutDay):
            # One after the other, or some shards would be given them the other way round.
            async with self._one_cut:
                return await self._cut_day(control, timeout_s, mark)
        if isinstance(control, MoveClock):
            raise TypeError("the timekeeper moves clocks: see Node.advance")
        shard = self.shards[0]
        if is_address(control.address):
            shard = self.shard_of(control.address)
        return await shard.ask_control(control, timeout_s=timeout_s, mark=mark)

    def business_date(self) -> str:
        """Return the durable business date, ISO 8601: what has been acknowledged, no more."""
        return min(shard.store.last.business_date for shard in self.shards)

    def closed_date(self, business_date: str) -> ClosedDate | None:
        """Return what is durable of a date that was cut, over all shards; None if it was not."""
        dates = []
        for shard in self.shards:
            snapshot = shard.store.snapshot()
            try:
                date = dates_.durable_date(snapshot, business_date)
            finally:
                snapshot.close()
            if date is None:
                return None
            dates.append(date)
        return dates_.merged(dates)

    def snapshot(self, address: str) -> Snapshot:
        """Return a view of what is durable on the shard of an address. Close it soon."""
        return self.shard_of(address).store.snapshot()

    def hearing(self, address: str, changed: Changed) -> AbstractContextManager[None]:
        """Have `changed` called after each commit that changes an actor.

        To miss nothing: begin to hear, look, and look again whenever it was called.
        """
        return self.shard_of(address).watches.watch(address, changed)

    async def snapshots(self) -> list[Snapshot]:
        """Return views of all shards that fit together, in order; close them.

        They are opened while no shard commits: what one has taken, another has sent, and no
        outbox row is gone that its receiver had not taken. Turns go on meanwhile.

        Raises:
            ShardFailedError: a shard has failed.
            StorageError: a commit does not end, so the disk is slow or hangs.
        """
        async with self._one_barrier:
            with trio.move_on_after(_VIEW_WITHIN_S):
                # First without holding anybody up: one whose disk hangs would hold up all.
                await self._commits_held()
                try:
                    for shard in self.shards:
                        shard.hold_commits()
                    await self._commits_held()
                    return [shard.store.snapshot() for shard in self.shards]
                finally:
                    for shard in self.shards:
                        shard.let_commits()
        raise StorageError(f"no view of the store: a commit has taken over {_VIEW_WITHIN_S:g} s")

    async def _commits_held(self) -> None:
        for shard in self.shards:
            await shard.commits_held()

    def stop(self) -> None:
        """Refuse new commands; `run` returns when everything admitted has been answered."""
        self._timekeeper.end()
        for shard in self.shards:
            shard.stop()

    def fail(self, error: Exception) -> None:
        """Stop for good: every waiter of every shard is told that the outcome is unknown."""
        for shard in self.shards:
            shard.fail(error)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover and serve until `stop`; reports itself started once it has recovered.

        Raises:
            ShardFailedError: (in a group) a shard failed; nothing more is acknowledged.
        """
        tune_interpreter()
        async with trio.open_nursery() as beside:
            beside.start_soon(self._collect_when_idle)
            beside.start_soon(self._timekeeper.run)
            async with trio.open_nursery() as nursery:
                for shard in self.shards:
                    await nursery.start(shard.run)
                await self._finish_cut()
                task_status.started()
            beside.cancel_scope.cancel()

    def _shard_failed(self, error: BaseException) -> None:
        """One shard's failure is the node's: what the others have in memory may rest on it."""
        if self._failed:
            return
        self._failed = True
        self._timekeeper.end()
        for shard in self.shards:
            shard.fail(error if isinstance(error, Exception) else RuntimeError(str(error)))
        if self._on_failure is not None:
            self._on_failure(error)

    def _end_if_at_rest(self) -> None:
        if all(shard.at_rest() for shard in self.shards):
            for shard in self.shards:
                shard.end()

    def _hear_of_commit(self) -> None:
        self._commit.set()
        self._commit = trio.Event()
        if self.clock.movable:
            self._timekeeper.look()

    async def _cut_day(self, cut: CutDay, timeout_s: float, mark: Mark | None) -> Any:
        for shard in self.shards:
            # They are cut at the node's time, not where each of them happens to be.
            shard.clock.advance_to(self.clock.now_ns())
        answers: list[Any] = [None] * len(self.shards)

        async def cut_shard(number: int) -> None:
            answers[number] = await self.shards[number].ask_control(
                cut, timeout_s=timeout_s, mark=mark
            )

        async with trio.open_nursery() as nursery:
            for number in range(len(self.shards)):
                nursery.start_soon(cut_shard, number)
        faults = [answer for answer in answers if isinstance(answer, Fault)]
        if faults:
            # What one shard has cut the next start cuts on the others: only where all of them say
            # that nothing happened has nothing happened.
            return faults[0] if faults == [faults[0]] * len(answers) else OUTCOME_UNKNOWN
        if not all(isinstance(answer, ClosedDate) for answer in answers):
            return DateNotOpen(cut.business_date, self.business_date())
        if len(answers) == 1:
            return answers[0]
        with trio.move_on_after(_CLOSED_WITHIN_S):
            await self._closed_everywhere(cut.business_date)
        return self.closed_date(cut.business_date)

    async def _closed_everywhere(self, business_date: str) -> None:
        while True:
            date = self.closed_date(business_date)
            if date is not None and date.state is DateState.CLOSED:
                return
            await self._commit.wait()

    async def _finish_cut(self) -> None:
        """Finish a day cut that a crash has interrupted: the shards agree on the date again."""
        newest = max(shard.stage.business_date for shard in self.shards)
        for shard in self.shards:
            while shard.stage.business_date < newest and shard.failure is None:
                answer = await shard.ask_control(CutDay(shard.stage.business_date))
                if isinstance(answer, Fault):
                    return  # it is to stop: the next start will find it again

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


class _Waiter:
    """A task that waits for one answer: 4.5 µs, where a memory channel takes 13."""

    __slots__ = ("_answer", "_task", "_told")

    def __init__(self) -> None:
        self._answer: Any = None
        self._told = False
        self._task: trio.lowlevel.Task | None = None

    def tell(self, answer: Any) -> None:
        """Give the answer, in the event loop; nobody need be waiting for it any more."""
        self._answer = answer
        self._told = True
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def told(self) -> Any:
        """Return the answer once it has been given."""
        if self._told:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        return self._answer

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


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
