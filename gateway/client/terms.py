"""Terms: how long a client tries, and how it waits between two tries.

A pause doubles from try to try and is drawn at random between half of it and all of it, so that
clients who were cut off together do not come back together. Where the bank says Retry-After, the
pause comes on top: nobody is there before that time.
"""

from collections.abc import Callable

from msgspec import Struct


class Terms(Struct, frozen=True):
    """How patient a client is, in seconds.

    Attributes:
        patience_s: for how long a call is tried again; the last try is let finish.
        try_s: how long one try may take; longer than the bank tries by itself (10 s), so that it
            can say what it knows.
        connect_s: how long a connection may take to be made.
        pause_s: before the second try; doubled each time.
        pause_max_s: the longest pause of the client's own.
        ping_s: after so long without a byte a stream asks whether the bank is there; `try_s` is
            how long that answer may take.
    """

    patience_s: float = 30.0
    try_s: float = 15.0
    connect_s: float = 5.0
    pause_s: float = 0.1
    pause_max_s: float = 5.0
    ping_s: float = 20.0


class Effort:
    """The tries of one call.

    Args:
        now: monotonic time, in seconds.
        random: draws a number from 0 to 1.

    Attributes:
        maybe_done: whether the command may have been carried out by one of the tries.
    """

    def __init__(self, terms: Terms, now: Callable[[], float], random: Callable[[], float]) -> None:
        self._terms = terms
        self._now = now
        self._random = random
        self._end = now() + terms.patience_s
        self._pause_s = terms.pause_s
        self.maybe_done = False

    def pause_s(self, retry_after_s: float | None = None) -> float | None:
        """Return how long to wait before the next try, None where patience would be over."""
        own_s = self._pause_s * (0.5 + self._random() / 2)
        self._pause_s = min(self._pause_s * 2, self._terms.pause_max_s)
        pause_s = own_s + max(0.0, retry_after_s or 0.0)
        return pause_s if self._now() + pause_s < self._end else None
