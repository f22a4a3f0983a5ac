"""The signature base in general: any components of any message (RFC 9421, section 2).

Derived components, header fields with `sf`, `key` and `bs`, and components of the request that a
response answers (`req`). The profile builds the same bytes by formatting one string, in 2.5 µs
instead of 70; this builder has passed the RFC's test vectors, and tests hold the two to each other.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, quote, unquote_plus

from msgspec import Struct

from gateway.signatures.digest import base64_of
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.structured import (
    InnerList,
    Item,
    parse_dictionary,
    serialize,
    serialize_dictionary,
)

Fields = Sequence[tuple[str, str]]
"""Header fields as they were sent: a name may occur several times."""

_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}
_DICTIONARIES: Final = frozenset(
    {"cache-control", "content-digest", "priority", "repr-digest", "signature", "signature-input"}
)
"""Fields that `sf` is taken for. Read as another type than it is, a field would be misquoted."""
_FOLD: Final = re.compile(r"[ \t]*\r\n[ \t]+")


class Request(Struct, frozen=True):
    """A request as it was sent.

    `query` is None where there is none, `target` the request line's where that is another form.
    """

    method: str
    scheme: str
    authority: str
    path: str
    query: str | None = None
    fields: Fields = ()
    target: str | None = None


class Response(Struct, frozen=True):
    """A response, and the request it answers where that is known."""

    status: int
    fields: Fields = ()
    request: Request | None = None


def signature_base(signed: InnerList, message: Request | Response) -> bytes:
    """Return the bytes that a signature is over.

    Args:
        signed: the components, and the signature's parameters: a member of Signature-Input.
        message: what they are taken from.

    Raises:
        SignatureError: MISSING if a component is not in the message, MALFORMED if it cannot be
            signed, is unknown, or occurs twice.
    """
    lines: dict[str, str] = {}
    for component in signed.items:
        identifier = serialize(component)
        # The order of a component's parameters does not make it another component.
        identity = serialize(Item(component.value, dict(sorted(component.parameters.items()))))
        value = component_value(component, message)
        if identity in lines or not value.isascii() or not value.replace("\t", "").isprintable():
            raise SignatureError(Reason.MALFORMED, "a component occurs twice or cannot be signed")
        lines[identity] = f"{identifier}: {value}"
    return "\n".join([*lines.values(), f'"@signature-params": {serialize(signed)}']).encode()


def component_value(component: Item, message: Request | Response) -> str:
    """Return the value of one component.

    Raises:
        SignatureError: MISSING if it is not in the message, MALFORMED if there is no such.
    """
    name, parameters = component.value, dict(component.parameters)
    if parameters.pop("req", None) is True:
        if isinstance(message, Request) or message.request is None:
            raise SignatureError(Reason.MISSING, "there is no request that this answers")
        message = message.request
    if type(name) is not str or name != name.lower():
        raise SignatureError(Reason.MALFORMED, "a component is no string in lower case")
    if not name.startswith("@"):
        return _field_value(name, parameters, message.fields)
    if name == "@status" and isinstance(message, Response) and not parameters:
        return str(message.status)
    if isinstance(message, Request):
        if name == "@query-param" and parameters.keys() == {"name"}:
            return _query_parameter(str(parameters["name"]), message.query or "")
        if name in _DERIVED and not parameters:
            return _DERIVED[name](message)
    raise SignatureError(Reason.MALFORMED, "the message has no such derived component")


def normal_authority(scheme: str, authority: str) -> str:
    """Return a host and port as `@authority` wants them: lower case, no default port."""
    return authority.lower().removesuffix(_DEFAULT_PORT.get(scheme, ""))


def _field_value(name: str, parameters: Mapping[str, object], fields: Fields) -> str:
    values = [_FOLD.sub(" ", value).strip(" \t") for sent, value in fields if sent.lower() == name]
    if not values:
        raise SignatureError(Reason.MISSING, "a signed header field is not in the message")
    value = ", ".join(values)
    match parameters:
        case {"key": str(key), **rest} if not rest or rest == {"sf": True}:
            member = parse_dictionary(value).get(key)
            if member is None:
                raise SignatureError(Reason.MISSING, "a signed member is not in its field")
            return serialize(member)
        case {"sf": True, **rest} if not rest and name in _DICTIONARIES:
            return serialize_dictionary(parse_dictionary(value))
        case {"bs": True, **rest} if not rest:
            return ", ".join(f":{base64_of(value.encode('latin-1'))}:" for value in values)
        case {**rest} if not rest:
            return value
    raise SignatureError(Reason.MALFORMED, "a field has no such form")


def _query_parameter(name: str, query: str) -> str:
    """The value as a form would send it, but with spaces as %20 (section 2.2.8)."""
    pairs = parse_qsl(query, keep_blank_values=True)
    values = [value for key, value in pairs if key == unquote_plus(name)]
    if len(values) != 1:
        raise SignatureError(Reason.MISSING, "a query parameter is not there, or not once")
    return quote(values[0], safe="*").replace("~", "%7E")


def _target_uri(request: Request) -> str:
    return f"{request.scheme}://{request.authority}{_path_and_query(request)}"


def _path_and_query(request: Request) -> str:
    query = "" if request.query is None else f"?{request.query}"
    return f"{request.path or '/'}{query}"


_DERIVED: Final[Mapping[str, Callable[[Request], str]]] = {
    "@method": lambda request: request.method,
    "@scheme": lambda request: request.scheme.lower(),
    "@authority": lambda request: normal_authority(request.scheme.lower(), request.authority),
    "@target-uri": _target_uri,
    "@request-target": lambda request: request.target or _path_and_query(request),
    "@path": lambda request: request.path or "/",
    "@query": lambda request: f"?{request.query or ''}",
}
