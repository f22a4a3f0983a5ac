"""A pump: moves bytes between a connection and a session, one task a direction.

It reads while the session hears, so what a client sends beyond its window stays with the client
(TCP's own flow control), and it asks for more to send once the last was taken. It keeps no time by
itself: somebody looks at all pumps every now and then (`streams`), which costs an idle stream no
timer and a busy one no cancel scope for every read.
"""

import math
from contextlib import suppress
from typing import Final

import trio

from gateway.stream.bounds import StreamBounds
from gateway.stream.closing import Close, CloseCode, Flush
from gateway.stream.session import Session

RECEIVE_BYTES: Final = 1 << 16
PIECE_BYTES: Final = 1 << 16
_LINGER_BYTES: Final = 1 << 20
_TURNS: Final = 16
"""Messages of one piece after which others have their turn."""
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class Pump:
    """One stream's I/O.

    Args:
        session: what decides.
        stream: the connection; it is left open.
        bounds: how slow the client may be.
    """

    __slots__ = (
        "_asked",
        "_bounds",
        "_closed",
        "_ends_at",
        "_heard_at",
        "_listening",
        "_scope",
        "_sending_at",
        "_stirred",
        "_stream",
        "_wake",
        "session",
    )

    def __init__(self, session: Session, stream: trio.abc.Stream, bounds: StreamBounds) -> None:
        self.session = session
        session.wake = self._woken
        self._stream = stream
        self._bounds = bounds
        self._wake = trio.Event()
        self._stirred = trio.Event()  # something was taken, or the end has begun
        self._closed = trio.Event()
        self._scope = trio.CancelScope()
        self._heard_at = trio.current_time()
        self._sending_at: float | None = None
        self._ends_at: float | None = None
        self._listening = False
        self._asked = False

    async def run(self) -> None:
        """Serve the stream until it is over."""
        waiting = self.session.backlog.waiting
        waiting.add(self._room)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send)
                    with suppress(*_GONE):
                        await self._receive()
                    nursery.cancel_scope.cancel()
        finally:
            waiting.discard(self._room)
            self.session.lose()

    async def _receive(self) -> None:
        session = self.session
        lingered = 0
        while not session.left:
            # While nobody listens, a client's silence is not its own.
            self._heard_at = trio.current_time()
            self._listening = True
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            self._listening = False
            if not data:
                return
            self._asked = False
            if session.closed:
                lingered += len(data)
                if lingered > _LINGER_BYTES:
                    return
            session.feed(data)
            await self._do_all()
        await self._closed.wait()

    async def _do_all(self) -> None:
        """Have the session do what has come in, message by message as it hears them."""
        session = self.session
        turns = 0
        while True:
            while not session.hears:
                since = trio.current_time()
                await self._until_stirred()
                session.excuse(trio.current_time() - since)
            if not session.step():
                break
            turns += 1
            if not turns % _TURNS:
                await trio.lowlevel.checkpoint()

    async def _until_stirred(self) -> None:
        """Wait until the session may hear again: room in its window, its time, or its end."""
        again = self.session.deaf_until
        with trio.CancelScope(deadline=again if again > trio.current_time() else math.inf):
            await self._stirred.wait()

    async def _send(self) -> None:
        session = self.session
        with suppress(*_GONE):
            while not session.closed:
                data = session.take()
                if not data:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    continue
                view = memoryview(data)
                for begin in range(0, len(view), PIECE_BYTES):
                    self._sending_at = trio.current_time()
                    await self._stream.send_all(view[begin : begin + PIECE_BYTES])
                self._sending_at = None
                session.taken()
                self._stir()
            self._closed.set()
            self._stir()
            return
        self._scope.cancel()

    def _woken(self) -> None:
        self._wake.set()
        if self.session.closing is not None:
            self._stir()

    def _room(self) -> None:
        """Hear that the merchant's streams may hold more again: commands, or a page of events."""
        self._wake.set()
        self._stir()

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()

    def look(self, now: float) -> None:
        """See whether anything has taken too long."""
        session, bounds = self.session, self._bounds
        if session.closing is not None:
            if self._ends_at is None:
                if session.closing.flush is not Flush.ALL or session.idle:
                    self._ends_at = now + bounds.linger_s
            elif now >= self._ends_at:
                self._scope.cancel()
        elif self._sending_at is not None and now >= self._sending_at + bounds.send_s:
            session.shut(Close(CloseCode.TOO_SLOW, "what was sent is not taken"))
        elif self._listening:
            self._look_at_client(now)

    def _look_at_client(self, now: float) -> None:
        session, bounds = self.session, self._bounds
        quiet_s = now - self._heard_at
        begun_at = session.begun_at
        if begun_at is not None and now >= begun_at + bounds.message_s:
            session.shut(Close(CloseCode.TOO_SLOW, "a message has no end"))
        elif quiet_s >= bounds.ping_s + bounds.pong_s:
            session.shut(Close(CloseCode.TOO_SLOW, "a ping has no answer"))
        elif quiet_s >= bounds.ping_s and not self._asked:
            self._asked = True
            session.ping()
