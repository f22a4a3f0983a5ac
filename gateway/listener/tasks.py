"""Tasks: a connection's requests, each of which is told when its client has left.

Hypercorn 0.18 puts what comes in into a channel of ten places, the news that the client has left
too: where nobody reads any more, because the request was answered before its end, whoever puts
something there waits for ever. Here the channel is closed at either end instead.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, Scope

_PIECES: Final = 10
_LEFT: Final = {"type": "http.disconnect"}


class Tasks(TaskGroup):
    """The tasks of one connection."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the application on a request; returns what hands its pieces on."""
        pieces_in, pieces_out = trio.open_memory_channel[Any](_PIECES)

        async def receive() -> Any:
            try:
                return await pieces_out.receive()
            except trio.EndOfChannel:
                return _LEFT

        async def put(piece: Any) -> None:
            if piece["type"] == _LEFT["type"]:
                pieces_in.close()
                return
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await pieces_in.send(piece)

        async def run() -> None:
            with pieces_in, pieces_out:
                await _handle(
                    app, config, scope, receive, send, trio.to_thread.run_sync, trio.from_thread.run
                )

        assert self._nursery is not None
        self._nursery.start_soon(run)
        return put
