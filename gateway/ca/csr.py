"""Certificate signing requests (PKCS#10, RFC 2986): made by a merchant, read by the bank.

A request proves that its sender holds the private key, and hands over the public one. The bank
takes nothing else from it: who the holder is it knows from elsewhere, so a request's own subject
and extensions are ignored. This module needs nothing of the CA, only `cryptography`: a merchant's
program imports it alone.
"""

import base64
import binascii
import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from msgspec import Struct

from gateway.ca.algorithm import PrivateKey, PublicKey, algorithm_of
from gateway.ca.errors import CsrError, CsrReason
from gateway.signatures.keys import RSA_EXPONENT, Algorithm

MAX_BYTES: Final = 16 << 10
_NEW_RSA_BITS: Final = 3072
_BEGIN: Final = b"-----BEGIN"
# Older tools write NEW (RFC 7468 §7). Words outside the block are allowed (§2): `openssl req
# -text` writes some.
_BLOCK: Final = re.compile(
    rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]*)"
    rb"-----END (?(1)NEW )CERTIFICATE REQUEST-----"
)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


class Request(Struct, frozen=True):
    """What a request has proved: its sender holds the private key of this public one.

    Attributes:
        algorithm: the one way in which the key signs.
        public_key: the key.
        spki: the key in DER, SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    """

    algorithm: Algorithm
    public_key: PublicKey
    spki: bytes


def new_key(algorithm: Algorithm | str = Algorithm.ED25519) -> PrivateKey:
    """Return a new private key for an algorithm; RSA keys have 3072 bits.

    Raises:
        ValueError: there is no such algorithm.
    """
    match Algorithm(algorithm):
        case Algorithm.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case Algorithm.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case Algorithm.RSA_PSS:
            return rsa.generate_private_key(RSA_EXPONENT, _NEW_RSA_BITS)


def new_csr(key: PrivateKey, name: str) -> bytes:
    """Return a request for a certificate of a key, in PEM.

    Args:
        key: the private key; it signs the request and does not go into it.
        name: a name for whoever reads the request, 1 to 64 bytes; the bank ignores it.

    Raises:
        ValueError: the name is empty or longer.
    """
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, digest)
    return request.public_bytes(Encoding.PEM)


def read_csr(text: bytes) -> Request:
    """Return what a request in PEM proves.

    Raises:
        CsrError: it is refused; the reason says why (`CsrReason`).
    """
    return _proved(_parsed(_only_block(text)))


def body_of(pem: bytes) -> str:
    """Return a request as JSON carries it: what is between the lines of its PEM, in one line.

    Raises:
        CsrError: there is no PEM block of a request, or more than one.
    """
    return base64.b64encode(_only_block(pem)).decode("ascii")


def read_body(body: str) -> Request:
    """Return what a request proves that came as `body_of` has it: its DER in base64 (RFC 7030).

    Raises:
        CsrError: it is refused; the reason says why (`CsrReason`).
    """
    if len(body) > MAX_BYTES:
        raise CsrError(CsrReason.TOO_LARGE, f"the request is larger than {MAX_BYTES} bytes")
    try:
        return _proved(_parsed(base64.b64decode(body, validate=True)))
    except ValueError:
        raise CsrError(CsrReason.MALFORMED, "the request is no base64 in one line") from None


def _only_block(text: bytes) -> bytes:
    """Return the DER of the only PEM block."""
    if len(text) > MAX_BYTES:
        raise CsrError(CsrReason.TOO_LARGE, f"the request is larger than {MAX_BYTES} bytes")
    if b"PRIVATE KEY-----" in text:
        raise CsrError(
            CsrReason.PRIVATE_KEY,
            "a private key came with the request: throw that key away, make a new one, and send "
            "the request alone",
        )
    # Counted by ourselves: parsers take the first block that they like and ignore the others.
    blocks = text.count(_BEGIN)
    if blocks > 1:
        raise CsrError(CsrReason.SEVERAL, f"one request is wanted, not {blocks} PEM blocks")
    block = _BLOCK.search(text)
    if block is None:
        raise CsrError(CsrReason.NOT_PEM, "there is no PEM block `CERTIFICATE REQUEST`")
    try:
        return base64.b64decode(b"".join(block[2].split()), validate=True)
    except binascii.Error:
        raise CsrError(CsrReason.MALFORMED, "the PEM block is no base64") from None


def _parsed(der: bytes) -> x509.CertificateSigningRequest:
    try:
        return x509.load_der_x509_csr(der)
    except (ValueError, x509.InvalidVersion):
        raise CsrError(CsrReason.MALFORMED, "there is no PKCS#10 request in it") from None


def _proved(csr: x509.CertificateSigningRequest) -> Request:
    try:
        key: object = csr.public_key()
    except UnsupportedAlgorithm:
        key = None
    except ValueError:
        raise CsrError(CsrReason.MALFORMED, "the request's key cannot be read") from None
    # The key before the signature: verifying with a huge key is what makes a request dear.
    algorithm, public_key = algorithm_of(key)
    _check_signature(csr)
    # Encoded anew: one key has one form, however the request wrote it.
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Request(algorithm, public_key, spki)


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    wrong = CsrError(
        CsrReason.WRONG_SIGNATURE, "the request was not signed with the key that it holds"
    )
    try:
        digest = csr.signature_hash_algorithm  # None for Ed25519, which has its own
        if digest is not None and not isinstance(digest, _HASHES):
            raise CsrError(
                CsrReason.SIGNATURE_HASH,
                f"the request is signed over {digest.name}; SHA-256, SHA-384 or SHA-512 is wanted",
            )
        valid = csr.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        # An algorithm that is unknown, or that belongs to another type of key.
        raise wrong from None
    if not valid:
        raise wrong
