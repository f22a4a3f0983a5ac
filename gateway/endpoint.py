"""Endpoints: one row of the handler table each, and the way from raw bytes to a typed request.

A request is a closed msgspec Struct filled from three places: numbers in the path, the query of
a GET, the JSON body of a POST. Listeners hand over method, path, query and body; what does not
fit becomes a `RequestError` here, so that every listener refuses with the same bytes. A row also
says who may call it and what it may answer: the API's description is made from it.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from actors.commands import Command
from actors.refusable import REFUSALS
from actors.refusal import Refusal
from engine.marks import Mark
from gateway.answer import JSON, STATUS, Answer, failed
from gateway.body import BodyDecoder
from gateway.desk import TIMEOUT_S_MAX, Caller, Desk
from gateway.errors import Code, RequestCode, RequestError, problem
from gateway.paths import Paths, segments
from gateway.strict_json import detail_of
from gateway.target import parameters

BODY_BYTES: Final = 64 << 10
"""Body limit of a path that does not set its own."""
BODY_S: Final = 10.0
"""How long a body may be in coming, in seconds."""

Handle = Callable[[Desk, Caller, Any], Awaitable[Answer]]
Decode = Callable[[dict[str, str], bytes], Any]
"""Makes the typed request from (numbers of the path, body)."""
Access = Literal["anyone", "merchant", "bank"]
"""Who may call it: anyone, a merchant in its own affairs, or the accounts' bank."""


class Endpoint(Struct, frozen=True):
    """One method on one path.

    Attributes:
        method: GET or POST.
        path: template, for example `/v1/payments/{merchant_no}/{order_no}`.
        request: type of the typed request.
        handle: `(desk, caller, request) → answer`.
        decode: makes the request; see `Decode`. For a GET the "body" is the query.
        access: who may call it; see `Access`.
        answers: type of the body where it goes well, None where there is none.
        name: what it does, verb first (`create_payment`); no two rows have the same.
        about: what it does, in sentences; the first can stand alone.
        body: type of the JSON body, None for a GET.
        status: where it goes well.
        codes: of the problems that are its own, beside those that any request can have.
        media_type: of the body where it goes well.
        stays: that body is one text while the process runs: callers may keep it.
        body_bytes_max: larger bodies are refused unread.
        takes_slots: it stands for commands, and where the node takes no more of them it is
            refused before it is decoded.
    """

    method: str
    path: str
    request: Any
    handle: Handle
    decode: Decode
    access: Access
    answers: Any
    name: str
    about: str
    body: Any = None
    status: int = 200
    codes: tuple[Code, ...] = ()
    media_type: str = JSON
    stays: bool = False
    body_bytes_max: int = BODY_BYTES
    takes_slots: bool = False


def read(
    path: str,
    request: type[Struct],
    handle: Handle,
    access: Access,
    answers: Any,
    *codes: Code,
    called: str = "",
    about: str = "",
    media_type: str = JSON,
    stays: bool = False,
    status: int = 200,
) -> Endpoint:
    """Return a GET endpoint: its request comes from path and query.

    Args:
        codes: of its own problems.
        called, about: where name and sentences of the function `handle` do not tell it from others.
    """
    return Endpoint(
        "GET",
        path,
        request,
        handle,
        query_decoder(request),
        access,
        answers,
        called or handle.__name__,
        about or inspect.getdoc(handle) or "",
        status=status,
        codes=codes,
        media_type=media_type,
        stays=stays,
    )


def act(
    path: str,
    request: type[Struct],
    handle: Handle,
    access: Access,
    answers: Any,
    *codes: Code,
    takes_slots: bool = True,
) -> Endpoint:
    """Return a POST endpoint: numbers of the path and members of the body make the request.

    A command tells its own name, what it does and what it may be refused with.

    Args:
        codes: of its own problems, beside a command's refusals.
    """
    body_type, decode = posted(path, request)
    name, tells = handle.__name__, inspect.getdoc(handle)
    if issubclass(request, Command):
        name, tells = str(request.__struct_config__.tag), inspect.getdoc(request)
        codes = (*REFUSALS[request], *codes)
    return Endpoint(
        "POST",
        path,
        request,
        handle,
        decode,
        access,
        answers,
        name,
        tells or "",
        body=body_type,
        status=STATUS.get(request, 201),
        codes=codes,
        takes_slots=takes_slots,
    )


def posted(path: str, request: type[Struct]) -> tuple[type[Struct], Decode]:
    """Return the type of a POST's body, and what makes the request of it and the path's numbers."""
    in_path = numbers_in(path)
    fields = [field for field in msgspec.structs.fields(request) if field.name not in in_path]
    numbers_type = msgspec.defstruct(
        f"{request.__name__}Path", [(name, _type_of(request, name)) for name in in_path]
    )
    # A twin without the tag and without what the path says: commands keep their tag for arrays.
    body_type = msgspec.defstruct(
        f"{request.__name__}Body",
        [
            (field.encode_name, field.type)
            if field.required
            else (field.encode_name, field.type, field.default)
            for field in fields
        ],
        forbid_unknown_fields=True,
        frozen=True,
        namespace={"__doc__": request.__doc__},
    )
    names = tuple(field.name for field in fields)
    decoder = BodyDecoder[Any](body_type)

    def decode(numbers: dict[str, str], body: bytes) -> Any:
        given = decoder.decode(body or b"{}")
        if in_path:
            convert(numbers, numbers_type)
        return request(**numbers, **{name: getattr(given, name) for name in names})

    return body_type, decode


def query_decoder(request: type[Struct]) -> Decode:
    """Return what makes a typed request of a path's numbers and a query."""
    info = msgspec.inspect.type_info(request)
    assert isinstance(info, msgspec.inspect.StructType)
    integers = {each.name for each in info.fields if _takes_integer(each.type)}

    def decode(numbers: dict[str, str], query: bytes) -> Any:
        given: dict[str, str | int] = {
            name: int(value) if name in integers and _integer(value) else value
            for name, value in numbers.items()
        }
        for name, value in parameters(query).items():
            if name in given:
                detail = f"`{name}` stands in the path"
                raise RequestError(RequestCode.DUPLICATE_PARAMETER, detail)
            given[name] = int(value) if name in integers and _integer(value) else value
        return convert(given, request)

    return decode


def numbers_in(path: str) -> tuple[str, ...]:
    """Return the names of the numbers in a path's template."""
    return tuple(segment[1:-1] for segment in segments(path) if segment.startswith("{"))


def _type_of(request: type[Struct], name: str) -> Any:
    return next(field.type for field in msgspec.structs.fields(request) if field.name == name)


def convert(values: Mapping[str, str | int], type_: type[Struct]) -> Any:
    """Return plain values as a Struct.

    Raises:
        RequestError: INVALID_REQUEST.
    """
    try:
        return msgspec.convert(values, type_)
    except msgspec.ValidationError as error:
        raise RequestError(RequestCode.INVALID_REQUEST, detail_of(error)) from None


class Router(Paths[Endpoint]):
    """Finds the endpoint of a method and path, and runs it.

    Args:
        rows: the handler table.
    """

    async def answer(
        self,
        desk: Desk,
        endpoint: Endpoint,
        numbers: dict[str, str],
        query: bytes,
        body: bytes,
        wait: str | None,
        merchant_no: str = "",
        mark: Mark | None = None,
    ) -> Answer:
        """Decode the request, run its handler, and return the answer, whatever it is.

        A merchant who names another one is told what it would be told of one that there is not.

        Args:
            wait: the Request-Timeout-S header, if any.
            merchant_no: the merchant who asks; empty for the bank.
            mark: of a request that was signed.
        """
        try:
            timeout_s = desk.timeout_s if wait is None else timeout_of(wait)
            request = _request(endpoint, numbers, query, body)
            named = getattr(request, "merchant_no", None)  # none: it is the caller's own affair
            if merchant_no and named is not None and named != merchant_no:
                return failed(problem(Refusal.MERCHANT_NOT_FOUND))
            return await endpoint.handle(desk, Caller(timeout_s, mark, merchant_no), request)
        except RequestError as error:
            return failed(error.problem, error.allow)


def _request(endpoint: Endpoint, numbers: dict[str, str], query: bytes, body: bytes) -> Any:
    """Return the typed request; what would not be looked at is refused, never dropped."""
    reads = endpoint.method == "GET"
    if body if reads else query:
        detail = "a GET takes no body" if reads else "a POST takes no query"
        raise RequestError(RequestCode.INVALID_REQUEST, detail)
    return endpoint.decode(numbers, query if reads else body)


def _takes_integer(type_: msgspec.inspect.Type) -> bool:
    types = type_.types if isinstance(type_, msgspec.inspect.UnionType) else (type_,)
    return any(isinstance(each, msgspec.inspect.IntType) for each in types)


def _integer(text: str) -> bool:
    """Return whether a parameter is an integer as JSON writes it, of at most 64 bits or so."""
    # Digits and nothing else: 1.0, 1e1, 010 and full-width figures are no integers here.
    return text.isascii() and text.isdigit() and len(text) < 20 and (text[0] != "0" or text == "0")


def timeout_of(text: str) -> float:
    """Return the seconds that Request-Timeout-S says.

    Raises:
        RequestError: INVALID_REQUEST.
    """
    try:
        # Python's own notation would take 1_0 for 10.
        timeout_s = float(text) if text.isascii() and "_" not in text else 0.0
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise RequestError(
            RequestCode.INVALID_REQUEST,
            f"Request-Timeout-S is a number of seconds up to {TIMEOUT_S_MAX:g}",
        )
    return timeout_s
