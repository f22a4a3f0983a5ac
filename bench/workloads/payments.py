"""Payments: agreement payments, from payers and to merchants by a distribution each.

Account n has an agreement with merchant n modulo their number (`bench.bulk`), so whoever chooses a
payer has chosen the merchant, and the other way round there are only that merchant's customers to
choose from.
"""

import random
from typing import Final, Literal

from msgspec import Struct

from actors.commands import CreatePayment
from bench.bulk import CURRENCY, account_no, merchant_no
from bench.workloads.draws import Scatter, Zipf
from bench.workloads.errand import Errand, Numbers, OrderNumbers, Source

Payers = Literal["uniform", "zipf", "once"]
Payees = Literal["uniform", "zipf", "one"]
AMOUNTS: Final = 997
"""Amounts are 1 to this many minor units, so that a payment which is lost or doubled shows."""


class Payments(Struct, frozen=True, tag="payments"):
    """Who pays whom.

    Attributes:
        accounts, merchants: of the store.
        payers: `uniform`; `zipf`, s = 0.99; or `once`: nobody twice before everybody has paid.
        payees: `one` is merchant 0 for all. With `zipf` the merchant is drawn first, then one of
            its customers. With `uniform` the payer is drawn first, of all that there are, and his
            merchant follows: with payers by Zipf too.
        sources: how many share the payers, where nobody is to pay twice.
        own: a source is one merchant's: number k has merchant k modulo their number.
    """

    accounts: int
    merchants: int
    payers: Payers = "uniform"
    payees: Payees = "uniform"
    seed: int = 1
    order_numbers: OrderNumbers = "sequential"
    sources: int = 1
    own: bool = False

    def payees_used(self) -> range:
        """Return the merchants that may be paid at all."""
        if self.payees == "one":
            return range(1)
        return range(min(self.merchants, self.sources) if self.own else self.merchants)

    def own_merchant(self, number: int) -> str:
        """Return the number of the merchant to whom a source belongs, where they are `own`."""
        return merchant_no(0 if self.payees == "one" else number % self.merchants)

    def source(self, number: int, prefix: str) -> Source:
        """Return the source of this number; `prefix` begins its order numbers."""
        return _Source(self, number, Numbers(prefix, self.order_numbers))


class Pairs:
    """Draws payers and their merchants, for one source."""

    def __init__(self, payments: Payments, number: int) -> None:
        self._all = payments
        self._number = number
        self._merchants = payments.merchants
        self._random = random.Random(payments.seed * 10_007 + number).random
        self._drawn = 0
        self._own: int | None = None
        if payments.payees == "one":
            self._own = 0
        elif payments.own:
            self._own = number % payments.merchants
        self._scatter = Scatter(payments.accounts, payments.seed)
        self._laws: dict[int, Zipf] = {}
        self._scatters: dict[int, Scatter] = {}

    def pair(self) -> tuple[int, int]:
        """Return a payer and the merchant he pays."""
        if self._own is not None:
            return self.customer(self._own), self._own
        if self._all.payees == "zipf":
            merchant = self._ranked(self._merchants)
            return self.customer(merchant), merchant
        payer = self._one_of(self._all.accounts)
        return payer, payer % self._merchants

    def customer(self, merchant: int) -> int:
        """Return one of a merchant's customers."""
        customers = len(range(merchant, self._all.accounts, self._merchants))
        return merchant + self._one_of(customers) * self._merchants

    def _one_of(self, count: int) -> int:
        kind = self._all.payers
        if kind == "uniform":
            return int(self._random() * count)
        if kind == "zipf":
            return self._ranked(count)
        position = self._drawn * self._all.sources + self._number
        self._drawn += 1
        return self._scattered(count).at(position)

    def _ranked(self, count: int) -> int:
        law = self._laws.get(count)
        if law is None:
            law = self._laws[count] = Zipf(count)
        return self._scattered(count).at(law.rank(self._random()))

    def _scattered(self, count: int) -> Scatter:
        scatter = self._scatters.get(count)
        if scatter is None:
            scatter = self._scatters[count] = Scatter(count, self._all.seed)
        return scatter


class _Source(Source):
    def __init__(self, payments: Payments, number: int, numbers: Numbers) -> None:
        self._pairs = Pairs(payments, number)
        self._numbers = numbers
        self._taken = 0

    def take(self, count: int) -> list[Errand]:
        """Return the next payments, to one merchant."""
        payer, merchant = self._pairs.pair()
        errands = [self._pay(payer, merchant)]
        errands += [self._pay(self._pairs.customer(merchant), merchant) for _ in range(count - 1)]
        return errands

    def learn(self, errand: Errand, *, done: bool) -> None:
        """Learn nothing: payments do not hang together."""

    def _pay(self, payer: int, merchant: int) -> Errand:
        amount = self._taken % AMOUNTS + 1
        self._taken += 1
        return payment(merchant_no(merchant), self._numbers.next(), account_no(payer), amount)


def payment(merchant: str, order_no: str, payer: str, amount_minor: int) -> Errand:
    """Return the errand that pays."""
    return Errand(
        "pay", CreatePayment(merchant, order_no, payer, amount_minor, CURRENCY), amount_minor
    )
