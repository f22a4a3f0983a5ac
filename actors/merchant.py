"""Merchants: who is paid, and the two ledger accounts that a merchant actor keeps.

`merchant/M1/receivable` is what the bank owes the merchant, `merchant/M1/fees` what the merchant
paid the bank; the fee moves from one to the other in the turn that credits the money, so there
is no shared account that all payments would queue for. Neither ever goes below zero. Payments,
authorizations, operations and refunds are records of their own, in their own modules.
"""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import MerchantView, Outcome, Refused, Replayed, instant
from actors.commands import (
    ActivateMerchant,
    CloseMerchant,
    MerchantCommand,
    OpenMerchant,
    SuspendMerchant,
    digest,
)
from actors.outcome import B, repeat
from actors.refusal import Refusal
from actors.states import MERCHANT, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn

MerchantStatus = Literal["ACTIVE", "SUSPENDED", "CLOSED"]


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
        digest: of the command that opened it.
        pending: refunds that wait for funds, None if there are none.
        in_flight: how many payments and operations of its have no outcome yet, and refunds no
            final one.
        authorizations_open: how many authorizations are PROCESSING, HELD or PARTIALLY_CAPTURED.
        events, tail: sequence of its newest event, 0 if none; the newest events themselves, as
            many as do not fill a page yet (`actors.event`).
        events_ns: time of the newest event; they are in the order of time.
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


def existing(turn: Turn[Merchant]) -> Merchant:
    """Return the merchant whose turn it is, where only our own bug could have it missing."""
    merchant = turn.state
    assert merchant is not None, f"{turn.address} does not exist"
    return merchant


def open_merchant(turn: Turn[Merchant], command: OpenMerchant) -> None:
    """Open a merchant. Refusals: NUMBER_USED."""
    merchant = turn.state
    content = digest(command)
    if merchant is None:
        merchant = Merchant(
            currency=command.currency,
            fee_bps=command.fee_bps,
            over_capture=command.over_capture,
            digest=content,
            opened_ns=turn.now_ns,
        )
        turn.become(merchant)
        turn.answer(first_merchant(turn.number, merchant))
    elif merchant.digest == content:
        turn.answer(Replayed(first_merchant(turn.number, merchant)))
    else:
        turn.answer(Refused(Refusal.NUMBER_USED, turn.number))


def suspend_merchant(turn: Turn[Merchant], command: SuspendMerchant) -> None:
    """Suspend the merchant. Refusals: MERCHANT_NOT_FOUND, STATE_CONFLICT (it is closed)."""
    _change_status(turn, "suspend_merchant", "SUSPENDED")


def activate_merchant(turn: Turn[Merchant], command: ActivateMerchant) -> None:
    """Take a suspension back. Refusals as for suspending."""
    _change_status(turn, "activate_merchant", "ACTIVE")


def close_merchant(turn: Turn[Merchant], command: CloseMerchant) -> None:
    """Close the merchant for ever, if nothing is owed to it, open with it, or under way.

    Whatever is under way counts in `in_flight` or `authorizations_open`, so no message can come
    for a merchant that is closed. Refusals: MERCHANT_NOT_FOUND, OPEN_LIABILITIES.
    """
    _change_status(turn, "close_merchant", "CLOSED")


def _change_status(turn: Turn[Merchant], cause: str, target: MerchantStatus) -> None:
    """Bring the merchant to a status; asking for the one that it has already changes nothing."""
    merchant = turn.state
    if merchant is None:
        turn.answer(Refused(Refusal.MERCHANT_NOT_FOUND, turn.number))
        return
    if merchant.status != target:
        permitted = allowed(MERCHANT, cause)
        if merchant.status not in permitted:
            code = Refusal.STATE_CONFLICT
            turn.answer(Refused(code, turn.number, merchant.status, permitted))
            return
        if target == "CLOSED" and _has_liabilities(merchant):
            turn.answer(Refused(Refusal.OPEN_LIABILITIES, turn.number))
            return
        merchant = replace(merchant, status=move(MERCHANT, merchant.status, cause, target))
        turn.become(merchant)
    turn.answer(view_merchant(turn.number, merchant))


def _has_liabilities(merchant: Merchant) -> bool:
    return bool(merchant.in_flight or merchant.authorizations_open or merchant.posted_minor)


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
) -> bytes | None:
    """Begin a command's first turn: does the merchant decide on it now?

    If not, it is answered here, and nothing is bound: MERCHANT_NOT_FOUND, a repetition or
    NUMBER_USED (`outcome.repeat`), MERCHANT_CLOSED, MERCHANT_SUSPENDED.

    Args:
        kind, number: the record that would bind the outcome.
        outcome: rebuilds a first outcome from such a record.
        takes: the command takes money from a payer, which a suspended merchant may not; giving
            money back goes on.

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
        if merchant.status == "CLOSED":
            turn.answer(Refused(Refusal.MERCHANT_CLOSED, number))
            return None
        if takes:
            turn.answer(Refused(Refusal.MERCHANT_SUSPENDED, number))
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


def first_merchant(merchant_no: str, merchant: Merchant) -> MerchantView:
    """Return the merchant as it was when it had just been opened."""
    opened = Merchant(
        merchant.currency,
        merchant.fee_bps,
        merchant.over_capture,
        merchant.digest,
        merchant.opened_ns,
    )
    return view_merchant(merchant_no, opened)
