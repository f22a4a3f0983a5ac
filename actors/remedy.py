"""Remedies: what a merchant may do about a refund that waits for funds or went astray.

A redirect sends it to another account, since the payer's is closed; a closing gives it up. Each
is numbered by the merchant in a space of its own and binds its outcome. They are shaped alike,
so one Struct serves both. What they do to the refund is in `actors.redirect`.
"""

from collections.abc import Mapping
from typing import Final, Literal

from actors.answers import Outcome, Refused, RemedyView, instant, instant_if
from actors.event import REMEDY_FAILED, append_event
from actors.merchant import Merchant
from actors.outcome import Bound
from actors.refusal import Refusal
from actors.states import REFUND, allowed
from engine.kind import RecordKind
from engine.turn import Turn

RemedyKind = Literal["redirect", "closing"]


class Remedy(Bound, frozen=True, array_like=True):
    """A record under the merchant, named by its redirect_no or close_no.

    Attributes:
        account_no: where a refund is redirected to, empty for a closing.
        amount_minor: the refund's, 0 where there is no such refund.
        current: the refund's state where that was the reason to refuse, else empty.
    """

    state: Literal["PROCESSING", "SUCCEEDED", "FAILED"]
    kind: RemedyKind
    refund_no: str
    account_no: str
    amount_minor: int
    current: str = ""


REDIRECTS: Final = RecordKind("d", Remedy, ascending=True)
CLOSINGS: Final = RecordKind("k", Remedy, ascending=True)

ALLOWED: Final[Mapping[RemedyKind, tuple[str, ...]]] = {
    "redirect": allowed(REFUND, "redirect_refund"),
    "closing": allowed(REFUND, "close_refund"),
}
"""The states of the refund in which a remedy is legal."""


def refuse_state(kind: RemedyKind, state: str) -> Refusal | None:
    """Return STATE_CONFLICT where the remedy is illegal on a refund in this state, else None."""
    return None if state in ALLOWED[kind] else Refusal.STATE_CONFLICT


AT_ONCE: Final = frozenset(
    {
        Refusal.NO_SUCH_REFUND,
        Refusal.STATE_CONFLICT,
        Refusal.MERCHANT_BALANCE_INSUFFICIENT,
        Refusal.ACCOUNT_INTERNAL,
    }
)
"""Why a remedy may be refused before anything is done; all other codes an account gives."""


def append_failure(
    turn: Turn[Merchant], number: str, remedy: Remedy, code: Refusal, state: str
) -> None:
    """Append the event of a remedy that failed.

    Args:
        state: the refund's, right afterwards; empty where there is no such refund.
    """
    type_, amount = REMEDY_FAILED[remedy.kind], remedy.amount_minor
    append_event(turn, type_, number, amount, original=remedy.refund_no, code=code, state=state)


def view_remedy(merchant_no: str, number: str, remedy: Remedy) -> RemedyView:
    """Return what the merchant sees of a remedy; it never changes once it has an outcome."""
    return RemedyView(
        remedy=remedy.kind,
        merchant_no=merchant_no,
        number=number,
        refund_no=remedy.refund_no,
        account_no=remedy.account_no or None,
        amount_minor=remedy.amount_minor,
        state=remedy.state,
        code=remedy.code,
        business_date=remedy.business_date,
        created_at=instant(remedy.created_ns),
        settled_at=instant_if(remedy.settled_ns),
    )


def first_remedy(merchant_no: str, number: str, remedy: Remedy) -> Outcome:
    """Return the outcome that the remedy had, as its first caller was told it."""
    if remedy.code is None:
        return view_remedy(merchant_no, number, remedy)
    if not remedy.current:
        return Refused(remedy.code, number)
    return Refused(remedy.code, number, remedy.current, ALLOWED[remedy.kind])
