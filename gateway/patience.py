"""Patience: what becomes of a caller who was told to come later and does not wait.

A node that has as much to do as it takes says so at once: 503 or 429, with Retry-After. Who heeds
that notices nothing of what is here. To refuse somebody again costs nearly as much as to serve
them, so what a connection sends too soon is left unheard for a while, each time twice as long, and
is then refused like the first time. Meanwhile it stays with its sender (TCP's own flow control),
and neither time nor memory of the node goes into it.

On a node where requests are signed, what nobody has signed costs the node as much, and at its ops
port what nobody with a session has asked. So of a connection on which one such follows another,
each is heard a little later than the one before.
"""

from typing import Final

import trio

PATIENCE: Final = "piaohao.patience"
"""Where an application finds the `Patience` of a request's connection: in its scope's state."""
WAIT_S_MAX: Final = 32.0
"""The longest that a connection is left unheard, in seconds."""
UNPROVEN_FREE: Final = 4
"""Requests in a row that nobody has signed, and that are heard at once: who learns the bank's keys
or opens the page of the API needs some."""
UNPROVEN_S_MAX: Final = 4.0
"""The longest between two of them, in seconds. Five hundred connections that flood a node get 125
answers a second that way, and a proxy's, which may bring many people's, is never held up longer."""
_UNPROVEN_S: Final = 0.05


class Patience:
    """How one connection's caller keeps to what it was told.

    Args:
        unproven_s_max: the longest between two requests of nobody's, in seconds.

    Attributes:
        spent: what has come in came too soon, and is to be refused. A caller who is refused for
            that alone may come again at once: it has waited.
    """

    __slots__ = (
        "_early",
        "_hear_at",
        "_retry_after_s",
        "_told",
        "_unproven",
        "_unproven_s_max",
        "spent",
    )

    def __init__(self, unproven_s_max: float = UNPROVEN_S_MAX) -> None:
        self.spent = False
        self._unproven_s_max = unproven_s_max
        self._early = 0
        self._retry_after_s = 0.0
        self._told = 0.0
        self._unproven = 0
        self._hear_at = 0.0

    def answered(self, busy_s: int | None, *, proven: bool) -> None:
        """Hear what the caller was answered.

        Args:
            busy_s: after how many seconds it may come again, if there was too much to do.
            proven: it is known who has asked, or nobody has to say.
        """
        if busy_s is not None:
            self.refused(busy_s)
            return
        self.served()
        self._unproven = 0 if proven else self._unproven + 1
        beyond = self._unproven - UNPROVEN_FREE
        if beyond > 0:
            wait_s = min(self._unproven_s_max, _UNPROVEN_S * 2 ** min(beyond, 16))
            self._hear_at = trio.current_time() + wait_s

    def refused(self, retry_after_s: float) -> None:
        """Hear that the caller was told to come again in so many seconds."""
        self._told = trio.current_time()
        self._retry_after_s = 0.0 if self.spent else retry_after_s
        self.spent = False

    def served(self) -> None:
        """Hear that the caller was given what it asked for, or was refused for other reasons."""
        self._early = 0
        self._retry_after_s = 0.0

    @property
    def unheard(self) -> bool:
        """Whether the next request is to wait for what came before it."""
        return self._unproven > UNPROVEN_FREE and trio.current_time() < self._hear_at

    async def pause(self) -> None:
        """Return when the next request may be heard, however early it has come in."""
        if self.unheard:
            await trio.sleep_until(self._hear_at)

    async def wait(self) -> None:
        """Return when the caller may be heard again; called once something has come in."""
        if not self._retry_after_s or trio.current_time() >= self._told + self._retry_after_s:
            return
        self._early += 1
        wait_s = min(WAIT_S_MAX, self._retry_after_s * 2 ** (self._early + 1))
        self._retry_after_s = 0.0  # what has come in is one request, in however many pieces
        self.spent = True
        await trio.sleep_until(self._told + wait_s)
