"""Messages: what a client may say on a stream, and what it is told.

A client sends one errand, an array of errands, or where its events are to begin. An errand is a
command as POST /v1/commands takes it, under an id of the client's own that comes back with the
answer. All of a message is decoded before anything of it starts; an errand with a fault in it is
answered by itself as long as its id can be read.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from actors.answers import EventView
from gateway.answer import encode
from gateway.body import BodyDecoder
from gateway.errors import Problem, RequestCode, RequestError
from gateway.series import Entry
from gateway.stream.bounds import COMMANDS_MAX, MESSAGE_BYTES
from gateway.strict_json import blemish, check_length, member, read, read_array

_ID_MAX: Final = 64

Id = Annotated[
    str, Meta(min_length=1, max_length=_ID_MAX, extra_json_schema={"pattern": "^[ -~]+$"})
]


class Errand(Struct, frozen=True, forbid_unknown_fields=True):
    """A command on a stream.

    Attributes:
        id: the client's own name for it: printable ASCII.
        do: the command.
    """

    id: Id
    do: Entry


class Resume(Struct, frozen=True, forbid_unknown_fields=True):
    """Events are wanted from now on: all after this sequence; 0 for all there are."""

    resume: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Errands(Struct, frozen=True):
    """The errands of one message: an id each, and a command or what is wrong with it."""

    ids: Sequence[str]
    entries: Sequence[Entry | Problem]


class Reply(Struct, frozen=True, omit_defaults=True):
    """What one errand is answered."""

    id: str
    status: int
    body: Any
    replayed: bool = False


class Events(Struct, frozen=True):
    """Events in their sequence, without a gap; `newest` is the merchant's last one."""

    events: Sequence[EventView]
    newest: int


_errands: Final = BodyDecoder[list[Errand]](list[Errand])
_errand: Final = BodyDecoder[Errand](Errand)
_resume: Final = BodyDecoder[Resume](Resume)
_BLANKS: Final = b" \t\n\r"
_ANSWERS: Final = b'{"answers":[%b]}'


def read_message(body: bytes) -> Errands | Resume:
    """Return what a message says.

    Raises:
        RequestError: it is none; nothing of it is to be done.
    """
    if body[:1] == b"[" or body.lstrip(_BLANKS)[:1] == b"[":
        return _array(body)
    errand = _errand.attempt(body)
    if errand is not None and _are_ids((errand.id,)):
        return Errands((errand.id,), (errand.do,))
    resume = _resume.attempt(body)
    if resume is not None:
        return resume
    parsed = read(body)
    if member(parsed, "resume") is not None:
        found = _resume.problem(body, parsed)
        raise RequestError(RequestCode(found.code), found.detail)
    id_, fault = _faulty(body, parsed, 1)
    return Errands((id_,), (fault,))


def _array(body: bytes) -> Errands:
    errands = _errands.attempt(body)
    if errands is not None:
        ids = [errand.id for errand in errands]
        if _are_ids(ids):
            _check_count(len(ids))
            return Errands(ids, [errand.do for errand in errands])
    items = read_array(body, COMMANDS_MAX)
    _check_count(len(items))
    ids = []
    entries: list[Entry | Problem] = []
    for raw, parsed in items:
        errand = _errand.attempt(raw)
        if errand is not None and _are_ids((errand.id,)):
            ids.append(errand.id)
            entries.append(errand.do)
        else:
            id_, fault = _faulty(raw, parsed, 2)
            ids.append(id_)
            entries.append(fault)
    return Errands(ids, entries)


def _check_count(count: int) -> None:
    check_length(count, COMMANDS_MAX)
    if not count:
        raise RequestError(RequestCode.INVALID_REQUEST, "the array is empty")


def _faulty(raw: bytes, parsed: Any, depth: int) -> tuple[str, Problem]:
    """Return the id of an errand that has a fault, and the fault.

    Raises:
        RequestError: it has no id that could be answered under.
    """
    id_ = member(parsed, "id")
    if type(id_) is not str or not 1 <= len(id_) <= _ID_MAX or not _are_ids((id_,)):
        found = blemish(parsed, depth)
        if found is not None:
            raise RequestError(found.code, found.detail)
        raise RequestError(
            RequestCode.INVALID_REQUEST, f"an errand has an id, 1 to {_ID_MAX} printable of ASCII"
        )
    return id_, _errand.problem(raw, parsed, depth)


def _are_ids(ids: Sequence[str]) -> bool:
    """Return whether ids are printable ASCII: one look at all costs less than a pattern each."""
    joined = "".join(ids)
    return joined.isascii() and joined.isprintable()


def answers_message(answers: Sequence[bytes]) -> tuple[bytes, int]:
    """Return a message with as many of these answers as fit, and how many those are.

    Args:
        answers: encoded each, in the order in which they became durable.
    """
    size, count = len(_ANSWERS % b""), 0
    for answer in answers:
        size += len(answer) + 1
        if count and size > MESSAGE_BYTES:
            break
        count += 1
    return _ANSWERS % b",".join(answers[:count]), count


def encoded_events(events: Sequence[EventView], newest: int) -> tuple[bytes, int]:
    """Return a message with as many of these events as fit, and how many those are."""
    text = encode(Events(events, newest))
    if len(text) <= MESSAGE_BYTES or len(events) == 1:
        return text, len(events)
    return encoded_events(events[: len(events) // 2], newest)
