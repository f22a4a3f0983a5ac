"""Holds: money that an account has reserved for a merchant, on the account's side.

The account alone decides what becomes of a hold: how much is left of it, whether a capture fits,
when its time is over. Every answer carries the hold's figures, which the merchant's
authorization copies. A hold whose time has run out counts as expired even before its timer has
come, so an outcome never depends on which of two messages was faster.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.account import Account, existing, post, refuse_debit
from actors.agreement import ALLOWANCES, count_use, refuse_use
from actors.messages import (
    CaptureHold,
    ExpireHold,
    HoldDeclined,
    HoldEnded,
    HoldFigures,
    HoldPlaced,
    IncrementHold,
    OperationApplied,
    OperationRefused,
    PlaceHold,
    ReleaseHold,
    VoidHold,
)
from actors.method import AUTHORIZATION, use_method
from actors.money import share_minor
from actors.operation import OperationKind, refuse_state
from actors.refusal import Refusal
from actors.states import HOLD, move
from engine.kind import RecordKind
from engine.turn import Turn

CAPTURES_MAX: Final = 50
INCREMENTS_MAX: Final = 10

HoldState = Literal["HELD", "PARTIALLY_CAPTURED", "CAPTURED", "VOIDED", "EXPIRED"]
OPEN_STATES: Final = ("HELD", "PARTIALLY_CAPTURED")


class Hold(Struct, frozen=True, array_like=True):
    """A record under the payer's account, named `merchant_no/hold_no`.

    Attributes:
        limit_bps: share of `amount_minor` that may be captured, in basis points.
        captures, increments: how many were done.
        expires_at_ns: due time of its timer, which bears the record's name.
    """

    merchant_no: str
    hold_no: str
    amount_minor: int
    limit_bps: int
    placed_ns: int
    expires_at_ns: int
    captured_minor: int = 0
    captures: int = 0
    increments: int = 0
    state: HoldState = "HELD"


HOLDS: Final = RecordKind("h", Hold)


def rest_minor(hold: Hold) -> int:
    """Return what of the account's money the hold still reserves."""
    return hold.amount_minor - hold.captured_minor if hold.state in OPEN_STATES else 0


def figures(hold: Hold) -> HoldFigures:
    """Return what the merchant is told of a hold."""
    return HoldFigures(
        amount_minor=hold.amount_minor,
        captured_minor=hold.captured_minor,
        captures=hold.captures,
        increments=hold.increments,
        state=hold.state,
        expires_at_ns=hold.expires_at_ns,
    )


def place_hold(turn: Turn[Account], message: PlaceHold) -> None:
    """Reserve money for a merchant, or decline.

    Refusals: those of `account.refuse_debit`, then those of `agreement.refuse_use`.
    """
    account = turn.state
    amount = message.amount_minor
    merchant_no = message.merchant_no
    code = refuse_debit(account, message.currency)
    if code is None:
        assert account is not None
        allowance = turn.get(ALLOWANCES, merchant_no)
        code = refuse_use(turn, account, allowance, AUTHORIZATION, amount, amount)
        if code is None:
            assert allowance is not None
            hold = Hold(
                merchant_no=merchant_no,
                hold_no=message.hold_no,
                amount_minor=amount,
                limit_bps=message.limit_bps,
                placed_ns=turn.now_ns,
                expires_at_ns=turn.now_ns + message.valid_s * 1_000_000_000,
            )
            date, used = use_method(
                AUTHORIZATION, turn.business_date, account.used_date, account.used_minor, amount
            )
            turn.become(
                replace(
                    account,
                    held_minor=account.held_minor + amount,
                    holds_open=account.holds_open + 1,
                    used_date=date,
                    used_minor=used,
                )
            )
            count_use(turn, merchant_no, allowance, amount)
            name = f"{merchant_no}/{message.hold_no}"
            turn.put(HOLDS, name, hold)
            turn.set_timer(hold.expires_at_ns, name, ExpireHold(merchant_no, message.hold_no))
            turn.tell(turn.sender, HoldPlaced(message.hold_no, figures(hold)))
            return
    turn.tell(turn.sender, HoldDeclined(message.hold_no, code))


def increment_hold(turn: Turn[Account], message: IncrementHold) -> None:
    """Reserve more under a hold that is still whole.

    Refusals: those of `operation.refuse_state`, INCREMENT_LIMIT, then those of a new debit.
    """
    account, hold = _as_of_now(turn, message.merchant_no, message.hold_no)
    amount = message.amount_minor
    code = refuse_state("increment", hold.state)
    if code is None and hold.increments >= INCREMENTS_MAX:
        code = Refusal.INCREMENT_LIMIT
    if code is None:
        code = _debit_more(turn, account, hold, hold.amount_minor + amount, amount)
    if code is not None:
        turn.tell(turn.sender, OperationRefused(message.hold_no, code, figures(hold)))
        return
    hold = replace(hold, amount_minor=hold.amount_minor + amount, increments=hold.increments + 1)
    account = existing(turn)
    turn.become(replace(account, held_minor=account.held_minor + amount))
    _applied(turn, hold)


def capture_hold(turn: Turn[Account], message: CaptureHold) -> None:
    """Take money that is reserved; what is taken beyond the hold is a new debit of its own.

    So a frozen account pays captures within a hold and declines the excess, and the excess
    counts against the agreement's limits and the account's own.

    Refusals: those of `operation.refuse_state`, CAPTURE_LIMIT, CAPTURE_EXCEEDS_HOLD, then, for
    an excess, those of a new debit.
    """
    account, hold = _as_of_now(turn, message.merchant_no, message.hold_no)
    amount = message.amount_minor
    captured = hold.captured_minor + amount
    excess = max(captured - hold.amount_minor, 0)
    code = refuse_state("capture", hold.state)
    if code is None:
        if hold.captures >= CAPTURES_MAX:
            code = Refusal.CAPTURE_LIMIT
        elif captured > share_minor(hold.amount_minor, hold.limit_bps):
            code = Refusal.CAPTURE_EXCEEDS_HOLD
        elif excess:
            code = _debit_more(turn, account, hold, captured, excess)
    if code is not None:
        turn.tell(turn.sender, OperationRefused(message.hold_no, code, figures(hold)))
        return
    reference = f"capture/{message.merchant_no}/{message.hold_no}/{message.capture_no}"
    account = existing(turn)
    post(turn, account, -amount, reference, held_minor=account.held_minor - (amount - excess))
    hold = replace(hold, captured_minor=captured, captures=hold.captures + 1)
    if message.final or captured >= hold.amount_minor:
        state: HoldState = move(HOLD, hold.state, "capture_authorization", "CAPTURED")
        hold = end_hold(turn, hold, state, max(hold.amount_minor - captured, 0))
    else:
        state = move(HOLD, hold.state, "capture_authorization", "PARTIALLY_CAPTURED")
        hold = replace(hold, state=state)
    _applied(turn, hold, amount)


def void_hold(turn: Turn[Account], message: VoidHold) -> None:
    """Give an untouched hold back. Refusals: those of `operation.refuse_state`."""
    _give_back(turn, message, "void", "VOIDED")


def release_hold(turn: Turn[Account], message: ReleaseHold) -> None:
    """Give the rest of a partly captured hold back. Refusals: `operation.refuse_state`."""
    _give_back(turn, message, "release", "CAPTURED")


def expire_hold(turn: Turn[Account], message: ExpireHold) -> None:
    """The timer: end the hold if it is still open, and let the merchant know.

    It does not look at the clock again: a hold whose timer is gone must not stay open because
    the clock was set back.
    """
    name = f"{message.merchant_no}/{message.hold_no}"
    hold = turn.get(HOLDS, name)
    if hold is None or hold.state not in OPEN_STATES:
        return
    hold = _expire(turn, hold)
    turn.put(HOLDS, name, hold)
    turn.tell(f"merchant/{message.merchant_no}", HoldEnded(message.hold_no, figures(hold)))


def _as_of_now(turn: Turn[Account], merchant_no: str, hold_no: str) -> tuple[Account, Hold]:
    """Return the account and the hold, ended first if its time is over.

    A partly captured hold ends as CAPTURED, exactly as if its timer had come first.
    """
    name = f"{merchant_no}/{hold_no}"
    hold = turn.get(HOLDS, name)
    assert hold is not None, f"{turn.address} has no hold {name}"
    if turn.now_ns >= hold.expires_at_ns and hold.state in OPEN_STATES:
        hold = _expire(turn, hold)
        turn.put(HOLDS, name, hold)
    return existing(turn), hold


def _debit_more(
    turn: Turn[Account], account: Account, hold: Hold, total_minor: int, amount_minor: int
) -> Refusal | None:
    """Decide on a new debit under a hold, and count its use if nothing speaks against it."""
    code = refuse_debit(account, account.currency)
    if code is not None:
        return code
    allowance = turn.get(ALLOWANCES, hold.merchant_no)
    code = refuse_use(turn, account, allowance, AUTHORIZATION, total_minor, amount_minor)
    if code is None:
        assert allowance is not None
        count_use(turn, hold.merchant_no, allowance, amount_minor)
        date, used = use_method(
            AUTHORIZATION, turn.business_date, account.used_date, account.used_minor, amount_minor
        )
        turn.become(replace(account, used_date=date, used_minor=used))
    return code


def _give_back(
    turn: Turn[Account],
    message: VoidHold | ReleaseHold,
    kind: OperationKind,
    state: HoldState,
) -> None:
    _, hold = _as_of_now(turn, message.merchant_no, message.hold_no)
    code = refuse_state(kind, hold.state)
    if code is not None:
        turn.tell(turn.sender, OperationRefused(message.hold_no, code, figures(hold)))
        return
    state = move(HOLD, hold.state, f"{kind}_authorization", state)
    _applied(turn, end_hold(turn, hold, state, rest_minor(hold)))


def _expire(turn: Turn[Account], hold: Hold) -> Hold:
    state: HoldState = "EXPIRED" if hold.state == "HELD" else "CAPTURED"
    return end_hold(turn, hold, move(HOLD, hold.state, "ExpireHold", state), rest_minor(hold))


def end_hold(turn: Turn[Account], hold: Hold, state: HoldState, rest: int) -> Hold:
    """Close a hold in the account's books, forget its timer, and return it ended.

    Args:
        rest: what it reserved until now, and does no more.
    """
    account = existing(turn)
    turn.become(
        replace(account, held_minor=account.held_minor - rest, holds_open=account.holds_open - 1)
    )
    turn.cancel_timer(hold.expires_at_ns, f"{hold.merchant_no}/{hold.hold_no}")
    return replace(hold, state=state)


def _applied(turn: Turn[Account], hold: Hold, amount_minor: int = 0) -> None:
    """Write the hold and tell the merchant, with any money that it captured."""
    account = existing(turn)
    turn.put(HOLDS, f"{hold.merchant_no}/{hold.hold_no}", hold)
    turn.tell(
        turn.sender,
        OperationApplied(hold.hold_no, figures(hold)),
        amount_minor=amount_minor,
        currency=account.currency if amount_minor else "",
    )
