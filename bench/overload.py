"""Overload: what a node does when many times as many callers come as it can serve.

A node in a process of its own is called over real sockets, with signatures: first by as many
callers as it takes on, then by several times as many, who do not wait when they are told to, then
by the first number again. Asked of it is what a bank would ask: memory that does not grow,
refusals that say when to come again and cost no signature, callers who are served as fast as
before or nearly so, and full speed as soon as the crowd has gone. In the end the store has to
verify, and to hold what the callers were told.
"""

import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from bench.engine_bench import anonymous_mib, fdatasync_ms
from bench.load.client import Round, Transport
from bench.load.clients import Clients, Outcome, clients
from bench.load.node import Held, Running, compare, prepare, running
from bench.load.tally import TENTH_NS
from bench.load.workload import Workload
from engine.limits import Limits
from gateway import exits
from gateway.exits import CommandError
from gateway.listener.bounds import EXPRESS_REQUESTS_MAX, REQUESTS_MAX

SLOWER_MAX: Final = 2.0
"""By how much the slowest of the accepted may be slower than at full load (p99)."""
GROWTH_MAX: Final = 1.05
"""How many times the memory of the overload's second fifth its last fifth may have."""
MARK_BYTES: Final = 160
"""And so many bytes for each signed request that is taken: its mark, for as long as the window is
(`engine.marks`), up to a bound that no overload of a minute reaches."""
RECOVERED_WITHIN_S: Final = 2.0
GATHERING: Final = 0.1
"""The share of a phase in which its callers come, one after the other."""
FORGERS: Final = 10
FORGERS_PAUSE_S: Final = 0.5
"""Callers, among all the others of an overload, whose signatures are wrong. They take their time:
to find a signature wrong costs the node as much as to find it right."""
_REQUESTS_MAX: Final = {"hypercorn": REQUESTS_MAX, "express": EXPRESS_REQUESTS_MAX}
_SPAN_TENTHS: Final = 20
_EVERY_S: Final = 0.1
_BUSY: Final = "NODE_BUSY"
_FORGED: Final = "SIGNATURE_WRONG"


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench overload --help`."""

    transport: Transport = "hypercorn"
    batch: int = 100
    times: int = 10
    seconds: float = 60.0
    full_seconds: float = 20.0
    warm_up_s: float = 5.0
    accounts: int = 5_000
    merchants: int = 100
    shards: int = 1
    clients: int = 1
    signed: bool = True

    @property
    def callers(self) -> int:
        """How many the node takes on: all its slots or all its places for requests are taken."""
        slots = Limits().unconfirmed_max * self.shards
        places = _REQUESTS_MAX.get(self.transport, slots)
        return max(1, min(places, slots // self.batch))


class Phase(Struct, frozen=True):
    """What one phase came to.

    Attributes:
        name: `warm-up`, `full`, `overload` or `after`.
        accepted: payments that succeeded.
        rate: of them, a second.
        refused: code → commands; what a request as a whole was refused for counts for all of it.
        unexplained: refusals without a time to come again.
        p50_ms, p99_ms: of the accepted ones, from sending the request to having its answer.
        cpu_us_server: of the node, an accepted payment, refusals included.
    """

    name: str
    callers: int
    seconds: float
    accepted: int
    rate: float
    refused: dict[str, int]
    unexplained: int
    p50_ms: float
    p99_ms: float
    cpu_us_server: float


class Figures(Struct, frozen=True):
    """The result.

    Attributes:
        phases: `warm-up`, `full`, `overload`, `after`.
        p99_ratio: of the accepted, overload to full.
        recovered_s: from the end of the overload to the first moment from which, over two seconds,
            nine tenths of the full rate are reached; None if that did not happen.
        forged: code → requests with a wrong signature during the overload: the node's 503 takes no
            signature to be said, so it is what most of them are told.
        anonymous_mib_full: most anonymous memory of the node at full load.
        anonymous_mib: medians of five equal parts of the overload.
        anonymous_mib_max: the most of all.
        fdatasync_ms: raw, before and after.
        missing_minor, untold_minor, verify_ok: see `bench.load.node.Held`.
        failed: what does not hold, in words.
    """

    transport: Transport
    batch: int
    times: int
    signed: bool
    phases: list[Phase]
    p99_ratio: float
    recovered_s: float | None
    forged: dict[str, int]
    anonymous_mib_full: float
    anonymous_mib: list[float]
    anonymous_mib_max: float
    fdatasync_ms: list[float]
    missing_minor: int
    untold_minor: int
    verify_ok: bool
    failed: list[str]


def run(settings: Settings, *, as_json: bool) -> int:
    """Measure and print; returns the exit code, 1 if something does not hold.

    Raises:
        CommandError: it cannot be measured.
    """
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-") as scratch:
        figures = trio.run(_measure, Path(scratch), settings)
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    else:
        sys.stdout.write(_table(settings, figures))
    return exits.CHECK_FAILED if figures.failed else exits.OK


class Observed:
    """What was seen: phases as they ended, and the node's memory all the while."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.outcomes: list[Outcome] = []
        self.ended: list[int] = []
        self.samples: list[float] = []
        self.forged: Counter[str] = Counter()

    def note(self, name: str, callers: int, outcome: Outcome) -> None:
        """Note a phase, and say how it went."""
        phase = Phase(
            name,
            callers,
            outcome.seconds,
            outcome.payments_all,
            outcome.payments / outcome.seconds,
            dict(outcome.refused),
            outcome.unexplained,
            outcome.latencies.percentile_ms(0.50),
            outcome.latencies.percentile_ms(0.99),
            outcome.server_us,
        )
        self.phases.append(phase)
        self.outcomes.append(outcome)
        self.ended.append(len(self.samples))
        sys.stderr.write(
            f"{name}: {callers} callers, {phase.rate:,.0f} accepted a second, "
            f"p99 {phase.p99_ms:.0f} ms, {sum(phase.refused.values()):,} refused\n"
        )


async def _measure(scratch: Path, settings: Settings) -> Figures:
    place = prepare(
        scratch,
        settings.accounts,
        settings.merchants,
        shards=settings.shards,
        signed=settings.signed,
    )
    syncs = [fdatasync_ms(scratch)]
    observed = Observed()
    async with running(place, express=settings.transport == "express") as node:
        known = node.certify(range(settings.merchants))
        async with (
            clients(settings.clients, known, node.pid) as crowd,
            clients(1, known, node.pid) as forgers,
            _watched(node.pid, observed.samples),
        ):
            await _phases(node, crowd, forgers, settings, observed)
    syncs.append(fdatasync_ms(scratch))
    told, unknown = Counter[str](), Counter[str]()
    for outcome in observed.outcomes:
        told.update(outcome.told_minor)
        unknown.update(outcome.unknown_minor)
    held = compare(place.data, settings.merchants, told, unknown)
    return judge(settings, observed, syncs, held)


async def _phases(
    node: Running, crowd: Clients, forgers: Clients, settings: Settings, observed: Observed
) -> None:
    """Go through the phases."""
    callers, times = settings.callers, settings.times
    phases = (
        ("warm-up", callers, settings.warm_up_s),
        ("full", callers, settings.full_seconds),
        ("overload", callers * times, settings.seconds),
        ("after", callers, settings.full_seconds),
    )
    for number, (name, many, seconds) in enumerate(phases):
        make = partial(_round, node, settings, f"{number}", seconds)
        async with trio.open_nursery() as nursery:
            if name == "overload" and settings.signed:
                nursery.start_soon(_forge, forgers, make, seconds, observed.forged)
            outcome = await crowd.call(make, many, seconds, warm_s=0)
        if not outcome.payments:
            raise CommandError(exits.CHECK_FAILED, f"{name}: nothing was paid in {seconds:g} s")
        observed.note(name, many, outcome)


def _round(
    node: Running,
    settings: Settings,
    prefix: str,
    seconds: float,
    connections: list[int],
    start_ns: int,
    begin_ns: int,
    end_ns: int,
    *,
    forged: bool = False,
) -> Round:
    transport = settings.transport
    return Round(
        # Of a stream the handshake alone is signed: forgers come to its listener with arrays.
        "hypercorn" if forged and transport == "websocket" else transport,
        node.addresses[transport],
        Workload("uniform", settings.accounts, settings.merchants, 1),
        connections,
        settings.batch,
        1,
        prefix,
        start_ns,
        int(GATHERING * seconds * 1e9),
        begin_ns,
        end_ns,
        heeds=False,
        pause_s=FORGERS_PAUSE_S if forged else 0.0,
        forged=forged,
    )


async def _forge(
    forgers: Clients, make: "partial[Round]", seconds: float, forged: Counter[str]
) -> None:
    outcome = await forgers.call(partial(make, forged=True), FORGERS, seconds, warm_s=0)
    forged.update(outcome.refused)


@asynccontextmanager
async def _watched(pid: int, samples: list[float]) -> AsyncIterator[None]:
    """Look at a process's memory again and again while the block runs."""

    async def watch() -> None:
        while True:
            samples.append(anonymous_mib(pid))
            await trio.sleep(_EVERY_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


def recovered_s(tenths: Sequence[int], rate: float) -> float | None:
    """Return from when on nine tenths of a rate are reached over two seconds, in seconds.

    Args:
        tenths: payments by tenths of a second.
    """
    for begin in range(max(0, len(tenths) - _SPAN_TENTHS) + 1):
        span = tenths[begin : begin + _SPAN_TENTHS]
        if not span:
            break
        if sum(span) / (len(span) * TENTH_NS / 1e9) >= 0.9 * rate:
            return begin * TENTH_NS / 1e9
    return None


def judge(settings: Settings, observed: Observed, syncs: list[float], held: Held) -> Figures:
    """Return the figures, and what does not hold."""
    _, full, over, _ = observed.phases
    ended_full, ended_over = observed.ended[1], observed.ended[2]
    during = observed.samples[ended_full:ended_over]
    fifth = max(1, len(during) // 5)
    parts = [statistics.median(during[n * fifth : (n + 1) * fifth]) for n in range(5)]
    marks_mib = over.accepted / settings.batch * MARK_BYTES / (1 << 20)
    ratio = over.p99_ms / full.p99_ms
    back_s = recovered_s(observed.outcomes[3].each_tenth, full.rate)
    forged = observed.forged
    told_busy = sum(many for code, many in forged.items() if code != _FORGED)
    checks: list[tuple[bool, str]] = [
        (ratio <= SLOWER_MAX, f"p99 of the accepted is {ratio:.2f} times that at full load"),
        (
            parts[4] <= parts[1] * GROWTH_MAX + marks_mib,
            f"memory grew from {parts[1]:.0f} to {parts[4]:.0f}",
        ),
        (
            back_s is not None and back_s <= RECOVERED_WITHIN_S,
            f"full speed was back after {back_s} s",
        ),
        (sum(over.refused.values()) > 0, "nobody was refused: this was no overload"),
        (
            not any(phase.unexplained for phase in observed.phases),
            "some were refused without being told when to come again",
        ),
        (
            not settings.signed or (told_busy > 0 and told_busy == forged[_BUSY]),
            f"a wrong signature was verified before 503, or let through: {dict(forged)}",
        ),
        *held.checks(),
    ]
    return Figures(
        transport=settings.transport,
        batch=settings.batch,
        times=settings.times,
        signed=settings.signed,
        phases=observed.phases,
        p99_ratio=ratio,
        recovered_s=back_s,
        forged=dict(forged),
        anonymous_mib_full=max(observed.samples[:ended_full]),
        anonymous_mib=[round(part, 1) for part in parts],
        anonymous_mib_max=max(observed.samples),
        fdatasync_ms=syncs,
        missing_minor=held.missing_minor,
        untold_minor=held.untold_minor,
        verify_ok=held.verify_ok,
        failed=[what for holds, what in checks if not holds],
    )


def _table(settings: Settings, figures: Figures) -> str:
    lines = [
        f"{settings.transport}, {'signed' if settings.signed else 'unsigned'}, "
        f"batches of {settings.batch}, {settings.times} times the callers"
    ]
    lines += [
        f"{phase.name:<9} {phase.callers:>5} callers  {phase.rate:>8,.0f} accepted a second  "
        f"p50 {phase.p50_ms:>7.1f} ms  p99 {phase.p99_ms:>7.1f} ms  refused "
        f"{sum(phase.refused.values()):,}"
        for phase in figures.phases
    ]
    parts = ", ".join(f"{part:.0f}" for part in figures.anonymous_mib)
    forged = ", ".join(f"{code} {many:,}" for code, many in sorted(figures.forged.items()))
    lines += [
        f"p99 ratio {figures.p99_ratio:.2f}; full speed again after {figures.recovered_s} s",
        f"anonymous memory: {figures.anonymous_mib_full:.0f} MiB at full load, by fifths of the "
        f"overload {parts} MiB",
        f"wrong signatures were told: {forged or 'nothing'}",
        f"raw fdatasync {figures.fdatasync_ms[0]:.2f} ms before, {figures.fdatasync_ms[1]:.2f} "
        "after",
        *(f"FAILED: {what}" for what in figures.failed),
    ]
    return "\n".join(lines) + "\n"
