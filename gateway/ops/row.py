"""Rows: one method on one path of the ops listener each, as `gateway.endpoint` has for the API.

They are rows of their own because what they work with is another desk, and who may call them are
operators, not merchants.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from gateway.answer import JSON, Answer
from gateway.endpoint import BODY_BYTES, Decode, query_decoder
from gateway.ops.desk import OpsDesk

Handle = Callable[[OpsDesk, Any], Awaitable[Answer]]


class Row(Struct, frozen=True):
    """One method on one path.

    Attributes:
        method: GET or POST.
        path: template, for example `/ops/actors/{kind}/{number}`.
        request: type of the typed request.
        handle: `(desk, request) → answer`.
        decode: makes the request of what the path and the query, or the body, say.
        answers: type of the body; None where it is text.
        name: what it does, verb first; no two rows have the same.
        about: what it does, in sentences; the first can stand alone.
        media_type: of the body.
        body_bytes_max: larger bodies are refused.
    """

    method: str
    path: str
    request: type[Struct]
    handle: Handle
    decode: Decode
    answers: Any
    name: str
    about: str
    media_type: str = JSON
    body_bytes_max: int = BODY_BYTES


def read(
    path: str, request: type[Struct], handle: Handle, answers: Any, media_type: str = JSON
) -> Row:
    """Return a GET row: its request comes from path and query."""
    return Row(
        "GET",
        path,
        request,
        handle,
        query_decoder(request),
        answers,
        handle.__name__,
        inspect.getdoc(handle) or "",
        media_type,
    )
