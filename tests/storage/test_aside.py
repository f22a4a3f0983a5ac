"""The event loop stands aside while a committer writes, and still gives everybody a turn."""

import time

import pytest
import trio

from storage import aside
from storage.aside import ASIDE_S, StandingAside


class Busy:
    """A task that is always runnable, and what it saw."""

    def __init__(self) -> None:
        self.passes = 0

    async def run(self) -> None:
        while True:
            self.passes += 1
            await trio.lowlevel.checkpoint()


async def passes_beside(write_s: float, *, stand_aside: bool) -> int:
    """Return the passes of a busy loop while a thread 'writes', which takes no GIL."""
    busy = Busy()
    token = trio.lowlevel.current_trio_token()

    def write() -> int:
        if not stand_aside:
            before = busy.passes
            time.sleep(write_s)
            return busy.passes - before
        with StandingAside(token):
            time.sleep(write_s / 10)  # until the loop has noticed
            before = busy.passes
            time.sleep(write_s)
            return busy.passes - before

    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy.run)
        passes = await trio.to_thread.run_sync(write)
        nursery.cancel_scope.cancel()
    return passes


async def test_a_busy_loop_stands_aside_while_a_thread_writes() -> None:
    write_s = 10 * ASIDE_S
    assert await passes_beside(write_s, stand_aside=False) > 100
    passes = await passes_beside(write_s, stand_aside=True)
    # One pass after each time it stood aside: it is never shut out, and does nothing else.
    assert 1 <= passes <= 20


async def test_a_write_that_fails_sets_the_loop_free_and_the_next_committer() -> None:
    token = trio.lowlevel.current_trio_token()

    def fail() -> None:
        with StandingAside(token):
            raise OSError("disk")

    for _ in range(2):
        with pytest.raises(OSError, match="disk"), trio.fail_after(5):
            await trio.to_thread.run_sync(fail)
    assert not aside._pen.locked()


async def test_two_committers_write_one_after_the_other() -> None:
    token = trio.lowlevel.current_trio_token()
    writing = 0
    most = 0

    def write() -> None:
        nonlocal writing, most
        with StandingAside(token):
            writing += 1
            most = max(most, writing)
            time.sleep(0.01)
            writing -= 1

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.to_thread.run_sync, write)
    assert most == 1
