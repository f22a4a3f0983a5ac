"""The books: running sums that prove, at every commit, that no money came or went.

Money is always in an account or in a durable message. For each open business date and currency
the postings' sum plus the money in outbox and parked rows is zero; a commit that would break
that is never written.
"""

from typing import Any

from engine.turn import ConservationError
from storage.journal import Sum


class Books:
    """Sums per open business date and currency, as of the turns merged so far."""

    def __init__(self, sums: tuple[Sum, ...]) -> None:
        self._postings: dict[tuple[str, str], int] = {}
        self._messages: dict[tuple[str, str], int] = {}
        for each in sums:
            self._postings[each.business_date, each.currency] = each.postings_minor
            self._messages[each.business_date, each.currency] = each.messages_minor

    def post(self, business_date: str, currency: str, amount_minor: int) -> None:
        """Count the sum of a turn's postings (signed)."""
        key = (business_date, currency)
        self._postings[key] = self._postings.get(key, 0) + amount_minor

    def keep(self, envelope: Any) -> None:
        """Count the money of a message that becomes a durable row."""
        if envelope.amount_minor:
            key = (envelope.business_date, envelope.currency)
            self._messages[key] = self._messages.get(key, 0) + envelope.amount_minor

    def take(self, envelope: Any) -> None:
        """Count the money of a message whose row goes because its receiver had its turn."""
        if envelope.amount_minor:
            self._messages[envelope.business_date, envelope.currency] -= envelope.amount_minor

    def sums(self) -> tuple[Sum, ...]:
        """Return the sums for a commit row.

        Raises:
            ConservationError: some date and currency does not come out to zero.
        """
        keys = self._postings.keys() | self._messages.keys()
        sums = tuple(
            Sum(date, currency, self._postings.get(key, 0), self._messages.get(key, 0))
            for key in sorted(keys)
            for date, currency in (key,)
        )
        for each in sums:
            if each.postings_minor + each.messages_minor:
                raise ConservationError(f"the books do not balance: {each}")
        return sums

    def close(self, business_date: str) -> dict[str, int]:
        """Forget a date that has nothing under way; returns its (zero) sums by currency.

        Raises:
            ConservationError: the date does not balance by itself.
        """
        closed = {}
        for key in [key for key in self._postings if key[0] == business_date]:
            if self._postings[key] or self._messages.get(key, 0):
                raise ConservationError(f"{business_date} does not balance in {key[1]}")
            closed[key[1]] = self._postings.pop(key)
        for key in [key for key in self._messages if key[0] == business_date]:
            del self._messages[key]
        return closed
