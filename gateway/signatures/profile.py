"""The profile: the one form in which requests, responses and webhooks are signed (RFC 9421).

A request or a webhook carries three headers, a response likewise:

    Content-Digest: sha-256=:…:
    Signature-Input: sig1=("@method" "@authority" "@path" "@query" "content-digest");created=…;
        keyid="…";alg="…";nonce="…";tag="piaohao-v1"          (in one line, without spaces)
    Signature: sig1=:…:

RFC 9421 lets a signer choose components, parameters, their order, labels, spaces. Here nothing is
chosen: a header that differs from the above in one character, other than in the values, is
refused. So a verifier need not parse, and no two texts mean the same. docs/SIGNATURES.md says
how to sign, step by step.
"""

import re
from typing import Final

from msgspec import Struct

from gateway.signatures.base import normal_authority
from gateway.signatures.digest import base64_of, bytes_of, check_digest, make_digest
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.keys import PrivateKey, PublicKey

WINDOW_S: Final = 300
"""How far `created` may be from the verifier's clock, on either side."""

_REQUEST: Final = '("@method" "@authority" "@path" "@query" "content-digest")'
_RESPONSE: Final = '("@status" "content-digest")'
_ANSWER: Final = '("@status" "content-digest" "signature";req;key="sig1")'

_CREATED: Final = "created=([1-9][0-9]{0,11})"
_KEYID: Final = 'keyid="([1-9a-f][0-9a-f]{0,39})"'
_ALG: Final = 'alg="(ed25519|ecdsa-p256-sha256|rsa-pss-sha512)"'
_NONCE: Final = 'nonce="([A-Za-z0-9_-]{16,64})"'
_TAG: Final = 'tag="piaohao-v1"'

_REQUEST_INPUT: Final = re.compile(
    f"sig1=({re.escape(_REQUEST)};{_CREATED};{_KEYID};{_ALG};{_NONCE};{_TAG})"
)
_RESPONSE_INPUT: Final = re.compile(
    f"sig1=((?:{re.escape(_RESPONSE)}|({re.escape(_ANSWER)}));{_CREATED};{_KEYID};{_ALG};{_TAG})"
)
_SIGNATURE: Final = re.compile("sig1=:([A-Za-z0-9+/]{1,700}={0,2}):")


class RequestSignature(Struct, frozen=True):
    """What a request says of its signature; nothing of it is proved yet.

    Args:
        keyid: the serial number of the signer's certificate, in lower-case hex.
        alg: the algorithm it claims.
        created: seconds since 1970.
        nonce: the signer's own, never to be seen a second time.
        parameters: what stands after `sig1=` in Signature-Input.
        signature: the signature itself.
        header: the text of the Signature header, which the response signs.
    """

    keyid: str
    alg: str
    created: int
    nonce: str
    parameters: str
    signature: bytes
    header: str


class ResponseSignature(Struct, frozen=True):
    """What a response says of its signature; nothing of it is proved yet.

    Args:
        keyid: the serial number of the bank's certificate, in lower-case hex.
        alg: the algorithm it claims.
        created: seconds since 1970.
        bound: whether it signs the signature of the request that it answers.
        parameters: what stands after `sig1=` in Signature-Input.
        signature: the signature itself.
    """

    keyid: str
    alg: str
    created: int
    bound: bool
    parameters: str
    signature: bytes


def read_request(signature_input: str | None, signature: str | None) -> RequestSignature:
    """Read the two headers of a request or a webhook.

    Args:
        signature_input: the text of Signature-Input; of several such lines joined by commas.
        signature: the text of Signature, likewise.

    Raises:
        SignatureError: MISSING, MALFORMED.
    """
    if signature_input is None or signature is None:
        raise SignatureError(Reason.MISSING, "Signature-Input or Signature is not there")
    found = _REQUEST_INPUT.fullmatch(signature_input)
    if found is None:
        raise SignatureError(Reason.MALFORMED, "Signature-Input does not have its one form")
    parameters, created, keyid, alg, nonce = found.groups()
    raw = _signature_bytes(signature)
    return RequestSignature(keyid, alg, int(created), nonce, parameters, raw, signature)


def read_response(signature_input: str | None, signature: str | None) -> ResponseSignature:
    """Read the two headers of a response; as `read_request`.

    Raises:
        SignatureError: MISSING, MALFORMED.
    """
    if signature_input is None or signature is None:
        raise SignatureError(Reason.MISSING, "Signature-Input or Signature is not there")
    found = _RESPONSE_INPUT.fullmatch(signature_input)
    if found is None:
        raise SignatureError(Reason.MALFORMED, "Signature-Input does not have its one form")
    parameters, answer, created, keyid, alg = found.groups()
    raw = _signature_bytes(signature)
    return ResponseSignature(keyid, alg, int(created), answer is not None, parameters, raw)


def request_base(
    parameters: str,
    *,
    method: str,
    authority: str,
    path: str,
    query: str,
    content_digest: str,
    scheme: str = "https",
) -> bytes:
    """Return the bytes that the signature of a request is over.

    Args:
        parameters: what stands after `sig1=` in Signature-Input.
        method: as sent.
        authority: the Host header, or `:authority`.
        path: as sent, with its percent-encoding; an empty one is `/`.
        query: as sent, without the question mark; empty if there is none.
        content_digest: the text of Content-Digest.
        scheme: `http` or `https`: its default port is left out of the authority.

    Raises:
        SignatureError: MALFORMED: a value cannot stand in a request.
    """
    target = f"{method}{authority}{path}{query}"
    values = target + content_digest
    # A line break would let one value pass for two lines; the rest cannot come from a request.
    if (
        not values.isascii()
        or not values.isprintable()
        or " " in target
        or "?" in path
        or not (method and authority)
        or (path and not path.startswith("/"))
    ):
        raise SignatureError(Reason.MALFORMED, "method, authority, path or query cannot be signed")
    return (
        f'"@method": {method}\n'
        f'"@authority": {normal_authority(scheme, authority)}\n'
        f'"@path": {path or "/"}\n'
        f'"@query": ?{query}\n'
        f'"content-digest": {content_digest}\n'
        f'"@signature-params": {parameters}'
    ).encode("ascii")


def response_base(
    parameters: str, *, status: int, content_digest: str, request_signature: str | None
) -> bytes:
    """Return the bytes that the signature of a response is over.

    Args:
        parameters: what stands after `sig1=` in Signature-Input.
        status: of the response.
        content_digest: the text of Content-Digest.
        request_signature: the text of the request's Signature header, where it is signed too.
    """
    answered = (
        f'"signature";req;key="sig1": {request_signature.removeprefix("sig1=")}\n'
        if request_signature is not None
        else ""
    )
    return (
        f'"@status": {status}\n'
        f'"content-digest": {content_digest}\n'
        f"{answered}"
        f'"@signature-params": {parameters}'
    ).encode("ascii")


def sign_request(
    key: PrivateKey,
    keyid: str,
    *,
    method: str,
    authority: str,
    path: str,
    query: str,
    body: bytes,
    created: int,
    nonce: str,
    scheme: str = "https",
) -> dict[str, str]:
    """Return the three headers that sign a request or a webhook.

    Args:
        key: the signer's.
        keyid: the serial number of its certificate, in lower-case hex without leading zeros.
        method, authority, path, query, scheme: as for `request_base`.
        body: as sent; may be empty.
        created: now, in seconds since 1970.
        nonce: 16 to 64 of A-Z a-z 0-9 - _, random, never used before.

    Raises:
        SignatureError: MALFORMED: a value does not have its form.
    """
    digest = make_digest(body)
    parameters = (
        f'{_REQUEST};created={created};keyid="{keyid}";alg="{key.alg}";nonce="{nonce}";{_TAG}'
    )
    base = request_base(
        parameters,
        method=method,
        authority=authority,
        path=path,
        query=query,
        content_digest=digest,
        scheme=scheme,
    )
    return _signed(key, digest, parameters, base, _REQUEST_INPUT)


def sign_response(
    key: PrivateKey,
    keyid: str,
    *,
    status: int,
    body: bytes,
    created: int,
    request_signature: str | None,
) -> dict[str, str]:
    """Return the three headers that sign a response.

    Args:
        key: the bank's.
        keyid: the serial number of its certificate, in lower-case hex without leading zeros.
        status: of the response.
        body: as sent; may be empty.
        created: now, in seconds since 1970.
        request_signature: the text of the request's Signature header, if that was verified.

    Raises:
        SignatureError: MALFORMED: a value does not have its form.
    """
    digest = make_digest(body)
    components = _RESPONSE if request_signature is None else _ANSWER
    if request_signature is not None:
        _signature_bytes(request_signature)
    parameters = f'{components};created={created};keyid="{keyid}";alg="{key.alg}";{_TAG}'
    base = response_base(
        parameters, status=status, content_digest=digest, request_signature=request_signature
    )
    return _signed(key, digest, parameters, base, _RESPONSE_INPUT)


def verify_request(
    key: PublicKey,
    signature: RequestSignature,
    *,
    method: str,
    authority: str,
    path: str,
    query: str,
    content_digest: str | None,
    body: bytes,
    now: float,
    scheme: str = "https",
) -> None:
    """Check that a request or a webhook, as it came, was signed by a key not long ago.

    Whether the key may sign, whether the authority is one of ours, and whether the nonce was seen
    before are the caller's to check.

    Args:
        key: the one that `signature.keyid` names.
        signature: what `read_request` found.
        method, authority, path, query, scheme: as for `request_base`.
        content_digest: the text of Content-Digest; None if there is none.
        body: as it came.
        now: seconds since 1970.

    Raises:
        SignatureError: ALG, OLD, MISSING or MALFORMED (the digest), DIGEST, WRONG: the first of
            these, in this order.
    """
    _check_claims(key, signature.alg, signature.created, now)
    content_digest = check_digest(content_digest, body)
    base = request_base(
        signature.parameters,
        method=method,
        authority=authority,
        path=path,
        query=query,
        content_digest=content_digest,
        scheme=scheme,
    )
    if not key.verify(signature.signature, base):
        raise SignatureError(Reason.WRONG, "the signature is not this key's over this request")


def verify_response(
    key: PublicKey,
    signature: ResponseSignature,
    *,
    status: int,
    content_digest: str | None,
    body: bytes,
    request_signature: str | None,
    now: float,
) -> None:
    """Check that a response, as it came, was signed by the bank not long ago.

    Args:
        key: the bank's, the one that `signature.keyid` names.
        signature: what `read_response` found.
        status: of the response.
        content_digest: the text of Content-Digest; None if there is none.
        body: as it came.
        request_signature: the text of the Signature header of the request that it has to answer.
            None takes a response that answers no particular request (`signature.bound` is false):
            the bank sends it where it could not verify the request, so it is proof of a refusal
            at most.
        now: seconds since 1970.

    Raises:
        SignatureError: ALG, OLD, MISSING or MALFORMED (the digest), DIGEST, WRONG (also a response
            to another request, or to none): the first of these, in this order.
    """
    _check_claims(key, signature.alg, signature.created, now)
    content_digest = check_digest(content_digest, body)
    base = response_base(
        signature.parameters,
        status=status,
        content_digest=content_digest,
        request_signature=request_signature,
    )
    # Whether the request's signature is signed stands in the parameters, which are signed as well:
    # where one is expected, a response without it does not fit, nor the other way about.
    if not key.verify(signature.signature, base):
        raise SignatureError(Reason.WRONG, "the signature is not this key's over this response")


def _check_claims(key: PublicKey, alg: str, created: int, now: float) -> None:
    if alg != key.alg:
        raise SignatureError(Reason.ALG, "alg is not the algorithm of the key")
    if not -WINDOW_S <= now - created <= WINDOW_S:
        raise SignatureError(Reason.OLD, f"created is more than {WINDOW_S} s from now")


def _signature_bytes(signature: str) -> bytes:
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise SignatureError(Reason.MALFORMED, "Signature does not have its one form")
    return bytes_of(found[1], "Signature")


def _signed(
    key: PrivateKey, digest: str, parameters: str, base: bytes, form: re.Pattern[str]
) -> dict[str, str]:
    signature_input = f"sig1={parameters}"
    # What is signed here can be read there: both sides have one grammar.
    if form.fullmatch(signature_input) is None:
        raise SignatureError(Reason.MALFORMED, "created, keyid or nonce does not have its form")
    return {
        "content-digest": digest,
        "signature-input": signature_input,
        "signature": f"sig1=:{base64_of(key.sign(base))}:",
    }
