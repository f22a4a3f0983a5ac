"""Discards: what comes of it when an operator gives up a message whose turn fails.

A question that its receiver has not heard is answered in the receiver's name: MESSAGE_DISCARDED,
its money coming back by way of suspense. An answer that its receiver never had is taken back to who
gave it: what was done is undone (`actors.undo`), and the question answered anew, with no. What can
be neither, because it has happened and is not undone, or has to happen and has no other beginning,
is kept: it wants a program that can handle it. What nothing waits for any more is dropped. So
whatever a discard ends has an outcome that is true, under its number and with its event, and no
money is lost. The table for people is in docs/ops/DISCARDS.md.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from actors import messages
from actors.account import Account
from actors.authorization import AUTHORIZATIONS, is_undone
from actors.authorization import OPEN_STATES as OPEN_AUTHORIZATIONS
from actors.certificate import Certificate
from actors.hold import HOLDS, OPEN_STATES, figures
from actors.merchant import Merchant
from actors.messages import (
    AddCertificate,
    CaptureHold,
    CertificateRefused,
    CreditRefund,
    CreditReversal,
    CreditTransfer,
    DebitPayment,
    EndCertificate,
    ExpireHold,
    ExpireRefund,
    HoldDeclined,
    HoldEnded,
    HoldPlaced,
    IncrementHold,
    OperationApplied,
    OperationRefused,
    PaymentDebited,
    PaymentDeclined,
    PlaceHold,
    RefundReturned,
    ReleaseHold,
    ReversalReturned,
    TransferReturned,
    UndoCapture,
    UndoHold,
    UndoIncrement,
    UndoPayment,
    VoidHold,
)
from actors.operation import OPERATIONS
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, covered
from actors.refusal import Refusal
from actors.registration import CERTIFICATES
from actors.suspense import send_by_suspense
from actors.transfer import TRANSFERS
from engine.kind import Discard
from engine.turn import Turn

CODE: Final = Refusal.MESSAGE_DISCARDED


# Questions to an account: it has done nothing, and says so


def _debit(turn: Turn[Account], message: DebitPayment) -> None:
    turn.tell(turn.sender, PaymentDeclined(message.order_no, CODE))


def _place(turn: Turn[Account], message: PlaceHold) -> None:
    turn.tell(turn.sender, HoldDeclined(message.hold_no, CODE))


def _operate(
    turn: Turn[Account], message: IncrementHold | CaptureHold | VoidHold | ReleaseHold
) -> None:
    hold = turn.get(HOLDS, f"{message.merchant_no}/{message.hold_no}")
    assert hold is not None, f"{turn.address} has no hold {message.hold_no}"
    turn.tell(turn.sender, OperationRefused(message.hold_no, CODE, figures(hold)))


def _credit_refund(turn: Turn[Account], message: CreditRefund) -> None:
    reference = f"refund/{message.merchant_no}/{message.refund_no}"
    send_by_suspense(turn, reference, turn.sender, RefundReturned(message.refund_no, CODE))


def _credit_reversal(turn: Turn[Account], message: CreditReversal) -> None:
    reference = f"reversal/{message.merchant_no}/{message.order_no}"
    send_by_suspense(turn, reference, turn.sender, ReversalReturned(message.order_no, CODE))


def _credit_transfer(turn: Turn[Account], message: CreditTransfer) -> None:
    returned = TransferReturned(message.name, message.reference, CODE)
    send_by_suspense(turn, message.reference, turn.sender, returned)


def _undo_payment(turn: Turn[Account], message: UndoPayment) -> None:
    """The payer's account does not take it: the bank keeps it for the payer."""
    send_by_suspense(turn, f"unpaid/{message.merchant_no}/{message.order_no}")
    merchant = f"merchant/{message.merchant_no}"
    turn.tell(merchant, PaymentDeclined(message.order_no, CODE))


# Answers of an account: it has done something, and is to undo it


def _debited(turn: Turn[Merchant], message: PaymentDebited) -> None:
    reference = f"payment/{turn.number}/{message.order_no}"
    if _pays(turn, message):
        undo = UndoPayment(turn.number, message.order_no)
        send_by_suspense(turn, reference, turn.sender, undo)
    else:
        send_by_suspense(turn, reference)


def _placed(turn: Turn[Merchant], message: HoldPlaced) -> None:
    if _authorizes(turn, message):
        turn.tell(turn.sender, UndoHold(turn.number, message.hold_no))


def _applied(turn: Turn[Merchant], message: OperationApplied) -> str | None:
    hold_no = message.hold_no
    authorization = turn.get(AUTHORIZATIONS, hold_no)
    reference = f"hold/{turn.number}/{hold_no}"
    if authorization is None or not authorization.operation:
        _drop(turn, reference)
        return None
    kind, number = authorization.operation, authorization.operation_no
    if kind == "capture":
        undo = UndoCapture(turn.number, hold_no, number)
        send_by_suspense(turn, f"capture/{turn.number}/{hold_no}/{number}", turn.sender, undo)
        return None
    if kind == "increment":
        operation = turn.get(OPERATIONS[kind], number)
        assert operation is not None
        turn.tell(turn.sender, UndoIncrement(turn.number, hold_no, operation.amount_minor))
        return None
    return "the payer has the rest of the hold back already; release this"


# What a certificate is asked


def _add(turn: Turn[Certificate], message: AddCertificate) -> None:
    turn.tell(turn.sender, CertificateRefused(message.certificate_no, CODE))


def _ends(turn: Turn[Certificate], message: EndCertificate) -> bool:
    certificate = turn.state
    return certificate is not None and certificate.ends_ns > message.ends_ns


def _withdraws(turn: Turn[Certificate], message: messages.WithdrawCertificate) -> bool:
    return turn.state is not None and turn.state.status != "REVOKED"


# What waits for a message


def _pays(turn: Turn[Merchant], message: Any) -> bool:
    payment = turn.get(PAYMENTS, message.order_no)
    return payment is not None and payment.state == "PROCESSING"


def _reverses(turn: Turn[Merchant], message: Any) -> bool:
    payment = turn.get(PAYMENTS, message.order_no)
    return payment is not None and bool(payment.reversing)


def _refunds(turn: Turn[Merchant], message: Any) -> bool:
    refund = turn.get(REFUNDS, message.refund_no)
    return refund is not None and refund.state == "PROCESSING"


def _expires(turn: Turn[Merchant], message: ExpireRefund) -> bool:
    refund = turn.get(REFUNDS, message.refund_no)
    return refund is not None and refund.state == "PENDING_FUNDS"


def _resumes(turn: Turn[Merchant], message: Any) -> bool:
    return bool(covered(turn))


def _authorizes(turn: Turn[Merchant], message: Any) -> bool:
    authorization = turn.get(AUTHORIZATIONS, message.hold_no)
    return authorization is not None and authorization.state == "PROCESSING"


def _operates(turn: Turn[Merchant], message: Any) -> bool:
    authorization = turn.get(AUTHORIZATIONS, message.hold_no)
    return authorization is not None and bool(authorization.operation)


def _is_held(turn: Turn[Merchant], message: HoldEnded) -> bool:
    authorization = turn.get(AUTHORIZATIONS, message.hold_no)
    if authorization is None or authorization.state not in OPEN_AUTHORIZATIONS:
        return False
    return not is_undone(authorization, message.hold)


def _holds(turn: Turn[Account], message: ExpireHold) -> bool:
    hold = turn.get(HOLDS, f"{message.merchant_no}/{message.hold_no}")
    return hold is not None and hold.state in OPEN_STATES


def _transfers(turn: Turn[Account], message: Any) -> bool:
    transfer = turn.get(TRANSFERS, message.name)
    return transfer is not None and transfer.state == "PROCESSING"


def _registers(turn: Turn[Any], message: Any) -> bool:
    registered = turn.get(CERTIFICATES, message.certificate_no)
    return registered is not None and registered.state == "PROCESSING"


def _always(turn: Turn[Any], message: Any) -> bool:
    return True


def _drop(turn: Turn[Any], reference: str) -> None:
    """Drop a message that nothing waits for; money in it is nobody's that we know of."""
    if turn.amount_minor:
        send_by_suspense(turn, reference)


def _kept(waits: Callable[[Turn[Any], Any], bool], why: str) -> Discard:
    """Return what keeps a message for as long as something waits for it.

    Args:
        why: a sentence for operators.
    """

    def keep_or_drop(turn: Turn[Any], message: Any) -> str | None:
        if waits(turn, message):
            return f"{why}; release this"
        _drop(turn, f"{turn.sender}->{turn.address}")
        return None

    return keep_or_drop


_DONE: Final = "the account has the money already"
_REFUSED: Final = "it says no already, as the answer to a discard would"
_BACK: Final = "its money is on its way back to whom it belongs"
_DUE: Final = "nothing else would ever bring about what it brings about"
_UNDOES: Final = "it undoes what another discard has given up"

ACCOUNT: Final[Mapping[type[Struct], Discard]] = {
    messages.DebitPayment: _debit,
    messages.CreditReversal: _credit_reversal,
    messages.CreditRefund: _credit_refund,
    messages.PlaceHold: _place,
    messages.IncrementHold: _operate,
    messages.CaptureHold: _operate,
    messages.VoidHold: _operate,
    messages.ReleaseHold: _operate,
    messages.ExpireHold: _kept(_holds, _DUE),
    messages.CreditTransfer: _credit_transfer,
    messages.TransferCredited: _kept(_transfers, _DONE),
    messages.TransferReturned: _kept(_transfers, _BACK),
    messages.UndoPayment: _undo_payment,
    messages.UndoHold: _kept(_always, _UNDOES),
    messages.UndoIncrement: _kept(_always, _UNDOES),
    messages.UndoCapture: _kept(_always, _UNDOES),
    messages.TakeSuspense: _kept(_always, "discarded money has nowhere else to go"),
}
"""Type of a message to an account → what a discard of it does."""

_REGISTRATION: Final[Mapping[type[Struct], Discard]] = {
    messages.CertificateAdded: _kept(_registers, "the certificate exists already"),
    messages.CertificateRefused: _kept(_registers, _REFUSED),
}

MERCHANT: Final[Mapping[type[Struct], Discard]] = {
    messages.PaymentDebited: _debited,
    messages.PaymentDeclined: _kept(_pays, _REFUSED),
    messages.ReversalCredited: _kept(_reverses, _DONE),
    messages.ReversalReturned: _kept(_reverses, _BACK),
    messages.RefundCredited: _kept(_refunds, _DONE),
    messages.RefundReturned: _kept(_refunds, _BACK),
    messages.ResumeRefunds: _kept(_resumes, _DUE),
    messages.ExpireRefund: _kept(_expires, _DUE),
    messages.HoldPlaced: _placed,
    messages.HoldDeclined: _kept(_authorizes, _REFUSED),
    messages.OperationApplied: _applied,
    messages.OperationRefused: _kept(_operates, _REFUSED),
    messages.HoldEnded: _kept(_is_held, "the hold has ended already"),
    **_REGISTRATION,
}
"""The same of a merchant."""

CERTIFICATE: Final[Mapping[type[Struct], Discard]] = {
    messages.AddCertificate: _add,
    messages.EndCertificate: _kept(_ends, _DUE),
    messages.WithdrawCertificate: _kept(_withdraws, _DUE),
}
"""The same of a certificate."""

BANK: Final = _REGISTRATION
"""The same of the bank, which holds certificates too."""
