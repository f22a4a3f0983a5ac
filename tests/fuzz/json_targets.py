"""Targets of JSON: strict reading, the bodies of every endpoint, arrays of commands.

Each is held to two readers that know nothing of ours: `json` with duplicates and numbers looked at
one by one, and msgspec for the schema. What the cheap counts of `gateway.body` vouch for has to be
what the exact scan finds no fault with, and the other way about.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gateway.endpoint import Endpoint
from gateway.errors import Problem, RequestCode, RequestError
from gateway.handlers.commands import CommandArray
from gateway.series import Entry
from gateway.strict_json import DEPTH_MAX, blemish, read, read_array
from gateway.table import ENDPOINTS
from tests.fuzz.target import Target
from tests.gateway.hostile import ITEMS, WHOLE

_POSTS: Final = [each for each in ENDPOINTS if each.method == "POST"]
_COMMANDS: Final = next(each for each in _POSTS if each.path == "/v1/commands")
_OTHERS: Final = [each for each in _POSTS if each is not _COMMANDS]
_entries: Final = msgspec.json.Decoder(list[Entry])
_unfit: Final = re.compile(
    "[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)


class _WrongError(Exception):
    """The plain reader finds fault."""


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _WrongError
    return found


def _refused(_: str) -> Any:
    raise _WrongError


def _plainly(data: bytes) -> Any:
    """Return what a reader finds that was written apart from ours.

    Raises:
        _WrongError: what the profile does not allow; it looks at no text.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        raise _WrongError
    try:
        found = json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_float=_refused,
            parse_constant=_refused,
        )
    except (ValueError, RecursionError) as error:
        raise _WrongError from error
    _look(found, 1)
    return found


def _look(value: Any, depth: int) -> None:
    if isinstance(value, dict | list):
        if depth > DEPTH_MAX:
            raise _WrongError
        for each in value if isinstance(value, list) else [*value, *value.values()]:
            _look(each, depth + 1)
    elif isinstance(value, str):
        if _unfit.search(value):
            raise _WrongError
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise _WrongError


def _json(data: bytes) -> None:
    try:
        found = blemish(read(data))
        code = None if found is None else found.code
        assert found is None or (found.detail.isascii() and len(found.detail) <= 300)
    except RequestError as error:
        code = RequestCode(error.problem.code)
    try:
        _plainly(data)
    except _WrongError:
        assert code is not None, "a plain reader finds fault with it, ours finds none"
    else:
        # Of what is left to find fault with, these are what the plain reader does not know.
        assert code in {None, RequestCode.TEXT_NOT_NFC, RequestCode.NONCHARACTER}, code
    try:
        items = read_array(data, 1_000)
    except RequestError:
        return
    parsed = read(data)
    assert [item for _, item in items] == list(parsed)
    assert [read(raw) for raw, _ in items] == list(parsed)


_HOSTILE: Final = tuple(
    body for kinds in (WHOLE, ITEMS) for bodies in kinds.values() for body in bodies[:12]
)
TOKENS: Final = (
    *(b'"', b'":', b",", b"{", b"}", b"[", b"]", b" ", b"\t", b"\n", b"\\", b"\\u0000", b"\\n"),
    *(b"\\ud83d", b"\\udc5b", b"\\u003a", b'\\"', b"\\u0065\\u0301", b"\xc3\xa9", b"e\xcc\x81"),
    *(b"true", b"null", b"-0", b"1e400", b"1.0", b"NaN", b"9223372036854775808", b"-1", b"01"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x7f", b"\xc2\x85", b"\xef\xbf\xbf"),
    *(b'"metadata":{"k":"v"},', b'"description":":",', b'"command":', b'"merchant_no":"M1",'),
)

JSON: Final = Target(
    "json",
    _json,
    (
        b'{"a":1,"b":[{"c":"\xe8\x8c\xb6"},-0,true,null],"d":{}}',
        b'[ {"a" : "\\u8336"} ,\n[1,2] ]',
        *(each for each in _HOSTILE if len(each) < 200),
    ),
    TOKENS,
)

_PAYMENT: Final = (
    b'{"merchant_no":"M1","order_no":"O1","payer":"A1","amount_minor":1,"currency":"USD"}'
)
ENTRY: Final = b'{"command":"create_payment",' + _PAYMENT[1:]


def _decoded(endpoint: Endpoint, body: bytes) -> Any:
    """Return the typed request, None where it is refused."""
    numbers = dict.fromkeys(re.findall(r"\{(\w+)\}", endpoint.path), "X1")
    try:
        return endpoint.decode(numbers, body)
    except RequestError as error:
        problem = error.problem
    assert problem.status in {400, 413, 422}
    assert problem.detail.isascii()
    assert len(problem.detail) <= 300
    return None


def _body(data: bytes) -> None:
    """The first byte says of which endpoint it is the body."""
    if not data:
        return
    endpoint, data = _OTHERS[data[0] % len(_OTHERS)], data[1:]
    if _decoded(endpoint, data) is not None and data:
        sent = _plainly(data)
        # Nothing that was sent is passed over: it is one of the schema's members.
        assert sent.keys() <= {each.encode_name for each in msgspec.structs.fields(endpoint.body)}


BODY: Final = Target(
    "body",
    _body,
    (
        *(bytes([number]) + _PAYMENT for number in range(len(_OTHERS))),
        b"\0" + _PAYMENT[:-1] + b',"description":"\xe8\x8c\xb6","metadata":{"k":"v","l":":"}}',
        b"\0{}",
    ),
    TOKENS,
)


def _commands(data: bytes) -> None:
    array = _decoded(_COMMANDS, data)
    if array is None:
        return
    assert isinstance(array, CommandArray)
    good = [each for each in array.entries if not isinstance(each, Problem)]
    if len(good) == len(array.entries):
        # All of it was taken: so no other reader finds fault with it, and it is what was sent.
        _plainly(data)
        assert good == _entries.decode(data)
    else:
        assert len(array.entries) == len(json.loads(data))


COMMANDS: Final = Target(
    "commands",
    _commands,
    (
        b"[" + ENTRY + b"]",
        b"[" + ENTRY + b" ,\n" + ENTRY.replace(b"O1", b"O:2") + b"]",
        b'[{"command":"advance_clock","to":"2026-01-05T08:00:00Z"},' + ENTRY + b"]",
        b'[{"command":"capture_authorization","merchant_no":"M:1","hold_no":"H1","capture_no":":",'
        b'"amount_minor":5,"final":false,"metadata":{"a":"\\u003a"}}]',
        b"[" + ENTRY[:-1] + b',"order_no":"O2"},' + ENTRY + b"]",
    ),
    TOKENS,
)
