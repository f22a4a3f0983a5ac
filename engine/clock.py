"""Clocks: where a shard's turns get their time from.

Wall time for nodes that serve; a domain clock, moved by commands, for replay and sandboxes.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("piaohao.engine")


class Clock(Protocol):
    """Gives a shard its time, in nanoseconds since 1970-01-01 UTC; it never goes back.

    Attributes:
        movable: commands move it; then its time travels with their messages.
    """

    movable: bool

    def ticks(self) -> float:
        """Return monotonic time, seconds from anywhere: how long slices and batches last."""

    def now_ns(self) -> int:
        """Return the time."""

    def advance_to(self, now_ns: int) -> None:
        """Move to a later time, where the clock can be moved; an earlier one changes nothing."""

    def not_before(self, now_ns: int) -> None:
        """Give no earlier time than this from now on: a store has seen it already."""


class WallClock:
    """The machine's clock, held still while it is set back.

    Args:
        read_ns: reads the machine's clock.
        ticks: reads its monotonic clock.
    """

    movable = False

    def __init__(
        self,
        read_ns: Callable[[], int] = time.time_ns,
        ticks: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._read_ns = read_ns
        self.ticks = ticks
        self._last_ns = 0

    def now_ns(self) -> int:
        """See `Clock.now_ns`."""
        now_ns = self._read_ns()
        self._last_ns = max(self._last_ns, now_ns)
        return self._last_ns

    def advance_to(self, now_ns: int) -> None:
        """See `Clock.advance_to`: wall time cannot be moved, so this changes nothing."""

    def not_before(self, now_ns: int) -> None:
        """See `Clock.not_before`: until the machine's clock has caught up, time stands still."""
        behind_s = (now_ns - self._read_ns()) // 1_000_000_000
        if behind_s > 0:
            log.warning(
                "the clock is %d s behind the store: until then time stands still", behind_s
            )
        self._last_ns = max(self._last_ns, now_ns)


class DomainClock:
    """A clock that stands still until a command moves it."""

    movable = True

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.ticks = time.perf_counter

    def now_ns(self) -> int:
        """See `Clock.now_ns`."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """See `Clock.advance_to`."""
        self._now_ns = max(self._now_ns, now_ns)

    def not_before(self, now_ns: int) -> None:
        """See `Clock.not_before`."""
        self.advance_to(now_ns)
