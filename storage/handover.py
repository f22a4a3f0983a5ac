"""The hand-over: work for a thread beside Trio's, which its caller waits for whatever happens.

Trio's `to_thread.run_sync` names its thread anew for each call and back, copies the context and
asks a limiter: 195 µs of CPU for a call that does nothing, where this takes 130. A commit of
fifteen payments is handed over seventy times a second. The caller cannot be cancelled once the
thread has the work, so nothing is ever left half done behind its back.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import trio

T = TypeVar("T")


@trio.lowlevel.enable_ki_protection
async def handed_over(work: Callable[[], T]) -> T:
    """Return what `work` returns in a thread of Trio's pool; it raises what that raises.

    It is a checkpoint. Cancelled before, the work is not begun; after that it is waited for, and
    so it is where Control-C comes as the thread begins.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    task = trio.lowlevel.current_task()
    token = trio.lowlevel.current_trio_token()

    def deliver(result: Any) -> None:
        token.run_sync_soon(trio.lowlevel.reschedule, task, result)

    trio.lowlevel.start_thread_soon(work, deliver)
    result: T = await trio.lowlevel.wait_task_rescheduled(_uncancelled)
    return result


def _uncancelled(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
