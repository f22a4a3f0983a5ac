"""The engine against PostgreSQL without a gateway: our rounds and the peer's in turn, A B A B.

Each pair has a measurement of raw fdatasync, a round of ours, and a round of each form of the peer.
The peer's clients run in processes of their own. At the end of each size and mix neither side may
have lost or made money: ours is verified, the peer's books are checked.
"""

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from bench.engine_bench import Mix
from bench.peers import function
from bench.peers.books import books, check
from bench.peers.engine import engine
from bench.peers.observer import Measured, Observer
from bench.peers.plan import (
    BATCH,
    FUNCTION,
    IN_FLIGHT,
    PEER_BATCH,
    SETS,
    Settings,
    Target,
)
from bench.peers.result import Row, row
from bench.peers.rounds import Done, Plan
from bench.statistics import geometric_mean
from gateway import exits
from gateway.exits import CommandError


class Peer(Struct, frozen=True):
    """A server that the peer's databases are made on.

    Attributes:
        server: how libpq finds it.
        pgbench: the program.
    """

    server: str
    pgbench: Path


async def engine_rows(
    peer: Peer, store: Path, settings: Settings, accounts: int, mix: Mix, observer: Observer
) -> list[Row]:
    """Measure the engine against all forms of the peer that need no gateway."""
    payees = settings.payees(mix)
    size = f"{accounts:,} accounts"
    group = f"{mix}, {size}"
    taken: dict[str, list[float]] = defaultdict(list)
    syncs = []
    paid = 0
    with books(peer.server, f"{mix}_{accounts}", accounts, payees) as database:
        forms = _forms(peer, database, settings, accounts, mix)
        async with engine(store / f"{mix}-{accounts}", mix, accounts, payees, settings.seed) as own:
            await own.round(IN_FLIGHT, 1, 0.5)

            async def ours(batch: int, _: int) -> Measured:
                return Measured(await own.round(IN_FLIGHT, batch, settings.seconds))

            async def theirs(name: str, pair: int, attempt: int) -> Measured:
                nonlocal paid
                prefix = f"{pair:03d}{attempt}{name[:9]}"
                rate, done = await trio.to_thread.run_sync(forms[name], prefix)
                paid += done
                return Measured(rate)

            for pair in range(settings.pairs):
                syncs.append(observer.fdatasync_ms())
                sides = {"ours": partial(ours, 1)}
                for name in forms:
                    if name == "sets":
                        # Next to the round that it is compared with.
                        sides["batches"] = partial(ours, BATCH)
                    sides[name] = partial(theirs, name, pair)
                for side, measure in sides.items():
                    taken[side].append(await observer.round(group, side, pair, measure))
                _say(mix, size, pair, taken)
            profiles = {"ours": await observer.profile(group, os.getpid(), partial(ours, 1))}
            if "sets" in forms:
                batches = partial(ours, BATCH)
                what = f"{group}, batches of {BATCH}"
                profiles["batches"] = await observer.profile(what, os.getpid(), batches)
        failed = await trio.to_thread.run_sync(check, database, paid)
    if failed:
        raise CommandError(exits.CHECK_FAILED, f"the peer's books: {failed[0]}")
    return _Rows(settings, mix, size, taken, syncs, observer, profiles).all(accounts)


def _forms(
    peer: Peer, database: str, settings: Settings, accounts: int, mix: Mix
) -> dict[str, Callable[[str], tuple[float, int]]]:
    """Return what makes a round of each form, given what its order numbers begin with."""
    payees = settings.payees(mix)
    forms: dict[str, Callable[[str], tuple[float, int]]] = {}
    for clients in settings.clients:

        def call(prefix: str, clients: int = clients) -> tuple[float, int]:
            return function.run(
                peer.pgbench,
                database,
                mix,
                accounts,
                payees,
                clients=clients,
                seconds=settings.seconds,
                prefix=prefix,
                seed=settings.seed,
            )

        forms[f"function{clients}"] = call
    plan = Plan(
        "row_locks", database, mix, accounts, payees, settings.seed, settings.seconds, prefix=""
    )
    for clients in settings.clients:
        forms[f"rowlocks{clients}"] = partial(_python, replace(plan, clients=clients))
    if mix == "uniform":
        for form in ("sets", "calls"):
            forms[form] = partial(_python, replace(plan, form=form, batch=PEER_BATCH))
    return forms


def _python(plan: Plan, prefix: str) -> tuple[float, int]:
    """Make a round of the peer's Python client in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "bench.peers.rounds"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(replace(plan, prefix=prefix)) + b"\n")
            process.stdin.flush()
            said = process.stdout.readline()
        finally:
            process.terminate()
    if not said:
        raise CommandError(exits.CHECK_FAILED, "the peer's client ended without a word")
    done = msgspec.json.decode(said, type=Done)
    if done.refused:
        raise CommandError(exits.CHECK_FAILED, f"the peer refused {done.refused} payments")
    return done.rate, done.paid


def _say(mix: Mix, size: str, number: int, taken: dict[str, list[float]]) -> None:
    rates = ", ".join(f"{name} {each[-1]:,.0f}" for name, each in taken.items())
    sys.stderr.write(f"{mix}, {size}, pair {number + 1}: {rates} payments/s\n")


class _Rows:
    """The rows of one size and mix."""

    def __init__(
        self,
        settings: Settings,
        mix: Mix,
        size: str,
        taken: dict[str, list[float]],
        syncs: list[float],
        observer: Observer,
        profiles: dict[str, str | None],
    ) -> None:
        self._settings = settings
        self._mix = mix
        self._size = size
        self._taken = taken
        self._syncs = syncs
        self._observer = observer
        self._profiles = profiles

    def all(self, accounts: int) -> list[Row]:
        """Return them; those of the size that targets are about have their targets."""
        settings, taken = self._settings, self._taken
        targeted = accounts == settings.target_size()
        who = "one hot merchant" if self._mix == "hot" else self._mix
        begin = f"engine, {who}, {self._size}, {IN_FLIGHT:,} in flight, against"
        functions = {clients: taken[f"function{clients}"] for clients in settings.clients}
        better = max(functions, key=lambda clients: geometric_mean(functions[clients]))
        counts = " and ".join(map(str, settings.clients))
        best = f"one PL/pgSQL function (pgbench, {better} clients, the better of {counts})"
        target = FUNCTION.get(self._mix) if targeted else None
        rows = [self._row(f"{begin} {best}", "ours", f"function{better}", target)]
        for clients in settings.clients:
            peer = f"psycopg with row locks ({clients} connections)"
            rows.append(self._row(f"{begin} {peer}", "ours", f"rowlocks{clients}", None))
        if "sets" in taken:
            many = f"{PEER_BATCH:,} payments a commit on one connection"
            begin = f"engine, {who}, {self._size}, batches of {BATCH}, against {many}"
            target = SETS if targeted else None
            rows.append(self._row(f"{begin}, as sets", "batches", "sets", target))
            rows.append(self._row(f"{begin}, one by one", "batches", "calls", None))
        return rows

    def _row(self, measure: str, ours: str, peer: str, target: Target | None) -> Row:
        disturbed = self._observer.disturbed(f"{self._mix}, {self._size}", ours, peer)
        sides = self._taken[ours], self._taken[peer]
        profile = self._profiles[ours]
        return row(measure, *sides, self._syncs, target, disturbed=disturbed, profile=profile)
