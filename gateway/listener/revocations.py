"""Revocations: which of operators' certificates were taken back, by lists of RFC 5280, section 5.

A file has one list or more in PEM, each signed by one of the authorities that sign for operators,
and each of now: one that is over may leave out whom somebody wants kept out. What cannot be trusted
as a whole is refused as a whole, so that whoever reads a list has all of it or an error.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from msgspec import Struct

from gateway.logs import plain

log = logging.getLogger("piaohao.gateway")

SKEW: Final = timedelta(minutes=5)
"""So much later than this machine's clock an authority's may be."""
_STRANGE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library says of what it does not understand; some of it is no ValueError."""
_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


class RevocationsError(ValueError):
    """A list cannot be used; the text says why, and fits a line."""


class Revocations(Struct, frozen=True):
    """What lists say.

    Attributes:
        revoked: issuer and serial of each certificate that was taken back.
        until: when the first of the lists is over.
    """

    revoked: frozenset[tuple[x509.Name, int]]
    until: datetime

    def has(self, certificate: x509.Certificate) -> bool:
        """Return whether a certificate was taken back."""
        return (certificate.issuer, certificate.serial_number) in self.revoked


class RevocationFile:
    """A file of lists, and whom it keeps out.

    While a list is over nobody is let in, as the node would not start with it either: who has the
    key of a certificate that was taken back must not gain by a list that fails to come.

    Args:
        file: PEM.
        authorities: by whom lists may be signed.

    Raises:
        OSError, RevocationsError: the file cannot be read, or used.
    """

    def __init__(self, file: Path, authorities: Sequence[x509.Certificate]) -> None:
        self._file = file
        self._authorities = authorities
        self._lists = self.newest()
        self._told: set[str] = set()

    def newest(self) -> Revocations:
        """Return what the file says now; nothing changes by it.

        Raises:
            OSError, RevocationsError: see the class.
        """
        return read_revocations(self._file.read_bytes(), self._authorities, datetime.now(UTC))

    def use(self, newest: Revocations) -> None:
        """Go by other lists from now on."""
        self._lists = newest
        self._told.clear()

    def admits(self, certificate: bytes) -> bool:
        """Return whether somebody with a certificate (DER) is let in; the log has the first time
        that one is not."""
        if self._lists.until <= datetime.now(UTC):
            if "" not in self._told:
                self._told.add("")
                log.error("the operators' revocation list is over, and nobody is let in")
            return False
        try:
            shown = x509.load_der_x509_certificate(certificate)
        except ValueError:
            return False  # OpenSSL takes it, and we cannot tell which one it is
        if not self._lists.has(shown):
            return True
        serial = f"{shown.serial_number:x}"
        if serial not in self._told:  # as many lines as there are such certificates
            self._told.add(serial)
            log.warning("a certificate that was taken back is shown: serial %s", serial)
        return False


def read_revocations(
    text: bytes, authorities: Sequence[x509.Certificate], now: datetime
) -> Revocations:
    """Return what a file's lists say.

    Args:
        text: PEM.
        authorities: by whom they may be signed.

    Raises:
        RevocationsError: there is none, or one is not as it has to be.
    """
    lists = [_BEGIN + each.partition(_END)[0] + _END for each in text.split(_BEGIN)[1:]]
    if not lists:
        raise RevocationsError("there is no revocation list in it, in PEM")
    revoked: set[tuple[x509.Name, int]] = set()
    until: list[datetime] = []
    for each in lists:
        try:
            found = x509.load_pem_x509_crl(each)
            until.append(_check(found, authorities, now))
            revoked.update((found.issuer, entry.serial_number) for entry in found)
        except RevocationsError:
            raise
        except _STRANGE as error:
            raise RevocationsError(f"it cannot be read: {plain(str(error), 200)}") from None
    return Revocations(frozenset(revoked), min(until))


def _check(
    found: x509.CertificateRevocationList, authorities: Sequence[x509.Certificate], now: datetime
) -> datetime:
    """Check one list; returns when it is over (RFC 5280, section 6.3.3).

    Raises:
        RevocationsError: see there.
    """
    if not any(_has_signed(each, found) for each in authorities):
        raise RevocationsError("it is not signed by an authority of operators")
    # Of a part of all certificates, or of what has changed since another list, nothing is here.
    strange = [each.oid.dotted_string for each in found.extensions if each.critical]
    if strange:
        raise RevocationsError(f"it has a critical extension that is not known: {strange[0]}")
    ends = found.next_update_utc
    if ends is None:
        raise RevocationsError("it does not say when the next one comes")
    if ends <= now:
        raise RevocationsError(f"it was good until {_said(ends)}")
    if found.last_update_utc > now + SKEW:
        raise RevocationsError(f"it is of {_said(found.last_update_utc)}, which is to come")
    return ends


def _has_signed(authority: x509.Certificate, found: x509.CertificateRevocationList) -> bool:
    try:
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if authority.subject != found.issuer or (usage is not None and not usage.crl_sign):
        return False
    try:
        return found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
    except TypeError:
        return False  # a key of a kind that signs no lists


def _said(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
