"""The gate: who sends a request, proved by its signature, and the bank's signature under answers.

A request is signed by the key of a certificate (`gateway.signatures`). The certificate is read from
the last commit each time, so that one which was revoked is worth nothing from the next request on;
what is remembered is only its parsed key. A nonce is taken once the signature has verified, and
commands carry it into the engine as their mark (`engine.marks`).
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from msgspec import Struct

from actors.certificate import Certificate, merchant_of
from actors.commands import BANK
from actors.kinds import CERTIFICATE
from engine.address import row_key
from engine.marks import KEY_BYTES, Mark, Marks
from engine.node import Node
from gateway.ca.bank_keys import BankKeys
from gateway.errors import RequestCode, RequestError
from gateway.signatures.error import Reason, SignatureError
from gateway.signatures.keys import PrivateKey, PublicKey
from gateway.signatures.profile import (
    RequestSignature,
    read_request,
    sign_response,
    verify_request,
)

KEYS_MAX: Final = 10_000
"""Parsed keys that are remembered; past that all are forgotten and parsed again."""

UNBOUND_MAX: Final = 256
UNBOUND_BYTES: Final = 4_096
"""How many answers to nobody in particular are remembered, and how long such an answer may be."""

_CODES: Final[Mapping[Reason, RequestCode]] = {
    Reason.MISSING: RequestCode.SIGNATURE_MISSING,
    Reason.MALFORMED: RequestCode.SIGNATURE_MALFORMED,
    Reason.DIGEST: RequestCode.DIGEST_MISMATCH,
    Reason.WRONG: RequestCode.SIGNATURE_WRONG,
    Reason.ALG: RequestCode.SIGNATURE_WRONG,
    Reason.OLD: RequestCode.SIGNATURE_OLD,
}


class Asked(Protocol):
    """What of a request is signed, and where its signature is; see `gateway.counter.Request`."""

    @property
    def method(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Identity(Struct, frozen=True):
    """Who has signed a request.

    Attributes:
        merchant_no: the merchant, empty for the bank itself.
        keyid: the serial of the certificate that it was signed with.
        signature: the request's Signature header, which the answer signs too.
        mark: what commands of the request bring into the engine.
    """

    merchant_no: str
    keyid: str
    signature: str
    mark: Mark


class Gate:
    """Checks requests and signs answers.

    Args:
        node: the engine, which holds the certificates.
        keys: the bank's own.
        marks: what was signed once and is not taken a second time.
        now_s: wall time, seconds since 1970; a domain clock has no say here.
    """

    def __init__(
        self, node: Node, keys: BankKeys, marks: Marks, now_s: Callable[[], float]
    ) -> None:
        self._node = node
        self._marks = marks
        self._now_s = now_s
        self._key = PrivateKey(keys.signing.key)
        self._keyid = keys.signing.keyid
        self._known: dict[str, tuple[bytes, Certificate, PublicKey]] = {}
        self._unbound: dict[tuple[int, bytes], tuple[int, dict[str, str]]] = {}

    @property
    def remembered(self) -> tuple[int, int]:
        """How many keys, and answers to nobody in particular, are remembered."""
        return len(self._known), len(self._unbound)

    def identify(self, request: Asked, *, commands: bool) -> Identity:
        """Return who has signed a request.

        Args:
            request: as it came in.
            commands: its commands take its mark into the engine, so that it is refused a second
                time after a restart too. Others are refused that were signed before the start.

        Raises:
            RequestError: SIGNATURE_MISSING, SIGNATURE_MALFORMED, SIGNER_UNKNOWN,
                SIGNER_REVOKED, SIGNER_NOT_VALID, SIGNATURE_OLD, DIGEST_MISMATCH,
                SIGNATURE_WRONG, SIGNED_BEFORE_START, NONCE_USED: the first of these.
        """
        now_s = self._now_s()
        headers = request.headers
        try:
            signature, certificate, key = self._claimed(headers, now_s)
            verify_request(
                key,
                signature,
                method=request.method,
                scheme=request.scheme,
                authority=headers.get("host", ""),
                path=request.path,
                query=request.query.decode("latin-1"),
                content_digest=headers.get("content-digest"),
                body=request.body,
                now=now_s,
            )
        except SignatureError as error:
            raise RequestError(_CODES[error.reason], str(error)) from None
        if not commands and not self._marks.remembers(signature.created):
            raise RequestError(RequestCode.SIGNED_BEFORE_START)
        once = hashlib.sha256(f"{signature.keyid}:{signature.nonce}".encode("ascii"))
        mark = Mark(signature.created, once.digest()[:KEY_BYTES])
        if not self._marks.take(mark.created_s, mark.key, int(now_s)):
            raise RequestError(RequestCode.NONCE_USED)
        return Identity(_merchant_no(certificate.holder), signature.keyid, signature.header, mark)

    def may_be_heard(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request's headers name a certificate that is good now.

        Nothing is proved by that. Where it is not so the request is going to be refused for its
        headers alone, whatever its body says.
        """
        try:
            self._claimed(headers, self._now_s())
        except (SignatureError, RequestError):
            return False
        return True

    def check_standing(self, keyid: str) -> None:
        """Check that a certificate by which somebody was let in is still good.

        Raises:
            RequestError: SIGNER_UNKNOWN, SIGNER_REVOKED, SIGNER_NOT_VALID.
        """
        certificate, _ = self._certificate(keyid)
        _check_standing(certificate, self._now_s())

    def sign(self, status: int, body: bytes, identity: Identity | None) -> dict[str, str]:
        """Return the headers that sign an answer.

        Where no signature was verified the answer is bound to no request, and the same within a
        second: who floods a node that is busy does not have it sign each time.
        """
        created = int(self._now_s())
        if identity is not None:
            return sign_response(
                self._key,
                self._keyid,
                status=status,
                body=body,
                created=created,
                request_signature=identity.signature,
            )
        second, headers = self._unbound.get((status, body), (0, {}))
        if second != created:
            headers = sign_response(
                self._key,
                self._keyid,
                status=status,
                body=body,
                created=created,
                request_signature=None,
            )
            if len(self._unbound) >= UNBOUND_MAX:
                self._unbound.clear()
            if len(body) <= UNBOUND_BYTES:
                self._unbound[status, body] = (created, headers)
        return headers

    def _claimed(
        self, headers: Mapping[str, str], now_s: float
    ) -> tuple[RequestSignature, Certificate, PublicKey]:
        """Return what headers say of a signature, and by whose certificate and key it would be.

        Raises:
            SignatureError: MISSING, MALFORMED.
            RequestError: SIGNER_UNKNOWN, SIGNER_REVOKED, SIGNER_NOT_VALID.
        """
        signature = read_request(headers.get("signature-input"), headers.get("signature"))
        certificate, key = self._certificate(signature.keyid)
        _check_standing(certificate, now_s)
        return signature, certificate, key

    def _certificate(self, keyid: str) -> tuple[Certificate, PublicKey]:
        """Return a certificate as it stands in the last commit, and its key."""
        address = f"certificate/{keyid}"
        snapshot = self._node.snapshot(address)
        try:
            payload = snapshot.get(CERTIFICATE.table, row_key(address))
        finally:
            snapshot.close()
        if payload is None:
            raise RequestError(RequestCode.SIGNER_UNKNOWN)
        known = self._known.get(keyid)
        if known is None or known[0] != payload:
            certificate = CERTIFICATE.decode_state(payload)
            known = (payload, certificate, PublicKey.from_spki(certificate.spki))
            if len(self._known) >= KEYS_MAX:
                self._known.clear()
            self._known[keyid] = known
        return known[1], known[2]


def _merchant_no(holder: str) -> str:
    """Return the number of the merchant that a holder is, empty for the bank and nobody else."""
    if holder == BANK:
        return ""
    merchant_no = merchant_of(holder)
    assert merchant_no, f"{holder} acts for nobody"
    return merchant_no


def _check_standing(certificate: Certificate, now_s: float) -> None:
    if certificate.status == "REVOKED":
        raise RequestError(RequestCode.SIGNER_REVOKED)
    if not certificate.not_before_ns <= now_s * 1e9 < certificate.ends_ns:
        raise RequestError(RequestCode.SIGNER_NOT_VALID)
