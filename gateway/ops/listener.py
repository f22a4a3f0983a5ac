"""The ops listener: a port of its own with bounds of its own, on loopback or with mutual TLS.

It shares nothing with the listeners for customers but the event loop: however many of those there
are, an operator finds a place. It opens before the node recovers, so that somebody can ask whether
it has, and closes last. The clerk, who carries out what operators have approved, works beside it.
"""

from typing import Final

import trio

from gateway.console.console import Console
from gateway.front import Port
from gateway.listener.bounds import Bounds
from gateway.listener.connection import everybody
from gateway.listener.listener import Listener
from gateway.listener.tls import MutualTlsFiles
from gateway.ops.clerk import Clerk
from gateway.ops.counter import OpsCounter
from gateway.ops.feed_row import PATH
from gateway.ops.feed_socket import FeedSockets
from gateway.ops.feeds import Feeds
from gateway.web import web_app

BOUNDS: Final = Bounds(requests_max=16, connections_max=64, unproven_s_max=0.5)
"""A dozen consoles and what scrapes; more are not operators. Nobody has to probe a node more often
than twice a second, and a probe that waits longer than that may be given up."""


class OpsListener:
    """Serves operators on a bound socket.

    Args:
        counter: answers.
        feeds: that operators follow.
        clerk: has done what was approved.
        port: where.
        tls: which lets nobody in without a certificate, nor with one that was taken back; None on
            loopback.
    """

    def __init__(
        self,
        counter: OpsCounter,
        feeds: Feeds,
        clerk: Clerk,
        port: Port,
        tls: MutualTlsFiles | None = None,
    ) -> None:
        self.address = port.address
        self._feeds = feeds
        self._clerk = clerk
        self._listener = Listener(
            web_app(Console(counter)),
            port.sock,
            names=port.names,
            bounds=BOUNDS,
            tls=None if tls is None else tls.context,
            admits=everybody if tls is None else tls.admits,
            take_over=FeedSockets(counter).serve,
            streams_at=PATH,
        )
        if tls is not None:
            tls.when_read_again(self._listener.look_again)

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled; started once connections are accepted."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feeds.run)
            await nursery.start(self._clerk.run)
            await self._listener.run(task_status=task_status)
            nursery.cancel_scope.cancel()

    def end_feeds(self) -> None:
        """End all feeds, and let none begin."""
        self._feeds.close()

    async def feeds_over(self) -> None:
        """Wait until whoever followed has been told so."""
        await self._feeds.over()
