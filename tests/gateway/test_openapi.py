"""The API's description: a valid document about every endpoint, and the page made from it."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from inspect import isclass
from pathlib import Path
from typing import Any, Final

import httpx2
import jsonschema_rs
import msgspec
import pytest
from msgspec import Struct
from schemathesis.specs.openapi.definitions import OPENAPI_31

from actors.commands import AnyCommand
from gateway.docs_page import POLICY, docs_page
from gateway.endpoint import Access, Endpoint
from gateway.errors import CODES, RequestCode
from gateway.series import AdvanceClock
from gateway.table import ENDPOINTS
from tests.gateway.description import DOCUMENT
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

OPERATIONS: Final[dict[tuple[str, str], dict[str, Any]]] = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
SCHEMAS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]

BANK: Final = (
    "/v1/accounts",
    "/v1/transfers",
    "/v1/merchants",
    "/v1/day-cuts",
    "/v1/node",
    "/v1/bank/",
)
MERCHANT: Final = ("/v1/commands", "/v1/payments", "/v1/authorizations", "/v1/refunds")
OWN: Final = (
    "/v1/stream",
    "/v1/merchants/{merchant_no}",
    "/v1/merchants/{merchant_no}/events",
    "/v1/merchants/{merchant_no}/certificates",
    "/v1/merchants/{merchant_no}/certificates/{certificate_no}",
    "/v1/merchants/{merchant_no}/certificates/{serial}/revoke",
    "/v1/merchants/{merchant_no}/webhook",
    "/v1/merchants/{merchant_no}/webhook/enable",
    "/v1/merchants/{merchant_no}/webhook/disable",
    "/v1/merchants/{merchant_no}/webhook/redeliver",
    "/v1/merchants/{merchant_no}/webhook/deliveries",
    "/v1/merchants/{merchant_no}/webhook/deliveries/{sequence}",
)
REMEDY: Final = "/v1/refunds/{merchant_no}/{refund_no}/redirects"


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the document."""
    if isinstance(part, dict):
        yield part
        for each in part.values():
            yield from _parts(each)
    elif isinstance(part, list):
        for each in part:
            yield from _parts(each)


def test_document_is_openapi() -> None:
    """By the schema of the OpenAPI Initiative, and each schema in it by JSON Schema's own."""
    errors = jsonschema_rs.validator_for(OPENAPI_31).iter_errors(DOCUMENT)
    assert [error.message for error in errors] == []
    for name, schema in SCHEMAS.items():
        assert jsonschema_rs.meta.is_valid(schema), name


def test_references_are_to_what_is_there_and_nothing_is_there_for_nothing() -> None:
    referred = {part["$ref"] for part in _parts(DOCUMENT) if isinstance(part.get("$ref"), str)}
    for part in _parts(DOCUMENT):
        if isinstance(part.get("mapping"), dict):
            referred |= set(part["mapping"].values())
    there = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses", "headers", "parameters")
        for name in DOCUMENT["components"][kind]
    }
    assert referred == there


def test_document_has_every_endpoint_and_no_other() -> None:
    assert set(OPERATIONS) == {(each.method, each.path) for each in ENDPOINTS}
    names = Counter(operation["operationId"] for operation in OPERATIONS.values())
    assert set(names.values()) == {1}
    for operation in OPERATIONS.values():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"])
        assert operation["summary"]
        assert not operation["summary"].endswith(".")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_parameters_and_body_are_the_fields_of_the_request(endpoint: Endpoint) -> None:
    operation = OPERATIONS[endpoint.method, endpoint.path]
    given = {each["name"] for each in operation["parameters"] if "name" in each}
    if endpoint.body is None or isclass(endpoint.body):
        wanted = {field.encode_name for field in msgspec.structs.fields(endpoint.request)}
        if endpoint.body is not None:
            given |= set(SCHEMAS[endpoint.body.__name__]["properties"])
        assert given == wanted
    in_path = {each["name"] for each in operation["parameters"] if each.get("in") == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", endpoint.path))


def _structs(type_: Any) -> Iterator[type[Struct]]:
    """Yield the Structs that a type is made of."""
    if isclass(type_) and issubclass(type_, Struct):
        yield type_
        for field in msgspec.structs.fields(type_):
            yield from _structs(field.type)
    for each in getattr(type_, "__args__", ()):
        yield from _structs(each)


def test_every_field_has_a_type() -> None:
    types = [type_ for each in ENDPOINTS for type_ in (each.answers, each.body)]
    structs = {struct for type_ in types for struct in _structs(type_)}
    assert len(structs) > 70
    for struct in structs:
        schema = SCHEMAS[struct.__name__]
        tag = struct.__struct_config__.tag_field
        names = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert set(schema["properties"]) == names | ({tag} if tag else set()), struct
    for name, schema in SCHEMAS.items():
        for field, each in schema.get("properties", {}).items():
            assert {"type", "$ref", "anyOf", "enum"} & set(each), f"{name}.{field}"


def test_array_of_commands_is_told_apart_by_its_tags() -> None:
    command = SCHEMAS["Command"]
    assert command["discriminator"]["propertyName"] == "command"
    tags = {
        each.__struct_config__.tag: each.__name__ for each in (*AnyCommand.__args__, AdvanceClock)
    }
    assert command["discriminator"]["mapping"] == {
        tag: f"#/components/schemas/{name}" for tag, name in tags.items()
    }


def test_every_code_is_some_endpoints() -> None:
    """But for paths and methods that there are not, and for what only an item of an array gets."""
    codes = {
        code
        for part in _parts(DOCUMENT)
        for code in part.get("properties", {}).get("code", {}).get("enum", ())
    }
    elsewhere = {
        RequestCode.NOT_FOUND,
        RequestCode.METHOD_NOT_ALLOWED,
        RequestCode.CLOCK_NOT_MOVABLE,
        # The listener says these of what is hardly a request, and ends the connection.
        RequestCode.MALFORMED_REQUEST,
        RequestCode.HEADERS_TIMEOUT,
        RequestCode.TARGET_TOO_LONG,
        RequestCode.MISDIRECTED_REQUEST,
        RequestCode.HEADERS_TOO_LARGE,
        RequestCode.TRANSFER_CODING,
        RequestCode.HTTP_VERSION,
    }
    assert codes == set(CODES) - elsewhere


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
def test_caller_is_whom_the_path_is_for(endpoint: Endpoint) -> None:
    expected: Access = "anyone"
    if endpoint.path.startswith(REMEDY):
        expected = "bank" if endpoint.method == "POST" else "merchant"
    elif endpoint.path.startswith(MERCHANT) or endpoint.path in OWN:
        expected = "merchant"
    elif endpoint.path.startswith(BANK):
        expected = "bank"
    assert endpoint.access == expected
    security = OPERATIONS[endpoint.method, endpoint.path]["security"]
    assert security == ([] if expected == "anyone" else [{expected: []}])


class _Page(HTMLParser):
    """What the tests look for in a page.

    Attributes:
        ids, links, tags: in their order.
        text: all of it, styles left out.
        styles: the style sheets.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.styles: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "br"}:
            self._open.append(tag)
        for name, value in attrs:
            assert name in {"lang", "charset", "name", "content", "class", "id", "href", "colspan"}
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles.append(data)
        else:
            self.text += data


def test_page_shows_all_and_asks_nobody_else() -> None:
    """No script, no address of another place, every link leads somewhere, and all tags close."""
    page = _Page(docs_page(DOCUMENT))
    assert max(Counter(page.ids).values()) == 1
    assert {operation["operationId"] for operation in OPERATIONS.values()} <= set(page.ids)
    assert {f"schema-{name}" for name in SCHEMAS} <= set(page.ids)
    assert not {"script", "link", "img", "iframe", "form"} & set(page.tags)
    for link in page.links:
        assert link == "/openapi.json" or link.removeprefix("#") in page.ids, link
    for path in DOCUMENT["paths"]:
        assert path in page.text
    (style,) = page.styles
    assert "url(" not in style
    assert "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY


def test_page_escapes_what_it_is_given() -> None:
    hostile = "<script>alert(1)</script>"
    operation = {**OPERATIONS["GET", "/v1/health"], "description": f"{hostile} `{hostile}`"}
    page = docs_page({**DOCUMENT, "paths": {f"/{hostile}": {"get": operation}}})
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 3


async def test_documents_are_served_once_and_then_known(tmp_path: Path) -> None:
    async with serving(tmp_path) as running, httpx2.AsyncClient(base_url=running.address) as client:
        for path in ("/openapi.json", "/docs", "/v1/errors"):
            first = await client.get(path)
            assert first.status_code == 200
            assert first.headers["cache-control"] == "public, max-age=300"
            assert first.headers["x-content-type-options"] == "nosniff"
            etag = first.headers["etag"]
            for known in (etag, f'"other", W/{etag}', "*"):
                again = await client.get(path, headers={"If-None-Match": known})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["etag"] == etag
                assert "content-length" not in again.headers
            other = await client.get(path, headers={"If-None-Match": '"other"'})
            assert other.content == first.content
            head = await client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(first.content))
        page = await client.get("/docs")
        assert page.headers["content-security-policy"] == POLICY
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        described = (await client.get("/openapi.json")).json()
        assert described["paths"] == DOCUMENT["paths"]
        assert (await client.get("/v1/health")).json() == {"object": "health", "state": "UP"}
