"""Refunds, of a payment or of what was captured under an authorization, and their remedies."""

from collections.abc import Iterator
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from actors.answers import RefundView, RemedyView
from actors.commands import (
    AmountMinor,
    CloseRefund,
    Command,
    Number,
    RedirectRefund,
    RefundAuthorization,
    RefundPayment,
)
from actors.event import REFUND_STATES
from actors.note import Description, Metadata
from actors.refund import REFUNDS, view_refund
from actors.refusable import REFUSALS
from actors.refusal import Refusal
from actors.remedy import CLOSINGS, REDIRECTS, Remedy, view_remedy
from engine.kind import RecordKind
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import Access, Endpoint, act, read
from gateway.errors import RequestCode, RequestError
from gateway.feed import Listed, list_records
from gateway.lookup import Page, found, record_of


class CreateRefund(Struct, frozen=True, forbid_unknown_fields=True):
    """A refund of exactly one of a payment (`order_no`) and an authorization (`hold_no`)."""

    merchant_no: Number
    refund_no: Number
    amount_minor: AmountMinor
    order_no: Number | UnsetType = UNSET
    hold_no: Number | UnsetType = UNSET
    wait_for_funds: bool = False
    description: Description = UNSET
    metadata: Metadata = UNSET


class RefundKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which refund."""

    merchant_no: Number
    refund_no: Number


class RedirectKey(RefundKey, frozen=True):
    """Which redirect."""

    redirect_no: Number


class ClosingKey(RefundKey, frozen=True):
    """Which closing."""

    close_no: Number


class RefundList(Listed, frozen=True):
    """A merchant's refunds."""


async def create_refund(desk: Desk, caller: Caller, asked: CreateRefund) -> Answer:
    """Return money to a payer."""
    merchant_no, refund_no, amount = asked.merchant_no, asked.refund_no, asked.amount_minor
    rest = asked.wait_for_funds, asked.description, asked.metadata
    if asked.order_no is not UNSET and asked.hold_no is UNSET:
        payment = RefundPayment(merchant_no, refund_no, asked.order_no, amount, *rest)
        return await desk.execute(caller, payment)
    if asked.hold_no is not UNSET and asked.order_no is UNSET:
        hold = RefundAuthorization(merchant_no, refund_no, asked.hold_no, amount, *rest)
        return await desk.execute(caller, hold)
    raise RequestError(RequestCode.INVALID_REQUEST, "give exactly one of `order_no` and `hold_no`")


async def get_refund(desk: Desk, caller: Caller, key: RefundKey) -> Answer:
    """Return a refund as it stands now."""
    merchant_no, refund_no = key.merchant_no, key.refund_no
    refund = record_of(desk.node, f"merchant/{merchant_no}", REFUNDS, refund_no)
    view = None if refund is None else view_refund(merchant_no, refund_no, refund)
    return found(view, Refusal.NO_SUCH_REFUND)


async def list_refunds(desk: Desk, caller: Caller, asked: RefundList) -> Answer:
    """Return one page of a merchant's refunds."""
    return list_records(desk.node, asked, REFUNDS, _ENDS, view_refund)


_ENDS: Final = frozenset(
    states[end] for states in REFUND_STATES.values() for end in ("SUCCEEDED", "FAILED", "CLOSED")
)
"""Each refund comes to just one of these in the end."""

_REFUNDS: Final = "/v1/refunds"
_REFUND: Final = "/v1/refunds/{merchant_no}/{refund_no}"


def _remedy(
    name: str,
    number: str,
    command_type: type[Command],
    key_type: type[RefundKey],
    kind: RecordKind[Remedy],
    access: Access,
) -> Iterator[Endpoint]:
    """Yield the two endpoints of one kind of remedy: do it, and look it up by its number."""

    async def remedy(desk: Desk, caller: Caller, command: Command) -> Answer:
        """Redirect a refund, or close it."""
        return await desk.execute(caller, command)  # type: ignore[arg-type]

    async def get_remedy(desk: Desk, caller: Caller, key: RefundKey) -> Answer:
        """Return a redirect or a closing."""
        remedy_no: str = getattr(key, number)
        record = record_of(desk.node, f"merchant/{key.merchant_no}", kind, remedy_no)
        if record is None or record.refund_no != key.refund_no:
            return found(None, RequestCode.NO_SUCH_OPERATION)
        view = view_remedy(key.merchant_no, remedy_no, record)
        return found(view, RequestCode.NO_SUCH_OPERATION)

    yield act(f"{_REFUND}/{name}", command_type, remedy, access, RemedyView)
    yield read(
        f"{_REFUND}/{name}/{{{number}}}",
        key_type,
        get_remedy,
        "merchant",
        RemedyView,
        RequestCode.NO_SUCH_OPERATION,
        called=f"get_refund_{name[:-1]}",
        about=f"Return a refund's {name[:-1]} by its number.",
    )


ENDPOINTS: Final = (
    act(
        _REFUNDS,
        CreateRefund,
        create_refund,
        "merchant",
        RefundView,
        *REFUSALS[RefundPayment],
        *REFUSALS[RefundAuthorization],
    ),
    read(_REFUNDS, RefundList, list_refunds, "merchant", Page[RefundView]),
    read(_REFUND, RefundKey, get_refund, "merchant", RefundView, Refusal.NO_SUCH_REFUND),
    # Where a refund goes that its payer's account cannot take, the bank finds out.
    *_remedy("redirects", "redirect_no", RedirectRefund, RedirectKey, REDIRECTS, "bank"),
    *_remedy("closings", "close_no", CloseRefund, ClosingKey, CLOSINGS, "merchant"),
)
