"""Standing aside: the event loop lets the committer write without fighting it for the GIL.

LMDB's puts let go of the GIL one by one. While another thread waits for it, each of them wakes
that thread and then fights to get the GIL back: beside a loop that is never idle a put took 18 us
of CPU instead of 2, and a batch of 1,024 payments 68 ms instead of 24. So while a committer
writes a larger batch, the event loop stands aside: it waits without the GIL, for at most as long
as a slice, gives every task a turn, and stands aside again until the puts are done. The sync that
follows needs no GIL and runs beside the loop. Committers of several shards write one at a time:
they would fight each other.
"""

import threading
from types import TracebackType
from typing import Final

import trio

ASIDE_S: Final = 0.005
ROWS_MIN: Final = 16
"""Below that many rows the puts are over before the loop would have stood aside."""

_pen = threading.Lock()


class StandingAside:
    """Held by a thread beside Trio's around its writes: `with StandingAside(token): …`.

    The loop that `token` belongs to must outlive the block; it need not be idle.
    """

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._writing = threading.Lock()

    def __enter__(self) -> None:
        _pen.acquire()
        self._writing.acquire()
        self._token.run_sync_soon(self._stand_aside)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._writing.release()
        _pen.release()

    def _stand_aside(self) -> None:
        # A function that asks to be called again is called in the loop's next pass.
        if not self._writing.acquire(timeout=ASIDE_S):
            self._token.run_sync_soon(self._stand_aside)
