"""Results as runs and comparisons write them, made up from a seed, for reports to be made of."""

import math
import random
from pathlib import Path
from typing import Any

import msgspec
from hdrh.histogram import HdrHistogram

from bench.load.machine import Machine
from bench.peers.plan import Target, settings
from bench.peers.result import Comparison, Load, Round, Syncs, bound_row, row
from bench.runs.result import (
    Bottleneck,
    Checked,
    Closed,
    Cpu,
    Fdatasync,
    Latency,
    Open,
    Operation,
    Phase,
    Point,
    Result,
    Series,
    Spread,
    Store,
    encode,
)

MACHINE = Machine(
    cpu="AMD EPYC",
    cores=2,
    memory_mib=24_576,
    kernel="6.1.0",
    python="3.11.2",
    packages={"trio": "0.35.0", "lmdb": "3.0.0", "liblmdb": "0.9.36"},
    commit="0123456789ab",
)
CHECKED = Checked(
    ok=True,
    verify_ok=True,
    violations=[],
    accounts=10_100,
    missing_minor=0,
    untold_minor=0,
    unknown_minor=0,
    signatures=42_000,
)


def result(seed: int = 1, *, speed: float = 1.0, seconds: int = 30, **other: Any) -> Result:
    """A closed loop of payments over the express listener, so many times as fast.

    Args:
        other: fields that shall be something else.
    """
    chance = random.Random(seed)
    rate = 1_700 * speed * math.exp(chance.gauss(0, 0.02))
    done = int(rate * seconds)
    latency = latencies(chance, done, 18 / speed)
    operation = Operation(done, rate, {"DONE": done, "INSUFFICIENT_FUNDS": 31}, latency)
    known: dict[str, Any] = {
        "format": 1,
        "workload": "payments",
        "target": "express",
        "loop": Closed(in_flight=32, connections=32, depth=1, batch=1),
        "settings": {"seconds": seconds, "accounts": 10_000, "payers": "uniform", "seed": seed},
        "seed": seed,
        "order_numbers": "dated and sequential",
        "store": Store("fresh", 10_000, 100, 1, 20_000, 12, dropped=False),
        "began_at": f"2026-11-28T10:{seed:02d}:00Z",
        "seconds": float(seconds),
        "warm_up_s": 5.0,
        "machine": MACHINE,
        "operations": {"pay": operation},
        "together": operation,
        "series": series(chance, rate, seconds, 18 / speed),
        "fdatasync": Fdatasync(*(Spread(40, 0.11, 1.9, 3.1) for _ in range(3))),
        "cpu": Cpu(620 / speed, 180, 1.05, 0.31, 0.31, None),
        "anonymous_mib": 88.0,
        "bottleneck": Bottleneck("server", "its event loop's thread took 0.98 of a core"),
        "unexplained": 0,
        "checked": CHECKED,
    }
    return Result(**(known | other))


def open_loop(seed: int = 1, **other: Any) -> Result:
    """A wave: quiet, then twenty times as much, of which much is refused."""
    phases = [Phase(5, 100), Phase(10, 100), Phase(10, 2_000), Phase(10, 100)]
    loop = Open(733.3, phases, 64, 1, 1_650.0, 22_000, 2.1, 9.4)
    chance = random.Random(seed)
    points = [
        point
        for phase, at in ((100, 0), (1_400, 10), (100, 20))
        for point in series(chance, phase, 10, 12 if phase == 100 else 480, begin=at).points
    ]
    together = Operation(
        16_000,
        533.3,
        {"DONE": 16_000, "OVERLOADED": 5_800, "NOT_SENT": 200},
        latencies(chance, 16_000, 60),
    )
    names = ("authorize", "pay", "refund")
    operations = {
        name: Operation(share, share / 30, {"DONE": share}, latencies(chance, share, 10.0 + n * 9))
        for n, (name, share) in enumerate(zip(names, (1_600, 13_000, 1_400), strict=True))
    }
    known: dict[str, Any] = {
        "workload": "burst",
        "loop": loop,
        "together": together,
        "operations": operations,
        "series": Series(1.0, points),
        "bottleneck": Bottleneck("rate", "an open loop asked for no more"),
    }
    return result(seed, **(known | other))


def latencies(chance: random.Random, count: int, median_ms: float) -> Latency:
    """Log-normal ones, in a histogram of their own."""
    histogram = HdrHistogram(1, 3_600_000_000_000, 3)
    for _ in range(1_000):
        ns = int(median_ms * 1e6 * math.exp(chance.gauss(0, 0.35)))
        histogram.record_value(ns, count // 1_000)
    shares = [50.0, 90.0, 99.0, 99.9, 100.0]
    p50, p90, p99, p999, most = (histogram.get_value_at_percentile(each) / 1e6 for each in shares)
    packed = histogram.encode()
    text = packed.decode() if isinstance(packed, bytes) else str(packed)
    return Latency(count, median_ms * 1.06, p50, p90, p99, p999, most, text)


def series(
    chance: random.Random, rate: float, seconds: int, latency_ms: float, *, begin: int = 0
) -> Series:
    """So many seconds of about this rate."""

    def about(value: float, spread: float = 0.08) -> float:
        return value * math.exp(chance.gauss(0, spread))

    points = [
        Point(
            at_s=float(begin + second + 1),
            done=int(about(rate)),
            refused=int(about(580)) if rate == 1_400 else 0,
            p50_ms=about(latency_ms),
            p99_ms=about(latency_ms * 1.9, 0.2),
            max_ms=about(latency_ms * 3, 0.3),
            batch=about(15),
            commit_ms_p50=about(1.9),
            commit_ms_p99=about(5.2, 0.3),
            fdatasync_ms=about(0.12, 0.4),
            cpu_server=about(1.05, 0.03),
            cpu_clients=about(0.31, 0.05),
            anonymous_mib=60 + latency_ms + (begin + second) * 0.6,
        )
        for second in range(seconds)
    ]
    return Series(1.0, points)


def comparison(pairs: int = 6) -> Comparison:
    """A comparison with rows that reach their aim, are met, are missed, or have no target."""
    chance = random.Random(3)

    def about(value: float) -> list[float]:
        return [value * math.exp(chance.gauss(0, 0.06)) for _ in range(pairs)]

    syncs = about(0.12)
    begin = "engine, {}, 100,000 accounts, 1,024 in flight"
    function = "one PL/pgSQL function (pgbench, 32 clients, the better of 8 and 32)"
    measured = [
        (f"{begin.format('uniform')}, against {function}", 14_300, 4_100, Target(2, 4)),
        (f"{begin.format('one hot merchant')}, against {function}", 19_600, 1_450, Target(6, 12)),
        (f"{begin.format('zipf')}, against {function}", 14_200, 2_400, None),
        (
            f"{begin.format('uniform')}, against psycopg with row locks (8 connections)",
            14_300,
            1_300,
            None,
        ),
        (
            "gateway, single, express listener, 64 connections, signed, against FastAPI on uvicorn "
            "(row locks, 2 workers, pool of 16)",
            1_680,
            640,
            Target(3, 8),
        ),
        ("gateway, WebSocket, frames of 500, signed, against FastAPI", 8_900, 640, Target(10, 30)),
    ]
    rows = [row(name, about(a), about(b), syncs, target) for name, a, b, target in measured]
    rows.append(bound_row("open loop at half load, p99", about(21), 26.5, 11.2, "ms", syncs))
    load = Load(0.93, 0.02, 0.0)
    rounds = [
        Round(
            "uniform, 100,000 accounts",
            side,
            pair,
            0,
            value,
            "payments/s",
            3.0,
            load,
            load,
            disturbed=False,
            kept=True,
        )
        for pair, both in enumerate(rows[0].pairs)
        for side, value in zip(("ours", "function32"), both, strict=True)
    ]
    return Comparison(
        format=1,
        peer="PostgreSQL",
        begun="2026-11-28T09:00:00Z",
        seconds=3_520.0,
        settings=settings(quick=False, seed=1),
        machine=MACHINE,
        peer_settings={"server_version": "15.8", "shared_buffers": "4GB", "fsync": "on"},
        fdatasync=Syncs(2_400, 0.12, 2.1, 9.0),
        rows=rows,
        rounds=rounds,
        notes=["FastAPI on uvicorn: of 16 forms row locks with 2 workers were the fastest"],
        left_out=["memory with 10,000,000 accounts: --quick leaves it out"],
        repeated=3,
        disturbed=1,
    )


def write(path: Path, what: Result | Comparison) -> Path:
    """Write a result to a file and return its path."""
    path.write_bytes(encode(what) if isinstance(what, Result) else msgspec.json.encode(what))
    return path
