"""Payments, on the merchant's side: taken under an agreement, reversed on the same date.

A payment is three turns: the merchant binds the order number and asks the payer's account; the
account debits, or declines; the merchant credits itself, keeps the fee and answers. A reversal
runs likewise, the money going the other way; while it is under way the payment stays SUCCEEDED
with `reversing` set, and nothing else may touch it.
"""

from typing import Final, Literal

from msgspec.structs import replace

from actors.answers import Outcome, PaymentView, Refused, instant, instant_if
from actors.commands import CreatePayment, ReversePayment
from actors.event import EventType, append_event
from actors.merchant import Merchant, admit, count, credit, debit, existing
from actors.messages import (
    CreditReversal,
    DebitPayment,
    PaymentDebited,
    PaymentDeclined,
    ReversalCredited,
    ReversalReturned,
)
from actors.money import fee_minor
from actors.note import description_of, metadata_of
from actors.operation import ALLOWED, REVERSALS, Operation, first_operation
from actors.outcome import Bound, bind, settle
from actors.refusal import Refusal
from actors.states import OPERATION, PAYMENT, move
from engine.kind import RecordKind
from engine.turn import Turn


class Payment(Bound, frozen=True, array_like=True):
    """A record under the merchant, named by its order_no.

    Attributes:
        refunded_minor: sum of its refunds that succeeded.
        refunding_minor: sum of its refunds under way, reserved before the payer is asked.
        refunds: how many refunds succeeded or are under way.
        reversing: reversal_no of the reversal under way, else empty.
    """

    state: Literal["PROCESSING", "SUCCEEDED", "FAILED", "REVERSED"]
    payer: str
    amount_minor: int
    currency: str
    fee_minor: int = 0
    refunded_minor: int = 0
    refunding_minor: int = 0
    refunds: int = 0
    reversing: str = ""


PAYMENTS: Final = RecordKind("p", Payment, ascending=True)


def create_payment(turn: Turn[Merchant], command: CreatePayment) -> None:
    """Bind the order number and ask the payer's account for the money.

    Refusals: those of `merchant.admit`; bound: CURRENCY_MISMATCH and what the account declines.
    """
    order_no = command.order_no
    content = admit(turn, command, PAYMENTS, order_no, first_payment, takes=True)
    if content is None:
        return
    code = None
    if command.currency != existing(turn).currency:
        code = Refusal.CURRENCY_MISMATCH
    payment = Payment(
        *bind(turn, content, code),
        payer=command.payer,
        amount_minor=command.amount_minor,
        currency=command.currency,
    )
    turn.put(PAYMENTS, order_no, payment)
    if code is not None:
        append_event(
            turn,
            EventType.PAYMENT_FAILED,
            order_no,
            command.amount_minor,
            code=code,
            currency=command.currency,
        )
        turn.answer(first_payment(turn.number, order_no, payment))
        return
    count(turn, in_flight=1)
    turn.tell(
        f"account/{command.payer}",
        DebitPayment(turn.number, order_no, command.amount_minor, command.currency),
    )


def payment_debited(turn: Turn[Merchant], message: PaymentDebited) -> None:
    """Credit the payer's money, keep the fee, and answer."""
    order_no = message.order_no
    payment = _processing(turn, order_no)
    amount = payment.amount_minor
    assert turn.amount_minor == amount
    fee = fee_minor(amount, existing(turn).fee_bps)
    credit(turn, amount, fee, f"payment/{turn.number}/{order_no}", in_flight=-1)
    append_event(turn, EventType.PAYMENT_SUCCEEDED, order_no, amount, fee_minor=fee)
    state = move(PAYMENT, payment.state, "PaymentDebited", "SUCCEEDED")
    settle(turn, PAYMENTS, order_no, payment, view_payment, state=state, fee_minor=fee)


def payment_declined(turn: Turn[Merchant], message: PaymentDeclined) -> None:
    """Bind the refusal, for ever, and answer."""
    count(turn, in_flight=-1)
    order_no, code = message.order_no, message.code
    payment = _processing(turn, order_no)
    append_event(turn, EventType.PAYMENT_FAILED, order_no, payment.amount_minor, code=code)
    settle(
        turn,
        PAYMENTS,
        order_no,
        payment,
        first_payment,
        state=move(PAYMENT, payment.state, "PaymentDeclined", "FAILED"),
        code=code,
    )


def _processing(turn: Turn[Merchant], order_no: str) -> Payment:
    payment = turn.get(PAYMENTS, order_no)
    assert payment is not None, f"{turn.address} has no payment {order_no}"
    assert payment.state == "PROCESSING", f"{order_no} is {payment.state}"
    return payment


def reverse_payment(turn: Turn[Merchant], command: ReversePayment) -> None:
    """Take the payment out of the merchant's books, fee included, and send it to the payer.

    Refusals: those of `merchant.admit`; IN_FLIGHT; bound: NO_SUCH_PAYMENT,
    PAYMENT_NOT_SUCCEEDED, REVERSAL_WINDOW_PASSED, REVERSAL_NOT_FULL,
    MERCHANT_BALANCE_INSUFFICIENT, then those of `account.refuse_credit`.
    """
    number, order_no = command.reversal_no, command.order_no
    content = admit(turn, command, REVERSALS, number, first_operation, takes=False)
    if content is None:
        return
    payment = turn.get(PAYMENTS, order_no)
    if payment is not None and (payment.state == "PROCESSING" or payment.reversing):
        turn.answer(Refused(Refusal.IN_FLIGHT, number))
        return
    code = _refuse_reversal(turn, payment)
    not_succeeded = payment is not None and code is Refusal.PAYMENT_NOT_SUCCEEDED
    reversal = Operation(
        *bind(turn, content, code),
        kind="reversal",
        original=order_no,
        amount_minor=0 if payment is None else payment.amount_minor,
        current=payment.state if payment is not None and not_succeeded else "",
        fee_minor=payment.fee_minor if payment is not None and code is None else 0,
    )
    turn.put(REVERSALS, number, reversal)
    if payment is None or code is not None:
        append_event(
            turn,
            EventType.REVERSAL_FAILED,
            number,
            reversal.amount_minor,
            original=order_no,
            code=code,
            state="" if payment is None else payment.state,
        )
        turn.answer(first_operation(turn.number, number, reversal))
        return
    turn.put(PAYMENTS, order_no, replace(payment, reversing=number))
    reference = f"reversal/{turn.number}/{order_no}"
    debit(turn, payment.amount_minor, payment.fee_minor, reference, in_flight=1)
    turn.tell(
        f"account/{payment.payer}",
        CreditReversal(turn.number, order_no),
        amount_minor=payment.amount_minor,
        currency=payment.currency,
    )


def _refuse_reversal(turn: Turn[Merchant], payment: Payment | None) -> Refusal | None:
    if payment is None:
        return Refusal.NO_SUCH_PAYMENT
    if payment.state not in ALLOWED["reversal"]:
        return Refusal.PAYMENT_NOT_SUCCEEDED
    if payment.business_date != turn.business_date:
        return Refusal.REVERSAL_WINDOW_PASSED
    if payment.refunded_minor or payment.refunding_minor:
        return Refusal.REVERSAL_NOT_FULL
    if existing(turn).posted_minor + payment.fee_minor < payment.amount_minor:
        return Refusal.MERCHANT_BALANCE_INSUFFICIENT
    return None


def reversal_credited(turn: Turn[Merchant], message: ReversalCredited) -> None:
    """The payer has the money back: the payment is REVERSED."""
    count(turn, in_flight=-1)
    order_no = message.order_no
    payment, reversal = _reversing(turn, order_no)
    reversed_ = move(PAYMENT, payment.state, "reverse_payment", "REVERSED")
    turn.put(PAYMENTS, order_no, replace(payment, state=reversed_, reversing=""))
    append_event(
        turn,
        EventType.PAYMENT_REVERSED,
        payment.reversing,
        payment.amount_minor,
        original=order_no,
        fee_minor=payment.fee_minor,
    )
    state = move(OPERATION, reversal.state, "ReversalCredited", "SUCCEEDED")
    settle(turn, REVERSALS, payment.reversing, reversal, first_operation, state=state)


def reversal_returned(turn: Turn[Merchant], message: ReversalReturned) -> None:
    """The payer's account could not take it: book it all back; the payment stands."""
    payment, reversal = _reversing(turn, message.order_no)
    assert turn.amount_minor == payment.amount_minor
    reference = f"reversal/{turn.number}/{message.order_no}"
    credit(turn, payment.amount_minor, payment.fee_minor, reference, in_flight=-1)
    turn.put(PAYMENTS, message.order_no, replace(payment, reversing=""))
    append_event(
        turn,
        EventType.REVERSAL_FAILED,
        payment.reversing,
        payment.amount_minor,
        original=message.order_no,
        code=message.code,
        state=payment.state,
    )
    settle(
        turn,
        REVERSALS,
        payment.reversing,
        reversal,
        first_operation,
        state=move(OPERATION, reversal.state, "ReversalReturned", "FAILED"),
        code=message.code,
        fee_minor=0,
    )


def _reversing(turn: Turn[Merchant], order_no: str) -> tuple[Payment, Operation]:
    payment = turn.get(PAYMENTS, order_no)
    assert payment is not None, f"{turn.address} has no payment {order_no}"
    reversal = turn.get(REVERSALS, payment.reversing)
    assert reversal is not None, f"{order_no} is not being reversed"
    return payment, reversal


def view_payment(merchant_no: str, order_no: str, payment: Payment) -> PaymentView:
    """Return what the merchant sees of a payment as it stands now."""
    return PaymentView(
        merchant_no=merchant_no,
        order_no=order_no,
        payer=payment.payer,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        fee_minor=payment.fee_minor,
        refunded_minor=payment.refunded_minor,
        state=payment.state,
        code=payment.code,
        business_date=payment.business_date,
        created_at=instant(payment.created_ns),
        settled_at=instant_if(payment.settled_ns),
        description=description_of(payment.digest),
        metadata=metadata_of(payment.digest),
    )


def first_payment(merchant_no: str, order_no: str, payment: Payment) -> Outcome:
    """Return the outcome that the payment had at first, whatever was refunded or reversed since."""
    if payment.code is not None:
        return Refused(payment.code, order_no)
    return view_payment(
        merchant_no, order_no, replace(payment, state="SUCCEEDED", refunded_minor=0)
    )
