"""What a run found: the first thing that must hold and did not, by the name of its checker."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

EXCEPTIONS: Final = frozenset({"engine", "turns"})
"""What is found because something raised by itself, not because a checker saw it."""


class Failure(Struct, frozen=True):
    """The first failure of a run.

    Attributes:
        step: how many of the clients' steps had begun.
        checker: what found it.
        detail: what is wrong, for people.
    """

    step: int
    checker: str
    detail: str


Fail = Callable[[str, str], None]
"""Told the name of a checker and what is wrong; the first call ends the run."""
