"""Ledger tables: of every ledger account its newest posting and balance, in some 40 bytes each.

In a dictionary, names and figures were most of what a verification of a large store needed. Here an
account is a place in flat arrays, found by its name's hash: open addressing with linear probing
(Knuth, The Art of Computer Programming, volume 3, 6.4, algorithm L). Names are not kept, so whoever
wants to know one asks the journal again. Two accounts whose hashes of 64 bits are the same, which
among ten million happens once in 370,000 times, are taken for one: then something is found wrong
that is not, never the other way round, and in the next process their hashes are others.
"""

from array import array
from typing import Final

PARTS: Final = 128
"""A part grows by itself, so that growing takes no second table beside the first."""

_FIRST: Final = 8
_MINOR_MAX: Final = 2**63 - 1
_OTHER: Final = 255
"""Stands for all currencies beyond as many; there are not so many in the world."""


class LedgerPart:
    """Some of the accounts, each at a place of all four arrays.

    Attributes:
        hashes: of the names; 0 where a place is free.
        lasts: sequence of the newest posting; 0 once the account has been taken out.
        balances: after it.
        kept_in: number of the currency.
        room: how many more it takes before it grows.
    """

    __slots__ = ("balances", "hashes", "kept_in", "lasts", "room", "size")

    hashes: "array[int]"
    lasts: "array[int]"
    balances: "array[int]"
    kept_in: bytearray
    room: int
    size: int

    def __init__(self) -> None:
        self._make(_FIRST)

    def _make(self, size: int) -> None:
        self.size = size
        self.room = size * 3 // 4
        self.hashes = array("q", bytes(8 * size))
        self.lasts = array("Q", bytes(8 * size))
        self.balances = array("q", bytes(8 * size))
        self.kept_in = bytearray(size)

    def place(self, hashed: int) -> int:
        """Return the place of an account, or the free one that it would have."""
        hashes, size = self.hashes, self.size
        place = hashed % size
        while (there := hashes[place]) and there != hashed:
            place += 1
            if place == size:
                place = 0
        return place

    def add(self, hashed: int, place: int) -> int:
        """Give an account that is not there its place, the free one or, after growing, another.

        Returns:
            The place.
        """
        if not self.room:
            self._grow()
            place = self.place(hashed)
        self.room -= 1
        self.hashes[place] = hashed
        return place

    def _grow(self) -> None:
        before = (self.hashes, self.lasts, self.balances, self.kept_in)
        self._make(self.size * 3 // 2 | 1)
        for hashed, last, balance, kept_in in zip(*before, strict=True):
            if hashed:
                place = self.add(hashed, self.place(hashed))
                self.lasts[place] = last
                self.balances[place] = balance
                self.kept_in[place] = kept_in


class LedgerTable:
    """All ledger accounts: all are put there before any is taken out.

    Attributes:
        left: how many there are that have not been taken out.
    """

    def __init__(self) -> None:
        self.left = 0
        self._parts = [LedgerPart() for _ in range(PARTS)]
        self._currencies: list[str] = []

    def put(self, account: str, last: int, balance: int, currency: str) -> tuple[int, int, str]:
        """Write an account's newest posting.

        Each posting comes here, so it is written flat: 0.9 µs instead of 2.

        Args:
            balance: of more than 64 bits it keeps the most that there can be.
            currency: counts for the first posting; it stays.

        Returns:
            What was there: the posting before, the balance after it, and the currency; 0, 0 and
            this currency at first.
        """
        hashed = hash(account)
        part = self._parts[hashed % PARTS]
        hashed = hashed // PARTS or 1
        hashes, place = part.hashes, hashed % part.size
        while (there := hashes[place]) != hashed:
            if not there:
                self.left += 1
                place = part.add(hashed, place)
                part.lasts[place] = last
                part.balances[place] = _fitting(balance)
                part.kept_in[place] = self._number(currency)
                return 0, 0, currency
            place += 1
            if place == part.size:
                place = 0
        lasts, balances = part.lasts, part.balances
        before = lasts[place], balances[place], self._currencies[part.kept_in[place]]
        lasts[place] = last
        balances[place] = _fitting(balance)
        return before

    def take(self, account: str, currency: str) -> tuple[int, int, str]:
        """Take an account out; returns what `put` would have, 0, 0 and `currency` for none."""
        which, hashed = _hashed(account)
        part = self._parts[which]
        place = part.place(hashed)
        last = part.lasts[place]
        if not last:
            return 0, 0, currency
        part.lasts[place] = 0
        self.left -= 1
        return last, part.balances[place], self._currencies[part.kept_in[place]]

    def newest(self, account: str) -> int:
        """Return the sequence of an account's newest posting; 0 if it is not there any more."""
        which, hashed = _hashed(account)
        part = self._parts[which]
        return part.lasts[part.place(hashed)]

    def _number(self, currency: str) -> int:
        if currency not in self._currencies:
            if len(self._currencies) > _OTHER:
                return _OTHER
            self._currencies.append(currency)
        return self._currencies.index(currency)


def _hashed(account: str) -> tuple[int, int]:
    """Return the part of an account, and its hash there, which is not 0."""
    hashed = hash(account)
    return hashed % PARTS, hashed // PARTS or 1


def _fitting(balance: int) -> int:
    return balance if -_MINOR_MAX <= balance <= _MINOR_MAX else _MINOR_MAX
