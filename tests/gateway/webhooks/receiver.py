"""A merchant's server: takes webhooks over real sockets, with TLS, and does what a test wants.

It checks each signature as docs/WEBHOOKS.md says, so what it has taken was the bank's.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio
from msgspec import Struct

from actors.answers import WebhookEvent


class Taken(Struct):
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> WebhookEvent:
        return msgspec.json.decode(self.body, type=WebhookEvent)

    @property
    def sequence(self) -> int:
        return self.event.event.sequence


Behave = Callable[[Taken, trio.abc.Stream], Awaitable[bool]]
"""Answers a request; returns whether the connection goes on."""


def answer(status: int, *headers: str, body: bytes = b"") -> Behave:
    """Return what answers each request in the same way."""

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        lines = [f"HTTP/1.1 {status} Answered", f"Content-Length: {len(body)}", *headers, "", ""]
        await stream.send_all("\r\n".join(lines).encode() + body)
        return True

    return behave


class Receiver:
    """A server for the length of a test.

    Attributes:
        taken: all requests, in the order in which they have come in whole.
        behave: how they are answered.
        connections: how many there have been.
        most: how many requests have been there at the same time, at most.
        port: where it listens, on 127.0.0.1.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.taken: list[Taken] = []
        self.behave: Behave = answer(200)
        self.connections = 0
        self.most = 0
        self.port = 0
        self._now = 0
        self._tls = tls
        self._came = trio.Event()

    def url(self, path: str = "/hook", host: str = "localhost") -> str:
        """Return the URL of a path here."""
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}{path}"

    @property
    def sequences(self) -> list[int]:
        """Return the events that have come, repetitions too."""
        return [each.sequence for each in self.taken]

    async def until(self, happened: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until something holds; it is looked at whenever a request has come."""
        with trio.fail_after(within_s):
            while not happened():
                self._came = trio.Event()
                await self._came.wait()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve; started once it listens."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1")
            (listener, *_) = await nursery.start(serve)
            self.port = listener.socket.getsockname()[1]
            task_status.started()

    async def _serve(self, tcp: trio.SocketStream) -> None:
        self.connections += 1
        stream: trio.abc.Stream = tcp
        if self._tls is not None:
            stream = trio.SSLStream(tcp, self._tls, server_side=True, https_compatible=True)
        try:
            while (taken := await _read(stream)) is not None:
                self._now += 1
                self.most = max(self.most, self._now)
                try:
                    self.taken.append(taken)
                    self._came.set()
                    if not await self.behave(taken, stream):
                        return
                finally:
                    self._now -= 1
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)


async def _read(stream: trio.abc.Stream) -> Taken | None:
    received = b""
    while b"\r\n\r\n" not in received:
        more = await stream.receive_some(1 << 16)
        if not more:
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
    while len(body) < int(headers["content-length"]):
        body += await stream.receive_some(1 << 16)
    return Taken(line.split(" ")[1], headers, body)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver; what is under way when it ends is broken off."""
    receiver = Receiver(tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(receiver.run)
        yield receiver
        nursery.cancel_scope.cancel()
