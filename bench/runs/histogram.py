"""Histograms: latencies as HdrHistogram writes them, for any tool that reads its V2 format.

Ours keep the same eleven binary digits as one with three decimal digits, so each of our buckets is
one of its own, and nothing is lost on the way.
"""

from collections.abc import Mapping
from typing import Final

from hdrh.histogram import HdrHistogram

from bench.load.latencies import Latencies
from bench.runs.result import Latency

HIGHEST_NS: Final = 3_600_000_000_000
"""An hour; what is longer counts as that long."""
DIGITS: Final = 3


def latency(counts: Mapping[int, int]) -> Latency | None:
    """Return what is to be said of latencies, as `Latencies.counts` has them; None for none."""
    if not counts:
        return None
    ours = Latencies(counts)
    histogram = HdrHistogram(1, HIGHEST_NS, DIGITS)
    for latency_ns, count in counts.items():
        histogram.record_value(min(max(1, latency_ns), HIGHEST_NS), count)
    total = ours.counts.total()
    encoded: bytes = histogram.encode()
    return Latency(
        count=total,
        mean_ms=sum(each * count for each, count in counts.items()) / total / 1e6,
        p50_ms=ours.percentile_ms(0.50),
        p90_ms=ours.percentile_ms(0.90),
        p99_ms=ours.percentile_ms(0.99),
        p999_ms=ours.percentile_ms(0.999),
        max_ms=ours.percentile_ms(1.0),
        hdr=encoded.decode("ascii"),
    )


def decoded(latency_: Latency) -> HdrHistogram:
    """Return the histogram of a latency, in nanoseconds."""
    histogram: HdrHistogram = HdrHistogram.decode(latency_.hdr.encode("ascii"))
    return histogram
