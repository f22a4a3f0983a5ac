"""A shard: it takes commands, gives its actors turns and makes their effects durable.

Three tasks run it. The scheduler gives turns in slices of at most 5 ms; the committer cuts the
batch and writes it in one transaction with one fsync; the ticker looks after deadlines, timers
and disk space. Whatever rests on a turn leaves the shard only once the batch that holds the
turn is durable (the output gate). If a commit fails, every waiter is told OUTCOME_UNKNOWN and
the shard is over: it never tries the same store again.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import trio
from msgspec import Struct

from engine import recovery
from engine.admission import Admission, Ask, Reply, tell_caller
from engine.batch import Batch
from engine.clock import Clock
from engine.control import Control, close_dates, run_control
from engine.fault import (
    ACTOR_QUARANTINED,
    DISK_NEARLY_FULL,
    INTERNAL,
    OUTCOME_UNKNOWN,
    STOPPING,
    TIMEOUT,
    Fault,
)
from engine.kind import Kinds
from engine.limits import Limits
from engine.links import opened
from engine.marks import Mark, Marks
from engine.message import Envelope, Token
from engine.stage import Stage
from engine.vitals import Vitals
from engine.watch import Watches
from engine.way import Way
from storage.errors import StorageError
from storage.store import Store

log = logging.getLogger("piaohao.engine")

_TICK_S: Final = 0.1
_READERS_S: Final = 5.0
AGAIN_MAX: Final = 1_000
"""Messages of a link that are sent again at once."""


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
        clock.not_before(store.last.now_ns)
        links = self.stage.links
        self._durable_cursors: dict[int, int] = (
            {other: end.end.cursor for other, end in links.receiving.items()} if links else {}
        )
        self.vitals = Vitals()
        self.watches = Watches()
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._way = way
        self._arrivals_first = True
        self._may_commit: trio.Event | None = None
        self._committed: trio.Event | None = None
        self._control: deque[tuple[Control, Reply, Mark | None]] = deque()
        self._ask_last = 0
        self._held: Ask | None = None
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
        if to in self.stage.parking.by_actor:
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
        self._control.append((control, reply, mark))
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

    def waiting(self) -> Iterator[Ask]:
        """Yield the commands that wait for their first turn, for inspection."""
        if self._held is not None and not self._held.done:
            yield self._held
        for ask in self.admission.queued():
            if not ask.done:
                yield ask

    # The way from and to the other shards.

    def arrive(self, source: int, first: int, messages: Sequence[Envelope]) -> None:
        """Take in messages of another shard, numbered from `first`; they get their turns later."""
        links, inbox = self.stage.links, self.stage.inbox
        assert links is not None
        for sequence, message in enumerate(messages, first):
            if links.arrives(source, sequence):
                inbox.append((source, sequence, message))
        cursor = self._durable_cursors.get(source, 0)
        if first <= cursor and self._way is not None:
            # It was sent again: the acknowledgement may have been lost.
            self._way.acknowledge(self.stage.number, source, cursor)
        self._wake.set()

    def acknowledged(self, other: int, cursor: int) -> None:
        """Hear that another shard has made this one's messages up to `cursor` durable."""
        assert self.stage.links is not None
        self.stage.links.acknowledge(other, cursor, self._now)

    def tell(self, token: Token, outcome: Any) -> None:
        """Tell a caller of this shard what a turn elsewhere, durable by now, answered."""
        ask = self.stage.ask_of(token)
        if ask is not None:
            self._tell(ask, outcome)

    def moved(self, token: Token, messages: int) -> None:
        """Count what turns elsewhere, durable by now, did to a chain that began here."""
        ask = self.stage.ask_of(token)
        if ask is not None:
            ask.pending += messages
            if not ask.pending:
                ask.ended = True
                if ask.done:
                    self._forget(ask)

    def _send_again(self, now: float) -> None:
        """Send again what has not been acknowledged for too long."""
        links = self.stage.links
        if links is None or self._way is None:
            return
        for other in links.overdue(now):
            sender = links.sending[other]
            sender.since = now
            snapshot = self.store.snapshot()
            try:
                rows = links.outbox(snapshot, other, sender.acknowledged)
                again = [
                    (sequence, opened(self.stage.kinds, row))
                    for sequence, row in islice(rows, AGAIN_MAX)
                ]
            finally:
                snapshot.close()
            if again:
                messages = [message for _, message in again]
                self._way.carry(self.stage.number, other, again[0][0], messages)

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
        return not (self.stage.batch.pending() or self.stage.committing or self._has_work())

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
        for ask in list(self.stage.asks.values()):
            self._tell(ask, OUTCOME_UNKNOWN)
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
        for ask in list(self.stage.asks.values()):
            self._tell(ask, OUTCOME_UNKNOWN)
        replies = [reply for _, reply, _ in self._control]
        for batch in (self.stage.committing, self.stage.batch):
            replies += [reply for reply, _ in batch.controlled] if batch else []
        self._control.clear()
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
        stage = self.stage
        while self.failure is None:
            self._slice()
            busy = self._has_work() or stage.next_due <= stage.now_ns
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
            if self.stage.batch.pending() and not self._has_work():
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
            self._expire(self._now)
            self._check_headroom()
            self._look_after_links(self._now)
            if self.stage.next_due <= self.clock.now_ns() or self._has_work():
                self._wake.set()
            self._end_if_at_rest()

    def _look_after_links(self, now: float) -> None:
        stage = self.stage
        if stage.links is None:
            return
        self._send_again(now)
        if stage.links.trimmable() and not stage.batch.pending() and not stage.committing:
            # Under load the rows go with the next batch; nobody waits for this one.
            stage.links.trim(stage.batch)
            self._staged.set()

    def _check_headroom(self) -> None:
        if not self._stopping and self.failure is None:
            self._refusal = None if self.store.has_headroom() else DISK_NEARLY_FULL

    def _expire(self, now: float) -> None:
        late = [ask for ask in self.stage.asks.values() if ask.deadline <= now and not ask.done]
        for ask in late:
            if ask.started:
                self._tell(ask, OUTCOME_UNKNOWN)
            else:
                self._drop(ask)

    def _drop(self, ask: Ask) -> None:
        """Tell TIMEOUT before the first turn. Where the ask still waits in its lane, `done`
        makes the scheduler pass it over."""
        ask.pending = 0
        ask.ended = True
        self._tell(ask, TIMEOUT)

    # The scheduler's work.

    def _has_work(self) -> bool:
        stage = self.stage
        return bool(
            stage.internal
            or stage.carried
            or stage.inbox
            or self._control
            or self._held
            or self.admission.waiting
            or stage.closable
        )

    def _slice(self) -> None:
        """Give turns until nothing waits or the slice is over.

        The last fifth of a slice begins no new chain, so that normally no message is left in
        memory at a cut: each that is costs an outbox row. Chains that are longer than a slice go
        on in the next one, where one operator's action, due timers, one message of another shard
        and one command come first: a chain that never ends, or a timer that always sets itself
        anew, must not shut everybody else out.
        """
        ticks = self._ticks
        until = ticks() + self.limits.slice_s
        begin_until = until - self.limits.slice_s / 5
        now = self._now = trio.current_time()
        stage = self.stage
        internal, carried, deliver = stage.internal, stage.carried, stage.deliver
        try:
            if stage.under_way() or stage.next_due <= stage.now_ns:
                stage.now_ns = self.clock.now_ns()
                self._begin_beside(now)
            while True:
                # Chains that have begun come first, so that they end soonest.
                if internal and not carried:
                    deliver(internal.popleft())
                elif not self._begin_something(now):
                    break
                time_now = ticks()
                if time_now >= begin_until and (time_now >= until or not internal):
                    break
        finally:
            self.stage.end_read()

    def _begin_something(self, now: float) -> bool:
        """Do the next thing that is not the rest of a chain; returns whether there was one."""
        stage = self.stage
        now_ns = stage.now_ns = self.clock.now_ns()
        if stage.carried:
            stage.deliver_carried()
        elif self._control:
            self._act()
        elif stage.closable and not stage.internal:
            close_dates(stage)
        elif stage.next_due <= now_ns:
            stage.fire_timers(now_ns)
        elif stage.inbox and (self._arrivals_first or not (self._held or self.admission.waiting)):
            # Messages and commands take turns: a stream of one must not shut out the other.
            self._arrivals_first = False
            self._take_arrival()
        else:
            self._arrivals_first = True
            return self._begin_command(now)
        return True

    def _take_arrival(self) -> None:
        """Give the next message of another shard its turn, timers of its time or before first."""
        stage = self.stage
        at_ns = stage.inbox[0][2].at_ns
        if at_ns <= stage.now_ns or self._move_clock(at_ns):
            stage.deliver_arrival()

    def _begin_beside(self, now: float) -> None:
        if self._control:
            self._act()
        if self.stage.next_due <= self.stage.now_ns:
            self.stage.fire_timers(self.stage.now_ns)
        if self.stage.inbox and self.stage.inbox[0][2].at_ns <= self.stage.now_ns:
            self.stage.deliver_arrival()
        self._begin_command(now, beside=True)

    def _act(self) -> None:
        # It stays in its lane until it is done: should it fail the shard, its caller is told.
        control, reply, mark = self._control[0]
        answer = run_control(self.stage, control)
        self._control.popleft()
        self.stage.batch.controlled.append((reply, answer))
        if mark is not None:
            self.stage.marks.put(self.stage.batch, mark)

    def _begin_command(self, now: float, *, beside: bool = False) -> bool:
        """Give the next command its first turn, or hold it until it is its time.

        Beside chains that are under way the clock is not moved: they belong to the time before.
        Returns whether there was a command.
        """
        stage = self.stage
        if self._held is not None and beside:
            return False  # what is due by its time has begun, and comes to its end before it
        ask = self._held or self.admission.next()
        if ask is None:
            return False
        self._held = None
        if ask.done:
            return True
        if ask.deadline <= now:
            self._drop(ask)
            return True
        if ask.to in stage.parking.by_actor:
            ask.started = True
            stage.batch.answers.append((ask, ACTOR_QUARANTINED))
            stage.chain_moved(ask, 0)
            return True
        if ask.at_ns > stage.now_ns and (beside or not self._move_clock(ask.at_ns)):
            self._held = ask
            return True
        self._first_turn(ask)
        return True

    def _move_clock(self, at_ns: int) -> bool:
        """Move the clock on to `at_ns`, or to a timer that is due by then and comes first, at its
        own time; returns whether it has arrived."""
        stage = self.stage
        stop_ns = min(at_ns, stage.next_due)
        self.clock.advance_to(stop_ns)
        stage.now_ns = self.clock.now_ns()
        # Wall time cannot be moved, and a command does not wait for it to pass.
        return stage.next_due > at_ns or stage.now_ns < stop_ns

    def _first_turn(self, ask: Ask) -> None:
        stage = self.stage
        ask.started = True
        token = (self.store.epoch, stage.number, ask.n)
        subject = stage.kinds.subjects.get(type(ask.body))
        if subject is not None:  # 0.3 µs a command
            stage.beginnings.append((token, ask.to, subject(ask.body)))
        at_ns = (ask.at_ns or stage.now_ns) if self.clock.movable else 0
        try:
            stage.take_turn(Envelope(ask.to, "", ask.body, stage.business_date, token, at_ns=at_ns))
        except StorageError:
            raise
        except Exception:
            log.exception("the first turn of %s at %s failed", type(ask.body).__name__, ask.to)
            stage.batch.answers.append((ask, INTERNAL))
            stage.chain_moved(ask, 0)
            return
        if ask.mark is not None:
            stage.marks.put(stage.batch, ask.mark)

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
        if self.failure is None:
            self._open_gate(batch)
            if self._way is not None:
                self._way.committed()

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

    def _open_gate(self, batch: Batch) -> None:
        if self._way is not None:
            self._reach_others(batch, self._way)
        for ask in batch.ended:
            ask.ended = True
            if ask.done:
                self._forget(ask)
        for ask, body in batch.answers:
            self._tell(ask, body)
        for reply, body in batch.controlled:
            tell_caller(reply, body)
        self.watches.tell(batch)

    def _reach_others(self, batch: Batch, way: Way) -> None:
        # A chain's count goes ahead of the messages that it counts: it must not end too soon.
        own = self.stage.number
        for token, messages in batch.moved:
            way.moved(token, messages)
        for other, first in batch.carried.items():
            way.carry(own, other, first, [envelope for envelope, _ in batch.departures[other]])
        for source, cursor in batch.taken.items():
            self._durable_cursors[source] = cursor
            way.acknowledge(own, source, cursor)
        for token, outcome in batch.told:
            way.tell(token, outcome)

    def _tell(self, ask: Ask, outcome: Any) -> None:
        """Tell a caller once; forget the ask if its chain has ended too."""
        if ask.done:
            return
        ask.done = True
        if ask.ended:
            self._forget(ask)
        tell_caller(ask.reply, outcome)

    def _forget(self, ask: Ask) -> None:
        """Free the slot of a command whose caller has been told and whose chain has ended."""
        self.admission.release(ask.to)
        del self.stage.asks[ask.n]
