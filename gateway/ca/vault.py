"""The keys folder: the bank's certificates, and their private keys encrypted under the master key.

`root.crt` and `root.key` stand alone; every other pair has a role and a number, `signing-2.crt`
and `signing-2.key`, and the highest number whose certificate is there is the one in use. A pair is
written key first, so its certificate is what makes it count, and nothing is ever overwritten. Keys
are PKCS#8 (RFC 5958) encrypted with PBES2 (RFC 8018), certificates PEM: other tools read them.
"""

import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct

from gateway.ca import private_files
from gateway.ca.errors import KeysError, KeysReason
from gateway.ca.master_key import MasterKey

_SETTINGS: Final = "ca.json"


class Role(StrEnum):
    """What a certificate of the bank's own is for."""

    ROOT = "root"
    ISSUING = "issuing"
    SIGNING = "signing"
    TLS = "tls"


_ABOVE: Final = {
    Role.ISSUING: Role.ROOT,
    Role.SIGNING: Role.ISSUING,
    Role.TLS: Role.ISSUING,
}
"""Which certificate's key signs which."""
_FILE: Final = re.compile(r"(?:(root)|(issuing|signing|tls)-([1-9][0-9]{0,5}))\.(crt|key)")


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the CA was told once, when it was made (`ca.json`).

    Attributes:
        crl_url: where the revocation list can be had; certificates name it.
    """

    crl_url: str | None = None


class Place(Struct, frozen=True, order=True):
    """Where a pair lies: its role, and its number (0 for the root)."""

    role: Role
    number: int

    @property
    def stem(self) -> str:
        """The name of its files, without what they end in."""
        return self.role.value if self.role is Role.ROOT else f"{self.role}-{self.number}"


class Pair(Struct, frozen=True):
    """A certificate and its private key."""

    place: Place
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Vault:
    """The keys folder of one bank.

    Args:
        path: the folder.

    Raises:
        KeysError: it is MISSING, NOT_OURS or OPEN_TO_OTHERS.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            private_files.check_folder(path)
        except KeysError as error:
            if error.reason is not KeysReason.MISSING:
                raise
            raise KeysError(error.reason, f"{error}; `piaohao ca init` makes one") from None
        self.path = path

    def places(self, role: Role) -> list[Place]:
        """Return where the certificates of a role lie, the one in use last."""
        return [place for place in self._files("crt") if place.role is role]

    def current(self, role: Role) -> Place:
        """Return where the certificate in use lies.

        Raises:
            KeysError: MISSING: there is none.
        """
        places = self.places(role)
        if not places:
            raise KeysError(KeysReason.MISSING, f"{self.path} holds no {role} certificate")
        return places[-1]

    def next(self, role: Role) -> Place:
        """Return where the next pair of a role goes."""
        # A key whose certificate was never written keeps its number: nothing is overwritten.
        taken = [*self._files("crt"), *self._files("key")]
        return Place(role, 1 + max((each.number for each in taken if each.role is role), default=0))

    def certificate_path(self, place: Place) -> Path:
        """Return the file of a certificate."""
        return self.path / f"{place.stem}.crt"

    def key_path(self, place: Place) -> Path:
        """Return the file of a private key; it may have been taken away."""
        return self.path / f"{place.stem}.key"

    def certificate(self, place: Place) -> x509.Certificate:
        """Return a certificate that the CA above it has signed, the root itself.

        Raises:
            KeysError: it is MISSING, MALFORMED, NOT_OURS, OPEN_TO_OTHERS, or a
                FOREIGN_CERTIFICATE; or the CA's is.
        """
        certificate = self._read(place)
        role = _ABOVE.get(place.role)
        above = certificate if role is None else self._read(self.current(role))
        try:
            certificate.verify_directly_issued_by(above)
        except (InvalidSignature, ValueError, TypeError):
            path = self.certificate_path(place)
            raise KeysError(
                KeysReason.FOREIGN_CERTIFICATE, f"{path}: not signed by the CA that is here"
            ) from None
        return certificate

    def pair(self, place: Place, master_key: MasterKey) -> Pair:
        """Return a certificate with its private key.

        Raises:
            KeysError: WRONG_MASTER_KEY, KEY_MISMATCH, or what forbids to read a file.
        """
        certificate = self.certificate(place)
        path = self.key_path(place)
        text = private_files.read(path)
        if not text.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"):
            raise KeysError(KeysReason.MALFORMED, f"{path} holds no encrypted private key")
        try:
            key = load_pem_private_key(text, master_key.password())
        except (ValueError, UnsupportedAlgorithm):
            # The encryption knows no difference between a wrong password and a damaged file.
            raise KeysError(
                KeysReason.WRONG_MASTER_KEY,
                f"{path}: the master key does not open it, or the file is damaged",
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or (
            key.public_key() != certificate.public_key()
        ):
            raise KeysError(KeysReason.KEY_MISMATCH, f"{path} does not belong to {place.stem}.crt")
        return Pair(place, certificate, key)

    def write(
        self,
        place: Place,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        master_key: MasterKey,
        chain: Sequence[x509.Certificate] = (),
    ) -> None:
        """Write a new pair; it counts once its certificate, which comes last, is there.

        Args:
            place: where, from `next`.
            certificate: the certificate.
            key: its private key.
            master_key: encrypts the key.
            chain: CAs whose certificates follow in the certificate's file.

        Raises:
            KeysError: EXISTS: something has been written there meanwhile.
            OSError: it cannot be written.
        """
        # PBES2 with PBKDF2 (2,048 rounds of HMAC-SHA-256) and AES-256-CBC. More rounds would
        # only help a password that somebody can guess; this one is 32 random bytes, and at
        # 0.4 ms a key they do not hold up a node that starts.
        encryption = BestAvailableEncryption(master_key.password())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        private_files.write_new(self.key_path(place), pem)
        pems = b"".join(each.public_bytes(Encoding.PEM) for each in (certificate, *chain))
        private_files.write_new(self.certificate_path(place), pems)

    def settings(self) -> Settings:
        """Return what the CA was told when it was made.

        Raises:
            KeysError: the file is MALFORMED, NOT_OURS, OPEN_TO_OTHERS.
        """
        path = self.path / _SETTINGS
        try:
            return msgspec.json.decode(
                private_files.read(path, private_files.PUBLIC), type=Settings
            )
        except msgspec.DecodeError as error:
            raise KeysError(KeysReason.MALFORMED, f"{path}: {error}") from None

    def write_settings(self, settings: Settings) -> None:
        """Write the settings of a new CA."""
        private_files.write_new(self.path / _SETTINGS, msgspec.json.encode(settings) + b"\n")

    def _read(self, place: Place) -> x509.Certificate:
        path = self.certificate_path(place)
        text = private_files.read(path, private_files.PUBLIC)
        try:
            return x509.load_pem_x509_certificate(text)
        except (ValueError, x509.InvalidVersion):
            raise KeysError(KeysReason.MALFORMED, f"{path} holds no certificate") from None

    def _files(self, ending: str) -> Iterator[Place]:
        found = (_FILE.fullmatch(each.name) for each in self.path.iterdir())
        names = (match.groups() for match in found if match)
        yield from sorted(
            Place(Role(root or role), int(number or 0))
            for root, role, number, end in names
            if end == ending
        )


@contextmanager
def new_vault(path: Path) -> Iterator[Vault]:
    """Give a new folder to fill; it gets its name at the end, whole, or never.

    Raises:
        KeysError: EXISTS: there is something in the folder already.
        OSError: it cannot be made.
    """
    taken = KeysError(KeysReason.EXISTS, f"{path} is there already, and not empty")
    if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
        raise taken
    made = [each for each in path.parents if not each.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    unfinished.mkdir(mode=0o700)
    try:
        yield Vault(unfinished)
        private_files.sync_folder(unfinished)
        try:
            # Takes the place of an empty folder, and of nothing else.
            unfinished.rename(path)
        except FileExistsError:
            raise taken from None
        except OSError as error:
            if path.is_dir() and any(path.iterdir()):
                raise taken from None
            raise error from None
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for each in (path, *made):
        private_files.sync_folder(each.parent)
