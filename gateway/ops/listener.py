"""The ops listener: a port of its own on loopback, with bounds of its own.

It shares nothing with the listeners for customers but the event loop: however many of those there
are, an operator finds a place. It opens before the node recovers, so that somebody can ask whether
it has, and closes last.
"""

from typing import Final

import trio

from gateway.front import Port
from gateway.listener.bounds import Bounds
from gateway.listener.listener import Listener
from gateway.ops.counter import OpsCounter
from gateway.web import web_app

BOUNDS: Final = Bounds(requests_max=16, connections_max=64)
"""A dozen consoles and what scrapes; more are not operators."""


class OpsListener:
    """Serves operators on a bound socket.

    Args:
        counter: answers.
        port: where.
    """

    def __init__(self, counter: OpsCounter, port: Port) -> None:
        self.address = port.address
        self._listener = Listener(web_app(counter), port.sock, names=port.names, bounds=BOUNDS)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; started once connections are accepted."""
        await self._listener.run(task_status=task_status)
