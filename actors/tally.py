"""Tallies and sides: how an audit compares what is met in any order, and what it reports.

What one side says is kept until the other has said the same, and forgotten then; so memory is taken
only by what one side has told and the other has not yet.
"""

from collections.abc import Container, Iterator
from typing import NamedTuple


class Violation(NamedTuple):
    """Something that must hold and does not.

    Attributes:
        invariant: its name in the table of `actors.audit`.
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


class Sides:
    """Two sides that must say the same of a thing.

    Args:
        invariant: that they do.
        excused: things of which they may differ, or one may be missing.
    """

    def __init__(self, invariant: str, excused: Container[tuple[str, str]] = ()) -> None:
        self._invariant = invariant
        self._excused = excused
        self._open: dict[tuple[str, str], tuple[str, str, tuple[object, ...]]] = {}

    def tell(
        self, thing: tuple[str, str], table: str, key: str, says: tuple[object, ...]
    ) -> Iterator[Violation]:
        """Keep the side that is met first, and compare it with the other.

        Args:
            thing: (address, name) of what it is about.
            table: where this side was met.
            key: of this side, for people.
            says: its figures.
        """
        other = self._open.pop(thing, None)
        if other is None:
            self._open[thing] = (table, key, says)
        elif other[2] != says and thing not in self._excused:
            detail = f"{says}, but {other[1]} says {other[2]}"
            yield Violation(self._invariant, table, key, detail)

    def left(self) -> Iterator[Violation]:
        """Yield what only one side has told."""
        for thing, (table, key, _) in self._open.items():
            if thing not in self._excused:
                yield Violation(self._invariant, table, key, "has no other side")
