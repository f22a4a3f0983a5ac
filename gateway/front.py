"""The front of a node: its ports, and the listeners on them, which open and end together.

One serves everything, on Hypercorn; where it is wanted another serves the rows that are asked for
most (`gateway.express`), from the same counter. They count their connections together: what is
bounded is the node's memory and its open files, whichever way they go.
"""

import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from socket import socket

import trio
from msgspec import Struct

from gateway.counter import Counter
from gateway.express.listener import ExpressListener
from gateway.listener.address import (
    ListenError,
    authority,
    bound,
    check_ops_address,
    default_names,
)
from gateway.listener.bounds import Bounds
from gateway.listener.census import Census, Guest
from gateway.listener.listener import Listener
from gateway.listener.names import Names, at_port, canonical, named
from gateway.stream.bounds import StreamBounds
from gateway.stream.streams import Streams
from gateway.table import HOT
from gateway.web import keeps_body, web_app


class Port(Struct, frozen=True):
    """A bound socket, not listening yet.

    Attributes:
        names: by which clients may address it.
        address: where it is, for example `https://127.0.0.1:8443`.
        called: what clients are told of where it is: its first name, if it was given any.
    """

    sock: socket
    names: Names
    address: str
    called: str


class Ports(Struct, frozen=True):
    """The ports of a node; `express` and `ops` are None where there are no such listeners."""

    main: Port
    express: Port | None
    ops: Port | None = None


@contextmanager
def ports(
    listen: str,
    express_listen: str | None,
    names: Sequence[str],
    scheme: str,
    *,
    anywhere: bool,
    ops_listen: str | None = None,
    ops_hosts: Sequence[str] | None = None,
) -> Iterator[Ports]:
    """Bind a node's ports, and close them in the end.

    Args:
        listen: HOST:PORT for everything.
        express_listen: for the express listener, which goes by the same hosts with its own port.
        names: HOST or HOST:PORT each, none for the addresses themselves.
        anywhere: take any address, not only loopback.
        ops_listen: for the ops listener, which goes by its own address.
        ops_hosts: by which it goes too, where there is mutual TLS for it: those that its
            certificate is for. None for no TLS; then it is on loopback.

    Raises:
        ListenError: see there.
    """
    with ExitStack() as stack:
        sock = stack.enter_context(bound(listen, anywhere=anywhere))
        main, express, ops = _port(sock, names, scheme), None, None
        if express_listen is not None:
            sock = stack.enter_context(bound(express_listen, anywhere=anywhere))
            express = _port(sock, at_port(names, sock.getsockname()[1]), scheme)
        if ops_listen is not None:
            check_ops_address(ops_listen, encrypted=ops_hosts is not None)
            sock = stack.enter_context(bound(ops_listen, anywhere=True))
            ops = _port(sock, (), "http") if ops_hosts is None else _mutual_port(sock, ops_hosts)
        yield Ports(main, express, ops)


def _port(sock: socket, names: Sequence[str], scheme: str) -> Port:
    own = authority(sock)
    called = names[0] if names else own
    return Port(
        sock,
        named(names or default_names(sock), scheme),
        f"{scheme}://{own}",
        f"{scheme}://{called}",
    )


def _mutual_port(sock: socket, hosts: Sequence[str]) -> Port:
    """Return the port of an ops listener with mutual TLS.

    Raises:
        ListenError: nobody could address it.
    """
    try:
        own = default_names(sock)
    except ListenError:
        own = ()  # it listens on every address there is, and nobody calls it by that
    port = sock.getsockname()[1]
    # A wildcard is no name; whoever is addressed by one of its names has it written out.
    usable = [each for each in hosts if canonical(each, "https") is not None]
    if not own and not usable:
        raise ListenError(
            f"--ops-listen {authority(sock)}: an address for all needs hosts in --ops-cert "
            "(subject alternative names)"
        )
    return _port(sock, (*own, *at_port(usable, port)), "https")


class Front:
    """The listeners on a node's ports.

    Args:
        ports: whose sockets are listened on from now on, but for ops'.
        counter: answers.
        bounds: how many clients there may be, and how slow.
        tls: the server's context, if connections are encrypted.
        stream_bounds: of streams; by default they take three quarters of the connections at most.

    Attributes:
        census: the connections that there are.
    """

    def __init__(
        self,
        ports: Ports,
        counter: Counter,
        bounds: Bounds,
        tls: ssl.SSLContext | None,
        stream_bounds: StreamBounds | None = None,
    ) -> None:
        self.census: Census[Guest] = Census(bounds)
        self._over = trio.Event()
        most = bounds.connections() * 3 // 4
        self._streams = Streams(counter, stream_bounds or StreamBounds(streams_max=most))
        main = ports.main
        self._listeners: list[Listener | ExpressListener] = [
            Listener(
                web_app(counter),
                main.sock,
                names=main.names,
                bounds=bounds,
                tls=tls,
                keeps=keeps_body(counter),
                census=self.census,
                take_over=self._streams.serve,
            )
        ]
        if ports.express is not None:
            self._listeners.append(
                ExpressListener(
                    counter,
                    HOT,
                    main.called,
                    ports.express.sock,
                    names=ports.express.names,
                    bounds=bounds,
                    census=self.census,
                    tls=tls,
                    take_over=self._streams.serve,
                )
            )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop_accepting`; started once connections are accepted."""
        async with trio.open_nursery() as beside:
            beside.start_soon(self._streams.run)
            async with trio.open_nursery() as nursery:
                for listener in self._listeners:
                    await nursery.start(listener.run)
                task_status.started()
            beside.cancel_scope.cancel()
        self._over.set()

    def stop_accepting(self) -> None:
        """Take no new connection; `run` returns when those that are there have closed.

        What is still answered says that its connection closes, so that nobody sends on it what
        nobody would read. Streams close once what they have begun is answered.
        """
        self._streams.close()
        for listener in self._listeners:
            listener.stop_accepting()

    async def over(self) -> None:
        """Wait until every connection has closed, after `stop_accepting`."""
        await self._over.wait()

    def hang_up(self) -> None:
        """Close all connections that are still there."""
        for listener in self._listeners:
            listener.hang_up()

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte.

        That includes those on streams, which are closed for it.
        """
        self._streams.close()
        for listener in self._listeners:
            await listener.quiet()
        await self._streams.gone()
