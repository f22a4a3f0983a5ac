"""The timekeeper: moves a domain clock so that what is due on the way comes first, everywhere.

A command that is given at a later time begins once no timer of an earlier one is left on any
shard: until then it waits here, and what comes after it waits behind it. To let timers fire the
keeper waits until all that was begun has ended, moves every shard's clock to the earliest that is
due, waits for what follows from it, and looks again. Where nothing is due, nothing waits: time
travels with the messages, and shards need not agree on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec import Struct

from engine.admission import tell_caller
from engine.control import MoveClock
from engine.fault import NODE_BUSY, OUTCOME_UNKNOWN, STOPPING, TIMEOUT, Fault

if TYPE_CHECKING:
    from engine.admission import Reply
    from engine.clock import Clock
    from engine.marks import Mark
    from engine.shard import Shard

_LOOK_S: Final = 0.001
_RESTLESS_S: Final = 1.0
"""Where timers set themselves anew for ever, commands of the present go on beside them then."""


class Waiting(Struct, eq=False):
    """What waits for its time: a command, or the mere passing of time where `shard` is None."""

    shard: Shard | None
    to: str
    body: Any
    reply: Reply
    deadline: float
    at_ns: int
    lane: object
    mark: Mark | None = None


class Timekeeper:
    """Keeps the time of a node's shards.

    Args:
        shards: those of the node; with several, each has a clock of its own.
        clock: the node's time, the latest that any command was given at; it never goes back.
    """

    def __init__(self, shards: Sequence[Shard], clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._wake = trio.Event()
        self._over = False

    def submit(
        self,
        shard: Shard,
        to: str,
        body: Struct,
        reply: Reply,
        deadline: float,
        at_ns: int,
        lane: object,
        mark: Mark | None,
    ) -> Fault | None:
        """Give a command to its shard once its time has come. See `Shard.submit`."""
        if self._over:
            return STOPPING
        if len(self._shards) == 1 and not self._waiting:
            return shard.submit(
                to, body, reply, deadline=deadline, at_ns=at_ns, lane=lane, mark=mark
            )
        # A command of an earlier time has that time, though the clock does not go back; and what
        # is due by the clock comes first all the same, as it does on one shard.
        at_ns = at_ns or self._clock.now_ns()
        if not self._waiting and self._next_due() > max(at_ns, self._clock.now_ns()):
            self._clock.advance_to(at_ns)
            return shard.submit(
                to, body, reply, deadline=deadline, at_ns=at_ns, lane=lane, mark=mark
            )
        if len(self._waiting) >= shard.limits.unconfirmed_max:
            return NODE_BUSY
        self._wait(Waiting(shard, to, body, reply, deadline, at_ns, lane, mark))
        return None

    def advance(self, at_ns: int, reply: Reply, deadline: float) -> None:
        """Move the clock to `at_ns`, durably; `reply` is told a `ClockMoved` or a `Fault`."""
        if self._over:
            tell_caller(reply, STOPPING)
        elif len(self._waiting) >= self._shards[0].limits.unconfirmed_max:
            tell_caller(reply, NODE_BUSY)
        else:
            self._wait(Waiting(None, "", None, reply, deadline, at_ns, None))

    def end(self) -> None:
        """Take nothing more; tell all that wait here that nothing happened."""
        self._over = True
        while self._waiting:
            tell_caller(self._waiting.popleft().reply, STOPPING)

    def _wait(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        self._wake.set()

    def waits(self) -> bool:
        """Return whether anything waits for its time."""
        return bool(self._waiting)

    async def run(self) -> None:
        """Let time pass for those that wait, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            begun = trio.current_time()
            while (self._waiting or self._late()) and not self._over:
                if not self._waiting:
                    await self._catch_up()
                    continue
                first = self._waiting[0]
                await self._pass_to(first, begun + _RESTLESS_S)
                if self._over:
                    return
                self._waiting.popleft()
                if first.deadline <= trio.current_time():
                    tell_caller(first.reply, TIMEOUT)
                    continue
                self._clock.advance_to(first.at_ns)
                if first.shard is None:
                    moved: Any = OUTCOME_UNKNOWN
                    try:
                        moved = await self._move(max(first.at_ns, self._clock.now_ns()))
                    finally:  # the node may end meanwhile
                        tell_caller(first.reply, moved)
                else:
                    self._hand_on(first.shard, first)

    def look(self) -> None:
        """See whether a timer was set that time has passed already: elsewhere, later commands
        had begun before the one that set it."""
        if not self._wake.is_set() and self._late():
            self._wake.set()

    def _late(self) -> bool:
        return self._next_due() <= self._clock.now_ns()

    async def _catch_up(self) -> None:
        if self._quiet():
            self._step(self._next_due())
        await trio.sleep(_LOOK_S)

    @staticmethod
    def _hand_on(shard: Shard, waiting: Waiting) -> None:
        fault = shard.submit(
            waiting.to,
            waiting.body,
            waiting.reply,
            deadline=waiting.deadline,
            at_ns=waiting.at_ns,
            lane=waiting.lane,
            mark=waiting.mark,
        )
        if fault is not None:
            tell_caller(waiting.reply, fault)

    async def _pass_to(self, waiting: Waiting, restless_until: float) -> None:
        """Return when nothing is due before or at the time that is waited for, and what followed
        from the timers that fired on the way has arrived."""
        fired = False
        due_by_ns = max(waiting.at_ns, self._clock.now_ns())
        while not self._over and (now := trio.current_time()) < waiting.deadline:
            if waiting.shard is not None:
                if not fired and self._next_due() > due_by_ns:
                    return
                if now >= restless_until and waiting.at_ns <= self._clock.now_ns():
                    return
            if not self._quiet():
                fired = fired or self._next_due() <= due_by_ns
                await trio.sleep(_LOOK_S)
            elif self._next_due() <= due_by_ns:
                fired = True
                self._step(self._next_due())
                await trio.lowlevel.checkpoint()
            else:
                return

    def _next_due(self) -> int:
        return min(shard.stage.next_due for shard in self._shards)

    def _quiet(self) -> bool:
        return all(
            shard.at_rest()
            and all(ask.ended for ask in shard.stage.asks.values())
            and shard.stage.next_due > shard.clock.now_ns()
            for shard in self._shards
        )

    def _step(self, to_ns: int) -> None:
        """Let every shard's clock go on to a timer that is due; it is durable with what the timer
        does: whoever starts anew before that finds the timer, and time before it."""
        for shard in self._shards:
            shard.clock.advance_to(to_ns)
            shard.wake()

    async def _move(self, to_ns: int) -> Any:
        """Move every shard's clock; returns the answer, once it is durable on all of them."""
        answer = None
        for shard in self._shards:
            answer = await shard.ask_control(MoveClock(to_ns))
            if isinstance(answer, Fault):
                return answer
        return answer
