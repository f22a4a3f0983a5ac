"""What headers say of a body: JSON in UTF-8 as it is, or the request is refused."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from gateway.content import content_problem
from tests.gateway.serving import addressed, connect, serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

BODY = b'{"account_no":"A1","currency":"USD"}'
JSON = "application/json"


@pytest.mark.parametrize(
    "content_type",
    [
        JSON,
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json ; charset=utf-8 ",
        "application/json;",
    ],
)
def test_json_in_utf8_is_taken(content_type: str) -> None:
    headers = {"content-type": content_type}
    assert content_problem(headers, BODY) is None
    assert content_problem(headers | {"content-encoding": "identity"}, BODY) is None
    assert content_problem(headers | {"content-encoding": "Identity"}, BODY) is None


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "application/octet-stream",
        "application/jsonp",
        "application/problem+json",
        "application/json-patch+json",
        "application/json, application/json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=utf-7; charset=utf-8",
        "application/json; charset=iso-8859-1",
        'application/json; charset="utf-8',
        "application/json; version=1",
        "x application/json",
        "application/json\u00a0",
        "a" * 10_000,
        "application/json" + "; " * 10_000 + "x",
        "application/json" + " " * 10_000 + "x",
    ],
)
def test_any_other_media_type_is_refused_unless_there_is_no_body(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    problem = content_problem(headers, BODY)
    assert problem is not None
    assert (problem.status, problem.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert len(problem.detail) < 200
    assert content_problem(headers, b"") is None


@pytest.mark.parametrize(
    "coding",
    ["gzip", "deflate", "br", "zstd", "identity, gzip", "identity, identity", "", "x"],
)
@pytest.mark.parametrize("body", [BODY, b""])
def test_coding_is_refused_with_a_body_and_without(coding: str, body: bytes) -> None:
    problem = content_problem({"content-type": JSON, "content-encoding": coding}, body)
    assert problem is not None
    assert (problem.status, problem.code) == (415, "UNSUPPORTED_CONTENT_ENCODING")


@asynccontextmanager
async def _client(data: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(data) as running, httpx2.AsyncClient(base_url=running.address) as client:
        yield client


async def test_refused_media_type_is_told_what_is_taken(tmp_path: Path) -> None:
    async with _client(tmp_path) as client:
        for headers in ({}, {"content-type": "application/x-www-form-urlencoded"}):
            answer = await client.post("/v1/accounts", content=BODY, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
            assert answer.headers["accept"] == JSON
        assert (await client.get("/v1/accounts/A1")).status_code == 404
        # Nothing is said of a body that is not there.
        answer = await client.post("/v1/accounts/A1/freeze")
        assert answer.json()["code"] == "ACCOUNT_NOT_FOUND"
        answer = await client.post(
            "/v1/accounts", content=BODY, headers={"content-type": "application/json;charset=utf-8"}
        )
        assert answer.status_code == 201


async def test_compressed_body_is_refused_and_never_unpacked(tmp_path: Path) -> None:
    async with _client(tmp_path) as client:
        for body in (gzip.compress(BODY), gzip.compress(b" " * (10 << 20)), BODY):
            headers = {"content-type": JSON, "content-encoding": "gzip"}
            answer = await client.post("/v1/accounts", content=body, headers=headers)
            assert answer.json()["code"] == "UNSUPPORTED_CONTENT_ENCODING"
            assert answer.status_code == 415
            assert answer.headers["accept-encoding"] == "identity"


async def test_header_that_is_there_twice_counts_twice(tmp_path: Path) -> None:
    """However a proxy before us would have read it."""
    twice = (
        b"POST /v1/accounts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"%b\r\nContent-Length: %d\r\n\r\n%b"
    )
    async with serving(tmp_path) as running:
        for header in (b"Content-Type: text/plain", b"Content-Encoding: gzip"):
            async with await connect(running) as stream:
                await stream.send_all(addressed(running, twice % (header, len(BODY), BODY)))
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 415")
