"""docs/SIGNATURES.md says what the code does: its example is signed and verified here."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from gateway.signatures import profile
from gateway.signatures.error import Reason
from gateway.signatures.keys import PrivateKey, PublicKey

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs/SIGNATURES.md").read_text("utf-8")
TARGET: Final = {
    "method": "POST",
    "authority": "api.bank.example",
    "path": "/v1/payments",
    "query": "",
}
KEYID, CREATED, NONCE = "3b7c2f9e41d8a605", 1_767_600_000, "Zk3v9QmB7xY1tR5wLs8HdA"


def _blocks(heading: str) -> Iterator[str]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return (block[1] for block in re.finditer(r"```\w+\n(.*?)\n```", section, re.DOTALL))


def _message(block: str) -> tuple[str, dict[str, str], bytes]:
    head, _, body = block.partition("\n\n")
    first, *lines = head.splitlines()
    return first, dict(line.split(": ", 1) for line in lines), body.encode()


@pytest.fixture
def steps() -> Iterator[str]:
    return _blocks("Step by step")


def _function(name: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    for block in _blocks("The same in Python"):
        exec(block, namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def test_page_shows_every_step_of_its_request(steps: Iterator[str]) -> None:
    key = PrivateKey.from_pem(next(steps).encode())
    body = next(steps).encode()
    headers = profile.sign_request(key, KEYID, **TARGET, body=body, created=CREATED, nonce=NONCE)
    digest, parameters = headers["content-digest"], headers["signature-input"].removeprefix("sig1=")
    assert next(steps) == f"Content-Digest: {digest}"
    assert next(steps) == parameters
    base = next(steps)
    assert base.encode() == profile.request_base(parameters, **TARGET, content_digest=digest)
    assert f"sig1=:{next(steps)}:" == headers["signature"]
    request, sent, sent_body = _message(next(steps))
    assert request == "POST /v1/payments HTTP/1.1"
    assert sent_body == body
    assert {name.lower(): text for name, text in sent.items()} == headers | {
        "host": TARGET["authority"],
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    assert f"body of {len(body)} bytes" in PAGE
    assert next(steps, None) is None
    profile.verify_request(
        key.public,
        profile.read_request(sent["Signature-Input"], sent["Signature"]),
        **TARGET,
        content_digest=sent["Content-Digest"],
        body=sent_body,
        now=CREATED,
    )


def test_python_of_the_page_signs_as_the_page_shows(steps: Iterator[str]) -> None:
    sign: Any = load_pem_private_key(next(steps).encode(), None)
    body = next(steps).encode()
    headers = _function("signed_headers")(
        sign.sign, "ed25519", KEYID, *TARGET.values(), body, CREATED, NONCE
    )
    *_, request = steps
    assert headers.items() <= _message(request)[1].items()


def test_answer_of_the_page_verifies_and_has_the_base_that_it_shows(steps: Iterator[str]) -> None:
    *_, request = steps
    signature = _message(request)[1]["Signature"]
    pem, response, base = _blocks("What the bank answers")
    bank = PublicKey(load_pem_public_key(pem.encode()))
    status, headers, body = _message(response)
    assert int(headers["Content-Length"]) == len(body)
    found = profile.read_response(headers["Signature-Input"], headers["Signature"])
    profile.verify_response(
        bank,
        found,
        status=int(status.removeprefix("HTTP/1.1 ")),
        content_digest=headers["Content-Digest"],
        body=body,
        request_signature=signature,
        now=CREATED,
    )
    assert bank.verify(found.signature, base.encode())
    assert base.splitlines()[2].endswith(signature.removeprefix("sig1="))


def test_page_lists_the_reasons_in_the_order_of_checking() -> None:
    rows = re.findall(r"^\| ([A-Z]+) \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(Reason)
    assert rows == ["MISSING", "MALFORMED", "ALG", "OLD", "DIGEST", "WRONG"]


def test_page_states_the_window_of_the_code() -> None:
    assert set(re.findall(r"(\d+) s (?:from|away)", PAGE)) == {str(profile.WINDOW_S)}
