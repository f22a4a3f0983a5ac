"""The hand-over: what a thread returns and raises comes back, and it is always waited for."""

import signal
import threading
from typing import Any

import pytest
import trio
import trio.testing

from storage.handover import handed_over


async def test_what_is_handed_over_runs_beside_the_loop_and_comes_back() -> None:
    here = threading.get_ident()
    assert await handed_over(threading.get_ident) != here


async def test_what_is_handed_over_raises_here_what_it_raised_there() -> None:
    def fail() -> None:
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        await handed_over(fail)


async def test_a_caller_that_is_cancelled_meanwhile_waits_for_the_thread() -> None:
    begun, may_end = threading.Event(), threading.Event()
    ended = []

    def work() -> str:
        begun.set()
        may_end.wait()
        ended.append(True)
        return "done"

    async def cancel(scope: trio.CancelScope) -> None:
        await trio.to_thread.run_sync(begun.wait)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert not ended
        may_end.set()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel, scope)
            assert await handed_over(work) == "done"
    assert scope.cancel_called
    assert ended


async def test_work_whose_caller_was_cancelled_before_is_not_begun() -> None:
    begun = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await handed_over(lambda: begun.append(True))
    assert scope.cancelled_caught
    assert not begun


def test_control_c_as_the_thread_begins_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a store would be closed under a commit, which then came back to a task that is gone."""
    start = trio.lowlevel.start_thread_soon
    begun, came_back = threading.Event(), []

    def start_and_interrupt(*details: Any) -> None:
        start(*details)
        begun.wait()
        signal.raise_signal(signal.SIGINT)

    def work() -> str:
        begun.set()
        return "done"

    async def interrupted() -> None:
        came_back.append(await handed_over(work))
        await trio.sleep_forever()

    monkeypatch.setattr(trio.lowlevel, "start_thread_soon", start_and_interrupt)
    # A test run may have been started with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert came_back == ["done"]
