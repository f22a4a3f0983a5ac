"""Arrays of commands: up to 1,000 at once, not atomic, answered in array order."""

import inspect
from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from actors import commands
from actors.refusal import Refusal
from gateway.answer import Answer, Item
from gateway.body import BodyDecoder
from gateway.desk import Caller, Desk
from gateway.endpoint import Endpoint
from gateway.errors import Problem, RequestCode, problem
from gateway.series import Entry, Series
from gateway.strict_json import check_length, read_array

COMMANDS_MAX: Final = 1_000
BODY_BYTES: Final = 1 << 20

# One decode of the whole array where all of it is valid, which is the rule; else the items' raw
# bytes, each decoded by itself, so that one bad item spoils no other.
_all: Final = BodyDecoder[list[Entry]](list[Entry])
_one: Final = BodyDecoder[Entry](Entry)
CommandList = Annotated[list[Entry], Meta(max_length=COMMANDS_MAX)]
"""The body as callers see it."""


class CommandArray(Struct, frozen=True):
    """Tagged commands in array order; a `Problem` stands for an item that is no command."""

    entries: Sequence[Entry | Problem]


def _decode(numbers: dict[str, str], body: bytes) -> CommandArray:
    """Return the array; what is no JSON, no array, too deep or too long is refused whole."""
    entries: Sequence[Entry | Problem] | None = _all.attempt(body)
    if entries is None:
        entries = [_entry(*item) for item in read_array(body, COMMANDS_MAX)]
    check_length(len(entries), COMMANDS_MAX)
    return CommandArray(entries)


def _entry(raw: bytes, parsed: Any) -> Entry | Problem:
    """Return the command that an item is, or what is wrong with it; items are on level 2."""
    entry = _one.attempt(raw)
    return _one.problem(raw, parsed, 2) if entry is None else entry


OWN: Final = frozenset(
    {
        commands.CreatePayment,
        commands.ReversePayment,
        commands.CreateAuthorization,
        commands.IncrementAuthorization,
        commands.CaptureAuthorization,
        commands.VoidAuthorization,
        commands.ReleaseAuthorization,
        commands.RefundPayment,
        commands.RefundAuthorization,
        commands.CloseRefund,
    }
)
"""What a merchant may have done in an array, in its own name; all else is the bank's."""


def own(entry: Entry | Problem, merchant_no: str) -> Entry | Problem:
    """Return an item of a merchant's, or why it may not send it."""
    if isinstance(entry, Problem):
        return entry
    if type(entry) not in OWN:
        return problem(RequestCode.NOT_FOR_MERCHANTS)
    if entry.merchant_no != merchant_no:  # type: ignore[union-attr]
        return problem(Refusal.MERCHANT_NOT_FOUND)
    return entry


async def run_commands(desk: Desk, caller: Caller, array: CommandArray) -> Answer:
    """Start the commands in array order and answer each with its own status and body.

    A merchant may send payments, authorizations, refunds and what is done to them, its own; the
    bank may send everything.
    """
    if not array.entries:
        return Answer(200, [])
    entries, party = array.entries, ""
    if caller.merchant_no:
        entries = [own(entry, caller.merchant_no) for entry in entries]
        party = f"merchant/{caller.merchant_no}"
    movable = desk.clock_kind == "domain"
    deadline = desk.deadline(caller)
    series = Series(desk.node, entries, deadline, movable=movable, mark=caller.mark, party=party)
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
