"""Refunds: money back to a payer, of a payment or of what was captured under an authorization.

The amount is reserved in the original's record and debited from the merchant's receivable before
the payer's account is asked, all in one turn of the merchant; so however many refunds run at
once, together they never exceed what was taken. If the account cannot take the money it comes
back, and the reservation is released; only where the account is closed it is kept, and the refund
is ABNORMAL until it is redirected or closed (`actors.redirect`).

A refund may wait until the receivable covers it: PENDING_FUNDS. It is reserved, not debited, and
stands in its merchant's queue, the oldest first; nothing overtakes the first one. The queue is a
list whose links are in the refunds, its ends in the merchant's state. Whatever brings the
merchant money, or takes the first one away, has the queue gone on with in the same turn, up to
`RESUMED_MAX` refunds; the rest goes on in a message to itself.

The merchant counts a refund as in flight from its binding to its end, SUCCEEDED, FAILED or
CLOSED: also while it is PENDING_FUNDS or ABNORMAL, so that it cannot be closed meanwhile.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import Outcome, RefundView, Refused, instant, instant_if
from actors.authorization import AUTHORIZATIONS, Authorization
from actors.commands import RefundAuthorization, RefundPayment
from actors.event import REFUND_STATES, append_event
from actors.merchant import (
    Merchant,
    Pending,
    admit,
    count,
    credit,
    debit,
    end_closing,
    existing,
)
from actors.messages import (
    CreditRefund,
    ExpireRefund,
    RefundCredited,
    RefundReturned,
    ResumeRefunds,
)
from actors.note import description_of, metadata_of
from actors.outcome import Bound, bind, settle, tell_all
from actors.payment import PAYMENTS, Payment
from actors.refusal import Refusal
from actors.remedy import REDIRECTS, append_failure, first_remedy
from actors.states import AUTHORIZATION, PAYMENT, REFUND, REMEDY, START, allowed, move
from engine.kind import Handler, RecordKind
from engine.turn import Turn

REFUNDS_MAX: Final = 50
WINDOW_NS: Final = 365 * 86_400 * 1_000_000_000
"""Refunds may be asked for up to 365 days after the payment, or after the last capture."""
WAIT_NS: Final = 7 * 86_400 * 1_000_000_000
"""A refund waits for funds up to 7 days."""
RESUMED_MAX: Final = 50
"""Refunds that go on in one turn; it may send 100 messages."""

OriginalKind = Literal["payment", "authorization"]
RefundState = Literal["PENDING_FUNDS", "PROCESSING", "ABNORMAL", "SUCCEEDED", "FAILED", "CLOSED"]


class Queued(Struct, frozen=True, array_like=True, gc=False):
    """Where a refund stands in its merchant's queue.

    Attributes:
        position: ascends along the queue.
        before, after: refund_no of its neighbours, empty at the ends.
    """

    position: int
    before: str
    after: str


class Refund(Bound, frozen=True, array_like=True):
    """A record under the merchant, named by its refund_no.

    `code` says why it is FAILED or ABNORMAL, or was ABNORMAL before it was CLOSED; `settled_ns`
    is when it came to its end, 0 before.

    Attributes:
        original: the order_no or hold_no, by `original_kind`.
        payer: whose money it is, empty where there is no such original.
        current: the original's state where that was the reason to refuse, else empty.
        first: the first outcome where that was not the end of it; its callers are told that one.
        queued: its place in the queue while it is PENDING_FUNDS, else None.
        redirected_to: the account that gets the money in place of the payer's, else empty.
        redirect_no: of the redirect that is under way or has succeeded, else empty.
        close_no: of the closing by which it is CLOSED, else empty.
    """

    state: RefundState
    original_kind: OriginalKind
    original: str
    payer: str
    amount_minor: int
    currency: str
    current: str = ""
    first: Literal["", "PENDING_FUNDS", "ABNORMAL"] = ""
    queued: Queued | None = None
    redirected_to: str = ""
    redirect_no: str = ""
    close_no: str = ""

    def undecided(self) -> bool:
        """See `Bound.undecided`; it may be PROCESSING again after its first outcome."""
        return self.state == "PROCESSING" and not self.first


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
    REFUND_EXCEEDS_REMAINING, MERCHANT_BALANCE_INSUFFICIENT (unless it may wait), then those of
    `account.refuse_credit` but ACCOUNT_CLOSED, with which it is ABNORMAL.
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
    if existing(turn).posted_minor < amount and not command.wait_for_funds:
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
    """Bind the refund: refused for good; or reserved, and either waiting or on its way."""
    amount = command.amount_minor
    number = command.refund_no
    merchant = existing(turn)
    illegal = code in {Refusal.PAYMENT_NOT_SUCCEEDED, Refusal.STATE_CONFLICT}
    refund = Refund(
        *bind(turn, content, code),
        original_kind=kind,
        original=name,
        payer="" if original is None else original.payer,
        amount_minor=amount,
        currency=merchant.currency,
        current=original.state if original is not None and illegal else "",
    )
    if original is None or code is not None:
        turn.put(REFUNDS, number, refund)
        _append_event(turn, number, refund)
        turn.answer(first_refund(turn.number, number, refund))
        return
    reserved = replace(
        original,
        refunding_minor=original.refunding_minor + amount,
        refunds=original.refunds + 1,
    )
    turn.put(_ORIGINALS[kind], name, reserved)
    covered = merchant.pending is None and merchant.posted_minor >= amount
    if command.wait_for_funds and not covered:
        cause = "refund_payment" if kind == "payment" else "refund_authorization"
        state = move(REFUND, START, cause, "PENDING_FUNDS")
        refund = _enqueue(turn, number, replace(refund, state=state, first=state))
        _append_event(turn, number, refund)
        turn.answer(first_refund(turn.number, number, refund))
    else:
        send(turn, number, refund, in_flight=1)


def send(turn: Turn[Merchant], refund_no: str, refund: Refund, in_flight: int = 0) -> None:
    """Write a refund that is PROCESSING, take its money and send it to whoever is to get it.

    The caller has made sure that the receivable covers it.

    Args:
        in_flight: as for `merchant.count`: 1 for a new refund, 0 for one that is counted already.
    """
    assert refund.state == "PROCESSING"
    turn.put(REFUNDS, refund_no, refund)
    debit(turn, refund.amount_minor, 0, f"refund/{turn.number}/{refund_no}", in_flight)
    turn.tell(
        f"account/{refund.redirected_to or refund.payer}",
        CreditRefund(turn.number, refund_no),
        amount_minor=refund.amount_minor,
        currency=refund.currency,
    )


def refund_credited(turn: Turn[Merchant], message: RefundCredited) -> None:
    """The money has arrived: what was reserved is refunded."""
    refund = _processing(turn, message.refund_no)
    _end_reservation(turn, refund, refunded_minor=refund.amount_minor)
    count(turn, in_flight=-1)
    _conclude(turn, message.refund_no, refund, "SUCCEEDED", None)


def refund_returned(turn: Turn[Merchant], message: RefundReturned) -> None:
    """The account could not take it: book the money back.

    Where the payer's account is closed, or another one was tried in its place, the refund is
    ABNORMAL and stays reserved. Otherwise it has FAILED for ever, and the reservation ends.
    """
    number = message.refund_no
    refund = _processing(turn, number)
    assert turn.amount_minor == refund.amount_minor
    astray = bool(refund.redirect_no) or message.code is Refusal.ACCOUNT_CLOSED
    reference = f"refund/{turn.number}/{number}"
    credit(turn, refund.amount_minor, 0, reference, in_flight=0 if astray else -1)
    if astray:
        _conclude(turn, number, refund, "ABNORMAL", message.code)
    else:
        _end_reservation(turn, refund, refunds=-1)
        _conclude(turn, number, refund, "FAILED", message.code)


def _conclude(
    turn: Turn[Merchant],
    refund_no: str,
    before: Refund,
    state: Literal["SUCCEEDED", "FAILED", "ABNORMAL"],
    code: Refusal | None,
) -> None:
    """Write what became of a refund, and tell those who wait: for its redirect, or for itself.

    Nobody waits for a refund that was PENDING_FUNDS: whose token is in the turn is somebody
    else, whose command brought the money.
    """
    abnormal = state == "ABNORMAL"
    cause = "RefundCredited" if code is None else "RefundReturned"
    refund = replace(
        before,
        state=move(REFUND, before.state, cause, state),
        code=Refusal.ACCOUNT_CLOSED if abnormal else code,
        settled_ns=0 if abnormal else turn.now_ns,
        joined=(),
    )
    if abnormal:
        first = before.first or "ABNORMAL"
        refund = replace(refund, first=first, redirected_to="", redirect_no="")
    turn.put(REFUNDS, refund_no, refund)
    _append_event(turn, refund_no, refund)
    if before.redirect_no:
        redirect = turn.get(REDIRECTS, before.redirect_no)
        assert redirect is not None, f"{turn.address} has no redirect {before.redirect_no}"
        if code is not None:
            append_failure(turn, before.redirect_no, redirect, code, state)
        outcome: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED" if code is None else "FAILED"
        settle(
            turn,
            REDIRECTS,
            before.redirect_no,
            redirect,
            first_remedy,
            state=move(REMEDY, redirect.state, cause, outcome),
            code=code,
        )
    elif not before.first:
        tell_all(turn, before.joined, first_refund(turn.number, refund_no, refund))


def _end_reservation(
    turn: Turn[Merchant], refund: Refund, *, refunded_minor: int = 0, refunds: int = 0
) -> None:
    """End a refund's reservation in its original, which changes by these figures."""
    kind = _ORIGINALS[refund.original_kind]
    original: Payment | Authorization | None = turn.get(kind, refund.original)
    assert original is not None, f"{turn.address} has no {refund.original}"
    turn.put(
        kind,
        refund.original,
        replace(
            original,
            refunded_minor=original.refunded_minor + refunded_minor,
            refunding_minor=original.refunding_minor - refund.amount_minor,
            refunds=original.refunds + refunds,
        ),
    )


def _append_event(turn: Turn[Merchant], refund_no: str, refund: Refund) -> None:
    """Append the event of the state that a refund has come to."""
    type_ = REFUND_STATES[refund.original_kind][refund.state]
    code = None if refund.state == "CLOSED" else refund.code
    append_event(turn, type_, refund_no, refund.amount_minor, original=refund.original, code=code)


# The queue of those that wait for funds


def _enqueue(turn: Turn[Merchant], refund_no: str, refund: Refund) -> Refund:
    """Write a new refund that is PENDING_FUNDS at the end of the queue, and set its timer."""
    merchant = existing(turn)
    pending = merchant.pending
    if pending is None:
        pending = Pending(1, refund_no, refund_no, refund.amount_minor, 1)
        queued = Queued(1, "", "")
    else:
        queued = Queued(pending.position + 1, pending.last, "")
        _link(turn, pending.last, after=refund_no)
        pending = replace(
            pending, count=pending.count + 1, last=refund_no, position=queued.position
        )
    refund = replace(refund, queued=queued)
    turn.put(REFUNDS, refund_no, refund)
    turn.become(replace(merchant, pending=pending, in_flight=merchant.in_flight + 1))
    turn.set_timer(refund.created_ns + WAIT_NS, f"pending/{refund_no}", ExpireRefund(refund_no))
    return refund


def _dequeue(turn: Turn[Merchant], refund_no: str, refund: Refund) -> Refund:
    """Take a refund out of the queue, wherever it stands, and forget its timer; returns it."""
    merchant = existing(turn)
    pending, queued = merchant.pending, refund.queued
    assert pending is not None, f"{turn.address} has no queue"
    assert queued is not None, f"{refund_no} is not in it"
    first, first_minor, last = pending.first, pending.first_minor, pending.last
    if queued.after:
        behind = _link(turn, queued.after, before=queued.before)
        if not queued.before:
            first, first_minor = queued.after, behind.amount_minor
    else:
        last = queued.before
    if queued.before:
        _link(turn, queued.before, after=queued.after)
    left = None
    if pending.count > 1:
        left = Pending(pending.count - 1, first, last, first_minor, pending.position)
    turn.become(replace(merchant, pending=left))
    turn.cancel_timer(refund.created_ns + WAIT_NS, f"pending/{refund_no}")
    return replace(refund, queued=None)


def _link(turn: Turn[Merchant], refund_no: str, **neighbour: str) -> Refund:
    """Write a refund in the queue with another neighbour, `before` or `after` it."""
    refund = turn.get(REFUNDS, refund_no)
    assert refund is not None
    assert refund.queued is not None, f"{refund_no} is not in the queue"
    refund = replace(refund, queued=replace(refund.queued, **neighbour))
    turn.put(REFUNDS, refund_no, refund)
    return refund


def _resume(turn: Turn[Merchant]) -> None:
    """Send off the first of the queue, one after the other, as long as each is covered."""
    for _ in range(RESUMED_MAX):
        number = covered(turn)
        if not number:
            return
        refund = turn.get(REFUNDS, number)
        assert refund is not None, f"{turn.address} has no refund {number}"
        state = move(REFUND, refund.state, "ResumeRefunds", "PROCESSING")
        send(turn, number, replace(_dequeue(turn, number, refund), state=state))
    if covered(turn):
        turn.tell(turn.address, ResumeRefunds())


def covered(turn: Turn[Merchant]) -> str:
    """Return the first refund of the queue if the receivable covers it, else an empty text."""
    merchant = existing(turn)
    pending = merchant.pending
    if pending is None or merchant.posted_minor < pending.first_minor:
        return ""
    return pending.first


def resume_refunds(turn: Turn[Merchant], message: ResumeRefunds) -> None:
    """Go on with a long queue; others may have spent the money, or done the work, meanwhile."""
    _resume(turn)


def then_resume(handler: Handler) -> Handler:
    """Return a handler of what brings money to a merchant: refunds that wait for it go on.

    In the same turn, so that nobody comes in between. It may also be the last thing that a merchant
    waited for which is CLOSING. Where neither is so, which is the rule, it costs a call and two
    comparisons, 0.1 µs.
    """

    def handle(turn: Turn[Any], message: Any) -> None:
        handler(turn, message)
        merchant: Any = turn.state
        if merchant.pending is not None:
            _resume(turn)
        if merchant.status == "CLOSING":
            end_closing(turn)

    return handle


def expire_refund(turn: Turn[Merchant], message: ExpireRefund) -> None:
    """The timer: close the refund if it still waits for funds."""
    refund = turn.get(REFUNDS, message.refund_no)
    if refund is not None and refund.state == "PENDING_FUNDS":
        close(turn, message.refund_no, refund, "ExpireRefund")


def close(
    turn: Turn[Merchant], refund_no: str, refund: Refund, cause: str, close_no: str = ""
) -> None:
    """Give up a refund that waits or is ABNORMAL; what waits behind it may go on."""
    state = move(REFUND, refund.state, cause, "CLOSED")
    if refund.queued is not None:
        refund = _dequeue(turn, refund_no, refund)
    _end_reservation(turn, refund, refunds=-1)
    count(turn, in_flight=-1)
    closed = replace(refund, state=state, settled_ns=turn.now_ns, close_no=close_no)
    turn.put(REFUNDS, refund_no, closed)
    _append_event(turn, refund_no, closed)
    _resume(turn)


def _processing(turn: Turn[Merchant], refund_no: str) -> Refund:
    refund = turn.get(REFUNDS, refund_no)
    assert refund is not None, f"{turn.address} has no refund {refund_no}"
    assert refund.state == "PROCESSING", f"{refund_no} is {refund.state}"
    return refund


def view_refund(merchant_no: str, refund_no: str, refund: Refund) -> RefundView:
    """Return what the merchant sees of a refund as it stands now."""
    return RefundView(
        merchant_no=merchant_no,
        refund_no=refund_no,
        original_kind=refund.original_kind,
        original=refund.original,
        payer=refund.payer,
        redirected_to=refund.redirected_to or None,
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
    """Return the outcome that the refund had at first, whatever became of it since."""
    if refund.first:
        code = Refusal.ACCOUNT_CLOSED if refund.first == "ABNORMAL" else None
        refund = replace(refund, state=refund.first, code=code, settled_ns=0, redirected_to="")
        return view_refund(merchant_no, refund_no, refund)
    if refund.code is None:
        return view_refund(merchant_no, refund_no, refund)
    if not refund.current:
        return Refused(refund.code, refund_no)
    return Refused(refund.code, refund_no, refund.current, ALLOWED[refund.original_kind])
