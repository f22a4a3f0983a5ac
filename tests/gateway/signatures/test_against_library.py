"""Our verifier and `http-message-signatures`: two that were written apart come to one verdict.

Within the profile they agree on every message, valid or changed. In form ours is stricter; the
tables at the end say in which forms, and where the library is the stricter one.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import http_sf
import pytest
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_private_key
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
)
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519, RSA_PSS_SHA512
from http_message_signatures.resolvers import MappingKeyResolver
from hypothesis import event, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from gateway.signatures import base
from gateway.signatures.digest import base64_of, bytes_of, make_digest
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import (
    read_request,
    read_response,
    sign_request,
    sign_response,
    verify_request,
    verify_response,
)
from gateway.signatures.structured import InnerList, parse_dictionary
from tests.gateway.signatures import rfc9421
from tests.gateway.signatures.signers import KEYS, STRANGERS

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

ALGORITHMS: Final[dict[str, Any]] = {
    "ed25519": ED25519,
    "ecdsa-p256-sha256": ECDSA_P256_SHA256,
    "rsa-pss-sha512": RSA_PSS_SHA512,
}
COMPONENTS: Final = ("@method", "@authority", "@path", "@query", "content-digest")
ANSWER: Final = ("@status", "content-digest", '"signature";req;key="sig1"')

# Key ids: of the key that signs, of another one with the same algorithm, of none.
OURS: Final = "5f3a9c"
OTHER: Final = "7b"
NOBODY: Final = "dead"
NONCE: Final = "0123456789abcdef"


class Sent(Struct, frozen=True):
    """A request as it came, in the shape that the library wants."""

    method: str
    scheme: str
    authority: str
    path: str
    query: str | None
    body: bytes
    headers: dict[str, str]

    @property
    def url(self) -> str:
        query = "" if self.query is None else f"?{self.query}"
        return f"{self.scheme}://{self.authority}{self.path}{query}"


class Answered(Struct, frozen=True):
    """A response as it came, and the request that it answers."""

    status_code: int
    body: bytes
    headers: dict[str, str]
    request: Sent


class Verifier(HTTPMessageVerifier):
    """The library with our window: with a `max_age` of nothing it holds on both sides."""

    max_clock_skew = timedelta(seconds=300)


def _keys(alg: str) -> dict[str, PrivateKey]:
    return {OURS: KEYS[alg], OTHER: STRANGERS[alg]}


def _ours(sent: Sent, alg: str) -> Reason | None:
    """Why we refuse a request, None if we do not; a key that is not known signs nothing."""
    headers = sent.headers
    try:
        signature = read_request(headers.get("signature-input"), headers.get("signature"))
        if signature.keyid not in _keys(alg):
            return Reason.WRONG
        verify_request(
            _keys(alg)[signature.keyid].public,
            signature,
            method=sent.method,
            scheme=sent.scheme,
            authority=sent.authority,
            path=sent.path,
            query=sent.query or "",
            content_digest=headers.get("content-digest"),
            body=sent.body,
            now=time.time(),
        )
    except SignatureError as refused:
        return refused.reason
    return None


def _ours_of(answer: Answered, alg: str) -> Reason | None:
    """Why we refuse a response to a signed request."""
    headers = answer.headers
    try:
        signature = read_response(headers.get("signature-input"), headers.get("signature"))
        if signature.keyid not in _keys(alg):
            return Reason.WRONG
        verify_response(
            _keys(alg)[signature.keyid].public,
            signature,
            status=answer.status_code,
            content_digest=headers.get("content-digest"),
            body=answer.body,
            request_signature=answer.request.headers["signature"],
            now=time.time(),
        )
    except SignatureError as refused:
        return refused.reason
    return None


def _theirs(message: Sent | Answered, alg: str) -> bool:
    """Whether the library accepts a message, told everything that the profile demands."""
    spkis = {keyid: key.public.spki for keyid, key in _keys(alg).items()}
    keys: dict[str, Any] = {keyid: load_der_public_key(spki) for keyid, spki in spkis.items()}
    # The forms at the end of this file need ids that name the same key.
    keys |= {OURS.upper(): keys[OURS], "0" + OURS: keys[OURS]}
    verifier = Verifier(
        signature_algorithm=ALGORITHMS[alg],
        key_resolver=MappingKeyResolver(public_keys=keys, private_keys={}),
    )
    try:
        verified = verifier.verify(
            message,
            max_age=timedelta(0),
            expect_tag="piaohao-v1",
            require_components=COMPONENTS if isinstance(message, Sent) else ANSWER,
            body=message.body,
        )
    except HTTPMessageSignaturesException:
        return False
    return len(verified) == 1


def _sign(sent: Sent, key: PrivateKey, created: int, nonce: str = NONCE) -> Sent:
    headers = sign_request(
        key,
        OURS,
        method=sent.method,
        scheme=sent.scheme,
        authority=sent.authority,
        path=sent.path,
        query=sent.query or "",
        body=sent.body,
        created=created,
        nonce=nonce,
    )
    return replace(sent, headers=headers)


# --- messages and what may become of them -------------------------------------------------------

# What a URL may hold (RFC 3986); the library refuses other characters, a parser of HTTP likewise.
_URL: Final = st.lists(
    st.sampled_from([*"Aa0.~!$&'()*+,;=:@/-_", "%2f", "%2F", "%00"]), max_size=12
).map("".join)
PARTS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "method": st.sampled_from(["GET", "POST", "PUT", "DELETE", "M-SEARCH"]),
    "scheme": st.sampled_from(["http", "https"]),
    "authority": st.sampled_from(
        ["bank.example", "Bank.Example", "bank.example:443", "bank.example:80", "[::1]:8443", "b"]
    ),
    "path": _URL.map(lambda rest: "/" + rest) | st.just(""),
    "query": st.none() | _URL | st.just("a=1&b=%2f?"),
    "body": st.binary(max_size=12),
}
REQUESTS: Final = st.builds(Sent, **PARTS, headers=st.just({}))
# Never so near to the edge of the window that the two would look at the clock on its two sides.
OFFSETS: Final = st.sampled_from([0] * 6 + [-(10**6), -310, -290, 290, 310, 10**6])
SHIFTS: Final = st.sampled_from([-20, -1, 1, 20])
CHANGES: Final = [*PARTS, "digest", "sha-512", "keyid", "alg", "nonce", "created", "bit", "key"]


def _put(headers: dict[str, str], name: str, old: str, new: str) -> dict[str, str]:
    return headers | {name: headers[name].replace(old, new)}


def _change_headers(
    draw: st.DrawFn, headers: dict[str, str], body: bytes, change: str
) -> dict[str, str]:
    """One change of what a signature says, or of the signature."""
    match change:
        case "digest":
            return headers | {"content-digest": make_digest(draw(PARTS["body"]))}
        case "sha-512":
            return headers | {"content-digest": make_digest(body, "sha-512")}
        case "keyid":
            return _put(headers, "signature-input", OURS, draw(st.sampled_from([OTHER, NOBODY])))
        case "alg":
            new = draw(st.sampled_from(sorted(ALGORITHMS)))
            old = next(alg for alg in ALGORITHMS if f'"{alg}"' in headers["signature-input"])
            return _put(headers, "signature-input", old, new)
        case "nonce":
            return _put(headers, "signature-input", NONCE, NONCE[::-1])
        case "created":
            created = headers["signature-input"].partition("created=")[2].partition(";")[0]
            return _put(headers, "signature-input", created, str(int(created) + draw(SHIFTS)))
        case _:
            raw = bytearray(bytes_of(headers["signature"][6:-1], "signature"))
            bit = draw(st.integers(0, 8 * len(raw) - 1))
            raw[bit // 8] ^= 1 << bit % 8
            return headers | {"signature": f"sig1=:{base64_of(bytes(raw))}:"}


@st.composite
def _changed_requests(draw: st.DrawFn) -> tuple[Sent, str, list[str]]:
    alg = draw(st.sampled_from(sorted(ALGORITHMS)))
    sent = draw(REQUESTS)
    changes = draw(st.lists(st.sampled_from(CHANGES), max_size=2))
    signer = STRANGERS[alg] if "key" in changes else KEYS[alg]
    sent = _sign(sent, signer, int(time.time()) + draw(OFFSETS))
    for change in changes:
        if change in PARTS:
            sent = replace(sent, **{change: draw(PARTS[change])})
        elif change != "key":
            headers = _change_headers(draw, sent.headers, sent.body, change)
            sent = replace(sent, headers=headers)
    return sent, alg, changes


@settings(max_examples=300)
@given(changed=_changed_requests())
def test_request_gets_one_verdict(changed: tuple[Sent, str, list[str]]) -> None:
    sent, alg, changes = changed
    ours = _ours(sent, alg)
    event(f"{'and '.join(sorted(set(changes))) or 'unchanged'}: {ours}")
    assert (ours is None) is _theirs(sent, alg)


@st.composite
def _changed_responses(draw: st.DrawFn) -> tuple[Answered, str]:
    alg = draw(st.sampled_from(sorted(ALGORITHMS)))
    now = int(time.time())
    request = _sign(draw(REQUESTS), STRANGERS[draw(st.sampled_from(sorted(ALGORITHMS)))], now)
    changes = draw(
        st.lists(
            st.sampled_from(["status", "body", "key", "request", "unbound", *CHANGES[6:]]),
            max_size=2,
        )
    )
    body, status = draw(PARTS["body"]), draw(st.integers(200, 204))
    headers = sign_response(
        STRANGERS[alg] if "key" in changes else KEYS[alg],
        OURS,
        status=status,
        body=body,
        created=now + draw(OFFSETS),
        request_signature=None if "unbound" in changes else request.headers["signature"],
    )
    for change in changes:
        if change == "status":
            status = draw(st.integers(200, 204))
        elif change == "body":
            body = draw(PARTS["body"])
        elif change == "request":
            request = _sign(request, STRANGERS["ed25519"], now + 1)
        elif change not in {"key", "unbound"}:
            headers = _change_headers(draw, headers, body, change)
    return Answered(status, body, headers, request), alg


@given(changed=_changed_responses())
def test_response_gets_one_verdict(changed: tuple[Answered, str]) -> None:
    answer, alg = changed
    ours = _ours_of(answer, alg)
    event(str(ours))
    assert (ours is None) is _theirs(answer, alg)


def _canonical(headers: dict[str, str]) -> list[str]:
    """The three headers without the freedoms of structured fields and of the label's name."""
    parsed: list[Any] = [
        http_sf.parse(headers[name].strip().encode(), tltype="dictionary")
        for name in ("content-digest", "signature-input", "signature")
    ]
    digest, *labelled = parsed
    members = [member for dictionary in labelled for member in dictionary.values()]
    return [http_sf.ser(each) for each in (digest, *({"label": member} for member in members))]


FRAGMENTS: Final = [*' ;,="()\\:-_.\t*@aAfF09', ";tag", ", ", "sig1=", ";a=1", '"date"', "=:", "é"]


@st.composite
def _edited_requests(draw: st.DrawFn) -> tuple[Sent, Sent]:
    sent = _sign(draw(REQUESTS), KEYS["ed25519"], int(time.time()))
    headers = dict(sent.headers)
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(headers)))
        text = headers[name]
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 2))
        headers[name] = text[:at] + draw(st.sampled_from(["", *FRAGMENTS])) + text[at + length :]
    return sent, replace(sent, headers=headers)


@settings(max_examples=300)
@given(edited=_edited_requests())
def test_request_with_edited_headers_is_accepted_by_us_only_if_by_both(
    edited: tuple[Sent, Sent],
) -> None:
    """Of what the library accepts we refuse nothing but another form of the same three headers."""
    sent, came = edited
    ours, theirs = _ours(came, "ed25519"), _theirs(came, "ed25519")
    event(f"{ours}, the library {'accepts' if theirs else 'refuses'}")
    if ours is None:
        assert theirs
        assert came == sent
    elif theirs:
        assert ours is Reason.MALFORMED
        assert _canonical(came.headers) == _canonical(sent.headers)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_request_that_the_library_signed_is_accepted(alg: str) -> None:
    pems = {
        "ed25519": rfc9421.ED25519,
        "ecdsa-p256-sha256": rfc9421.ECC_P256,
        "rsa-pss-sha512": rfc9421.RSA_PSS,
    }
    private: dict[str, Any] = {OURS: load_pem_private_key(pems[alg], None)}
    sent = Sent("POST", "https", "Bank.Example:443", "/v1/a%20b", "c=d", b"{}", {})
    HTTPMessageSigner(
        signature_algorithm=ALGORITHMS[alg],
        key_resolver=MappingKeyResolver(public_keys={}, private_keys=private),
    ).sign(
        sent,
        key_id=OURS,
        created=datetime.now(UTC),
        nonce=NONCE,
        label="sig1",
        tag="piaohao-v1",
        covered_component_ids=COMPONENTS,
        body=sent.body,
    )
    lower = replace(sent, headers={name.lower(): text for name, text in sent.headers.items()})
    assert _ours(lower, alg) is None


# --- where one of the two is stricter -----------------------------------------------------------

PLAIN: Final = Sent("POST", "https", "bank.example", "/v1", "a=b", b"{}", {})


def _signed_as(change: Callable[[str], str], headers: dict[str, str] | None = None) -> Sent:
    """A request whose Signature-Input has another form, with a signature that is right for it."""
    sent = _sign(PLAIN, KEYS["ed25519"], int(time.time()))
    text = change(sent.headers["signature-input"])
    fields = sent.headers | (headers or {}) | {"date": "today"}
    request = base.Request("POST", "https", "bank.example", "/v1", "a=b", [*fields.items()])
    signatures = []
    for label, signed in parse_dictionary(text).items():
        assert isinstance(signed, InnerList)
        raw = KEYS["ed25519"].sign(base.signature_base(signed, request))
        signatures.append(f"{label}=:{base64_of(raw)}:")
    headers = fields | {"signature-input": text, "signature": ", ".join(signatures)}
    return replace(sent, headers=headers)


FORMS: Final[dict[str, Callable[[str], str]]] = {
    "spaces around": lambda text: f" {text} ",
    "spaces in the list": lambda text: text.replace("(", "(  ").replace(")", " )"),
    "spaces between components": lambda text: text.replace(" ", "   "),
    "spaces before parameters": lambda text: text.replace(";", "; "),
    "another label": lambda text: text.replace("sig1", "sig"),
    "a second signature": lambda text: f'{text}, other=("@path");created=1;tag="t"',
    "components in another order": lambda text: text.replace(
        '"@path" "@query"', '"@query" "@path"'
    ),
    "one component more": lambda text: text.replace(")", ' "date")'),
    "a derived component more": lambda text: text.replace(")", ' "@scheme")'),
    "a digest with sf": lambda text: text.replace(")", ' "content-digest";sf)'),
    "parameters in another order": lambda text: text.replace(';tag="piaohao-v1"', "").replace(
        ";created", ';tag="piaohao-v1";created'
    ),
    "expires": lambda text: text + ";expires=9999999999",
    "no alg": lambda text: text.replace(';alg="ed25519"', ""),
    "no nonce": lambda text: text.replace(f';nonce="{NONCE}"', ""),
    "a short nonce": lambda text: text.replace(NONCE, "1"),
    "a nonce with other characters": lambda text: text.replace(NONCE, NONCE + "+/="),
    "an escaped nonce": lambda text: text.replace(NONCE, NONCE + '\\"'),
    "an upper-case keyid": lambda text: text.replace(OURS, OURS.upper()),
    "a keyid with a zero before it": lambda text: text.replace(OURS, "0" + OURS),
    "zeros before created": lambda text: text.replace("created=", "created=00"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_form_that_the_library_accepts_is_malformed(form: str) -> None:
    """The freedoms of RFC 9421 and RFC 8941 that the profile does not give."""
    sent = _signed_as(FORMS[form])
    assert _theirs(sent, "ed25519")
    assert _ours(sent, "ed25519") is Reason.MALFORMED


def test_form_that_is_not_changed_is_accepted() -> None:
    """What makes the table above worth something: its signatures are refused for the form alone."""
    sent = _signed_as(lambda text: text)
    assert _theirs(sent, "ed25519")
    assert _ours(sent, "ed25519") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + ";a=1",
        lambda text: f" {text}",
        lambda text: text.replace("==:", ":"),
        lambda text: text.replace("==:", "=:"),
        lambda text: text[:-4] + chr(ord(text[-4]) + 1) + text[-3:],
    ],
    ids=["parameter", "space", "no padding", "half the padding", "bits left over"],
)
def test_signature_form_that_the_library_accepts_is_malformed(
    change: Callable[[str], str],
) -> None:
    sent = _signed_as(lambda text: text)
    sent = replace(sent, headers=sent.headers | {"signature": change(sent.headers["signature"])})
    assert _theirs(sent, "ed25519")
    assert _ours(sent, "ed25519") is Reason.MALFORMED


@pytest.mark.parametrize(
    "digest",
    [
        f"{make_digest(b'{}')},{make_digest(b'{}', 'sha-512')}",
        f"{make_digest(b'{}')};a=1",
        make_digest(b"{}")[:-2] + ":",
    ],
    ids=["no space", "parameter", "no padding"],
)
def test_digest_form_that_the_library_accepts_is_malformed(digest: str) -> None:
    sent = _signed_as(lambda text: text, {"content-digest": digest})
    assert _theirs(sent, "ed25519")
    assert _ours(sent, "ed25519") is Reason.MALFORMED


@pytest.mark.parametrize(
    "sent",
    [
        replace(PLAIN, method="post"),
        replace(PLAIN, path='/v1/"<>'),
        replace(PLAIN, path="/%zz"),
        replace(PLAIN, query="a=[1]|2"),
        replace(PLAIN, authority="bank_1.example:x"),
    ],
)
def test_request_that_the_library_will_not_look_at_is_verified(sent: Sent) -> None:
    """Which methods and URLs there are is for the listener to say; signed is what was sent."""
    sent = _sign(sent, KEYS["ed25519"], int(time.time()))
    assert _ours(sent, "ed25519") is None
    assert not _theirs(sent, "ed25519")


def test_digest_of_an_algorithm_that_nobody_knows_is_passed_over() -> None:
    """RFC 9530 lets a recipient ignore it; the library refuses it."""
    digest = f"{make_digest(PLAIN.body)}, blake3=:AAAA:"
    sent = _signed_as(lambda text: text, {"content-digest": digest})
    assert _ours(sent, "ed25519") is None
    assert not _theirs(sent, "ed25519")
