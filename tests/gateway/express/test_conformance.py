"""Two listeners, one table: what either answers is the same, byte for byte.

Two nodes whose clocks stand still are asked the same in the same order, one at its main door and
one at its express door: all rows of the express listener, well, badly and without leave.
"""

import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
import trio
from msgspec import Struct

from gateway.ca.csr import body_of, new_csr, new_key
from gateway.endpoint import Endpoint, Router
from gateway.server import Serving
from gateway.signatures.digest import check_digest
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import sign_request
from gateway.table import ENDPOINTS, HOT
from tests.gateway.desk_client import hold, payment
from tests.gateway.serving import RawAnswer, connect, host_of, read_answer, serving
from tests.gateway.signed_desk import Signer, new_bank

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

SHOP = [
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "open_account", "account_no": "A2", "currency": "USD"},
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 100},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": 10_000,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "G1", "merchant_no": "M1"},
]  # fmt: skip


def _body(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "command"}


AUTHORIZATION = "/v1/authorizations/M1/H1"
WELL: list[tuple[str, str, Any]] = [
    ("POST", "/v1/commands", SHOP),
    ("POST", "/v1/payments", _body(payment("O1"))),
    ("POST", "/v1/payments", _body(payment("O1"))),
    ("POST", "/v1/payments", _body(payment("O1", 101))),
    ("POST", "/v1/payments", _body(payment("O2", 10**9))),
    ("GET", "/v1/payments/M1/O1", None),
    ("GET", "/v1/payments/M1/O9", None),
    ("POST", "/v1/refunds", {"merchant_no": "M1", "refund_no": "R1", "amount_minor": 10,
                             "order_no": "O1"}),
    ("GET", "/v1/refunds/M1/R1", None),
    ("POST", "/v1/refunds/M1/R1/redirects", {"redirect_no": "D1", "account_no": "A2"}),
    ("GET", "/v1/refunds/M1/R1/redirects/D1", None),
    ("POST", "/v1/refunds/M1/R1/closings", {"close_no": "C1"}),
    ("GET", "/v1/refunds/M1/R1/closings/C1", None),
    ("POST", "/v1/payments", _body(payment("O3"))),
    ("POST", "/v1/payments/M1/O3/reversals", {"reversal_no": "V1"}),
    ("GET", "/v1/payments/M1/O3/reversals/V1", None),
    ("POST", "/v1/authorizations", _body(hold("H1"))),
    ("GET", AUTHORIZATION, None),
    ("POST", f"{AUTHORIZATION}/increments", {"increment_no": "I1", "amount_minor": 5}),
    ("GET", f"{AUTHORIZATION}/increments/I1", None),
    ("POST", f"{AUTHORIZATION}/captures", {"capture_no": "C1", "amount_minor": 50}),
    ("GET", f"{AUTHORIZATION}/captures/C1", None),
    ("POST", f"{AUTHORIZATION}/voids", {"void_no": "X1"}),
    ("GET", f"{AUTHORIZATION}/voids/X1", None),
    ("POST", f"{AUTHORIZATION}/releases", {"release_no": "L1"}),
    ("GET", f"{AUTHORIZATION}/releases/L1", None),
    ("GET", "/v1/stream", None),
    ("POST", "/v1/commands", [payment("O4"), payment("O4"), {"command": "fly"}, hold("H2", -1)]),
]  # fmt: skip
"""Each row of the express listener at least once, and some of them refused by the domain."""


class Asked(Struct, frozen=True):
    """A request, without Host and what signs it."""

    method: str
    target: str
    body: bytes = b""
    headers: dict[str, str] = {}
    chunked: bool = False


def _well(method: str, path: str, body: Any) -> Asked:
    if body is None:
        return Asked(method, path)
    return Asked(method, path, msgspec.json.encode(body), {"Content-Type": "application/json"})


def _badly(asked: Asked) -> Iterator[Asked]:
    """Yield the same request, with one thing wrong or odd at a time."""
    changed = msgspec.structs.replace
    json = {"Content-Type": "application/json"}
    yield changed(asked, method="PUT")
    yield changed(asked, method="BREW")
    yield changed(asked, method="CONNECT")
    yield changed(asked, target=asked.target + "?a=b&a=b")
    yield changed(asked, target=asked.target + "%zz")
    yield changed(asked, target=asked.target + "%2F")
    yield changed(asked, headers={**asked.headers, "Request-Timeout-S": "soon"})
    yield changed(asked, headers={**asked.headers, "X-Request-ID": "one two"})
    if asked.method == "GET":
        yield changed(asked, method="HEAD")
        yield changed(asked, body=b"{}", headers=json)
        yield changed(asked, headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        yield changed(asked, headers={"If-None-Match": "*"})
        return
    for body in (b"", b"{", b'{"a":1}', b'{"a":1.5,"a":"\xff"}', b" " * (1 << 20)):
        yield changed(asked, body=body)
    yield changed(asked, headers={})
    yield changed(asked, headers={"Content-Type": "text/plain"})
    yield changed(asked, headers={**json, "Content-Encoding": "gzip"})
    yield changed(asked, body=b" " * ((1 << 20) + 1))
    yield changed(asked, chunked=True, body=b'{"a":1}')
    yield changed(asked, headers={**json, "Expect": "99-nothing"})


class Caller:
    """Asks one node the same as another caller does another node.

    Args:
        host: what it calls the node by.
        signer: whoever signs, None for nobody.
    """

    def __init__(self, running: Serving, host: bytes, signer: Signer | None = None) -> None:
        self.running = running
        self.host = host
        self.signer = signer
        self._stream: trio.SocketStream | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)
            self._stream = None

    async def ask(self, asked: Asked, *, last: bool = False, **signed: Any) -> RawAnswer:
        """Send a request on the connection that is there, and return its answer.

        Args:
            last: the caller closes its side of the connection then.
            signed: what is signed instead of what is sent, as for `sign_request`.
        """
        headers = {"X-Request-ID": "the-same", **asked.headers}
        if self.signer is not None:
            headers |= self._signature(asked, signed)
        if asked.chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(asked.body), asked.body)
        else:
            body = asked.body
            if asked.method != "GET" or body:
                headers["Content-Length"] = str(len(body))
        head = f"{asked.method} {asked.target} HTTP/1.1\r\nHost: {self.host.decode()}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        if self._stream is None:
            self._stream = await connect(self.running)
        await self._stream.send_all(head.encode() + b"\r\n" + body)
        if last:
            await self._stream.send_eof()
        answer = await read_answer(self._stream, bodiless=asked.method == "HEAD")
        if last or answer.headers.get("connection") == "close":
            await self._leave()
        return answer

    def _signature(self, asked: Asked, changes: dict[str, Any]) -> dict[str, str]:
        assert self.signer is not None
        path, _, query = asked.target.partition("?")
        details = {
            "method": asked.method,
            "authority": self.host.decode(),
            "path": path,
            "query": query,
            "body": asked.body,
            "created": int(time.time()) + 1,  # never before the node's start
            "nonce": secrets.token_urlsafe(18),
            "scheme": "http",
        }
        return sign_request(self.signer.key, self.signer.keyid, **{**details, **changes})


ELSEWHEN = {"date", "signature", "signature-input", "ratelimit"}
"""Headers that no two answers share: what they say is the time's, or a key's over it."""


def _same(main: RawAnswer, express: RawAnswer, asked: Asked) -> None:
    told = f"{asked.method} {asked.target} {asked.body[:40]!r} {asked.headers}"
    assert express.status == main.status, told
    assert express.body == main.body, told
    assert set(express.headers) == set(main.headers), told
    drawn = {"x-request-id"} if main.headers.get("x-request-id") != "the-same" else set()
    for name in set(main.headers) - ELSEWHEN - drawn:
        assert express.headers[name] == main.headers[name], (name, told)


def test_script_has_every_row() -> None:
    """A row that is added to the express listener is asked for here, too."""
    find = Router(HOT).find
    assert {find(method, path)[0].name for method, path, _ in WELL} == {row.name for row in HOT}


def test_express_rows_are_payments_authorizations_refunds_arrays_and_the_stream() -> None:
    """By what they are called; lists are not among them, nor is anything that is the bank's own."""
    assert {row.name for row in HOT} == {
        "run_commands", "create_payment", "get_payment", "reverse_payment", "get_reversal",
        "create_authorization", "get_authorization", "increment_authorization", "get_increment",
        "capture_authorization", "get_capture", "void_authorization", "get_void",
        "release_authorization", "get_release", "create_refund", "get_refund", "redirect_refund",
        "get_refund_redirect", "close_refund", "get_refund_closing", "open_stream",
    }  # fmt: skip


async def test_both_answer_the_same_where_nothing_is_signed(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "main", clock="domain") as main,
        serving(tmp_path / "express", clock="domain", door="express") as express,
        Caller(main, host_of(main)) as at_main,
        Caller(express, host_of(express)) as at_express,
    ):
        callers = at_main, at_express
        for method, path, body in WELL:
            well = _well(method, path, body)
            for asked in (*_badly(well), well):
                first, second = [await each.ask(asked) for each in callers]
                _same(first, second, asked)


@asynccontextmanager
async def _signed(folder: Path, **options: Any) -> AsyncIterator[tuple[Caller, Caller]]:
    """Two nodes of one bank, and merchant M1 at the door of each."""
    keys = new_bank(folder / "keys")
    how = {"keys": keys, "clock": "domain", "names": ["pay.example:80"], **options}
    async with (
        serving(folder / "main", **how) as main,
        serving(folder / "express", door="express", **how) as express,
    ):
        own = b"pay.example:" + host_of(express).rpartition(b":")[2]
        async with (
            Caller(main, b"pay.example", await _certified(main)) as at_main,
            Caller(express, own, await _certified(express)) as at_express,
        ):
            yield at_main, at_express


async def _certified(running: Serving, number: str = "K1") -> Signer:
    ask = running.counter.answer_operator
    shop = await ask("POST", "/v1/commands", b"", msgspec.json.encode(SHOP))
    assert shop.status == 200
    key = new_key("ecdsa-p256-sha256")
    body = {"certificate_no": number, "csr": body_of(new_csr(key, number))}
    answer = await ask("POST", "/v1/merchants/M1/certificates", b"", msgspec.json.encode(body))
    return Signer(PrivateKey(key), msgspec.json.decode(answer.body)["serial"])


async def test_both_answer_the_same_where_all_is_signed(tmp_path: Path) -> None:
    """And sign it: a merchant, in its own affairs, in the bank's, and in another's name."""
    async with _signed(tmp_path) as callers:
        for method, path, body in WELL:
            well = _well(method, path.replace("/M1/", "/M2/"), body)
            for asked in (well, _well(method, path, body)):
                first, second = [await each.ask(asked) for each in callers]
                _same(first, second, asked)
                assert "signature" in first.headers
            for odd in list(_badly(_well(method, path, body)))[:8]:
                first, second = [await each.ask(odd) for each in callers]
                _same(first, second, odd)


async def test_both_answer_a_client_that_has_closed_its_side(tmp_path: Path) -> None:
    """It sends nothing more, and is there (RFC 9112, section 9.6)."""
    async with _signed(tmp_path) as callers:
        for method, path, body in WELL:
            asked = _well(method, path, body)
            first, second = [await each.ask(asked, last=True) for each in callers]
            _same(first, second, asked)


async def test_what_is_said_to_head_is_signed_without_a_body(tmp_path: Path) -> None:
    """Whoever checks that signature has no body to check it against."""
    large = Asked("HEAD", "/v1/payments/M1/O1", b" " * ((1 << 20) + 1))
    async with _signed(tmp_path) as (at_main, at_express):
        for caller, asked, status in [
            (at_main, large, 413),
            (at_express, large, 413),
            (at_express, Asked("HEAD", "/v1/node"), 421),
        ]:
            answer = await caller.ask(asked)
            assert answer.status == status
            assert check_digest(answer.headers["content-digest"], b"")


async def test_both_refuse_the_same_signatures(tmp_path: Path) -> None:
    asked = _well("POST", "/v1/payments", _body(payment("O1")))
    async with _signed(tmp_path) as callers:
        once = {"nonce": "n" * 20, "created": int(time.time()) + 1}
        changes: list[dict[str, Any]] = [
            {"body": b"{}"},
            {"authority": "elsewhere.example"},
            {"path": "/v1/refunds"},
            {"created": 1},
            once,
            once,
            {},
        ]
        seen = []
        for change in changes:
            first, second = [await each.ask(asked, **change) for each in callers]
            _same(first, second, asked)
            seen.append(first.status)
        assert seen == [401, 401, 401, 401, 201, 401, 201]
        for malformed in ({"Signature": "sig1=:AA==:"}, {"Signature-Input": "sig1=()"}):
            odd = msgspec.structs.replace(asked, headers={**asked.headers, **malformed})
            for each in callers:
                each.signer = None
            first, second = [await each.ask(odd) for each in callers]
            _same(first, second, odd)
        first, second = [await each.ask(asked) for each in callers]
        _same(first, second, asked)
        assert first.code == "SIGNATURE_MISSING"
        key = PrivateKey(new_key("ecdsa-p256-sha256"))
        for each in callers:
            each.signer = Signer(key, "abc1")
        first, second = [await each.ask(asked) for each in callers]
        _same(first, second, asked)
        assert first.code == "SIGNER_UNKNOWN"


async def test_both_bound_a_merchants_rate_in_the_same_way(tmp_path: Path) -> None:
    asked = _well("POST", "/v1/payments", _body(payment("O1")))
    async with _signed(tmp_path, rate_per_s=0.01) as callers:
        for status in (201, 429):
            first, second = [await each.ask(asked) for each in callers]
            _same(first, second, asked)
            assert first.status == status
            assert status == 201 or int(first.headers["retry-after"]) > 90


@pytest.mark.parametrize("row", HOT, ids=lambda row: row.name)
def test_row_is_the_tables_own(row: Endpoint) -> None:
    """The same objects: no listener has a handler or a check of its own."""
    assert any(each is row for each in ENDPOINTS)
