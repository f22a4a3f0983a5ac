"""Redirects and closings: a refund goes to another account, or is given up.

A refund is ABNORMAL when its payer's account turned out to be closed: its money is back in the
receivable, its reservation stands. A redirect takes the money once more and tries another
account; if that cannot take it either, everything is as it was. A closing ends the reservation,
also of a refund that still waits for funds. Both bind their numbers (`actors.remedy`).
"""

from msgspec.structs import replace

from actors.account import is_internal
from actors.answers import Refused
from actors.commands import CloseRefund, RedirectRefund
from actors.merchant import Merchant, admit, end_closing, existing
from actors.outcome import bind
from actors.refund import REFUNDS, Refund, close, send
from actors.refusal import Refusal
from actors.remedy import (
    CLOSINGS,
    REDIRECTS,
    Remedy,
    RemedyKind,
    append_failure,
    first_remedy,
    refuse_state,
)
from actors.states import REFUND, REMEDY, START, move
from engine.kind import RecordKind
from engine.turn import Turn


def redirect_refund(turn: Turn[Merchant], command: RedirectRefund) -> None:
    """Send a refund that is ABNORMAL to another account.

    Refusals: those of `merchant.admit`; IN_FLIGHT while the refund is PROCESSING; bound:
    NO_SUCH_REFUND, STATE_CONFLICT, MERCHANT_BALANCE_INSUFFICIENT, ACCOUNT_INTERNAL, then those of
    `account.refuse_credit`, after which the refund is ABNORMAL again.
    """
    number = command.redirect_no
    content = admit(turn, command, REDIRECTS, number, first_remedy, takes=False)
    if content is None:
        return
    refund = turn.get(REFUNDS, command.refund_no)
    code = _refuse("redirect", refund)
    if refund is not None and code is None:
        if existing(turn).posted_minor < refund.amount_minor:
            code = Refusal.MERCHANT_BALANCE_INSUFFICIENT
        elif is_internal(command.account_no):
            code = Refusal.ACCOUNT_INTERNAL
    account_no = command.account_no
    remedy = _bind(turn, REDIRECTS, "redirect", number, command, account_no, refund, content, code)
    if remedy is None or refund is None:
        return
    turn.put(REDIRECTS, number, remedy)
    redirected = replace(
        refund,
        state=move(REFUND, refund.state, "redirect_refund", "PROCESSING"),
        code=None,
        redirected_to=account_no,
        redirect_no=number,
    )
    send(turn, command.refund_no, redirected)


def close_refund(turn: Turn[Merchant], command: CloseRefund) -> None:
    """Give up a refund that is PENDING_FUNDS or ABNORMAL.

    Refusals: those of `merchant.admit`; IN_FLIGHT while the refund is PROCESSING; bound:
    NO_SUCH_REFUND, STATE_CONFLICT.
    """
    number = command.close_no
    content = admit(turn, command, CLOSINGS, number, first_remedy, takes=False)
    if content is None:
        return
    refund = turn.get(REFUNDS, command.refund_no)
    code = _refuse("closing", refund)
    remedy = _bind(turn, CLOSINGS, "closing", number, command, "", refund, content, code)
    if remedy is None or refund is None:
        return
    state = move(REMEDY, START, "close_refund", "SUCCEEDED")
    remedy = replace(remedy, state=state, settled_ns=turn.now_ns)
    turn.put(CLOSINGS, number, remedy)
    turn.answer(first_remedy(turn.number, number, remedy))
    close(turn, command.refund_no, refund, "close_refund", number)
    end_closing(turn)


def _refuse(kind: RemedyKind, refund: Refund | None) -> Refusal | None:
    if refund is None:
        return Refusal.NO_SUCH_REFUND
    if refund.state == "PROCESSING":
        return Refusal.IN_FLIGHT
    return refuse_state(kind, refund.state)


def _bind(
    turn: Turn[Merchant],
    kind: RecordKind[Remedy],
    name: RemedyKind,
    number: str,
    command: RedirectRefund | CloseRefund,
    account_no: str,
    refund: Refund | None,
    content: bytes,
    code: Refusal | None,
) -> Remedy | None:
    """Return the record of a remedy that is not refused, PROCESSING and not yet written.

    A refusal is bound and answered here; IN_FLIGHT is only answered.
    """
    if code is Refusal.IN_FLIGHT:
        turn.answer(Refused(code, number))
        return None
    remedy = Remedy(
        *bind(turn, content, code),
        kind=name,
        refund_no=command.refund_no,
        account_no=account_no,
        amount_minor=0 if refund is None else refund.amount_minor,
        current=refund.state if refund is not None and code is Refusal.STATE_CONFLICT else "",
    )
    if code is None:
        return remedy
    turn.put(kind, number, remedy)
    append_failure(turn, number, remedy, code, "" if refund is None else refund.state)
    turn.answer(first_remedy(turn.number, number, remedy))
    return None
