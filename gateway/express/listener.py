"""The express listener: one bound socket, its connections, and their orderly end.

It mounts the rows it is given, from the same counter as the other listener. Whatever is asked for
beside them is answered 421 (RFC 9110, section 15.5.20) with the other listener's address: in the
problem document, since the bank's signature covers that and covers no field of the header.
"""

import socket
import ssl
from collections.abc import Iterable

import trio

from gateway.counter import Counter, Place
from gateway.endpoint import Endpoint, Router
from gateway.errors import RequestCode, RequestError
from gateway.express.connection import Connection, House
from gateway.listener.bounds import Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.names import Names
from gateway.listener.upgrade import TakeOver


class ExpressListener:
    """Serves some rows of the handler table on one bound socket.

    Args:
        counter: answers.
        rows: of its table, those that are served here.
        elsewhere: address of the listener that serves all of them.
        bound: a bound stream socket; the listener owns it from now on.
        names: by which clients may address it; their scheme says whether there is TLS.
        bounds: how many clients there may be, and how slow.
        census: where a node's listeners count their connections together.
        tls: the server's context, if connections are encrypted.
        take_over: serves connections that become streams; without, none do.
    """

    def __init__(
        self,
        counter: Counter,
        rows: Iterable[Endpoint],
        elsewhere: str,
        bound: socket.socket,
        *,
        names: Names,
        bounds: Bounds,
        census: Census[Guest],
        tls: ssl.SSLContext | None = None,
        take_over: TakeOver | None = None,
    ) -> None:
        self._counter = counter
        self._rows = Router(rows)
        self._socket = bound
        self._house = House(
            counter,
            self._place,
            RequestError(
                RequestCode.MISDIRECTED_REQUEST, f"served at {elsewhere}", address=elsewhere
            ),
            bounds,
            names,
            census,
            tls,
            take_over,
            trio.Event(),
        )
        self._accepting = trio.CancelScope()

    async def run(
        self,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop_accepting`; started once connections are accepted."""
        self._socket.listen(1024)
        listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(self._socket))]
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(
                    self._serve, listeners, handler_nursery=nursery, task_status=task_status
                )
            for connection in self._house.census:
                connection.retire()

    async def _serve(self, stream: trio.SocketStream) -> None:
        await Connection(self._house, stream).run()

    def _place(self, method: str, path: str) -> Place | None:
        """Return where a request belongs, None where it does not belong here.

        On a path with rows of its own it refuses a method that no listener serves, and says which
        ones there are.
        """
        try:
            return Place(*self._rows.find(method, path))
        except RequestError as error:
            if error.problem.code == RequestCode.NOT_FOUND:
                return None
        place = self._counter.place(method, path)
        return place if place.endpoint is None else None

    def stop_accepting(self) -> None:
        """Take no new connection; `run` returns when those that are there have closed.

        What is still answered says that its connection closes.
        """
        self._house.closing = True
        self._accepting.cancel()

    def hang_up(self) -> None:
        """Close all connections that are still there."""
        for connection in self._house.census:
            connection.hang_up()

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte."""
        await trio.lowlevel.checkpoint()
        while self._house.active:
            self._house.quiet = trio.Event()
            await self._house.quiet.wait()
