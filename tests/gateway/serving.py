"""A node that serves for the length of a test, on a free port of loopback, and ways to reach it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import trio

from engine.limits import Limits
from gateway.server import Serving, serve
from storage.folder import Folder
from tests.shards import SHARDS


@asynccontextmanager
async def serving(data: Path, limits: Limits | None = None) -> AsyncIterator[Serving]:
    """Serve a new store in `data`; it is stopped in good order at the end."""
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", 1_767_600_000 * 10**9, shards=SHARDS)
        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                partial(serve, folder, listen="127.0.0.1:0", limits=limits)
            )
            try:
                yield running
            finally:
                running.stop()


async def connect(running: Serving) -> trio.SocketStream:
    """Return a connection to the node's listener."""
    host, _, port = running.address.removeprefix("http://").rpartition(":")
    return await trio.open_tcp_stream(host, int(port))
