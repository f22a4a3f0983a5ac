"""Requests: errands as the gateway takes them, one by one, in an array, or in a stream's frame.

One by one each has its own path (docs/API.md); together they go to POST /v1/commands, which takes
commands alone and no looks.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct
from msgspec.structs import asdict

from actors import commands
from bench.workloads.errand import Errand, PaymentLookup

Form = Literal["single", "array", "frame"]
"""A request of one errand, an array of commands, or such an array with ids for a stream."""

_ARRAY: Final = "/v1/commands"
_PATHS: Final[Mapping[type[Any], str]] = {
    commands.CreatePayment: "/v1/payments",
    commands.ReversePayment: "/v1/payments/{merchant_no}/{order_no}/reversals",
    commands.CreateAuthorization: "/v1/authorizations",
    commands.CaptureAuthorization: "/v1/authorizations/{merchant_no}/{hold_no}/captures",
    commands.VoidAuthorization: "/v1/authorizations/{merchant_no}/{hold_no}/voids",
    commands.RefundPayment: "/v1/refunds",
    PaymentLookup: "/v1/payments/{merchant_no}/{order_no}",
}
_encode: Final = msgspec.json.Encoder().encode


class Request(Struct, frozen=True):
    """What is sent."""

    method: str
    path: str
    body: bytes


def request(errands: Sequence[Errand], form: Form) -> Request:
    """Return the request that has these errands done: one of them where it is `single`."""
    if form == "array":
        return Request("POST", _ARRAY, _encode([errand.ask for errand in errands]))
    (errand,) = errands
    ask = errand.ask
    path = _PATHS[type(ask)]
    fields = asdict(ask)
    path = path.format_map(fields)
    if isinstance(ask, PaymentLookup):
        return Request("GET", path, b"")
    inside = _NAMED[type(ask)]
    body = {
        name: value for name, value in fields.items() if name not in inside and value is not UNSET
    }
    return Request("POST", path, _encode(body))


def frame(errands: Sequence[Errand], number: int) -> bytes:
    """Return a stream's frame of these errands; the id of each is `number-n`."""
    framed = [{"id": f"{number}-{n}", "do": errand.ask} for n, errand in enumerate(errands)]
    return _encode(framed)


_NAMED: Final = {
    type_: frozenset(name for name in type_.__struct_fields__ if f"{{{name}}}" in path)
    for type_, path in _PATHS.items()
}
"""Which fields stand in the path, and therefore not in the body."""
