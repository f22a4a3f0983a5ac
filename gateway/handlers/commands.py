"""Arrays of commands: up to 1,000 at once, not atomic, answered in array order."""

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from gateway.answer import Answer, Item
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint, decode_json
from gateway.errors import Problem, RequestCode, RequestError, problem
from gateway.series import Entry, Series

COMMANDS_MAX: Final = 1_000
BODY_BYTES: Final = 1 << 20

# One decode of the whole array where all of it is valid, which is the rule; else the items' raw
# bytes, each decoded by itself, so that one bad item spoils no other.
_all: Final = msgspec.json.Decoder(list[Entry])
_raw: Final = msgspec.json.Decoder(list[msgspec.Raw])
CommandList = Annotated[list[Entry], Meta(max_length=COMMANDS_MAX)]
"""The body as callers see it."""

_one: Final[msgspec.json.Decoder[Entry]] = msgspec.json.Decoder(Entry)


class CommandArray(Struct, frozen=True):
    """Tagged commands in array order; a `Problem` stands for an item that is no command."""

    entries: Sequence[Entry | Problem]


def _decode(numbers: dict[str, str], body: bytes) -> CommandArray:
    """Return the array; only what is no array, or too long, is refused whole."""
    entries: list[Any]
    try:
        entries = _all.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        entries = decode_json(_raw, body)
        if len(entries) <= COMMANDS_MAX:
            entries = [_entry(raw) for raw in entries]
    if len(entries) > COMMANDS_MAX:
        raise RequestError(
            RequestCode.ARRAY_TOO_LONG, f"{len(entries)} commands, at most {COMMANDS_MAX}"
        )
    return CommandArray(entries)


def _entry(raw: msgspec.Raw) -> Entry | Problem:
    try:
        return _one.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return problem(RequestCode.INVALID_REQUEST, str(error))


async def run_commands(desk: Desk, caller: Caller, array: CommandArray) -> Answer:
    """Start the commands in array order and answer each with its own status and body."""
    if not array.entries:
        return Answer(200, [])
    movable = desk.clock_kind == "domain"
    deadline = desk.deadline(caller)
    series = Series(desk.node, array.entries, deadline, movable=movable, mark=caller.mark)
    return Answer(200, await series.run())


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/commands",
        CommandArray,
        run_commands,
        _decode,
        "merchant",
        list[Item],
        "run_commands",
        inspect.getdoc(run_commands) or "",
        body=CommandList,
        codes=(RequestCode.ARRAY_TOO_LONG,),
        body_bytes_max=BODY_BYTES,
        takes_slots=True,
    ),
)
