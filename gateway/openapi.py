"""The API's description, made from the handler table: an OpenAPI 3.1 document.

Rows say what is asked and answered, Structs what it looks like, the table of codes what can go
wrong; nothing about the API is written down a second time. References are to what the document
itself holds, schemas are JSON Schema 2020-12 as OpenAPI 3.1.1 has it (its sections 4.7 and 4.8).
What JSON Schema cannot say, a query that holds together or text in NFC, is refused all the same.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from inspect import getdoc, isclass
from typing import Final

from actors.commands import MerchantCommand
from actors.refusal import Refusal
from engine.fault import FaultCode
from gateway.answer import JSON, PROBLEM
from gateway.desk import TIMEOUT_S_MAX
from gateway.endpoint import Access, Endpoint
from gateway.errors import CODES, Code, RequestCode
from gateway.schemas import Json, Schemas, plain, reference

_ANY: Final = (
    RequestCode.INVALID_UTF8,
    RequestCode.CONTROL_CHARACTER,
    RequestCode.NONCHARACTER,
    RequestCode.TEXT_NOT_NFC,
    RequestCode.MALFORMED_PATH,
    RequestCode.INVALID_REQUEST,
    RequestCode.BODY_TIMEOUT,
    RequestCode.BODY_TOO_LARGE,
    RequestCode.UNSUPPORTED_CONTENT_ENCODING,
    FaultCode.NODE_BUSY,
    FaultCode.INTERNAL,
)
"""Codes that any request may be answered with."""
_WITH_QUERY: Final = (RequestCode.MALFORMED_QUERY, RequestCode.DUPLICATE_PARAMETER)
_WITH_BODY: Final = (
    RequestCode.BYTE_ORDER_MARK,
    RequestCode.NESTED_TOO_DEEPLY,
    RequestCode.NUMBER_NOT_FINITE,
    RequestCode.MALFORMED_JSON,
    RequestCode.DUPLICATE_MEMBER,
    RequestCode.NUMBER_NOT_INTEGER,
    RequestCode.NUMBER_TOO_LARGE,
    RequestCode.LONE_SURROGATE,
    RequestCode.UNSUPPORTED_MEDIA_TYPE,
)
_SIGNED: Final = (
    RequestCode.SIGNATURE_MISSING,
    RequestCode.SIGNATURE_MALFORMED,
    RequestCode.SIGNATURE_OLD,
    RequestCode.SIGNATURE_WRONG,
    RequestCode.DIGEST_MISMATCH,
    RequestCode.SIGNER_UNKNOWN,
    RequestCode.SIGNER_NOT_VALID,
    RequestCode.SIGNER_REVOKED,
    RequestCode.NONCE_USED,
    RequestCode.SIGNED_BEFORE_START,
    RequestCode.RATE_LIMITED,
)
"""Codes of requests that have to be signed."""

_CALLERS: Final[Mapping[Access, str]] = {
    "anyone": "Anyone may call it; no signature is needed.",
    "merchant": "For merchants, each in its own affairs.",
    "bank": "For the bank.",
}

_SIGNATURE: Final = """\
A request is signed with the key of {whose} certificate: HTTP Message Signatures (RFC 9421) in one
fixed profile. Three headers are sent.

`Content-Digest` (RFC 9530), SHA-256 or SHA-512, also of an empty body.

`Signature-Input: sig1=("@method" "@authority" "@path" "@query" "content-digest");created=…;\
keyid="…";alg="…";nonce="…";tag="piaohao-v1"`: these components and parameters, in this order.
`created` is within 300 s of the bank's time, `keyid` the certificate's serial number in lower-case
hexadecimal, `alg` its key's algorithm (`ed25519`, `ecdsa-p256-sha256` or `rsa-pss-sha512`), `nonce`
a text that is used once.

`Signature: sig1=:…:`, in base64."""

_ABOUT: Final = """\
A payment engine: money is reserved, taken, given back and moved, and what is acknowledged is
durable.

A number of the caller's own names each command: the same number with the same content is answered
with the first outcome for ever (`Idempotent-Replayed: true`), with other content it is refused.
Money is an integer of minor units. Times are RFC 3339 in UTC.

What goes wrong is answered with problem details (RFC 9457), whose `code` is stable: `GET
/v1/errors` lists them all."""

HEADERS: Final[Mapping[str, Json]] = {
    "Idempotent-Replayed": {
        "description": "It is the first outcome of a command that was repeated.",
        "schema": {"type": "string", "const": "true"},
    },
    "Retry-After": {
        "description": "In how many seconds to try again.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Accept": {
        "description": "The media type that is taken.",
        "schema": {"type": "string", "const": JSON},
    },
    "Accept-Encoding": {
        "description": "That nothing is unpacked.",
        "schema": {"type": "string", "const": "identity"},
    },
    "ETag": {
        "description": "Names this very text; If-None-Match with it is answered with 304.",
        "schema": {"type": "string"},
    },
    "Cache-Control": {
        "description": "For how long it may be kept.",
        "schema": {"type": "string"},
    },
}

_TIMEOUT: Final[Json] = {
    "name": "Request-Timeout-S",
    "in": "header",
    "description": "For how many seconds to wait for the outcome; 10 if it is not given.",
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": round(TIMEOUT_S_MAX)},
}


def problems(endpoint: Endpoint) -> dict[int, tuple[Code, ...]]:
    """Return by status the codes of all problems that a request to this endpoint may be answered.

    An account that is missing is 404 to the bank, which addresses it, and 422 to a merchant,
    whose commands only name it.
    """
    codes: dict[Code, None] = dict.fromkeys(_general(endpoint) + endpoint.codes)
    by_status: dict[int, list[Code]] = {}
    for code in codes:
        meaning = CODES[code]
        named = _merchants(endpoint) and meaning.status_named
        by_status.setdefault(named or meaning.status, []).append(code)
    return {status: tuple(by_status[status]) for status in sorted(by_status)}


def _merchants(endpoint: Endpoint) -> bool:
    """Return whether it is about a merchant's affairs, in which accounts are only named."""
    return endpoint.access == "merchant" or endpoint.request in MerchantCommand.__args__


def _general(endpoint: Endpoint) -> tuple[Code, ...]:
    codes: tuple[Code, ...] = _ANY + (_WITH_QUERY if endpoint.body is None else _WITH_BODY)
    if endpoint.access != "anyone":
        codes += (*_SIGNED, RequestCode.FOREIGN_PAGE)
    if endpoint.access == "merchant":
        codes += (Refusal.MERCHANT_NOT_FOUND,)
    elif endpoint.access == "bank":
        codes += (RequestCode.NOT_FOR_MERCHANTS,)
    if isclass(endpoint.body):  # one command; those of an array have their problems to themselves
        codes += tuple(code for code in FaultCode if code not in _ANY)
    return codes


def document(endpoints: Iterable[Endpoint], version: str) -> Json:
    """Return the description of these endpoints, ready to be encoded as JSON.

    Args:
        version: of the program.
    """
    rows = tuple(endpoints)
    schemas = Schemas(rows)
    responses: dict[str, Json] = {}
    paths: dict[str, Json] = {}
    for row in rows:
        operation = _operation(row, schemas, responses)
        paths.setdefault(row.path, {})[row.method.lower()] = operation
    tags = dict.fromkeys(_module(row) for row in rows)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Piaohao",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": _tag(module), "description": plain(getdoc(sys.modules[module]) or "")}
            for module in tags
        ],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "responses": responses,
            "headers": dict(HEADERS),
            "parameters": {"Request-Timeout-S": _TIMEOUT},
            "securitySchemes": {
                access: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": _SIGNATURE.format(whose=whose),
                }
                for access, whose in (("merchant", "a merchant's"), ("bank", "the bank's"))
            },
        },
    }


def _operation(row: Endpoint, schemas: Schemas, responses: dict[str, Json]) -> Json:
    about = plain(row.about)
    operation: Json = {
        "operationId": row.name,
        "summary": re.split(r"[.;:](?:\s|$)", about, maxsplit=1)[0],
        "description": f"{about}\n\n{_CALLERS[row.access]}",
        "tags": [_tag(_module(row))],
        "security": [] if row.access == "anyone" else [{row.access: []}],
        "parameters": schemas.parameters(row),
        "responses": {str(row.status): _success(row, schemas)},
    }
    if row.body is not None:
        operation["requestBody"] = {
            "required": schemas.wants_body(row),
            "content": {JSON: {"schema": schemas.of(row.body)}},
        }
    if row.stays:
        operation["responses"]["304"] = {
            "description": "The caller has this very text already.",
            "headers": _headers("ETag", "Cache-Control"),
        }
    for status, codes in problems(row).items():
        operation["responses"][str(status)] = _problem(row, status, codes, responses)
    return operation


def _success(row: Endpoint, schemas: Schemas) -> Json:
    response: Json = {"description": HTTPStatus(row.status).phrase}
    if row.answers is not None:
        response["content"] = {row.media_type: {"schema": schemas.of(row.answers)}}
    if isclass(row.body):
        response["headers"] = _headers("Idempotent-Replayed")
    if row.stays:
        response["headers"] = _headers("ETag", "Cache-Control")
    return response


def _problem(
    row: Endpoint, status: int, codes: tuple[Code, ...], responses: dict[str, Json]
) -> Json:
    """Return the answer with one of these codes; one that many rows share is put aside."""
    response: Json = {
        "description": "\n".join(f"- `{code}`: {CODES[code].title}" for code in codes),
        "content": {
            PROBLEM: {
                "schema": {
                    "allOf": [{"$ref": reference("Problem")}],
                    "properties": {
                        "status": {"const": status},
                        "code": {"enum": [str(code) for code in codes]},
                    },
                }
            }
        },
    }
    names = []
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        names.append("Retry-After")
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        names += ["Accept", "Accept-Encoding"] if row.body is not None else ["Accept-Encoding"]
    if isclass(row.body) and set(codes) & set(row.codes):
        names.append("Idempotent-Replayed")
    if names:
        response["headers"] = _headers(*names)
    if set(codes) & set(row.codes):
        return response
    kind = "Read" if row.body is None else "Command" if isclass(row.body) else "Commands"
    if status == HTTPStatus.FORBIDDEN and row.access == "bank":
        kind = f"Bank{kind}"  # which a merchant is refused, too
    name = kind + HTTPStatus(status).phrase.title().replace(" ", "")
    assert responses.setdefault(name, response) == response, name
    return {"$ref": f"#/components/responses/{name}"}


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _module(row: Endpoint) -> str:
    return row.handle.__module__


def _tag(module: str) -> str:
    return module.rpartition(".")[2].replace("_", " ")
