"""Messages between actors, and the timers of holds and refunds.

Whoever asks is told the outcome: every question here has answers named in its docstring. Money
never stands in a body; it travels in the envelope, where the runtime can count it. Numbers in a
body are the merchant's own (`order_no`, `hold_no` …) unless another owner is named.
"""

from msgspec import Struct

from actors.refusal import Refusal


class Message(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Base of all messages between actors."""


# Payments and refunds


class DebitPayment(Message, frozen=True):
    """Merchant to payer: pay this order. PaymentDebited with the money, or PaymentDeclined."""

    merchant_no: str
    order_no: str
    amount_minor: int
    currency: str


class PaymentDebited(Message, frozen=True):
    """The payer's money for an order."""

    order_no: str


class PaymentDeclined(Message, frozen=True):
    """The payer's account does not pay."""

    order_no: str
    code: Refusal


class CreditRefund(Message, frozen=True):
    """Merchant to payer, with money: a refund. RefundCredited, or RefundReturned with it."""

    merchant_no: str
    refund_no: str


class RefundCredited(Message, frozen=True):
    """The refund has arrived."""

    refund_no: str


class RefundReturned(Message, frozen=True):
    """The account could not take the refund; the money comes back."""

    refund_no: str
    code: Refusal


class ExpireRefund(Message, frozen=True):
    """A merchant's timer: the refund has waited for funds long enough."""

    refund_no: str


class ResumeRefunds(Message, frozen=True):
    """Merchant to itself: go on with the refunds whose funds have come; there are many."""


class CreditReversal(Message, frozen=True):
    """Merchant to payer, with money: a payment undone. ReversalCredited or ReversalReturned."""

    merchant_no: str
    order_no: str


class ReversalCredited(Message, frozen=True):
    """The reversed payment has arrived."""

    order_no: str


class ReversalReturned(Message, frozen=True):
    """The account could not take the reversed payment; the money comes back."""

    order_no: str
    code: Refusal


# Holds


class HoldFigures(Struct, frozen=True, array_like=True):
    """Part of messages: a hold as its account has it; the merchant's authorization copies it.

    `state` is HELD, PARTIALLY_CAPTURED, CAPTURED, VOIDED or EXPIRED.
    """

    amount_minor: int
    captured_minor: int
    captures: int
    increments: int
    state: str
    expires_at_ns: int


class PlaceHold(Message, frozen=True):
    """Merchant to payer: reserve money. HoldPlaced or HoldDeclined.

    `limit_bps` is the share of the hold that may be captured, `valid_s` its life in seconds.
    """

    merchant_no: str
    hold_no: str
    amount_minor: int
    currency: str
    limit_bps: int
    valid_s: int


class HoldPlaced(Message, frozen=True):
    """The money is reserved."""

    hold_no: str
    hold: HoldFigures


class HoldDeclined(Message, frozen=True):
    """The payer's account reserves nothing."""

    hold_no: str
    code: Refusal


class IncrementHold(Message, frozen=True):
    """Merchant to payer: reserve more. OperationApplied or OperationRefused."""

    merchant_no: str
    hold_no: str
    amount_minor: int


class CaptureHold(Message, frozen=True):
    """Merchant to payer: take reserved money. OperationApplied with it, or OperationRefused."""

    merchant_no: str
    hold_no: str
    capture_no: str
    amount_minor: int
    final: bool


class VoidHold(Message, frozen=True):
    """Merchant to payer: give the hold back. OperationApplied or OperationRefused."""

    merchant_no: str
    hold_no: str


class ReleaseHold(Message, frozen=True):
    """Merchant to payer: give the hold's rest back. OperationApplied or OperationRefused."""

    merchant_no: str
    hold_no: str


class OperationApplied(Message, frozen=True):
    """The operation that is in flight on the authorization is done."""

    hold_no: str
    hold: HoldFigures


class OperationRefused(Message, frozen=True):
    """The operation that is in flight on the authorization is not done; see the hold's state."""

    hold_no: str
    code: Refusal
    hold: HoldFigures


class ExpireHold(Message, frozen=True):
    """An account's timer: the hold's time has run out."""

    merchant_no: str
    hold_no: str


class HoldEnded(Message, frozen=True):
    """Payer to merchant, unasked: the hold has expired."""

    hold_no: str
    hold: HoldFigures


# Transfers; `name` is the sender's record, `reference` what its postings bear


class CreditTransfer(Message, frozen=True):
    """Account to account, with money. TransferCredited, or TransferReturned with the money."""

    name: str
    reference: str


class TransferCredited(Message, frozen=True):
    """The transfer has arrived."""

    name: str


class TransferReturned(Message, frozen=True):
    """The account could not take the transfer; the money comes back."""

    name: str
    reference: str
    code: Refusal


# Undoings: what an account has done and its answer was discarded before the merchant had it


class UndoPayment(Message, frozen=True):
    """To the payer, with money: a payment that comes to nothing. The merchant is told
    PaymentDeclined."""

    merchant_no: str
    order_no: str


class UndoHold(Message, frozen=True):
    """To the payer: a hold that comes to nothing. HoldDeclined."""

    merchant_no: str
    hold_no: str


class UndoIncrement(Message, frozen=True):
    """To the payer: an increment that comes to nothing. OperationRefused."""

    merchant_no: str
    hold_no: str
    amount_minor: int


class UndoCapture(Message, frozen=True):
    """To the payer, with money: a capture that comes to nothing. The merchant is told
    OperationRefused."""

    merchant_no: str
    hold_no: str
    capture_no: str


GoesOn = UndoPayment | UndoCapture | RefundReturned | ReversalReturned | TransferReturned
"""What a suspense account may pass money on with."""


class TakeSuspense(Message, frozen=True):
    """To a suspense account, with the money of a message that an operator discarded.

    It passes the money on to the address `to` with the message `then`, or keeps it where there is
    none.
    """

    reference: str
    to: str = ""
    then: GoesOn | None = None


# Certificates; `certificate_no` is the holder's own number


class AddCertificate(Message, frozen=True):
    """Holder to certificate: exist. CertificateAdded or CertificateRefused."""

    certificate_no: str
    alg: str
    spki: bytes
    not_before_ns: int
    ends_ns: int


class CertificateAdded(Message, frozen=True):
    """The certificate exists and is the holder's."""

    certificate_no: str


class CertificateRefused(Message, frozen=True):
    """There is a certificate of this serial already; nothing of it has changed."""

    certificate_no: str
    code: Refusal


class EndCertificate(Message, frozen=True):
    """Holder to certificate: end at this time, as you have been renewed."""

    ends_ns: int


class WithdrawCertificate(Message, frozen=True):
    """Holder to certificate: be revoked. It answers the caller itself, once that is durable."""

    revoked_ns: int
    reason: str
