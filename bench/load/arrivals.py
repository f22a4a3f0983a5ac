"""Arrivals: when operations begin that do not wait for those before.

A Poisson process whose rate is constant within each phase: gaps of a unit rate are stretched by
the rate that is in force (time change), so a gap may begin in one phase and end in another. A seed
gives the same arrivals again. Several processes with a share of the rate each are together one
process of the whole rate.
"""

import random
from collections.abc import Iterator, Sequence

from msgspec import Struct


class Phase(Struct, frozen=True):
    """For so long, operations arrive at this rate a second; 0 for none."""

    seconds: float
    rate: float


def arrivals(phases: Sequence[Phase], seed: int, *, together: int = 1) -> Iterator[int]:
    """Yield when something arrives, in nanoseconds from the beginning, in order.

    Args:
        phases: one after the other; nothing arrives after the last.
        together: how many operations arrive at a time, so that the rate is of operations.
    """
    chance = random.Random(seed)
    begun = 0.0
    gap = chance.expovariate(1.0)
    for phase in phases:
        rate = phase.rate / together
        at = begun
        while rate and at + gap / rate < begun + phase.seconds:
            at += gap / rate
            yield int(at * 1e9)
            gap = chance.expovariate(1.0)
        gap -= (begun + phase.seconds - at) * rate
        begun += phase.seconds
