"""Fail-stop: after a commit that failed the process ends within a second, with code 74.

By the time this begins the shard has told every waiter OUTCOME_UNKNOWN. The answers get half a
second to leave; then `os._exit`, because a thread that is stuck in fsync would hold up any
orderly end for ever. A timer thread does the same should the event loop itself hang.
"""

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from gateway.exits import FAIL_STOP, RESTORE
from storage.errors import CorruptRowError

CODE: Final = FAIL_STOP
ANSWERS_S: Final = 0.5
GUARD_S: Final = 0.9

log = logging.getLogger("piaohao.gateway")


class FailStop:
    """Ends the process once `begin` was called; `watch` lets the answers out first."""

    def __init__(self) -> None:
        self._begun = trio.Event()

    @property
    def begun(self) -> bool:
        """Whether the node has failed."""
        return self._begun.is_set()

    def begin(self, error: BaseException) -> None:
        """Start the end; called in the event loop, once its waiters have been told."""
        if self.begun:
            return
        end_soon()
        advice = f"; {RESTORE}" if isinstance(error, CorruptRowError) else ""
        log.critical("fail-stop: %s%s", error, advice)
        self._begun.set()

    async def watch(self, answered: Callable[[], Awaitable[None]]) -> None:
        """Wait for a failure, then for the answers under way, then end the process.

        Args:
            answered: returns once no answer is under way any more.
        """
        await self._begun.wait()
        with trio.move_on_after(ANSWERS_S):
            await answered()
        _exit()


def end_soon() -> None:
    """End the process within a second, whatever else it does; it may end by itself before."""
    guard = threading.Timer(GUARD_S, _exit)
    guard.daemon = True
    guard.start()


def _exit() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(CODE)
