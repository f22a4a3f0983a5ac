"""A connection's requests: pieces are handed on, and nobody waits for one who does not read."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.task_group import TaskGroup

from gateway.listener.tasks import Tasks

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

PIECE: Any = {"type": "http.request", "body": b" ", "more_body": True}
LEFT: Any = {"type": "http.disconnect"}


async def _put(tasks: TaskGroup, read: int) -> list[Any]:
    """Put 20 pieces and the end to an application that reads so many; return what it has read."""
    heard: list[Any] = []

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        while len(heard) < read:
            heard.append(await receive())

    async def send(message: Any) -> None:
        assert message is None

    async with tasks:
        scope: Any = {"type": "http"}
        put = await tasks.spawn_app(ASGIWrapper(app), Config(), scope, send)
        for _ in range(20):
            await put(PIECE)
        await put(LEFT)
        await put(LEFT)
    return heard


async def test_pieces_come_in_order_and_then_that_the_client_has_left() -> None:
    assert await _put(Tasks(), 22) == [PIECE] * 20 + [LEFT] * 2


@pytest.mark.parametrize("read", [0, 1, 15])
async def test_nobody_waits_for_an_application_that_has_ended(read: int) -> None:
    """Where nobody reads, Hypercorn's own waits for ever: with the eleventh piece."""
    with trio.fail_after(1):
        assert await _put(Tasks(), read) == [PIECE] * read
    with trio.move_on_after(0.05) as patience:
        await _put(TaskGroup(), read)
    assert patience.cancelled_caught is (read < 12)
