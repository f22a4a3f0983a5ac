"""Passwords and one-time codes: how they are made, stored and compared.

Passwords are stored as argon2id (RFC 9106) with the costs of its section 4, second choice: 64 MiB,
three passes, four lanes; a guess costs whoever has stolen the file as much as it costs us. One-time
codes are TOTP (RFC 6238) with SHA-1, six digits and 30 seconds, as every authenticator app has it;
their secrets have to be there in clear to be compared with, so they are stored encrypted under a
key derived from the bank's master key (AES-256-GCM), bound to their operator's name.
"""

import secrets
import unicodedata
from functools import cache
from hmac import compare_digest
from typing import Final

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.ca.master_key import MasterKey
from gateway.strict_json import text_blemish

PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 256
"""Characters: short enough that hashing one is never work that somebody can pile up."""
STEP_S: Final = 30
_ISSUER: Final = "Piaohao"
_PURPOSE: Final = b"one-time codes"
_NONCE_BYTES: Final = 12

_HASHER: Final = PasswordHasher()


class PasswordError(ValueError):
    """A password that nobody should have."""


def hashed(password: str) -> str:
    """Return what is stored of a password; takes a tenth of a second and 64 MiB.

    Raises:
        PasswordError: it is too short, or too long, or has what a login's body may not have.
    """
    password = _normal(password)
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise PasswordError(f"a password has {PASSWORD_MIN} to {PASSWORD_MAX} characters")
    blemish = text_blemish(password)
    if blemish is not None:
        raise PasswordError(f"{blemish.about}: nobody could log in with this password")
    return _HASHER.hash(password)


def fits(password_hash: str, password: str) -> bool:
    """Return whether a password is the one that was hashed; takes as long either way."""
    if len(password) > PASSWORD_MAX:
        return False
    try:
        return _HASHER.verify(password_hash, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


@cache
def nobodys_hash() -> str:
    """Return a hash that nothing fits, for names that nobody has: they take as long as others."""
    return _HASHER.hash(secrets.token_hex(16))


def _normal(password: str) -> str:
    """Return the one form that keyboards' different ones stand for (RFC 8265, section 4.2)."""
    return unicodedata.normalize("NFC", password)


def new_secret() -> str:
    """Return a new secret for one-time codes: 160 bits, in base32 (RFC 4226, section 4)."""
    return pyotp.random_base32()


def enrolment(secret: str, name: str) -> str:
    """Return the URI by which an authenticator app takes a secret, as text or as a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=_ISSUER)


def step_of(secret: str, code: str, now_ns: int, after: int) -> int | None:
    """Return the step whose code this is, None where it is none that may be taken.

    Args:
        after: the step whose code was taken last; neither that one nor an earlier one is.
    """
    totp = pyotp.TOTP(secret)
    now = now_ns // 1_000_000_000 // STEP_S
    found = None
    # One step to either side, for clocks that differ and people who type (section 5.2).
    for step in (now - 1, now, now + 1):
        right = compare_digest(totp.generate_otp(step).encode(), code.encode())
        if right and step > after and found is None:
            found = step
    return found


def sealed(master_key: MasterKey, name: str, secret: str) -> bytes:
    """Return a secret as it is stored."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(master_key.derived(_PURPOSE)).encrypt(
        nonce, secret.encode(), name.encode()
    )


def opened(master_key: MasterKey, name: str, stored: bytes) -> str | None:
    """Return a stored secret, None where it is another key's or another operator's."""
    cipher = AESGCM(master_key.derived(_PURPOSE))
    try:
        return cipher.decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], name.encode()).decode()
    except InvalidTag:
        return None
