"""The summary: what a loop came to, as a result has it."""

from collections.abc import Sequence
from statistics import median

from bench.load.latencies import Latencies
from bench.load.tally import DONE, NOT_SENT, Interval, Kind
from bench.runs.histogram import latency
from bench.runs.measured import Measured
from bench.runs.result import Cpu, Fdatasync, Operation, Point, Series, Spread
from bench.runs.sampler import Sample


def operations(measured: Measured, seconds: float) -> dict[str, Operation]:
    """Return what came of each kind of operation, by name."""
    return {name: _operation(kind, seconds) for name, kind in sorted(measured.kinds.items())}


def together(measured: Measured, seconds: float) -> Operation:
    """Return what came of all of them."""
    all_ = Kind()
    for kind in measured.kinds.values():
        all_.add(kind)
    if measured.not_sent:
        all_.outcomes[NOT_SENT] = measured.not_sent
    return _operation(all_, seconds)


def _operation(kind: Kind, seconds: float) -> Operation:
    # What was carried out comes first, then what is most.
    outcomes = sorted(kind.outcomes.items(), key=lambda each: (each[0] != DONE, -each[1]))
    return Operation(kind.done, kind.done / seconds, dict(outcomes), latency(kind.latencies))


def series(measured: Measured, seconds: float, every_s: float) -> Series:
    """Return the window by intervals; one that nobody looked at has counts alone."""
    points = []
    for number, interval in enumerate(measured.intervals):
        at_s = min((number + 1) * every_s, seconds)
        seen = measured.samples[number] if number < len(measured.samples) else None
        points.append(_point(at_s, interval, seen))
    return Series(every_s, points)


def _point(at_s: float, interval: Interval, seen: Sample | None) -> Point:
    latencies = Latencies(interval.latencies) if interval.latencies else None
    return Point(
        at_s=round(at_s, 6),
        done=interval.done,
        refused=interval.refused,
        p50_ms=None if latencies is None else latencies.percentile_ms(0.50),
        p99_ms=None if latencies is None else latencies.percentile_ms(0.99),
        max_ms=None if latencies is None else latencies.percentile_ms(1.0),
        batch=None if seen is None else seen.batch,
        commit_ms_p50=None if seen is None else seen.commit_ms_p50,
        commit_ms_p99=None if seen is None else seen.commit_ms_p99,
        fdatasync_ms=None if seen is None else median(seen.syncs_ms),
        cpu_server=None if seen is None else seen.cpu_server,
        cpu_clients=None if seen is None else seen.cpu_clients,
        anonymous_mib=None if seen is None else seen.anonymous_mib,
    )


def cpu(measured: Measured) -> Cpu:
    """Return what each side took of the CPU."""
    done, took_s = measured.done_all, measured.took_s
    clients_s, busiest_s = measured.cpu_clients_s, measured.busiest_client_s

    def each_us(taken_s: float | None) -> float | None:
        return taken_s / done * 1e6 if done and taken_s is not None else None

    return Cpu(
        server_us=each_us(measured.cpu_server_s),
        clients_us=each_us(clients_s),
        server_cores=measured.cpu_server_s / took_s,
        clients_cores=None if clients_s is None else clients_s / took_s,
        busiest_client=None if busiest_s is None else busiest_s / took_s,
        loop_cores=None if measured.loop_cpu_s is None else measured.loop_cpu_s / took_s,
        others_cores=measured.others_s / took_s,
    )


def fdatasync(
    before: Sequence[float], samples: Sequence[Sample], after: Sequence[float]
) -> Fdatasync:
    """Return what raw syncs took, in milliseconds."""
    during = [each for seen in samples for each in seen.syncs_ms]
    return Fdatasync(_spread(before), _spread(during) if during else None, _spread(after))


def _spread(times_ms: Sequence[float]) -> Spread:
    ascending = sorted(times_ms)
    p99 = ascending[min(len(ascending) - 1, int(len(ascending) * 0.99))]
    return Spread(len(ascending), median(ascending), p99, ascending[-1])
