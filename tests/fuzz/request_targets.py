"""Target of requests: the whole table of endpoints, with a node behind it, and never a 500.

A request is put together from bytes as a listener does it, goes over the counter of a node that
signs nothing, and is answered by the real handlers on the real engine with a store in memory. The
node runs in a thread of its own for as long as the process does, and is begun anew now and then,
so that an input's outcome rests on few others.
"""

import json
import threading
from typing import Final

import trio

from gateway.counter import Counter, Request, Response
from gateway.endpoint import Router
from gateway.table import ENDPOINTS
from tests.fuzz.target import Target
from tests.gateway.desk_client import open_desk

_LIVES: Final = 2_000
"""Requests that one node is asked."""


class _Bank:
    """A node in a thread of its own, from the first request on."""

    def __init__(self) -> None:
        self._left = 0

    def ask(self, request: Request) -> Response:
        """Return the answer to a request."""
        if not self._left:
            self._begin()
        self._left -= 1
        answer = trio.from_thread.run(self._answer, request, trio_token=self._token)
        if not self._left:
            trio.from_thread.run_sync(self._over.set, trio_token=self._token)
            self._thread.join()
        return answer

    def _begin(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._serve, ready), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        self._left = _LIVES

    async def _serve(self, ready: threading.Event) -> None:
        async with open_desk() as client:
            await client.shop()
            self._counter = Counter(client.desk, Router(ENDPOINTS))
            self._token = trio.lowlevel.current_trio_token()
            self._over = trio.Event()
            ready.set()
            await self._over.wait()

    async def _answer(self, request: Request) -> Response:
        with trio.fail_after(20):
            place = self._counter.place(request.method, request.path)
            return await self._counter.answer(place, request)


_BANK: Final = _Bank()


def _request(data: bytes) -> None:
    """Lines: method and target, header fields, an empty one; then the body."""
    head, _, body = data.partition(b"\n\n")
    first, *fields = head.split(b"\n")
    method, _, target = first.partition(b" ")
    if not target or not all(0x21 <= each <= 0x7E for each in target):
        return  # a listener lets no other through
    path, _, query = target.partition(b"?")
    headers = {"host": "x"}
    for field in fields:
        name, _, value = field.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip(" \t")
    if body:
        headers.setdefault("content-type", "application/json")
    response = _BANK.ask(
        Request(method.decode("latin-1"), path.decode(), query, headers, body, "http")
    )
    assert response.status != 500, response.body
    assert all(
        f"{name}{value}".isascii() and f"{name}{value}".isprintable()
        for name, value in response.headers.items()
    )
    if response.headers["content-type"] == "application/problem+json":
        assert 400 <= response.status < 600
        assert len(response.body) < 1_000
        problem = json.loads(response.body)
        assert problem["status"] == response.status
        assert problem["detail"].isascii()
        assert problem["detail"].isprintable()


_PARTIES: Final = b'"merchant_no":"M1","payer":"A1","amount_minor":100,"currency":"USD"'
_COMMON: Final = b'{"command":"create_payment","order_no":"O1",' + _PARTIES + b"}"


def _post(path: str, body: bytes) -> bytes:
    return f"POST {path}\n\n".encode() + body


def _seed(method: str, path: str) -> bytes:
    path = path.replace("{merchant_no}", "M1").replace("{account_no}", "A1")
    while "{" in path:
        before, _, rest = path.partition("{")
        path = f"{before}X1{rest.partition('}')[2]}"
    return f"{method} {path}\n\n".encode() + (b"{}" if method == "POST" else b"")


REQUEST: Final = Target(
    "request",
    _request,
    (
        *(_seed(each.method, each.path) for each in ENDPOINTS),
        _post("/v1/payments", b'{"order_no":"O1",' + _PARTIES + b"}"),
        _post("/v1/authorizations", b'{"hold_no":"H1",' + _PARTIES + b"}"),
        _post("/v1/commands", b"[" + _COMMON + b"," + _COMMON.replace(b"O1", b"O2") + b"]"),
        _post(
            "/v1/commands",
            b'[{"command":"advance_clock","to":"2026-02-05T08:00:00Z"},'
            b'{"command":"refund_payment","merchant_no":"M1","order_no":"O1","refund_no":"R1",'
            b'"amount_minor":5}]',
        ),
        b"GET /v1/payments?merchant_no=M1&limit=1&order=time&from=2026-01-05T08:00:00Z\n\n",
        b"GET /v1/payments?merchant_no=M1&limit=2&cursor=AHQAAAAAAAAAAQ\n"
        b"request-timeout-s: 0.5\nx-request-id: a-b.c\nif-none-match: *\n\n",
        b"GET /v1/accounts?cursor=AAA\n\n",
        b"GET /v1/accounts/A1/postings?from_date=2026-01-05&cursor=AAAAAAAAAAABcA\n\n",
        b"GET /v1/merchants/M1/events?after=18446744073709551615&limit=100\n\n",
        b"POST /v1/payments\ncontent-type: application/json; charset=utf-8\n\n{}",
    ),
    (
        *(b'"', b":", b",", b"{", b"}", b"[", b"]", b"\\u0000", b"\\ud800", b"null", b"true"),
        *(b"9223372036854775807", b"-1", b"0", b"1e9", b"10000000000000", b'"USD"', b'"IQD"'),
        *(b"/v1/", b"?", b"&", b"=", b"%00", b"%2F", b"cursor=", b"limit=", b"after=", b"order="),
        *(b"from=", b"to=", b"0001-01-01T00:00:00%2B23:59", b"9999-12-31T23:59:59Z", b"\n"),
        *(b"command", b"open_account", b"close_account", b"create_authorization", b"HEAD "),
        *(
            b"request-timeout-s: nan",
            b"if-none-match: ",
            b"content-encoding: gzip",
            b"x-request-id:",
        ),
    ),
)
