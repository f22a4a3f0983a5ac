"""Rows of what the ops listener says of itself: its description, and its codes."""

from collections.abc import Sequence
from importlib import metadata
from typing import Final

from msgspec import Struct

from gateway.answer import JSON, Answer, encode
from gateway.handlers.node import ErrorView, Nothing
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.errors import OPS_CODES
from gateway.ops.openapi import document
from gateway.ops.row import Row, read


class CodeList(Struct, frozen=True):
    """The codes that only this listener has; the others are those of the API."""

    items: list[ErrorView]


_CODES: Final = Answer(
    200,
    CodeList(
        [
            ErrorView(str(code), meaning.status, meaning.title, meaning.advice)
            for code, meaning in OPS_CODES.items()
        ]
    ),
)


async def list_codes(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return the listener's own codes: what each means and what to do."""
    return _CODES


CODES: Final = read("/ops/errors", Nothing, list_codes, None, CodeList)


def described(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows, and one that describes them and itself."""
    text: list[bytes] = []

    async def get_description(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
        """Return the description of this listener: OpenAPI 3.1."""
        return Answer(200, text[0], own={"content-type": JSON})

    all_rows = (*rows, read("/ops/openapi.json", Nothing, get_description, None, None))
    text.append(encode(document(all_rows, metadata.version("piaohao"))))
    return all_rows
