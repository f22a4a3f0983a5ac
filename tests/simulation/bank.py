"""A bank with one account and one merchant, and every order that a history could have had.

The second opinion on `bench.simulator.serializability`: what an operation does is written down here
as a bank would do it, and an order is looked for by trying them all. It is slow, plain, and shares
nothing with what it judges but the type of an operation.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from bench.simulator.serializability import Operation, Outcome

ACCOUNT_KINDS: Final = ("credit", "debit", "hold", "capture", "release", "read")
MERCHANT_KINDS: Final = ("credit", "debit", "payment", "reversal", "refund", "restore", "read")
PAYMENTS: Final = ("P", "Q")


class Bank:
    """What is posted and held on an account, or posted and refundable at a merchant."""

    def __init__(self, posted: int = 0, held: int = 0, refundable: tuple[int, ...] = ()) -> None:
        self.posted = posted
        self.held = held
        self.refundable = dict(zip(PAYMENTS, refundable or (0, 0), strict=True))

    def copy(self) -> "Bank":
        """Return a bank that stands where this one does."""
        return Bank(self.posted, self.held, tuple(self.refundable.values()))

    def short(self, one: Operation) -> bool:
        """Whether there is too little money for it."""
        available = self.posted - self.held
        match one.kind:
            case "debit" | "hold" | "refund":
                return available < one.amount_minor
            case "capture":
                return available + one.held_minor < one.amount_minor
            case "reversal":
                return available < one.amount_minor - one.fee_minor
        return False

    def exceeds(self, one: Operation) -> bool:
        """Whether it takes back more of a payment than is left of it."""
        takes_back = one.kind in ("refund", "reversal")
        return takes_back and self.refundable[one.payment] < one.amount_minor

    def do(self, one: Operation) -> bool:
        """Have it take effect; returns whether a bank does that."""
        if self.short(one) or self.exceeds(one):
            return False
        amount = one.amount_minor
        match one.kind:
            case "credit":
                self.posted += amount
            case "debit":
                self.posted -= amount
            case "hold":
                self.held += amount
            case "release":
                self.held -= amount
            case "capture":
                self.held -= one.held_minor
                self.posted -= amount
            case "payment" | "restore":
                self.posted += amount - one.fee_minor
                self.refundable[one.payment] += amount
            case "refund" | "reversal":
                self.posted -= amount - one.fee_minor
                self.refundable[one.payment] -= amount
        return True

    def agrees(self, one: Operation) -> bool:
        """Whether it takes effect now, with the answer that it had."""
        if one.kind == "read":
            return (self.posted, self.held) == (one.amount_minor, one.held_minor)
        if one.outcome == "SHORT":
            return self.short(one)
        if one.outcome == "EXCEEDS":
            return self.exceeds(one)
        return one.outcome == "NOTHING" or self.do(one)


def numbers(bank: Bank, merchant: bool) -> dict[str, int]:
    """Return where a bank stands as the checker of histories is told it."""
    if not merchant:
        return {"posted": bank.posted, "available": bank.posted - bank.held}
    refundable = {f"refundable of {name}": left for name, left in bank.refundable.items()}
    return {"posted": bank.posted, **refundable}


def explicable(history: Sequence[Operation], bank: Bank) -> bool:
    """Whether any order whatever, with time as it was, gives every answer of a history."""
    due = [each.ended for each in history if each.outcome != "UNKNOWN"]
    if not due:
        return True  # What nobody knows of need not have happened.
    for one in history:
        if one.began > min(due):
            continue  # Another was over before this one began.
        then = bank.copy()
        if (one.kind == "read" and one.outcome == "UNKNOWN") or then.agrees(one):
            rest = [each for each in history if each is not one]
            if explicable(rest, then):
                return True
    return False


def happened(
    seed: int, merchant: bool, size: int, lost: float = 0.2
) -> tuple[Bank, list[Operation]]:
    """Return a bank, and what clients may have seen of the next operations that it did.

    Args:
        lost: how likely it is that nobody learns the outcome of one.
    """
    chance = random.Random(seed)
    bank = Bank(chance.randrange(8), refundable=(chance.randrange(5), chance.randrange(5)))
    start = bank.copy()
    history = []
    for place in range(size):
        at = place * 4 + chance.randrange(4)
        one = _wish(chance, f"{place}", merchant, bank)
        began, ended = at - chance.randrange(12), at + chance.randrange(12)
        outcome: Outcome = "OK"
        if one.kind != "read":
            unknown = chance.random() < lost
            # What is not known may have been done, or never be.
            if not unknown or chance.random() < 0.7:
                outcome = _outcome(bank, one)
            outcome = "UNKNOWN" if unknown else outcome
        history.append(replace(one, began=float(began), ended=float(ended), outcome=outcome))
    return start, history


def _wish(chance: random.Random, name: str, merchant: bool, bank: Bank) -> Operation:
    kind = chance.choice(MERCHANT_KINDS if merchant else ACCOUNT_KINDS)
    if kind == "read":
        return Operation(name, kind, bank.posted, 0.0, held_minor=bank.held)
    amount = chance.randint(1, 5)
    more: dict[str, Any] = {}
    if kind == "capture":
        more["held_minor"] = chance.randint(0, amount)
    if kind in ("payment", "reversal"):
        more["fee_minor"] = chance.randint(0, amount)
    if kind in ("payment", "reversal", "refund", "restore"):
        more["payment"] = chance.choice(PAYMENTS)
    return Operation(name, kind, amount, 0.0, **more)


def _outcome(bank: Bank, one: Operation) -> Outcome:
    if bank.exceeds(one):
        return "EXCEEDS"
    return "OK" if bank.do(one) else "SHORT"


def retold(history: Sequence[Operation], merchant: bool) -> Iterator[list[Operation]]:
    """Yield histories with one answer changed."""
    for place, one in enumerate(history):
        for other in _other_answers(one, merchant):
            yield [*history[:place], other, *history[place + 1 :]]


def _other_answers(one: Operation, merchant: bool) -> Iterator[Operation]:
    if one.outcome == "UNKNOWN":
        yield replace(one, outcome="OK")
        return
    if one.kind == "read":
        yield replace(one, amount_minor=one.amount_minor + 1)
        yield replace(one, amount_minor=one.amount_minor - 1)
        if not merchant:
            yield replace(one, held_minor=one.held_minor + 1)
        return
    yield replace(one, outcome="OK" if one.outcome != "OK" else "NOTHING")
    if one.kind not in ("credit", "release", "payment", "restore"):
        yield replace(one, outcome="SHORT" if one.outcome != "SHORT" else "OK")
    if one.kind in ("refund", "reversal") and one.outcome != "EXCEEDS":
        yield replace(one, outcome="EXCEEDS")
    if one.outcome == "OK":
        yield replace(one, amount_minor=one.amount_minor + 2)
        yield replace(one, ended=one.began)
