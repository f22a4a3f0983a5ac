"""Attacks that concern no one module: foreign members, lines for the log, secrets, guesses."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from actors.kinds import KINDS
from gateway.ca.bank_keys import BankKeys
from gateway.ca.csr import body_of, new_csr, new_key
from gateway.endpoint import Endpoint
from gateway.errors import RequestError
from gateway.logs import configure
from gateway.table import ENDPOINTS
from tests.gateway.serving import GOOD, Door, addressed, connect, read_answer, serving
from tests.gateway.signed_desk import code_of, new_bank, open_signed_desk

POSTS = [endpoint for endpoint in ENDPOINTS if endpoint.method == "POST" and endpoint.body]
STATES = sorted({name for kind in KINDS.by_name.values() for name in kind.state.__struct_fields__})
FOREIGN = [*STATES, "object", "command", "created_at", "is_admin", "role", "__class__", "access"]


def _body_fields(endpoint: Endpoint) -> set[str]:
    info: Any = msgspec.inspect.type_info(endpoint.body)
    return {field.encode_name for field in getattr(info, "fields", ())}


@pytest.mark.parametrize("endpoint", POSTS, ids=lambda each: each.path)
def test_member_of_a_state_is_nobodys_to_assign(endpoint: Endpoint) -> None:
    """What actors keep of themselves: a balance, a status, what a fee is. Each is unknown."""
    numbers = dict.fromkeys(re.findall(r"\{(\w+)\}", endpoint.path), "X1")
    taken = _body_fields(endpoint)
    assert not taken & {"status", "posted_minor", "held_minor", "events", "object", "__class__"}
    for name in FOREIGN:
        if name in taken:
            continue
        body = msgspec.json.encode({name: 1})
        sent = b"[" + body + b"]" if endpoint.path == "/v1/commands" else body
        try:
            found = endpoint.decode(numbers, sent)
        except RequestError as error:
            problem = error.problem
        else:
            (problem,) = found.entries
        assert problem.code == "INVALID_REQUEST", name


async def test_page_of_another_site_is_not_heard_where_nothing_is_signed(
    tmp_path: Path, door: Door
) -> None:
    """No preflight comes before a POST without a body; what is anybody's stays so."""
    async with serving(tmp_path, door=door) as running:
        host = running.express_address or running.address if door == "express" else running.address
        own = b"Origin: " + host.encode() + b"\r\n"
        foreign = b"Origin: https://example.com\r\n"
        stream = await connect(running)
        asked = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n%b\r\n"
        answers = []
        for fields in (foreign, b"Origin: null\r\n", own, b""):
            await stream.send_all(addressed(running, asked % fields))
            answers.append((await read_answer(stream)).status)
        assert answers == [403, 403, 404, 404]
        await trio.aclose_forcefully(stream)


INJECTED = "injected"
LINES = (
    f"a {INJECTED}",
    f'x", "event": "{INJECTED}',
    f"{INJECTED}\\n2026-01-05 INFO",
    f"{INJECTED}\x9b31m",
    f"\xe2\x80\xae{INJECTED}",
    f"{INJECTED}" * 10,
    f"${{jndi:ldap://{INJECTED}}}",
    f"%0d%0a{INJECTED}",
)


@pytest.mark.parametrize("form", ["json", "text"])
async def test_nothing_of_a_request_gets_into_the_log(
    form: Any, tmp_path: Path, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """Request ids, paths, queries, user agents, bodies: a line for each request, and it is ours."""
    configure(form)
    async with serving(tmp_path, door=door, log_requests=True) as running:
        for line in LINES:
            path = line.translate(
                {ord(each): f"%{ord(each):02X}" for each in ' "\\{}$\xe2\x80\xae'}
            )
            path = "".join(each if each.isascii() else "%9B" for each in path)
            for request in (
                GOOD.replace(b"Host: x", b"Host: x\r\nX-Request-Id: " + line.encode("latin-1")),
                GOOD.replace(b"Host: x", b"Host: x\r\nUser-Agent: " + line.encode("latin-1")),
                GOOD.replace(b"[]", json.dumps([line])[:2].encode()),
                GOOD.replace(b"/v1/commands", f"/v1/payments/M1/{path}?{path}={path}".encode()),
            ):
                async with await connect(running) as stream:
                    await stream.send_all(addressed(running, request))
                    await read_answer(stream)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3 * len(LINES)
    assert INJECTED not in "\n".join(lines)
    for each in lines:
        assert each.isascii()
        if form == "json":
            assert json.loads(each)["level"] in {"info", "warning"}


def _forms(key: Any) -> Iterator[bytes]:
    """The ways in which a private key may lie about."""
    for encoding, form in (
        (Encoding.DER, PrivateFormat.PKCS8),
        (Encoding.PEM, PrivateFormat.PKCS8),
        (Encoding.Raw, PrivateFormat.Raw),
    ):
        if encoding is not Encoding.Raw or hasattr(key, "private_bytes_raw"):
            text = key.private_bytes(encoding, form, NoEncryption())
            # The first lines of a PEM are those of any key of its kind.
            yield from (text, base64.b64encode(text), text.hex().encode())


def _files(folder: Path) -> list[bytes]:
    return [each.read_bytes() for each in folder.rglob("*") if each.is_file()]


async def test_secret_lies_nowhere_but_where_it_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the store's files, nor in the log, nor in clear among the bank's keys."""
    configure("json")
    keys: BankKeys = new_bank(tmp_path)
    key = new_key("ed25519")
    async with serving(tmp_path / "bank", keys=keys, log_requests=True) as running:
        ask = running.counter.answer_operator
        for path, body in (
            ("/v1/merchants", {"merchant_no": "M1", "currency": "USD"}),
            ("/v1/merchants/M1/certificates", {"certificate_no": "K", "csr": _csr(key)}),
        ):
            answer = await ask("POST", path, b"", msgspec.json.encode(body))
            assert answer.status == 201, answer.body
    texts = [*_files(tmp_path), capsys.readouterr().err.encode()]
    assert any(b"ENCRYPTED PRIVATE KEY" in text for text in texts)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert any(public in text for text in texts), "this would have found it"
    for secret in (key, keys.signing.key):
        for form in _forms(secret):
            assert not any(form in text for text in texts)


def _csr(key: Any) -> str:
    return body_of(new_csr(key, "M1"))


async def test_wrong_signature_is_refused_alike_wherever_it_is_wrong(tmp_path: Path) -> None:
    """Nothing tells how near a guess was; what is compared is no secret, and nothing is to learn
    from the time that it takes: keys of the public kind verify, and the digest is the sender's."""
    async with open_signed_desk(tmp_path) as desk:
        signer = await desk.merchant("M1", alg="ed25519")
        heard = set()
        for bit in range(0, 512, 7):
            request = desk.signed(signer, "GET", "/v1/merchants/M1")
            name, text = "signature", request.headers["signature"]
            raw = bytearray(base64.b64decode(text[6:-1]))
            raw[bit // 8] ^= 1 << bit % 8
            changed = {**request.headers, name: f"sig1=:{base64.b64encode(raw).decode()}:"}
            response = await desk.send(msgspec.structs.replace(request, headers=changed))
            heard.add((*code_of(response), msgspec.json.decode(response.body)["detail"]))
        assert len(heard) == 1
        assert heard.pop()[:2] == (401, "SIGNATURE_WRONG")
