"""Merchants: who is paid, and the two ledger accounts that a merchant actor keeps.

`merchant/M1/receivable` is what the bank owes the merchant, `merchant/M1/fees` what the merchant
paid the bank; the fee moves from one to the other in the turn that credits the money, so there
is no shared account that all payments would queue for. Neither ever goes below zero. Payments,
authorizations, operations and refunds are records of their own, in their own modules; how a
merchant comes and goes is in `actors.lifecycle`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import MerchantView, Outcome, Refused, instant
from actors.commands import MerchantCommand, digest
from actors.outcome import B, repeat
from actors.refusal import Refusal
from actors.states import MERCHANT, move
from engine.kind import Handler, RecordKind
from engine.turn import Turn

MerchantStatus = Literal[
    "DRAFT",
    "AUDITING",
    "REJECTED",
    "TO_BE_SIGNED",
    "PROVISIONING",
    "ACTIVE",
    "SUSPENDED",
    "CLOSING",
    "CLOSED",
]

_DOES_NOTHING: Final[Mapping[str, Refusal]] = {
    "DRAFT": Refusal.MERCHANT_NOT_ACTIVE,
    "AUDITING": Refusal.MERCHANT_NOT_ACTIVE,
    "REJECTED": Refusal.MERCHANT_NOT_ACTIVE,
    "TO_BE_SIGNED": Refusal.MERCHANT_NOT_ACTIVE,
    "PROVISIONING": Refusal.MERCHANT_NOT_ACTIVE,
    "CLOSED": Refusal.MERCHANT_CLOSED,
}
"""A status in which no business is done → why it is refused."""


class Pending(Struct, frozen=True, array_like=True, gc=False):
    """A merchant's refunds that wait for funds: a queue, its links in the refunds themselves.

    Attributes:
        count: how many they are.
        first, last: refund_no of the oldest and of the newest.
        first_minor: amount of the oldest; it goes on once the receivable covers it.
        position: of the newest; the first that comes to an empty queue has 1.
    """

    count: int
    first: str
    last: str
    first_minor: int
    position: int


class Merchant(Struct, frozen=True, array_like=True, gc=False):
    """The state of a merchant actor.

    Attributes:
        fee_bps: fee on payments and captures, in basis points.
        over_capture: whether holds may be captured up to 115 %.
        posted_minor, posted_last: balance and newest posting of the receivable, 0 if none.
        fees_minor, fees_last: the same of the fee account.
        digest: of the command that opened it, or applied for it.
        opened_ns: when that was.
        pending: refunds that wait for funds, None if there are none.
        in_flight: how many payments, operations and certificates of its have no outcome yet, and
            refunds no final one.
        authorizations_open: how many authorizations are PROCESSING, HELD or PARTIALLY_CAPTURED.
        events, tail: sequence of its newest event, 0 if none; the newest events themselves, as
            many as do not fill a page yet (`actors.event`).
        events_ns: time of the newest event; they are in the order of time.
        status_changes: how often its status has changed.
    """

    currency: str
    fee_bps: int
    over_capture: bool
    digest: bytes
    opened_ns: int
    status: MerchantStatus = "ACTIVE"
    posted_minor: int = 0
    posted_last: int = 0
    fees_minor: int = 0
    fees_last: int = 0
    pending: Pending | None = None
    in_flight: int = 0
    authorizations_open: int = 0
    events: int = 0
    tail: bytes = b""
    events_ns: int = 0
    status_changes: int = 0


def existing(turn: Turn[Merchant]) -> Merchant:
    """Return the merchant whose turn it is, where only our own bug could have it missing."""
    merchant = turn.state
    assert merchant is not None, f"{turn.address} does not exist"
    return merchant


def has_liabilities(merchant: Merchant) -> bool:
    """Return whether something is owed to the merchant, open with it, or under way.

    Whatever is under way counts in `in_flight` or `authorizations_open`, so where this is false no
    message can come any more.
    """
    return bool(merchant.in_flight or merchant.authorizations_open or merchant.posted_minor)


def end_closing(turn: Turn[Merchant]) -> None:
    """Close a merchant that is CLOSING, if nothing is open with it any more; ends a turn."""
    merchant = existing(turn)
    if merchant.status == "CLOSING" and not has_liabilities(merchant):
        closed = move(MERCHANT, merchant.status, "close_merchant", "CLOSED")
        changes = merchant.status_changes + 1
        turn.become(replace(merchant, status=closed, status_changes=changes))


def then_end_closing(handler: Handler) -> Handler:
    """Return a handler of what may be the last thing that a merchant which is CLOSING waits for."""

    def handle(turn: Turn[Any], message: Any) -> None:
        handler(turn, message)
        end_closing(turn)

    return handle


def count(turn: Turn[Merchant], *, in_flight: int = 0, authorizations: int = 0) -> None:
    """Count what begins (1) or ends (-1) in this turn.

    Args:
        in_flight: payments and operations that wait for an outcome, refunds for a final one.
        authorizations: authorizations that may still come to something.
    """
    merchant = existing(turn)
    turn.become(
        replace(
            merchant,
            in_flight=merchant.in_flight + in_flight,
            authorizations_open=merchant.authorizations_open + authorizations,
        )
    )


def admit(
    turn: Turn[Merchant],
    command: MerchantCommand,
    kind: RecordKind[B],
    number: str,
    outcome: Callable[[str, str, B], Outcome],
    *,
    takes: bool,
    reserved: bool = False,
) -> bytes | None:
    """Begin a command's first turn: does the merchant decide on it now?

    If not, it is answered here, and nothing is bound: MERCHANT_NOT_FOUND, a repetition or
    NUMBER_USED (`outcome.repeat`), MERCHANT_CLOSED, MERCHANT_NOT_ACTIVE, MERCHANT_CLOSING,
    MERCHANT_SUSPENDED.

    Args:
        kind, number: the record that would bind the outcome.
        outcome: rebuilds a first outcome from such a record.
        takes: the command takes money from a payer, which a merchant that is suspended or closing
            may not; giving money back goes on.
        reserved: what it takes was reserved before; that a closing merchant may take.

    Returns:
        The command's digest, to be bound with what is decided; None if it is answered.
    """
    merchant = turn.state
    if merchant is None:
        turn.answer(Refused(Refusal.MERCHANT_NOT_FOUND, number))
        return None
    content = digest(command)
    first = turn.get(kind, number)
    if first is not None:
        repeat(turn, kind, number, number, content, first, outcome)
        return None
    if merchant.status != "ACTIVE":
        code = _DOES_NOTHING.get(merchant.status)
        if takes:
            if merchant.status == "SUSPENDED":
                code = Refusal.MERCHANT_SUSPENDED
            elif merchant.status == "CLOSING" and not reserved:
                code = Refusal.MERCHANT_CLOSING
        if code is not None:
            turn.answer(Refused(code, number))
            return None
    return content


def credit(
    turn: Turn[Merchant], amount_minor: int, fee_minor: int, reference: str, in_flight: int = 0
) -> None:
    """Post money to the receivable and its fee, if any, from there to the fee account.

    With a fee of 0 this is also how money comes back that was to leave the merchant.

    Args:
        in_flight: as for `count`, which would make another new state: 0.5 µs a payment.
    """
    merchant = existing(turn)
    in_flight += merchant.in_flight
    currency = merchant.currency
    receivable = f"{turn.address}/receivable"
    posted = merchant.posted_minor + amount_minor
    last = turn.post(receivable, amount_minor, currency, posted, merchant.posted_last, reference)
    if not fee_minor:
        turn.become(replace(merchant, posted_minor=posted, posted_last=last, in_flight=in_flight))
        return
    posted -= fee_minor
    last = turn.post(receivable, -fee_minor, currency, posted, last, reference)
    fees = merchant.fees_minor + fee_minor
    fees_last = turn.post(
        f"{turn.address}/fees", fee_minor, currency, fees, merchant.fees_last, reference
    )
    turn.become(
        replace(
            merchant,
            posted_minor=posted,
            posted_last=last,
            fees_minor=fees,
            fees_last=fees_last,
            in_flight=in_flight,
        )
    )


def debit(
    turn: Turn[Merchant], amount_minor: int, fee_minor: int, reference: str, in_flight: int = 0
) -> None:
    """Post money from the receivable, its fee coming back first.

    The caller has made sure that `posted_minor + fee_minor` covers the amount.

    Args:
        in_flight: as for `count`.
    """
    merchant = existing(turn)
    currency = merchant.currency
    receivable = f"{turn.address}/receivable"
    posted, last = merchant.posted_minor, merchant.posted_last
    fees, fees_last = merchant.fees_minor, merchant.fees_last
    if fee_minor:
        fees -= fee_minor
        fees_last = turn.post(
            f"{turn.address}/fees", -fee_minor, currency, fees, fees_last, reference
        )
        posted += fee_minor
        last = turn.post(receivable, fee_minor, currency, posted, last, reference)
    posted -= amount_minor
    last = turn.post(receivable, -amount_minor, currency, posted, last, reference)
    assert posted >= 0 <= fees
    turn.become(
        replace(
            merchant,
            posted_minor=posted,
            posted_last=last,
            fees_minor=fees,
            fees_last=fees_last,
            in_flight=merchant.in_flight + in_flight,
        )
    )


def view_merchant(merchant_no: str, merchant: Merchant) -> MerchantView:
    """Return the merchant as it stands now."""
    return MerchantView(
        merchant_no=merchant_no,
        status=merchant.status,
        currency=merchant.currency,
        fee_bps=merchant.fee_bps,
        over_capture=merchant.over_capture,
        posted_minor=merchant.posted_minor,
        fees_minor=merchant.fees_minor,
        opened_at=instant(merchant.opened_ns),
    )
