"""The gateway against a web service on PostgreSQL: signed payments over sockets, in turn.

The same client processes call both (`bench.load`), with the same signatures. Of the service it is
tried first which form of the payment, how many workers and how large a pool are its best here; the
best one is then measured beside ours. A transport over which our node pays nothing is left out, and
the report says so.
"""

import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct

from bench.load.client import Round, Transport
from bench.load.clients import Clients, Outcome, clients
from bench.load.node import Running, compare, prepare, running
from bench.load.workload import Workload
from bench.peers.books import books, check
from bench.peers.engine_rows import Peer
from bench.peers.observer import Measured, Observer
from bench.peers.plan import BATCH, FRAMES, SINGLE, Settings, Target
from bench.peers.result import Row, row
from bench.peers.workers import Candidate, serving
from gateway import exits
from gateway.exits import CommandError

MERCHANTS: Final = 100
STREAMS: Final = 4
"""Connections that send frames: with 500 payments each, as many as the node takes on."""
_WARM_S: Final = 0.5


class Ours(Struct, frozen=True):
    """One way into our node that is measured.

    Attributes:
        name: as the report calls it.
        depth: frames that a connection has unanswered.
    """

    name: str
    transport: Transport
    batch: int
    depth: int
    connections: int
    target: Target


def candidates(settings: Settings) -> list[Candidate]:
    """Return what is tried: pools by workers with the function, and with row locks."""
    if settings.quick:
        return [
            Candidate("function", 1, 16),
            Candidate("function", 2, 8),
            Candidate("function", 2, 16),
            Candidate("row locks", 2, 16),
        ]
    return [
        Candidate(form, workers, pool)
        for form in ("function", "row locks")
        for workers in (1, 2)
        for pool in (4, 8, 16, 32)
    ]


def _ours(settings: Settings) -> list[Ours]:
    return [
        Ours("single, express listener", "express", 1, 1, settings.connections, SINGLE),
        Ours(f"WebSocket, frames of {BATCH}", "websocket", BATCH, 1, STREAMS, FRAMES),
    ]


async def gateway_rows(
    peer: Peer, store: Path, settings: Settings, observer: Observer
) -> list[Row]:
    """Measure signed payments over sockets against the service.

    Args:
        store: a folder for ours, on the disk where the peer's is.
        observer: told of what was tried, and of what is left out.
    """
    accounts = settings.target_size()
    workload = Workload("uniform", accounts, MERCHANTS, settings.seed)
    place = prepare(made(store / "gateway"), accounts, MERCHANTS, shards=1, signed=True)
    with books(peer.server, f"service_{accounts}", accounts, MERCHANTS) as database:
        async with running(place, express=True) as node:
            run = _Run(settings, workload, node, database, observer)
            best = await run.best()
            rows = await run.rows(best)
        failed = await trio.to_thread.run_sync(check, database, run.peer_paid)
    held = compare(place.data, MERCHANTS, run.told, run.unknown)
    if failed:
        raise CommandError(exits.CHECK_FAILED, f"the peer's books: {failed[0]}")
    if held.missing_minor or held.untold_minor or not held.verify_ok:
        detail = f"ours: {held.missing_minor} missing, {held.untold_minor} untold, {held.verify_ok}"
        raise CommandError(exits.CHECK_FAILED, detail)
    return rows


def made(folder: Path) -> Path:
    """Make a folder, and return it."""
    folder.mkdir()
    return folder


class _Run:
    """Both sides as they are driven, and what their clients were told in all."""

    def __init__(
        self,
        settings: Settings,
        workload: Workload,
        node: Running,
        database: str,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._workload = workload
        self._node = node
        self._database = database
        self._observer = observer
        self._rounds = 0
        self.peer_paid = 0
        self.told: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    async def best(self) -> Candidate:
        """Return the candidate that is the fastest here."""
        rates: dict[Candidate, float] = {}
        for each in candidates(self._settings):
            async with self._service(each) as (callers, address):
                seconds = self._settings.sweep_seconds
                rates[each] = await self._peer_round(callers, address, seconds)
            self._observer.note(f"FastAPI on uvicorn, {each}: {rates[each]:,.0f} payments/s")
        return max(rates, key=lambda each: rates[each])

    async def rows(self, best: Candidate) -> list[Row]:
        """Measure all ways into our node beside the service at its best."""
        known = self._node.certify(sorted({self._workload.payee(n) for n in range(MERCHANTS)}))
        rows = []
        async with (
            clients(1, known, self._node.pid) as own,
            self._service(best) as (others, address),
        ):
            for way in _ours(self._settings):
                outcome = await self._own_round(own, way, 0.5)
                if not outcome.payments_all:
                    codes = ", ".join(outcome.refused) or "no answer"
                    detail = f"{way.name}: this node pays nothing over it ({codes})"
                    self._observer.leave_out(detail)
                    continue
                rows.append(await self._pairs(own, others, address, way, best))
        return rows

    async def _pairs(
        self,
        own: Clients,
        others: Clients,
        address: tuple[str, int],
        way: Ours,
        best: Candidate,
    ) -> Row:
        settings, observer = self._settings, self._observer
        ours, peers, syncs = [], [], []

        async def mine(_: int) -> Measured:
            outcome = await self._own_round(own, way, settings.seconds)
            more = {"server_us": outcome.server_us, "client_us": outcome.client_us}
            return Measured(outcome.payments / outcome.seconds, more)

        async def theirs(_: int) -> Measured:
            return Measured(await self._peer_round(others, address, settings.seconds))

        for pair in range(settings.pairs):
            syncs.append(observer.fdatasync_ms())
            ours.append(await observer.round(way.name, "ours", pair, mine))
            peers.append(await observer.round(way.name, "FastAPI", pair, theirs))
            sys.stderr.write(
                f"{way.name}, pair {pair + 1}: ours {ours[-1]:,.0f}, "
                f"FastAPI {peers[-1]:,.0f} payments/s\n"
            )
        return row(
            f"gateway, {way.name}, {way.connections} connections, signed, against FastAPI on "
            f"uvicorn ({best}), {settings.connections} connections",
            ours,
            peers,
            syncs,
            way.target,
            disturbed=observer.disturbed(way.name, "ours", "FastAPI"),
            profile=await observer.profile(way.name, self._node.pid, mine),
        )

    async def _own_round(self, callers: Clients, way: Ours, seconds: float) -> Outcome:
        outcome = await self._round(
            callers, self._node.addresses[way.transport], way, way.connections, seconds
        )
        self.told.update(outcome.told_minor)
        self.unknown.update(outcome.unknown_minor)
        return outcome

    async def _peer_round(
        self, callers: Clients, address: tuple[str, int], seconds: float
    ) -> float:
        connections = self._settings.connections
        way = Ours("", "hypercorn", 1, 1, connections, SINGLE)
        outcome = await self._round(callers, address, way, connections, seconds)
        if outcome.refused or not outcome.payments:
            codes = ", ".join(outcome.refused) or "nothing was paid"
            raise CommandError(exits.CHECK_FAILED, f"the web service on PostgreSQL: {codes}")
        self.peer_paid += outcome.payments_all
        return outcome.payments / outcome.seconds

    async def _round(
        self,
        callers: Clients,
        address: tuple[str, int],
        way: Ours,
        connections: int,
        seconds: float,
    ) -> Outcome:
        self._rounds += 1
        prefix = f"{self._rounds:04d}"

        def make(numbers: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
            return Round(
                transport=way.transport,
                address=address,
                workload=self._workload,
                connections=numbers,
                batch=way.batch,
                depth=way.depth,
                prefix=prefix,
                start_ns=start_ns,
                gather_ns=0,
                begin_ns=begin_ns,
                end_ns=end_ns,
            )

        return await callers.call(make, connections, seconds, warm_s=_WARM_S)

    @asynccontextmanager
    async def _service(
        self, candidate: Candidate
    ) -> AsyncIterator[tuple[Clients, tuple[str, int]]]:
        """Have the service while the block runs: what calls it, and its address."""
        async with (
            serving(self._database, candidate, MERCHANTS) as service,
            clients(1, service.known, service.pid) as callers,
        ):
            yield callers, service.address
