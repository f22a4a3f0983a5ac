"""Structured fields: dictionaries with items and inner lists, read and written (RFC 8941).

What signatures are made of: `Signature-Input`, `Signature`, `Content-Digest` are dictionaries. A
key that occurs twice is refused, though RFC 8941 lets the last one win: nobody signs that in good
faith. Written again, a field has its one canonical form, whatever spaces it was sent with.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

from gateway.signatures.digest import base64_of, bytes_of
from gateway.signatures.error import Reason, SignatureError


class Token(str):
    """A word that is written without quotes."""

    __slots__ = ()


Bare = int | Decimal | bool | bytes | str | Token
Parameters = Mapping[str, Bare]


class Item(Struct, frozen=True):
    """A value with its parameters."""

    value: Bare
    parameters: Parameters = {}


class InnerList(Struct, frozen=True):
    """Items in parentheses, with the parameters of the whole."""

    items: Sequence[Item]
    parameters: Parameters = {}


Member = Item | InnerList

_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_NUMBER: Final = re.compile(r"(-?[0-9]{1,15})(?![0-9.])|(-?[0-9]{1,12}\.[0-9]{1,3})(?![0-9])")
_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_BOOLEAN: Final = re.compile(r"\?([01])")
_SPACES: Final = re.compile(r" *")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*(?!\Z)")


def parse_dictionary(text: str) -> dict[str, Member]:
    """Read a dictionary.

    Raises:
        SignatureError: MALFORMED.
    """
    reader = _Reader(text.lstrip(" ").rstrip(" \t"))
    members: dict[str, Member] = {}
    while not reader.at_end():
        key = reader.take(_KEY)[0]
        if key in members:
            raise reader.malformed()
        if not reader.skip("="):
            members[key] = Item(True, reader.parameters())
        elif reader.skip("("):
            members[key] = reader.inner_list()
        else:
            members[key] = reader.item()
        if not reader.at_end():
            reader.take(_COMMA)
    return members


def serialize(member: Member) -> str:
    """Return the canonical text of an item or an inner list."""
    if isinstance(member, InnerList):
        text = f"({' '.join(serialize(item) for item in member.items)})"
    else:
        text = _bare_text(member.value)
    for key, value in member.parameters.items():
        text += f";{key}" if value is True else f";{key}={_bare_text(value)}"
    return text


def serialize_dictionary(members: Mapping[str, Member]) -> str:
    """Return the canonical text of a dictionary."""
    return ", ".join(_member_text(key, member) for key, member in members.items())


def _member_text(key: str, member: Member) -> str:
    if isinstance(member, Item) and member.value is True:
        return key + serialize(member).removeprefix("?1")
    return f"{key}={serialize(member)}"


def _bare_text(value: Bare) -> str:
    match value:
        case bool():
            return f"?{value:d}"
        case int() | Token():
            return str(value)
        case Decimal():
            # Adding 0 takes the sign from a zero.
            text = f"{value + 0:.3f}".rstrip("0")
            return text + "0" if text.endswith(".") else text
        case bytes():
            return f":{base64_of(value)}:"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def malformed(self) -> SignatureError:
        return SignatureError(
            Reason.MALFORMED, f"not a structured field, at character {self._at + 1}"
        )

    def at_end(self) -> bool:
        return self._at == len(self._text)

    def skip(self, character: str) -> bool:
        """Pass over a character if it is the next one."""
        found = self._text.startswith(character, self._at)
        self._at += found
        return found

    def take(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self.malformed()
        self._at = found.end()
        return found

    def inner_list(self) -> InnerList:
        """What follows an opening parenthesis."""
        items: list[Item] = []
        self.take(_SPACES)
        while not self.skip(")"):
            items.append(self.item())
            if not self._text.startswith((" ", ")"), self._at):
                raise self.malformed()
            self.take(_SPACES)
        return InnerList(items, self.parameters())

    def item(self) -> Item:
        return Item(self._bare(), self.parameters())

    def parameters(self) -> dict[str, Bare]:
        parameters: dict[str, Bare] = {}
        while self.skip(";"):
            self.take(_SPACES)
            key = self.take(_KEY)[0]
            if key in parameters:
                raise self.malformed()
            parameters[key] = self._bare() if self.skip("=") else True
        return parameters

    def _bare(self) -> Bare:
        first = self._text[self._at : self._at + 1]
        if first == '"':
            return _ESCAPED.sub(r"\1", self.take(_STRING)[1])
        if first == ":":
            return bytes_of(self.take(_BYTES)[1], "a field")
        if first == "?":
            return self.take(_BOOLEAN)[1] == "1"
        if first.isdigit() or first == "-":
            number = self.take(_NUMBER)
            return int(number[1]) if number[1] else Decimal(number[2])
        return Token(self.take(_TOKEN)[0])
