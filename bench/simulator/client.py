"""What a simulated client asks, and what it learns of it.

A client sends a command, waits, and may send it again: with the same number, that is the same
command. What it knows in the end is an outcome, that nothing happened, or nothing at all.
"""

from collections.abc import Callable
from math import inf
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from actors import commands
from actors.commands import Command
from bench.simulator.chance import Chance
from engine.fault import FaultCode

CURRENCY: Final = "USD"
ACCOUNTS: Final = tuple(f"A{n}" for n in range(6))
MERCHANTS: Final = tuple(f"M{n}" for n in range(3))
WAITING_MERCHANT: Final = "M9"
"""The only one whose refunds may wait for funds or go astray; its history is not followed."""
CLOSING_MERCHANT: Final = "M8"
"""The only one that is closed, if it ever owes nobody anything; its history is not followed."""
CLOSING_ACCOUNTS: Final = ("B0", "B1", "B2")
"""They pay all that they have to the waiting merchant, and are closed: refunds go astray."""
CLOSING_MINOR: Final = 200
OPENING_MINOR: Final = 3_000
TOO_MUCH_MINOR: Final = 1_000_000
"""More than anybody ever has."""
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
        signed: whether its requests carry marks, None while that is not drawn.
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
    signed: bool | None = None


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
        case commands.RedirectRefund():
            return "d", command.redirect_no
        case commands.CloseRefund():
            return "k", command.close_no
        case commands.FreezeAmount():
            return "f", command.freeze_no
        case commands.UnfreezeAmount():
            return "u", command.unfreeze_no
        case commands.SignAgreement():
            return "g", command.agreement_no
        case commands.ChangeAgreement():
            return "c", command.change_no
        case commands.CancelAgreement():
            return "e", command.cancel_no
        case commands.SetAccountLimits():
            return "l", command.limits_no
        case commands.CreateTransfer():
            return "t", f"transfer/{command.transfer_no}"
        case commands.WithdrawFunds():
            return "t", f"withdrawal/{command.withdrawal_no}"
        case commands.RegisterCertificate():
            return "n", command.certificate_no
        case commands.FundAccount():
            return "t", f"funding/{command.account_no}/{command.funding_no}"
    raise TypeError(type(command).__name__)


def setting_up() -> list[Command]:
    """Return the commands that open the accounts and merchants of a run, in order."""
    opened: list[Command] = []
    everybody = (*ACCOUNTS, *CLOSING_ACCOUNTS)
    opened += [commands.OpenAccount(account, CURRENCY) for account in everybody]
    merchants = (*MERCHANTS, WAITING_MERCHANT, CLOSING_MERCHANT)
    opened += [
        commands.OpenMerchant(merchant, CURRENCY, fee_bps)
        for merchant, fee_bps in zip(merchants, (0, 38, 250, 5_000, 0), strict=True)
    ]
    opened += [
        commands.SignAgreement(account, merchant, merchant)
        for account in everybody
        for merchant in merchants
    ]
    return opened


class Wishes:
    """Draws what clients ask for next.

    Args:
        chance: the run's source for it.
        number: returns a fresh number; they ascend, as dated numbers do.
    """

    def __init__(self, chance: Chance, number: Callable[[], str]) -> None:
        self._chance = chance
        self._number = number
        self._payments: list[tuple[str, str, int]] = []
        self._holds: list[tuple[str, str, int]] = []
        self._emptied: list[str] = []
        self._refunds: list[str] = []
        self._freezes: list[tuple[str, str]] = []
        self._agreements: dict[tuple[str, str], str] = {}
        self.certificates: list[tuple[str, str]] = []
        """(merchant, serial) of all whose registration was asked for."""

    def next(self) -> Command:
        """Return a new command."""
        chance = self._chance
        kind = chance.choices(tuple(_KINDS), tuple(_KINDS.values()))[0]
        number = self._number()
        account, other = chance.sample(ACCOUNTS, 2)
        merchant = chance.choices(_MERCHANTS, _MERCHANT_SHARES)[0]
        amount = chance.choice((chance.randint(1, 50), chance.randint(50, 2_000)))
        if kind == "pay":
            self._remember(self._payments, merchant, number, amount)
            note = UNSET if chance.random() < 0.7 else f"of {number}"
            return commands.CreatePayment(merchant, number, account, amount, CURRENCY, note)
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
        if kind == "empty":
            return self._empty(number, chance.choice(CLOSING_ACCOUNTS))
        if kind in ("redirect", "give_up"):
            refund_no = chance.choice(self._refunds or ["none"])
            if kind == "give_up":
                return commands.CloseRefund(WAITING_MERCHANT, refund_no, number)
            return commands.RedirectRefund(WAITING_MERCHANT, refund_no, number, account)
        if kind in ("freeze", "unfreeze"):
            return self._set_aside(kind, number, account, amount)
        if kind == "certify":
            return self._certify(number, chance.choice(MERCHANTS))
        if kind in ("limit", "agree", "cancel"):
            return self._allow(kind, number, account, merchant)
        if kind in ("refund", "reverse"):
            return self._about_payment(kind, *self._recent(self._payments, merchant))
        return self._about_hold(kind, *self._recent(self._holds, merchant))

    def _empty(self, number: str, account: str) -> Command:
        """Have an account pay all that it has, or give it something to pay, or pay it back."""
        if self._chance.random() < 0.3:
            return commands.FundAccount(account, number, CLOSING_MINOR, CURRENCY)
        if self._emptied and self._chance.random() < 0.5:
            order_no = self._chance.choice(self._emptied)
            return self._about_payment("refund", WAITING_MERCHANT, order_no, CLOSING_MINOR)
        self._emptied.append(number)
        return commands.CreatePayment(WAITING_MERCHANT, number, account, CLOSING_MINOR, CURRENCY)

    def _set_aside(self, kind: str, number: str, account: str, amount: int) -> Command:
        if kind == "freeze":
            self._freezes.append((account, number))
            return commands.FreezeAmount(account, number, amount)
        account, freeze_no = self._chance.choice(self._freezes or [(account, "none")])
        return commands.UnfreezeAmount(account, number, freeze_no)

    def _certify(self, number: str, merchant: str) -> Command:
        """Register a certificate; it may renew one that there may not be."""
        serial = f"{int(number):06x}"
        mine = [known for owner, known in self.certificates if owner == merchant]
        renews = self._chance.choice(mine[-3:]) if mine and self._chance.random() < 0.5 else None
        self.certificates.append((merchant, serial))
        made = commands.Issued(serial, "ed25519", b"key", 0, 2**62, b"certificate")
        return commands.RegisterCertificate(merchant, number, number.zfill(64), made, renews)

    def _allow(self, kind: str, number: str, account: str, merchant: str) -> Command:
        """Set limits, or end an agreement with a merchant and sign another."""
        chance = self._chance
        payment_limit = chance.choice((None, None, 1_500))
        daily_limit = chance.choice((None, 300, 3_000, 20_000))
        limits = (payment_limit, daily_limit)
        agreement_no = self._agreements.get((account, merchant), merchant)
        if kind == "cancel":
            return commands.CancelAgreement(account, agreement_no, number)
        if kind == "agree":
            self._agreements[account, merchant] = number
            return commands.SignAgreement(account, number, merchant, *limits)
        if chance.random() < 0.5:
            return commands.ChangeAgreement(account, agreement_no, number, *limits)
        method: commands.Method = chance.choice(("agreement", "transfer", "withdrawal"))
        return commands.SetAccountLimits(account, number, method, *limits)

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
        wait = merchant == WAITING_MERCHANT and self._chance.random() < 0.8
        if merchant == WAITING_MERCHANT:
            self._refunds.append(number)
            del self._refunds[:-RECENT]
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


_MERCHANTS: Final = (*MERCHANTS, WAITING_MERCHANT, CLOSING_MERCHANT)
_MERCHANT_SHARES: Final = (30, 30, 30, 9, 1)
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
    "empty": 6,
    "redirect": 2,
    "give_up": 1,
    "freeze": 2,
    "unfreeze": 3,
    "limit": 2,
    "agree": 3,
    "cancel": 1,
    "certify": 3,
}
"""What is asked how often."""


def with_other_content(command: Any) -> Command | None:
    """Return a command with the same number and another amount; None where it names none."""
    if not hasattr(command, "amount_minor"):
        return None
    changed: Command = replace(command, amount_minor=command.amount_minor + 1)
    return changed
