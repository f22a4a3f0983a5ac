"""A node that serves: engine, HTTP listeners and control socket in one nursery.

`serve` is what `piaohao serve` runs, and what any program runs that wants a node in its own
process. Without the bank's keys nothing is signed, and it binds to loopback only.
"""

import logging
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec import Struct

from actors.kinds import KINDS
from engine.clock import Clock, DomainClock, WallClock
from engine.limits import Limits
from engine.node import Node
from engine.shard import ShardFailedError
from gateway.ca.bank_keys import BankKeys
from gateway.ca.master_key import MasterKey
from gateway.control import ControlSocket
from gateway.counter import Counter
from gateway.desk import ClockKind, Desk
from gateway.endpoint import Router
from gateway.failstop import FailStop, end_soon
from gateway.front import Front, Port, ports
from gateway.gate import Gate
from gateway.listener.bounds import Bounds
from gateway.listener.listener import DRAIN_S
from gateway.listener.tls import MutualTlsFiles, TlsFileError, TlsFiles
from gateway.ops.health import Health
from gateway.ops.office import Office
from gateway.rate import Rates
from gateway.stream.bounds import StreamBounds
from gateway.table import ENDPOINTS
from gateway.webhooks.dispatcher import Dispatcher
from storage.folder import Folder
from storage.lmdb_store import LmdbStore

if TYPE_CHECKING:
    from gateway.ops.feeds import FeedBounds
    from gateway.ops.listener import OpsListener

log = logging.getLogger("piaohao.gateway")

DEFAULT_LISTEN: Final = "127.0.0.1:8080"
BACKUPS: Final = "backups"
"""The folder of backups in a data folder, where no other was named."""
RATE_PER_S: Final = 500.0
"""Requests a second that a merchant may send where nothing else was said."""


class Serving(Struct, frozen=True):
    """A node that is up.

    Attributes:
        address: where it listens, for example `https://127.0.0.1:8443`.
        node: the engine, for programs that have it in-process.
        counter: where such programs act for the bank (`Counter.answer_operator`).
        stop: begins the orderly end: what was admitted is finished, then `serve` returns.
        express_address: where the express listener is, None where there is none.
        ops_address: where the ops listener is, None where there is none.
    """

    address: str
    node: Node
    counter: Counter
    stop: Callable[[], None]
    express_address: str | None = None
    ops_address: str | None = None


async def serve(
    folder: Folder,
    *,
    keys: BankKeys | None = None,
    signed: bool = True,
    rate_per_s: float = RATE_PER_S,
    log_requests: bool = False,
    listen: str = DEFAULT_LISTEN,
    express_listen: str | None = None,
    ops_listen: str | None = None,
    names: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
    ops_tls: MutualTlsFiles | None = None,
    bounds: Bounds | None = None,
    stream_bounds: StreamBounds | None = None,
    feed_bounds: "FeedBounds | None" = None,
    clock: ClockKind = "wall",
    timeout_s: float = 10.0,
    limits: Limits | None = None,
    webhook_allow: Sequence[str] = (),
    master_key: MasterKey | None = None,
    backups: Path | None = None,
    task_status: trio.TaskStatus[Serving] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the store in a folder until stopped: `serving = await nursery.start(serve, folder)`.

    Returns once everything admitted has been answered and the store is closed clean. If a
    commit fails the whole process ends with code 74 (`gateway.failstop`). Cancelling ends it
    at once, as a crash would: safe, but the next start recovers with caution.

    Args:
        folder: locked by the caller, who closes it afterwards; it must hold a store.
        keys: the bank's; None for a node that can neither certify nor sign.
        signed: with the bank's keys, every request has to be signed, and every answer is. Without,
            or without them, anybody may ask for anything, and the node listens on loopback only.
        rate_per_s: how many requests a second a merchant may send.
        log_requests: write a line for each request.
        listen: address and port; port 0 takes a free one.
        express_listen: the same for the express listener (`gateway.express`); None for none.
        ops_listen: the same for the ops listener (`gateway.ops`), on loopback where it has no
            `ops_tls`; None for none.
        names: HOST or HOST:PORT, by which callers may address it; none stands for the address
            itself and, on loopback, `localhost`. The express listener goes by the same hosts, with
            its own port.
        tls: the server's context (`gateway.listener.tls`), for a node that is reached by https.
        ops_tls: for the ops listener: who asks there has to show a certificate, too.
        bounds: of the listeners.
        stream_bounds: of streams; by default they take three quarters of the connections at most.
        feed_bounds: of operators' feeds.
        clock: `wall`, or `domain`, which stands where the store's last commit left it until
            commands move it.
        timeout_s: what a caller waits who says nothing about it.
        limits: bounds of each shard.
        webhook_allow: what webhooks may reach beside public addresses: HOST:PORT, or networks.
            Without the bank's keys there are no webhooks.
        master_key: under which the secrets of operators' one-time codes are; without, only those
            who need none can log in.
        backups: the folder for those that operators have taken; by default `backups` in the data
            folder, and so on the disk of the store itself.

    Raises:
        CommandError: `webhook_allow` has something else in it.
        ListenError: see there.
        StorageError: the store cannot be used.
    """
    scheme = "http" if tls is None else "https"
    anywhere = signed and keys is not None
    with ports(
        listen,
        express_listen,
        names,
        scheme,
        anywhere=anywhere,
        ops_listen=ops_listen,
        ops_hosts=None if ops_tls is None else ops_tls.hosts,
    ) as opened:
        stores = folder.open()
        office = Office(folder.path, time.time_ns)
        clean = False
        try:
            for store in stores:
                store.begin_epoch()
            start: Clock = DomainClock(0) if clock == "domain" else WallClock()
            failstop = FailStop()
            node = Node(stores, KINDS, start, limits, failstop.begin)
            webhooks = None if keys is None else Dispatcher(node, keys, allow=webhook_allow)
            desk = Desk(node, timeout_s, keys, webhooks)
            counter = _counter(
                desk, keys if signed else None, rate_per_s, log_requests=log_requests
            )
            listening = bounds or Bounds()
            front = Front(opened, counter, listening, tls, stream_bounds)
            control = ControlSocket(folder.path, node, stores, counter, office)
            health = Health(node, lambda: failstop.begun)
            ops = None
            if opened.ops is not None:
                ops = _ops(
                    opened.ops,
                    node,
                    stores,
                    health,
                    counter,
                    front,
                    listening,
                    office,
                    master_key,
                    backups or folder.path / BACKUPS,
                    feed_bounds,
                    ops_tls,
                )
            over = trio.Event()
            stop = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(failstop.watch, front.quiet)
                if ops is not None:
                    await nursery.start(ops.run)
                await nursery.start(_run, node, over)
                if webhooks is not None:
                    await nursery.start(webhooks.run)
                await nursery.start(control.run)
                await nursery.start(front.run)
                express = None if opened.express is None else opened.express.address
                serving = Serving(
                    opened.main.address,
                    node,
                    counter,
                    stop.set,
                    express,
                    None if ops is None else ops.address,
                )
                health.begin()
                task_status.started(serving)
                await stop.wait()
                health.end()
                front.stop_accepting()
                if ops is not None:
                    ops.end_feeds()
                if webhooks is not None:
                    await webhooks.drain()
                node.stop()
                await over.wait()
                with trio.move_on_after(DRAIN_S):
                    await front.quiet()
                # Clients are to read what they were sent: most have, and are gone in no time.
                with trio.move_on_after(listening.linger_s):
                    await front.over()
                    if ops is not None:
                        await ops.feeds_over()
                front.hang_up()
                nursery.cancel_scope.cancel()
            clean = True
        finally:
            office.close()
            for store in stores:
                store.close(clean=clean)


def _ops(
    port: Port,
    node: Node,
    stores: Sequence[LmdbStore],
    health: Health,
    counter: Counter,
    front: Front,
    bounds: Bounds,
    office: Office,
    master_key: MasterKey | None,
    backups: Path,
    feed_bounds: "FeedBounds | None",
    tls: MutualTlsFiles | None,
) -> "OpsListener":
    # Prometheus' library and argon2 take 0.2 s, which who has no such listener does without.
    from gateway.ops.clerk import Clerk  # noqa: PLC0415
    from gateway.ops.counter import OpsCounter  # noqa: PLC0415
    from gateway.ops.desk import OpsDesk  # noqa: PLC0415
    from gateway.ops.feeds import Feeds  # noqa: PLC0415
    from gateway.ops.hands import Hands  # noqa: PLC0415
    from gateway.ops.listener import OpsListener  # noqa: PLC0415
    from gateway.ops.logins import Logins  # noqa: PLC0415
    from gateway.ops.metrics import Metrics, NodeMetrics  # noqa: PLC0415
    from gateway.ops.proposals import Proposals  # noqa: PLC0415
    from gateway.ops.sessions import Sessions  # noqa: PLC0415
    from gateway.ops.table import ROWS  # noqa: PLC0415

    most = bounds.connections()
    sessions = Sessions(office.operator)
    proposals = Proposals(office)
    clerk = Clerk(office, proposals, Hands(node, stores, counter, office, backups))
    feeds = Feeds(node, counter, sessions, feed_bounds)
    desk = OpsDesk(
        node,
        health,
        Metrics(
            NodeMetrics(
                node, stores, health, counter.served, front.census, most, proposals.open_now
            )
        ),
        office,
        Logins(office, sessions, master_key),
        sessions,
        proposals,
        clerk,
        feeds,
    )
    return OpsListener(OpsCounter(desk, ROWS), feeds, clerk, port, tls)


def _counter(
    desk: Desk, keys: BankKeys | None, rate_per_s: float, *, log_requests: bool
) -> Counter:
    gate = rates = None
    if keys is not None:
        gate = Gate(desk.node, keys, desk.node.marks, time.time)
        rates = Rates(rate_per_s, time.monotonic)
    return Counter(desk, Router(ENDPOINTS), gate, rates, log_requests=log_requests)


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
    folder: Folder,
    announce: Callable[[Serving], None],
    tls_files: TlsFiles | None = None,
    ops_tls: MutualTlsFiles | None = None,
    **options: Any,
) -> None:
    """Serve until SIGTERM or SIGINT, then end in good order; a second signal ends it at once,
    with code 74 where a disk hangs. SIGHUP has TLS' files read again.

    Args:
        announce: called once the node answers.
        tls_files: for a node that is reached by https.
        ops_tls: for an ops listener with mutual TLS.
        options: as for `serve`.
    """
    tls = None if tls_files is None else tls_files.context
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as watching:
            async with trio.open_nursery() as nursery:
                begin = partial(serve, folder, tls=tls, ops_tls=ops_tls, **options)
                serving = await nursery.start(begin)
                watching.start_soon(_stop_on_signal, signals, serving, nursery.cancel_scope)
                files = [each for each in (tls_files, ops_tls) if each is not None]
                if files:
                    await watching.start(_read_again_on_signal, files)
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


async def _read_again_on_signal(
    files: Sequence[TlsFiles], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        task_status.started()
        async for _ in signals:
            for each in files:
                try:
                    each.read_again()
                except TlsFileError as error:
                    log.warning("TLS' files are used as they were: %s", error)
                else:
                    log.info("TLS' files were read again")
