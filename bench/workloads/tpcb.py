"""TPC-B as pgbench plays it (PostgreSQL documentation, pgbench, "TPC-B (sort of)").

There an account, a teller and a branch are each changed by the same amount, and a line is added to
a history: sums that are kept beside the accounts. In a ledger money comes from somewhere, so here
the teller pays the customer, or is paid, and the branch makes it up to the teller: two transfers
of the same amount, one after the other, and the look at the account that pgbench takes. The account
changes as there, the branch by the same the other way, and the teller is passed through; the
history is the journal. As there all transactions of a branch meet at one account.
"""

import random
from typing import Any, Final

from msgspec import Struct

from actors.commands import CreateTransfer
from bench.bulk import CURRENCY, account_no
from bench.workloads.errand import AccountLookup, Errand, Numbers, OrderNumbers, Source

BRANCH_ACCOUNTS: Final = 100_000
BRANCH_TELLERS: Final = 10
DELTA_MAX: Final = 5_000
"""Amounts are from minus this to this, but for 0, which moves nothing."""


class Tpcb(Struct, frozen=True):
    """Who does business: so many accounts, then ten tellers a branch, then the branches."""

    accounts: int
    seed: int = 1
    order_numbers: OrderNumbers = "sequential"

    @property
    def branches(self) -> int:
        """How many there are: one for each hundred thousand accounts (pgbench's scale)."""
        return branches(self.accounts)

    def source(self, number: int, prefix: str) -> Source:
        """Return the source of this number; `prefix` begins its numbers."""
        return _Source(self, number, Numbers(prefix, self.order_numbers))


def branches(accounts: int) -> int:
    """Return how many branches so many accounts have."""
    return -(-accounts // BRANCH_ACCOUNTS)


class _Source(Source):
    def __init__(self, tpcb: Tpcb, number: int, numbers: Numbers) -> None:
        self._accounts = tpcb.accounts
        self._branches = tpcb.branches
        self._chance = random.Random(tpcb.seed * 10_007 + number)
        self._numbers = numbers

    def take(self, count: int) -> list[Errand]:
        """Return the next transactions."""
        return [self._transaction() for _ in range(count)]

    def learn(self, errand: Errand, *, done: bool) -> None:
        """Learn nothing: transactions do not hang together."""

    def _transaction(self) -> Errand:
        draw, accounts = self._chance.randrange, self._accounts
        tellers = self._branches * BRANCH_TELLERS
        customer = account_no(draw(accounts))
        teller = account_no(accounts + draw(tellers))
        branch = account_no(accounts + tellers + draw(self._branches))
        delta = draw(1, DELTA_MAX + 1)

        def look(_: Any) -> Errand:
            return Errand("transaction", AccountLookup(customer))

        if self._chance.random() < 0.5:
            first, second = (teller, customer), (branch, teller)
        else:
            first, second = (customer, teller), (teller, branch)

        def make_up(_: Any) -> Errand:
            return self._transfer(*second, delta, look)

        return self._transfer(*first, delta, make_up)

    def _transfer(self, giver: str, taker: str, minor: int, then: Any) -> Errand:
        ask = CreateTransfer(giver, self._numbers.next(), taker, minor, CURRENCY)
        return Errand("transaction", ask, minor, then)
