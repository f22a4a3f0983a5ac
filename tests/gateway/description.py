"""The API's description as its readers get it, and whether an answer is as it says."""

from functools import cache
from typing import Any, Final

import jsonschema_rs
import msgspec

from gateway.answer import HTML, Answer, encode
from gateway.endpoint import Endpoint
from gateway.openapi import document
from gateway.table import ENDPOINTS

DOCUMENT: Final[dict[str, Any]] = msgspec.json.decode(encode(document(ENDPOINTS, "0")))


def resolved(part: dict[str, Any]) -> Any:
    """Return a part of the document, or what it refers to."""
    found: Any = part
    while "$ref" in found:
        steps = found["$ref"].removeprefix("#/").split("/")
        found = DOCUMENT
        for step in steps:
            found = found[step]
    return found


def body_of(answer: Answer) -> bytes:
    """Return an answer's body as it is sent."""
    return answer.body if isinstance(answer.body, bytes) else encode(answer.body)


def assert_described(endpoint: Endpoint, answer: Answer) -> None:
    """Assert that an answer of an endpoint is one that the document has, body and headers."""
    headers = answer.headers()
    about = f"{endpoint.name} {answer.status} {answer.body}"
    responses = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]["responses"]
    assert str(answer.status) in responses, about
    response = resolved(responses[str(answer.status)])
    assert headers["content-type"] in response["content"], about
    known = {name.lower() for name in response.get("headers", ())}
    assert {"idempotent-replayed", "retry-after"} & set(headers) <= known, about
    if headers["content-type"] != HTML:
        errors = _validator(endpoint.path, endpoint.method, answer.status).iter_errors(
            msgspec.json.decode(body_of(answer))
        )
        assert [error.message for error in errors] == [], about


@cache
def _validator(path: str, method: str, status: int) -> jsonschema_rs.Draft202012Validator:
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    (content,) = resolved(responses[str(status)])["content"].values()
    # Components go along, so that references find them.
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
