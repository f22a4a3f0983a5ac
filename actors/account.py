"""Accounts: who owns money, and the ledger that each account keeps of its own.

A customer's account is never overdrawn: posted less held less frozen stays at or above zero. The
internal accounts of a currency, `clearing-USD` and `suspense-USD`, open themselves on first use;
money enters and leaves the bank through clearing, which alone may be negative. What reaches an
account by message is never refused for a limit: it is taken, or sent back with its money.
"""

from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import AccountView, Refused, Replayed, instant
from actors.commands import CloseAccount, FreezeAccount, OpenAccount, UnfreezeAccount, digest
from actors.messages import CreditRefund, RefundCredited, RefundReturned
from actors.method import UNUSED, Limits, Used
from actors.refusal import Refusal
from actors.states import ACCOUNT, allowed, move
from engine.turn import Turn

CLEARING: Final = "clearing-"
SUSPENSE: Final = "suspense-"
HELD: Final = "held"
"""The total of what accounts hold."""

AccountStatus = Literal["OPEN", "FROZEN", "CLOSED"]


class Account(Struct, frozen=True, array_like=True, gc=False):
    """The state of an account actor.

    Attributes:
        posted_minor: sum of its postings.
        held_minor: sum of the rests of its open holds.
        posted_last: sequence of its newest posting, 0 before the first.
        holds_open: how many holds are HELD or PARTIALLY_CAPTURED.
        digest: of the command that opened it; empty for an internal account.
        used_date, used_minor: what was used by each method on the newest business date with any
            use (`actors.method`).
        transfers_out: how many transfers that it owns are under way and may still come back.
        frozen_minor: sum of its amounts that are FROZEN (`actors.freeze`).
        limits: the account's own, by method; empty where it has none.
        status_changes: how often its status has changed: one that was frozen, opened and frozen
            again is not the one that was frozen before.
    """

    kind: Literal["customer", "clearing", "suspense"]
    currency: str
    digest: bytes
    opened_ns: int
    status: AccountStatus = "OPEN"
    posted_minor: int = 0
    held_minor: int = 0
    posted_last: int = 0
    holds_open: int = 0
    used_date: str = ""
    used_minor: Used = UNUSED
    transfers_out: int = 0
    frozen_minor: int = 0
    limits: Limits = ()
    status_changes: int = 0


def is_internal(account_no: str) -> bool:
    """Return whether the number is one that only the bank's own accounts may bear."""
    return account_no.startswith((CLEARING, SUSPENSE))


def internal_account(turn: Turn[Account], kind: Literal["clearing", "suspense"]) -> Account:
    """Return the internal account whose turn it is; it opens itself on first use."""
    if turn.state is not None:
        return turn.state
    currency = turn.number.removeprefix(f"{kind}-")
    return Account(kind=kind, currency=currency, digest=b"", opened_ns=turn.now_ns)


def existing(turn: Turn[Account]) -> Account:
    """Return the account whose turn it is, where only our own bug could have it missing."""
    account = turn.state
    assert account is not None, f"{turn.address} does not exist"
    return account


def available_minor(account: Account) -> int:
    """Return what may newly leave the account."""
    return account.posted_minor - account.held_minor - account.frozen_minor


def post(
    turn: Turn[Account], account: Account, amount_minor: int, reference: str, **changes: Any
) -> None:
    """Post a signed amount to the account's ledger; `changes` are other fields of its new state."""
    balance = account.posted_minor + amount_minor
    last = turn.post(
        turn.number, amount_minor, account.currency, balance, account.posted_last, reference
    )
    turn.become(replace(account, posted_minor=balance, posted_last=last, **changes))


def refuse_debit(account: Account | None, currency: str) -> Refusal | None:
    """Return why the account, as it stands, lets nothing new leave; None where it may.

    In this order: ACCOUNT_NOT_FOUND, ACCOUNT_CLOSED, ACCOUNT_FROZEN, CURRENCY_MISMATCH,
    ACCOUNT_INTERNAL.
    """
    if account is None:
        return Refusal.ACCOUNT_NOT_FOUND
    if account.status != "OPEN":
        return refuse_status(account)
    if account.currency != currency:
        return Refusal.CURRENCY_MISMATCH
    if account.kind != "customer":
        return Refusal.ACCOUNT_INTERNAL
    return None


def refuse_status(account: Account) -> Refusal | None:
    """Return ACCOUNT_CLOSED or ACCOUNT_FROZEN, None for an open account."""
    if account.status == "OPEN":
        return None
    return Refusal.ACCOUNT_CLOSED if account.status == "CLOSED" else Refusal.ACCOUNT_FROZEN


def refuse_credit(account: Account | None, currency: str) -> Refusal | None:
    """Return why the account cannot take money; None where it can, as a frozen one can.

    In this order: ACCOUNT_NOT_FOUND, ACCOUNT_CLOSED, CURRENCY_MISMATCH.
    """
    if account is None:
        return Refusal.ACCOUNT_NOT_FOUND
    if account.status == "CLOSED":
        return Refusal.ACCOUNT_CLOSED
    if account.currency != currency:
        return Refusal.CURRENCY_MISMATCH
    return None


def credit_refund(turn: Turn[Account], message: CreditRefund) -> None:
    """Take a refund, or send it back."""
    account = turn.state
    code = refuse_credit(account, turn.currency)
    if code is not None:
        answer = RefundReturned(message.refund_no, code)
        turn.tell(turn.sender, answer, amount_minor=turn.amount_minor, currency=turn.currency)
        return
    assert account is not None
    reference = f"refund/{message.merchant_no}/{message.refund_no}"
    post(turn, account, turn.amount_minor, reference)
    turn.tell(turn.sender, RefundCredited(message.refund_no))


# The life of an account


def open_account(turn: Turn[Account], command: OpenAccount) -> None:
    """Open a customer's account. Refusals: RESERVED_NUMBER, NUMBER_USED."""
    account = turn.state
    content = digest(command)
    if is_internal(turn.number):
        turn.answer(Refused(Refusal.RESERVED_NUMBER, turn.number))
    elif account is None:
        account = Account(
            kind="customer", currency=command.currency, digest=content, opened_ns=turn.now_ns
        )
        turn.become(account)
        turn.answer(first_account(turn.number, account))
    elif account.digest == content:
        turn.answer(Replayed(first_account(turn.number, account)))
    else:
        turn.answer(Refused(Refusal.NUMBER_USED, turn.number))


def freeze_account(turn: Turn[Account], command: FreezeAccount) -> None:
    """Freeze the account. Refusals: ACCOUNT_NOT_FOUND, STATE_CONFLICT, ACCOUNT_INTERNAL."""
    _change_status(turn, "freeze_account", "FROZEN")


def unfreeze_account(turn: Turn[Account], command: UnfreezeAccount) -> None:
    """Open a frozen account again. Refusals as for freezing."""
    _change_status(turn, "unfreeze_account", "OPEN")


def close_account(turn: Turn[Account], command: CloseAccount) -> None:
    """Close the account for ever; a frozen one may be closed too, as nothing is left in it.

    Refusals: ACCOUNT_NOT_FOUND, ACCOUNT_INTERNAL, HOLDS_OPEN, OPEN_LIABILITIES (a transfer is
    under way, or an amount is frozen), ACCOUNT_NOT_EMPTY.
    """
    _change_status(turn, "close_account", "CLOSED")


def _change_status(turn: Turn[Account], cause: str, target: AccountStatus) -> None:
    """Bring the account to a status; asking for the one that it has already changes nothing."""
    account = turn.state
    code = _refuse_change(account, cause)
    if code is not None:
        current: str | None = None
        states: tuple[str, ...] = ()
        if account is not None and code is Refusal.STATE_CONFLICT:
            current, states = account.status, allowed(ACCOUNT, cause)
        turn.answer(Refused(code, turn.number, current, states))
        return
    assert account is not None
    if account.status != target:
        status = move(ACCOUNT, account.status, cause, target)
        account = replace(account, status=status, status_changes=account.status_changes + 1)
        turn.become(account)
    turn.answer(view_account(turn.number, account))


def _refuse_change(account: Account | None, cause: str) -> Refusal | None:
    if account is None:
        return Refusal.ACCOUNT_NOT_FOUND
    if account.status not in allowed(ACCOUNT, cause):
        return Refusal.STATE_CONFLICT
    if account.kind != "customer":
        return Refusal.ACCOUNT_INTERNAL
    if cause == "close_account" and account.holds_open:
        return Refusal.HOLDS_OPEN
    if cause == "close_account" and (account.transfers_out or account.frozen_minor):
        return Refusal.OPEN_LIABILITIES
    if cause == "close_account" and account.posted_minor:
        return Refusal.ACCOUNT_NOT_EMPTY
    return None


def view_account(account_no: str, account: Account) -> AccountView:
    """Return the account as it stands now."""
    return AccountView(
        account_no=account_no,
        kind=account.kind,
        status=account.status,
        currency=account.currency,
        posted_minor=account.posted_minor,
        held_minor=account.held_minor,
        frozen_minor=account.frozen_minor,
        available_minor=available_minor(account),
        opened_at=instant(account.opened_ns),
    )


def first_account(account_no: str, account: Account) -> AccountView:
    """Return the account as it was when it had just been opened."""
    opened = Account(account.kind, account.currency, account.digest, account.opened_ns)
    return view_account(account_no, opened)
