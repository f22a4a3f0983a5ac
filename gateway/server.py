"""A node that serves: engine, HTTP listener and control socket in one nursery.

`serve` is what `piaohao serve` runs, and what any program runs that wants a node in its own
process. It binds to loopback only, until requests are signed.
"""

import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import trio
from msgspec import Struct

from actors.kinds import KINDS
from engine.clock import Clock, DomainClock, WallClock
from engine.limits import Limits
from engine.node import Node
from engine.shard import ShardFailedError
from gateway.control import ControlSocket
from gateway.counter import Counter
from gateway.desk import ClockKind, Desk
from gateway.endpoint import Router
from gateway.exits import INPUT, CommandError
from gateway.failstop import FailStop, end_soon
from gateway.listener import DRAIN_S, Listener
from gateway.table import ENDPOINTS
from gateway.web import web_app
from storage.folder import Folder

DEFAULT_LISTEN: Final = "127.0.0.1:8080"


class ListenError(CommandError):
    """The address to listen on is not one, is not loopback, or is taken."""

    def __init__(self, detail: str) -> None:
        super().__init__(INPUT, detail)


class Serving(Struct, frozen=True):
    """A node that is up.

    Attributes:
        address: where it listens, for example `http://127.0.0.1:8080`.
        node: the engine, for programs that have it in-process.
        stop: begins the orderly end: what was admitted is finished, then `serve` returns.
    """

    address: str
    node: Node
    stop: Callable[[], None]


async def serve(
    folder: Folder,
    *,
    listen: str = DEFAULT_LISTEN,
    clock: ClockKind = "wall",
    timeout_s: float = 10.0,
    limits: Limits | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the store in a folder until stopped: `serving = await nursery.start(serve, folder)`.

    Returns once everything admitted has been answered and the store is closed clean. If a
    commit fails the whole process ends with code 74 (`gateway.failstop`). Cancelling ends it
    at once, as a crash would: safe, but the next start recovers with caution.

    Args:
        folder: locked by the caller, who closes it afterwards; it must hold a store.
        listen: loopback address and port; port 0 takes a free one.
        clock: `wall`, or `domain`, which stands where the store's last commit left it until
            commands move it.
        timeout_s: what a caller waits who says nothing about it.
        limits: bounds of each shard.

    Raises:
        ListenError: see there.
        StorageError: the store cannot be used.
    """
    with bound(listen) as sock:
        stores = folder.open()
        clean = False
        try:
            for store in stores:
                store.begin_epoch()
            start: Clock = DomainClock(0) if clock == "domain" else WallClock()
            failstop = FailStop()
            node = Node(stores, KINDS, start, limits, failstop.begin)
            desk = Desk(node, timeout_s)
            listener = Listener(web_app(Counter(desk, Router(ENDPOINTS))), sock)
            control = ControlSocket(folder.path, node, stores)
            over = trio.Event()
            stop = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failstop.watch, listener.quiet)
                await nursery.start(_run, node, over)
                await nursery.start(control.run)
                await nursery.start(listener.run)
                task_status.started(Serving(_url(sock), node, stop.set))
                await stop.wait()
                listener.stop_accepting()
                node.stop()
                await over.wait()
                with trio.move_on_after(DRAIN_S):
                    await listener.quiet()
                listener.hang_up()
                nursery.cancel_scope.cancel()
            clean = True
        finally:
            for store in stores:
                store.close(clean=clean)


async def _run(
    node: Node,
    over: trio.Event,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    try:
        await node.run(task_status=task_status)
    except* ShardFailedError:
        # The process is about to end; until then the answers are on their way out.
        await trio.sleep_forever()
    over.set()


async def serve_until_signalled(
    folder: Folder, announce: Callable[[Serving], None], **options: Any
) -> None:
    """Serve until SIGTERM or SIGINT, then end in good order; a second signal ends it at once,
    with code 74 where a disk hangs.

    Args:
        announce: called once the node answers.
        options: as for `serve`.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as nursery:
                serving = await nursery.start(partial(serve, folder, **options))
                watching.start_soon(_stop_on_signal, signals, serving, nursery.cancel_scope)
                announce(serving)
            watching.cancel_scope.cancel()


async def _stop_on_signal(
    signals: AsyncIterator[int], serving: Serving, serve_scope: trio.CancelScope
) -> None:
    await anext(signals)
    serving.stop()
    await anext(signals)
    # A thread that is stuck in fsync cannot be cancelled.
    end_soon()
    serve_scope.cancel()


def loopback(listen: str) -> tuple[socket.AddressFamily, str, int]:
    """Return `(family, host, port)` of an address to listen on.

    Raises:
        ListenError: it is none, or not on loopback.
    """
    host, colon, port = listen.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ListenError(f"--listen {listen!r}: HOST:PORT is wanted, for example 127.0.0.1:8080")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise ListenError(f"--listen {listen!r}: {host!r} is not an IP address") from None
    if not address.is_loopback:
        raise ListenError(
            f"--listen {listen!r}: only loopback addresses, as requests are not signed yet"
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return family, str(address), int(port)


def bound(listen: str) -> socket.socket:
    """Return a stream socket bound to a loopback address, not listening yet.

    Raises:
        ListenError: see there.
    """
    family, host, port = loopback(listen)
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {listen}: {error.strerror}") from error
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
