"""Trust: which keys are the bank's, from one pinned root certificate (RFC 5280).

The bank lists the certificates of the keys that sign its answers; the list itself proves nothing.
A key counts once its certificate was signed by a CA of the list that the pinned root has signed,
all three are valid now, and it says of itself that it signs the bank's messages: the same CA signs
merchants' certificates, and none of those passes for the bank.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import load_pem_x509_certificates
from msgspec import Struct

from gateway.ca.profile import MESSAGE_SIGNING
from gateway.signatures.keys import PublicKey, UnfitKeyError

PATH: Final = "/v1/signing-certificates"
"""Where the list is, for anybody."""

_CERTIFICATES_MAX: Final = 100
_UNREADABLE: Final = (
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
    ValueError,
)
"""What a certificate's extensions may come to: none of these is a ValueError but the last."""
_KNOWN_CRITICAL: Final = (x509.BasicConstraints, x509.KeyUsage)


class Listed(Struct, frozen=True):
    """One certificate of a key that signs answers."""

    pem: str


class BankCertificates(Struct, frozen=True):
    """The bank's list: the certificates of its keys, and of the CA that signed them."""

    items: list[Listed]
    issuing_pem: str


_decode: Final = msgspec.json.Decoder(BankCertificates).decode


class _Known(Struct, frozen=True):
    key: PublicKey
    chain: tuple[x509.Certificate, ...]


class Trust:
    """The bank's keys, as far as they have been learned.

    Args:
        root: the pinned certificate in PEM; more than one while the bank changes its root.

    Raises:
        ValueError: there is no certificate in it, or one that is not a CA's.
    """

    def __init__(self, root: bytes) -> None:
        try:
            self._roots = load_pem_x509_certificates(root)
        except ValueError:
            raise ValueError("there is no certificate in the root's PEM") from None
        if not all(map(_may_sign_certificates, self._roots)):
            raise ValueError("the root certificate is not a CA's")
        self._known: dict[str, _Known] = {}

    def key(self, keyid: str, now: float) -> PublicKey | None:
        """Return the bank's key of that name, None if none is known that is valid.

        Args:
            now: seconds since 1970.
        """
        known = self._known.get(keyid)
        if known is None or not _all_valid(known.chain, now):
            return None
        return known.key

    def learn(self, answer: bytes, now: float) -> None:
        """Take over the keys in the bank's list that the root vouches for, and no others."""
        try:
            listed = _decode(answer)
            issuing = load_pem_x509_certificates(listed.issuing_pem.encode())
            found = [
                x509.load_pem_x509_certificate(each.pem.encode())
                for each in listed.items[:_CERTIFICATES_MAX]
            ]
        except (msgspec.DecodeError, ValueError):
            return
        cas = [
            (ca, root)
            for ca in issuing[:_CERTIFICATES_MAX]
            for root in self._roots
            if _may_sign_certificates(ca) and _signed_by(ca, root)
        ]
        for certificate in found:
            for ca, root in cas:
                chain = certificate, ca, root
                if _is_for_messages(certificate) and _signed_by(certificate, ca):
                    self._add(chain, now)

    def _add(self, chain: tuple[x509.Certificate, ...], now: float) -> None:
        keyid = format(chain[0].serial_number, "x")
        # A CA's certificate may be renewed: the chain that is good now is the one to keep.
        if self.key(keyid, now) is None:
            try:
                self._known[keyid] = _Known(PublicKey(chain[0].public_key()), chain)
            except (UnfitKeyError, UnsupportedAlgorithm, ValueError):
                return


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _all_valid(chain: Iterable[x509.Certificate], now: float) -> bool:
    instant = datetime.fromtimestamp(now, UTC)
    return all(each.not_valid_before_utc <= instant <= each.not_valid_after_utc for each in chain)


def _may_sign_certificates(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except _UNREADABLE:
        return False
    return constraints.ca and usage.key_cert_sign and _understood(certificate)


def _is_for_messages(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except _UNREADABLE:
        return False
    signs = usage.digital_signature and not usage.key_cert_sign and not constraints.ca
    return signs and MESSAGE_SIGNING in purposes and _understood(certificate)


def _understood(certificate: x509.Certificate) -> bool:
    """Whether nothing critical stands in it that is not looked at here (RFC 5280, section 4.2)."""
    return all(
        isinstance(each.value, _KNOWN_CRITICAL) or not each.critical
        for each in certificate.extensions
    )
