"""Refunds: money back to a payer, of a payment or of what was captured under an authorization.

The amount is reserved in the original's record and debited from the merchant's receivable before
the payer's account is asked, all in one turn of the merchant; so however many refunds run at
once, together they never exceed what was taken. If the account cannot take the money it comes
back, and the reservation is released.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec.structs import replace

from actors.answers import Outcome, RefundView, Refused, instant, instant_if
from actors.authorization import AUTHORIZATIONS, Authorization
from actors.commands import RefundAuthorization, RefundPayment
from actors.event import OUTCOMES, append_event
from actors.merchant import Merchant, admit, credit, debit, existing
from actors.messages import CreditRefund, RefundCredited, RefundReturned
from actors.note import description_of, metadata_of
from actors.outcome import Bound, bind, settle
from actors.payment import PAYMENTS, Payment
from actors.refusal import Refusal
from actors.states import AUTHORIZATION, PAYMENT, REFUND, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn

REFUNDS_MAX: Final = 50
WINDOW_NS: Final = 365 * 86_400 * 1_000_000_000
"""Refunds may be asked for up to 365 days after the payment, or after the last capture."""

OriginalKind = Literal["payment", "authorization"]


class Refund(Bound, frozen=True, array_like=True):
    """A record under the merchant, named by its refund_no.

    Attributes:
        original: the order_no or hold_no, by `original_kind`.
        payer: who gets the money, empty where there is no such original.
        current: the original's state where that was the reason to refuse, else empty.
    """

    state: Literal["PROCESSING", "SUCCEEDED", "FAILED"]
    original_kind: OriginalKind
    original: str
    payer: str
    amount_minor: int
    currency: str
    current: str = ""


REFUNDS: Final = RecordKind("r", Refund, ascending=True)

_ORIGINALS: Final[Mapping[str, RecordKind[Any]]] = {
    "payment": PAYMENTS,
    "authorization": AUTHORIZATIONS,
}

ALLOWED: Final[Mapping[OriginalKind, tuple[str, ...]]] = {
    "payment": allowed(PAYMENT, "refund_payment"),
    "authorization": allowed(AUTHORIZATION, "refund_authorization"),
}
"""The states of the original in which a refund is legal."""


def refund_payment(turn: Turn[Merchant], command: RefundPayment) -> None:
    """Return some or all of a payment.

    Refusals: those of `merchant.admit`; IN_FLIGHT while the payment is, or is being reversed;
    bound: NO_SUCH_PAYMENT, PAYMENT_NOT_SUCCEEDED, REFUND_WINDOW_PASSED, REFUND_COUNT_LIMIT,
    REFUND_EXCEEDS_REMAINING, MERCHANT_BALANCE_INSUFFICIENT, then those of
    `account.refuse_credit`.
    """
    number = command.refund_no
    content = admit(turn, command, REFUNDS, number, first_refund, takes=False)
    if content is None:
        return
    payment = turn.get(PAYMENTS, command.order_no)
    if payment is None:
        code: Refusal | None = Refusal.NO_SUCH_PAYMENT
    elif payment.state == "PROCESSING" or payment.reversing:
        turn.answer(Refused(Refusal.IN_FLIGHT, number))
        return
    elif payment.state not in ALLOWED["payment"]:
        code = Refusal.PAYMENT_NOT_SUCCEEDED
    else:
        code = _refuse(turn, payment, payment.amount_minor, payment.settled_ns, command)
    _begin(turn, command, "payment", command.order_no, payment, content, code)


def refund_authorization(turn: Turn[Merchant], command: RefundAuthorization) -> None:
    """Return some or all of what has been captured; a hold that is still open does not hinder.

    Refusals: those of `merchant.admit`; IN_FLIGHT while it is being placed; bound:
    NO_SUCH_HOLD, STATE_CONFLICT (nothing captured), then as for a payment.
    """
    number = command.refund_no
    content = admit(turn, command, REFUNDS, number, first_refund, takes=False)
    if content is None:
        return
    hold = turn.get(AUTHORIZATIONS, command.hold_no)
    if hold is None:
        code: Refusal | None = Refusal.NO_SUCH_HOLD
    elif hold.state == "PROCESSING":
        turn.answer(Refused(Refusal.IN_FLIGHT, number))
        return
    elif hold.state not in ALLOWED["authorization"]:
        code = Refusal.STATE_CONFLICT
    else:
        code = _refuse(turn, hold, hold.captured_minor, hold.captured_ns, command)
    _begin(turn, command, "authorization", command.hold_no, hold, content, code)


def _refuse(
    turn: Turn[Merchant],
    original: Payment | Authorization,
    taken_minor: int,
    taken_ns: int,
    command: RefundPayment | RefundAuthorization,
) -> Refusal | None:
    amount = command.amount_minor
    if turn.now_ns - taken_ns > WINDOW_NS:
        return Refusal.REFUND_WINDOW_PASSED
    if original.refunds >= REFUNDS_MAX:
        return Refusal.REFUND_COUNT_LIMIT
    if original.refunded_minor + original.refunding_minor + amount > taken_minor:
        return Refusal.REFUND_EXCEEDS_REMAINING
    if existing(turn).posted_minor < amount:
        return Refusal.MERCHANT_BALANCE_INSUFFICIENT
    return None


def _begin(
    turn: Turn[Merchant],
    command: RefundPayment | RefundAuthorization,
    kind: OriginalKind,
    name: str,
    original: Payment | Authorization | None,
    content: bytes,
    code: Refusal | None,
) -> None:
    """Bind the refund: refused for good, or reserved, debited and on its way to the payer."""
    amount = command.amount_minor
    number = command.refund_no
    illegal = code in {Refusal.PAYMENT_NOT_SUCCEEDED, Refusal.STATE_CONFLICT}
    refund = Refund(
        *bind(turn, content, code),
        original_kind=kind,
        original=name,
        payer="" if original is None else original.payer,
        amount_minor=amount,
        currency=existing(turn).currency,
        current=original.state if original is not None and illegal else "",
    )
    turn.put(REFUNDS, number, refund)
    if original is None or code is not None:
        _append_event(turn, number, refund, code)
        turn.answer(first_refund(turn.number, number, refund))
        return
    reserved = replace(
        original,
        refunding_minor=original.refunding_minor + amount,
        refunds=original.refunds + 1,
    )
    turn.put(_ORIGINALS[kind], name, reserved)
    debit(turn, amount, 0, f"refund/{turn.number}/{number}")
    turn.tell(
        f"account/{original.payer}",
        CreditRefund(turn.number, number),
        amount_minor=amount,
        currency=refund.currency,
    )


def refund_credited(turn: Turn[Merchant], message: RefundCredited) -> None:
    """The payer has it: what was reserved is refunded."""
    refund, original = _processing(turn, message.refund_no)
    amount = refund.amount_minor
    turn.put(
        _ORIGINALS[refund.original_kind],
        refund.original,
        replace(
            original,
            refunded_minor=original.refunded_minor + amount,
            refunding_minor=original.refunding_minor - amount,
        ),
    )
    _append_event(turn, message.refund_no, refund, None)
    state = move(REFUND, refund.state, "RefundCredited", "SUCCEEDED")
    settle(turn, REFUNDS, message.refund_no, refund, first_refund, state=state)


def refund_returned(turn: Turn[Merchant], message: RefundReturned) -> None:
    """The account could not take it: book the money back and release the reservation."""
    number = message.refund_no
    refund, original = _processing(turn, number)
    amount = refund.amount_minor
    assert turn.amount_minor == amount
    credit(turn, amount, 0, f"refund/{turn.number}/{number}")
    turn.put(
        _ORIGINALS[refund.original_kind],
        refund.original,
        replace(
            original,
            refunding_minor=original.refunding_minor - amount,
            refunds=original.refunds - 1,
        ),
    )
    _append_event(turn, number, refund, message.code)
    state = move(REFUND, refund.state, "RefundReturned", "FAILED")
    settle(turn, REFUNDS, number, refund, first_refund, state=state, code=message.code)


def _append_event(
    turn: Turn[Merchant], refund_no: str, refund: Refund, code: Refusal | None
) -> None:
    type_ = OUTCOMES[f"{refund.original_kind} refund"][code is not None]
    append_event(turn, type_, refund_no, refund.amount_minor, original=refund.original, code=code)


def _processing(turn: Turn[Merchant], refund_no: str) -> tuple[Refund, Payment | Authorization]:
    refund = turn.get(REFUNDS, refund_no)
    assert refund is not None, f"{turn.address} has no refund {refund_no}"
    assert refund.state == "PROCESSING", f"{refund_no} is {refund.state}"
    original: Payment | Authorization | None = turn.get(
        _ORIGINALS[refund.original_kind], refund.original
    )
    assert original is not None
    return refund, original


def view_refund(merchant_no: str, refund_no: str, refund: Refund) -> RefundView:
    """Return what the merchant sees of a refund; it never changes once it has an outcome."""
    return RefundView(
        merchant_no=merchant_no,
        refund_no=refund_no,
        original_kind=refund.original_kind,
        original=refund.original,
        payer=refund.payer,
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        state=refund.state,
        code=refund.code,
        business_date=refund.business_date,
        created_at=instant(refund.created_ns),
        settled_at=instant_if(refund.settled_ns),
        description=description_of(refund.digest),
        metadata=metadata_of(refund.digest),
    )


def first_refund(merchant_no: str, refund_no: str, refund: Refund) -> Outcome:
    """Return the outcome that the refund had, as its first caller was told it."""
    if refund.code is None:
        return view_refund(merchant_no, refund_no, refund)
    if not refund.current:
        return Refused(refund.code, refund_no)
    return Refused(refund.code, refund_no, refund.current, ALLOWED[refund.original_kind])
