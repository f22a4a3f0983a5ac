"""The general signature base against RFC 9421: appendix B's vectors, section 2's examples."""

import base64
import hmac
from typing import Final

import pytest

from gateway.signatures.base import Fields, Request, Response, component_value, signature_base
from gateway.signatures.digest import check_digest
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.structured import InnerList, Item, parse_dictionary
from tests.gateway.signatures import rfc9421
from tests.gateway.signatures.rfc9421 import VECTORS, Vector, transformed
from tests.gateway.signatures.signers import KEYS

pytestmark = pytest.mark.one_shard  # no store, no shard: once is enough

BY_KEYID: Final = {
    "test-key-rsa-pss": KEYS["rsa-pss-sha512"],
    "test-key-ecc-p256": KEYS["ecdsa-p256-sha256"],
    "test-key-ed25519": KEYS["ed25519"],
}
BY_NAME: Final = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)


def _signed(text: str) -> InnerList:
    signed = parse_dictionary(f"sig={text}")["sig"]
    assert isinstance(signed, InnerList)
    return signed


def _value(component: str, message: Request | Response) -> str:
    return component_value(_signed(f"({component})").items[0], message)


@BY_NAME
def test_base_of_rfc_vector_is_built(vector: Vector) -> None:
    assert signature_base(_signed(vector.signed), vector.message) == vector.base


@BY_NAME
def test_signature_of_rfc_vector_verifies(vector: Vector) -> None:
    """The RFC's own signatures verify over our bases, and over no changed base."""
    signature = base64.b64decode(vector.signature)
    base = signature_base(_signed(vector.signed), vector.message)
    keyid = _signed(vector.signed).parameters["keyid"]
    if keyid == "test-shared-secret":
        assert hmac.digest(rfc9421.SHARED_SECRET, base, "sha256") == signature
        return
    key = BY_KEYID[str(keyid)]
    assert key.public.verify(signature, base)
    assert not key.public.verify(signature, base + b" ")
    assert key.public.verify(key.sign(base), base)
    if key.alg == "ed25519":
        assert key.sign(base) == signature


def test_digests_of_rfc_messages_are_of_their_bodies() -> None:
    check_digest(rfc9421.REQUEST_DIGEST, rfc9421.REQUEST_BODY)
    check_digest(rfc9421.RESPONSE_DIGEST, rfc9421.RESPONSE_BODY)


@pytest.mark.parametrize(
    ("message", "verifies"),
    [
        (transformed(("Accept", "application/json, */*"), ("Referer", "x")), True),
        (transformed(("Accept", " application/json"), ("accept", "*/*  ")), True),
        (transformed(("Accept", "application/json"), ("Accept", "*/*"), query="a=b"), True),
        (transformed(("Accept", "*/*"), ("Accept", "application/json")), False),
        (transformed(("Accept", "application/json, */*"), method="POST"), False),
        (transformed(("Accept", "application/json, */*"), authority="example.com"), False),
    ],
)
def test_signature_of_transformed_message_verifies_as_rfc_says(
    message: Request, verifies: bool
) -> None:
    """B.4: what a proxy may change, and what it may not."""
    vector = VECTORS[-1]
    base = signature_base(_signed(vector.signed), message)
    signature = base64.b64decode(vector.signature)
    assert KEYS["ed25519"].public.verify(signature, base) is verifies


HELLO: Final = Request("POST", "https", "www.example.com", "/path", "param=value")
QUERY: Final = (
    "var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=some"
    "thing&twice=1&twice=2"
)
MULTILINE: Final = "this%20is%20a%20big%0Amultiline%20value"
SENT: Final[Fields] = [
    ("X-OWS-Header", "   Leading and trailing whitespace.   "),
    ("X-Obs-Fold-Header", "Obsolete\r\n    line folding."),
    ("Cache-Control", "max-age=60"),
    ("Cache-Control", "    must-revalidate"),
    ("Example-Dict", "  a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
    ("X-Empty-Header", ""),
    ("Example-Header", "value, with, lots"),
    ("Example-Header", "of, commas"),
    ("Priority", "u=1,i;q=1.50,  z=( 1  -2.0 )"),
]
FIELDS: Final = Request("GET", "https", "a", "/", None, SENT)


@pytest.mark.parametrize(
    ("component", "message", "value"),
    [
        ('"@method"', HELLO, "POST"),
        ('"@target-uri"', HELLO, "https://www.example.com/path?param=value"),
        ('"@authority"', HELLO, "www.example.com"),
        ('"@authority"', Request("GET", "http", "WWW.Example.com:80", "/"), "www.example.com"),
        ('"@authority"', Request("GET", "HTTPS", "a:443", "/"), "a"),
        ('"@authority"', Request("GET", "https", "a:80", "/"), "a:80"),
        ('"@authority"', Request("GET", "http", "[::443]:8080", "/"), "[::443]:8080"),
        ('"@scheme"', Request("GET", "HTTP", "a", "/"), "http"),
        ('"@request-target"', HELLO, "/path?param=value"),
        ('"@request-target"', Request("OPTIONS", "https", "a", "", target="*"), "*"),
        ('"@path"', HELLO, "/path"),
        ('"@path"', Request("GET", "https", "a", ""), "/"),
        ('"@path"', Request("GET", "https", "a", "/%7e//b"), "/%7e//b"),
        ('"@query"', HELLO, "?param=value"),
        ('"@query"', Request("GET", "https", "a", "/", ""), "?"),
        ('"@query"', Request("GET", "https", "a", "/"), "?"),
        ('"@query-param";name="var"', transformed(query=QUERY), MULTILINE),
        ('"@query-param";name="bar"', transformed(query=QUERY), "with%20plus%20whitespace"),
        ('"@query-param";name="fa%C3%A7ade%22%3A%20"', transformed(query=QUERY), "something"),
        ('"@query-param";name="b"', transformed(query="a=1&b="), ""),
        ('"@query-param";name="b"', transformed(query="b=~*-._/"), "%7E*-._%2F"),
        ('"@status"', Response(200), "200"),
        ('"@method";req', Response(200, (), HELLO), "POST"),
        ('"x-ows-header"', FIELDS, "Leading and trailing whitespace."),
        ('"x-obs-fold-header"', FIELDS, "Obsolete line folding."),
        ('"cache-control"', FIELDS, "max-age=60, must-revalidate"),
        ('"x-empty-header"', FIELDS, ""),
        ('"example-dict"', FIELDS, "a=1,    b=2;x=1;y=2,   c=(a   b   c), d"),
        ('"example-dict";key="a"', FIELDS, "1"),
        ('"example-dict";key="b"', FIELDS, "2;x=1;y=2"),
        ('"example-dict";key="c";sf', FIELDS, "(a b c)"),
        ('"example-dict";key="d"', FIELDS, "?1"),
        ('"example-dict";key="d";req', Response(200, (), FIELDS), "?1"),
        ('"priority";sf', FIELDS, "u=1, i;q=1.5, z=(1 -2.0)"),
        ('"example-header";bs', FIELDS, ":dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:"),
    ],
)  # fmt: skip
def test_component_has_value_as_rfc_says(
    component: str, message: Request | Response, value: str
) -> None:
    """Section 2, the examples it prints and the cases it describes."""
    assert _value(component, message) == value


@pytest.mark.parametrize(
    ("component", "message", "reason"),
    [
        ('"x-other"', FIELDS, Reason.MISSING),
        ('"example-dict";key="e"', FIELDS, Reason.MISSING),
        ('"@query-param";name="no"', HELLO, Reason.MISSING),
        ('"@query-param";name="twice"', transformed(query=QUERY), Reason.MISSING),
        ('"@method";req', HELLO, Reason.MISSING),
        ('"@method";req', Response(200), Reason.MISSING),
        ('"@method"', Response(200, (), HELLO), Reason.MALFORMED),
        ('"@status"', HELLO, Reason.MALFORMED),
        ('"@status";req', Response(200, (), HELLO), Reason.MALFORMED),
        ('"@status";sf', Response(200), Reason.MALFORMED),
        ('"@path";name="a"', HELLO, Reason.MALFORMED),
        ('"@query-param"', HELLO, Reason.MALFORMED),
        ('"@unknown"', HELLO, Reason.MALFORMED),
        ('"@signature-params"', HELLO, Reason.MALFORMED),
        ('"@method";req=?0', Response(200, (), HELLO), Reason.MALFORMED),
        ('"Cache-Control"', FIELDS, Reason.MALFORMED),
        ("cache-control", FIELDS, Reason.MALFORMED),
        ("1", FIELDS, Reason.MALFORMED),
        ('"cache-control";tr', FIELDS, Reason.MALFORMED),
        ('"cache-control";sf;bs', FIELDS, Reason.MALFORMED),
        ('"cache-control";sf=1', FIELDS, Reason.MALFORMED),
        ('"x-ows-header";sf', FIELDS, Reason.MALFORMED),
        ('"x-ows-header";key="a"', FIELDS, Reason.MALFORMED),
        ('"cache-control";key=1', FIELDS, Reason.MALFORMED),
    ],
)
def test_component_that_is_not_there_is_refused(
    component: str, message: Request | Response, reason: Reason
) -> None:
    with pytest.raises(SignatureError) as refused:
        _value(component, message)
    assert refused.value.reason is reason


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\x00", "é", "\x7f"])
def test_base_with_value_that_cannot_be_signed_is_refused(value: str) -> None:
    with pytest.raises(SignatureError):
        signature_base(
            InnerList([Item("a")]), Request("GET", "https", "a", "/", None, [("a", value)])
        )


@pytest.mark.parametrize("twice", ['("@path" "@path")', '("a";sf;key="b" "a";key="b";sf)'])
def test_base_with_component_twice_is_refused(twice: str) -> None:
    """Also where only the order of its parameters differs."""
    message = Request("GET", "https", "a", "/", None, [("a", "b=1")])
    with pytest.raises(SignatureError):
        signature_base(_signed(twice), message)
