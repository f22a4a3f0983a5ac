"""A listener: one bound socket, the connections that it has accepted, and their orderly end."""

import logging
import socket
import ssl

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from gateway.listener.accepting import BACKLOG, accept
from gateway.listener.bounds import Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.connection import Admits, Connection, House, everybody
from gateway.listener.names import Names
from gateway.listener.places import GATHERED_BYTES, Application, Keeps, Places
from gateway.listener.upgrade import TakeOver
from gateway.stream.handshake import PATH

log = logging.getLogger("piaohao.gateway")

DRAIN_S = 3.0
"""How long what is answered last has to reach its client, in seconds."""


class Listener:
    """Serves an ASGI application on one bound socket.

    Args:
        app: the application.
        bound: a bound stream socket; the listener owns it from now on.
        names: by which clients may address it; their scheme says whether there is TLS.
        bounds: how many clients there may be, and how slow.
        tls: the server's context, if connections are encrypted.
        admits: says whether a client is heard that has shown this certificate (DER), or none.
        keeps: how much of a body is kept as it comes in (`gateway.listener.places`).
        census: where a node's listeners count their connections together.
        take_over: serves connections that become streams; without, none do.
        streams_at: the path where they do.
    """

    def __init__(
        self,
        app: Application,
        bound: socket.socket,
        *,
        names: Names,
        bounds: Bounds,
        tls: ssl.SSLContext | None = None,
        admits: Admits = everybody,
        keeps: Keeps = lambda _: GATHERED_BYTES,
        census: Census[Guest] | None = None,
        take_over: TakeOver | None = None,
        streams_at: str = PATH,
    ) -> None:
        config = Config()
        config.errorlog = log
        config.include_server_header = False
        config.keep_alive_max_requests = 1_000_000
        config.h11_max_incomplete_size = bounds.head_bytes
        self._socket = bound
        self._places = Places(app, bounds, keeps)
        self._connections: set[Connection] = set()
        self._house = House(
            ASGIWrapper(self._places),
            config,
            WorkerContext(None),
            bounds,
            names,
            Census(bounds) if census is None else census,
            tls,
            admits,
            take_over,
            streams_at,
        )
        self._accepting = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop_accepting`; started once connections are accepted."""
        self._socket.setblocking(False)
        self._socket.listen(BACKLOG)

        def welcome(sock: socket.socket, _: str) -> None:
            sock.setblocking(False)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            nursery.start_soon(self._serve, stream)

        async with trio.open_nursery() as nursery:
            with self._accepting:
                task_status.started()
                await accept(self._socket, welcome, self._house.census.make_room)
            self._socket.close()
            # Idle connections close at once, the others after the answer they wait for.
            await self._house.context.terminated.set()
            for connection in list(self._connections):
                connection.retire()

    async def _serve(self, stream: trio.SocketStream) -> None:
        connection = Connection(self._house, stream)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    def stop_accepting(self) -> None:
        """Take no new connection; `run` returns when those that are there have closed.

        What is still answered says that its connection closes, so that nobody sends on it what
        nobody would read.
        """
        self._places.close()
        self._accepting.cancel()

    def hang_up(self) -> None:
        """Close all connections that are still there."""
        for connection in list(self._connections):
            connection.hang_up()

    def look_again(self) -> None:
        """Close the connections of clients that are not admitted any more."""
        for connection in list(self._connections):
            if not connection.admitted():
                connection.hang_up()

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte."""
        await self._places.quiet()
