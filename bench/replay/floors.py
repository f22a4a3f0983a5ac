"""Floors: what there certainly is in accounts and with merchants, however rows race.

A floor is the least that may be available once everything that was sent has been carried out: it
falls by a debit when the debit is planned and rises by a credit when the credit is known to have
succeeded. It may be too low (a hold that expires is not noticed), never too high. Where nothing is
known the floor is zero, which is always true.
"""

from typing import Final

FLOORS_MAX: Final = 100_000


class Floors:
    """The floors of the funds touched last, bounded in number."""

    def __init__(self) -> None:
        self._minor: dict[str, int] = {}

    def of(self, funds: str) -> int:
        """Return what is certainly there, in minor units."""
        return self._minor.get(funds, 0)

    def begin(self, funds: str, amount_minor: int) -> None:
        """Learn what is there, unless that is known already."""
        if funds not in self._minor:
            self.add(funds, amount_minor)

    def add(self, funds: str, amount_minor: int) -> None:
        """Raise or lower a floor."""
        floor = self._minor.pop(funds, 0) + amount_minor
        self._minor[funds] = floor
        if len(self._minor) > FLOORS_MAX:
            self._forget()

    def _forget(self) -> None:
        """Forget a floor that has not moved for long; one below zero must not rise by that."""
        for funds, floor in self._minor.items():
            if floor >= 0:
                del self._minor[funds]
                return
