"""Limits: an account's own, by method, and what is used of them today."""

from typing import Final

from msgspec import Struct

from actors.account import Account
from actors.answers import AccountLimitsView, LimitsChangeView
from actors.commands import Number, SetAccountLimits
from actors.kinds import ACCOUNT
from actors.limits import LIMITS_CHANGES, view_account_limits, view_limits_change
from actors.refusal import Refusal
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.lookup import found, record_of, state_of


class LimitsKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose limits."""

    account_no: Number


class LimitsChangeKey(LimitsKey, frozen=True):
    """Which setting of limits."""

    limits_no: Number


async def set_limits(desk: Desk, caller: Caller, command: SetAccountLimits) -> Answer:
    """Set an account's own limits for a method anew."""
    return await desk.execute(caller, command)


async def get_limits(desk: Desk, caller: Caller, key: LimitsKey) -> Answer:
    """Return an account's own limits and what is used today, by method."""
    account: Account | None = state_of(desk.node, ACCOUNT, key.account_no)
    if account is None:
        return found(None, Refusal.ACCOUNT_NOT_FOUND)
    view = view_account_limits(key.account_no, account, desk.business_date())
    return found(view, Refusal.ACCOUNT_NOT_FOUND)


async def get_limits_change(desk: Desk, caller: Caller, key: LimitsChangeKey) -> Answer:
    """Return what limits were set under a number."""
    change = record_of(desk.node, f"account/{key.account_no}", LIMITS_CHANGES, key.limits_no)
    view = None if change is None else view_limits_change(key.account_no, key.limits_no, change)
    return found(view, RequestCode.NO_SUCH_OPERATION)


_LIMITS: Final = "/v1/accounts/{account_no}/limits"

ENDPOINTS: Final = (
    act(_LIMITS, SetAccountLimits, set_limits, "bank", LimitsChangeView),
    read(_LIMITS, LimitsKey, get_limits, "bank", AccountLimitsView, Refusal.ACCOUNT_NOT_FOUND),
    read(
        f"{_LIMITS}/{{limits_no}}",
        LimitsChangeKey,
        get_limits_change,
        "bank",
        LimitsChangeView,
        RequestCode.NO_SUCH_OPERATION,
    ),
)
