"""The wire: bytes to and from one client, over a Trio stream or past it.

Without TLS the socket is asked directly, since Trio's stream gives way to other tasks after every
call, and a time-out of its own costs as much again: 45 µs a request, each measured alone. What
cannot be sent at once takes the stream's way, and its time.
"""

import ssl
from socket import socket
from typing import Final

import trio

from gateway.listener.parting import part
from gateway.listener.tls import Stream, shake_hands

RECEIVE_BYTES: Final = 1 << 16
GONE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Wire:
    """One client's connection.

    Args:
        sock: as it was accepted.

    Attributes:
        stream: the same for whoever takes over: encrypted once both have shaken hands.
    """

    __slots__ = ("_bare", "_parting", "_socket_stream", "stream")

    def __init__(self, sock: socket) -> None:
        sock.setblocking(False)
        # Trio closes this very object, so that its number is never another connection's here.
        self._bare: socket | None = sock
        self._socket_stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        self.stream: Stream = self._socket_stream
        self._parting = trio.CancelScope()

    @property
    def encrypted(self) -> bool:
        """Whether both have shaken hands."""
        return self._bare is None

    async def encrypt(self, context: ssl.SSLContext, within_s: float) -> bool:
        """Shake hands; returns whether that was in time.

        Raises:
            trio.BrokenResourceError: the client left, speaks no TLS, or none of ours.
        """
        encrypted = await shake_hands(self._socket_stream, context, within_s)
        if encrypted is None:
            return False
        self.stream, self._bare = encrypted, None
        return True

    async def receive(self) -> bytes:
        """Return what comes in next, nothing if the client has left; always a checkpoint."""
        try:
            if self._bare is None:
                return bytes(await self.stream.receive_some(RECEIVE_BYTES))
            while True:
                await trio.lowlevel.wait_readable(self._bare)
                try:
                    return self._bare.recv(RECEIVE_BYTES)
                except BlockingIOError:
                    continue
        except GONE:
            return b""

    async def send(self, data: bytes, within_s: float) -> bool:
        """Send all of it; returns whether the client has taken it in time."""
        try:
            if self._bare is not None:
                try:
                    sent = self._bare.send(data)
                except BlockingIOError:
                    sent = 0
                data = data[sent:]
                if not data:
                    return True
            with trio.move_on_after(within_s):
                await self.stream.send_all(data)
                return True
        except GONE:
            pass
        return False

    async def part(self, within_s: float, *, sends_on: bool) -> None:
        """Close it in good order; see `gateway.listener.parting`."""
        with self._parting:
            await part(self.stream, self._socket_stream, within_s, sends_on=sends_on)

    def hang_up(self) -> None:
        """Close it at once; whoever waits for it finds out."""
        self._socket_stream.socket.close()
        self._parting.cancel()
