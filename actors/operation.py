"""Operations: what may be done to an authorization or a payment after it exists.

Increments, captures, voids, releases and reversals are numbered by the merchant, each in a
number space of its own, and bind their outcomes like payments do. They are shaped alike, so one
Struct serves all five. What is legal when comes from the state machines (`actors.states`), for
account and merchant alike.
"""

from collections.abc import Mapping
from typing import Final, Literal

from actors.answers import OperationView, Outcome, Refused, instant, instant_if
from actors.note import description_of, metadata_of
from actors.outcome import Bound
from actors.refusal import Refusal
from actors.states import AUTHORIZATION, PAYMENT, allowed
from engine.kind import RecordKind

OperationKind = Literal["increment", "capture", "void", "release", "reversal"]


class Operation(Bound, frozen=True, array_like=True):
    """One operation, and the hold's figures right after it.

    Attributes:
        original: the hold_no or order_no that it belongs to.
        amount_minor: what was asked for; of a reversal the whole payment, of a void or release 0.
        final: of a capture, that the rest be released.
        current: the original's state where that was the reason to refuse, else empty.
        fee_minor: kept on a capture, given back by a reversal.
        hold_state: empty for a reversal, and where the account was never asked.
    """

    state: Literal["PROCESSING", "SUCCEEDED", "FAILED"]
    kind: OperationKind
    original: str
    amount_minor: int = 0
    final: bool = False
    current: str = ""
    fee_minor: int = 0
    hold_amount_minor: int = 0
    hold_captured_minor: int = 0
    hold_state: str = ""


INCREMENTS: Final = RecordKind("i", Operation, ascending=True)
CAPTURES: Final = RecordKind("c", Operation, ascending=True)
VOIDS: Final = RecordKind("v", Operation, ascending=True)
RELEASES: Final = RecordKind("l", Operation, ascending=True)
REVERSALS: Final = RecordKind("x", Operation, ascending=True)

OPERATIONS: Final[Mapping[OperationKind, RecordKind[Operation]]] = {
    "increment": INCREMENTS,
    "capture": CAPTURES,
    "void": VOIDS,
    "release": RELEASES,
    "reversal": REVERSALS,
}

ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "increment": allowed(AUTHORIZATION, "increment_authorization"),
    "capture": allowed(AUTHORIZATION, "capture_authorization"),
    "void": allowed(AUTHORIZATION, "void_authorization"),
    "release": allowed(AUTHORIZATION, "release_authorization"),
    "reversal": allowed(PAYMENT, "reverse_payment"),
}
"""The states of the original in which an operation is legal."""

_CODES: Final[Mapping[str, Refusal]] = {
    "EXPIRED": Refusal.HOLD_EXPIRED,
    "VOIDED": Refusal.HOLD_ALREADY_VOIDED,
    "CAPTURED": Refusal.HOLD_ALREADY_CAPTURED,
    "PARTIALLY_CAPTURED": Refusal.HOLD_PARTLY_CAPTURED,
}


def refuse_state(kind: OperationKind, state: str) -> Refusal | None:
    """Return why the operation is illegal on a hold in this state, None where it is legal."""
    if state in ALLOWED[kind]:
        return None
    return _CODES.get(state, Refusal.STATE_CONFLICT)


def view_operation(merchant_no: str, number: str, operation: Operation) -> OperationView:
    """Return what the merchant sees of an operation; it never changes once it has an outcome."""
    asked = bool(operation.hold_state)
    return OperationView(
        operation=operation.kind,
        merchant_no=merchant_no,
        number=number,
        original=operation.original,
        amount_minor=operation.amount_minor,
        final=operation.final,
        fee_minor=operation.fee_minor,
        state=operation.state,
        code=operation.code,
        hold_amount_minor=operation.hold_amount_minor if asked else None,
        hold_captured_minor=operation.hold_captured_minor if asked else None,
        hold_state=operation.hold_state or None,
        business_date=operation.business_date,
        created_at=instant(operation.created_ns),
        settled_at=instant_if(operation.settled_ns),
        description=description_of(operation.digest),
        metadata=metadata_of(operation.digest),
    )


def first_operation(merchant_no: str, number: str, operation: Operation) -> Outcome:
    """Return the outcome that the operation had, as its first caller was told it."""
    if operation.code is None:
        return view_operation(merchant_no, number, operation)
    if not operation.current:
        return Refused(operation.code, number)
    return Refused(operation.code, number, operation.current, ALLOWED[operation.kind])
