"""Agreements: what a payer lets a merchant take, and payments under them.

The payer signs once for each merchant, with a limit for a single payment and one for a business
date. Payments count against both when debited, holds when placed or incremented, and what a
capture takes beyond its hold when captured. A reversal on the same business date gives its use
back; a void, a release, an expiry and a refund do not. The daily figure is kept, and the record
written, only where there is a daily limit.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.account import Account, available_minor, post, refuse_credit, refuse_debit
from actors.answers import AgreementView, Refused, Replayed, instant
from actors.commands import SignAgreement, digest
from actors.messages import (
    CreditReversal,
    DebitPayment,
    PaymentDebited,
    PaymentDeclined,
    ReversalCredited,
    ReversalReturned,
)
from actors.money import give_back, use, used_on
from actors.refusal import Refusal
from engine.kind import RecordKind
from engine.turn import Turn


class Agreement(Struct, frozen=True, array_like=True):
    """A record under the payer's account, named by the merchant's number.

    Attributes:
        payment_limit_minor: most that one payment or hold may come to, None for no limit.
        daily_limit_minor: most on one business date, None for no limit.
        used_date, used_minor: use on the newest business date with any (`money.use`).
    """

    payment_limit_minor: int | None
    daily_limit_minor: int | None
    digest: bytes
    signed_ns: int
    used_date: str = ""
    used_minor: int = 0


AGREEMENTS: Final = RecordKind("a", Agreement, kept=True)


def sign_agreement(turn: Turn[Account], command: SignAgreement) -> None:
    """Let a merchant debit the account; what was once signed is not changed by signing again.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED (signed with other limits), ACCOUNT_CLOSED,
    ACCOUNT_INTERNAL.
    """
    account = turn.state
    merchant_no = command.merchant_no
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, merchant_no))
        return
    content = digest(command)
    signed = turn.get(AGREEMENTS, merchant_no)
    if signed is not None:
        if signed.digest == content:
            turn.answer(Replayed(view_agreement(turn.number, merchant_no, signed)))
        else:
            turn.answer(Refused(Refusal.NUMBER_USED, merchant_no))
    elif account.status == "CLOSED":
        turn.answer(Refused(Refusal.ACCOUNT_CLOSED, merchant_no))
    elif account.kind != "customer":
        turn.answer(Refused(Refusal.ACCOUNT_INTERNAL, merchant_no))
    else:
        agreement = Agreement(
            payment_limit_minor=command.payment_limit_minor,
            daily_limit_minor=command.daily_limit_minor,
            digest=content,
            signed_ns=turn.now_ns,
        )
        turn.put(AGREEMENTS, merchant_no, agreement)
        turn.answer(view_agreement(turn.number, merchant_no, agreement))


def refuse_use(
    turn: Turn[Account],
    account: Account,
    agreement: Agreement | None,
    total_minor: int,
    amount_minor: int,
) -> Refusal | None:
    """Return why the account does not newly give `amount_minor`; None where it may.

    In this order: AGREEMENT_NOT_FOUND, PAYMENT_LIMIT_EXCEEDED, DAILY_LIMIT_EXCEEDED,
    INSUFFICIENT_FUNDS.

    Args:
        total_minor: what the payment or hold comes to with it.
    """
    if agreement is None:
        return Refusal.AGREEMENT_NOT_FOUND
    limit = agreement.payment_limit_minor
    if limit is not None and total_minor > limit:
        return Refusal.PAYMENT_LIMIT_EXCEEDED
    limit = agreement.daily_limit_minor
    if limit is not None:
        used = used_on(turn.business_date, agreement.used_date, agreement.used_minor)
        if used + amount_minor > limit:
            return Refusal.DAILY_LIMIT_EXCEEDED
    if available_minor(account) < amount_minor:
        return Refusal.INSUFFICIENT_FUNDS
    return None


def count_use(
    turn: Turn[Account], merchant_no: str, agreement: Agreement, amount_minor: int
) -> None:
    """Count `amount_minor` against the daily limit, where there is one."""
    if agreement.daily_limit_minor is not None:
        date, used = use(
            turn.business_date, agreement.used_date, agreement.used_minor, amount_minor
        )
        turn.put(AGREEMENTS, merchant_no, replace(agreement, used_date=date, used_minor=used))


def debit_payment(turn: Turn[Account], message: DebitPayment) -> None:
    """Pay an order under the payer's agreement with the merchant, or decline.

    Refusals: those of `account.refuse_debit`, then those of `refuse_use`.
    """
    account = turn.state
    amount = message.amount_minor
    merchant_no = message.merchant_no
    code = refuse_debit(account, message.currency)
    if code is None:
        assert account is not None
        agreement = turn.get(AGREEMENTS, merchant_no)
        code = refuse_use(turn, account, agreement, amount, amount)
        if code is None:
            assert agreement is not None
            date, used = use(turn.business_date, account.used_date, account.used_minor, amount)
            reference = f"payment/{merchant_no}/{message.order_no}"
            post(turn, account, -amount, reference, used_date=date, used_minor=used)
            count_use(turn, merchant_no, agreement, amount)
            turn.tell(
                turn.sender,
                PaymentDebited(message.order_no),
                amount_minor=amount,
                currency=message.currency,
            )
            return
    turn.tell(turn.sender, PaymentDeclined(message.order_no, code))


def credit_reversal(turn: Turn[Account], message: CreditReversal) -> None:
    """Take a payment back and give back its use of that business date; or return the money."""
    account = turn.state
    amount = turn.amount_minor
    code = refuse_credit(account, turn.currency)
    if code is not None:
        answer = ReversalReturned(message.order_no, code)
        turn.tell(turn.sender, answer, amount_minor=amount, currency=turn.currency)
        return
    assert account is not None
    used = give_back(turn.business_date, account.used_date, account.used_minor, amount)
    reference = f"reversal/{message.merchant_no}/{message.order_no}"
    post(turn, account, amount, reference, used_minor=used)
    agreement = turn.get(AGREEMENTS, message.merchant_no)
    if agreement is not None and agreement.daily_limit_minor is not None:
        used = give_back(turn.business_date, agreement.used_date, agreement.used_minor, amount)
        turn.put(AGREEMENTS, message.merchant_no, replace(agreement, used_minor=used))
    turn.tell(turn.sender, ReversalCredited(message.order_no))


def view_agreement(account_no: str, merchant_no: str, agreement: Agreement) -> AgreementView:
    """Return the agreement as it was signed."""
    return AgreementView(
        account_no=account_no,
        merchant_no=merchant_no,
        payment_limit_minor=agreement.payment_limit_minor,
        daily_limit_minor=agreement.daily_limit_minor,
        signed_at=instant(agreement.signed_ns),
    )
