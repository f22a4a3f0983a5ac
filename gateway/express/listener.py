"""The express listener: one bound socket, its connections, and their orderly end.

It mounts the rows it is given, from the same counter as the other listener. Whatever is asked for
beside them is answered 421 (RFC 9110, section 15.5.20) with the other listener's address: in the
problem document, since the bank's signature covers that and covers no field of the header.
"""

import math
import socket
import ssl
from collections.abc import Iterable
from typing import Final

import trio

from gateway.counter import Counter, Place
from gateway.endpoint import Endpoint, Router
from gateway.errors import RequestCode, RequestError
from gateway.express.connection import Connection, House
from gateway.listener.accepting import BACKLOG, accept
from gateway.listener.bounds import Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.names import Names
from gateway.listener.upgrade import TakeOver

_LOOKS: Final = 20
"""How often it is looked who is late at the most, within the shortest of all times."""
_LATE_AT_A_TIME: Final = 8
"""How many of them are told so before others have their turn: thousands may be late together."""


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
            set(),
            trio.Event(),
        )
        self._accepting = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop_accepting`; started once connections are accepted."""
        self._socket.setblocking(False)
        self._socket.listen(BACKLOG)

        def welcome(sock: socket.socket, host: str) -> None:
            nursery.start_soon(Connection(self._house, sock).run, host)

        async with trio.open_nursery() as watching:
            watching.start_soon(self._watch)
            async with trio.open_nursery() as nursery:
                with self._accepting:
                    task_status.started()
                    await accept(self._socket, welcome, self._house.census.make_room)
                self._socket.close()
                for connection in list(self._house.connections):
                    connection.retire()
            watching.cancel_scope.cancel()

    async def _watch(self) -> None:
        """Give up what is late.

        Whatever begins to be waited for after a look has the shortest of all times at least, so
        that nothing is late before the next look but what was seen in this one.
        """
        bounds = self._house.bounds
        shortest = min(bounds.hello_s, bounds.head_s, bounds.body_s, bounds.keep_alive_s)
        while True:
            now = trio.current_time()
            following = min(await self._give_up_late(now), now + shortest)
            # Many that are late one after the other are looked at together.
            await trio.sleep_until(max(following, now + shortest / _LOOKS))

    async def _give_up_late(self, now: float) -> float:
        """Give up what is late, and return when the next of the others will be."""
        following = math.inf
        late = []
        for connection in self._house.connections:
            if connection.until <= now:
                late.append(connection)
            else:
                following = min(following, connection.until)
        for number, connection in enumerate(late, 1):
            if connection.until <= now:  # it may have gone on meanwhile
                connection.give_up()
            if not number % _LATE_AT_A_TIME:
                await trio.lowlevel.checkpoint()
        return following

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
        for connection in list(self._house.connections):
            connection.hang_up()

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte."""
        await trio.lowlevel.checkpoint()
        while self._house.active:
            self._house.quiet = trio.Event()
            await self._house.quiet.wait()
