"""A shard: it takes commands, gives its actors turns and makes their effects durable.

Three tasks run it. The scheduler gives turns in slices of at most 5 ms (`engine.schedule` says
whose is next); the committer cuts the batch and writes it in one transaction with one fsync; the
ticker looks after deadlines, timers and disk space. Whatever rests on a turn leaves the shard only
once the batch that holds the turn is durable (the output gate). If a commit fails, every waiter is
told OUTCOME_UNKNOWN and the shard is over: it never tries the same store again.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import trio
from msgspec import Struct

from engine import recovery
from engine.admission import Admission, Ask, Reply, tell_caller
from engine.callers import Callers
from engine.clock import Clock
from engine.control import Control
from engine.fault import (
    ACTOR_QUARANTINED,
    DISK_NEARLY_FULL,
    OUTCOME_UNKNOWN,
    STOPPING,
    Fault,
)
from engine.kind import Kinds
from engine.limits import Limits
from engine.marks import Mark, Marks
from engine.message import Envelope
from engine.schedule import Schedule
from engine.stage import Stage
from engine.vitals import Vitals
from engine.watch import Watches
from engine.way import Way
from storage.errors import StorageError
from storage.store import Store

log = logging.getLogger("piaohao.engine")

_TICK_S: Final = 0.1
_READERS_S: Final = 5.0


class ShardFailedError(Exception):
    """The shard has stopped for good; what was not acknowledged may or may not have happened."""


class Shard:
    """One shard on one store.

    Args:
        store: opened for writing.
        kinds: the domain.
        clock: where turns get their time from.
        limits: bounds.
        on_failure: called once when the shard fails, after every waiter has been told.
        way: to the other shards, None where there are none.
        marks: the node's memory of requests; by default one of its own.

    Raises:
        CorruptRowError: the messages, timers or marks are not what the newest commit left.
    """

    def __init__(
        self,
        store: Store,
        kinds: Kinds,
        clock: Clock,
        limits: Limits | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
        way: Way | None = None,
        marks: Marks | None = None,
    ) -> None:
        assert (way is None) == (store.format.shards == 1), "a way to the other shards"
        self.store = store
        self.clock = clock
        self._ticks = clock.ticks
        self.limits = Limits() if limits is None else limits
        self.stage = Stage(store, kinds, clock, Marks() if marks is None else marks)
        self.admission = Admission(self.limits.unconfirmed_max, self.limits.actor_unconfirmed_max)
        self.callers = Callers(self.stage, self.admission)
        self.schedule = Schedule(self.stage, self.admission, self.callers, clock, self.limits)
        clock.not_before(store.last.now_ns)
        self.vitals = Vitals()
        self.watches = Watches()
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._way = way
        self._may_commit: trio.Event | None = None
        self._committed: trio.Event | None = None
        self._ask_last = 0
        self._refusal: Fault | None = None
        self._stopping = False
        self._now = 0.0
        self._committed_at = 0.0
        self._wake = trio.Event()
        self._staged = trio.Event()
        self._over = trio.Event()
        self._begun = recovery.load(self)

    # Commands in, answers out.

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
        """Admit one external command, or say at once why not.

        Args:
            to: the first actor's address.
            reply: called once with the actor's answer or a `Fault`, when it is durable. What it
                raises is logged and changes nothing.
            deadline: on Trio's clock, seconds.
            at_ns: on a domain clock the command's time: the clock moves at least there before
                the first turn. 0 for the time at which it stands.
            lane: commands of one lane start in order; by default one lane an actor. Lanes of one
                party (`engine.admission.Lane`) share its turn.
            mark: of the request that brought it: durable with the command's first turn, and only
                with that. Where there is no turn (it is refused, expires, or the turn fails)
                nothing happened, and nothing is stored.

        Returns:
            None when admitted; else STOPPING, DISK_NEARLY_FULL, ACTOR_QUARANTINED, NODE_BUSY or
            ACTOR_BUSY, and nothing happened.
        """
        if self._refusal is not None:
            return self._refusal
        if self.stage.refuses(to, body):
            return ACTOR_QUARANTINED
        fault = self.admission.admit(to)
        if fault is not None:
            return fault
        self._ask_last = n = self._ask_last + 1
        ask = Ask(n, to, body, reply, deadline, at_ns, self._now, mark)
        self.stage.asks[n] = ask
        self.admission.enqueue(to if lane is None else lane, ask)
        self._wake.set()
        return None

    def submit_control(self, control: Control, reply: Reply, mark: Mark | None = None) -> None:
        """Run an operator's action between two chains; it has a lane of its own."""
        if self.failure is not None or self._stopping:
            reply(STOPPING)
            return
        self.schedule.controls.append((control, reply, mark))
        self._wake.set()

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
        send, receive = trio.open_memory_channel[Any](1)
        deadline = trio.current_time() + timeout_s
        fault = self.submit(to, body, send.send_nowait, deadline=deadline, at_ns=at_ns, mark=mark)
        return fault if fault is not None else await receive.receive()

    async def ask_control(
        self, control: Control, *, timeout_s: float = 60.0, mark: Mark | None = None
    ) -> Any:
        """Run an operator's action and wait until it is durable; OUTCOME_UNKNOWN if it takes
        longer than `timeout_s`: it may still happen."""
        send, receive = trio.open_memory_channel[Any](1)
        self.submit_control(control, send.send_nowait, mark)
        with trio.move_on_after(timeout_s):
            return await receive.receive()
        return OUTCOME_UNKNOWN

    @property
    def refusal(self) -> Fault | None:
        """What every new command is refused with now: STOPPING, DISK_NEARLY_FULL; None for not."""
        return self._refusal

    # The way from and to the other shards.

    def arrive(self, source: int, first: int, messages: Sequence[Envelope]) -> None:
        """Take in messages of another shard, numbered from `first`; they get their turns later."""
        links, inbox = self.stage.links, self.stage.inbox
        assert links is not None
        for sequence, message in enumerate(messages, first):
            if links.arrives(source, sequence):
                inbox.append((source, sequence, message))
        cursor = links.receiving[source].durable
        if first <= cursor and self._way is not None:
            # It was sent again: the acknowledgement may have been lost.
            self._way.acknowledge(self.stage.number, source, cursor)
        self._wake.set()

    def acknowledged(self, other: int, cursor: int) -> None:
        """Hear that another shard has made this one's messages up to `cursor` durable."""
        assert self.stage.links is not None
        self.stage.links.acknowledge(other, cursor, self._now)

    # Life.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, then serve until `stop`; reports itself started once it has recovered.

        Raises:
            ShardFailedError: a commit failed, or the shard's own code did.
        """
        self._now = trio.current_time()
        self._check_headroom()
        try:
            await recovery.recover(self, self._begun)
        except Exception as error:
            self.fail(error)
            raise ShardFailedError(str(error)) from error
        async with trio.open_nursery() as nursery:
            for task in (self._schedule, self._commit, self._tick):
                nursery.start_soon(self._guard, task)
            task_status.started()
            await self._over.wait()
            nursery.cancel_scope.cancel()
        if self.failure is not None:
            raise ShardFailedError(str(self.failure)) from self.failure

    def wake(self) -> None:
        """Have the scheduler look whether there is anything to do."""
        self._wake.set()

    def stop(self) -> None:
        """Refuse new commands; `run` returns when everything admitted has been answered."""
        self._stopping = True
        self._refusal = STOPPING
        self._end_if_at_rest()

    def at_rest(self) -> bool:
        """Return whether there is nothing left to do."""
        return not (self.stage.batch.pending() or self.stage.committing or self.schedule.has_work())

    def _end_if_at_rest(self) -> None:
        if not self._stopping or not self.at_rest():
            return
        if self._way is not None:
            self._way.rested()
        else:
            self.end()

    def end(self) -> None:
        """Have `run` return: everything that was admitted has been answered, on every shard."""
        # Whoever waits now, waits for a message that is parked or a turn that will not come.
        self.callers.tell_all(OUTCOME_UNKNOWN)
        self._over.set()

    async def _guard(self, task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except Exception as error:
            self.fail(error)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as error:
            # Control-C in the middle of a turn, say: nothing may be committed any more.
            self.failure = self.failure or error
            raise

    def fail(self, error: Exception) -> None:
        """Fail-stop: tell every waiter that the outcome is unknown, take nothing more."""
        if self.failure is not None:
            return
        self.failure = error
        self._refusal = STOPPING
        # Where a store has failed its error says it all; anything else is a bug to be found.
        trace = None if isinstance(error, StorageError) else error
        log.critical("shard %d stops for good: %s", self.stage.number, error, exc_info=trace)
        self.callers.tell_all(OUTCOME_UNKNOWN)
        replies = [reply for _, reply, _ in self.schedule.controls]
        for batch in (self.stage.committing, self.stage.batch):
            replies += [reply for reply, _ in batch.controlled] if batch else []
        self.schedule.controls.clear()
        for reply in replies:
            tell_caller(reply, OUTCOME_UNKNOWN)
        self._over.set()
        if self._committed is not None:
            self._committed.set()
        if self._on_failure is not None:
            try:
                self._on_failure(error)
            except Exception:
                log.exception("what was to happen after the failure failed itself")

    # The three tasks.

    async def _schedule(self) -> None:
        stage, schedule = self.stage, self.schedule
        while self.failure is None:
            self._now = now = trio.current_time()
            schedule.run_slice(now)
            busy = schedule.has_work() or stage.next_due <= stage.now_ns
            if stage.batch.pending() and (
                not busy or self._ticks() - self._committed_at >= self.limits.batch_s
            ):
                self._staged.set()
            if len(stage.actors) > self.limits.actors_max:
                stage.passivate(self.limits.actors_max)
            if busy:
                await trio.lowlevel.checkpoint()
            else:
                self._wake = trio.Event()
                await self._wake.wait()

    async def _commit(self) -> None:
        while self.failure is None:
            await self._staged.wait()
            self._staged = trio.Event()
            await self.commit_batch()
            if self.stage.batch.pending() and not self.schedule.has_work():
                self._staged.set()
            self._committed_at = self._ticks()
            self._end_if_at_rest()

    async def _tick(self) -> None:
        readers_at = trio.current_time() + _READERS_S
        while True:
            await trio.sleep(_TICK_S)
            self._now = trio.current_time()
            if self._now >= readers_at:
                self.store.clear_readers()
                readers_at = self._now + _READERS_S
            self.callers.expire(self._now)
            self._check_headroom()
            self._look_after_links(self._now)
            if not self.stage.totals.complete:
                self.stage.add_up()
                if self.stage.totals.complete:
                    self._staged.set()
            if self.stage.next_due <= self.clock.now_ns() or self.schedule.has_work():
                self._wake.set()
            self._end_if_at_rest()

    def _look_after_links(self, now: float) -> None:
        stage = self.stage
        if stage.links is None or self._way is None:
            return
        stage.links.send_again(self.store, stage.kinds, self._way, now)
        if stage.links.trimmable() and not stage.batch.pending() and not stage.committing:
            # Under load the rows go with the next batch; nobody waits for this one.
            stage.links.trim(stage.batch)
            self._staged.set()

    def _check_headroom(self) -> None:
        if not self._stopping and self.failure is None:
            self._refusal = None if self.store.has_headroom() else DISK_NEARLY_FULL

    # The committer's work.

    async def commit_batch(self) -> None:
        """Cut the batch, make it durable, then open the gate for what rests on it.

        Once the shard has failed there is no further commit: the turn that failed it had its
        message taken from the mailbox, and a batch without both would lose it.
        """
        if self.failure is not None:
            return
        stage = self.stage
        self.vitals.committing_since = trio.current_time()
        while self._may_commit is not None:
            await self._may_commit.wait()
            if self.failure is not None:
                return
        batch, writes = stage.cut(self._now)
        if writes is not None:
            stage.committing = batch
            times = await self.store.commit(writes)
            stage.committing = None
            if self._committed is not None:
                self._committed.set()
            stage.durable_seq = batch.sequence
            self.vitals.committed(batch, times)
            self._check_headroom()
        self.vitals.committing_since = None
        if self.failure is not None:
            return
        way = self._way
        if way is not None and stage.links is not None:
            stage.links.hand_over(batch, way)
        self.callers.open_gate(batch)
        self.watches.tell(batch)
        if way is not None:
            way.committed()

    def hold_commits(self) -> None:
        """Begin no further commit until `let_commits`; turns go on meanwhile."""
        self._may_commit = trio.Event()

    async def commits_held(self) -> None:
        """Return once none is running.

        Raises:
            ShardFailedError: the shard has failed, and its commit may never end.
        """
        if self.stage.committing is not None and self.failure is None:
            self._committed = trio.Event()
            await self._committed.wait()
            self._committed = None
        if self.failure is not None:
            raise ShardFailedError(str(self.failure)) from self.failure

    def let_commits(self) -> None:
        """Take `hold_commits` back."""
        if self._may_commit is not None:
            self._may_commit.set()
            self._may_commit = None
