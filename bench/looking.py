"""What it costs a node's callers that operators look at it: rounds with and without, in turn.

Callers keep one hot merchant busy over sockets; in every other round an onlooker has pages of the
console open (`bench.onlooker`), the merchant's own among them. The order within a pair of rounds
changes from pair to pair, so that a machine that grows faster or slower favours neither. In the
end the store has to hold what the callers were told, and to verify.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from bench import newcomer
from bench.bulk import merchant_no
from bench.engine_bench import fdatasync_times_ms
from bench.load.client import Round, Transport
from bench.load.clients import Clients, Outcome, clients
from bench.load.machine import Machine, this_machine
from bench.load.node import Held, Running, compare, prepare, running
from bench.load.workload import Workload
from bench.onlooker import Onlooker, Seen, onlooker
from bench.statistics import Quoted, paired
from gateway import exits
from gateway.exits import CommandError
from storage.folder import Folder

LOSS_MAX: Final = 0.05
"""What may be lost of the payments a second while the console is open."""
PAGES: Final = {
    "actor": f"/console/actors/merchant/{merchant_no(0)}",
    "overview": "/console",
    "actors": "/console/actors",
    "shards": "/console/shards",
    "dead-letters": "/console/dead-letters",
}
"""Pages that change while one looks, by what they are called on the command line."""
_MERCHANTS: Final = 1
_WARM_S: Final = 0.3
_PACKAGES: Final = ("httptools", "httpx2")


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench look --help`."""

    pages: tuple[str, ...] = ("actor",)
    transport: Transport = "express"
    batch: int = 100
    connections: int = 32
    clients: int = 1
    seconds: float = 4.0
    pairs: int = 12
    accounts: int = 100_000
    seed: int = 1


class Look(Struct, frozen=True):
    """The result; ratios are of rounds with an onlooker to those without, by pair.

    Attributes:
        pages: that were open.
        payments_per_s: medians of the rounds, without and with an onlooker.
        p99_ms: likewise.
        cpu_us: the node's, a payment; likewise.
        rate, p99, cpu: the ratios.
        looks_per_s: answers with the part of a page that changes.
        events_per_s: of feeds.
        fdatasync_ms: raw, on the same disk, between the rounds.
        missing_minor, untold_minor, verify_ok: see `bench.load.node.Held`.
        failed: what does not hold, in words.
    """

    pages: tuple[str, ...]
    transport: Transport
    batch: int
    connections: int
    payments: int
    payments_per_s: tuple[float, float]
    p99_ms: tuple[float, float]
    cpu_us: tuple[float, float]
    rate: Quoted
    p99: Quoted
    cpu: Quoted
    looks_per_s: float
    events_per_s: float
    fdatasync_ms: float
    missing_minor: int
    untold_minor: int
    verify_ok: bool
    seed: int
    machine: Machine
    failed: list[str]


class Pairs(Struct):
    """What the rounds came to, without (`alone`) and with an onlooker (`watched`)."""

    alone: list[Outcome] = []
    watched: list[Outcome] = []
    seen: list[Seen] = []


def pages(given: Sequence[str]) -> tuple[str, ...]:
    """Return the pages that were asked for, each once.

    Raises:
        CommandError: there is none of this name, or none was named.
    """
    names = [name.strip() for each in given for name in each.split(",")]
    for name in names:
        if name not in PAGES:
            raise CommandError(exits.INPUT, f"--pages {name!r}: there are {', '.join(PAGES)}")
    return tuple(dict.fromkeys(names))


def run(settings: Settings, *, as_json: bool) -> int:
    """Measure and print; returns the exit code, 1 if something does not hold.

    Raises:
        CommandError: it cannot be measured.
    """
    with tempfile.TemporaryDirectory(prefix="piaohao-look-") as scratch:
        look = trio.run(_measure, Path(scratch), settings)
    sys.stdout.write(msgspec.json.encode(look).decode() + "\n" if as_json else _table(look))
    return exits.CHECK_FAILED if look.failed else exits.OK


async def _measure(scratch: Path, settings: Settings) -> Look:
    place = prepare(scratch, settings.accounts, _MERCHANTS, shards=1, signed=True)
    with closing(Folder(place.data)) as folder:
        password = newcomer.take_on(folder)
    found = Pairs()
    syncs: list[float] = []
    async with (
        running(place, express=settings.transport == "express", ops=True) as node,
        clients(settings.clients, node.certify([0]), node.pid) as callers,
        onlooker(node.ops, newcomer.NAME, password) as looking,
    ):
        for number in range(settings.pairs + 1):
            orders = (False, True) if number % 2 else (True, False)
            for watched in orders:
                syncs += fdatasync_times_ms(scratch)
                prefix = f"{datetime.now(UTC):%Y%m%d}-{number:03d}{watched:d}"
                outcome, seen = await _round(
                    node, callers, looking if watched else None, settings, prefix
                )
                (found.watched if watched else found.alone).append(outcome)
                if watched:
                    found.seen.append(seen)
            if number:
                _say(number, found)
    told, unknown = Counter[str](), Counter[str]()
    for outcome in (*found.alone, *found.watched):
        told.update(outcome.told_minor)
        unknown.update(outcome.unknown_minor)
    held = compare(place.data, _MERCHANTS, told, unknown)
    # The first pair warms up whatever there is to warm.
    counted = Pairs(found.alone[1:], found.watched[1:], found.seen[1:])
    return judge(settings, counted, sorted(syncs), held)


async def _round(
    node: Running, callers: Clients, looking: Onlooker | None, settings: Settings, prefix: str
) -> tuple[Outcome, Seen]:
    """Have the node called for a while; returns what came of it, and what was seen meanwhile."""
    workload = Workload("hot", settings.accounts, _MERCHANTS, settings.seed)

    def make(connections: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
        return Round(
            settings.transport,
            node.addresses[settings.transport],
            workload,
            connections,
            settings.batch,
            1,
            prefix,
            start_ns,
            0,
            begin_ns,
            end_ns,
        )

    async with trio.open_nursery() as nursery:
        if looking is not None:
            await nursery.start(looking.look, [PAGES[page] for page in settings.pages])
            looking.seen = Seen()
        outcome = await callers.call(make, settings.connections, settings.seconds, warm_s=_WARM_S)
        nursery.cancel_scope.cancel()
    if not outcome.payments_all:
        raise CommandError(exits.CHECK_FAILED, "nothing was paid")
    return outcome, Seen() if looking is None else looking.seen


def judge(settings: Settings, found: Pairs, syncs: Sequence[float], held: Held) -> Look:
    """Return the figures, and what does not hold.

    Args:
        found: at least one pair of rounds.
        syncs: raw fdatasync, ascending, in milliseconds.
    """
    rates = [[each.payments / each.seconds for each in side] for side in _sides(found)]
    slowest = [[each.latencies.percentile_ms(0.99) for each in side] for side in _sides(found)]
    cpus = [[each.server_us for each in side] for side in _sides(found)]
    rate = paired(rates[1], rates[0])
    seconds = sum(each.seconds for each in found.watched)
    parts = sum(each.parts for each in found.seen)
    checks: list[tuple[bool, str]] = [
        (
            # Of few pairs on a busy machine the interval is wide, and shows nothing.
            rate.high >= 1 - LOSS_MAX,
            f"with the console open {1 - rate.ratio:.1%} of the payments a second are lost",
        ),
        (parts > 0, "the onlooker has seen nothing change"),
        *held.checks(),
    ]
    return Look(
        pages=settings.pages,
        transport=settings.transport,
        batch=settings.batch,
        connections=settings.connections,
        payments=sum(each.payments for side in _sides(found) for each in side),
        payments_per_s=_medians(rates),
        p99_ms=_medians(slowest),
        cpu_us=_medians(cpus),
        rate=rate.quoted(),
        p99=paired(slowest[1], slowest[0]).quoted(),
        cpu=paired(cpus[1], cpus[0]).quoted(),
        looks_per_s=parts / seconds,
        events_per_s=sum(each.events for each in found.seen) / seconds,
        fdatasync_ms=syncs[len(syncs) // 2],
        missing_minor=held.missing_minor,
        untold_minor=held.untold_minor,
        verify_ok=held.verify_ok,
        seed=settings.seed,
        machine=this_machine(*_PACKAGES),
        failed=[what for holds, what in checks if not holds],
    )


def _sides(found: Pairs) -> tuple[list[Outcome], list[Outcome]]:
    return found.alone, found.watched


def _medians(sides: Sequence[Sequence[float]]) -> tuple[float, float]:
    alone, watched = (sorted(side)[len(side) // 2] for side in sides)
    return alone, watched


def _say(number: int, found: Pairs) -> None:
    alone, watched = found.alone[-1], found.watched[-1]
    sys.stderr.write(
        f"pair {number}: {alone.payments / alone.seconds:,.0f} payments/s at "
        f"{alone.server_us:.1f} us alone, {watched.payments / watched.seconds:,.0f} at "
        f"{watched.server_us:.1f} with {found.seen[-1].parts} looks\n"
    )


def _table(look: Look) -> str:
    lines = [
        f"{', '.join(look.pages)} open on a hot merchant; {look.transport}, "
        f"{look.connections} connections, batches of {look.batch}",
        "                     nobody looks      console open    ratio",
        f"  payments a second  {look.payments_per_s[0]:>12,.0f}  {look.payments_per_s[1]:>16,.0f}"
        f"    {look.rate.figures()}",
        f"  p99                {look.p99_ms[0]:>9.1f} ms  {look.p99_ms[1]:>13.1f} ms"
        f"    {look.p99.figures()}",
        f"  node's CPU         {look.cpu_us[0]:>9.1f} us  {look.cpu_us[1]:>13.1f} us"
        f"    {look.cpu.figures()}",
        f"  looks              {look.looks_per_s:>12.1f}    a second, "
        f"{look.events_per_s:.1f} events of feeds",
        f"  raw fdatasync      {look.fdatasync_ms:>12.3f} ms",
        f"  verify             {'ok' if look.verify_ok else 'FAILED':>12}",
        *(f"FAILED: {what}" for what in look.failed),
    ]
    return "\n".join(lines) + "\n"
