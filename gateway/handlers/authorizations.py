"""Authorizations (pre-authorized holds) and what is done to them."""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from actors.answers import AuthorizationView, OperationView
from actors.authorization import AUTHORIZATIONS, view_authorization
from actors.commands import (
    CaptureAuthorization,
    Command,
    CreateAuthorization,
    IncrementAuthorization,
    Number,
    ReleaseAuthorization,
    VoidAuthorization,
)
from actors.event import OUTCOMES
from actors.operation import CAPTURES, INCREMENTS, RELEASES, VOIDS, Operation, view_operation
from actors.refusal import Refusal
from engine.kind import RecordKind
from gateway.answer import Answer
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint, act, read
from gateway.errors import RequestCode
from gateway.feed import Listed, list_records
from gateway.lookup import Page, found, record_of


class AuthorizationKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Which authorization."""

    merchant_no: Number
    hold_no: Number


class AuthorizationList(Listed, frozen=True):
    """A merchant's authorizations."""


class IncrementKey(AuthorizationKey, frozen=True):
    """Which increment."""

    increment_no: Number


class CaptureKey(AuthorizationKey, frozen=True):
    """Which capture."""

    capture_no: Number


class VoidKey(AuthorizationKey, frozen=True):
    """Which void."""

    void_no: Number


class ReleaseKey(AuthorizationKey, frozen=True):
    """Which release."""

    release_no: Number


async def create_authorization(desk: Desk, caller: Caller, command: CreateAuthorization) -> Answer:
    """Reserve money on a payer's account."""
    return await desk.execute(caller, command)


async def get_authorization(desk: Desk, caller: Caller, key: AuthorizationKey) -> Answer:
    """Return an authorization as it stands now."""
    merchant_no, hold_no = key.merchant_no, key.hold_no
    hold = record_of(desk.node, f"merchant/{merchant_no}", AUTHORIZATIONS, hold_no)
    view = None if hold is None else view_authorization(merchant_no, hold_no, hold)
    return found(view, Refusal.NO_SUCH_HOLD)


async def list_authorizations(desk: Desk, caller: Caller, asked: AuthorizationList) -> Answer:
    """Return one page of a merchant's authorizations."""
    return list_records(desk.node, asked, AUTHORIZATIONS, _OUTCOMES, view_authorization)


_OUTCOMES: Final = frozenset(OUTCOMES["authorization"])
_AUTHORIZATIONS: Final = "/v1/authorizations"
_AUTHORIZATION: Final = "/v1/authorizations/{merchant_no}/{hold_no}"


def _operation(
    name: str,
    number: str,
    command_type: type[Command],
    key_type: type[AuthorizationKey],
    kind: RecordKind[Operation],
) -> Iterator[Endpoint]:
    """Yield the two endpoints of one kind of operation: do it, and look it up by its number."""

    async def operate(desk: Desk, caller: Caller, command: Command) -> Answer:
        return await desk.execute(caller, command)  # type: ignore[arg-type]

    async def get_operation(desk: Desk, caller: Caller, key: AuthorizationKey) -> Answer:
        operation_no: str = getattr(key, number)
        operation = record_of(desk.node, f"merchant/{key.merchant_no}", kind, operation_no)
        if operation is None or operation.original != key.hold_no:
            return found(None, RequestCode.NO_SUCH_OPERATION)
        view = view_operation(key.merchant_no, operation_no, operation)
        return found(view, RequestCode.NO_SUCH_OPERATION)

    yield act(f"{_AUTHORIZATION}/{name}", command_type, operate, "merchant", OperationView)
    yield read(
        f"{_AUTHORIZATION}/{name}/{{{number}}}",
        key_type,
        get_operation,
        "merchant",
        OperationView,
        RequestCode.NO_SUCH_OPERATION,
        called=f"get_{name[:-1]}",
        about=f"Return an authorization's {name[:-1]} by its number.",
    )


ENDPOINTS: Final = (
    act(
        _AUTHORIZATIONS,
        CreateAuthorization,
        create_authorization,
        "merchant",
        AuthorizationView,
    ),
    read(
        _AUTHORIZATIONS,
        AuthorizationList,
        list_authorizations,
        "merchant",
        Page[AuthorizationView],
    ),
    read(
        _AUTHORIZATION,
        AuthorizationKey,
        get_authorization,
        "merchant",
        AuthorizationView,
        Refusal.NO_SUCH_HOLD,
    ),
    *_operation("increments", "increment_no", IncrementAuthorization, IncrementKey, INCREMENTS),
    *_operation("captures", "capture_no", CaptureAuthorization, CaptureKey, CAPTURES),
    *_operation("voids", "void_no", VoidAuthorization, VoidKey, VOIDS),
    *_operation("releases", "release_no", ReleaseAuthorization, ReleaseKey, RELEASES),
)
