"""Hostile input at every endpoint that takes a body: each kind has its code, and none is a 500."""

import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.commands import CreatePayment
from gateway.answer import encode
from gateway.endpoint import BODY_BYTES, Endpoint, Router
from gateway.errors import CODES, Problem, RequestCode, RequestError
from gateway.handlers.commands import CommandArray
from gateway.table import ENDPOINTS
from tests.gateway.desk_client import open_desk, payment
from tests.gateway.hostile import DEEP, ITEMS, WHOLE
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

JSON = {"content-type": "application/json"}
CODED = [(code, body) for kinds in (WHOLE, ITEMS) for code in kinds for body in kinds[code]]
WHOLES = [(code, body) for code, bodies in WHOLE.items() for body in bodies]
ITEM = [(code, body) for code, bodies in ITEMS.items() for body in bodies]
POSTS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "POST"]
COMMANDS = next(endpoint for endpoint in POSTS if endpoint.path == "/v1/commands")
PAYMENTS = next(endpoint for endpoint in POSTS if endpoint.path == "/v1/payments")
ROUTER = Router(ENDPOINTS)


def _ids(coded: list[tuple[str, bytes]]) -> list[str]:
    return [f"{code}-{body[:40]!a}" for code, body in coded]


def _status(code: str) -> int:
    return CODES[RequestCode(code)].status


def _decoded(endpoint: Endpoint, body: bytes) -> Any:
    """Decode as the router does, its path filled in; returns the request, or the problem."""
    path = re.sub(r"\{\w+\}", "X1", endpoint.path)
    found, numbers = ROUTER.find("POST", path)
    assert found is endpoint
    try:
        return endpoint.decode(numbers, body)
    except RequestError as error:
        return error.problem


@pytest.mark.parametrize(("code", "body"), CODED, ids=_ids(CODED))
def test_hostile_body_has_its_code_at_every_endpoint(code: str, body: bytes) -> None:
    for endpoint in POSTS:
        if endpoint is COMMANDS:
            continue
        found = _decoded(endpoint, body)
        assert isinstance(found, Problem), endpoint.path
        assert (found.code, found.status) == (code, 400), endpoint.path
        # What was sent is in it at most in part, and nothing that could break a log.
        assert len(found.detail) <= 300
        assert found.detail.isascii()
        assert found.detail.isprintable()


@pytest.mark.parametrize(("code", "body"), WHOLES, ids=_ids(WHOLES))
async def test_body_that_is_no_json_refuses_the_whole_array(code: str, body: bytes) -> None:
    """Neither what stands before it nor what stands behind it is begun."""
    good = msgspec.json.encode(payment("O1"))
    async with open_desk() as client:
        await client.shop()
        for array in (body, b"[" + good + b"," + body + b"]", b"[" + body + b"," + good + b"]"):
            answer = await client.call("POST", "/v1/commands", array)
            inner = array is not body
            # Inside of an array a mark is no longer the first thing, only no JSON.
            expected = "MALFORMED_JSON" if inner and code == "BYTE_ORDER_MARK" else code
            assert (answer.status, answer.body.code) == (400, expected)
        assert (await client.get("/v1/payments/M1/O1"))[0] == 404


@pytest.mark.parametrize(("code", "body"), ITEM, ids=_ids(ITEM))
async def test_hostile_item_spoils_no_other(code: str, body: bytes) -> None:
    first, last = (msgspec.json.encode(payment(number)) for number in ("O1", "O2"))
    async with open_desk() as client:
        await client.shop()
        array = b"[" + first + b" , " + body + b",\n\t" + last + b"]"
        answer = await client.call("POST", "/v1/commands", array)
        assert answer.status == 200
        items = msgspec.json.decode(encode(answer.body))
        assert [item["status"] for item in items] == [201, 400, 201]
        assert items[1]["body"]["code"] == code


PAY = b'{"merchant_no":"M1","order_no":"O1","payer":"A1","amount_minor":1,"currency":"USD"}'
TAKEN = CreatePayment("M1", "O1", "A1", 1, "USD")
MISFITS = {
    "zero": PAY.replace(b":1,", b":0,"),
    "negative": PAY.replace(b":1,", b":-1,"),
    "above 10^13": PAY.replace(b":1,", b":10000000000001,"),
    "text for a number": PAY.replace(b":1,", b':"1",'),
    "truth for a number": PAY.replace(b":1,", b":true,"),
    "nothing for a number": PAY.replace(b":1,", b":null,"),
    "array for a number": PAY.replace(b":1,", b":[1],"),
    "number for a text": PAY.replace(b'"O1"', b"1"),
    "one too many": PAY[:-1] + b',"fee_bps":0}',
    "one too few": PAY.replace(b'"payer":"A1",', b""),
    "other case": PAY.replace(b"payer", b"Payer"),
    "the object's own": PAY[:-1] + b',"__class__":"x"}',
    "metadata no text": PAY[:-1] + b',"metadata":{"k":1}}',
    "an array": b"[" + PAY + b"]",
    "a text": b'"x"',
    "nothing": b"null",
    "16 levels": b'{"a":' * 16 + b"1" + b"}" * 16,
}


@pytest.mark.parametrize("body", MISFITS.values(), ids=MISFITS)
def test_body_that_does_not_fit_is_invalid_alone_and_in_an_array(body: bytes) -> None:
    assert _decoded(PAYMENTS, body).code == "INVALID_REQUEST"
    tagged = body.replace(b'{"merchant_no"', b'{"command":"create_payment","merchant_no"')
    good = PAY.replace(b"{", b'{"command":"create_payment",')
    if body is not MISFITS["16 levels"]:  # it would be on 17 there
        array = _decoded(COMMANDS, b"[" + tagged + b"," + good + b"]")
        assert array.entries[0].code == "INVALID_REQUEST"
        assert array.entries[1] == TAKEN


@pytest.mark.parametrize("name", ["é", "\u4e24\u676f", "\U0001f45b", "x" * 1_000])
async def test_detail_is_short_and_ascii_whatever_the_name_that_it_repeats(name: str) -> None:
    """Of members and parameters that nobody knows: msgspec's message has the name in it."""
    async with open_desk() as client:
        body = PAY[:-1] + b"," + msgspec.json.encode(name) + b":1}"
        for method, path, sent in (
            ("POST", "/v1/payments", body),
            ("GET", f"/v1/payments?merchant_no=M1&{quote(name)}=1", b""),
        ):
            answer = await client.call(method, path, sent)
            assert (answer.status, answer.body.code) == (422, "INVALID_REQUEST")
            assert answer.body.detail.isascii()
            assert answer.body.detail.isprintable()
            assert len(answer.body.detail) <= 300


FINE = {
    "white space": b' \n{ "merchant_no" :\t"M1",\r\n' + PAY.partition(b",")[2] + b"\n",
    "escapes": PAY.replace(b"payer", b"p\\u0061yer").replace(b"A1", b"\\u0041\\u0031"),
    "what may stay": PAY.replace(b"1,", b"10000000000000,"),
}


@pytest.mark.parametrize("body", FINE.values(), ids=FINE)
def test_body_that_is_only_spelt_otherwise_is_taken(body: bytes) -> None:
    found = _decoded(PAYMENTS, body)
    assert isinstance(found, CreatePayment)
    assert (found.payer, found.amount_minor) in {("A1", 1), ("A1", 10**13)}


def ascii_json(text: str) -> bytes:
    """Return a text as JSON with every character escaped."""
    units = text.encode("utf-16-be").hex()
    return (
        b'"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)).encode() + b'"'
    )


@pytest.mark.parametrize(
    "text",
    ["两杯茶",
     "Amélie", "a\u200eb", "שלום\u200f", "👛👨\u200d👩\u200d👧", "𝒳", "\ufeff",
     "\ue000", "a:b", '"\\/{}[],:'],
)  # fmt: skip
def test_text_of_any_script_is_taken_as_it_is(text: str) -> None:
    for escaped in (msgspec.json.encode(text), ascii_json(text)):
        body = PAY[:-1] + b',"description":' + escaped + b',"metadata":{' + escaped + b":"
        found = _decoded(PAYMENTS, body + escaped + b"}}")
        assert (found.description, found.metadata) == (text, {text: text})


BLEMISHED = {
    "\x00": "CONTROL_CHARACTER",
    "a\n": "CONTROL_CHARACTER",
    "\x7f": "CONTROL_CHARACTER",
    "\x85": "CONTROL_CHARACTER",
    "\u2028": "CONTROL_CHARACTER",
    "茶\u202e": "CONTROL_CHARACTER",
    "\u2069茶": "CONTROL_CHARACTER",
    "\ufffe": "NONCHARACTER",
    "👛\U0010ffff": "NONCHARACTER",
    "e\u0301": "TEXT_NOT_NFC",
    "茶e\u0301👛": "TEXT_NOT_NFC",
    "\u212b": "TEXT_NOT_NFC",
}


@pytest.mark.parametrize(("text", "code"), BLEMISHED.items(), ids=map(ascii, BLEMISHED))
def test_text_in_its_place_is_looked_at_however_it_is_spelt(text: str, code: str) -> None:
    """The schema alone would take most of these."""
    sound = b',"description":"x","metadata":{"k":"v"}}'
    for spelling in (ascii_json(text), msgspec.json.encode(text)):
        for place in (b'"x"', b'"k"', b'"v"'):
            body = PAY[:-1] + sound.replace(place, spelling)
            assert _decoded(PAYMENTS, body).code == code
            item = body.replace(b"{", b'{"command":"create_payment",', 1)
            array = _decoded(COMMANDS, b"[" + item + b"]")
            assert array.entries[0].code == code


async def test_get_takes_no_body_and_post_no_query() -> None:
    async with open_desk() as client:
        for method, path, body in (
            ("GET", "/v1/node", b"{}"),
            ("HEAD", "/v1/node", b" "),
            ("POST", "/v1/payments?merchant_no=M1", PAY),
        ):
            answer = await client.call(method, path, body)
            assert (answer.status, answer.body.code) == (422, "INVALID_REQUEST")


# Over a socket


def _one_of_each() -> Iterator[tuple[str, bytes]]:
    for kinds in (WHOLE, ITEMS):
        for code, bodies in kinds.items():
            yield code, next(body for body in bodies if len(body) <= BODY_BYTES)


async def test_listener_answers_every_kind_with_its_problem(tmp_path: Path) -> None:
    async with serving(tmp_path) as running, httpx2.AsyncClient(timeout=30) as client:
        path = f"{running.address}/v1/payments"
        for code, body in [*_one_of_each(), ("INVALID_REQUEST", b"{}")]:
            answer = await client.post(path, content=body, headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (_status(code), code)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == f"/v1/errors#{code}"
        path = f"{running.address}/v1/commands"
        for code, body in [*_one_of_each(), ("NESTED_TOO_DEEPLY", b"[" * DEEP)]:
            answer = await client.post(path, content=body, headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (400, code)
            if body in ITEMS.get(code, ()):
                answer = await client.post(path, content=b"[" + body + b"]", headers=JSON)
                assert [each["body"]["code"] for each in answer.json()] == [code]
        assert (await client.get(f"{running.address}/v1/node")).status_code == 200


# Whatever comes


MUTABLE = PAY[:-1] + b',"description":"two \\u0063ups","metadata":{"till":"7","clerk":"A:"}}'
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.tuples(
        st.integers(0, len(MUTABLE)),
        st.integers(0, 12),
        st.one_of(
            st.binary(max_size=4),
            st.sampled_from(
                [b'"', b"\\", b"{", b"}", b",", b":", b"1e2", b"\\ud800", b',"payer":"A2"', b"\x00"]
            ),
        ),
    ).map(lambda cut: MUTABLE[: cut[0]] + cut[2] + MUTABLE[cut[0] + cut[1] :]),
)


@given(ANYTHING)
def test_whatever_comes_is_taken_as_it_was_sent_or_refused(body: bytes) -> None:
    """Nothing is raised but refusals, and what was taken is all that was sent."""
    found = _decoded(PAYMENTS, body)
    encode(found)
    if not isinstance(found, Problem):
        assert msgspec.json.decode(encode(found)) == {
            "command": "create_payment",
            **msgspec.json.decode(body),
        }
    array = _decoded(COMMANDS, b"[" + body + b"]")
    encode(array)
    if isinstance(array, CommandArray):
        for entry in array.entries:
            assert isinstance(entry, Problem), "none of them has a tag"
            assert entry.status in {400, 422}
    else:
        assert array.status in {400, 413, 422}


LARGE_BYTES = 1 << 17
LARGE = {
    "empty objects": b"[" + b"{}," * (LARGE_BYTES // 3 - 2) + b"{}]",
    "one object": b"{" + b'"a":1,' * (LARGE_BYTES // 6 - 2) + b'"a":1}',
    "escaped quotes": b'["' + b'\\"' * (LARGE_BYTES // 2 - 2) + b'"]',
    "half escapes": b'["' + b"\\ud800" * (LARGE_BYTES // 6 - 2) + b'"]',
    "digits": b"[" + b"9" * (LARGE_BYTES - 2) + b"]",
    "fractions": b"[" + b"1.5," * (LARGE_BYTES // 4 - 2) + b"1.5]",
    "brackets": b"[" * LARGE_BYTES,
    "a thousand items": b"[" + b",".join([b'{"command":"' + b"x" * 100 + b'"}'] * 1_000) + b"]",
    "marks": b'["' + "e\u0301".encode() * (LARGE_BYTES // 3 - 2) + b'"]',
}


@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_large_hostile_body_takes_bounded_memory(body: bytes) -> None:
    """At most a hundred times the body, for as long as it is looked at."""
    assert len(body) <= LARGE_BYTES
    tracemalloc.start()
    try:
        found = _decoded(COMMANDS, body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(found, Problem | CommandArray)
    assert peak < 100 * LARGE_BYTES
