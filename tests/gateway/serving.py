"""A node that serves for the length of a test, on a free port of loopback, and ways to reach it."""

import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec
import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace

from engine.limits import Limits
from gateway.server import Serving, serve
from storage.folder import Folder
from tests.shards import SHARDS

GOOD: Final = (
    b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n[]"
)
"""A request that costs nothing and goes well at either door."""
BODY: Final = b'[{"command":"open_merchant","merchant_no":"M1","currency":"USD"}]'
OPEN_MERCHANT: Final = (
    b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
)
"""One that waits for a commit."""

Door = Literal["main", "express"]
"""A node's listeners: that for everything, and that for what is asked for most."""


@asynccontextmanager
async def serving(
    data: Path, limits: Limits | None = None, *, door: Door = "main", **options: Any
) -> AsyncIterator[Serving]:
    """Serve a new store in `data`; it is stopped in good order at the end.

    Args:
        door: whose address is the node's in what is yielded.
        options: as for `serve`.
    """
    if door == "express":
        options["express_listen"] = "127.0.0.1:0"
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", 1_767_600_000 * 10**9, shards=SHARDS)
        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                partial(serve, folder, listen="127.0.0.1:0", limits=limits, **options)
            )
            try:
                yield through(running, door)
            finally:
                running.stop()


def through(running: Serving, door: Door) -> Serving:
    """Return the node with one door's address as its own."""
    if door == "main":
        return running
    assert running.express_address is not None
    return replace(running, address=running.express_address)


class Addressed(Protocol):
    """A node that has an address, in this process or another."""

    @property
    def address(self) -> str: ...


async def connect(running: Addressed, source: str | None = None) -> trio.SocketStream:
    """Return a connection to the node's listener, from another address of loopback if asked to."""
    host, _, port = host_of(running).decode().rpartition(":")
    return await trio.open_tcp_stream(host, int(port), local_address=source)


async def connect_tls(
    running: Serving, context: ssl.SSLContext
) -> trio.SSLStream[trio.SocketStream]:
    """Return an encrypted connection to the node's listener; both have shaken hands."""
    stream = trio.SSLStream(await connect(running), context, server_hostname="localhost")
    try:
        await stream.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return stream


def host_of(running: Addressed) -> bytes:
    """Return what a request to the node says in Host."""
    return running.address.rpartition("/")[2].encode()


def addressed(running: Serving, request: bytes) -> bytes:
    """Return a raw request, or several, with the node in place of `Host: x`."""
    return request.replace(b"Host: x\r\n", b"Host: " + host_of(running) + b"\r\n")


class RawAnswer(Struct, frozen=True):
    """One answer, read from a stream; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of the problem that it is."""
        assert self.headers["content-type"] == "application/problem+json"
        code: str = msgspec.json.decode(self.body)["code"]
        return code


async def read_answer(stream: trio.abc.Stream, *, bodiless: bool = False) -> RawAnswer:
    """Return the next answer that comes in; nothing may come with it."""
    received = b""
    with trio.fail_after(20):
        while b"\r\n\r\n" not in received:
            received += await _some(stream)
        head, _, body = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        length = 0 if bodiless else int(headers["content-length"])
        while len(body) < length:
            body += await _some(stream)
    assert len(body) == length
    return RawAnswer(int(line.split()[1]), headers, body)


async def _some(stream: trio.abc.Stream) -> bytes:
    data = bytes(await stream.receive_some(1 << 16))
    assert data, "the connection was closed"
    return data


async def until_closed(stream: trio.abc.Stream) -> bytes:
    """Return everything that comes in until the node closes the connection."""
    received = b""
    with trio.fail_after(20), suppress(trio.BrokenResourceError):  # reset: gone all the same
        while data := bytes(await stream.receive_some(1 << 16)):
            received += data
    return received


@asynccontextmanager
async def no_task_is_left() -> AsyncIterator[None]:
    """What begins within this has ended soon after it: as many tasks are there as before."""
    before = trio.lowlevel.current_statistics().tasks_living
    yield
    with trio.fail_after(10):
        while trio.lowlevel.current_statistics().tasks_living != before:
            await trio.testing.wait_all_tasks_blocked(0.01)


async def reset(stream: trio.SocketStream) -> None:
    """Leave without a word: what is on its way is lost."""
    linger = struct.pack("ii", 1, 0)
    stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
    await trio.aclose_forcefully(stream)
