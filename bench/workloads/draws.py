"""Draws: who is next, by a distribution that the field knows.

Zipf's is drawn as YCSB does it (Gray et al., Quickly Generating Billion-Record Synthetic Databases,
SIGMOD 1994, section 3): constant memory, whatever the number. Ranks are scattered over the numbers,
so that the favourites are no neighbours in the store.
"""

import math
from typing import Final

ZIPF_S: Final = 0.99
_EXACT: Final = 10_000
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
"""Steps of this share of a circle keep away from where earlier ones fell (Weyl, Knuth 6.4)."""


class Zipf:
    """Ranks 0 to n - 1; rank r comes with a probability proportional to 1 / (r + 1)^s."""

    def __init__(self, n: int, s: float = ZIPF_S) -> None:
        self._n = n
        self._sum = harmonic(n, s)
        self._alpha = 1 / (1 - s)
        second = 1 + 0.5**s
        self._second = second
        self._eta = 0.0
        if n > 2:
            self._eta = (1 - (2 / n) ** (1 - s)) / (1 - second / self._sum)

    def rank(self, chance: float) -> int:
        """Return a rank for a number that was drawn evenly from 0 to below 1."""
        scaled = chance * self._sum
        if scaled < 1:
            return 0
        if scaled < self._second:
            return 1
        rank = int(self._n * (self._eta * chance - self._eta + 1) ** self._alpha)
        return min(rank, self._n - 1)


def harmonic(n: int, s: float) -> float:
    """Return the sum of 1 / k^s for k from 1 to n: the first ten thousand one by one, the rest by
    Euler and Maclaurin's formula, right to twelve digits."""
    first = min(n, _EXACT)
    exact = math.fsum(k**-s for k in range(1, first + 1))
    if n == first:
        return exact
    between: float = (n ** (1 - s) - first ** (1 - s)) / (1 - s)
    ends: float = (n**-s - first**-s) / 2
    slopes: float = s / 12 * (first ** (-s - 1) - n ** (-s - 1))
    return exact + between + ends + slopes


class Scatter:
    """A permutation of 0 to n - 1 that a seed determines and that takes no memory."""

    def __init__(self, n: int, seed: int) -> None:
        self._n = n
        step = int(n * _GOLDEN) or 1
        while math.gcd(step, n) != 1:
            step += 1
        self._step = step
        self._offset = seed * 7_919 % n

    def at(self, position: int) -> int:
        """Return the number at a position; positions beyond n - 1 begin again."""
        return (position * self._step + self._offset) % self._n
