"""Calls: what one method of the client asks of the bank, as a value.

A call says where its request goes, what goes along and how the answer is read; it knows nothing
of signatures, sockets or retries. `ROUTES` has one row for each command: where it is posted, where
it is looked up afterwards, and what it makes.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Struct, UnsetType

from actors import answers, commands
from actors.answers import View
from actors.commands import Command
from engine.address import NUMBER_PATTERN

T = TypeVar("T")

encode: Final = msgspec.json.Encoder().encode
ARRAYS: Final = "/v1/commands"
"""Where an array goes."""
_HOT: Final = ("/v1/payments", "/v1/authorizations", "/v1/refunds")
_number_matches: Final = re.compile(NUMBER_PATTERN).fullmatch


class Call(Struct, Generic[T], frozen=True):
    """One request, and how its answer is read.

    Attributes:
        target: path and query.
        read: makes the result from the body of a successful answer.
        command: one that may stand in an array; None for what is no command of the domain's.
        lookup: where the command's outcome can be looked up, empty where it cannot.
    """

    method: str
    target: str
    read: Callable[[bytes], T]
    body: bytes = b""
    command: Command | None = None
    lookup: str = ""

    @property
    def acts(self) -> bool:
        """Whether something may have happened once it was sent."""
        return self.method != "GET"


def is_hot(method: str, target: str) -> bool:
    """Return whether the bank's express listener serves a request, where it has one.

    That is payments, authorizations and refunds, what is done to them, each of them by its number,
    and arrays; no lists. A test holds it to the gateway's own table.
    """
    path, _, _ = target.partition("?")
    if method == "POST":
        return path == ARRAYS or path.startswith(_HOT)
    return path.startswith(_HOT) and path not in _HOT


class Page(Struct, Generic[T], frozen=True):
    """Some of a list; `next_cursor` asks for what follows, None at the end."""

    items: list[T]
    next_cursor: str | None


Listing = Callable[[str | None], Call[Page[T]]]
"""A list: makes the call for the page at a cursor, None for the first."""


class Route(Struct, frozen=True):
    """Where a command goes.

    Attributes:
        path: template of the path it is posted to.
        own: what follows it where its outcome is looked up; empty where that is not possible.
        view: what it makes.
    """

    path: str
    own: str
    view: type[View]


_ACCOUNT: Final = "/v1/accounts/{account_no}"
_AGREEMENT: Final = f"{_ACCOUNT}/agreements/{{agreement_no}}"
_MERCHANT: Final = "/v1/merchants/{merchant_no}"
_PAYMENT: Final = "/v1/payments/{merchant_no}/{order_no}"
_HOLD: Final = "/v1/authorizations/{merchant_no}/{hold_no}"
_REFUND: Final = "/v1/refunds/{merchant_no}/{refund_no}"

_OPERATION: Final = answers.OperationView
_TRANSFER: Final = answers.TransferView

ROUTES: Final[Mapping[type[Command], Route]] = {
    commands.OpenAccount: Route("/v1/accounts", "{account_no}", answers.AccountView),
    commands.FreezeAccount: Route(f"{_ACCOUNT}/freeze", "", answers.AccountView),
    commands.UnfreezeAccount: Route(f"{_ACCOUNT}/unfreeze", "", answers.AccountView),
    commands.CloseAccount: Route(f"{_ACCOUNT}/close", "", answers.AccountView),
    commands.FundAccount: Route(f"{_ACCOUNT}/fundings", "{funding_no}", _TRANSFER),
    commands.WithdrawFunds: Route(f"{_ACCOUNT}/withdrawals", "{withdrawal_no}", _TRANSFER),
    commands.CreateTransfer: Route("/v1/transfers", "{account_no}/{transfer_no}", _TRANSFER),
    commands.SignAgreement: Route(
        f"{_ACCOUNT}/agreements", "{agreement_no}", answers.AgreementView
    ),
    commands.ChangeAgreement: Route(
        f"{_AGREEMENT}/changes", "{change_no}", answers.AgreementChangeView
    ),
    commands.CancelAgreement: Route(
        f"{_AGREEMENT}/cancellations", "{cancel_no}", answers.AgreementChangeView
    ),
    commands.SetAccountLimits: Route(f"{_ACCOUNT}/limits", "{limits_no}", answers.LimitsChangeView),
    commands.FreezeAmount: Route(f"{_ACCOUNT}/freezes", "{freeze_no}", answers.FreezeView),
    commands.UnfreezeAmount: Route(
        f"{_ACCOUNT}/freezes/{{freeze_no}}/unfreezes", "{unfreeze_no}", answers.UnfreezeView
    ),
    commands.OpenMerchant: Route("/v1/merchants", "{merchant_no}", answers.MerchantView),
    commands.ApplyMerchant: Route(f"{_MERCHANT}/apply", "", answers.MerchantView),
    commands.AmendMerchant: Route(f"{_MERCHANT}/amend", "", answers.MerchantView),
    commands.SubmitMerchant: Route(f"{_MERCHANT}/submit", "", answers.MerchantView),
    commands.ApproveMerchant: Route(f"{_MERCHANT}/approve", "", answers.MerchantView),
    commands.RejectMerchant: Route(f"{_MERCHANT}/reject", "", answers.MerchantView),
    commands.SignMerchant: Route(f"{_MERCHANT}/sign", "", answers.MerchantView),
    commands.SuspendMerchant: Route(f"{_MERCHANT}/suspend", "", answers.MerchantView),
    commands.ActivateMerchant: Route(f"{_MERCHANT}/activate", "", answers.MerchantView),
    commands.CloseMerchant: Route(f"{_MERCHANT}/close", "", answers.MerchantView),
    commands.RevokeCertificate: Route(
        f"{_MERCHANT}/certificates/{{serial}}/revoke", "", answers.CertificateView
    ),
    commands.CreatePayment: Route("/v1/payments", "{merchant_no}/{order_no}", answers.PaymentView),
    commands.ReversePayment: Route(f"{_PAYMENT}/reversals", "{reversal_no}", _OPERATION),
    commands.CreateAuthorization: Route(
        "/v1/authorizations", "{merchant_no}/{hold_no}", answers.AuthorizationView
    ),
    commands.IncrementAuthorization: Route(f"{_HOLD}/increments", "{increment_no}", _OPERATION),
    commands.CaptureAuthorization: Route(f"{_HOLD}/captures", "{capture_no}", _OPERATION),
    commands.VoidAuthorization: Route(f"{_HOLD}/voids", "{void_no}", _OPERATION),
    commands.ReleaseAuthorization: Route(f"{_HOLD}/releases", "{release_no}", _OPERATION),
    commands.RefundPayment: Route("/v1/refunds", "{merchant_no}/{refund_no}", answers.RefundView),
    commands.RefundAuthorization: Route(
        "/v1/refunds", "{merchant_no}/{refund_no}", answers.RefundView
    ),
    commands.RedirectRefund: Route(f"{_REFUND}/redirects", "{redirect_no}", answers.RemedyView),
    commands.CloseRefund: Route(f"{_REFUND}/closings", "{close_no}", answers.RemedyView),
}
"""Type of a command → its route; a test holds it to the gateway's own table."""


def order(command: Command, view: type[T]) -> Call[T]:
    """Return the call that has a command carried out.

    Args:
        view: what its route says that it makes; it is named for the type checker's sake.

    Raises:
        ValueError: a number that goes into the path is none.
    """
    route = ROUTES[type(command)]
    assert view is route.view, f"{type(command).__name__} makes a {route.view.__name__}"
    fields = msgspec.structs.asdict(command)
    target = at(route.path, **fields)
    lookup = at(f"{route.path}/{route.own}", **fields) if route.own else ""
    in_path = _names(route.path)
    body = {name: each for name, each in fields.items() if name not in in_path}
    return Call("POST", target, reader(view), encode(_given(body)), command, lookup)


def post(view: type[T], path: str, body: Mapping[str, Any], **numbers: str) -> Call[T]:
    """Return a call that acts and is no command of the domain's.

    Raises:
        ValueError: a number is none.
    """
    return Call("POST", at(path, **numbers), reader(view), encode(body))


def look(
    view: type[T], path: str, query: Mapping[str, Any] | None = None, **numbers: str
) -> Call[T]:
    """Return the call that looks something up.

    Args:
        path: template, for example `/v1/payments/{merchant_no}/{order_no}`.
        query: parameters; those that are None are left out.

    Raises:
        ValueError: a number is none.
    """
    target = at(path, **numbers)
    given = {name: each for name, each in (query or {}).items() if each is not None}
    return Call("GET", f"{target}?{urlencode(given)}" if given else target, reader(view))


def listing(view: type[T], path: str, query: Mapping[str, Any], **numbers: str) -> Listing[T]:
    """Return the list at a path, in pages as large as they may be."""

    def page(cursor: str | None) -> Call[Page[T]]:
        asked = {**query, "limit": _PAGE_MAX, "cursor": cursor}
        return look(Page[view], path, asked, **numbers)  # type: ignore[valid-type]

    return page


def at(path: str, **numbers: Any) -> str:
    """Return a path with its numbers filled in; they need no escaping.

    Raises:
        ValueError: a number is none.
    """
    for name in _names(path):
        number = numbers[name]
        if not isinstance(number, str) or _number_matches(number) is None:
            raise ValueError(
                f"{name}={number!r}: a number has 1 to 64 characters of A-Z a-z 0-9 . _ : @ + -"
                " and begins with a letter or a figure"
            )
    return path.format_map(numbers)


def reader(view: type[T]) -> Callable[[bytes], T]:
    """Return what reads a body as this type; members that it does not know are passed over."""
    # One decoder a type, and there are some forty types.
    if view not in _readers:
        _readers[view] = msgspec.json.Decoder(view).decode
    read: Callable[[bytes], T] = _readers[view]
    return read


_readers: Final[dict[Any, Callable[[bytes], Any]]] = {}


def note(
    description: str | None, metadata: Mapping[str, str] | None
) -> tuple[str | UnsetType, dict[str, str] | UnsetType]:
    """Return a note's two fields as commands have them: what is not given is left out."""
    return (
        UNSET if description is None else description,
        UNSET if metadata is None else dict(metadata),
    )


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in fields.items() if each is not UNSET}


@lru_cache(maxsize=256)
def _names(path: str) -> tuple[str, ...]:
    return tuple(re.findall(r"{([a-z_]+)}", path))


_PAGE_MAX: Final = 100
"""What the gateway gives at most."""
