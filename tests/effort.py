"""How much the tests try: a little with each change, so that CI ends in time, or all that they can.

Set by the variable ``PIAOHAO_TEST_EFFORT``: ``full`` (`./just thorough`) gives the properties with
the dearest examples, the rounds under the longest load and the largest files their full numbers.
What is to hold is the same either way.
"""

import os
from typing import Final

FULL: Final = os.environ.get("PIAOHAO_TEST_EFFORT") == "full"


def effort(usual: int, full: int) -> int:
    """Return how many there are to be: with each change, or when there is time."""
    return full if FULL else usual
