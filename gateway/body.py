"""Bodies: from bytes to the typed value of a closed schema, strictly (`gateway.strict_json`).

msgspec decodes in a tenth of the time of anything that sees every member, but of a member that
is there twice it keeps the last and says nothing. So a decoded value is vouched for by counting:
it is known how many different members the body must have had for it, and each member of a body
has its colon; where there are no more colons than that, none is there twice. Where there are
more (a time of day in a text, a default that was spelt out), finer counts follow, and the exact
scan at last. `tests/gateway/test_body.py` holds the counts to the scan.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import NODEFAULT, Meta, Struct, inspect
from msgspec.structs import fields

from gateway.errors import Problem, RequestCode, RequestError, problem
from gateway.strict_json import (
    blemish,
    detail_of,
    duplicate,
    plain,
    read,
    text_blemish,
)

T = TypeVar("T")

Lines = Annotated[str, Meta(extra={"lines": True})]
"""A text that may have line ends and tabs, as a PEM file has; no other field may."""

_FAILURES: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SCALAR: Final = (
    inspect.IntType,
    inspect.BoolType,
    inspect.StrType,
    inspect.LiteralType,
    inspect.EnumType,
    inspect.DateTimeType,
    inspect.NoneType,
)
# White space is these four (RFC 8259, section 2).
_BEFORE_COLON: Final = (b'":', b" :", b"\t:", b"\n:", b"\r:")
_encode: Final = msgspec.json.Encoder().encode
_untyped: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder()


class _Shape(NamedTuple):
    """What is known of the members of one Struct.

    Attributes:
        certain: members that any body of it has, the tag among them.
        get: returns what has to be looked at: what may be absent, or has members of its own.
        usual: what `get` returns for a body with the certain members alone.
        names: of all fields.
        lined: those that are `Lines`.
        inner: returns the Struct that is all that has to be looked at, if there is one.
    """

    certain: int
    get: Callable[[Any], tuple[Any, ...]]
    usual: tuple[Any, ...]
    names: tuple[str, ...]
    lined: frozenset[str]
    inner: Callable[[Any], Any] | None


class BodyDecoder(Generic[T]):
    """Decodes bodies of one type: a closed Struct, a union of tagged ones, or a list of either.

    Args:
        type_: the type; whatever has members in it is a Struct or a dict.
    """

    def __init__(self, type_: Any) -> None:
        self._decode: Any = msgspec.json.Decoder(type_).decode
        self._shapes: dict[type, _Shape] = {}
        self._note(inspect.type_info(type_))
        self._lined = frozenset[str]().union(*(shape.lined for shape in self._shapes.values()))

    def decode(self, body: bytes) -> T:
        """Return the typed value of a body.

        Raises:
            RequestError: whatever `read` and `blemish` find; INVALID_REQUEST for what does not
                fit the schema, once nothing else is wrong with it.
        """
        value = self.attempt(body)
        if value is None:
            found = self.problem(body, read(body))
            raise RequestError(RequestCode(found.code), found.detail)
        return value

    def attempt(self, body: bytes) -> T | None:
        """Return the typed value of a body, or None where anything is wrong with it.

        This is the hot path: for a payment 1.2 µs on top of the 1.8 that msgspec takes.
        """
        try:
            value = self._decode(body)
        except _FAILURES:
            return None
        values = value if type(value) is list else [value]
        # What stands in a text unescaped below U+0020 msgspec has refused.
        fits = (plain(body) or self._texts_fit(value)) and self._no_duplicate(values, body)
        return value if fits else None

    def problem(self, body: bytes, parsed: Any, depth: int = 1) -> Problem:
        """Return what is wrong with a body for which there was no value.

        Args:
            body: as it was sent; also one item of an array.
            parsed: the same, as `read` returned it.
            depth: the level that it is on.

        Raises:
            RequestError: NESTED_TOO_DEEPLY.
        """
        found = blemish(parsed, depth, lined=self._lined)
        if found is not None:
            return problem(found.code, found.detail)
        try:
            self._decode(body)
        except msgspec.ValidationError as error:
            return problem(RequestCode.INVALID_REQUEST, detail_of(error))
        except _FAILURES as error:
            return problem(RequestCode.MALFORMED_JSON, detail_of(error))
        raise AssertionError("refused by the cheap tests, and nothing is wrong with it")

    def _note(self, info: inspect.Type) -> None:
        """Note the shape of every Struct that there is in a type."""
        info = _bare(info)
        if isinstance(info, inspect.UnionType):
            inner: Iterable[inspect.Type] = info.types
        elif isinstance(info, inspect.ListType):
            inner = (info.item_type,)
        elif isinstance(info, inspect.DictType):
            inner = (info.key_type, info.value_type)
            assert all(isinstance(_bare(each), _SCALAR) for each in inner), "a dict is flat"
        elif isinstance(info, inspect.StructType):
            assert info.forbid_unknown_fields, f"{info.cls.__name__} is not closed"
            if info.cls in self._shapes:
                return
            self._shapes[info.cls] = _shape(info)
            inner = [field.type for field in info.fields]
        else:
            assert isinstance(info, _SCALAR), f"{info} has members that nobody counts"
            return
        for each in inner:
            self._note(each)

    def _no_duplicate(self, values: Sequence[Struct], body: bytes) -> bool:
        """Return whether no object in a body that decoded to these has a member twice."""
        members = self._members(values)
        if members == body.count(b":"):
            return True
        # A name's colon follows its quote, or white space. So these are no fewer than there are
        # members, and more only where a text has one of these pairs in it.
        colons = sum(body.count(pair) for pair in _BEFORE_COLON if pair[:1] in body)
        if colons == members or colons == _distinct(_untyped.decode(body)):
            return True
        return not duplicate(read(body))

    def _members(self, values: Iterable[Any]) -> int:
        """Return how many different members a body has at the least that decodes to these.

        A member that holds its default may not have been there: it is not counted.
        """
        shapes = self._shapes
        members = 0
        for value in values:
            certain, get, usual, _, _, inner = shapes[type(value)]
            members += certain
            shown = value
            if inner is not None:
                # A command in an envelope, say: going on in this loop saves it 1.3 µs.
                shown = inner(value)
                certain, get, usual, _, _, _ = shapes[type(shown)]
                members += 1 + certain
            looked = get(shown)
            if looked != usual:
                for found, default in zip(looked, usual, strict=True):
                    if found != default:
                        members += 1
                        if type(found) is dict:
                            members += len(found)
                        elif isinstance(found, Struct):
                            members += self._members((found,))
                        elif type(found) is list:
                            members += self._members(
                                each for each in found if isinstance(each, Struct)
                            )
        return members

    def _texts_fit(self, value: Any) -> bool:
        """Return whether nothing is wrong with any text of a decoded value."""
        try:
            # Encoded again it has no escapes but those that it needs.
            return plain(_encode(value)) or self._fits(value)
        except UnicodeEncodeError:
            return False  # half of a surrogate pair

    def _fits(self, value: Any, *, lines: bool = False) -> bool:
        """Return whether nothing is wrong with any text of a decoded value."""
        if isinstance(value, str):
            return text_blemish(value, lines=lines) is None
        if isinstance(value, Struct):
            shape = self._shapes[type(value)]
            return all(
                self._fits(getattr(value, name), lines=name in shape.lined) for name in shape.names
            )
        if isinstance(value, dict):
            return all(map(self._fits, value)) and all(map(self._fits, value.values()))
        return all(map(self._fits, value)) if isinstance(value, list) else True


def _distinct(value: Any) -> int:
    """Return how many members an untyped value has, those of its members included."""
    if isinstance(value, dict):
        return len(value) + sum(map(_distinct, value.values()))
    return sum(map(_distinct, value)) if isinstance(value, list) else 0


def _bare(info: inspect.Type) -> inspect.Type:
    return info.type if isinstance(info, inspect.Metadata) else info


def _shape(info: inspect.StructType) -> _Shape:
    certain = 0 if info.tag is None else 1
    lined = set()
    inner = None
    looked: dict[str, Any] = {}
    defaults = {field.name: field.default for field in fields(info.cls)}
    for field in info.fields:
        if isinstance(field.type, inspect.Metadata) and (field.type.extra or {}).get("lines"):
            lined.add(field.name)
        if not field.required:
            looked[field.name] = defaults[field.name]
            assert looked[field.name] is not NODEFAULT, f"{field.name}: its default is made"
        elif isinstance(_bare(field.type), _SCALAR):
            certain += 1
        else:
            # It is always there, too, but has members of its own: counted as no default is.
            looked[field.name] = object()
            inner = field
    return _Shape(
        certain,
        _getter(tuple(looked)),
        tuple(looked.values()),
        tuple(field.name for field in info.fields),
        frozenset(lined),
        attrgetter(inner.name) if inner and len(looked) == 1 and _is_struct(inner.type) else None,
    )


def _is_struct(info: inspect.Type) -> bool:
    """Return whether it is a Struct, or one of several."""
    info = _bare(info)
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return all(isinstance(_bare(each), inspect.StructType) for each in types)


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what returns these attributes, as a tuple however many they are."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)
