"""Keys: three algorithms of RFC 9421, section 3.3, each fixed by the key that it belongs to.

A key knows its algorithm, so nothing in a message can choose another one for it. Which keys are
fit is said here alone, for signatures and certificates alike: those that could prove nothing are
refused when they are loaded (RSA below 2,048 bits, curves other than P-256, Ed25519 points of small
order). Verifying answers yes or no, whatever bytes it is given.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

_KINDS: Final = "the key must be Ed25519, ECDSA on P-256, or RSA from 2048 bits"

FitKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey

_ECDSA: Final = ECDSA(SHA256())
_PSS: Final = PSS(mgf=MGF1(SHA512()), salt_length=64)
_SHA512: Final = SHA512()

RSA_BITS: Final = range(2_048, 4_096 + 1)
"""Fewer are weak; more would make each verification dear for the bank, at the sender's choice."""
RSA_EXPONENT: Final = 65_537
"""Larger ones cost the bank more to verify with, and whoever signs wrongly pays nothing for it."""

_COORDINATE: Final = 32

_FIELD: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _ORDER_8, _FIELD - _ORDER_8, _FIELD - 1, _FIELD, _FIELD + 1})
"""y of the eight Ed25519 points of small order, also in their longer encodings. RFC 8032 lets such
a key pass, and anyone can make "signatures" of it that fit very many messages."""


class Algorithm(StrEnum):
    """A signature algorithm, by its name in RFC 9421's registry."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"
    RSA_PSS = "rsa-pss-sha512"


class Unfit(StrEnum):
    """Why a key is not taken."""

    UNREADABLE = "unreadable"
    """There is no key in it, or none that its password opens."""
    KEY_TYPE = "key_type"
    """The key is not Ed25519, ECDSA P-256 or RSA."""
    SMALL_ORDER = "small_order"
    """The Ed25519 key is a point of small order: anyone can sign for it."""
    RSA_SIZE = "rsa_size"
    """The RSA key has fewer than 2048 or more than 4096 bits."""
    RSA_EXPONENT = "rsa_exponent"
    """The RSA key's public exponent is not 65537."""


class UnfitKeyError(Exception):
    """A key is none of the three kinds, is too weak, or cannot be read.

    Attributes:
        reason: why, typed.
    """

    def __init__(self, reason: Unfit, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def fit(key: object) -> tuple[Algorithm, FitKey]:
    """Return the algorithm that a public key is used with, and the key.

    Raises:
        UnfitKeyError: KEY_TYPE, SMALL_ORDER, RSA_SIZE, RSA_EXPONENT.
    """
    match key:
        case Ed25519PublicKey():
            # The top bit is the sign of x, and y alone says it.
            if int.from_bytes(key.public_bytes_raw(), "little") & (2**255 - 1) in _SMALL_ORDER:
                raise UnfitKeyError(Unfit.SMALL_ORDER, "the Ed25519 key is a point of small order")
            return Algorithm.ED25519, key
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return Algorithm.ECDSA_P256, key
        case RSAPublicKey():
            if key.key_size not in RSA_BITS:
                taken = f"{RSA_BITS[0]} to {RSA_BITS[-1]} are taken"
                raise UnfitKeyError(Unfit.RSA_SIZE, f"the RSA key has {key.key_size} bits; {taken}")
            if key.public_numbers().e != RSA_EXPONENT:
                raise UnfitKeyError(
                    Unfit.RSA_EXPONENT, f"the RSA key's public exponent must be {RSA_EXPONENT}"
                )
            return Algorithm.RSA_PSS, key
        case _:
            raise UnfitKeyError(Unfit.KEY_TYPE, _KINDS)


class PublicKey:
    """A key that verifies, with its algorithm; made by `PublicKey(key)` or `from_spki`.

    Raises:
        UnfitKeyError: it is of another kind, or too weak.
    """

    __slots__ = ("_check", "alg", "spki")

    alg: Algorithm
    spki: bytes
    """SubjectPublicKeyInfo in DER: how the key is stored and compared."""

    def __init__(self, key: object) -> None:
        self._check: Callable[[bytes, bytes], None]
        self.alg, known = fit(key)
        match known:
            case Ed25519PublicKey():
                self._check = known.verify
            case EllipticCurvePublicKey():
                self._check = _ecdsa_check(known)
            case RSAPublicKey():
                self._check = _rsa_check(known)
        self.spki = known.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def from_spki(cls, der: bytes) -> Self:
        """Read a SubjectPublicKeyInfo in DER.

        Raises:
            UnfitKeyError: it cannot be read, is of another kind, or too weak.
        """
        try:
            key = load_der_public_key(der)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise UnfitKeyError(Unfit.UNREADABLE, "a public key cannot be read") from error
        return cls(key)

    def verify(self, signature: bytes, base: bytes) -> bool:
        """Return whether a signature is this key's over these bytes; any bytes are answered."""
        try:
            self._check(signature, base)
        except InvalidSignature:
            return False
        return True


class PrivateKey:
    """A key that signs, with its algorithm; made by `PrivateKey(key)` or `from_pem`.

    Raises:
        UnfitKeyError: it is of another kind, or too weak.
    """

    __slots__ = ("_sign", "alg", "public")

    alg: Algorithm
    public: PublicKey

    def __init__(self, key: object) -> None:
        self._sign: Callable[[bytes], bytes]
        match key:
            case Ed25519PrivateKey():
                self._sign = key.sign
            case EllipticCurvePrivateKey():
                self._sign = _ecdsa_sign(key)
            case RSAPrivateKey():
                self._sign = lambda base: key.sign(base, _PSS, _SHA512)
            case _:
                raise UnfitKeyError(Unfit.KEY_TYPE, _KINDS)
        self.public = PublicKey(key.public_key())
        self.alg = self.public.alg

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> Self:
        """Read a private key in PEM.

        Raises:
            UnfitKeyError: it cannot be read or decrypted, is of another kind, or too weak.
        """
        try:
            key = load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise UnfitKeyError(Unfit.UNREADABLE, "a private key cannot be read") from error
        return cls(key)

    def sign(self, base: bytes) -> bytes:
        """Return the signature over these bytes, as RFC 9421 wants it."""
        return self._sign(base)


def _ecdsa_check(key: EllipticCurvePublicKey) -> Callable[[bytes, bytes], None]:
    """RFC 9421 wants r and s as 32 bytes each; `cryptography` wants them in DER.

    It refuses them where they are 0 or not below the curve's order.
    """

    def check(signature: bytes, base: bytes) -> None:
        if len(signature) != 2 * _COORDINATE:
            raise InvalidSignature
        r = int.from_bytes(signature[:_COORDINATE], "big")
        s = int.from_bytes(signature[_COORDINATE:], "big")
        key.verify(encode_dss_signature(r, s), base, _ECDSA)

    return check


def _ecdsa_sign(key: EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    def sign(base: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(base, _ECDSA))
        return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")

    return sign


def _rsa_check(key: RSAPublicKey) -> Callable[[bytes, bytes], None]:
    return lambda signature, base: key.verify(signature, base, _PSS, _SHA512)
