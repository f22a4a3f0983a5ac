"""The loop in the engine's own process: what is submitted when, closed or open.

In a closed loop each answer brings the next command, or the last answer of a batch the next batch.
In an open loop commands are submitted as they arrive, whatever has become of those before, and
what is submitted late, because the event loop was busy, has arrived when it should have.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import trio

from bench.load.pace import DRAIN_NS

E = TypeVar("E")

_AT_ONCE_NS: Final = 5_000_000
"""So long what has arrived is submitted without letting the engine go on: as long as its slices."""


class InProcess(ABC, Generic[E]):
    """Keeps an engine busy; the subclass says with what, and counts."""

    def __init__(self) -> None:
        self._open = 0
        self._until_ns = 0
        self._over = trio.Event()

    @abstractmethod
    def take(self, count: int) -> list[E]:
        """Return what is submitted next."""

    @abstractmethod
    def submit(self, each: E, since_ns: int, ended: Callable[[], None]) -> None:
        """Submit it, and call `ended` once it is over.

        Args:
            since_ns: when it began, or should have.
        """

    async def closed(self, in_flight: int, batch: int, until_ns: int) -> None:
        """Keep so many in flight until a time of the monotonic clock, and wait for the last."""
        self._until_ns = until_ns
        for _ in range(max(1, in_flight // batch)):
            self._begin(batch, time.monotonic_ns())
        await self._over.wait()

    async def arriving(
        self,
        times: Iterator[int],
        batch: int,
        end_ns: int,
        late: Callable[[int], None],
        never: Callable[[int, int], None],
    ) -> None:
        """Submit `batch` at each of these times, and wait for the last answer.

        Args:
            times: of the monotonic clock, in order.
            end_ns: of the window: what is later than this by too much is not submitted.
            late: told when something should have been submitted, when it is.
            never: told when what was not submitted should have been, and how many.
        """
        begun = 0
        for at in times:
            now = time.monotonic_ns()
            if at > now:
                await trio.sleep((at - now) / 1e9)
                begun = time.monotonic_ns()
            elif now - begun > _AT_ONCE_NS:
                await trio.lowlevel.checkpoint()
                begun = time.monotonic_ns()
            if begun < end_ns + DRAIN_NS:
                late(at)
                self._begin(batch, at)
            else:
                never(at, batch)
        if self._open:
            self._over = trio.Event()  # it was idle before
            await self._over.wait()

    def _begin(self, count: int, since_ns: int) -> None:
        self._open += count
        ended = _Batch(self, count).ended if count > 1 else self.ended_alone
        for each in self.take(count):
            self.submit(each, since_ns, ended)

    def ended_alone(self) -> None:
        """Hear that one is over that was submitted by itself."""
        self._open -= 1
        self.next(1)

    def ended_of_batch(self) -> None:
        """Hear that one of a batch is over, and not the last."""
        self._open -= 1

    def next(self, count: int) -> None:
        """Submit as many again, or end when the time is over and nothing is open."""
        now_ns = time.monotonic_ns()
        if now_ns < self._until_ns:
            self._begin(count, now_ns)
        elif not self._open:
            self._over.set()


class _Batch(Generic[E]):
    """Commands submitted together; the next batch follows the last answer."""

    __slots__ = ("_count", "_left", "_loop")

    def __init__(self, loop: InProcess[E], count: int) -> None:
        self._loop = loop
        self._count = self._left = count

    def ended(self) -> None:
        self._loop.ended_of_batch()
        self._left -= 1
        if not self._left:
            self._loop.next(self._count)
