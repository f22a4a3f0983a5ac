"""The ops listener: a port of its own on loopback, with bounds of its own.

It shares nothing with the listeners for customers but the event loop: however many of those there
are, an operator finds a place. It opens before the node recovers, so that somebody can ask whether
it has, and closes last. The clerk, who carries out what operators have approved, works beside it.
"""

from typing import Final

import trio

from gateway.front import Port
from gateway.listener.bounds import Bounds
from gateway.listener.listener import Listener
from gateway.ops.clerk import Clerk
from gateway.ops.counter import OpsCounter
from gateway.web import web_app

BOUNDS: Final = Bounds(requests_max=16, connections_max=64)
"""A dozen consoles and what scrapes; more are not operators."""


class OpsListener:
    """Serves operators on a bound socket.

    Args:
        counter: answers.
        port: where.
        clerk: has done what was approved.
    """

    def __init__(self, counter: OpsCounter, port: Port, clerk: Clerk) -> None:
        self.address = port.address
        self._clerk = clerk
        self._listener = Listener(web_app(counter), port.sock, names=port.names, bounds=BOUNDS)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; started once connections are accepted."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._clerk.run)
            await self._listener.run(task_status=task_status)
