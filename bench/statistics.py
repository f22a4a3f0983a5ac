"""What may be said of two things measured in turn, A B A B, on a machine that is not quiet.

Each pair of neighbouring rounds gives one ratio; what slows the machine for a while slows both of
a pair. The ratio of all is the geometric mean, and its 95 % interval is Student's on the
logarithms of the pairs' ratios (a paired t interval). Figures that come in no pairs are held
against each other by Welch's interval on their logarithms, which is wider. Where the interval
holds 1, no difference was shown.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

_QUANTILES: Final = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 0.975, for 1 to 10 degrees of freedom; from there on the expansion is good."""
_NORMAL: Final = 1.959964


class Quoted(Struct, frozen=True):
    """A ratio as a result carries it: JSON knows no infinity.

    Attributes:
        ci95: the 95 % interval; None where there can be none.
        pairs: see `Ratio`.
    """

    ratio: float
    ci95: tuple[float, float] | None
    pairs: int

    def figures(self) -> str:
        """Say it in few words."""
        if self.ci95 is None:
            return f"{self.ratio:.2f}"
        return f"{self.ratio:.2f} ({self.ci95[0]:.2f} to {self.ci95[1]:.2f})"


class Ratio(Struct, frozen=True):
    """How many times as much A is as B.

    Attributes:
        ratio: the geometric mean of the pairs' ratios, or the ratio of geometric means.
        low, high: its 95 % interval; 0 and infinity where too few were measured to show anything.
        pairs: how many pairs it rests on; 0 where the figures were in none.
    """

    ratio: float
    low: float
    high: float
    pairs: int

    @property
    def shown(self) -> bool:
        """Return whether a difference is shown at all."""
        return not self.low <= 1 <= self.high

    @property
    def bounded(self) -> bool:
        """Return whether there is an interval: one figure a side has none."""
        return math.isfinite(self.high)

    def sentence(self) -> str:
        """Say it: a factor with its interval, or that no difference was shown."""
        rest = f"{self.pairs} pairs" if self.pairs else "unpaired"
        figures = f"{self.ratio:.3f} ({self.low:.3f} to {self.high:.3f}, {rest})"
        return figures if self.shown else f"no difference shown: {figures}"

    def quoted(self) -> Quoted:
        """Return it as a result carries it."""
        return Quoted(self.ratio, (self.low, self.high) if self.bounded else None, self.pairs)


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


def unpaired(ours: Sequence[float], others: Sequence[float]) -> Ratio:
    """Return the ratio of ours to others, which were not measured in pairs.

    The interval is Welch's (Biometrika 34, 1947), with the degrees of freedom of Satterthwaite
    rounded down; there is none where a side has a single figure.

    Args:
        ours, others: figures above 0, in any order, as many of each as there are.

    Raises:
        ValueError: a side has none, or one is not above 0.
    """
    if not ours or not others or min(*ours, *others) <= 0:
        raise ValueError("a ratio takes figures above 0")
    sides = [[math.log(figure) for figure in side] for side in (ours, others)]
    mean = statistics.fmean(sides[0]) - statistics.fmean(sides[1])
    if min(map(len, sides)) == 1:
        return Ratio(math.exp(mean), 0.0, math.inf, 0)
    errors = [statistics.variance(side) / len(side) for side in sides]
    squares = sum(error**2 / (len(side) - 1) for error, side in zip(errors, sides, strict=True))
    # Figures that are all the same leave nothing to be unsure of, however few they are.
    degrees = int(sum(errors) ** 2 / squares) if squares else 1
    half = student_t(max(1, degrees)) * math.sqrt(sum(errors))
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), 0)


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
