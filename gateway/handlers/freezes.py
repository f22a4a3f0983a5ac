"""Freezes: amounts of an account that the bank sets aside, and gives free again."""

from typing import Final

from msgspec import Struct

from actors.answers import FreezeView, UnfreezeView
from actors.commands import FreezeAmount, Number, UnfreezeAmount
from actors.freeze import FREEZES, UNFREEZES, view_freeze, view_unfreeze
from actors.refusal import Refusal
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.lookup import Cursor, Limit, Page, found, record_of, records_page


class FreezeKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which frozen amount."""

    account_no: Number
    freeze_no: Number


class FreezeList(Struct, frozen=True, forbid_unknown_fields=True):
    """An account's freezes, released and refused ones too, in the order of their numbers."""

    account_no: Number
    limit: Limit = 10
    cursor: Cursor | None = None


class UnfreezeKey(FreezeKey, frozen=True):
    """Which unfreeze."""

    unfreeze_no: Number


async def command_freeze(
    desk: Desk, caller: Caller, command: FreezeAmount | UnfreezeAmount
) -> Answer:
    """Set an amount of an account aside, or give it free again."""
    return await desk.execute(caller, command)


async def get_freeze(desk: Desk, caller: Caller, key: FreezeKey) -> Answer:
    """Return a freeze as it stands now."""
    freeze = record_of(desk.node, f"account/{key.account_no}", FREEZES, key.freeze_no)
    view = None if freeze is None else view_freeze(key.account_no, key.freeze_no, freeze)
    return found(view, Refusal.NO_SUCH_FREEZE)


async def list_freezes(desk: Desk, caller: Caller, asked: FreezeList) -> Answer:
    """Return one page of an account's freezes."""
    account_no = asked.account_no
    return records_page(
        desk.node,
        f"account/{account_no}",
        FREEZES,
        lambda freeze_no, freeze: view_freeze(account_no, freeze_no, freeze),
        asked.limit,
        asked.cursor,
    )


async def get_unfreeze(desk: Desk, caller: Caller, key: UnfreezeKey) -> Answer:
    """Return an unfreeze of a frozen amount."""
    account_no, number = key.account_no, key.unfreeze_no
    unfreeze = record_of(desk.node, f"account/{account_no}", UNFREEZES, number)
    if unfreeze is None or unfreeze.freeze_no != key.freeze_no:
        return found(None, RequestCode.NO_SUCH_OPERATION)
    return found(view_unfreeze(account_no, number, unfreeze), RequestCode.NO_SUCH_OPERATION)


_FREEZES: Final = "/v1/accounts/{account_no}/freezes"
_FREEZE: Final = "/v1/accounts/{account_no}/freezes/{freeze_no}"

ENDPOINTS: Final = (
    act(_FREEZES, FreezeAmount, command_freeze, "bank", FreezeView),
    read(_FREEZES, FreezeList, list_freezes, "bank", Page[FreezeView]),
    read(_FREEZE, FreezeKey, get_freeze, "bank", FreezeView, Refusal.NO_SUCH_FREEZE),
    act(f"{_FREEZE}/unfreezes", UnfreezeAmount, command_freeze, "bank", UnfreezeView),
    read(
        f"{_FREEZE}/unfreezes/{{unfreeze_no}}",
        UnfreezeKey,
        get_unfreeze,
        "bank",
        UnfreezeView,
        RequestCode.NO_SUCH_OPERATION,
    ),
)
