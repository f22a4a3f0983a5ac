"""A fuzz target: one function of bytes that lets nothing out but what is documented.

The function swallows the typed errors that the code under test promises, and raises for anything
else: another exception, or an `AssertionError` where two readings of the same bytes differ. Seeds
are valid inputs, few and short, from which both drivers make theirs (`test_fuzz`, by Hypothesis,
and `campaign`, by atheris). What has ever failed lies in `corpus/TARGET/` under a name that says
what it was, and is a seed like the others.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

CORPUS: Final = Path(__file__).parent / "corpus"


class Target(Struct, frozen=True):
    """What is fuzzed, and with what.

    Attributes:
        name: for the command line, and of its folder in `corpus/`.
        run: takes one input; whatever it raises is a finding.
        sown: valid inputs, and such as are nearly so.
        tokens: what means something in them.
    """

    name: str
    run: Callable[[bytes], None]
    sown: tuple[bytes, ...]
    tokens: tuple[bytes, ...] = ()

    def seeds(self) -> tuple[bytes, ...]:
        """Return all inputs to begin with, those of the corpus at the end."""
        kept = sorted((CORPUS / self.name).glob("*"))
        return (*self.sown, *(each.read_bytes() for each in kept))


def pieces(data: bytes, size: int) -> list[bytes]:
    """Return the data cut into pieces of a size, the last one as long as it comes out."""
    return [data[at : at + size] for at in range(0, len(data), size)]
