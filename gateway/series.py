"""A series: an array of commands on its way through the engine.

It is not a transaction and not a task. All items that wait for nothing are handed to the engine
at once, in array order and in one lane; each answer comes by callback, and whatever waited for
it is handed over then. So a client that leaves cannot stop anything, and an item costs a
callback instead of a task and an event.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final

import trio
from msgspec import Meta, Struct

from actors.answers import instant
from actors.commands import AnyCommand, first_actor
from engine.admission import Lane
from engine.fault import Fault, FaultCode
from engine.marks import Mark
from engine.node import Node
from gateway.answer import Item, concluded
from gateway.errors import Problem, RequestCode, faulted, problem
from gateway.references import References

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_YEAR: Final = 2200


class AdvanceClock(
    Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="advance_clock"
):
    """Move a domain clock to `to` (RFC 3339) before the items that follow; never back."""

    to: Annotated[datetime, Meta(tz=True)]


class ClockView(Struct, frozen=True, tag_field="object", tag="clock"):
    """Where the clock was moved to."""

    now: str


Entry = AnyCommand | AdvanceClock
Hear = Callable[[int, Item], None]
"""Called with an item's index and its answer, once it has one; it must not raise."""


def nanoseconds(instant_: datetime) -> int:
    """Return an instant as nanoseconds since 1970-01-01 UTC; exact to its microseconds."""
    return (instant_ - _EPOCH) // timedelta(microseconds=1) * 1_000


class Series:
    """One array under way.

    Args:
        node: the engine.
        entries: commands in array order; a `Problem` stands for an item that is none.
        deadline: of every item, on Trio's clock.
        movable: whether the clock may be moved.
        mark: of the request that the array is; all commands carry it, and each shard stores it
            with the first of them that it gives a turn.
        lane: commands of one lane start in order; by default the array has one to itself.
        party: the address of the actor whose turn that lane shares; empty for a turn of its own.
        hear: is told of each answer as it comes; the first may come before `start` returns.
    """

    def __init__(
        self,
        node: Node,
        entries: Sequence[Entry | Problem],
        deadline: float,
        *,
        movable: bool,
        mark: Mark | None = None,
        lane: object = None,
        party: str = "",
        hear: Hear | None = None,
    ) -> None:
        self.items: list[Item | None] = [None] * len(entries)
        self._node = node
        self._entries = entries
        self._deadline = deadline
        self._movable = movable
        self._mark = mark
        self._lane = lane
        self._party = party
        self._hear = hear
        self._references = References()
        self._next = 0
        self._going = False
        self._open = len(entries) + 1  # the last one is for `_go_on` itself
        self._waits_for: dict[int, int] = {}
        self._waiting: dict[int, list[int]] = {}
        self._at_ns = 0
        self._moving = -1
        self._done = trio.Event()

    async def run(self) -> list[Item | None]:
        """Start everything and return the items' answers, in array order.

        All of it is with the engine before the first checkpoint, or follows by callback.
        """
        self.start()
        await self._done.wait()
        return self.items

    def start(self) -> None:
        """Start everything; what is not with the engine when this returns follows by callback."""
        self._go_on()

    @property
    def held_up(self) -> bool:
        """Whether a move of the clock waits, and what comes after it in the array with it."""
        return self._next < len(self._entries)

    def _go_on(self) -> None:
        """Go through the array up to its end, or to a move of the clock that has to wait.

        The clock moves once everything before it has begun, so that each command runs at the
        time that the array gave it: nothing waits for answers unless something before it does.
        """
        self._going = True
        entries = self._entries
        while self._next < len(entries):
            index = self._next
            entry = entries[index]
            if isinstance(entry, AdvanceClock):
                if self._waits_for:
                    break
                self._advance(index, entry)
            elif isinstance(entry, Problem):
                self._close(index, Item(entry.status, entry))
            else:
                self._begin(index, entry)
            self._next += 1
        else:
            if self._moving >= 0:
                self._move()
            self._one_less()
        self._going = False

    def _begin(self, index: int, command: AnyCommand) -> None:
        """Start a command, or have it wait for the earlier ones that it refers to."""
        earlier = self._references.note(index, command)
        blockers = {each for each in earlier if self.items[each] is None} if earlier else None
        if blockers:
            self._waits_for[index] = len(blockers)
            for each in blockers:
                self._waiting.setdefault(each, []).append(index)
            return
        fault = self._submit(index)
        if fault is not None:
            self._conclude(index, fault)

    def _advance(self, index: int, entry: AdvanceClock) -> None:
        refusal = None
        if not self._movable:
            refusal = problem(RequestCode.CLOCK_NOT_MOVABLE)
        elif not _EPOCH.year <= entry.to.year <= _LAST_YEAR:
            detail = f"`to` lies between 1970 and {_LAST_YEAR}"
            refusal = problem(RequestCode.INVALID_REQUEST, detail)
        if refusal is not None:
            self._close(index, Item(refusal.status, refusal))
            return
        self._at_ns = max(self._at_ns, nanoseconds(entry.to))
        self._tell_of_move()
        self._moving = index
        self.items[index] = Item(200, ClockView(instant(self._at_ns)))
        self._one_less()

    def _move(self) -> None:
        """Move the clock though no command follows; the array is answered once it has moved."""
        index = self._moving
        self._open += 1

        def moved(outcome: Any) -> None:
            if isinstance(outcome, Fault):
                fault = faulted(outcome)
                self.items[index] = Item(fault.status, fault)
            self._tell_of_move()
            self._one_less()

        self._node.advance(self._at_ns, moved, deadline=self._deadline)

    def _submit(self, index: int) -> Fault | None:
        """Hand one command to the engine; returns its refusal at the door, if any."""
        command: Any = self._entries[index]
        # Not kept in itself: each array would be garbage that only the collector frees.
        lane = self if self._lane is None else self._lane
        fault = self._node.submit(
            first_actor(command),
            command,
            partial(self._conclude, index),
            deadline=self._deadline,
            at_ns=self._at_ns,
            lane=Lane(self._party, lane) if self._party else lane,
            mark=self._mark,
        )
        if fault is None and self._moving >= 0:
            self._tell_of_move()  # it goes along with the command
        return fault

    def _conclude(self, index: int, outcome: Any) -> None:
        """Note an outcome, and start what waited for it and for nothing else.

        Where a fault says that nothing happened, what refers to the command is not started
        either and gets the same fault: a capture must not be bound to NO_SUCH_HOLD for ever
        because the node was too busy for its hold. The shard calls this from its commit, so it
        must not raise; and it is a loop, because a thousand items may wait in one chain.
        """
        ended = [(index, outcome)]
        while ended:
            index, outcome = ended.pop()
            if self.items[index] is not None:
                continue
            self._waits_for.pop(index, None)
            self._close(index, Item(*concluded(type(self._entries[index]), outcome)))
            waiting = self._waiting.pop(index, None)
            if waiting is None:
                continue
            idle = isinstance(outcome, Fault) and outcome.code is not FaultCode.OUTCOME_UNKNOWN
            for each in waiting:
                if idle:
                    ended.append((each, outcome))
                elif each in self._waits_for:
                    self._waits_for[each] -= 1
                    if not self._waits_for[each]:
                        del self._waits_for[each]
                        fault = self._submit(each)
                        if fault is not None:
                            ended.append((each, fault))
        if not self._waits_for and not self._going and self._next < len(self._entries):
            self._go_on()

    def _tell_of_move(self) -> None:
        """Tell of the last move of the clock, which might have failed until now."""
        index, self._moving = self._moving, -1
        if index >= 0 and self._hear is not None:
            item = self.items[index]
            assert item is not None
            self._hear(index, item)

    def _close(self, index: int, item: Item) -> None:
        self.items[index] = item
        if self._hear is not None:
            self._hear(index, item)
        self._one_less()

    def _one_less(self) -> None:
        self._open -= 1
        if not self._open:
            self._done.set()
