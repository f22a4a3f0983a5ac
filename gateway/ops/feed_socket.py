"""Feed sockets: a feed over a WebSocket (RFC 6455), each thing that is told a text message.

Frames are read as on a merchant's stream (`gateway.stream.frames`), with its bounds. A client says
nothing here but control frames: it chose what it follows by the request's query. A page of another
site gets none, in whoever's name (section 10.2), and no extension or subprotocol is agreed on.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from gateway.answer import encode
from gateway.counter import Request
from gateway.errors import RequestCode, RequestError
from gateway.ops.counter import OpsCounter
from gateway.ops.feed import Feed, FeedEnded
from gateway.ops.feeds import EndReason
from gateway.stream.bounds import StreamBounds
from gateway.stream.closing import CloseCode, CloseError
from gateway.stream.frames import Frames, Left, Ping, Text, text_frame
from gateway.stream.reception import say, turn_away

_RECEIVE_BYTES: Final = 1 << 12
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)
_CLOSES: Final = {
    EndReason.SESSION_OVER: CloseCode.NOT_AUTHORIZED,
    EndReason.STOPPING: CloseCode.GOING_AWAY,
    EndReason.TOO_MANY_FEEDS: CloseCode.GOING_AWAY,
    EndReason.UNAVAILABLE: CloseCode.INTERNAL,
}


class FeedSockets:
    """Serves connections that become WebSockets.

    Args:
        counter: lets them.
        bounds: of frames, and of clients' patience and ours.
    """

    def __init__(self, counter: OpsCounter, bounds: StreamBounds | None = None) -> None:
        self._counter = counter
        self._bounds = StreamBounds() if bounds is None else bounds

    async def serve(
        self,
        request: Request,
        stream: trio.abc.Stream,
        early: bytes,
        let_in: Callable[[], None],
    ) -> None:
        """Make a connection a feed and serve it until it is over, or say why it is none.

        The caller closes the connection, whatever comes of it.

        Args:
            early: what came in after the request; see `gateway.stream.streams`.
            let_in: called once it is to be a feed.
        """
        if early:
            detail = "nothing is sent before the answer has come"
            error = RequestError(RequestCode.HANDSHAKE_REFUSED, detail)
            await turn_away(stream, self._counter.refuse(error), self._bounds)
            return
        response, feed = await self._counter.open_feed(request)
        if feed is None:
            await turn_away(stream, response, self._bounds)
            return
        let_in()
        if await say(stream, response, self._bounds):
            try:
                await _Socket(feed, stream, self._bounds).run()
            finally:
                feed.leave()


class _Socket:
    """One feed's I/O: a task that tells, and one that hears."""

    def __init__(self, feed: Feed, stream: trio.abc.Stream, bounds: StreamBounds) -> None:
        self._feed = feed
        self._stream = stream
        self._bounds = bounds
        self._frames = Frames(bounds, trio.current_time)
        self._sending = trio.Lock()
        self._closed = False
        self._heard_at = trio.current_time()

    async def run(self) -> None:
        """Serve it until either side ends it."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell, nursery.cancel_scope)
            with suppress(*_GONE):
                await self._hear()
            nursery.cancel_scope.cancel()

    async def _tell(self, scope: trio.CancelScope) -> None:
        """Send what there is to tell, and pings; then see the end through."""
        bounds = self._bounds
        asked_at = trio.current_time()
        while not self._feed.over:
            told = await self._feed.next()
            now = trio.current_time()
            if now - self._heard_at >= bounds.ping_s + bounds.pong_s:
                scope.cancel()
                return
            data = b"".join(text_frame(encode(each)) for each in told)
            if now - max(asked_at, self._heard_at) >= bounds.ping_s:
                asked_at = now
                data += self._frames.ping()
            last = told[-1] if told else None
            if isinstance(last, FeedEnded):
                data += self._frames.close(_CLOSES[last.reason], last.reason)
            if not await self._send(data, closes=self._feed.over):
                scope.cancel()
                return
        self._feed.leave()
        # The client closes its side (RFC 6455, section 7.1.1).
        await trio.sleep(bounds.linger_s)
        scope.cancel()

    async def _hear(self) -> None:
        """Hear the client until it leaves, or says what nobody understands."""
        while data := bytes(await self._stream.receive_some(_RECEIVE_BYTES)):
            self._heard_at = trio.current_time()
            self._frames.feed(data)
            try:
                while frame := self._frames.next():
                    if isinstance(frame, Left):
                        await self._close(CloseCode.NORMAL, "")
                        return
                    if isinstance(frame, Text):
                        await self._close(CloseCode.BAD_FRAME, "a feed takes no messages")
                        return
                    if isinstance(frame, Ping):
                        await self._send(self._frames.pong(frame.payload))
            except CloseError as error:
                await self._close(error.close.code, error.close.reason)
                return

    async def _close(self, code: CloseCode, reason: str) -> None:
        await self._send(self._frames.close(code, reason), closes=True)

    async def _send(self, data: bytes, *, closes: bool = False) -> bool:
        """Send something, unless a close frame was sent; returns whether it was taken in time."""
        with trio.move_on_after(self._bounds.send_s), suppress(*_GONE):
            async with self._sending:
                if data and not self._closed:
                    self._closed = closes
                    await self._stream.send_all(data)
            return True
        return False
