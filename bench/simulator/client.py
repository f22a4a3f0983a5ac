"""What a simulated client asks, and what it learns of it.

A client sends a command, waits, and may send it again: with the same number, that is the same
command. What it knows in the end is an outcome, that nothing happened, or nothing at all.
"""

import random
from collections.abc import Callable
from math import inf
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from actors import commands
from actors.commands import Command
from engine.fault import FaultCode

CURRENCY: Final = "USD"
ACCOUNTS: Final = tuple(f"A{n}" for n in range(6))
MERCHANTS: Final = tuple(f"M{n}" for n in range(3))
WAITING_MERCHANT: Final = "M9"
"""The only one whose refunds may wait for funds; its history is not followed."""
OPENING_MINOR: Final = 3_000
RECENT: Final = 12

NOTHING_HAPPENED: Final = frozenset(FaultCode) - {FaultCode.OUTCOME_UNKNOWN}


class Asked(Struct, eq=False):
    """One command through all its attempts.

    Attributes:
        step: of the run.
        command: what is asked.
        address, tag, name: of the record that its number is bound to.
        began: when it was first sent, virtual seconds.
        ended: when its outcome became known, inf while it is not.
        outcome: the answer, None while it is not known.
        unsure: some attempt may have happened though nobody was told.
        sent: how many attempts have reached the node.
    """

    step: int
    command: Command
    address: str
    tag: str
    name: str
    began: float = -1.0
    ended: float = inf
    outcome: Any = None
    unsure: bool = False
    sent: int = 0


def asked(step: int, command: Command) -> Asked:
    """Return a command that has not been sent yet."""
    tag, name = _record(command)
    return Asked(step, command, commands.first_actor(command), tag, name)


def _record(command: Any) -> tuple[str, str]:
    """Return under which tag and name the first actor binds the command's number."""
    match command:
        case commands.CreatePayment():
            return "p", command.order_no
        case commands.CreateAuthorization():
            return "z", command.hold_no
        case commands.IncrementAuthorization():
            return "i", command.increment_no
        case commands.CaptureAuthorization():
            return "c", command.capture_no
        case commands.VoidAuthorization():
            return "v", command.void_no
        case commands.ReleaseAuthorization():
            return "l", command.release_no
        case commands.ReversePayment():
            return "x", command.reversal_no
        case commands.RefundPayment() | commands.RefundAuthorization():
            return "r", command.refund_no
        case commands.CreateTransfer():
            return "t", f"transfer/{command.transfer_no}"
        case commands.WithdrawFunds():
            return "t", f"withdrawal/{command.withdrawal_no}"
        case commands.FundAccount():
            return "t", f"funding/{command.account_no}/{command.funding_no}"
    raise TypeError(type(command).__name__)


def setting_up() -> list[Command]:
    """Return the commands that open the accounts and merchants of a run, in order."""
    opened: list[Command] = []
    opened += [commands.OpenAccount(account, CURRENCY) for account in ACCOUNTS]
    merchants = (*MERCHANTS, WAITING_MERCHANT)
    opened += [
        commands.OpenMerchant(merchant, CURRENCY, fee_bps)
        for merchant, fee_bps in zip(merchants, (0, 38, 250, 0), strict=True)
    ]
    opened += [
        commands.SignAgreement(account, merchant, merchant)
        for account in ACCOUNTS
        for merchant in merchants
    ]
    return opened


class Wishes:
    """Draws what clients ask for next.

    Args:
        chance: the run's source for it.
        number: returns a fresh number; they ascend, as dated numbers do.
    """

    def __init__(self, chance: random.Random, number: Callable[[], str]) -> None:
        self._chance = chance
        self._number = number
        self._payments: list[tuple[str, str, int]] = []
        self._holds: list[tuple[str, str, int]] = []

    def next(self) -> Command:
        """Return a new command."""
        chance = self._chance
        kind = chance.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]
        number = self._number()
        account, other = chance.sample(ACCOUNTS, 2)
        merchant = chance.choice(MERCHANTS if chance.random() < 0.9 else (WAITING_MERCHANT,))
        amount = chance.choice((chance.randint(1, 50), chance.randint(50, 2_000)))
        if kind == "pay":
            self._remember(self._payments, merchant, number, amount)
            return commands.CreatePayment(merchant, number, account, amount, CURRENCY)
        if kind == "hold":
            self._remember(self._holds, merchant, number, amount)
            valid_s = chance.choice((60, 3_600, 86_400, 7 * 86_400))
            return commands.CreateAuthorization(
                merchant, number, account, amount, CURRENCY, valid_s
            )
        if kind == "transfer":
            return commands.CreateTransfer(account, number, other, amount, CURRENCY)
        if kind == "fund":
            return commands.FundAccount(account, number, amount, CURRENCY)
        if kind == "withdraw":
            return commands.WithdrawFunds(account, number, amount, CURRENCY)
        if kind in ("refund", "reverse"):
            return self._about_payment(kind, *self._recent(self._payments, merchant))
        return self._about_hold(kind, *self._recent(self._holds, merchant))

    def flurry(self) -> list[Command]:
        """Return commands about one payment or hold, to be given at once."""
        chance = self._chance
        about, kinds, kept = chance.choice(
            (
                (self._about_payment, ("refund", "refund", "reverse"), self._payments),
                (self._about_hold, ("capture", "capture", "void", "refund_hold"), self._holds),
            )
        )
        if not kept:
            return []
        original = chance.choice(kept)
        return [about(chance.choice(kinds), *original) for _ in range(chance.randint(2, 6))]

    def _about_payment(self, kind: str, merchant: str, order_no: str, whole: int) -> Command:
        number = self._number()
        if kind == "reverse":
            return commands.ReversePayment(merchant, order_no, number)
        wait = merchant == WAITING_MERCHANT and self._chance.random() < 0.5
        return commands.RefundPayment(merchant, number, order_no, self._part(whole), wait)

    def _about_hold(self, kind: str, merchant: str, hold_no: str, whole: int) -> Command:
        number = self._number()
        if kind == "capture":
            return commands.CaptureAuthorization(merchant, hold_no, number, self._part(whole))
        if kind == "increment":
            return commands.IncrementAuthorization(merchant, hold_no, number, self._part(whole))
        if kind == "void":
            return commands.VoidAuthorization(merchant, hold_no, number)
        if kind == "release":
            return commands.ReleaseAuthorization(merchant, hold_no, number)
        return commands.RefundAuthorization(merchant, number, hold_no, self._part(whole))

    def _part(self, whole: int) -> int:
        return self._chance.choice((whole, self._chance.randint(1, whole)))

    def _remember(
        self, kept: list[tuple[str, str, int]], merchant: str, number: str, amount: int
    ) -> None:
        kept.append((merchant, number, amount))
        del kept[:-RECENT]

    def _recent(self, kept: list[tuple[str, str, int]], merchant: str) -> tuple[str, str, int]:
        return self._chance.choice(kept) if kept else (merchant, "none", 1)


_KINDS: Final = {
    "pay": 30,
    "hold": 14,
    "capture": 10,
    "increment": 3,
    "void": 5,
    "release": 4,
    "refund": 12,
    "refund_hold": 4,
    "reverse": 4,
    "transfer": 10,
    "fund": 5,
    "withdraw": 4,
}
"""What is asked how often."""


def with_other_content(command: Any) -> Command | None:
    """Return a command with the same number and another amount; None where it names none."""
    if not hasattr(command, "amount_minor"):
        return None
    changed: Command = replace(command, amount_minor=command.amount_minor + 1)
    return changed
