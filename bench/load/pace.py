"""The pace: when a caller may send again. Closed: at once; open: as soon as something arrives.

In an open loop arrivals wait in a line for a connection that is free, and what they wait there is
part of their latency: it counts from the arrival. So a node that stalls is charged with all that
arrived meanwhile, and not with as many requests as there are connections (coordinated omission).
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from bench.load.loop import Loop
from bench.load.tally import Tally

DRAIN_NS: Final = 5_000_000_000
"""How long after the end what has arrived before is still sent."""
_LOOK_NS: Final = 20_000_000


class Free(Protocol):
    """A caller that could send."""

    def ask(self, since_ns: int | None) -> None:
        """Send the next request, which arrived then; None for now."""

    def finish(self) -> None:
        """Send nothing any more."""


class Pace(ABC):
    """Says when."""

    @abstractmethod
    def free(self, caller: Free) -> None:
        """Hear that a caller could send a request, and have it send one now or later."""

    @abstractmethod
    def gone(self, caller: Free) -> None:
        """Hear that a caller cannot send: its connection is lost."""


class AtOnce(Pace):
    """A closed loop until a time on the monotonic clock."""

    def __init__(self, stop_ns: int) -> None:
        self._stop_ns = stop_ns

    def free(self, caller: Free) -> None:
        """Have it send at once."""
        if time.monotonic_ns() < self._stop_ns:
            caller.ask(None)
        else:
            caller.finish()

    def gone(self, caller: Free) -> None:
        """Do nothing: nobody waits."""


class AsItComes(Pace):
    """An open loop.

    Args:
        times: when requests arrive, in order, on the monotonic clock.
        end_ns: when the window ends.
        together: operations in a request.
    """

    def __init__(
        self, loop: Loop, times: Iterator[int], end_ns: int, tally: Tally, together: int
    ) -> None:
        self._loop = loop
        self._times = times
        self._tally = tally
        self._together = together
        self._line: deque[int] = deque()
        self._free: deque[Free] = deque()
        self._next_ns: int | None = None
        self._over = False
        self._give_up_ns = end_ns + DRAIN_NS
        self._wait()

    def free(self, caller: Free) -> None:
        """Have it send what has waited longest, or wait itself."""
        if self._line:
            self._send(caller)
        elif self._over:
            caller.finish()
        else:
            self._free.append(caller)

    def gone(self, caller: Free) -> None:
        """Let nothing wait for it."""
        self._free = deque(each for each in self._free if each is not caller)

    def _wait(self) -> None:
        self._next_ns = next(self._times, None)
        if self._next_ns is not None:
            self._loop.at(self._next_ns, self._arrive)
        else:
            self._drain()

    def _arrive(self) -> None:
        assert self._next_ns is not None
        self._line.append(self._next_ns)
        while self._line and self._free:
            self._send(self._free.popleft())
        self._wait()

    def _send(self, caller: Free) -> None:
        since_ns = self._line.popleft()
        self._tally.sent_late(since_ns)
        caller.ask(since_ns)

    def _drain(self) -> None:
        """Nothing more arrives: see the line off, for so long, and then let everybody go."""
        now_ns = time.monotonic_ns()
        if self._line and now_ns < self._give_up_ns:
            self._loop.at(now_ns + _LOOK_NS, self._drain)
            return
        for since_ns in self._line:
            self._tally.never_sent(since_ns, self._together)
        self._line.clear()
        self._over = True
        free, self._free = self._free, deque()
        for caller in free:
            caller.finish()
