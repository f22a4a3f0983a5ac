"""Targets of signatures: structured fields, and the three headers of a message with its body.

`fields` holds our reader of dictionaries to `http_sf`, which was written apart from it. `signed`
knows the few messages that its keys have signed: nothing else may ever be accepted, whatever is
put together from their parts.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import http_sf

from gateway.signatures.digest import check_digest
from gateway.signatures.error import SignatureError
from gateway.signatures.keys import PrivateKey, PublicKey, UnfitKeyError
from gateway.signatures.profile import (
    read_request,
    read_response,
    sign_request,
    sign_response,
    verify_request,
    verify_response,
)
from gateway.signatures.structured import parse_dictionary, serialize_dictionary
from tests.fuzz.target import Target
from tests.gateway.signatures.signers import KEYS

_NOW: Final = 1_767_600_000


def _fields(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        ours = parse_dictionary(text)
    except SignatureError:
        return
    written = serialize_dictionary(ours)
    assert parse_dictionary(written) == ours
    assert serialize_dictionary(parse_dictionary(written)) == written
    theirs: Any = http_sf.parse(data.strip(b" \t"), tltype="dictionary")
    assert (http_sf.ser(theirs) if theirs else "") == written


FIELDS: Final = Target(
    "fields",
    _fields,
    (
        b'sig1=("@method" "@path";a "content-digest";sf);created=1;keyid="a\\"b";alg="ed25519"',
        b"sha-256=:AAAA:, b;x=?0;y=1.50;z=tok/en, c=?1, d=-12, e=(), f=0.001",
        b"a=1,\t b=2 ,c",
    ),
    (
        *(b"(", b")", b";", b"=", b", ", b",", b"?1", b"?0", b":", b":AA==:", b'"', b"\\", b"-"),
        *(b".", b"1.000", b"999999999999999", b"000", b"*", b"tok", b"@", b"%", b"\t", b" ", b"-0"),
        *(b"-0.0", b"\xe9", b"\xb2"),
    ),
)


class _Message:
    """A message of the target `signed`: seven lines, and its body behind them."""

    def __init__(self, lines: Sequence[str], body: bytes) -> None:
        self.digest, self.input, self.signature = lines[:3]
        self.first, self.second, self.third, self.fourth = lines[3:7]
        self.body = body

    def said(self) -> tuple[str | bytes, ...]:
        """What is signed of it, case and default port of the authority apart."""
        authority = self.second.lower().removesuffix(":443")
        path = self.third or "/"
        return self.first, authority, path, self.fourth, self.body

    @classmethod
    def of(cls, data: bytes) -> "_Message | None":
        """Return the message that these bytes are, None if they are none."""
        lines = data.split(b"\n", 7)
        if len(lines) < 8:
            return None
        return cls([each.decode("latin-1") for each in lines[:7]], lines[7])


def _written(headers: dict[str, str], details: Sequence[str], body: bytes) -> bytes:
    names = ("content-digest", "signature-input", "signature")
    lines = [*(headers[name] for name in names), *details]
    return "\n".join(lines).encode("latin-1") + b"\n" + body


def _request_of(key: PrivateKey, body: bytes, *details: str) -> bytes:
    method, authority, path, query = details
    headers = sign_request(
        key,
        "5f3a9c",
        method=method,
        authority=authority,
        path=path,
        query=query,
        body=body,
        created=_NOW,
        nonce="0123456789abcdef",
    )
    return _written(headers, details, body)


_REQUESTS: Final = (
    _request_of(KEYS["ed25519"], b"{}", "POST", "bank.example", "/v1/payments", ""),
    _request_of(KEYS["ed25519"], b"", "GET", "bank.example:8443", "/v1/payments/M1/O1", "a=%2f"),
    _request_of(KEYS["ecdsa-p256-sha256"], b"{}", "POST", "Bank.Example", "/v1/a%20b", "a=b"),
)
_SIGNED: Final = {message.said() for message in map(_Message.of, _REQUESTS) if message is not None}


def _signed(data: bytes) -> None:
    message = _Message.of(data)
    if message is None:
        return
    with suppress(SignatureError):
        check_digest(message.digest, message.body)
    try:
        signature = read_request(message.input, message.signature)
    except SignatureError:
        return
    assert f"sig1={signature.parameters}" == message.input
    assert message.signature == f"sig1=:{base64.b64encode(signature.signature).decode()}:"
    try:
        verify_request(
            KEYS[signature.alg].public,
            signature,
            method=message.first,
            authority=message.second,
            path=message.third,
            query=message.fourth,
            content_digest=message.digest,
            body=message.body,
            now=_NOW,
        )
    except SignatureError:
        return
    assert message.said() in _SIGNED, "accepted, though nobody has signed it"


SIGNED: Final = Target(
    "signed",
    _signed,
    _REQUESTS,
    (
        *(b"sig1=", b":", b"=", b"==:", b";", b"\n", b", ", b'"', b"@method", b'"@path"', b";req"),
        *(b"created=", b"keyid=", b"ed25519", b"ecdsa-p256-sha256", b"rsa-pss-sha512", b"?", b" "),
        *(b"sha-512=:", b"sha-256=:", b"piaohao-v1", b"bank.example", b":443", b"\xe9", b"%2F"),
    ),
)

_ANSWER_TO: Final = "sig1=:AAAA:"
_ANSWERS: Final = tuple(
    _written(
        sign_response(
            KEYS["ed25519"],
            "5f3a9c",
            status=200,
            body=b"{}",
            created=_NOW,
            request_signature=request_signature,
        ),
        ("200", "", "", ""),
        b"{}",
    )
    for request_signature in (None, _ANSWER_TO)
)


def _answered(data: bytes) -> None:
    message = _Message.of(data)
    if message is None:
        return
    try:
        signature = read_response(message.input, message.signature)
        status = int(message.first) if message.first.isdecimal() and len(message.first) < 4 else 0
        verify_response(
            KEYS[signature.alg].public,
            signature,
            status=status,
            content_digest=message.digest,
            body=message.body,
            request_signature=_ANSWER_TO if signature.bound else None,
            now=_NOW,
        )
    except SignatureError:
        return
    assert (status, message.body) == (200, b"{}"), "accepted, though the bank has not signed it"


ANSWERED: Final = Target("answered", _answered, _ANSWERS, SIGNED.tokens)


def _spki(data: bytes) -> None:
    """Keys in DER, as the engine stores them, and what they make of any signature."""
    try:
        key = PublicKey.from_spki(data)
    except UnfitKeyError:
        return
    assert not key.verify(data[-64:], data)
    assert not key.verify(b"\0" * 64, b"")
    assert PublicKey.from_spki(key.spki).spki == key.spki


SPKI: Final = Target("spki", _spki, tuple(key.public.spki for key in KEYS.values()))
