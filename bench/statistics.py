"""What may be said of two things measured in turn, A B A B, on a machine that is not quiet.

Each pair of neighbouring rounds gives one ratio; what slows the machine for a while slows both of
a pair. The ratio of all is the geometric mean, and its 95 % interval is Student's on the
logarithms of the pairs' ratios (a paired t interval). Where the interval holds 1, no difference
was shown.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

_QUANTILES: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 0.975, for 1 to 10 degrees of freedom; from there on the expansion is good."""
_NORMAL: Final = 1.959964


class Ratio(Struct, frozen=True):
    """How many times as much A is as B.

    Attributes:
        ratio: the geometric mean of the pairs' ratios.
        low, high: its 95 % interval; 0 and infinity for a single pair, which shows nothing.
        pairs: how many pairs it rests on.
    """

    ratio: float
    low: float
    high: float
    pairs: int

    @property
    def shown(self) -> bool:
        """Return whether a difference is shown at all."""
        return not self.low <= 1 <= self.high

    def sentence(self) -> str:
        """Say it: a factor with its interval, or that no difference was shown."""
        figures = f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f}, {self.pairs} pairs)"
        return figures if self.shown else f"no difference shown: {figures}"


def paired(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """Return the ratio of ours to others, measured in pairs.

    Args:
        ours, others: figures above 0, the nth of each from the same pair of rounds.

    Raises:
        ValueError: there are none, or not as many of each, or one is not above 0.
    """
    if not ours or min(*ours, *others) <= 0:
        raise ValueError("a ratio takes pairs of figures above 0")
    logs = [math.log(a / b) for a, b in zip(ours, others, strict=True)]
    mean = statistics.fmean(logs)
    if len(logs) == 1:
        return Ratio(math.exp(mean), 0.0, math.inf, 1)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = student_t(len(logs) - 1) * error
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def geometric_mean(figures: Sequence[float]) -> float:
    """Return the geometric mean of figures above 0."""
    return math.exp(statistics.fmean(map(math.log, figures)))


def student_t(degrees: int) -> float:
    """Return Student's t at 0.975; above 10 degrees by Hill's expansion about the normal quantile
    (Abramowitz and Stegun, 26.7.5), right to three decimals."""
    if degrees <= len(_QUANTILES):
        return _QUANTILES[degrees - 1]
    z = _NORMAL
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
