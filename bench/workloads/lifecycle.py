"""The lifecycle: payments and what becomes of them, as a merchant's day has them.

Of a hundred operations 70 pay, 10 authorize, 8 refund some of a payment, 2 reverse one and 10 look
one up. Each authorization is captured or voided by the operation that follows its answer, so
that there are as many again: 110 in all. What refers to a payment takes one that this source has
been told of, among its newest; where there is none yet, it pays.
"""

import random
from collections import deque
from typing import Final

from msgspec import Struct

from actors.commands import (
    CaptureAuthorization,
    CreateAuthorization,
    RefundPayment,
    ReversePayment,
    VoidAuthorization,
)
from bench.bulk import CURRENCY, account_no, merchant_no
from bench.workloads.errand import Errand, Numbers, OrderNumbers, PaymentLookup, Source
from bench.workloads.payments import AMOUNTS, Pairs, Payees, Payers, Payments, payment

SHARES: Final = {"pay": 70, "authorize": 10, "refund": 8, "reverse": 2, "query": 10}
"""Of a hundred operations that follow from no other."""
CAPTURED: Final = 0.8
"""The share of authorizations that are captured; the others are voided."""
_KNOWN_MAX: Final = 1_024
"""Payments that a source remembers."""


class Lifecycle(Struct, frozen=True, tag="lifecycle"):
    """Who does business with whom: see `bench.workloads.payments.Payments`."""

    accounts: int
    merchants: int
    payers: Payers = "uniform"
    payees: Payees = "uniform"
    seed: int = 1
    order_numbers: OrderNumbers = "sequential"
    sources: int = 1

    def payees_used(self) -> range:
        """Return the merchants that may be paid at all."""
        return self._payments().payees_used()

    def own_merchant(self, number: int) -> str:
        """Return the merchant that a source of one merchant's would have."""
        return self._payments().own_merchant(number)

    def source(self, number: int, prefix: str) -> Source:
        """Return the source of this number; `prefix` begins its numbers."""
        return _Source(self._payments(), number, Numbers(prefix, self.order_numbers))

    def _payments(self) -> Payments:
        return Payments(
            self.accounts,
            self.merchants,
            self.payers,
            self.payees,
            self.seed,
            self.order_numbers,
            self.sources,
        )


class _Source(Source):
    def __init__(self, payments: Payments, number: int, numbers: Numbers) -> None:
        self._pairs = Pairs(payments, number)
        self._numbers = numbers
        self._chance = random.Random(payments.seed * 10_007 + number + (1 << 40))
        self._due: deque[Errand] = deque()
        self._paid: deque[tuple[str, str, int]] = deque(maxlen=_KNOWN_MAX)
        self._taken = 0

    def take(self, count: int) -> list[Errand]:
        """Return the next operations, of several merchants."""
        return [self._next() for _ in range(count)]

    def learn(self, errand: Errand, *, done: bool) -> None:
        """Remember a payment, or have an authorization captured or voided next."""
        ask = errand.ask
        if not done:
            return
        if errand.operation == "pay":
            self._paid.append((ask.merchant_no, ask.order_no, errand.amount_minor))  # type: ignore[union-attr]
        elif isinstance(ask, CreateAuthorization):
            self._due.append(self._ended(ask))

    def _next(self) -> Errand:
        if self._due:
            return self._due.popleft()
        (operation,) = self._chance.choices(tuple(SHARES), tuple(SHARES.values()))
        if operation == "pay":
            return self._pay()
        if operation == "authorize":
            return self._authorize()
        if not self._paid:
            return self._pay()
        return self._about_a_payment(operation)

    def _pay(self) -> Errand:
        payer, merchant = self._pairs.pair()
        amount = self._amount()
        return payment(merchant_no(merchant), self._numbers.next(), account_no(payer), amount)

    def _authorize(self) -> Errand:
        payer, merchant = self._pairs.pair()
        amount = self._amount()
        ask = CreateAuthorization(
            merchant_no(merchant), self._numbers.next(), account_no(payer), amount, CURRENCY
        )
        return Errand("authorize", ask, amount)

    def _ended(self, hold: CreateAuthorization) -> Errand:
        """Return the capture of a hold, in full and final, or its void."""
        merchant, number, amount = hold.merchant_no, self._numbers.next(), hold.amount_minor
        if self._chance.random() < CAPTURED:
            capture = CaptureAuthorization(merchant, hold.hold_no, number, amount, final=True)
            return Errand("capture", capture, amount)
        return Errand("void", VoidAuthorization(merchant, hold.hold_no, number), amount)

    def _about_a_payment(self, operation: str) -> Errand:
        """Return a look at a payment, or its refund or reversal, which it has only once."""
        at = self._chance.randrange(len(self._paid))
        merchant, order_no, amount = self._paid[at]
        if operation == "query":
            return Errand("query", PaymentLookup(merchant, order_no))
        del self._paid[at]
        if operation == "reverse":
            return Errand(
                "reverse", ReversePayment(merchant, order_no, self._numbers.next()), amount
            )
        part = self._chance.randint(1, amount)
        return Errand("refund", RefundPayment(merchant, self._numbers.next(), order_no, part), part)

    def _amount(self) -> int:
        self._taken += 1
        return self._taken % AMOUNTS + 1
