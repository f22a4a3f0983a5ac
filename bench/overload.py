"""Overload: what a node does when ten times as many callers come as it can serve.

A node in a process of its own is called over real sockets: first by as many callers as it takes
on, then by ten times as many, who do not wait when they are told to, then by the first number
again. Asked of it is what a bank would ask: memory that does not grow, refusals that say when to
come again, callers who are served as fast as before or nearly so, and full speed as soon as the
crowd has gone. In the end the store has to verify, and to hold what the callers were told.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from bench.engine_bench import anonymous_mib, fdatasync_ms
from bench.engine_run import filled
from bench.overload_client import RECOVERED_WITHIN_S, Phase, Recovered
from bench.session import reports
from engine.limits import Limits
from gateway import exits
from gateway.exits import CommandError
from gateway.listener.bounds import REQUESTS_MAX
from gateway.operations import Verify
from gateway.operator import perform
from storage.folder import Folder

SLOWER_MAX: Final = 2.0
"""By how much the slowest of the accepted may be slower than at full load (p99)."""
GROWTH_MAX: Final = 1.05
"""How many times the memory of the overload's second fifth its last fifth may have."""
_SERVE: Final = (sys.executable, "-P", "-c", "from gateway.cli import main; main()", "serve")
_EVERY_S: Final = 0.1


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench overload --help`."""

    batch: int = 100
    times: int = 10
    seconds: float = 60.0
    full_seconds: float = 20.0
    accounts: int = 5_000
    merchants: int = 100
    shards: int = 1

    @property
    def callers(self) -> int:
        """How many the node takes on: all its slots or all its places for requests are taken."""
        slots = Limits().unconfirmed_max * self.shards
        return max(1, min(REQUESTS_MAX, slots // self.batch))


class Figures(Struct, frozen=True):
    """The result.

    Attributes:
        phases: `warm-up`, `full`, `overload`, `after`.
        p99_ratio: of the accepted, overload to full.
        recovered_s: see `bench.overload_client.Recovered`.
        anonymous_mib_full: most anonymous memory of the node at full load.
        anonymous_mib: medians of five equal parts of the overload.
        anonymous_mib_max: the most of all.
        fdatasync_ms: raw, before and after.
        missing: payments that callers were told of and the store does not have, or the other way
            round.
        failed: what does not hold, in words.
    """

    phases: list[Phase]
    p99_ratio: float
    recovered_s: float | None
    anonymous_mib_full: float
    anonymous_mib: list[float]
    anonymous_mib_max: float
    fdatasync_ms: list[float]
    missing: float
    verify_ok: bool
    failed: list[str]


_decode = msgspec.json.Decoder(Phase | Recovered).decode


def run(settings: Settings, *, as_json: bool) -> int:
    """Measure and print; returns the exit code, 1 if something does not hold."""
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-") as scratch:
        path = Path(scratch) / "store"
        with closing(Folder(path, create=True)) as folder:
            stores = filled(
                folder, settings.accounts, settings.merchants, paid=False, shards=settings.shards
            )
            for store in stores:
                store.close(clean=True)
        before = perform(path, Verify())
        syncs = [fdatasync_ms(Path(scratch))]
        observed = trio.run(_observe, path, settings)
        syncs.append(fdatasync_ms(Path(scratch)))
        after = perform(path, Verify())
    # A payment without a fee is two postings.
    paid = (after["journal_rows"] - before["journal_rows"]) / 2
    figures = _figures(observed, syncs, paid, after["ok"])
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    else:
        sys.stdout.write(_table(settings, figures))
    return exits.CHECK_FAILED if figures.failed else exits.OK


class _Observed:
    """What was seen: phases as they ended, and the node's memory all the while."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.recovered_s: float | None = None
        self.ended: list[int] = []
        self.samples: list[float] = []


async def _observe(data: Path, settings: Settings) -> _Observed:
    observed = _Observed()
    async with _node(data) as (process, address), trio.open_nursery() as nursery:
        watching = trio.CancelScope()
        nursery.start_soon(_watch, process.pid, observed.samples, watching)
        await _client(address, settings, observed)
        watching.cancel()
    return observed


@asynccontextmanager
async def _node(data: Path) -> AsyncIterator[tuple[trio.Process, str]]:
    process = await trio.lowlevel.open_process(
        [*_SERVE, "--unsigned", "--data", str(data), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = b""
        while not said.endswith(b"\n"):
            chunk = await process.stdout.receive_some()
            if not chunk:
                raise CommandError(exits.CHECK_FAILED, "the node ended before it was ready")
            said += chunk
        yield process, said.decode().split()[-1]
        process.terminate()
        with trio.move_on_after(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdout)


async def _client(address: str, settings: Settings, observed: _Observed) -> None:
    options = {
        "accounts": settings.accounts,
        "merchants": settings.merchants,
        "batch": settings.batch,
        "callers": settings.callers,
        "times": settings.times,
        "full-s": settings.full_seconds,
        "overload-s": settings.seconds,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    client = await trio.lowlevel.open_process(
        [sys.executable, "-P", "-m", "bench.overload_client", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        async for line in reports(client, address):
            _note(_decode(line), observed)
    finally:
        if client.returncode is None:
            client.kill()
        with trio.CancelScope(shield=True):
            code = await client.wait()
    if code:
        raise CommandError(exits.CHECK_FAILED, f"the callers' process ended with code {code}")


def _note(said: Phase | Recovered, observed: _Observed) -> None:
    if isinstance(said, Recovered):
        observed.recovered_s = said.seconds
        return
    observed.phases.append(said)
    observed.ended.append(len(observed.samples))
    sys.stderr.write(
        f"{said.name}: {said.callers} callers, {said.rate:,.0f} accepted a second, "
        f"p99 {said.p99_ms:.0f} ms, {sum(said.refused.values()):,} refused\n"
    )


async def _watch(pid: int, samples: list[float], scope: trio.CancelScope) -> None:
    with scope:
        while True:
            samples.append(anonymous_mib(pid))
            await trio.sleep(_EVERY_S)


def _figures(observed: _Observed, syncs: list[float], paid: float, verified: bool) -> Figures:
    _, full, over, _ = observed.phases
    ended_full, ended_over = observed.ended[1], observed.ended[2]
    missing = abs(sum(phase.accepted for phase in observed.phases) - paid)
    during = observed.samples[ended_full:ended_over]
    fifth = max(1, len(during) // 5)
    parts = [statistics.median(during[n * fifth : (n + 1) * fifth]) for n in range(5)]
    ratio = over.p99_ms / full.p99_ms
    checks: list[tuple[bool, str]] = [
        (ratio <= SLOWER_MAX, f"p99 of the accepted is {ratio:.2f} times that at full load"),
        (parts[4] <= parts[1] * GROWTH_MAX, f"memory grew from {parts[1]:.0f} to {parts[4]:.0f}"),
        (
            observed.recovered_s is not None and observed.recovered_s <= RECOVERED_WITHIN_S,
            f"full speed was back after {observed.recovered_s} s",
        ),
        (sum(over.refused.values()) > 0, "nobody was refused: this was no overload"),
        (
            not any(phase.unexplained for phase in observed.phases),
            "some were refused without being told when to come again",
        ),
        (verified, "the store does not verify"),
        (not missing, f"{missing:g} payments are not in the store, or were not told of"),
    ]
    return Figures(
        phases=observed.phases,
        p99_ratio=ratio,
        recovered_s=observed.recovered_s,
        anonymous_mib_full=max(observed.samples[:ended_full]),
        anonymous_mib=[round(part, 1) for part in parts],
        anonymous_mib_max=max(observed.samples),
        fdatasync_ms=syncs,
        missing=missing,
        verify_ok=verified,
        failed=[what for holds, what in checks if not holds],
    )


def _table(settings: Settings, figures: Figures) -> str:
    lines = [
        f"{phase.name:<9} {phase.callers:>5} callers  {phase.rate:>8,.0f} accepted a second  "
        f"p50 {phase.p50_ms:>7.1f} ms  p99 {phase.p99_ms:>7.1f} ms  refused "
        f"{sum(phase.refused.values()):,}"
        for phase in figures.phases
    ]
    parts = ", ".join(f"{part:.0f}" for part in figures.anonymous_mib)
    lines += [
        f"p99 ratio {figures.p99_ratio:.2f}; full speed again after {figures.recovered_s} s",
        f"anonymous memory: {figures.anonymous_mib_full:.0f} MiB at full load, by fifths of the "
        f"overload {parts} MiB",
        f"raw fdatasync {figures.fdatasync_ms[0]:.2f} ms before, {figures.fdatasync_ms[1]:.2f} "
        "after",
        *(f"FAILED: {what}" for what in figures.failed),
    ]
    return "\n".join(lines) + "\n"
