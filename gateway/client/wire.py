"""Wires: one WebSocket each (RFC 6455), from dialling to its end, over trio-websocket.

The signed head of the handshake goes out as the core made it, and what comes back is returned to
be judged like any answer. Whatever the library does when the other side misbehaves ends the wire
and nothing else. A wire buffers one message: who takes none stops the bank's sending (TCP's flow
control). Nothing is compressed, as no extension is offered.
"""

import math
from collections.abc import Callable
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import ProtocolError

from gateway.client.exchange import Came, Lost, Send
from gateway.client.stream_core import MESSAGE_BYTES, SUBPROTOCOL, WireLostError
from gateway.client.way import Way, lost

_RECEIVE_BYTES: Final = 1 << 16
_HANDSHAKE_BYTES: Final = 1 << 18
"""The longest answer to a handshake that is taken."""
_CLOSE_S: Final = 1.0
"""How long a polite end may take."""
_SWITCHING: Final = 101


class Wire:
    """One connection; `open` makes it in a nursery, in which it lives until it is over.

    Args:
        way: to the bank.
        send: the handshake.

    Attributes:
        ended: nothing comes of it any more.
    """

    def __init__(self, way: Way, send: Send) -> None:
        self._way = way
        self._send = send
        self._scope = trio.CancelScope()
        self._decided = trio.Event()
        self._reply: Came | Lost | None = None
        self._ws: WebSocketConnection | None = None
        self.ended = trio.Event()

    async def open(self, nursery: trio.Nursery) -> Came | Lost:
        """Dial and shake hands; returns the answer, and the wire is open if that is a 101."""
        nursery.start_soon(self._live)
        with trio.move_on_after(self._send.timeout_s):
            await self._decided.wait()
        if self._reply is None:
            self._reply = Lost(True, "the answer did not come in time")
        if not self.is_open:
            self.abort()
        return self._reply

    @property
    def is_open(self) -> bool:
        """Whether the handshake was answered with a WebSocket of the bank's protocol."""
        return self._ws is not None and self._ws.subprotocol == SUBPROTOCOL

    async def send(self, text: str) -> None:
        """Send one message.

        Raises:
            WireLostError: the connection is over; the message may have got through.
        """
        assert self._ws is not None
        try:
            await self._ws.send_message(text)
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        except BaseException as error:
            self.abort()  # half of a frame may have left: no other can follow
            if isinstance(error, ProtocolError):
                raise WireLostError(1006, str(error)) from None
            raise

    async def receive(self) -> str:
        """Return the next message.

        Raises:
            WireLostError: the connection is over, and its last message has been taken.
        """
        assert self._ws is not None
        try:
            message = await self._ws.get_message()
        except ConnectionClosed as closed:
            self.abort()
            raise _lost(closed) from None
        if isinstance(message, bytes):
            self.abort()
            raise WireLostError(1006, "a binary message came")
        return message

    async def close(self) -> None:
        """Hang up politely, as far as that goes in a second."""
        if self._ws is not None:
            with trio.move_on_after(_CLOSE_S):
                await self._ws.aclose()
        self.abort()

    def abort(self) -> None:
        """Hang up at once."""
        self._scope.cancel()

    # The task in which it lives.

    async def _live(self) -> None:
        try:
            await self._live_and_end()
        finally:
            self._decide(Lost(False, "it was not connected yet"))
            self.ended.set()

    async def _live_and_end(self) -> None:
        with self._scope:
            try:
                stream = await self._dial()
            except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                self._decide(lost(error))
                return
            heard = _Heard(stream)
            try:
                await self._speak(heard)
            # trio-websocket's reader raises here what wsproto and h11 make of bytes that no bank
            # sends, errors of their own use among it: all of it is the other side's doing.
            except* ConnectionRejected as group:
                self._decide(_refusal(_first(group)))
            except* Exception as group:
                self._decide(Lost(True, f"no answer of a WebSocket's: {_first(group)!r}"))
            finally:
                self._decide(Lost(True, "the connection was closed"))
                await trio.aclose_forcefully(stream)

    def _decide(self, reply: Came | Lost) -> None:
        if self._reply is None:
            self._reply = reply
            self._decided.set()

    async def _dial(self) -> trio.abc.Stream:
        url = self._way.url
        secure = url.scheme == "https"
        with trio.fail_after(self._way.terms.connect_s):
            socket = await trio.open_tcp_stream(url.host, url.port or (443 if secure else 80))
            if not secure:
                return socket
            stream = trio.SSLStream(
                socket, self._way.tls, server_hostname=url.host, https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream

    async def _speak(self, stream: "_Heard") -> None:
        headers = [(name.encode(), value.encode()) for name, value in self._send.headers.items()]
        async with trio.open_nursery() as nursery:
            # The library waits for ever for the answer of who has hung up.
            with trio.CancelScope() as scope:
                stream.on_end = scope.cancel
                ws = await wrap_client_stream(
                    nursery,
                    stream,  # type: ignore[arg-type]  # any stream will do
                    self._way.url.netloc.decode("ascii"),
                    self._send.target,
                    subprotocols=[SUBPROTOCOL],
                    extra_headers=headers,
                    max_message_size=MESSAGE_BYTES,
                    receive_buffer_size=_RECEIVE_BYTES,
                )
                stream.left = math.inf
                self._ws = ws
                fields = {name.decode(): value.decode() for name, value in ws.handshake_headers}
                self._decide(Came(_SWITCHING, fields, b""))
            if self._ws is not None:
                nursery.start_soon(self._keep_alive, self._ws, stream)
                await stream.ended.wait()
            nursery.cancel_scope.cancel()

    async def _keep_alive(self, ws: WebSocketConnection, stream: "_Heard") -> None:
        """End a connection on which nothing comes, not even an answer to a ping."""
        terms = self._way.terms
        while True:
            await trio.sleep(terms.ping_s)
            asked = trio.current_time()
            if not stream.quiet_since(asked - terms.ping_s):
                continue
            with trio.move_on_after(terms.try_s):
                try:
                    await ws.ping()
                except ConnectionClosed:
                    return
            if stream.quiet_since(asked):
                self.abort()


class _Heard(trio.abc.Stream):
    """A stream that tells of its end, and since when nothing was heard on it.

    Attributes:
        left: bytes that it yields yet; then it is as if it had ended.
        on_end: called when nothing more comes.
        ended: set then.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.left: float = _HANDSHAKE_BYTES
        self.on_end: Callable[[], None] = _nobody
        self.ended = trio.Event()
        self._listening_since: float | None = None

    def quiet_since(self, then: float) -> bool:
        """Whether nothing has come from then on, though it was listened for."""
        since = self._listening_since
        return since is not None and since <= then

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._listening_since = trio.current_time()
        data = b""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        finally:
            self._listening_since = None
            self.left -= len(data)
            if not data or self.left < 0:
                self.ended.set()
                self.on_end()
        return data if self.left >= 0 else b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


def _refusal(rejected: BaseException) -> Came:
    assert isinstance(rejected, ConnectionRejected)
    fields = {name.decode().lower(): value.decode("latin-1") for name, value in rejected.headers}
    return Came(rejected.status_code, fields, bytes(rejected.body or b""))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _lost(closed: ConnectionClosed) -> WireLostError:
    reason = closed.reason
    return (
        WireLostError(1006, "")
        if reason is None
        else WireLostError(reason.code, reason.reason or "")
    )


def _nobody() -> None:
    """Nobody waits for the end."""
