"""Agreements as payers sign, change and cancel them, each under the caller's own number.

An agreement is a record of its own for ever, named by its agreement_no; a cancelled one stays
cancelled, and a new one is signed under a new number. What payments look at is the account's
allowance for the merchant (`actors.agreement`), which always says what the agreement in force
says. Everything here is decided in one turn of the account, and bound.
"""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec.structs import replace

from actors.account import Account, existing
from actors.agreement import ALLOWANCES, Allowance
from actors.answers import (
    AgreementChangeView,
    AgreementView,
    Outcome,
    Refused,
    instant,
    instant_if,
)
from actors.commands import CancelAgreement, ChangeAgreement, SignAgreement, digest
from actors.money import used_on
from actors.outcome import Bound, decided, repeat
from actors.refusal import Refusal
from actors.states import AGREEMENT, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn


class Agreement(Bound, frozen=True, array_like=True):
    """A record under the payer's account, named by its agreement_no.

    Attributes:
        payment_limit_minor, daily_limit_minor: as they stand, or stood at the end.
        signed_payment_limit_minor, signed_daily_limit_minor: as they were signed.
        changes: how often they were set anew, the last time at `changed_ns`.
        cancelled_ns: 0 while it is in force.
    """

    state: Literal["SIGNED", "CANCELLED", "FAILED"]
    merchant_no: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    signed_payment_limit_minor: int | None
    signed_daily_limit_minor: int | None
    changes: int = 0
    changed_ns: int = 0
    cancelled_ns: int = 0


ChangeKind = Literal["change", "cancel"]


class AgreementChange(Bound, frozen=True, array_like=True):
    """A record under the payer's account, named by its change_no or cancel_no.

    Attributes:
        payment_limit_minor, daily_limit_minor: what a change asked for; None of a cancelling.
        current: the agreement's state where that was the reason to refuse, else empty.
    """

    state: Literal["SUCCEEDED", "FAILED"]
    kind: ChangeKind
    agreement_no: str
    payment_limit_minor: int | None = None
    daily_limit_minor: int | None = None
    current: str = ""


AGREEMENTS: Final = RecordKind("g", Agreement)
CHANGES: Final[Mapping[ChangeKind, RecordKind[AgreementChange]]] = {
    "change": RecordKind("c", AgreementChange),
    "cancel": RecordKind("e", AgreementChange),
}

ALLOWED: Final = allowed(AGREEMENT, "cancel_agreement")
"""The states in which an agreement may be changed or cancelled."""


def sign_agreement(turn: Turn[Account], command: SignAgreement) -> None:
    """Let a merchant debit the account.

    The limits are the new agreement's own. What was used today under an earlier one with the same
    merchant stays counted, so cancelling and signing again never gives a new day's limit.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED, ACCOUNT_CLOSED; bound: ACCOUNT_INTERNAL,
    AGREEMENT_IN_FORCE.
    """
    account = turn.state
    number = command.agreement_no
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return
    content = digest(command)
    first = turn.get(AGREEMENTS, number)
    if first is not None:
        repeat(turn, AGREEMENTS, number, number, content, first, first_agreement)
        return
    if account.status == "CLOSED":
        turn.answer(Refused(Refusal.ACCOUNT_CLOSED, number))
        return
    merchant_no = command.merchant_no
    before = turn.get(ALLOWANCES, merchant_no)
    code = None
    if account.kind != "customer":
        code = Refusal.ACCOUNT_INTERNAL
    elif before is not None and before.agreement_no:
        code = Refusal.AGREEMENT_IN_FORCE
    payment_limit, daily_limit = command.payment_limit_minor, command.daily_limit_minor
    agreement = Agreement(
        *decided(turn, content, "SIGNED", code),
        merchant_no=merchant_no,
        payment_limit_minor=payment_limit,
        daily_limit_minor=daily_limit,
        signed_payment_limit_minor=payment_limit,
        signed_daily_limit_minor=daily_limit,
    )
    turn.put(AGREEMENTS, number, agreement)
    if code is None:
        _allow(turn, merchant_no, number, payment_limit, daily_limit, before)
    turn.answer(first_agreement(turn.number, number, agreement))


def _allow(
    turn: Turn[Account],
    merchant_no: str,
    agreement_no: str,
    payment_limit_minor: int | None,
    daily_limit_minor: int | None,
    before: Allowance | None,
) -> None:
    """Write what the merchant may take from now on; today's use goes on from where it was."""
    date, used = ("", 0) if before is None else (before.used_date, before.used_minor)
    counted = before is not None and before.counted
    uncounted_date = "" if before is None else before.uncounted_date
    if before is not None and not counted and daily_limit_minor is not None:
        # A payment of the next date may have come already, from a shard that was cut before.
        uncounted_date = max(turn.business_date, existing(turn).used_date)
    allowance = Allowance(
        agreement_no=agreement_no,
        payment_limit_minor=payment_limit_minor,
        daily_limit_minor=daily_limit_minor,
        counted=counted or daily_limit_minor is not None,
        used_date=date,
        used_minor=used,
        carried_date=date,
        carried_minor=used,
        uncounted_date=uncounted_date,
    )
    turn.put(ALLOWANCES, merchant_no, allowance)


def change_agreement(turn: Turn[Account], command: ChangeAgreement) -> None:
    """Set both limits anew, also below what is used today; then nothing more is taken today.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED, ACCOUNT_CLOSED; bound: NO_SUCH_AGREEMENT,
    STATE_CONFLICT.
    """
    _change(
        turn,
        command,
        "change",
        command.change_no,
        command.payment_limit_minor,
        command.daily_limit_minor,
    )


def cancel_agreement(turn: Turn[Account], command: CancelAgreement) -> None:
    """End an agreement; a closed account's may be ended too.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED; bound: NO_SUCH_AGREEMENT, STATE_CONFLICT.
    """
    _change(turn, command, "cancel", command.cancel_no, None, None)


def _change(
    turn: Turn[Account],
    command: ChangeAgreement | CancelAgreement,
    kind: ChangeKind,
    number: str,
    payment_limit_minor: int | None,
    daily_limit_minor: int | None,
) -> None:
    account = turn.state
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return
    content = digest(command)
    first = turn.get(CHANGES[kind], number)
    if first is not None:
        repeat(turn, CHANGES[kind], number, number, content, first, first_change)
        return
    agreement_no = command.agreement_no
    agreement = turn.get(AGREEMENTS, agreement_no)
    code = None
    if agreement is None:
        code = Refusal.NO_SUCH_AGREEMENT
    elif agreement.state not in ALLOWED:
        code = Refusal.STATE_CONFLICT
    elif account.status == "CLOSED" and kind == "change":
        turn.answer(Refused(Refusal.ACCOUNT_CLOSED, number))
        return
    change = AgreementChange(
        *decided(turn, content, "SUCCEEDED", code),
        kind=kind,
        agreement_no=agreement_no,
        payment_limit_minor=payment_limit_minor,
        daily_limit_minor=daily_limit_minor,
        current=agreement.state if agreement is not None and code is not None else "",
    )
    turn.put(CHANGES[kind], number, change)
    if agreement is not None and code is None:
        _apply(turn, agreement_no, agreement, change)
    turn.answer(first_change(turn.number, number, change))


def _apply(
    turn: Turn[Account], agreement_no: str, agreement: Agreement, change: AgreementChange
) -> None:
    """Write the agreement and the merchant's allowance as a change leaves them."""
    merchant_no = agreement.merchant_no
    allowance = turn.get(ALLOWANCES, merchant_no)
    assert allowance is not None, f"{turn.address} allows {merchant_no} nothing"
    if change.kind == "cancel":
        state = move(AGREEMENT, agreement.state, "cancel_agreement", "CANCELLED")
        agreement = replace(agreement, state=state, cancelled_ns=turn.now_ns)
        turn.put(ALLOWANCES, merchant_no, replace(allowance, agreement_no=""))
    else:
        payment_limit, daily_limit = change.payment_limit_minor, change.daily_limit_minor
        agreement = replace(
            agreement,
            payment_limit_minor=payment_limit,
            daily_limit_minor=daily_limit,
            changes=agreement.changes + 1,
            changed_ns=turn.now_ns,
        )
        _allow(turn, merchant_no, agreement_no, payment_limit, daily_limit, allowance)
    turn.put(AGREEMENTS, agreement_no, agreement)


def view_agreement(
    account_no: str,
    agreement_no: str,
    agreement: Agreement,
    allowance: Allowance | None = None,
    business_date: str = "",
) -> AgreementView:
    """Return an agreement as it stands.

    Args:
        allowance: the account's for the merchant; with it the view says what is used of the
            agreement in force on `business_date`.
    """
    used = None
    if allowance is not None and allowance.counted and allowance.agreement_no == agreement_no:
        used = used_on(business_date, allowance.used_date, allowance.used_minor)
    return AgreementView(
        account_no=account_no,
        agreement_no=agreement_no,
        merchant_no=agreement.merchant_no,
        payment_limit_minor=agreement.payment_limit_minor,
        daily_limit_minor=agreement.daily_limit_minor,
        used_minor=used,
        state=agreement.state,
        code=agreement.code,
        business_date=agreement.business_date,
        signed_at=None if agreement.code else instant(agreement.created_ns),
        changed_at=instant_if(agreement.changed_ns),
        cancelled_at=instant_if(agreement.cancelled_ns),
    )


def first_agreement(account_no: str, agreement_no: str, agreement: Agreement) -> Outcome:
    """Return the outcome that signing it had, whatever was changed or cancelled since."""
    if agreement.code is not None:
        return Refused(agreement.code, agreement_no)
    signed = replace(
        agreement,
        state="SIGNED",
        payment_limit_minor=agreement.signed_payment_limit_minor,
        daily_limit_minor=agreement.signed_daily_limit_minor,
        changed_ns=0,
        cancelled_ns=0,
    )
    return view_agreement(account_no, agreement_no, signed)


def view_change(account_no: str, number: str, change: AgreementChange) -> AgreementChangeView:
    """Return a change or a cancelling; it never changes itself."""
    return AgreementChangeView(
        change=change.kind,
        account_no=account_no,
        number=number,
        agreement_no=change.agreement_no,
        payment_limit_minor=change.payment_limit_minor,
        daily_limit_minor=change.daily_limit_minor,
        state=change.state,
        code=change.code,
        business_date=change.business_date,
        created_at=instant(change.created_ns),
    )


def first_change(account_no: str, number: str, change: AgreementChange) -> Outcome:
    """Return the outcome as its first caller was told it."""
    if change.code is None:
        return view_change(account_no, number, change)
    if not change.current:
        return Refused(change.code, number)
    return Refused(change.code, number, change.current, ALLOWED)
