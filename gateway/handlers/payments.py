"""Payments and their reversals."""

from typing import Final

from msgspec import Struct

from actors.answers import OperationView, PaymentView
from actors.commands import CreatePayment, Number, ReversePayment
from actors.event import OUTCOMES
from actors.operation import REVERSALS, view_operation
from actors.payment import PAYMENTS, view_payment
from actors.refusal import Refusal
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.feed import Listed, list_records
from gateway.lookup import Page, found, record_of


class PaymentKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which payment."""

    merchant_no: Number
    order_no: Number


class PaymentList(Listed, frozen=True):
    """A merchant's payments."""


class ReversalKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which reversal."""

    merchant_no: Number
    order_no: Number
    reversal_no: Number


async def create_payment(desk: Desk, caller: Caller, command: CreatePayment) -> Answer:
    """Pay a merchant from an account under a signed agreement."""
    return await desk.execute(caller, command)


async def get_payment(desk: Desk, caller: Caller, key: PaymentKey) -> Answer:
    """Return a payment as it stands now."""
    merchant_no, order_no = key.merchant_no, key.order_no
    payment = record_of(desk.node, f"merchant/{merchant_no}", PAYMENTS, order_no)
    view = None if payment is None else view_payment(merchant_no, order_no, payment)
    return found(view, Refusal.NO_SUCH_PAYMENT)


async def list_payments(desk: Desk, caller: Caller, asked: PaymentList) -> Answer:
    """Return one page of a merchant's payments."""
    return list_records(desk.node, asked, PAYMENTS, _OUTCOMES, view_payment)


async def reverse_payment(desk: Desk, caller: Caller, command: ReversePayment) -> Answer:
    """Undo a payment in full on its own business date."""
    return await desk.execute(caller, command)


async def get_reversal(desk: Desk, caller: Caller, key: ReversalKey) -> Answer:
    """Return a reversal."""
    reversal = record_of(desk.node, f"merchant/{key.merchant_no}", REVERSALS, key.reversal_no)
    if reversal is None or reversal.original != key.order_no:
        return found(None, RequestCode.NO_SUCH_OPERATION)
    view = view_operation(key.merchant_no, key.reversal_no, reversal)
    return found(view, RequestCode.NO_SUCH_OPERATION)


_OUTCOMES: Final = frozenset(OUTCOMES["payment"])
_PAYMENTS: Final = "/v1/payments"
_PAYMENT: Final = "/v1/payments/{merchant_no}/{order_no}"

ENDPOINTS: Final = (
    act(_PAYMENTS, CreatePayment, create_payment, "merchant", PaymentView),
    read(_PAYMENTS, PaymentList, list_payments, "merchant", Page[PaymentView]),
    read(_PAYMENT, PaymentKey, get_payment, "merchant", PaymentView, Refusal.NO_SUCH_PAYMENT),
    act(f"{_PAYMENT}/reversals", ReversePayment, reverse_payment, "merchant", OperationView),
    read(
        f"{_PAYMENT}/reversals/{{reversal_no}}",
        ReversalKey,
        get_reversal,
        "merchant",
        OperationView,
        RequestCode.NO_SUCH_OPERATION,
    ),
)
