"""Merchants: taken on or opened, suspended, activated, closed and looked up, and their events."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from actors.answers import MerchantView, ProfileView
from actors.commands import (
    ActivateMerchant,
    AmendMerchant,
    ApplyMerchant,
    ApproveMerchant,
    CloseMerchant,
    Number,
    OpenMerchant,
    RejectMerchant,
    SignMerchant,
    SubmitMerchant,
    SuspendMerchant,
)
from actors.kinds import MERCHANT
from actors.lifecycle import PROFILE, PROFILES, view_profile
from actors.merchant import Merchant, view_merchant
from actors.refusal import Refusal
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import act, read
from gateway.errors import RequestCode
from gateway.feed import EventList, events_after
from gateway.lookup import Cursor, Limit, Page, actors_page, found, record_of, state_of


class MerchantKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which merchant."""

    merchant_no: Number


class MerchantList(Struct, frozen=True, forbid_unknown_fields=True):
    """All merchants, in the order of their row keys: by slot, then by number."""

    limit: Limit = 10
    cursor: Cursor | None = None


class EventsAfter(MerchantKey, frozen=True):
    """Events of a merchant behind the sequence `after`."""

    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100


MerchantCommand = (
    OpenMerchant
    | ApplyMerchant
    | AmendMerchant
    | SubmitMerchant
    | ApproveMerchant
    | RejectMerchant
    | SignMerchant
    | SuspendMerchant
    | ActivateMerchant
    | CloseMerchant
)


async def command_merchant(desk: Desk, caller: Caller, command: MerchantCommand) -> Answer:
    """Take a merchant a step on: from an application to its contract, and on to its end."""
    return await desk.execute(caller, command)


async def get_merchant(desk: Desk, caller: Caller, key: MerchantKey) -> Answer:
    """Return a merchant as it stands now."""
    merchant: Merchant | None = state_of(desk.node, MERCHANT, key.merchant_no)
    view = None if merchant is None else view_merchant(key.merchant_no, merchant)
    return found(view, Refusal.MERCHANT_NOT_FOUND)


async def get_profile(desk: Desk, caller: Caller, key: MerchantKey) -> Answer:
    """Return how a merchant that has applied was taken on."""
    number = key.merchant_no
    # The record first: what is written with it is in the state that is read afterwards.
    profile = record_of(desk.node, f"merchant/{number}", PROFILES, PROFILE)
    merchant: Merchant | None = state_of(desk.node, MERCHANT, number)
    if merchant is None:
        return found(None, Refusal.MERCHANT_NOT_FOUND)
    view = None if profile is None else view_profile(number, merchant, profile)
    return found(view, RequestCode.NO_SUCH_PROFILE)


async def list_merchants(desk: Desk, caller: Caller, asked: MerchantList) -> Answer:
    """Return one page of all merchants."""
    return await actors_page(desk.node, MERCHANT, view_merchant, asked.limit, asked.cursor)


async def list_events(desk: Desk, caller: Caller, asked: EventsAfter) -> Answer:
    """Return events of a merchant, in their sequence."""
    return events_after(desk.node, asked.merchant_no, asked.after, asked.limit)


_MERCHANTS: Final = "/v1/merchants"
_MERCHANT: Final = "/v1/merchants/{merchant_no}"

ENDPOINTS: Final = (
    act(_MERCHANTS, OpenMerchant, command_merchant, "bank", MerchantView),
    read(_MERCHANTS, MerchantList, list_merchants, "bank", Page[MerchantView]),
    read(
        _MERCHANT,
        MerchantKey,
        get_merchant,
        "merchant",
        MerchantView,
        Refusal.MERCHANT_NOT_FOUND,
    ),
    act(f"{_MERCHANT}/apply", ApplyMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/amend", AmendMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/submit", SubmitMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/approve", ApproveMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/reject", RejectMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/sign", SignMerchant, command_merchant, "bank", MerchantView),
    read(
        f"{_MERCHANT}/profile",
        MerchantKey,
        get_profile,
        "bank",
        ProfileView,
        Refusal.MERCHANT_NOT_FOUND,
        RequestCode.NO_SUCH_PROFILE,
    ),
    act(f"{_MERCHANT}/suspend", SuspendMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/activate", ActivateMerchant, command_merchant, "bank", MerchantView),
    act(f"{_MERCHANT}/close", CloseMerchant, command_merchant, "bank", MerchantView),
    read(
        f"{_MERCHANT}/events",
        EventsAfter,
        list_events,
        "merchant",
        EventList,
        Refusal.MERCHANT_NOT_FOUND,
    ),
)
