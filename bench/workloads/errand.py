"""An errand: one thing that a client wants of the bank, and who thinks of the next one.

An errand is a command, or a look at what is there; some go on once they are answered. A source
gives them out in an order that its seed determines, as far as that does not hang on the answers.
What a command moves if it is carried out is known here, so that in the end the store can be held
against what clients were told.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

from msgspec import Struct

from actors.commands import (
    CaptureAuthorization,
    Command,
    CreatePayment,
    CreateTransfer,
    FundAccount,
    RefundPayment,
    ReversePayment,
    WithdrawFunds,
)

OrderNumbers = Literal["sequential", "random"]


class PaymentLookup(Struct, frozen=True):
    """A look at a payment by its number."""

    merchant_no: str
    order_no: str


class AccountLookup(Struct, frozen=True):
    """A look at what an account has."""

    account_no: str


class Errand(Struct):
    """One operation, or a step of one.

    Attributes:
        operation: the name under which it is counted.
        ask: the command, or what is looked up.
        amount_minor: what is moved, if anything.
        then: called with the answer once it is carried out; returns the step that follows, which
            is part of the same operation, or None.
    """

    operation: str
    ask: Command | PaymentLookup | AccountLookup
    amount_minor: int = 0
    then: Callable[[Any], "Errand | None"] | None = None


class Source(ABC):
    """Whoever thinks of errands, one after the other, without an end."""

    @abstractmethod
    def take(self, count: int) -> list[Errand]:
        """Return the next errands; those of merchants are all the same merchant's."""

    @abstractmethod
    def learn(self, errand: Errand, *, done: bool) -> None:
        """Hear whether an errand was carried out; what follows from it comes sooner or later."""


class Numbers:
    """A source's own numbers for its commands: no other source may have its prefix.

    Args:
        prefix: a date and what tells sources apart, so that sequential numbers grow with time.
        kind: `random` ones lie anywhere among all that there are, as UUIDs do.
    """

    def __init__(self, prefix: str, kind: OrderNumbers = "sequential") -> None:
        self._prefix = prefix
        self._count = 0
        self._chance = random.Random(prefix) if kind == "random" else None

    def next(self) -> str:
        """Return a number that has not been yet."""
        if self._chance is not None:
            return f"{self._chance.getrandbits(112):028x}"
        number = self._count
        self._count = number + 1
        return f"{self._prefix}-{number:09d}"


def merchant_of(errand: Errand) -> str:
    """Return the merchant whose errand it is."""
    merchant_no: str = errand.ask.merchant_no  # type: ignore[union-attr]
    return merchant_no


Movements = tuple[tuple[str, int], ...]

_MOVEMENTS: Final[Mapping[type[Any], Callable[[Any, int], Movements]]] = {
    CreatePayment: lambda ask, minor: ((ask.merchant_no, minor),),
    CaptureAuthorization: lambda ask, minor: ((ask.merchant_no, minor),),
    RefundPayment: lambda ask, minor: ((ask.merchant_no, -minor),),
    ReversePayment: lambda ask, minor: ((ask.merchant_no, -minor),),
    CreateTransfer: lambda ask, minor: ((ask.account_no, -minor), (ask.to, minor)),
    FundAccount: lambda ask, minor: ((ask.account_no, minor),),
    WithdrawFunds: lambda ask, minor: ((ask.account_no, -minor),),
}


def movements(errand: Errand, amount_minor: int) -> Movements:
    """Return what an errand moves where it is carried out: numbers of accounts, and minor units.

    Of payments it is the merchant's side alone: the payer's is the same money.
    """
    moves = _MOVEMENTS.get(type(errand.ask))
    return () if moves is None else moves(errand.ask, amount_minor)


class Moved(Struct):
    """What was moved as far as clients know, by the number of account or merchant.

    Attributes:
        told: the sum of what they were told was carried out.
        more, less: what may have been added besides, or taken: the outcome is not known.
    """

    told: dict[str, int] = {}
    more: dict[str, int] = {}
    less: dict[str, int] = {}

    def carried_out(self, errand: Errand, amount_minor: int) -> None:
        """Note what an errand moved, by its answer."""
        for number, minor in movements(errand, amount_minor):
            self.told[number] = self.told.get(number, 0) + minor

    def unknown(self, errand: Errand) -> None:
        """Note what an errand may have moved."""
        for number, minor in movements(errand, errand.amount_minor):
            into = self.more if minor > 0 else self.less
            into[number] = into.get(number, 0) + abs(minor)

    def add(self, other: "Moved") -> None:
        """Note all that another one has."""
        add_counts(self.told, other.told)
        add_counts(self.more, other.more)
        add_counts(self.less, other.less)


K = TypeVar("K")


def add_counts(to: dict[K, int], more: Mapping[K, int]) -> None:
    """Add counts to others; plain dicts, because they go from process to process."""
    for key, count in more.items():
        to[key] = to.get(key, 0) + count
