"""The listener: Hypercorn's protocol stack on sockets of our own, one client at a time contained.

Stock Hypercorn 0.18 on Trio lets one client end the process: a byte after a WebSocket upgrade
(its issue 225), or an HTTP/2 clear-text client that leaves mid-stream. So each connection runs
inside a wrapper that ends that connection alone, the HTTP/2 preface is refused, and requests to
upgrade are served as if they had not asked (RFC 9110, section 7.8).
"""

import logging
import socket
from collections import deque
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

from engine.fault import NODE_BUSY
from gateway.answer import Answer, encode, failed
from gateway.endpoint import BODY_S
from gateway.errors import RequestCode, faulted, problem
from gateway.patience import PATIENCE, Patience

log = logging.getLogger("piaohao.gateway")

KEEP_ALIVE_S: Final = 75.0
SEND_S: Final = 30.0
HEADER_BYTES: Final = 16 << 10
DRAIN_S: Final = 3.0
REQUESTS_MAX: Final = 128
"""Requests that are taken on at a time: a quarter of a second's work for this stack."""
_RECEIVE_BYTES: Final = 1 << 16
GATHERED_BYTES: Final = 1 << 20
_BUSY: Final = failed(faulted(NODE_BUSY))
_LATE: Final = failed(problem(RequestCode.BODY_TIMEOUT))

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
        self._patience = Patience()

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

    async def _close(self) -> None:
        """Close it after what is being sent: a client that sends on must not disturb that."""
        async with self.send_lock:
            await super()._close()

    async def _serve(self) -> None:
        sock = self.stream.socket
        async with TaskGroup() as task_group:
            self._task_group = task_group
            protocol: Any = _Http1(
                self.app,
                self.config,
                self.context,
                task_group,
                ConnectionState({PATIENCE: self._patience}),
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

    async def _read_data(self) -> None:
        data = b"more"
        while data:
            try:
                data = bytes(await self.stream.receive_some(_RECEIVE_BYTES))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            await self._patience.wait()
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())


class Listener:
    """Serves an ASGI application on one bound socket.

    Args:
        app: the application.
        bound: a bound stream socket; the listener owns it from now on.
    """

    def __init__(self, app: Application, bound: socket.socket) -> None:
        self._active = 0
        self._taken = 0
        self._stopping = False
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
        """Take no new connection; `run` returns when those that are there have closed.

        What is still answered says that its connection closes (RFC 9112, section 9.6), so that
        nobody sends on it what nobody would read.
        """
        self._stopping = True
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
        async def send_or_last(message: Any) -> None:
            if self._stopping and message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        self._active += 1
        try:
            await self._placed(scope, receive, send_or_last)
        finally:
            self._active -= 1
            if not self._active:
                self._quiet.set()

    async def _placed(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request in one of the places, once it is there as a whole, or refuse it.

        While it is on its way it has none: a few slow senders would shut out everybody else.
        """
        request = _Request(receive)
        with trio.move_on_after(BODY_S) as patience:
            await request.gather()
        if patience.cancelled_caught:
            await _answer(send, _LATE)
        elif self._taken >= REQUESTS_MAX or scope["state"][PATIENCE].spent:
            scope["state"][PATIENCE].refused(NODE_BUSY.retry_after_s or 0)
            await _answer(send, _BUSY)
        else:
            self._taken += 1
            try:
                await self._app(scope, request.receive, send)
            finally:
                self._taken -= 1


class _Request:
    """What has come in of a request; the application receives it all, from the first piece on."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._pieces: deque[Any] = deque()

    async def gather(self) -> None:
        """Wait until it is there as a whole; what is too large is left to the application."""
        size = 0
        more = True
        while more and size <= GATHERED_BYTES:
            message = await self._receive()
            self._pieces.append(message)
            size += len(message.get("body", b""))
            more = message.get("more_body", False)

    async def receive(self) -> Any:
        """See ASGI."""
        return self._pieces.popleft() if self._pieces else await self._receive()


async def _answer(send: Any, answer: Answer) -> None:
    body = encode(answer.body)
    headers = {**answer.headers(), "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
