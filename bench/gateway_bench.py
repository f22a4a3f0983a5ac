"""The gateway's benchmark: signed payments over sockets, durable before they are answered.

Clients in processes of their own keep a node busy, which is a process of its own too: each
connection pays again when it is answered. Rounds of the engine in-process and of each transport
take turns on the same disk, so that their ratios are by pair; between them raw fdatasync is
measured. In the end the store must hold what the clients were told.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct

from actors.kinds import KINDS
from bench.engine_bench import Driver, Mix, anonymous_mib, fdatasync_times_ms
from bench.engine_run import filled
from bench.load.client import Round, Transport
from bench.load.clients import Clients, Outcome, clients
from bench.load.latencies import Latencies
from bench.load.machine import this_machine
from bench.load.node import Held, Running, compare, prepare, running
from bench.load.report import Figures, ratio, table
from bench.load.workload import Workload
from engine.clock import WallClock
from engine.limits import Limits
from engine.node import Node
from gateway import exits
from gateway.exits import CommandError
from gateway.listener.bounds import Bounds
from storage.folder import Folder

TRANSPORTS: Final[tuple[Transport, ...]] = ("express", "hypercorn", "websocket")
BATCH_MAX: Final = 1_000
"""Commands in an array: what the gateway takes."""
TURNS: Final = 3
"""That a payment takes."""
SECONDS_MAX: Final = 86_400
_PACKAGES: Final = ("httptools", "wsproto")
_ORDER_NUMBERS: Final = "dated and sequential"
_WARM_S: Final = 0.3
"""Before a window begins the round has gone on for so long."""


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench gateway --help`."""

    transports: tuple[Transport, ...]
    batch: int = 1
    connections: int = 32
    depth: int = 1
    clients: int = 1
    seconds: float = 10.0
    rounds: int = 5
    warm_up_s: float = 2.0
    mix: Mix = "uniform"
    accounts: int = 100_000
    merchants: int = 100
    shards: int = 1
    seed: int = 1
    signed: bool = True
    engine: bool = True

    @property
    def workload(self) -> Workload:
        """What is paid."""
        return Workload(self.mix, self.accounts, self.merchants, self.seed)

    def depth_of(self, transport: Transport) -> int:
        """Return how many batches a connection has unanswered."""
        return self.depth if transport == "websocket" else 1

    def in_flight(self) -> int:
        """Return how many payments the engine has in flight: as many as come from clients."""
        depth = max(map(self.depth_of, self.transports))
        taken = Limits().unconfirmed_max * self.shards
        batches = min(self.connections * depth, taken // self.batch)
        return max(1, batches) * self.batch


class _Seen(Struct):
    """What one transport's rounds came to."""

    outcomes: list[Outcome] = []
    vitals: list[dict[str, Any]] = []
    commits: int = 0
    anonymous_mib: float = 0.0


class _Engine:
    """The engine in this process, under the load that comes from clients in the others.

    Args:
        node: on a store that is filled like the one of the node under test.
    """

    def __init__(self, node: Node, settings: Settings) -> None:
        self._node = node
        self._settings = settings
        # The driver takes payers from the second one on.
        in_turn = settings.workload.in_batches(settings.connections, settings.batch)
        self._payers = in_turn[-1:] + in_turn[:-1]

    async def round(self, prefix: str, seconds: float) -> float:
        """Pay for so long; returns the CPU a payment of this process, in microseconds."""
        settings = self._settings
        driver = Driver(self._node, self._payers, settings.workload.payees, prefix)
        round_ = await driver.run(settings.in_flight(), settings.batch, seconds)
        return round_.cpu_us


@asynccontextmanager
async def _engine(path: Path, settings: Settings) -> AsyncIterator[_Engine | None]:
    """Have an engine of our own while the block runs, where one is asked for."""
    if not settings.engine:
        yield None
        return
    with closing(Folder(path, create=True)) as folder:
        stores = filled(
            folder, settings.accounts, settings.merchants, paid=False, shards=settings.shards
        )
        node = Node(stores, KINDS, WallClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            yield _Engine(node, settings)
            node.stop()
        for store in stores:
            store.close(clean=True)


def transports(given: Sequence[str]) -> tuple[Transport, ...]:
    """Return the transports that were asked for, each once.

    Args:
        given: names, or several with commas between them.

    Raises:
        CommandError: there is none of this name.
    """
    names = [name.strip() for each in given for name in each.split(",")]
    for name in names:
        if name not in TRANSPORTS:
            known = ", ".join(TRANSPORTS)
            raise CommandError(exits.INPUT, f"--transport {name!r}: there are {known}")
    return tuple(each for each in TRANSPORTS if each in names)


def _check(settings: Settings) -> None:
    """Refuse what could not be measured.

    Raises:
        CommandError: INPUT.
    """
    for option, seconds in (("seconds", settings.seconds), ("warm-up", settings.warm_up_s)):
        if not seconds <= SECONDS_MAX:  # which is so of no number, too
            raise CommandError(exits.INPUT, f"--{option} {seconds:g}: at most {SECONDS_MAX}")
    most = Bounds().connections()
    if settings.connections > most:
        detail = f"--connections {settings.connections}: a node takes {most} of them here"
        raise CommandError(exits.INPUT, detail)
    if settings.batch > BATCH_MAX:
        raise CommandError(exits.INPUT, f"--batch {settings.batch}: at most {BATCH_MAX}")
    if settings.clients > settings.connections:
        detail = f"--clients {settings.clients}: more than there are connections"
        raise CommandError(exits.INPUT, detail)
    if settings.accounts < settings.workload.payees:
        detail = f"--accounts {settings.accounts}: fewer than there are merchants"
        raise CommandError(exits.INPUT, detail)
    if settings.depth > 1 and settings.transports != ("websocket",):
        raise CommandError(exits.INPUT, "--depth: only a stream takes several frames at a time")


def run(settings: Settings, *, as_json: bool) -> int:
    """Measure and print; returns the exit code, 1 if something does not hold.

    Raises:
        CommandError: it cannot be measured.
    """
    _check(settings)
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-") as scratch:
        all_figures = trio.run(_measure, Path(scratch), settings)
    for figures in all_figures:
        if as_json:
            sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
        else:
            sys.stdout.write(table(figures))
    return exits.OK if all(figures.ok for figures in all_figures) else exits.CHECK_FAILED


async def _measure(scratch: Path, settings: Settings) -> list[Figures]:
    place = prepare(
        scratch,
        settings.accounts,
        settings.merchants,
        shards=settings.shards,
        signed=settings.signed,
    )
    workload = settings.workload
    payees = sorted({workload.payee(each) for each in range(settings.connections)})
    seen: dict[Transport, _Seen] = {each: _Seen() for each in settings.transports}
    engines: list[float] = []
    syncs: list[float] = []
    told, unknown = Counter[str](), Counter[str]()
    async with (
        _engine(scratch / "engine", settings) as engine,
        running(place, express="express" in settings.transports) as node,
        clients(settings.clients, node.certify(payees), node.pid) as callers,
    ):
        # A first round, which is not counted, warms up whatever there is to warm.
        for number in range(0 if settings.warm_up_s else 1, settings.rounds + 1):
            seconds = settings.seconds / settings.rounds if number else settings.warm_up_s
            if engine is not None:
                cpu_us = await engine.round(f"{number:03d}", seconds)
                engines += [cpu_us] if number else []
            for transport in settings.transports:
                syncs += fdatasync_times_ms(scratch)
                before = node.vital_signs()
                outcome = await _round(node, callers, settings, transport, number, seconds)
                told.update(outcome.told_minor)
                unknown.update(outcome.unknown_minor)
                if number:
                    _note(seen[transport], outcome, before, node)
            if number:
                _say(number, engines, seen)
    held = compare(place.data, settings.merchants, told, unknown)
    return [_figures(settings, each, seen, engines, sorted(syncs), held) for each in seen]


async def _round(
    node: Running,
    callers: Clients,
    settings: Settings,
    transport: Transport,
    number: int,
    seconds: float,
) -> Outcome:
    date = datetime.now(UTC).strftime("%Y%m%d")
    prefix = f"{date}-{number:03d}{settings.transports.index(transport)}"

    def make(connections: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
        return Round(
            transport,
            node.addresses[transport],
            settings.workload,
            connections,
            settings.batch,
            settings.depth_of(transport),
            prefix,
            start_ns,
            0,
            begin_ns,
            end_ns,
        )

    outcome = await callers.call(make, settings.connections, seconds, warm_s=_WARM_S)
    if not outcome.payments_all:
        refused = ", ".join(f"{code} {many}" for code, many in outcome.refused.items())
        detail = f"nothing was paid over {transport} in {seconds:g} s; refused: {refused or 0}"
        raise CommandError(exits.CHECK_FAILED, detail)
    return outcome


def _note(seen: _Seen, outcome: Outcome, before: dict[str, Any], node: Running) -> None:
    after = node.vital_signs()
    seen.outcomes.append(outcome)
    seen.vitals.append(after)
    seen.commits += after["commits"] - before["commits"]
    seen.anonymous_mib = anonymous_mib(node.pid)


def _say(number: int, engines: Sequence[float], seen: Mapping[Transport, _Seen]) -> None:
    parts = [f"engine {engines[-1]:.1f} us"] if engines else []
    for transport, each in seen.items():
        last = each.outcomes[-1]
        rate = last.payments / last.seconds
        parts.append(f"{transport} {last.server_us:.1f} us ({rate:,.0f} payments/s)")
    sys.stderr.write(f"round {number}: server CPU a payment: {', '.join(parts)}\n")


def _figures(
    settings: Settings,
    transport: Transport,
    seen: Mapping[Transport, _Seen],
    engines: list[float],
    syncs: Sequence[float],
    held: Held,
) -> Figures:
    mine = seen[transport]
    latencies = Latencies()
    refused: Counter[str] = Counter()
    for outcome in mine.outcomes:
        latencies.add(outcome.latencies.counts)
        refused.update(outcome.refused)
    ours = [outcome.server_us for outcome in mine.outcomes]
    ratios = {
        other: ratio([outcome.server_us for outcome in each.outcomes], ours)
        for other, each in seen.items()
        if other != transport
    }
    payments = sum(outcome.payments for outcome in mine.outcomes)

    def vital(name: str) -> float:
        return float(median(signs[name] for signs in mine.vitals))

    return Figures(
        transport=transport,
        batch=settings.batch,
        connections=settings.connections,
        depth=settings.depth_of(transport),
        clients=settings.clients,
        mix=settings.mix,
        accounts=settings.accounts,
        merchants=settings.workload.payees,
        signed=settings.signed,
        seconds=settings.seconds,
        rounds=settings.rounds,
        payments=payments,
        payments_per_s=payments / sum(outcome.seconds for outcome in mine.outcomes),
        requests=sum(outcome.requests for outcome in mine.outcomes),
        p50_ms=latencies.percentile_ms(0.5),
        p99_ms=latencies.percentile_ms(0.99),
        p999_ms=latencies.percentile_ms(0.999),
        cpu_us_server=median(ours),
        cpu_us_client=median(outcome.client_us for outcome in mine.outcomes),
        cpu_us_engine=median(engines) if engines else 0.0,
        engine_ratio=ratio(ours, engines) if engines else None,
        ratios={other: times for other, times in ratios.items() if times is not None},
        commits=mine.commits,
        batch_p50=vital("batch_turns_p50") / TURNS,
        commit_ms_p50=vital("commit_ns_p50") / 1e6,
        commit_ms_p99=vital("commit_ns_p99") / 1e6,
        fdatasync_ms_p50=median(syncs),
        fdatasync_ms_p99=syncs[int(len(syncs) * 0.99)],
        anonymous_mib=mine.anonymous_mib,
        refused=dict(refused),
        unexplained=sum(outcome.unexplained for outcome in mine.outcomes),
        verified=sum(outcome.verified for outcome in mine.outcomes),
        missing_minor=held.missing_minor,
        untold_minor=held.untold_minor,
        verify_ok=held.verify_ok,
        seed=settings.seed,
        order_numbers=_ORDER_NUMBERS,
        machine=this_machine(*_PACKAGES),
    )
