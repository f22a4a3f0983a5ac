"""Strict JSON: the profile that every body keeps to, whatever its schema.

It is I-JSON (RFC 7493), narrowed: UTF-8 without a byte order mark, at most 16 levels, no member
twice in an object, no number but integers of 64 bits, text in NFC and without the code points that
RFC 9839 calls problematic, line separators, and what reorders the text around it. Nothing is
mended. What makes a body no JSON, or too deep, refuses all of it (`read`); what spoils one value
is found where it stands (`blemish`), so that an array can refuse one item alone.

This is the exact way, by the standard library's scanner: 10 µs for a payment. `gateway.body` goes
it only for what its cheap tests cannot vouch for.
"""

import json
import re
from typing import Any, Final
from unicodedata import is_normalized

from msgspec import Struct

from gateway.errors import RequestCode, RequestError

DEPTH_MAX: Final = 16
"""Arrays and objects within one another, the outermost included."""
DETAIL_CHARACTERS: Final = 300
"""Details repeat what callers sent: cut here, so that a long name is not sent back whole."""

_BOM: Final = b"\xef\xbb\xbf"
_INTEGER_DIGITS: Final = 20
_INTEGER_MIN, _INTEGER_MAX = -(1 << 63), (1 << 63) - 1

# Noncharacters: U+FDD0 to U+FDEF, and the last two of each of the 17 planes.
_NONCHARACTERS: Final = "\ufdd0-\ufdef" + "".join(
    chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF)
)
# C0, delete and C1 are all of Unicode's Cc. With them go the line and paragraph separators, which
# some readers take for line ends, and the embeddings, overrides and isolates, by which a text
# reorders what is shown beside it (UAX 9; CVE-2021-42574). The plain marks U+200E, U+200F and
# U+061C reorder nothing but themselves, and Arabic and Hebrew texts need them.
_CONTROLS: Final = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_unfit: Final = re.compile(f"[{_CONTROLS}\ud800-\udfff{_NONCHARACTERS}]").search
_ASCII: Final = bytes(range(128))
_LINE_ENDS: Final = str.maketrans(dict.fromkeys("\t\n\r"))


class Blemish(Struct):
    """What is wrong with one value of a body that is JSON.

    Attributes:
        about: what it is, in a few words.
        path: where it is, in the manner of msgspec's messages, below `$`.
    """

    code: RequestCode
    about: str
    path: str = ""

    @property
    def detail(self) -> str:
        """What the caller is told."""
        return f"{self.about} - at `${self.path}`"[:DETAIL_CHARACTERS]


class _Object(list[tuple[str, Any]]):
    """An object as it was sent: its members in order, however often each is there."""


class _Integer(str):
    """An integer as it was sent: whoever sends half a million of them waits no longer for it."""


class _Fraction(str):
    """A number with a fraction or an exponent, as it was sent."""


def text_blemish(text: str, *, lines: bool = False) -> Blemish | None:
    """Return what is wrong with a text, if anything.

    Args:
        lines: it may have line ends and tabs.
    """
    if text.isascii() and text.isprintable():
        return None
    found = _unfit(text.translate(_LINE_ENDS) if lines else text)
    if found is not None:
        return Blemish(_unfit_as(ord(found[0])), f"U+{ord(found[0]):04X} in a text")
    if not is_normalized("NFC", text):
        return Blemish(RequestCode.TEXT_NOT_NFC, "a text is not in NFC")
    return None


def _unfit_as(point: int) -> RequestCode:
    if 0xD800 <= point <= 0xDFFF:
        return RequestCode.LONE_SURROGATE
    if point >= 0xFDD0:
        return RequestCode.NONCHARACTER
    return RequestCode.CONTROL_CHARACTER


def detail_of(error: Exception) -> str:
    """Return what callers are told of an error of a decoder's, which may repeat what they sent."""
    return str(error).encode("ascii", "backslashreplace").decode("ascii")[:DETAIL_CHARACTERS]


def plain(json_text: bytes) -> bool:
    """Return whether no text of valid JSON can have anything wrong with it.

    A quick look at all of them at once: where it says no, each has to be looked at.
    """
    if b"\\" in json_text or b"\x7f" in json_text:
        return False
    if json_text.isascii():
        return True
    # Without ASCII there is little left to search. NFC needs all of it, as marks follow letters;
    # where the whole is in NFC, each part is (UAX 15, section 6).
    other = json_text.translate(None, _ASCII)
    try:
        return _unfit(other.decode()) is None and is_normalized("NFC", json_text.decode())
    except UnicodeDecodeError:
        return False


def _number_blemish(digits: str) -> Blemish | None:
    # The length first: int() takes quadratic time, and gives up at 4,300 digits.
    if len(digits) <= _INTEGER_DIGITS and _INTEGER_MIN <= int(digits) <= _INTEGER_MAX:
        return None
    return Blemish(RequestCode.NUMBER_TOO_LARGE, f"a number of {len(digits)} characters")


def _constant(name: str) -> Any:
    raise RequestError(RequestCode.NUMBER_NOT_FINITE, f"`{name}` is not JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_int=_Integer,
    parse_float=_Fraction,
    parse_constant=_constant,
)
# White space is these four (RFC 8259, section 2).
_before_item: Final = re.compile(r"[ \t\n\r]*[\[,][ \t\n\r]*").match


def read(body: bytes) -> Any:
    """Return a body for `blemish` to look at.

    Raises:
        RequestError: BYTE_ORDER_MARK, INVALID_UTF8, NUMBER_NOT_FINITE, CONTROL_CHARACTER (one that
            stands in a text unescaped), MALFORMED_JSON, NESTED_TOO_DEEPLY (past the scanner's own
            limit); in this order, and the last four by what comes first in the body.
    """
    return _read(_text(body))


def read_array(body: bytes, items_max: int) -> list[tuple[bytes, Any]]:
    """Return the items of an array: each as it was sent, and for `blemish` to look at.

    msgspec's own way to the bytes of an item (`Raw`) ends at the first half of a surrogate pair.

    Raises:
        RequestError: see `read`; INVALID_REQUEST for no array, ARRAY_TOO_LONG.
    """
    text = _text(body)
    parsed = _read(text)
    if type(parsed) is not list:
        found = blemish(parsed)
        if found is None:
            found = Blemish(RequestCode.INVALID_REQUEST, "the body is no array")
        raise RequestError(found.code, found.detail)
    check_length(len(parsed), items_max)
    items = []
    end = 0
    for _ in parsed:
        gap = _before_item(text, end)
        assert gap is not None
        item, end = _decoder.raw_decode(text, gap.end())
        items.append((text[gap.end() : end].encode(), item))
    return items


def check_length(length: int, items_max: int) -> None:
    """Refuse an array that is too long.

    Raises:
        RequestError: ARRAY_TOO_LONG.
    """
    if length > items_max:
        raise RequestError(RequestCode.ARRAY_TOO_LONG, f"{length} items, at most {items_max:,}")


def _text(body: bytes) -> str:
    if body.startswith(_BOM):
        raise RequestError(RequestCode.BYTE_ORDER_MARK)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        detail = f"{error.reason} at byte {error.start}"
        raise RequestError(RequestCode.INVALID_UTF8, detail) from None


def _read(text: str) -> Any:
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        control = error.msg.startswith("Invalid control character")
        code = RequestCode.CONTROL_CHARACTER if control else RequestCode.MALFORMED_JSON
        detail = f"{error.msg.removesuffix(' at')} at character {error.pos}"
        raise RequestError(code, detail) from None
    except RecursionError:
        raise RequestError(RequestCode.NESTED_TOO_DEEPLY) from None


def blemish(
    value: Any, depth: int = 1, *, lined: frozenset[str] = frozenset(), lines: bool = False
) -> Blemish | None:
    """Return the first thing that is wrong with what `read` returned, in the order of the body.

    Args:
        depth: the level that the value is on if it is an array or object.
        lined: members whose texts may have line ends.
        lines: this text may.

    Raises:
        RequestError: NESTED_TOO_DEEPLY.
    """
    kind = type(value)
    if kind is str:
        return text_blemish(value, lines=lines)
    if kind is _Integer:
        return _number_blemish(value)
    if kind is _Fraction:
        return Blemish(RequestCode.NUMBER_NOT_INTEGER, f"`{value[:40]}`")
    if kind is _Object or kind is list:
        if depth > DEPTH_MAX:
            raise RequestError(RequestCode.NESTED_TOO_DEEPLY)
        if kind is _Object:
            return _member_blemish(value, depth, lined)
        for index, each in enumerate(value):
            found = blemish(each, depth + 1, lined=lined)
            if found is not None:
                found.path = f"[{index}]{found.path}"
                return found
    return None


def _member_blemish(members: _Object, depth: int, lined: frozenset[str]) -> Blemish | None:
    names: set[str] = set()
    first: Blemish | None = None
    for name, value in members:
        # All of it is looked at, blemished or not: too deep is too deep, wherever it stands.
        found = blemish(value, depth + 1, lined=lined, lines=name in lined)
        if first is None:
            if name in names:
                first = Blemish(RequestCode.DUPLICATE_MEMBER, f"{_shown(name)} is there twice")
            elif (first := text_blemish(name)) is None and found is not None:
                found.path = f".{_shown(name)}{found.path}"
                first = found
        names.add(name)
    return first


def member(value: Any, name: str) -> Any:
    """Return what an object that `read` returned has under a name, None unless it is there once.

    Texts are `str`; numbers are of types of their own.
    """
    found = [each for key, each in value if key == name] if type(value) is _Object else []
    return found[0] if len(found) == 1 else None


def duplicate(value: Any) -> bool:
    """Return whether any object of what `read` returned has a member twice."""
    if type(value) is _Object:
        if len({name for name, _ in value}) < len(value):
            return True
        return any(duplicate(each) for _, each in value)
    return type(value) is list and any(map(duplicate, value))


def _shown(name: str) -> str:
    """Return a member's name for a message: no name can break a log's line, or its encoding."""
    return ascii(name[:40])[1:-1]
