"""Freezes: amounts of an account that the bank has set aside, as a court or the risk desk asks.

A frozen amount stays posted and is not available: no payment, hold, transfer or withdrawal may
touch it until it is unfrozen. Only available money can be frozen, so holds keep what they have
reserved. Freezing an amount is not freezing the account, which stays open for the rest.
"""

from typing import Final, Literal

from msgspec.structs import replace

from actors.account import Account, available_minor
from actors.answers import FreezeView, Outcome, Refused, UnfreezeView, instant, instant_if
from actors.commands import FreezeAmount, UnfreezeAmount, digest
from actors.outcome import Bound, decided, repeat
from actors.refusal import Refusal
from actors.states import FREEZE, allowed, move
from engine.kind import RecordKind
from engine.turn import Turn


class Freeze(Bound, frozen=True, array_like=True):
    """A record under the account, named by its freeze_no.

    Attributes:
        released_ns: when it was unfrozen, 0 while it is not.
    """

    state: Literal["FROZEN", "RELEASED", "FAILED"]
    amount_minor: int
    released_ns: int = 0


class Unfreeze(Bound, frozen=True, array_like=True):
    """A record under the account, named by its unfreeze_no.

    Attributes:
        current: the freeze's state where that was the reason to refuse, else empty.
    """

    state: Literal["SUCCEEDED", "FAILED"]
    freeze_no: str
    amount_minor: int = 0
    current: str = ""


FREEZES: Final = RecordKind("f", Freeze)
UNFREEZES: Final = RecordKind("u", Unfreeze)

ALLOWED: Final = allowed(FREEZE, "unfreeze_amount")
"""The states in which an amount can be unfrozen."""


def freeze_amount(turn: Turn[Account], command: FreezeAmount) -> None:
    """Set an amount aside; a frozen account may have amounts frozen too.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED, ACCOUNT_CLOSED; bound: ACCOUNT_INTERNAL,
    INSUFFICIENT_FUNDS.
    """
    account = turn.state
    number = command.freeze_no
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return
    content = digest(command)
    first = turn.get(FREEZES, number)
    if first is not None:
        repeat(turn, FREEZES, number, number, content, first, first_freeze)
        return
    if account.status == "CLOSED":
        turn.answer(Refused(Refusal.ACCOUNT_CLOSED, number))
        return
    amount = command.amount_minor
    code = None
    if account.kind != "customer":
        code = Refusal.ACCOUNT_INTERNAL
    elif available_minor(account) < amount:
        code = Refusal.INSUFFICIENT_FUNDS
    freeze = Freeze(*decided(turn, content, "FROZEN", code), amount_minor=amount)
    turn.put(FREEZES, number, freeze)
    if code is None:
        turn.become(replace(account, frozen_minor=account.frozen_minor + amount))
    turn.answer(first_freeze(turn.number, number, freeze))


def unfreeze_amount(turn: Turn[Account], command: UnfreezeAmount) -> None:
    """Make a frozen amount available again, all of it.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED; bound: NO_SUCH_FREEZE, STATE_CONFLICT.
    """
    account = turn.state
    number, freeze_no = command.unfreeze_no, command.freeze_no
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return
    content = digest(command)
    first = turn.get(UNFREEZES, number)
    if first is not None:
        repeat(turn, UNFREEZES, number, number, content, first, first_unfreeze)
        return
    freeze = turn.get(FREEZES, freeze_no)
    code = None
    if freeze is None:
        code = Refusal.NO_SUCH_FREEZE
    elif freeze.state not in ALLOWED:
        code = Refusal.STATE_CONFLICT
    unfreeze = Unfreeze(
        *decided(turn, content, "SUCCEEDED", code),
        freeze_no=freeze_no,
        amount_minor=0 if freeze is None else freeze.amount_minor,
        current=freeze.state if freeze is not None and code is not None else "",
    )
    turn.put(UNFREEZES, number, unfreeze)
    if freeze is not None and code is None:
        state = move(FREEZE, freeze.state, "unfreeze_amount", "RELEASED")
        turn.put(FREEZES, freeze_no, replace(freeze, state=state, released_ns=turn.now_ns))
        turn.become(replace(account, frozen_minor=account.frozen_minor - freeze.amount_minor))
    turn.answer(first_unfreeze(turn.number, number, unfreeze))


def view_freeze(account_no: str, freeze_no: str, freeze: Freeze) -> FreezeView:
    """Return a freeze as it stands now."""
    return FreezeView(
        account_no=account_no,
        freeze_no=freeze_no,
        amount_minor=freeze.amount_minor,
        state=freeze.state,
        code=freeze.code,
        business_date=freeze.business_date,
        created_at=instant(freeze.created_ns),
        released_at=instant_if(freeze.released_ns),
    )


def first_freeze(account_no: str, freeze_no: str, freeze: Freeze) -> Outcome:
    """Return the outcome that the freeze had at first, whether it was released since or not."""
    if freeze.code is not None:
        return Refused(freeze.code, freeze_no)
    return view_freeze(account_no, freeze_no, replace(freeze, state="FROZEN", released_ns=0))


def view_unfreeze(account_no: str, unfreeze_no: str, unfreeze: Unfreeze) -> UnfreezeView:
    """Return an unfreeze; it never changes."""
    return UnfreezeView(
        account_no=account_no,
        unfreeze_no=unfreeze_no,
        freeze_no=unfreeze.freeze_no,
        amount_minor=unfreeze.amount_minor,
        state=unfreeze.state,
        code=unfreeze.code,
        business_date=unfreeze.business_date,
        created_at=instant(unfreeze.created_ns),
    )


def first_unfreeze(account_no: str, unfreeze_no: str, unfreeze: Unfreeze) -> Outcome:
    """Return the outcome as its first caller was told it."""
    if unfreeze.code is None:
        return view_unfreeze(account_no, unfreeze_no, unfreeze)
    if not unfreeze.current:
        return Refused(unfreeze.code, unfreeze_no)
    return Refused(unfreeze.code, unfreeze_no, unfreeze.current, ALLOWED)
