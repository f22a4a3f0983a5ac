"""Allowances: what a payer lets a merchant take just now, and payments under agreements.

The payer signs an agreement with each merchant (`actors.signing`), with a limit for a single
payment and one for a business date. Payments count against both when debited, holds when placed or
incremented, and what a capture takes beyond its hold when captured. A reversal on the same
business date gives its use back; a void, a release, an expiry and a refund do not. Use is the
merchant's of the day, whatever agreement it was under; it is counted, and the record written, only
where there is a daily limit, or has been one.
"""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.account import Account, available_minor, post, refuse_credit, refuse_debit
from actors.messages import (
    CreditReversal,
    DebitPayment,
    PaymentDebited,
    PaymentDeclined,
    ReversalCredited,
    ReversalReturned,
)
from actors.method import AGREEMENT, give_back_method, refuse_method, use_method
from actors.money import give_back, use, used_on
from actors.refusal import Refusal
from engine.kind import RecordKind
from engine.turn import Turn


class Allowance(Struct, frozen=True, array_like=True):
    """A record under the payer's account, named by the merchant's number: all a payment reads.

    Attributes:
        agreement_no: the agreement in force; empty after it was cancelled.
        payment_limit_minor: most that one payment or hold may come to, None for no limit.
        daily_limit_minor: most on one business date, None for no limit.
        counted: there is or was a daily limit; from then on use is counted, so taking the limit
            away and setting it again does not forget the day.
        used_date, used_minor: use on the newest business date with any (`money.use`).
        carried_date, carried_minor: the same when the limits were set, which may be more than
            the limit already; for the audit.
        uncounted_date: newest business date of which something may have been taken before use was
            counted; what is undone of that gives nothing back.
    """

    agreement_no: str
    payment_limit_minor: int | None
    daily_limit_minor: int | None
    counted: bool
    used_date: str = ""
    used_minor: int = 0
    carried_date: str = ""
    carried_minor: int = 0
    uncounted_date: str = ""


ALLOWANCES: Final = RecordKind("a", Allowance, kept=True)


def refuse_use(
    turn: Turn[Account],
    account: Account,
    allowance: Allowance | None,
    method: int,
    total_minor: int,
    amount_minor: int,
) -> Refusal | None:
    """Return why the account does not newly give `amount_minor`; None where it may.

    In this order: AGREEMENT_NOT_FOUND, AGREEMENT_CANCELLED, PAYMENT_LIMIT_EXCEEDED,
    DAILY_LIMIT_EXCEEDED, METHOD_LIMIT_EXCEEDED, INSUFFICIENT_FUNDS.

    Args:
        method: `method.AGREEMENT` or `method.AUTHORIZATION`, whose own limits hold too.
        total_minor: what the payment or hold comes to with it.
    """
    if allowance is None:
        return Refusal.AGREEMENT_NOT_FOUND
    if not allowance.agreement_no:
        return Refusal.AGREEMENT_CANCELLED
    limit = allowance.payment_limit_minor
    if limit is not None and total_minor > limit:
        return Refusal.PAYMENT_LIMIT_EXCEEDED
    limit = allowance.daily_limit_minor
    if limit is not None:
        used = used_on(turn.business_date, allowance.used_date, allowance.used_minor)
        if used + amount_minor > limit:
            return Refusal.DAILY_LIMIT_EXCEEDED
    if account.limits:
        code = refuse_method(
            account.limits,
            method,
            turn.business_date,
            account.used_date,
            account.used_minor,
            total_minor,
            amount_minor,
        )
        if code is not None:
            return code
    if available_minor(account) < amount_minor:
        return Refusal.INSUFFICIENT_FUNDS
    return None


def count_use(
    turn: Turn[Account], merchant_no: str, allowance: Allowance, amount_minor: int
) -> None:
    """Count `amount_minor` as used of the day, where that is counted."""
    if allowance.counted:
        date, used = use(
            turn.business_date, allowance.used_date, allowance.used_minor, amount_minor
        )
        turn.put(ALLOWANCES, merchant_no, replace(allowance, used_date=date, used_minor=used))


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
        allowance = turn.get(ALLOWANCES, merchant_no)
        code = refuse_use(turn, account, allowance, AGREEMENT, amount, amount)
        if code is None:
            assert allowance is not None
            date, used = use_method(
                AGREEMENT, turn.business_date, account.used_date, account.used_minor, amount
            )
            reference = f"payment/{merchant_no}/{message.order_no}"
            post(turn, account, -amount, reference, used_date=date, used_minor=used)
            count_use(turn, merchant_no, allowance, amount)
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
    reference = f"reversal/{message.merchant_no}/{message.order_no}"
    take_back(turn, account, message.merchant_no, reference)
    turn.tell(turn.sender, ReversalCredited(message.order_no))


def take_back(turn: Turn[Account], account: Account, merchant_no: str, reference: str) -> None:
    """Post the money of a payment that is undone, and give back its use of that business date.

    Nobody knows of a payment whether it was counted, so of the date on which counting began, and of
    those before, nothing is given back to the merchant: it would be more than was ever used.
    """
    amount, date = turn.amount_minor, turn.business_date
    by_method = give_back_method(AGREEMENT, date, account.used_date, account.used_minor, amount)
    post(turn, account, amount, reference, used_minor=by_method)
    allowance = turn.get(ALLOWANCES, merchant_no)
    if allowance is not None and allowance.counted and date > allowance.uncounted_date:
        used = give_back(date, allowance.used_date, allowance.used_minor, amount)
        turn.put(ALLOWANCES, merchant_no, replace(allowance, used_minor=used))
