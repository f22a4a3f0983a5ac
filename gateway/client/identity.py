"""Identities: whose requests they are, as a private key and the certificate of it.

The certificate names the holder and, by its serial, the key; the key fixes the algorithm. A key
never shows: not in a repr, not in an error, and a file that it is written to is its owner's alone.
"""

import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from gateway.ca.algorithm import PrivateKey as AnyPrivateKey
from gateway.signatures.keys import PrivateKey, UnfitKeyError

_FORM: Final = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Identity:
    """A private key and its certificate.

    Args:
        key: in PEM, or a key that `new_key` made.
        certificate: in PEM; what follows the first one is passed over.
        password: of the key's PEM, if it is encrypted.

    Attributes:
        keyid: names the key in signatures: the certificate's serial in lower-case hex.
        key: signs.
        merchant_no: of the merchant who holds it; None for the bank itself.
        certificate: what the bank says of the key.

    Raises:
        ValueError: one of the two cannot be read, or they do not belong together.
    """

    def __init__(
        self, key: bytes | AnyPrivateKey, certificate: bytes, password: bytes | None = None
    ) -> None:
        try:
            self._raw = load_pem_private_key(key, password) if isinstance(key, bytes) else key
            self.key = PrivateKey(self._raw)
        except (TypeError, ValueError, UnfitKeyError) as error:
            raise ValueError(f"the private key cannot be used: {error}") from None
        self.certificate = x509.load_pem_x509_certificate(certificate)
        if self.certificate.public_key().public_bytes(*_FORM) != self.key.public.spki:
            raise ValueError("the certificate is not of this private key")
        self.keyid = format(self.certificate.serial_number, "x")
        unit = _named(self.certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
        name = _named(self.certificate, NameOID.COMMON_NAME)
        self.merchant_no = name if unit == "merchant" else None

    @classmethod
    def read(
        cls, *, key: Path | str, certificate: Path | str, password: bytes | None = None
    ) -> "Identity":
        """Read an identity from two files in PEM.

        Raises:
            OSError: one of them cannot be read.
            ValueError: as for the class.
        """
        return cls(Path(key).read_bytes(), Path(certificate).read_bytes(), password)

    def write(
        self, *, key: Path | str, certificate: Path | str, password: bytes | None = None
    ) -> None:
        """Write an identity to two new files in PEM; the key's is for its owner alone.

        Raises:
            FileExistsError: one of them is there: a key is never overwritten.
            OSError: one of them cannot be written.
        """
        hidden = NoEncryption() if password is None else BestAvailableEncryption(password)
        pem = self._raw.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)
        _write(Path(key), pem, 0o600)
        _write(Path(certificate), self.certificate.public_bytes(Encoding.PEM), 0o644)

    def __repr__(self) -> str:
        holder = "the bank" if self.merchant_no is None else f"merchant {self.merchant_no}"
        return f"<Identity of {holder}, keyid {self.keyid}>"


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str | None:
    found = certificate.subject.get_attributes_for_oid(oid)
    return str(found[0].value) if found else None


def _write(path: Path, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
