"""The listener: Hypercorn's protocol stack on sockets of our own, one client at a time contained.

Stock Hypercorn 0.18 on Trio lets one client end the process: a byte after a WebSocket upgrade
(its issue 225), or an HTTP/2 clear-text client that leaves mid-stream. So each connection runs
inside a wrapper that ends that connection alone, the HTTP/2 preface is refused, and requests to
upgrade are served as if they had not asked (RFC 9110, section 7.8).
"""

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import h11
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

log = logging.getLogger("piaohao.gateway")

KEEP_ALIVE_S: Final = 75.0
SEND_S: Final = 30.0
HEADER_BYTES: Final = 16 << 10
DRAIN_S: Final = 3.0

Application = Callable[[Any, Any, Any], Awaitable[None]]


class _PrefaceError(Exception):
    """The client began to speak HTTP/2 in clear text."""


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing that it could be upgraded to."""

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        except _PrefaceError:
            await self._send_error_response(505)
            await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI":
            raise _PrefaceError

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=headers,
                http_version=request.http_version,
            )
        )


class _Connection(TCPServer):
    """One client's connection; whatever goes wrong in it ends it, and nothing else.

    Args:
        open_: the listener's connections, of which this is one while it runs.
        details: as for Hypercorn's own.
    """

    def __init__(self, open_: "set[_Connection]", *details: Any) -> None:
        super().__init__(*details)
        self._open = open_

    async def run(self) -> None:
        self._open.add(self)
        try:
            await self._serve()
        except* trio.Cancelled:
            raise
        except* OSError:
            pass
        except* Exception as errors:
            log.warning("a connection was ended: %r", errors.exceptions)
        finally:
            self._open.discard(self)
            self.hang_up()

    def hang_up(self) -> None:
        """Close the socket at once; whoever waits for it finds out."""
        self.stream.socket.close()

    async def protocol_send(self, event: Event) -> None:
        # Quart cancels what it sends as soon as it has heard that the request is over, and so
        # used to cancel the closing of the connection: the client waited for ever.
        if isinstance(event, RawData):
            await self._send(event.data)
        else:
            with trio.CancelScope(shield=True):
                await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """Send all of it, or hang up on a client that does not read."""
        scope = trio.CancelScope(shield=True, relative_deadline=SEND_S)
        async with self.send_lock:
            try:
                with scope:
                    await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                await self.protocol.handle(Closed())
            if scope.cancelled_caught:
                self.hang_up()

    async def _serve(self) -> None:
        sock = self.stream.socket
        async with TaskGroup() as task_group:
            self._task_group = task_group
            protocol: Any = _Http1(
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState(self.state),
                False,
                parse_socket_addr(sock.family, sock.getpeername()),
                parse_socket_addr(sock.family, sock.getsockname()),
                self.protocol_send,
            )
            self.protocol = protocol
            await protocol.initiate()
            await self.idle_task.restart(task_group, self._idle_timeout)
            await self._read_data()
        await self._close()


class Listener:
    """Serves an ASGI application on one bound socket.

    Args:
        app: the application.
        bound: a bound stream socket; the listener owns it from now on.
    """

    def __init__(self, app: Application, bound: socket.socket) -> None:
        self._active = 0
        self._quiet = trio.Event()
        self._app = app
        self._socket = bound
        self._context = WorkerContext(None)
        self._accepting = trio.CancelScope()
        self._open: set[_Connection] = set()

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop_accepting`; started once connections are accepted."""
        config = Config()
        config.errorlog = log
        config.include_server_header = False
        config.keep_alive_timeout = KEEP_ALIVE_S
        config.keep_alive_max_requests = 1_000_000
        config.h11_max_incomplete_size = HEADER_BYTES
        self._socket.listen(1024)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))]
        connection = partial(
            _Connection,
            self._open,
            ASGIWrapper(self._counted),
            config,
            self._context,
            ConnectionState({}),
        )
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(
                    connection, listeners, handler_nursery=nursery, task_status=task_status
                )
            # Idle connections close at once, the others after the answer they wait for.
            await self._context.terminated.set()

    def stop_accepting(self) -> None:
        """Take no new connection; `run` returns when those that are there have closed."""
        self._accepting.cancel()

    def hang_up(self) -> None:
        """Close all connections that are still there."""
        for connection in list(self._open):
            connection.hang_up()

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte."""
        await trio.lowlevel.checkpoint()
        while self._active:
            self._quiet = trio.Event()
            await self._quiet.wait()

    async def _counted(self, scope: Any, receive: Any, send: Any) -> None:
        self._active += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._active -= 1
            if not self._active:
                self._quiet.set()
