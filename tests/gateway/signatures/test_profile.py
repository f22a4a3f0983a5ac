"""The profile: what is signed verifies, one form is accepted, every change is refused."""

import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.signatures import base
from gateway.signatures.digest import base64_of, make_digest
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.keys import PrivateKey, PublicKey
from gateway.signatures.profile import (
    read_request,
    read_response,
    request_base,
    response_base,
    sign_request,
    sign_response,
    verify_request,
    verify_response,
)
from gateway.signatures.structured import InnerList, parse_dictionary
from tests.gateway.signatures import rfc9421
from tests.gateway.signatures.signers import KEYS, STRANGERS

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

KEY: Final = KEYS["ed25519"]
KEYID: Final = "5f3a9c"
NOW: Final = 1_767_225_600
NONCE: Final = "0123456789abcdef_-XY"
BODY: Final = b'{"amount_minor":2599}'
TARGET: Final[dict[str, Any]] = {
    "method": "POST",
    "authority": "api.bank.example",
    "path": "/v1/payments",
    "query": "a=1&b=%2f",
}
BY_KEY: Final = pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)


def _request(key: PrivateKey = KEY, **changes: Any) -> dict[str, str]:
    sent = {**TARGET, "body": BODY, "created": NOW, "nonce": NONCE, **changes}
    return sign_request(key, sent.pop("keyid", KEYID), **sent)


def _check(headers: dict[str, str], key: PublicKey = KEY.public, **changes: Any) -> None:
    signature = read_request(headers.get("signature-input"), headers.get("signature"))
    came = {**TARGET, "body": BODY, "now": NOW, **changes}
    verify_request(key, signature, content_digest=headers.get("content-digest"), **came)


def _refused(headers: dict[str, str], key: PublicKey = KEY.public, **changes: Any) -> Reason:
    with pytest.raises(SignatureError) as refused:
        _check(headers, key, **changes)
    return refused.value.reason


def _response(bound: str | None, key: PrivateKey = KEY, **changes: Any) -> dict[str, str]:
    sent: dict[str, Any] = {"status": 200, "body": BODY, "created": NOW, **changes}
    return sign_response(key, KEYID, request_signature=bound, **sent)


def _check_response(
    headers: dict[str, str], bound: str | None, key: PublicKey = KEY.public, **changes: Any
) -> None:
    signature = read_response(headers.get("signature-input"), headers.get("signature"))
    came: dict[str, Any] = {"status": 200, "body": BODY, "now": NOW, **changes}
    digest = headers.get("content-digest")
    verify_response(key, signature, content_digest=digest, request_signature=bound, **came)


def _refused_response(headers: dict[str, str], bound: str | None, **changes: Any) -> Reason:
    with pytest.raises(SignatureError) as refused:
        _check_response(headers, bound, **changes)
    return refused.value.reason


# --- requests --------------------------------------------------------------------------------


@BY_KEY
def test_request_that_was_signed_verifies(key: PrivateKey) -> None:
    headers = _request(key)
    assert headers["signature-input"] == (
        'sig1=("@method" "@authority" "@path" "@query" "content-digest");created=1767225600'
        f';keyid="5f3a9c";alg="{key.alg}";nonce="0123456789abcdef_-XY";tag="piaohao-v1"'
    )
    assert headers["content-digest"] == make_digest(BODY)
    signature = read_request(headers["signature-input"], headers["signature"])
    assert (signature.keyid, signature.alg, signature.created, signature.nonce) == (
        KEYID,
        key.alg,
        NOW,
        NONCE,
    )
    assert signature.header == headers["signature"]
    assert f"sig1={signature.parameters}" == headers["signature-input"]
    _check(headers, key.public)


@pytest.mark.parametrize(
    ("signed", "came"),
    [
        ({"body": b""}, {"body": b""}),
        ({"query": ""}, {"query": ""}),
        ({"path": ""}, {"path": "/"}),
        ({"authority": "API.Bank.Example"}, {}),
        ({"authority": "api.bank.example:443"}, {}),
        ({}, {"authority": "api.bank.example:443"}),
        ({"scheme": "http", "authority": "api.bank.example:80"}, {"scheme": "http"}),
        ({"nonce": "n" * 16}, {}),
        ({"nonce": "-" * 64}, {}),
        ({"keyid": "a"}, {}),
        ({"keyid": "f" * 40}, {}),
    ],
)
def test_request_at_the_edges_of_the_form_verifies(
    signed: dict[str, Any], came: dict[str, Any]
) -> None:
    _check(_request(**signed), **came)


def test_request_with_sha_512_verifies() -> None:
    """What a merchant may do though our own signer does not."""
    digest = make_digest(BODY, "sha-512")
    parameters = _request()["signature-input"].removeprefix("sig1=")
    signed = request_base(parameters, **TARGET, content_digest=digest)
    signature = read_request(f"sig1={parameters}", f"sig1=:{base64_of(KEY.sign(signed))}:")
    verify_request(KEY.public, signature, **TARGET, content_digest=digest, body=BODY, now=NOW)


@BY_KEY
@pytest.mark.parametrize(
    "came",
    [
        {"method": "PUT"},
        {"method": "post"},
        {"authority": "api.bank.example:80"},
        {"authority": "api.bank.example:8443"},
        {"authority": "api.bank.examplf"},
        {"scheme": "http", "authority": "api.bank.example:443"},
        {"path": "/v1/payments/"},
        {"path": "/v1//payments"},
        {"path": "/v1/%70ayments"},
        {"query": ""},
        {"query": "b=%2f&a=1"},
        {"query": "a=1&b=%2F"},
        {"query": "?a=1&b=%2f"},
    ],
)
def test_request_that_was_changed_is_wrong(key: PrivateKey, came: dict[str, str]) -> None:
    assert _refused(_request(key), key.public, **came) is Reason.WRONG


@BY_KEY
def test_request_under_another_key_is_refused(key: PrivateKey) -> None:
    """A key of another algorithm does not fit `alg`; one of the same did not sign."""
    for other in KEYS.values():
        if other is not key:
            assert _refused(_request(key), other.public) is Reason.ALG
    assert _refused(_request(key), STRANGERS[key.alg].public) is Reason.WRONG


def test_request_with_another_body_or_digest_is_refused() -> None:
    headers = _request()
    assert _refused(headers, body=b"{}") is Reason.DIGEST
    assert _refused(headers, body=b"") is Reason.DIGEST
    swapped = headers | {"content-digest": make_digest(b"{}")}
    assert _refused(swapped) is Reason.DIGEST
    assert _refused(swapped, body=b"{}") is Reason.WRONG
    stronger = headers | {"content-digest": make_digest(BODY, "sha-512")}
    assert _refused(stronger) is Reason.WRONG


@pytest.mark.parametrize("header", ["signature-input", "signature", "content-digest"])
def test_request_without_a_header_is_missing_it(header: str) -> None:
    headers = _request()
    del headers[header]
    assert _refused(headers) is Reason.MISSING


@pytest.mark.parametrize(
    ("now", "accepted"),
    [(-301, False), (-300.5, False), (-300, True), (0, True), (300, True), (300.5, False)],
)
def test_request_is_accepted_for_five_minutes_either_way(now: float, accepted: bool) -> None:
    headers = _request()
    if accepted:
        _check(headers, now=NOW + now)
    else:
        assert _refused(headers, now=NOW + now) is Reason.OLD


def test_clock_that_is_no_number_accepts_nothing() -> None:
    assert _refused(_request(), now=float("nan")) is Reason.OLD


@pytest.mark.parametrize(
    "changes",
    [
        {"method": ""},
        {"method": "PO ST"},
        {"method": 'GET\n"@authority": other'},
        {"authority": ""},
        {"authority": "bank example"},
        {"authority": "bänk.example"},
        {"path": "v1/payments"},
        {"path": "*"},
        {"path": "/a?b"},
        {"path": "/a b"},
        {"path": '/a\n"@query": ?x'},
        {"path": "/a\r"},
        {"path": "/\x00"},
        {"path": "/票号"},
        {"query": "a\n"},
        {"query": "a b"},
        {"query": "\x7f"},
    ],
)
def test_value_that_no_request_has_is_neither_signed_nor_verified(changes: dict[str, Any]) -> None:
    """A line break would let one value pass for two lines of the base."""
    with pytest.raises(SignatureError) as refused:
        _request(**changes)
    assert refused.value.reason is Reason.MALFORMED
    assert _refused(_request(), **changes) is Reason.MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": ""},
        {"nonce": "n" * 15},
        {"nonce": "n" * 65},
        {"nonce": "0123456789abcdef."},
        {"nonce": '0123456789abcdef";x="'},
        {"keyid": ""},
        {"keyid": "5F3A9C"},
        {"keyid": "05f3a9c"},
        {"keyid": "a" * 41},
        {"keyid": "g"},
        {"created": 0},
        {"created": -1},
        {"created": 10**12},
        {"created": 1.5},
        {"created": True},
    ],
)
def test_parameter_without_its_form_is_not_signed(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureError) as refused:
        _request(**changes)
    assert refused.value.reason is Reason.MALFORMED


COMPONENTS: Final = '("@method" "@authority" "@path" "@query" "content-digest")'
INPUT: Final = _request()["signature-input"]
SIGNATURE: Final = _request()["signature"]


@pytest.mark.parametrize(
    "signature_input",
    [
        "",
        "sig1",
        "sig1=()",
        INPUT[:-1],
        INPUT + " ",
        " " + INPUT,
        INPUT + "\n",
        INPUT + "\r\n",
        INPUT + "\x00",
        INPUT + ";",
        INPUT + ",",
        INPUT + ";expires=1767225900",
        INPUT + ';nonce="0123456789abcdef_-XY"',
        f"{INPUT}, {INPUT}",
        f"{INPUT},{INPUT}",
        f"{INPUT}, sig2=()",
        f"sig2=(), {INPUT}",
        INPUT.replace("sig1", "sig2"),
        INPUT.replace("sig1", "SIG1"),
        INPUT.replace("sig1=", "sig1 ="),
        INPUT.replace("sig1=", "sig1= "),
        INPUT.replace("sig1=", ""),
        INPUT.replace("(", "( "),
        INPUT.replace(")", " )"),
        INPUT.replace(" ", "  "),
        INPUT.replace(" ", "\t"),
        INPUT.replace(" ", ", "),
        INPUT.replace(";", "; "),
        INPUT.replace(";", " ;"),
        INPUT.replace('"@method" ', ""),
        INPUT.replace('"@query" ', ""),
        INPUT.replace(' "content-digest"', ""),
        INPUT.replace('"@method" "@authority"', '"@authority" "@method"'),
        INPUT.replace('"@method"', '"@method" "@method"'),
        INPUT.replace('"content-digest"', '"content-digest" "date"'),
        INPUT.replace('"content-digest"', '"content-digest";sf'),
        INPUT.replace('"content-digest"', '"Content-Digest"'),
        INPUT.replace('"@method"', "@method"),
        INPUT.replace('"@path" "@query"', '"@target-uri"'),
        INPUT.replace("created=", "created=0"),
        INPUT.replace("created=", "created=-"),
        INPUT.replace("created=", "created=+"),
        INPUT.replace("1767225600", "1767225600.0"),
        INPUT.replace("1767225600", "1_767_225_600"),
        INPUT.replace("1767225600", "'1767225600'"),
        INPUT.replace("1767225600", '"1767225600"'),
        INPUT.replace("1767225600", "@1767225600"),
        INPUT.replace("1767225600", "1767225600000"),
        INPUT.replace("1767225600", "\u0661767225600"),
        INPUT.replace(";created=1767225600", ""),
        INPUT.replace(";tag=", ";created=1767225600;tag="),
        INPUT.replace("5f3a9c", "5F3A9C"),
        INPUT.replace("5f3a9c", "05f3a9c"),
        INPUT.replace("5f3a9c", "0x5f3a9c"),
        INPUT.replace("5f3a9c", "5f:3a:9c"),
        INPUT.replace("5f3a9c", ""),
        INPUT.replace("5f3a9c", "\\5f3a9c"),
        INPUT.replace('"5f3a9c"', "a5f3a9c"),
        INPUT.replace("ed25519", "ED25519"),
        INPUT.replace("ed25519", "hmac-sha256"),
        INPUT.replace("ed25519", "rsa-v1_5-sha256"),
        INPUT.replace(';alg="ed25519"', ""),
        INPUT.replace(NONCE, "short"),
        INPUT.replace(NONCE, NONCE + "+"),
        INPUT.replace(NONCE, NONCE + "="),
        INPUT.replace(f';nonce="{NONCE}"', ""),
        INPUT.replace("piaohao-v1", "piaohao-v2"),
        INPUT.replace(';tag="piaohao-v1"', ""),
        INPUT.replace(f';nonce="{NONCE}";tag="piaohao-v1"', f';tag="piaohao-v1";nonce="{NONCE}"'),
        INPUT.replace("created", "Created"),
        INPUT.replace("=", "=\u200b"),
    ],
)
def test_signature_input_in_another_form_is_refused(signature_input: str) -> None:
    assert signature_input != INPUT
    assert _refused(_request() | {"signature-input": signature_input}) is Reason.MALFORMED


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sig1",
        "sig1=::",
        "sig1=:=:",
        SIGNATURE[:-1],
        SIGNATURE + " ",
        " " + SIGNATURE,
        SIGNATURE + "\n",
        SIGNATURE + ",",
        SIGNATURE + ";a=1",
        f"{SIGNATURE}, {SIGNATURE}",
        f"{SIGNATURE}, sig2=:AAAA:",
        SIGNATURE.replace("sig1", "sig2"),
        SIGNATURE.replace("sig1=", ""),
        SIGNATURE.replace("sig1=:", "sig1=: "),
        SIGNATURE.replace("==:", ":"),
        SIGNATURE.replace("==:", "=:"),
        SIGNATURE.replace("==:", "===:"),
        SIGNATURE.replace("==:", "==AA:"),
        re.sub("(.)==:", lambda last: f"{chr(ord(last[1]) + 1)}==:", SIGNATURE),
        SIGNATURE[:20] + "\n" + SIGNATURE[20:],
        SIGNATURE[:20] + "-_" + SIGNATURE[22:],
        "sig1=:" + "A" * 704 + ":",
    ],
)
def test_signature_in_another_form_is_refused(signature: str) -> None:
    assert _refused(_request() | {"signature": signature}) is Reason.MALFORMED


CHARACTERS: Final = [chr(code) for code in (*range(0x20, 0x7F), 0, 9, 10, 13, 0x7F, 0xE9, 0x2028)]


@pytest.mark.parametrize("header", ["signature-input", "signature", "content-digest"])
def test_request_with_any_one_character_changed_is_refused(header: str) -> None:
    """Every character replaced by each other one, left out, doubled, and moved by one."""
    headers = _request()
    text = headers[header]
    changed = {text[:at] + text[at + 1 :] for at in range(len(text))}
    changed |= {text[:at] + text[at] + text[at:] for at in range(len(text))}
    changed |= {text[:at] + text[at : at + 2][::-1] + text[at + 2 :] for at in range(len(text))}
    changed |= {
        text[:at] + character + text[at + 1 :]
        for at in range(len(text))
        for character in CHARACTERS
    }
    for other in changed - {text}:
        with pytest.raises(SignatureError):
            _check(headers | {header: other})


@pytest.mark.parametrize("vector", rfc9421.VECTORS, ids=lambda vector: vector.name)
def test_message_of_the_rfc_is_refused(vector: rfc9421.Vector) -> None:
    """They verify, as test_base shows, but none is of this profile, whatever its label."""
    for label in (vector.label, "sig1"):
        for read in (read_request, read_response):
            with pytest.raises(SignatureError) as refused:
                read(f"{label}={vector.signed}", f"{label}=:{vector.signature}:")
            assert refused.value.reason is Reason.MALFORMED


# --- responses -------------------------------------------------------------------------------


@BY_KEY
def test_response_to_a_request_verifies_for_that_request_alone(key: PrivateKey) -> None:
    mine, other = _request()["signature"], _request(nonce=NONCE[::-1])["signature"]
    headers = _response(mine, key)
    assert headers["signature-input"] == (
        'sig1=("@status" "content-digest" "signature";req;key="sig1");created=1767225600'
        f';keyid="5f3a9c";alg="{key.alg}";tag="piaohao-v1"'
    )
    assert read_response(headers["signature-input"], headers["signature"]).bound
    _check_response(headers, mine, key.public)
    for wrong in (other, None):
        assert _refused_response(headers, wrong, key=key.public) is Reason.WRONG


def test_response_to_no_request_verifies_for_no_request() -> None:
    """Whoever expects an answer to a request of its own is not given one to nobody's."""
    headers = _response(None)
    assert headers["signature-input"].startswith('sig1=("@status" "content-digest");created=')
    assert not read_response(headers["signature-input"], headers["signature"]).bound
    _check_response(headers, None)
    assert _refused_response(headers, _request()["signature"]) is Reason.WRONG


@pytest.mark.parametrize(
    ("came", "reason"),
    [
        ({"status": 201}, Reason.WRONG),
        ({"body": b"{}"}, Reason.DIGEST),
        ({"now": NOW + 301}, Reason.OLD),
        ({"now": NOW - 301}, Reason.OLD),
        ({"key": KEYS["rsa-pss-sha512"].public}, Reason.ALG),
    ],
)
def test_response_that_was_changed_is_refused(came: dict[str, Any], reason: Reason) -> None:
    mine = _request()["signature"]
    assert _refused_response(_response(mine), mine, **came) is reason


@pytest.mark.parametrize("header", ["signature-input", "signature", "content-digest"])
def test_response_without_a_header_is_missing_it(header: str) -> None:
    headers = _response(None)
    del headers[header]
    assert _refused_response(headers, None) is Reason.MISSING


ANSWER: Final = _response(SIGNATURE)["signature-input"]


@pytest.mark.parametrize(
    "signature_input",
    [
        ANSWER + " ",
        ANSWER + "\n",
        ANSWER + ";expires=1767225900",
        f"{ANSWER}, {ANSWER}",
        f"{ANSWER}, sig2=()",
        ANSWER.replace("sig1", "sig2"),
        ANSWER.replace("(", "( "),
        ANSWER.replace(";req", ""),
        ANSWER.replace(';key="sig1"', ""),
        ANSWER.replace(';req;key="sig1"', ';key="sig1";req'),
        ANSWER.replace(' "signature"', ' "signature-input"'),
        ANSWER.replace('"@status" "content-digest"', '"content-digest" "@status"'),
        ANSWER.replace('"@status" ', ""),
        ANSWER.replace(' "content-digest"', ""),
        ANSWER.replace("5f3a9c", "5F3A9C"),
        ANSWER.replace(';alg="ed25519"', ""),
        ANSWER.replace(';tag="piaohao-v1"', f';nonce="{NONCE}";tag="piaohao-v1"'),
    ],
)
def test_response_in_another_form_is_refused(signature_input: str) -> None:
    headers = _response(SIGNATURE) | {"signature-input": signature_input}
    assert signature_input != ANSWER
    assert _refused_response(headers, SIGNATURE) is Reason.MALFORMED


@pytest.mark.parametrize("bound", [SIGNATURE, None])
@pytest.mark.parametrize("header", ["signature-input", "signature"])
def test_response_with_any_one_character_changed_is_refused(header: str, bound: str | None) -> None:
    headers = _response(bound)
    text = headers[header]
    for at in range(len(text)):
        for character in {*'0a"; =', chr(ord(text[at]) ^ 1), chr(ord(text[at]) ^ 32)} - {text[at]}:
            other = text[:at] + character + text[at + 1 :]
            with pytest.raises(SignatureError):
                _check_response(headers | {header: other}, bound)


def test_request_is_no_response_and_a_response_no_request() -> None:
    request, response = _request(), _response(None)
    with pytest.raises(SignatureError):
        read_response(request["signature-input"], request["signature"])
    with pytest.raises(SignatureError):
        read_request(response["signature-input"], response["signature"])


@pytest.mark.parametrize("bound", ["", "sig2=:AAAA:", "sig1=:AAAA:\n", "sig1=:AAAA:, sig1=:AAAA:"])
def test_response_to_a_malformed_signature_is_not_signed(bound: str) -> None:
    with pytest.raises(SignatureError):
        _response(bound)


# --- the fast base and the general one ---------------------------------------------------------

VISIBLE: Final = st.text([chr(code) for code in range(0x21, 0x7F)], max_size=20)


@given(
    scheme=st.sampled_from(["http", "https"]),
    method=VISIBLE.filter(bool),
    authority=st.one_of(
        VISIBLE.filter(bool), st.sampled_from(["A.b:443", "a.B:80", "[::1]:443", ":80"])
    ),
    path=st.one_of(st.just(""), VISIBLE.map(lambda rest: "/" + rest.replace("?", ""))),
    query=st.one_of(st.none(), VISIBLE),
    body=st.binary(max_size=20),
    algorithm=st.sampled_from(["sha-256", "sha-512"]),
    created=st.integers(1, 10**12 - 1),
    nonce=st.text("aZ09_-", min_size=16, max_size=64),
)
def test_base_of_request_is_the_general_one(
    scheme: str,
    method: str,
    authority: str,
    path: str,
    query: str | None,
    body: bytes,
    algorithm: Any,
    created: int,
    nonce: str,
) -> None:
    digest = make_digest(body, algorithm)
    parameters = (
        f'{COMPONENTS};created={created};keyid="a1";alg="ed25519";nonce="{nonce}";tag="piaohao-v1"'
    )
    signed = parse_dictionary(f"sig1={parameters}")["sig1"]
    assert isinstance(signed, InnerList)
    request = base.Request(
        method, scheme, authority, path, query, [("Content-Digest", f"  {digest} ")]
    )
    assert base.signature_base(signed, request) == request_base(
        parameters,
        method=method,
        authority=authority,
        path=path,
        query=query or "",
        content_digest=digest,
        scheme=scheme,
    )


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=20),
    signature=st.one_of(st.none(), st.binary(min_size=64, max_size=64)),
)
def test_base_of_response_is_the_general_one(
    status: int, body: bytes, signature: bytes | None
) -> None:
    digest = make_digest(body)
    header = None if signature is None else f"sig1=:{base64_of(signature)}:"
    answered = "" if header is None else ' "signature";req;key="sig1"'
    parameters = f'("@status" "content-digest"{answered});created=1;keyid="a"'
    signed = parse_dictionary(f"sig1={parameters}")["sig1"]
    assert isinstance(signed, InnerList)
    request = base.Request("GET", "https", "a", "/", None, [("Signature", header or "")])
    response = base.Response(status, [("content-digest", digest)], request)
    assert base.signature_base(signed, response) == response_base(
        parameters, status=status, content_digest=digest, request_signature=header
    )
