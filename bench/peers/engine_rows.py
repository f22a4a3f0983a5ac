"""The engine against PostgreSQL without a gateway: our rounds and the peer's in turn, A B A B.

Each pair has a measurement of raw fdatasync, a round of ours, and a round of each form of the peer.
The peer's clients run in processes of their own. At the end of each size and mix neither side may
have lost or made money: ours is verified, the peer's books are checked.
"""

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

from bench.engine_bench import Mix, fdatasync_ms
from bench.peers import function
from bench.peers.books import books, check
from bench.peers.engine import engine
from bench.peers.plan import (
    BATCH,
    FUNCTION,
    IN_FLIGHT,
    PEER_BATCH,
    SETS,
    Settings,
)
from bench.peers.report import Row, row
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
    peer: Peer, store: Path, settings: Settings, accounts: int, mix: Mix
) -> list[Row]:
    """Measure the engine against all forms of the peer that need no gateway."""
    payees = settings.payees(mix)
    size = f"{accounts:,} accounts"
    targeted = accounts == settings.target_size()
    paid = 0
    with books(peer.server, f"{mix}_{accounts}", accounts, payees) as database:
        forms = _forms(peer, database, settings, accounts, mix)
        taken: dict[str, list[float]] = defaultdict(list)
        syncs = []
        async with engine(store / f"{mix}-{accounts}", mix, accounts, payees, settings.seed) as own:
            await own.round(IN_FLIGHT, 1, 0.5)
            for number in range(settings.pairs):
                syncs.append(fdatasync_ms(store))
                taken["ours"].append(await own.round(IN_FLIGHT, 1, settings.seconds))
                for name, form in forms.items():
                    if name == "sets":
                        # Next to the round that it is compared with.
                        rate = await own.round(IN_FLIGHT, BATCH, settings.seconds)
                        taken["batches"].append(rate)
                    rate, done = await trio.to_thread.run_sync(form, f"{number:03d}{name[:9]}")
                    taken[name].append(rate)
                    paid += done
                _say(mix, size, number, taken)
        failed = await trio.to_thread.run_sync(check, database, paid)
    if failed:
        raise CommandError(exits.CHECK_FAILED, f"the peer's books: {failed[0]}")
    return _rows(settings, mix, size, taken, syncs, targeted=targeted)


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


def _rows(
    settings: Settings,
    mix: Mix,
    size: str,
    taken: dict[str, list[float]],
    syncs: list[float],
    *,
    targeted: bool,
) -> list[Row]:
    ours = taken["ours"]
    who = "one hot merchant" if mix == "hot" else mix
    begin = f"engine, {who}, {size}, {IN_FLIGHT:,} in flight, against"
    functions = {clients: taken[f"function{clients}"] for clients in settings.clients}
    better = max(functions, key=lambda clients: geometric_mean(functions[clients]))
    counts = " and ".join(map(str, settings.clients))
    rows = [
        row(
            f"{begin} one PL/pgSQL function (pgbench, {better} clients, the better of {counts})",
            ours,
            functions[better],
            syncs,
            FUNCTION.get(mix) if targeted else None,
        )
    ]
    rows += [
        row(
            f"{begin} psycopg with row locks ({clients} connections)",
            ours,
            taken[f"rowlocks{clients}"],
            syncs,
            None,
        )
        for clients in settings.clients
    ]
    if "sets" in taken:
        many = f"{PEER_BATCH:,} payments a commit on one connection"
        begin = f"engine, {who}, {size}, batches of {BATCH}, against {many}"
        batches, sets, calls = taken["batches"], taken["sets"], taken["calls"]
        rows += [
            row(f"{begin}, as sets", batches, sets, syncs, SETS if targeted else None),
            row(f"{begin}, one by one", batches, calls, syncs, None),
        ]
    return rows
