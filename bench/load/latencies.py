"""Latencies: a histogram that is exact to a thousandth, however long they are and however many.

Counts lie in buckets that are as wide as the value's eleventh binary digit, as in an HDR
histogram with three digits: recording costs one addition, two histograms add up, and a million
latencies take a few thousand numbers. A percentile is the middle of its bucket.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

_DIGITS: Final = 11
"""Binary digits of a value that are kept."""


def bucket(latency_ns: int) -> int:
    """Return the least latency that is counted together with this one."""
    low = max(0, latency_ns.bit_length() - _DIGITS)
    return latency_ns >> low << low


class Latencies:
    """Counts of latencies in nanoseconds.

    Args:
        counts: of another one, as `counts` has them.

    Attributes:
        counts: bucket → how many; it can be sent to another process.
    """

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self.counts: Counter[int] = Counter(counts or {})

    def record(self, latency_ns: int, times: int = 1) -> None:
        """Count a latency, of so many payments that were answered together."""
        self.counts[bucket(latency_ns)] += times

    def add(self, counts: Mapping[int, int]) -> None:
        """Count all that another one has counted."""
        self.counts.update(counts)

    def percentile_ms(self, share: float) -> float:
        """Return the latency in ms that a share of all (0 to 1) does not exceed; 0 without any."""
        left = share * self.counts.total()
        latency_ns = 0
        for latency_ns in sorted(self.counts):
            left -= self.counts[latency_ns]
            if left <= 0:
                break
        half = 1 << max(0, latency_ns.bit_length() - _DIGITS) >> 1
        return (latency_ns + half) / 1e6
