"""The keys that a certificate can hold: those that a request can be signed with, and no others.

A certificate fixes its algorithm: the key says it all, so no caller ever chooses one. Which keys
are fit is `gateway.signatures.keys`' to say; a request for a certificate of another one is refused
with the same reason.
"""

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.ca.errors import CsrError, CsrReason
from gateway.signatures.keys import Algorithm, FitKey, UnfitKeyError, fit

PublicKey = FitKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def algorithm_of(key: object) -> tuple[Algorithm, PublicKey]:
    """Return the algorithm that a public key is used with, and the key.

    Raises:
        CsrError: KEY_TYPE, SMALL_ORDER, RSA_SIZE, RSA_EXPONENT.
    """
    try:
        return fit(key)
    except UnfitKeyError as unfit:
        raise CsrError(CsrReason(unfit.reason), str(unfit)) from None
