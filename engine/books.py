"""The books: running sums that prove, at every commit, that no money came or went.

Money is always in an account or in a durable message. For each open business date and currency
the postings' sum plus the money that is parked or on its way to the shard itself, plus what it has
sent to other shards less what it has received from them, is zero; a commit that would break that
is never written.
"""

from typing import Any

from engine.turn import ConservationError
from storage.journal import Sum


class Books:
    """Sums per open business date and currency, as of the turns merged so far."""

    def __init__(self, sums: tuple[Sum, ...]) -> None:
        self._postings: dict[tuple[str, str], int] = {}
        self._messages: dict[tuple[str, str], int] = {}
        self._sent: dict[tuple[str, str], int] = {}
        self._received: dict[tuple[str, str], int] = {}
        for each in sums:
            self._postings[each.business_date, each.currency] = each.postings_minor
            self._messages[each.business_date, each.currency] = each.messages_minor
            if each.sent_minor:
                self._sent[each.business_date, each.currency] = each.sent_minor
            if each.received_minor:
                self._received[each.business_date, each.currency] = each.received_minor

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

    def send(self, envelope: Any) -> None:
        """Count the money of a message that leaves for another shard."""
        key = (envelope.business_date, envelope.currency)
        self._sent[key] = self._sent.get(key, 0) + envelope.amount_minor

    def receive(self, envelope: Any) -> None:
        """Count the money of a message that another shard has sent."""
        if envelope.amount_minor:
            key = (envelope.business_date, envelope.currency)
            self._received[key] = self._received.get(key, 0) + envelope.amount_minor

    def sums(self) -> tuple[Sum, ...]:
        """Return the sums for a commit row.

        Raises:
            ConservationError: some date and currency does not come out to zero.
        """
        keys = self._postings.keys() | self._messages.keys()
        if self._sent or self._received:
            keys = keys | self._sent.keys() | self._received.keys()
        sums = tuple(self._sum(key) for key in sorted(keys))
        for each in sums:
            if each.off_minor:
                raise ConservationError(f"the books do not balance: {each}")
        return sums

    def close(self, business_date: str) -> list[Sum]:
        """Forget a date that has nothing under way; returns its sums, one a currency.

        Raises:
            ConservationError: the date does not balance by itself.
        """
        tables = (self._postings, self._messages, self._sent, self._received)
        keys = {key for table in tables for key in table if key[0] == business_date}
        closed = [self._sum(key) for key in sorted(keys)]
        for each in closed:
            if each.off_minor or each.messages_minor:
                raise ConservationError(f"{business_date} does not balance: {each}")
        for key in keys:
            for table in tables:
                table.pop(key, None)
        return closed

    def _sum(self, key: tuple[str, str]) -> Sum:
        return Sum(
            *key,
            self._postings.get(key, 0),
            self._messages.get(key, 0),
            self._sent.get(key, 0),
            self._received.get(key, 0),
        )
