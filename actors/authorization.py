"""Authorizations: reserved money, on the merchant's side.

An authorization is the projection of the payer's hold: whatever the account answers, the hold's
figures are copied from it, and the merchant decides nothing that the account decides. One
operation on it may be in flight; others are told IN_FLIGHT. An expiry is told by the account
unasked.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from actors.answers import AuthorizationView, Outcome, Refused, instant, instant_if
from actors.commands import (
    CaptureAuthorization,
    CreateAuthorization,
    IncrementAuthorization,
    MerchantCommand,
    ReleaseAuthorization,
    VoidAuthorization,
)
from actors.event import OUTCOMES, EventType, append_event
from actors.merchant import Merchant, admit, count, credit, existing
from actors.messages import (
    CaptureHold,
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
from actors.money import BPS, fee_minor
from actors.note import description_of, metadata_of
from actors.operation import OPERATIONS, Operation, first_operation, refuse_state
from actors.outcome import Bound, bind, settle
from actors.refusal import ABOUT_STATE, Refusal
from actors.states import AUTHORIZATION, OPERATION, move
from engine.kind import RecordKind
from engine.turn import Turn

OVER_CAPTURE_BPS: Final = 11_500


class Authorization(Bound, frozen=True, array_like=True):
    """A record under the merchant, named by its hold_no.

    Attributes:
        requested_minor: what was asked for at first, before any increment.
        valid_s: how long it was to be valid, seconds.
        amount_minor, captured_minor, captures, increments, expires_at_ns: the hold's own.
        refunded_minor, refunding_minor, refunds: as for a payment, of what was captured.
        operation, operation_no: the operation in flight, else empty.
        captured_ns: when the last capture came in; from then on refunds may be asked for.
    """

    state: Literal[
        "PROCESSING", "HELD", "PARTIALLY_CAPTURED", "CAPTURED", "VOIDED", "EXPIRED", "FAILED"
    ]
    payer: str
    currency: str
    requested_minor: int
    limit_bps: int
    valid_s: int
    amount_minor: int
    captured_minor: int = 0
    captures: int = 0
    increments: int = 0
    expires_at_ns: int = 0
    refunded_minor: int = 0
    refunding_minor: int = 0
    refunds: int = 0
    operation: Literal["", "increment", "capture", "void", "release"] = ""
    operation_no: str = ""
    captured_ns: int = 0


OPEN_STATES: Final = ("PROCESSING", "HELD", "PARTIALLY_CAPTURED")
"""May still come to something; a merchant with such an authorization is not closed."""

AUTHORIZATIONS: Final = RecordKind("z", Authorization, ascending=True)


def create_authorization(turn: Turn[Merchant], command: CreateAuthorization) -> None:
    """Bind the hold number and ask the payer's account to reserve the money.

    Refusals: those of `merchant.admit`; bound: CURRENCY_MISMATCH and what the account declines.
    """
    hold_no = command.hold_no
    content = admit(turn, command, AUTHORIZATIONS, hold_no, first_authorization, takes=True)
    if content is None:
        return
    merchant = existing(turn)
    code = None if command.currency == merchant.currency else Refusal.CURRENCY_MISMATCH
    amount = command.amount_minor
    authorization = Authorization(
        *bind(turn, content, code),
        payer=command.payer,
        currency=command.currency,
        requested_minor=amount,
        limit_bps=OVER_CAPTURE_BPS if merchant.over_capture else BPS,
        valid_s=command.valid_s,
        amount_minor=amount,
    )
    turn.put(AUTHORIZATIONS, hold_no, authorization)
    if code is not None:
        append_event(
            turn,
            EventType.AUTHORIZATION_FAILED,
            hold_no,
            amount,
            code=code,
            currency=command.currency,
        )
        turn.answer(first_authorization(turn.number, hold_no, authorization))
        return
    count(turn, authorizations=1)
    turn.tell(
        f"account/{command.payer}",
        PlaceHold(
            merchant_no=turn.number,
            hold_no=hold_no,
            amount_minor=amount,
            currency=command.currency,
            limit_bps=authorization.limit_bps,
            valid_s=command.valid_s,
        ),
    )


def hold_placed(turn: Turn[Merchant], message: HoldPlaced) -> None:
    """The money is reserved: HELD."""
    hold_no, hold = message.hold_no, message.hold
    authorization = _processing(turn, hold_no)
    append_event(
        turn, EventType.AUTHORIZATION_HELD, hold_no, authorization.requested_minor, hold=hold
    )
    placed = _project(authorization, hold, "HoldPlaced")
    settle(turn, AUTHORIZATIONS, hold_no, placed, first_authorization)


def hold_declined(turn: Turn[Merchant], message: HoldDeclined) -> None:
    """Nothing is reserved: bind the refusal, for ever."""
    count(turn, authorizations=-1)
    hold_no, code = message.hold_no, message.code
    authorization = _processing(turn, hold_no)
    amount = authorization.requested_minor
    append_event(turn, EventType.AUTHORIZATION_FAILED, hold_no, amount, code=code)
    settle(
        turn,
        AUTHORIZATIONS,
        hold_no,
        authorization,
        first_authorization,
        state=move(AUTHORIZATION, authorization.state, "HoldDeclined", "FAILED"),
        code=code,
    )


def hold_ended(turn: Turn[Merchant], message: HoldEnded) -> None:
    """The hold has expired; an operation that is in flight will still be answered."""
    authorization = _authorization(turn, message.hold_no)
    if is_undone(authorization, message.hold):
        return
    ended = _project(authorization, message.hold, "ExpireHold")
    count(turn, authorizations=_opened(authorization, ended))
    turn.put(AUTHORIZATIONS, message.hold_no, ended)
    _expired(turn, message.hold_no, message.hold)


def is_undone(authorization: Authorization, hold: HoldFigures) -> bool:
    """Return whether a hold's end is nothing that the authorization has to hear of.

    So it is while its last answer was discarded: what was done is being undone, and the answer to
    that has its figures.
    """
    return authorization.state in {"PROCESSING", "FAILED"} or bool(
        authorization.operation and _figures(authorization) != _figures(hold)
    )


def increment_authorization(turn: Turn[Merchant], command: IncrementAuthorization) -> None:
    """Reserve more. Refusals: those of `_operate`, then those of `hold.increment_hold`."""
    hold_no, amount = command.hold_no, command.amount_minor
    question = IncrementHold(turn.number, hold_no, amount)
    _operate(turn, command, "increment", command.increment_no, hold_no, question, amount)


def capture_authorization(turn: Turn[Merchant], command: CaptureAuthorization) -> None:
    """Take reserved money. Refusals: those of `_operate`, then those of `hold.capture_hold`."""
    hold_no, number, amount = command.hold_no, command.capture_no, command.amount_minor
    question = CaptureHold(turn.number, hold_no, number, amount, command.final)
    _operate(turn, command, "capture", number, hold_no, question, amount, command.final)


def void_authorization(turn: Turn[Merchant], command: VoidAuthorization) -> None:
    """Give it back untouched. Refusals: those of `_operate`, then those of `hold.void_hold`."""
    question = VoidHold(turn.number, command.hold_no)
    _operate(turn, command, "void", command.void_no, command.hold_no, question)


def release_authorization(turn: Turn[Merchant], command: ReleaseAuthorization) -> None:
    """Give its rest back. Refusals: those of `_operate`, then those of `hold.release_hold`."""
    question = ReleaseHold(turn.number, command.hold_no)
    _operate(turn, command, "release", command.release_no, command.hold_no, question)


def _operate(
    turn: Turn[Merchant],
    command: MerchantCommand,
    kind: Literal["increment", "capture", "void", "release"],
    number: str,
    hold_no: str,
    question: Struct,
    amount_minor: int = 0,
    final: bool = False,
) -> None:
    """Bind the operation's number and put the question to the payer's account.

    Refusals: those of `merchant.admit`; IN_FLIGHT; bound: NO_SUCH_HOLD, and STATE_CONFLICT for
    an authorization that FAILED, as the account has never heard of it.
    """
    content = admit(
        turn,
        command,
        OPERATIONS[kind],
        number,
        first_operation,
        takes=kind in {"increment", "capture"},
        reserved=kind == "capture",
    )
    if content is None:
        return
    authorization = turn.get(AUTHORIZATIONS, hold_no)
    code = None
    current = ""
    if authorization is None:
        code = Refusal.NO_SUCH_HOLD
    elif authorization.operation or authorization.state == "PROCESSING":
        turn.answer(Refused(Refusal.IN_FLIGHT, number))
        return
    elif authorization.state == "FAILED":
        current = authorization.state
        code = refuse_state(kind, current)
    operation = Operation(
        *bind(turn, content, code),
        kind=kind,
        original=hold_no,
        amount_minor=amount_minor,
        final=final,
        current=current,
    )
    turn.put(OPERATIONS[kind], number, operation)
    if authorization is None or code is not None:
        append_event(
            turn,
            OUTCOMES[kind][1],
            number,
            amount_minor,
            original=hold_no,
            code=code,
            state=current,
        )
        turn.answer(first_operation(turn.number, number, operation))
        return
    count(turn, in_flight=1)
    turn.put(AUTHORIZATIONS, hold_no, replace(authorization, operation=kind, operation_no=number))
    turn.tell(f"account/{authorization.payer}", question)


def operation_applied(turn: Turn[Merchant], message: OperationApplied) -> None:
    """The account has done it; with a capture comes its money, and the fee is kept."""
    hold_no = message.hold_no
    authorization, operation = _in_flight(turn, hold_no)
    fee = 0
    if operation.kind == "capture":
        amount = turn.amount_minor
        assert amount == operation.amount_minor
        fee = fee_minor(amount, existing(turn).fee_bps)
        number = authorization.operation_no
        credit(turn, amount, fee, f"capture/{turn.number}/{hold_no}/{number}")
        authorization = replace(authorization, captured_ns=turn.now_ns)
    _conclude(turn, hold_no, authorization, operation, message.hold, None, fee)


def operation_refused(turn: Turn[Merchant], message: OperationRefused) -> None:
    """The account has not done it: bind the refusal, for ever."""
    authorization, operation = _in_flight(turn, message.hold_no)
    _conclude(turn, message.hold_no, authorization, operation, message.hold, message.code, 0)


def _conclude(
    turn: Turn[Merchant],
    hold_no: str,
    authorization: Authorization,
    operation: Operation,
    hold: HoldFigures,
    code: Refusal | None,
    fee: int,
) -> None:
    """Copy the hold's figures, free the authorization, and settle the operation with them.

    A hold past its time ends when the account looks at it: then a refusal is also the first
    that the merchant hears of its expiry. One that its last capture had ended has ended without it
    when that is undone.
    """
    number, kind = authorization.operation_no, operation.kind
    if code is None:
        cause: str | None = f"{kind}_authorization"
        state = move(OPERATION, operation.state, "OperationApplied", "SUCCEEDED")
    else:
        cause = None
        if hold.state != authorization.state:
            cause = "UndoCapture" if hold.state == "VOIDED" else "ExpireHold"
        state = move(OPERATION, operation.state, "OperationRefused", "FAILED")
    if cause == "ExpireHold":
        _expired(turn, hold_no, hold)
    amount = operation.amount_minor
    if code is None and kind in {"void", "release"}:
        amount = _rest_minor(hold)
    append_event(
        turn,
        OUTCOMES[kind][code is not None],
        number,
        amount,
        original=hold_no,
        fee_minor=fee,
        code=code,
        hold=hold,
    )
    projection = _project(authorization, hold, cause, operation="", operation_no="")
    count(turn, in_flight=-1, authorizations=_opened(authorization, projection))
    turn.put(AUTHORIZATIONS, hold_no, projection)
    settle(
        turn,
        OPERATIONS[kind],
        number,
        operation,
        first_operation,
        state=state,
        code=code,
        current=hold.state if code in ABOUT_STATE else "",
        fee_minor=fee,
        hold_amount_minor=hold.amount_minor,
        hold_captured_minor=hold.captured_minor,
        hold_state=hold.state,
    )


def _expired(turn: Turn[Merchant], hold_no: str, hold: HoldFigures) -> None:
    append_event(turn, EventType.EXPIRED, hold_no, _rest_minor(hold), hold=hold)


def _rest_minor(hold: HoldFigures) -> int:
    """Return what a hold that has ended gave back to the payer."""
    return hold.amount_minor - hold.captured_minor


def _project(
    authorization: Authorization, hold: HoldFigures, cause: str | None, **changes: str
) -> Authorization:
    """Return the authorization with the hold's figures copied into it.

    Args:
        cause: what has brought the hold to its state, None where it stayed in it.
    """
    state = hold.state
    if cause is not None:
        state = move(AUTHORIZATION, authorization.state, cause, state)
    return replace(
        authorization,
        amount_minor=hold.amount_minor,
        captured_minor=hold.captured_minor,
        captures=hold.captures,
        increments=hold.increments,
        state=state,
        expires_at_ns=hold.expires_at_ns,
        **changes,
    )


def _figures(side: Authorization | HoldFigures) -> tuple[int, int, int, int]:
    """Return what of a hold changes with each operation that is done."""
    return side.amount_minor, side.captured_minor, side.captures, side.increments


def _opened(before: Authorization, after: Authorization) -> int:
    """Return -1 where an authorization that was open has ended, else 0."""
    return (after.state in OPEN_STATES) - (before.state in OPEN_STATES)


def _authorization(turn: Turn[Merchant], hold_no: str) -> Authorization:
    authorization = turn.get(AUTHORIZATIONS, hold_no)
    assert authorization is not None, f"{turn.address} has no authorization {hold_no}"
    return authorization


def _processing(turn: Turn[Merchant], hold_no: str) -> Authorization:
    authorization = _authorization(turn, hold_no)
    assert authorization.state == "PROCESSING", f"{hold_no} is {authorization.state}"
    return authorization


def _in_flight(turn: Turn[Merchant], hold_no: str) -> tuple[Authorization, Operation]:
    """Return the authorization and the operation on it that the account has answered."""
    authorization = _authorization(turn, hold_no)
    assert authorization.operation, f"{hold_no} has nothing in flight"
    operation = turn.get(OPERATIONS[authorization.operation], authorization.operation_no)
    assert operation is not None
    return authorization, operation


def view_authorization(
    merchant_no: str, hold_no: str, authorization: Authorization
) -> AuthorizationView:
    """Return what the merchant sees of an authorization as it stands now."""
    return AuthorizationView(
        merchant_no=merchant_no,
        hold_no=hold_no,
        payer=authorization.payer,
        amount_minor=authorization.amount_minor,
        captured_minor=authorization.captured_minor,
        refunded_minor=authorization.refunded_minor,
        currency=authorization.currency,
        state=authorization.state,
        code=authorization.code,
        business_date=authorization.business_date,
        created_at=instant(authorization.created_ns),
        settled_at=instant_if(authorization.settled_ns),
        expires_at=instant_if(authorization.expires_at_ns),
        description=description_of(authorization.digest),
        metadata=metadata_of(authorization.digest),
    )


def first_authorization(merchant_no: str, hold_no: str, authorization: Authorization) -> Outcome:
    """Return the outcome that the authorization had at first, whatever was done with it since."""
    if authorization.code is not None:
        return Refused(authorization.code, hold_no)
    placed = replace(
        authorization,
        state="HELD",
        amount_minor=authorization.requested_minor,
        captured_minor=0,
        refunded_minor=0,
    )
    return view_authorization(merchant_no, hold_no, placed)
