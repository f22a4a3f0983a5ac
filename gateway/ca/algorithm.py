"""The three ways to sign a request (RFC 9421 §3.3), and which keys each one takes.

A certificate fixes its algorithm: the key says it all, so no caller ever chooses one. RSA keys
have 2048 to 4096 bits and the exponent 65537: less is weak, and more would make each verification
dear for the node, at the sender's choice.
"""

from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.ca.errors import CsrError, CsrReason
from gateway.signatures.keys import has_small_order

RSA_BITS: Final = (2048, 4096)
RSA_EXPONENT: Final = 65537

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Algorithm(StrEnum):
    """A signature algorithm, by its name in RFC 9421's registry."""

    ED25519 = "ed25519"
    ECDSA_P256 = "ecdsa-p256-sha256"
    RSA_PSS = "rsa-pss-sha512"


def algorithm_of(key: object) -> tuple[Algorithm, PublicKey]:
    """Return the algorithm that a public key is used with, and the key.

    Raises:
        CsrError: KEY_TYPE, SMALL_ORDER, RSA_SIZE, RSA_EXPONENT.
    """
    match key:
        case ed25519.Ed25519PublicKey():
            if has_small_order(key):
                raise CsrError(CsrReason.SMALL_ORDER, "the Ed25519 key is a point of small order")
            return Algorithm.ED25519, key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1):
            return Algorithm.ECDSA_P256, key
        case rsa.RSAPublicKey():
            least, most = RSA_BITS
            if not least <= key.key_size <= most:
                raise CsrError(
                    CsrReason.RSA_SIZE,
                    f"the RSA key has {key.key_size} bits; {least} to {most} are taken",
                )
            if key.public_numbers().e != RSA_EXPONENT:
                raise CsrError(
                    CsrReason.RSA_EXPONENT, f"the RSA key's public exponent must be {RSA_EXPONENT}"
                )
            return Algorithm.RSA_PSS, key
        case _:
            raise CsrError(
                CsrReason.KEY_TYPE, "the key must be Ed25519, ECDSA on P-256, or RSA from 2048 bits"
            )
