"""Parting: how a connection ends so that its client can read what it was sent.

A socket that is closed with bytes in it that nobody has read, or to which some come later, resets
the connection, and the client may lose what is still on its way (RFC 9112, section 9.6). So the
node says that it sends nothing more, and reads on what nobody looks at: until the client has
closed its side, or until its TCP has acknowledged the last byte and nothing came for a moment. Both
are bounded, in time and in bytes.
"""

import math
from contextlib import suppress
from typing import Final

import trio

from gateway.listener.tcp import is_acknowledged
from gateway.listener.tls import Stream

_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 16
_LOOK_S: Final = 0.01
"""When it is first looked whether all was acknowledged, which TCP tells nobody; then after twice
that, and so on: thousands may be parting with at a time."""
_GONE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


async def part(
    stream: Stream, transport: trio.SocketStream, within_s: float, *, sends_on: bool
) -> None:
    """End a connection in good order; nobody else reads from or writes to it any more.

    Args:
        stream: it, encrypted or not.
        transport: what is under it, or the same.
        within_s: how long that may take.
        sends_on: the client may be sending what nobody will read; else its TCP's word is enough.
    """
    with trio.move_on_after(within_s), suppress(*_GONE):
        rest = transport
        try:
            if stream is not transport:
                # TLS says that it ends, too, and closes what it knows of the connection.
                rest = trio.SocketStream(transport.socket.dup())
                await stream.aclose()
            await rest.send_eof()
            await _read_out(rest, sends_on=sends_on)
        finally:
            rest.socket.close()


async def _read_out(rest: trio.SocketStream, *, sends_on: bool) -> None:
    left = _BYTES
    look_s = math.inf if sends_on else _LOOK_S
    while left > 0:
        with trio.move_on_after(look_s) as look:
            data = await rest.receive_some(_PIECE_BYTES)
        if not look.cancelled_caught:
            if not data:
                return
            left -= len(data)
        elif is_acknowledged(rest.socket):
            return
        else:
            look_s *= 2
