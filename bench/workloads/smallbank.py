"""SmallBank, as BenchBase weighs it (Alomari et al., The Cost of Serializability on Platforms That
Use Snapshot Isolation, ICDE 2008; BenchBase, benchmarks/smallbank).

A customer has two accounts of ours, checking and savings. What comes from outside or goes there
(deposits, checks, what is taken from savings) runs through the bank's clearing account, so that no
money is made or lost. Two operations differ from the source, because ours keep what the source
does not: Amalgamate gives all that there is to the other customer, where the source loses some; and
a check that checking does not cover is declined, where the source lets the account go below zero.
"""

import random
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from actors.account import Account
from actors.commands import CreateTransfer, FundAccount, WithdrawFunds
from bench.bulk import CURRENCY, account_no
from bench.workloads.draws import Scatter, Zipf
from bench.workloads.errand import AccountLookup, Errand, Numbers, OrderNumbers, Source

SHARES: Final = {
    "amalgamate": 15,
    "balance": 15,
    "deposit_checking": 15,
    "send_payment": 25,
    "transact_savings": 15,
    "write_check": 15,
}
SEND_MINOR: Final = 500
DEPOSIT_MINOR: Final = 130
SAVINGS_MINOR: Final = 2_020
CHECK_MINOR: Final = 500
OPENING_MINOR: Final = (1_000_000, 5_000_000)
"""What an account begins with: between these, by a normal distribution whose mean is in the middle
and whose standard deviation is a quarter of the range; what falls outside is drawn again."""


class SmallBank(Struct, frozen=True):
    """Who does business.

    Attributes:
        customers: customer n has checking account 2n and savings account 2n + 1 of the store.
        zipf: customers are drawn by Zipf, s = 0.99; else uniformly, as in the source.
    """

    customers: int
    zipf: bool = False
    seed: int = 1
    order_numbers: OrderNumbers = "sequential"

    def source(self, number: int, prefix: str) -> Source:
        """Return the source of this number; `prefix` begins its numbers."""
        return _Source(self, number, Numbers(prefix, self.order_numbers))

    def opening_minor(self, account: int) -> int:
        """Return what the n-th account of a new store begins with."""
        low, high = OPENING_MINOR
        chance = random.Random((self.seed << 40) + account)
        while True:
            drawn = int(chance.gauss((low + high) / 2, (high - low) / 4))
            if low <= drawn <= high:
                return drawn


def checking(customer: int) -> str:
    """Return the number of a customer's checking account."""
    return account_no(2 * customer)


def savings(customer: int) -> str:
    """Return the number of a customer's savings account."""
    return account_no(2 * customer + 1)


class _Source(Source):
    def __init__(self, bank: SmallBank, number: int, numbers: Numbers) -> None:
        self._customers = bank.customers
        self._chance = random.Random(bank.seed * 10_007 + number)
        self._numbers = numbers
        self._law = Zipf(bank.customers) if bank.zipf else None
        self._scatter = Scatter(bank.customers, bank.seed)
        self._make: dict[str, Callable[[int], Errand]] = {
            "amalgamate": self._amalgamate,
            "balance": _balance,
            "deposit_checking": self._deposit,
            "send_payment": self._send,
            "transact_savings": self._transact,
            "write_check": self._write_check,
        }

    def take(self, count: int) -> list[Errand]:
        """Return the next operations."""
        names = self._chance.choices(tuple(SHARES), tuple(SHARES.values()), k=count)
        return [self._make[name](self._customer()) for name in names]

    def learn(self, errand: Errand, *, done: bool) -> None:
        """Learn nothing: operations do not hang together."""

    def _customer(self) -> int:
        if self._law is None:
            return self._chance.randrange(self._customers)
        return self._scatter.at(self._law.rank(self._chance.random()))

    def _other(self, customer: int) -> int:
        while True:
            other = self._customer()
            if other != customer:
                return other

    def _deposit(self, customer: int) -> Errand:
        number = self._numbers.next()
        ask = FundAccount(checking(customer), number, DEPOSIT_MINOR, CURRENCY)
        return Errand("deposit_checking", ask, DEPOSIT_MINOR)

    def _transact(self, customer: int) -> Errand:
        ask = WithdrawFunds(savings(customer), self._numbers.next(), SAVINGS_MINOR, CURRENCY)
        return Errand("transact_savings", ask, SAVINGS_MINOR)

    def _write_check(self, customer: int) -> Errand:
        ask = WithdrawFunds(checking(customer), self._numbers.next(), CHECK_MINOR, CURRENCY)
        return Errand("write_check", ask, CHECK_MINOR)

    def _send(self, customer: int) -> Errand:
        to = checking(self._other(customer))
        ask = CreateTransfer(checking(customer), self._numbers.next(), to, SEND_MINOR, CURRENCY)
        return Errand("send_payment", ask, SEND_MINOR)

    def _amalgamate(self, customer: int) -> Errand:
        """Look at one of his accounts and send all of it, then the other: four steps."""
        to = checking(self._other(customer))
        return self._emptied(
            savings(customer), to, lambda _: self._emptied(checking(customer), to, None)
        )

    def _emptied(
        self, account: str, to: str, then: Callable[[object], Errand | None] | None
    ) -> Errand:
        def send_all(state: Account) -> Errand | None:
            there = state.posted_minor - state.held_minor
            if not there:
                return None if then is None else then(None)
            ask = CreateTransfer(account, self._numbers.next(), to, there, CURRENCY)
            return Errand("amalgamate", ask, there, then)

        return Errand("amalgamate", AccountLookup(account), then=send_all)


def _balance(customer: int) -> Errand:
    """Return the look at both accounts."""
    return Errand(
        "balance",
        AccountLookup(savings(customer)),
        then=lambda _: Errand("balance", AccountLookup(checking(customer))),
    )
