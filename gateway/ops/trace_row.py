"""Rows of traces: a payment's, an authorization's, and to which of the two a refund belongs.

What is under way of them, or was until the rings forgot it, is `gateway.ops.trace`; here it is put
beside what is stored of them for ever.
"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from actors.answers import instant, instant_if
from actors.authorization import AUTHORIZATIONS
from actors.commands import CreateAuthorization, CreatePayment
from actors.kinds import MERCHANT
from actors.messages import HoldPlaced, PaymentDebited
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, OriginalKind
from actors.refusal import Refusal
from engine.address import NUMBER_PATTERN
from gateway.answer import Answer, failed
from gateway.errors import problem
from gateway.lookup import record_of
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.masking import Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from gateway.ops.trace import (
    Original,
    TracedCommit,
    TracedPosting,
    TracedTurn,
    trace,
)

_DEBITED: Final = frozenset({"SUCCEEDED", "REVERSED"})
"""States of a payment to which its payer's account has said yes."""
_NOT_HELD: Final = frozenset({"PROCESSING", "FAILED"})
"""States of an authorization to which it has not, or not yet."""

Number = Annotated[str, Meta(pattern=NUMBER_PATTERN + r"(?!\n)")]


class OfMerchant(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    merchant_no: Number
    reason: Reason | None = None


class GetTrace(OfMerchant, frozen=True, kw_only=True):
    """Of which payment."""

    order_no: Number


class GetAuthorizationTrace(OfMerchant, frozen=True, kw_only=True):
    """Of which authorization."""

    hold_no: Number


class GetRefund(OfMerchant, frozen=True, kw_only=True):
    """Which refund."""

    refund_no: Number


class TraceView(Struct, frozen=True, tag_field="object", tag="trace"):
    """A payment's way through the node.

    Attributes:
        complete: its first turn is still known, and so are all that came after.
        turns: of the payment, of its reversal and of its refunds, in the order of time.
        postings: of these, in the commits of these turns; where no ring remembers them, those on
            the payer's account, in the commits that hold them.
    """

    merchant_no: str
    order_no: str
    payer: str
    state: str
    amount_minor: int
    currency: str
    refunded_minor: int
    created_at: str
    settled_at: str | None
    masked: bool
    complete: bool
    turns: list[TracedTurn]
    commits: list[TracedCommit]
    postings: list[TracedPosting]


class AuthorizationTraceView(Struct, frozen=True, tag_field="object", tag="authorization_trace"):
    """An authorization's way through the node.

    Attributes:
        expires_at: null where nothing was reserved.
        turns: of the authorization, of its captures and whatever else was done to it, and of its
            refunds, in the order of time.
        complete, postings: as for a payment.
    """

    merchant_no: str
    hold_no: str
    payer: str
    state: str
    amount_minor: int
    currency: str
    captured_minor: int
    captures: int
    refunded_minor: int
    created_at: str
    settled_at: str | None
    expires_at: str | None
    masked: bool
    complete: bool
    turns: list[TracedTurn]
    commits: list[TracedCommit]
    postings: list[TracedPosting]


class RefundFile(Struct, frozen=True, tag_field="object", tag="refund_file"):
    """A refund, and what it is of.

    Attributes:
        original_kind, original: the payment's order or the authorization's hold, whose trace has
            its turns and postings.
        payer: whose money it is, empty where there is no such original; `redirected_to` gets it
            where that account is closed.
    """

    merchant_no: str
    refund_no: str
    original_kind: OriginalKind
    original: str
    payer: str
    redirected_to: str | None
    state: str
    code: str | None
    amount_minor: int
    currency: str
    created_at: str
    settled_at: str | None
    masked: bool


async def get_payment_trace(desk: OpsDesk, visitor: Visitor, asked: GetTrace) -> Answer:
    """Return the turns that touched a payment, with their times, commits and postings."""
    eyes = eyes_of(visitor, asked.reason)
    merchant_no, order_no = asked.merchant_no, asked.order_no
    payment = record_of(desk.node, f"{MERCHANT.name}/{merchant_no}", PAYMENTS, order_no)
    if payment is None:
        return failed(problem(Refusal.NO_SUCH_PAYMENT))
    debited = payment.state in _DEBITED
    # What an operator has given up may have been debited, and has gone back then.
    perhaps = payment.code == Refusal.MESSAGE_DISCARDED
    original = Original(
        "payment",
        merchant_no,
        order_no,
        payment.payer,
        CreatePayment,
        PaymentDebited if debited else None,
        int(debited or perhaps),
    )
    found = await trace(desk.node, original, eyes)
    seen = TraceView(
        merchant_no=merchant_no,
        order_no=order_no,
        payer=eyes.account(payment.payer),
        state=payment.state,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        refunded_minor=payment.refunded_minor,
        created_at=instant(payment.created_ns),
        settled_at=instant_if(payment.settled_ns),
        masked=not eyes.all,
        complete=found.complete,
        turns=found.turns,
        commits=found.commits,
        postings=found.postings,
    )
    return Answer(200, seen)


async def get_authorization_trace(
    desk: OpsDesk, visitor: Visitor, asked: GetAuthorizationTrace
) -> Answer:
    """Return the turns that touched an authorization, those of its captures, voids, releases and
    refunds among them, with their times, commits and postings."""
    eyes = eyes_of(visitor, asked.reason)
    merchant_no, hold_no = asked.merchant_no, asked.hold_no
    hold = record_of(desk.node, f"{MERCHANT.name}/{merchant_no}", AUTHORIZATIONS, hold_no)
    if hold is None:
        return failed(problem(Refusal.NO_SUCH_HOLD))
    original = Original(
        "authorization",
        merchant_no,
        hold_no,
        hold.payer,
        CreateAuthorization,
        None if hold.state in _NOT_HELD else HoldPlaced,
        hold.captures,
    )
    found = await trace(desk.node, original, eyes)
    seen = AuthorizationTraceView(
        merchant_no=merchant_no,
        hold_no=hold_no,
        payer=eyes.account(hold.payer),
        state=hold.state,
        amount_minor=hold.amount_minor,
        currency=hold.currency,
        captured_minor=hold.captured_minor,
        captures=hold.captures,
        refunded_minor=hold.refunded_minor,
        created_at=instant(hold.created_ns),
        settled_at=instant_if(hold.settled_ns),
        expires_at=instant_if(hold.expires_at_ns),
        masked=not eyes.all,
        complete=found.complete,
        turns=found.turns,
        commits=found.commits,
        postings=found.postings,
    )
    return Answer(200, seen)


async def get_refund(desk: OpsDesk, visitor: Visitor, asked: GetRefund) -> Answer:
    """Return a refund, and the payment or authorization whose trace has its turns and postings."""
    eyes = eyes_of(visitor, asked.reason)
    merchant = f"{MERCHANT.name}/{asked.merchant_no}"
    refund = record_of(desk.node, merchant, REFUNDS, asked.refund_no)
    if refund is None:
        return failed(problem(Refusal.NO_SUCH_REFUND))
    seen = RefundFile(
        merchant_no=asked.merchant_no,
        refund_no=asked.refund_no,
        original_kind=refund.original_kind,
        original=refund.original,
        payer=eyes.account(refund.payer) if refund.payer else "",
        redirected_to=eyes.account(refund.redirected_to) if refund.redirected_to else None,
        state=refund.state,
        code=None if refund.code is None else str(refund.code),
        amount_minor=refund.amount_minor,
        currency=refund.currency,
        created_at=instant(refund.created_ns),
        settled_at=instant_if(refund.settled_ns),
        masked=not eyes.all,
    )
    return Answer(200, seen)


ROWS: Final = (
    read(
        "/ops/payments/{merchant_no}/{order_no}/trace",
        GetTrace,
        get_payment_trace,
        Right.LOOK,
        TraceView,
    ),
    read(
        "/ops/authorizations/{merchant_no}/{hold_no}/trace",
        GetAuthorizationTrace,
        get_authorization_trace,
        Right.LOOK,
        AuthorizationTraceView,
    ),
    read(
        "/ops/refunds/{merchant_no}/{refund_no}",
        GetRefund,
        get_refund,
        Right.LOOK,
        RefundFile,
    ),
)
