"""The reception: what is said in HTTP to whoever would make a connection a WebSocket.

Either the handshake's answer, after which both sides speak in frames, or why there is none; then
the client is listened to for a moment, so that it can read that (RFC 9112, section 9.6).
"""

from contextlib import suppress
from http import HTTPStatus
from typing import Final

import trio

from gateway.counter import Response
from gateway.listener.answer import written
from gateway.stream.bounds import StreamBounds

_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


async def say(stream: trio.abc.Stream, response: Response, bounds: StreamBounds) -> bool:
    """Send an answer of HTTP; returns whether it was taken."""
    with trio.move_on_after(bounds.send_s), suppress(*_GONE):
        lasts = response.status == HTTPStatus.SWITCHING_PROTOCOLS
        await stream.send_all(written(response, lasts=lasts, bodiless=False))
        return True
    return False


async def turn_away(stream: trio.abc.Stream, response: Response, bounds: StreamBounds) -> None:
    """Say why there is no stream, and let the client read it.

    A connection that is closed with bytes in it that nobody has read is reset, and its client
    may lose what it has not read yet (RFC 9112, section 9.6).
    """
    if not await say(stream, response, bounds):
        return
    with trio.move_on_after(bounds.linger_s), suppress(*_GONE):
        if isinstance(stream, trio.SocketStream):
            await stream.send_eof()
        while await stream.receive_some(1 << 16):
            pass
