"""Chance: where everything random in a run comes from, the same on every machine.

Python's generator is exact everywhere, and so are the four operations on floating-point numbers;
logarithms and powers are not: they come from the machine's C library, which may round another way.
One last digit makes another run. So times are drawn without them.
"""

import random


class Chance(random.Random):
    """One source of chance."""

    def expovariate(self, lambd: float = 1.0) -> float:
        """Return an exponentially distributed number with the mean 1 / `lambd`.

        By comparing uniform numbers only (von Neumann, "Various techniques used in connection with
        random digits", 1951): a descending run that begins with x is of odd length with
        probability exp(-x); each failure adds one to the result.
        """
        whole = 0
        while True:
            first = last = self.random()
            odd = True
            while (following := self.random()) < last:
                last = following
                odd = not odd
            if odd:
                return (whole + first) / lambd
            whole += 1
