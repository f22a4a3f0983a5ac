"""Measures: the figures by which runs are told apart, each with its unit and its better end.

A report lists them and a difference takes their ratios, so both speak of the same things. What a
run did not measure is None: no figure stands in for it.
"""

from collections.abc import Callable
from statistics import median
from typing import Final

from msgspec import Struct

from bench.runs.result import Latency, Point, Result


class Measure(Struct, frozen=True):
    """One figure of a run.

    Attributes:
        better: which end is the better one; empty for what only explains the others.
        of: takes it from a result.
    """

    name: str
    unit: str
    better: str
    of: Callable[[Result], float | None]


def _latency(take: Callable[[Latency], float]) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        latency = result.together.latency
        return None if latency is None else take(latency)

    return of


def _typical(take: Callable[[Point], float | None]) -> Callable[[Result], float | None]:
    def of(result: Result) -> float | None:
        taken = [each for point in result.series.points if (each := take(point)) is not None]
        return median(taken) if taken else None

    return of


def _fdatasync(result: Result) -> float:
    """Return the median that was raw while the run went on, or before and after where it was not
    measured meanwhile."""
    spreads = result.fdatasync
    if spreads.during is not None:
        return spreads.during.p50_ms
    return (spreads.before.p50_ms + spreads.after.p50_ms) / 2


MEASURES: Final = (
    Measure("rate", "operations/s", "more", lambda result: result.together.per_second),
    Measure("latency p50", "ms", "less", _latency(lambda latency: latency.p50_ms)),
    Measure("latency p90", "ms", "less", _latency(lambda latency: latency.p90_ms)),
    Measure("latency p99", "ms", "less", _latency(lambda latency: latency.p99_ms)),
    Measure("latency p99.9", "ms", "less", _latency(lambda latency: latency.p999_ms)),
    Measure("latency max", "ms", "less", _latency(lambda latency: latency.max_ms)),
    Measure("CPU server", "µs/operation", "less", lambda result: result.cpu.server_us),
    Measure("CPU clients", "µs/operation", "less", lambda result: result.cpu.clients_us),
    Measure("CPU of others", "cores", "", lambda result: result.cpu.others_cores),
    Measure("memory", "MiB", "less", lambda result: result.anonymous_mib),
    Measure("batch", "commands/commit", "", _typical(lambda point: point.batch)),
    Measure("commit p50", "ms", "less", _typical(lambda point: point.commit_ms_p50)),
    Measure("raw fdatasync p50", "ms", "", _fdatasync),
)


def refused(result: Result) -> dict[str, int]:
    """Return what was not carried out, by code, the most frequent first."""
    outcomes = result.together.outcomes.items()
    codes = [(code, many) for code, many in outcomes if code != "DONE" and many]
    return dict(sorted(codes, key=lambda each: (-each[1], each[0])))
