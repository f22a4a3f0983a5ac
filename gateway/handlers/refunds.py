"""Refunds, of a payment or of what was captured under an authorization."""

from typing import Final

from msgspec import UNSET, Struct, UnsetType

from actors.commands import AmountMinor, Number, RefundAuthorization, RefundPayment
from actors.event import OUTCOMES
from actors.note import Description, Metadata
from actors.refund import REFUNDS, view_refund
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode, RequestError
from gateway.feed import Listed, list_records
from gateway.lookup import found, record_of


class CreateRefund(Struct, frozen=True, forbid_unknown_fields=True):
    """A refund of exactly one of a payment (`order_no`) and an authorization (`hold_no`)."""

    merchant_no: Number
    refund_no: Number
    amount_minor: AmountMinor
    order_no: Number | UnsetType = UNSET
    hold_no: Number | UnsetType = UNSET
    description: Description = UNSET
    metadata: Metadata = UNSET


class RefundKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which refund."""

    merchant_no: Number
    refund_no: Number


class RefundList(Listed, frozen=True):
    """A merchant's refunds."""


async def create_refund(desk: Desk, caller: Caller, asked: CreateRefund) -> Answer:
    """Return money to a payer."""
    merchant_no, refund_no, amount = asked.merchant_no, asked.refund_no, asked.amount_minor
    note = asked.description, asked.metadata
    if asked.order_no is not UNSET and asked.hold_no is UNSET:
        payment = RefundPayment(merchant_no, refund_no, asked.order_no, amount, *note)
        return await desk.execute(caller, payment)
    if asked.hold_no is not UNSET and asked.order_no is UNSET:
        hold = RefundAuthorization(merchant_no, refund_no, asked.hold_no, amount, *note)
        return await desk.execute(caller, hold)
    raise RequestError(RequestCode.INVALID_REQUEST, "give exactly one of `order_no` and `hold_no`")


async def get_refund(desk: Desk, caller: Caller, key: RefundKey) -> Answer:
    """Return a refund."""
    merchant_no, refund_no = key.merchant_no, key.refund_no
    refund = record_of(desk.node, f"merchant/{merchant_no}", REFUNDS, refund_no)
    view = None if refund is None else view_refund(merchant_no, refund_no, refund)
    return found(view, RequestCode.NO_SUCH_REFUND)


async def list_refunds(desk: Desk, caller: Caller, asked: RefundList) -> Answer:
    """Return one page of a merchant's refunds."""
    return list_records(desk.node, asked, REFUNDS, _OUTCOMES, view_refund)


_OUTCOMES: Final = frozenset((*OUTCOMES["payment refund"], *OUTCOMES["authorization refund"]))

ENDPOINTS: Final = (
    act("/v1/refunds", CreateRefund, create_refund),
    read("/v1/refunds", RefundList, list_refunds),
    read("/v1/refunds/{merchant_no}/{refund_no}", RefundKey, get_refund),
)
