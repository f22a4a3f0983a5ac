"""A node that serves for the length of a test, on a free port of loopback, and ways to reach it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import trio

from engine.limits import Limits
from gateway.server import Serving, serve
from storage.folder import Folder
from tests.shards import SHARDS


@asynccontextmanager
async def serving(
    data: Path, limits: Limits | None = None, **options: Any
) -> AsyncIterator[Serving]:
    """Serve a new store in `data`; it is stopped in good order at the end.

    Args:
        options: as for `serve`.
    """
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", 1_767_600_000 * 10**9, shards=SHARDS)
        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                partial(serve, folder, listen="127.0.0.1:0", limits=limits, **options)
            )
            try:
                yield running
            finally:
                running.stop()


async def connect(running: Serving, source: str | None = None) -> trio.SocketStream:
    """Return a connection to the node's listener, from another address of loopback if asked to."""
    host, _, port = host_of(running).decode().rpartition(":")
    return await trio.open_tcp_stream(host, int(port), local_address=source)


def host_of(running: Serving) -> bytes:
    """Return what a request to the node says in Host."""
    return running.address.rpartition("/")[2].encode()


def addressed(running: Serving, request: bytes) -> bytes:
    """Return a raw request, or several, with the node in place of `Host: x`."""
    return request.replace(b"Host: x\r\n", b"Host: " + host_of(running) + b"\r\n")
