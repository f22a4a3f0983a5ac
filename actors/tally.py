"""Tallies: how an audit compares two sides that are met in any order, and what it reports.

What one side says is added, what the other says is taken off, and what comes to zero is forgotten;
so memory is taken only by what one side has told and the other has not yet.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Violation(NamedTuple):
    """Something that must hold and does not.

    Attributes:
        invariant: its name in the table above.
        table: where it was met: actors, records, journal or messages.
        key: what it is about, for people: an address, a ledger account, a record's name.
        detail: the figures that do not fit.
    """

    invariant: str
    table: str
    key: str
    detail: str


class Tally:
    """Two sides that must come to the same: one adds, the other takes off, the rest is wrong."""

    def __init__(self, invariant: str, table: str, *figures: str) -> None:
        self._invariant = invariant
        self._table = table
        self._figures = figures
        self._open: dict[str, tuple[int, ...]] = {}

    def add(self, key: str, *amounts: int) -> None:
        """Count amounts, one for each figure; what comes to zero is forgotten."""
        before = self._open.get(key)
        if before is not None:
            amounts = tuple(map(sum, zip(before, amounts, strict=True)))
        if any(amounts):
            self._open[key] = amounts
        elif before is not None:
            del self._open[key]

    def take(self, key: str, *amounts: int) -> None:
        """Count amounts of the other side."""
        self.add(key, *(-amount for amount in amounts))

    def left(self) -> Iterator[Violation]:
        """Yield what did not come to zero."""
        for key, amounts in self._open.items():
            off = zip(self._figures, amounts, strict=True)
            detail = ", ".join(f"{figure} off by {amount}" for figure, amount in off if amount)
            yield Violation(self._invariant, self._table, key, detail)
