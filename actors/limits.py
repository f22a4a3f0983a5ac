"""Limits: what an account's owner allows the account, by method, whoever it pays.

They stand beside the agreements' limits: a payment has to keep to both. `set_account_limits` is
numbered by the caller, decided at once and bound; the limits in force are in the account's state.
"""

from typing import Final, Literal

from msgspec.structs import replace

from actors.account import Account, available_minor
from actors.answers import (
    AccountLimitsView,
    LimitsChangeView,
    MethodLimitView,
    Outcome,
    Refused,
    instant,
)
from actors.commands import Method, SetAccountLimits, digest
from actors.method import METHODS, UNUSED, MethodLimit, refuse_method, use_method
from actors.money import used_on
from actors.outcome import Bound, decided, repeat
from actors.refusal import Refusal
from engine.kind import RecordKind
from engine.turn import Turn

_NO_LIMITS: Final = (MethodLimit(),) * len(METHODS)


class LimitsChange(Bound, frozen=True, array_like=True):
    """A record under the account, named by its limits_no: what was set, or refused for good."""

    state: Literal["SUCCEEDED", "FAILED"]
    method: Method
    payment_limit_minor: int | None
    daily_limit_minor: int | None


LIMITS_CHANGES: Final = RecordKind("l", LimitsChange)


def set_account_limits(turn: Turn[Account], command: SetAccountLimits) -> None:
    """Set both limits of a method anew; today's use stays counted.

    Refusals: ACCOUNT_NOT_FOUND, NUMBER_USED, ACCOUNT_CLOSED; bound: ACCOUNT_INTERNAL.
    """
    account = turn.state
    number = command.limits_no
    if account is None:
        turn.answer(Refused(Refusal.ACCOUNT_NOT_FOUND, number))
        return
    content = digest(command)
    first = turn.get(LIMITS_CHANGES, number)
    if first is not None:
        repeat(turn, LIMITS_CHANGES, number, number, content, first, first_limits_change)
        return
    if account.status == "CLOSED":
        turn.answer(Refused(Refusal.ACCOUNT_CLOSED, number))
        return
    code = None if account.kind == "customer" else Refusal.ACCOUNT_INTERNAL
    change = LimitsChange(
        *decided(turn, content, "SUCCEEDED", code),
        method=command.method,
        payment_limit_minor=command.payment_limit_minor,
        daily_limit_minor=command.daily_limit_minor,
    )
    turn.put(LIMITS_CHANGES, number, change)
    if code is None:
        turn.become(_changed(account, change))
    turn.answer(first_limits_change(turn.number, number, change))


def _changed(account: Account, change: LimitsChange) -> Account:
    limits = list(account.limits or _NO_LIMITS)
    method = METHODS.index(change.method)
    limit = MethodLimit(change.payment_limit_minor, change.daily_limit_minor)
    if limit != MethodLimit():
        carried = account.used_minor[method]
        limit = replace(limit, carried_date=account.used_date, carried_minor=carried)
    limits[method] = limit
    return replace(account, limits=() if tuple(limits) == _NO_LIMITS else tuple(limits))


def spend(turn: Turn[Account], account: Account, method: int, amount_minor: int) -> Refusal | None:
    """Decide whether an amount may leave the account by a method, and count it if so.

    It is the last check of a debit: if it returns None the caller posts the debit in this turn,
    to `existing(turn)`. Refusals: METHOD_LIMIT_EXCEEDED, INSUFFICIENT_FUNDS.
    """
    date, used = account.used_date, account.used_minor
    if account.limits:
        code = refuse_method(
            account.limits, method, turn.business_date, date, used, amount_minor, amount_minor
        )
        if code is not None:
            return code
    if available_minor(account) < amount_minor:
        return Refusal.INSUFFICIENT_FUNDS
    date, used = use_method(method, turn.business_date, date, used, amount_minor)
    turn.become(replace(account, used_date=date, used_minor=used))
    return None


def view_account_limits(account_no: str, account: Account, business_date: str) -> AccountLimitsView:
    """Return an account's own limits and what is used of them on a business date."""
    used = account.used_minor if business_date <= account.used_date else UNUSED
    limits = account.limits or _NO_LIMITS
    return AccountLimitsView(
        account_no=account_no,
        business_date=business_date,
        methods=tuple(
            MethodLimitView(
                method=method,
                payment_limit_minor=limit.payment_limit_minor,
                daily_limit_minor=limit.daily_limit_minor,
                used_minor=used_on(business_date, account.used_date, each),
            )
            for method, limit, each in zip(METHODS, limits, used, strict=True)
        ),
    )


def view_limits_change(account_no: str, limits_no: str, change: LimitsChange) -> LimitsChangeView:
    """Return what was set under a number; it never changes."""
    return LimitsChangeView(
        account_no=account_no,
        limits_no=limits_no,
        method=change.method,
        payment_limit_minor=change.payment_limit_minor,
        daily_limit_minor=change.daily_limit_minor,
        state=change.state,
        code=change.code,
        business_date=change.business_date,
        created_at=instant(change.created_ns),
    )


def first_limits_change(account_no: str, limits_no: str, change: LimitsChange) -> Outcome:
    """Return the outcome as its first caller was told it."""
    if change.code is not None:
        return Refused(change.code, limits_no)
    return view_limits_change(account_no, limits_no, change)
