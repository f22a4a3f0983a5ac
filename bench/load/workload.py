"""The workload: who pays whom how much, in an order that a seed gives again.

Each connection pays one merchant, from accounts that have an agreement with that merchant
(`bench.bulk`: account n with merchant n modulo their number). Order numbers are sequential. The
same order drives clients over sockets and the engine in-process, so that both do the same work.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final, Literal

from msgspec import Struct

from bench.bulk import CURRENCY, account_no, merchant_no
from bench.engine_bench import ZIPF_S, Mix

AMOUNTS: Final = 997
"""Amounts are 1 to this many minor units, so that a payment which is lost or doubled shows."""
_AT_ONCE: Final = 1_024
"""Customers that are drawn together; one by one they would cost three times as much."""

Form = Literal["single", "array", "frame"]
"""A body of one payment, an array of commands, or such an array with ids for a stream."""


class Workload(Struct, frozen=True):
    """What is paid.

    Attributes:
        mix: who pays of a merchant's customers; with `hot` there is one merchant for all.
        accounts, merchants: of the store.
        seed: of all choices.
    """

    mix: Mix
    accounts: int
    merchants: int
    seed: int

    @property
    def payees(self) -> int:
        """How many merchants are paid at the most."""
        return 1 if self.mix == "hot" else self.merchants

    def payee(self, connection: int) -> int:
        """Return the merchant whom a connection pays."""
        return connection % self.payees

    def payers(self, connection: int) -> Iterator[int]:
        """Yield a connection's payers without an end."""
        merchants = self.payees
        payee = self.payee(connection)
        customers = len(range(payee, self.accounts, merchants))
        chosen = _chosen(self.mix, customers, self.seed * 10_007 + connection)
        return (payee + each * merchants for each in chosen)

    def in_batches(self, connections: int, batch: int) -> array[int]:
        """Return payers as the connections have them in turn, `batch` at a time: about 100,000."""
        streams = [self.payers(each) for each in range(connections)]
        rounds = max(1, 100_000 // (connections * batch))
        chosen = array("I")
        for _ in range(rounds):
            for stream in streams:
                chosen.extend(islice(stream, batch))
        return chosen


def _chosen(mix: Mix, customers: int, seed: int) -> Iterator[int]:
    """Yield indices of a merchant's customers: Zipf with s = 0.99 by rank, or uniform."""
    chance = random.Random(seed)
    ranks = list(range(customers))
    weights = None
    if mix == "zipf":
        weights = list(accumulate(1 / rank**ZIPF_S for rank in range(1, customers + 1)))
        chance.shuffle(ranks)
    while True:
        yield from chance.choices(ranks, cum_weights=weights, k=_AT_ONCE)


class Orders:
    """The payments of one connection, as they are sent.

    Args:
        workload: what is paid.
        connection: its number.
        prefix: begins every order number; no other connection may have it.
        form: what is sent.

    Attributes:
        bodies: how many were taken.
    """

    def __init__(self, workload: Workload, connection: int, prefix: str, form: Form) -> None:
        self.merchant_no = merchant_no(workload.payee(connection))
        self._payers = workload.payers(connection)
        self._prefix = prefix
        self._form = form
        self._orders = 0
        self.bodies = 0

    def take(self, count: int) -> tuple[bytes, list[int]]:
        """Return the next body, of `count` payments, and their amounts in minor units.

        In a stream the id of a payment is `b-n`: of body b, counted from 0, item n.
        """
        first = self._orders
        self._orders += count
        self.bodies += 1
        amounts = [each % AMOUNTS + 1 for each in range(first, first + count)]
        # Text put together by hand: a tenth of what an encoder takes from the same Structs.
        start = f'"merchant_no":"{self.merchant_no}","order_no":"{self._prefix}-'
        items = [
            f'{start}{first + n:09d}","payer":"{account_no(next(self._payers))}",'
            f'"amount_minor":{amount},"currency":"{CURRENCY}"}}'
            for n, amount in enumerate(amounts)
        ]
        return self._body(items), amounts

    def _body(self, items: list[str]) -> bytes:
        if self._form == "single":
            (item,) = items
            return f"{{{item}".encode("ascii")
        command = '{"command":"create_payment",'
        if self._form == "array":
            return f"[{','.join(command + item for item in items)}]".encode("ascii")
        body = self.bodies - 1
        framed = (f'{{"id":"{body}-{n}","do":{command}{item}}}' for n, item in enumerate(items))
        return f"[{','.join(framed)}]".encode("ascii")
