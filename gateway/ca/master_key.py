"""The master key: 32 random bytes under which the bank's private keys are encrypted at rest.

It comes from a file that only its owner may touch, or from the environment; never from a command
line, which every user of a machine can read. Its text is 64 hexadecimal digits, or base64. It
shows itself to nobody: not in a repr, not in a message, not in a pickle.
"""

import base64
import binascii
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.ca import private_files
from gateway.ca.errors import KeysError, KeysReason

VARIABLE: Final = "PIAOHAO_MASTER_KEY"
BYTES: Final = 32
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{64}")


class MasterKey:
    """A master key.

    Args:
        secret: its 32 bytes.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        assert len(secret) == BYTES, "a master key has 32 bytes"
        self._secret = secret

    def __repr__(self) -> str:
        return "MasterKey(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key is not pickled")

    def password(self) -> bytes:
        """Return the password of the key files: its hexadecimal digits, in lower case.

        The same text that `write` puts into a file, so that any tool which reads PKCS#8 opens
        the bank's keys with that file (`openssl pkey -passin file:…`).
        """
        return self._secret.hex().encode()

    def derived(self, purpose: bytes) -> bytes:
        """Return 32 bytes for one purpose, from which neither it nor others can be told
        (HKDF with SHA-256, RFC 5869)."""
        return HKDF(hashes.SHA256(), BYTES, salt=None, info=b"piaohao " + purpose).derive(
            self._secret
        )

    def write(self, path: Path) -> None:
        """Write it to a new file that only the owner may read.

        Raises:
            KeysError: EXISTS.
            OSError: it cannot be written.
        """
        private_files.write_new(path, self.password() + b"\n")


def new_master_key() -> MasterKey:
    """Return a new random master key."""
    return MasterKey(secrets.token_bytes(BYTES))


def find_master_key(path: Path | None, environment: Mapping[str, str] | None = None) -> MasterKey:
    """Return the master key from a file, or else from the environment.

    Args:
        path: the file; None looks into the environment.
        environment: where PIAOHAO_MASTER_KEY may be; the process's own if absent.

    Raises:
        KeysError: NO_MASTER_KEY, MASTER_KEY_MALFORMED, or what forbids to read the file.
        OSError: the file cannot be read.
    """
    if path is not None:
        # Container platforms mount a secret as a link; the file behind it is checked.
        return _parsed(private_files.read(path, follow=True), str(path))
    text = (os.environ if environment is None else environment).get(VARIABLE)
    if not text:
        raise KeysError(
            KeysReason.NO_MASTER_KEY, f"give the master key: --master-key FILE, or {VARIABLE}"
        )
    return _parsed(text.encode(errors="surrogateescape"), VARIABLE)


def _parsed(text: bytes, where: str) -> MasterKey:
    text = text.strip()
    try:
        # 64 hexadecimal digits are base64 too, of 48 bytes.
        hexadecimal = _HEX.fullmatch(text)
        secret = (
            bytes.fromhex(text.decode()) if hexadecimal else base64.b64decode(text, validate=True)
        )
    except binascii.Error:
        secret = b""
    if len(secret) != BYTES:
        raise KeysError(
            KeysReason.MASTER_KEY_MALFORMED,
            f"{where} holds no master key: {BYTES} bytes, in hexadecimal or base64",
        )
    return MasterKey(secret)
