"""Rows: one method on one path of the ops listener each, as `gateway.endpoint` has for the API.

They are rows of their own because what they work with is another desk, and who may call them are
operators, by what their role allows, not merchants.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

from msgspec import Struct

from gateway.answer import JSON, Answer
from gateway.body import BodyDecoder
from gateway.endpoint import Decode, numbers_in, posted, query_decoder
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OpsCode
from gateway.ops.operators import Right

Handle = Callable[[OpsDesk, Visitor, Any], Awaitable[Answer]]

BODY_BYTES: Final = 16 << 10


class Row(Struct, frozen=True):
    """One method on one path.

    Attributes:
        method: GET or POST.
        path: template, for example `/ops/actors/{kind}/{number}`.
        request: type of the typed request.
        handle: `(desk, visitor, request) → answer`.
        decode: makes the request of what the path and the query, or the body, say.
        right: what a role has to allow; None where nobody has to say who they are.
        answers: type of the body; None where it is text.
        name: what it does, verb first; no two rows have the same. The audit log has it.
        about: what it does, in sentences; the first can stand alone.
        codes: of its own refusals.
        media_type: of the body.
        status: where it goes well.
        also: other statuses that come with the same body.
        body: type of the JSON body; None for a GET.
        body_bytes_max: larger bodies are refused.
    """

    method: str
    path: str
    request: type[Struct]
    handle: Handle
    decode: Decode
    right: Right | None
    answers: Any
    name: str
    about: str
    codes: tuple[OpsCode, ...] = ()
    media_type: str = JSON
    status: int = 200
    also: tuple[int, ...] = ()
    body: type[Struct] | None = None
    body_bytes_max: int = BODY_BYTES


def read(
    path: str,
    request: type[Struct],
    handle: Handle,
    right: Right | None,
    answers: Any,
    *codes: OpsCode,
    media_type: str = JSON,
    also: tuple[int, ...] = (),
) -> Row:
    """Return a GET row: its request comes from path and query."""
    return Row(
        "GET",
        path,
        request,
        handle,
        query_decoder(request),
        right,
        answers,
        handle.__name__,
        inspect.getdoc(handle) or "",
        codes,
        media_type,
        also=also,
    )


def act(
    path: str,
    request: type[Struct],
    handle: Handle,
    right: Right | None,
    answers: Any,
    *codes: OpsCode,
    status: int = 200,
    also: tuple[int, ...] = (),
) -> Row:
    """Return a POST row: its request is its body, none standing for one without members, and what
    stands in the path.

    Where the path has names no other such row may have the same request: the body's type is named
    after it.
    """
    body, decode = posted(path, request) if numbers_in(path) else (request, _decoder(request))
    return Row(
        "POST",
        path,
        request,
        handle,
        decode,
        right,
        answers,
        handle.__name__,
        inspect.getdoc(handle) or "",
        codes,
        status=status,
        also=also,
        body=body,
    )


def _decoder(request: type[Struct]) -> Decode:
    decoder = BodyDecoder[Any](request)

    def decode(_: dict[str, str], body: bytes) -> Any:
        return decoder.decode(body or b"{}")

    return decode
