"""The schedule: whose turn is next.

It gives turns in slices of at most 5 ms. Rests of chains come first; then operators' actions, dates
that can be closed, timers that are due, and in turn a message of another shard and a command. No
one of these can shut out the others for good, and a command whose time is yet to come is held until
what is due before it has come to its end. Nothing here waits: the shard (`engine.shard`) says when
there is a slice, and what it gives rise to leaves with the batch.
"""

import logging
from collections import deque
from collections.abc import Iterator

from engine.admission import Admission, Ask, Reply
from engine.callers import Callers
from engine.clock import Clock
from engine.control import Control, close_dates, run_control
from engine.fault import ACTOR_QUARANTINED, INTERNAL
from engine.limits import Limits
from engine.marks import Mark
from engine.message import Envelope
from engine.stage import Stage
from storage.errors import StorageError

log = logging.getLogger("piaohao.engine")


class Schedule:
    """The order of one shard's turns.

    Args:
        stage: where turns are given.
        admission: has the commands that wait for their first turn.
        callers: told of commands that expire before it.
        clock: the time of the turns.
        limits: how long a slice may be.

    Attributes:
        controls: operators' actions that wait, each with who is told and its request's mark.
    """

    def __init__(
        self, stage: Stage, admission: Admission, callers: Callers, clock: Clock, limits: Limits
    ) -> None:
        self.controls: deque[tuple[Control, Reply, Mark | None]] = deque()
        self._stage = stage
        self._admission = admission
        self._callers = callers
        self._clock = clock
        self._ticks = clock.ticks
        self._limits = limits
        self._store = stage.store
        self._arrivals_first = True
        self._held: Ask | None = None

    def waiting(self) -> Iterator[Ask]:
        """Yield the commands that wait for their first turn, for inspection."""
        if self._held is not None and not self._held.done:
            yield self._held
        for ask in self._admission.queued():
            if not ask.done:
                yield ask

    def has_work(self) -> bool:
        """Return whether there is a turn to give, other than to timers."""
        stage = self._stage
        return bool(
            stage.internal
            or stage.carried
            or stage.inbox
            or self.controls
            or self._held
            or self._admission.waiting
            or stage.closable
        )

    def run_slice(self, now: float) -> None:
        """Give turns until nothing waits or the slice is over.

        The last fifth of a slice begins no new chain, so that normally no message is left in
        memory at a cut: each that is costs an outbox row. Chains that are longer than a slice go
        on in the next one, where one operator's action, due timers, one message of another shard
        and one command come first: a chain that never ends, or a timer that always sets itself
        anew, must not shut everybody else out.

        Args:
            now: on Trio's clock, seconds; commands whose deadline has passed by then are dropped.
        """
        ticks = self._ticks
        until = ticks() + self._limits.slice_s
        begin_until = until - self._limits.slice_s / 5
        stage = self._stage
        internal, carried, deliver = stage.internal, stage.carried, stage.deliver
        try:
            if stage.under_way() or stage.next_due <= stage.now_ns:
                stage.now_ns = self._clock.now_ns()
                self._begin_beside(now)
            while True:
                # Chains that have begun come first, so that they end soonest.
                if internal and not carried:
                    deliver(internal.popleft())
                elif not self.begin_something(now):
                    break
                time_now = ticks()
                if time_now >= begin_until and (time_now >= until or not internal):
                    break
        finally:
            stage.end_read()

    def begin_something(self, now: float) -> bool:
        """Do the next thing that is not the rest of a chain; returns whether there was one."""
        stage = self._stage
        now_ns = stage.now_ns = self._clock.now_ns()
        if stage.carried:
            stage.deliver_carried()
        elif self.controls:
            self._act()
        elif stage.closable and not stage.internal:
            close_dates(stage)
        elif stage.next_due <= now_ns:
            stage.fire_timers(now_ns)
        elif stage.inbox and (self._arrivals_first or not (self._held or self._admission.waiting)):
            # Messages and commands take turns: a stream of one must not shut out the other.
            self._arrivals_first = False
            self._take_arrival()
        else:
            self._arrivals_first = True
            return self._begin_command(now)
        return True

    def _take_arrival(self) -> None:
        """Give the next message of another shard its turn, timers of its time or before first."""
        stage = self._stage
        at_ns = stage.inbox[0][2].at_ns
        if at_ns <= stage.now_ns or self._move_clock(at_ns):
            stage.deliver_arrival()

    def _begin_beside(self, now: float) -> None:
        if self.controls:
            self._act()
        if self._stage.next_due <= self._stage.now_ns:
            self._stage.fire_timers(self._stage.now_ns)
        if self._stage.inbox and self._stage.inbox[0][2].at_ns <= self._stage.now_ns:
            self._stage.deliver_arrival()
        self._begin_command(now, beside=True)

    def _act(self) -> None:
        # It stays in its lane until it is done: should it fail the shard, its caller is told.
        control, reply, mark = self.controls[0]
        answer = run_control(self._stage, control)
        self.controls.popleft()
        self._stage.batch.controlled.append((reply, answer))
        if mark is not None:
            self._stage.marks.put(self._stage.batch, mark)

    def _begin_command(self, now: float, *, beside: bool = False) -> bool:
        """Give the next command its first turn, or hold it until it is its time.

        Beside chains that are under way the clock is not moved: they belong to the time before.
        Returns whether there was a command.
        """
        stage = self._stage
        if self._held is not None and beside:
            return False  # what is due by its time has begun, and comes to its end before it
        ask = self._held or self._admission.next()
        if ask is None:
            return False
        self._held = None
        if ask.done:
            return True
        if ask.deadline <= now:
            self._callers.drop(ask)
            return True
        if stage.refuses(ask.to, ask.body):
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
        stage = self._stage
        stop_ns = min(at_ns, stage.next_due)
        self._clock.advance_to(stop_ns)
        stage.now_ns = self._clock.now_ns()
        # Wall time cannot be moved, and a command does not wait for it to pass.
        return stage.next_due > at_ns or stage.now_ns < stop_ns

    def _first_turn(self, ask: Ask) -> None:
        stage = self._stage
        ask.started = True
        token = (self._store.epoch, stage.number, ask.n)
        subject = stage.kinds.subjects.get(type(ask.body))
        if subject is not None:  # 0.3 µs a command
            stage.beginnings.append((token, ask.to, subject(ask.body)))
        at_ns = (ask.at_ns or stage.now_ns) if self._clock.movable else 0
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
