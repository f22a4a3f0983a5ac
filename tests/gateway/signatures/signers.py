"""Keys to sign with in tests: the RFC's three, and three that nobody knows."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.signatures.keys import PrivateKey
from tests.gateway.signatures import rfc9421

KEYS: Final = {
    "ed25519": PrivateKey.from_pem(rfc9421.ED25519),
    "ecdsa-p256-sha256": PrivateKey.from_pem(rfc9421.ECC_P256),
    "rsa-pss-sha512": PrivateKey.from_pem(rfc9421.RSA_PSS),
}
STRANGERS: Final = {
    "ed25519": PrivateKey(ed25519.Ed25519PrivateKey.generate()),
    "ecdsa-p256-sha256": PrivateKey(ec.generate_private_key(ec.SECP256R1())),
    "rsa-pss-sha512": PrivateKey(rsa.generate_private_key(65_537, 2_048)),
}
