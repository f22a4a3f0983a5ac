"""The workload of the gateway's benchmarks: each connection pays one merchant.

The payers have an agreement with that merchant (`bench.bulk`: account n with merchant n modulo
their number). Order numbers are sequential. The same order drives clients over sockets and the
engine in-process, so that both do the same work.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

from msgspec import Struct

from bench.bulk import account_no, merchant_no
from bench.engine_bench import ZIPF_S, Mix
from bench.workloads.errand import Errand, Numbers, Source
from bench.workloads.payments import AMOUNTS, payment

_AT_ONCE: Final = 1_024
"""Customers that are drawn together; one by one they would cost three times as much."""


class Workload(Struct, frozen=True, tag="connections"):
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

    def payees_used(self) -> range:
        """Return the merchants that may be paid at all."""
        return range(self.payees)

    def own_merchant(self, connection: int) -> str:
        """Return his number."""
        return merchant_no(self.payee(connection))

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

    def source(self, connection: int, prefix: str) -> Source:
        """Return a connection's payments; no other may have the prefix of its order numbers."""
        return _Orders(self.own_merchant(connection), self.payers(connection), Numbers(prefix))


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


class _Orders(Source):
    def __init__(self, payee: str, payers: Iterator[int], numbers: Numbers) -> None:
        self._payee = payee
        self._payers = payers
        self._numbers = numbers
        self._taken = 0

    def take(self, count: int) -> list[Errand]:
        """Return the next payments."""
        first = self._taken
        self._taken += count
        payee, numbers = self._payee, self._numbers
        return [
            payment(payee, numbers.next(), account_no(next(self._payers)), n % AMOUNTS + 1)
            for n in range(first, first + count)
        ]

    def learn(self, errand: Errand, *, done: bool) -> None:
        """Learn nothing: payments do not hang together."""
