"""What stands in each kind of certificate (RFC 5280 §4): subject, extensions, who may do what.

The root may sign CAs, the issuing CA only end certificates (pathlen 0). Every end certificate says
what it is for and is good for nothing else: a merchant's cannot pass for the bank's message
signature or TLS server, though one CA has signed all three. Names are checked before they go in:
whoever reads a certificate sees what is there.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from engine.address import AddressError, compose
from gateway.ca.algorithm import PublicKey
from gateway.ca.errors import IssueError, IssueReason

MESSAGE_SIGNING: Final = x509.ObjectIdentifier("2.25.289159836282616926082131611595724286956")
"""Extended key usage of the certificate that signs the bank's responses and webhooks.

No registry has one for HTTP message signatures, so this is Piaohao's own: an identifier under
2.25, which is for numbers drawn as UUIDs (ITU-T X.667).
"""
BACKDATED: Final = timedelta(minutes=5)
"""How long before its making a certificate is valid: clocks may differ by ±300 s (and so may the
`created` of a signed request)."""

_NAME_BYTES: Final = 64  # ub-common-name, RFC 5280 appendix A
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_NAME: Final = 253


class Holder(Struct, frozen=True):
    """Whose certificate it is.

    Attributes:
        unit: `merchant` or `bank`.
        name: a merchant's number, or the name of one of the bank's systems or operators.
    """

    unit: str
    name: str

    @property
    def address(self) -> str:
        """The holder as the engine's rows have it: `merchant/M1`, or `bank`."""
        return f"{self.unit}/{self.name}" if self.unit == "merchant" else self.unit


def merchant(number: str) -> Holder:
    """Return a merchant as the holder of a certificate.

    Raises:
        IssueError: NAME: it is no merchant's number.
    """
    try:
        compose("merchant", number)
    except AddressError as error:
        raise IssueError(IssueReason.NAME, str(error)) from None
    return Holder("merchant", number)


def bank(name: str) -> Holder:
    """Return a system or operator of the bank as the holder of a certificate.

    Raises:
        IssueError: NAME: see `proper_name`.
    """
    return Holder("bank", proper_name(name))


def proper_name(text: str) -> str:
    """Return a name as it may stand in a certificate.

    Raises:
        IssueError: NAME: it is empty, longer than 64 bytes of UTF-8, not in NFC, or has blanks
            around it or characters that nobody sees.
    """
    visible = all(not unicodedata.category(each).startswith("C") for each in text)
    if (
        not visible
        or text != text.strip()
        or unicodedata.normalize("NFC", text) != text
        or not 0 < len(text.encode()) <= _NAME_BYTES
    ):
        raise IssueError(
            IssueReason.NAME,
            f"not a name for a certificate: {text!r}; 1 to {_NAME_BYTES} bytes of visible text in "
            "NFC are wanted",
        )
    return text


def host_names(names: Sequence[str]) -> list[x509.GeneralName]:
    """Return a server's DNS names and IP addresses as its certificate has them.

    Raises:
        IssueError: NAME: there is none, or one is neither.
    """
    if not names:
        raise IssueError(IssueReason.NAME, "a server needs a DNS name or an IP address")
    return [_host_name(each) for each in dict.fromkeys(names)]


def _host_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    name = text.lower()
    labels = name.split(".")
    # A name that ends in digits is an IPv4 address that is none (WHATWG URL §3.5).
    proper = all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    if not proper or len(name) > _DNS_NAME:
        raise IssueError(
            IssueReason.NAME,
            f"neither a DNS name nor an IP address: {text!r} (international names in their xn-- "
            "form, no wildcards)",
        )
    return x509.DNSName(name)


def subject(organization: str, unit: str | None, name: str) -> x509.Name:
    """Return a subject: O the bank, OU whose it is (a CA has none), CN the name."""
    parts = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    parts.append((NameOID.COMMON_NAME, name))
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text is not None])


def organization(certificate: x509.Certificate) -> str:
    """Return the bank's name in a certificate, empty if it has none."""
    found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else ""


class Draft(Struct, frozen=True):
    """A certificate before it is signed.

    Attributes:
        subject: whose it is.
        key: the public key.
        begins, ends: its validity, whole seconds.
        path_length: how many CAs may stand below it; None for an end certificate.
        purposes: extended key usages of an end certificate.
        hosts: names of a server.
    """

    subject: x509.Name
    key: PublicKey
    begins: datetime
    ends: datetime
    path_length: int | None = None
    purposes: tuple[x509.ObjectIdentifier, ...] = ()
    hosts: tuple[x509.GeneralName, ...] = ()


CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER: Final = (ExtendedKeyUsageOID.SERVER_AUTH,)
SIGNING: Final = (MESSAGE_SIGNING,)


def sign(
    draft: Draft,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    crl_url: str | None = None,
) -> x509.Certificate:
    """Return a draft as a signed certificate with a random serial of 159 bits."""
    is_ca = draft.path_length is not None
    identifier = x509.SubjectKeyIdentifier.from_public_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(draft.subject)
        .issuer_name(issuer)
        .public_key(draft.key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(draft.begins)
        .not_valid_after(draft.ends)
        .add_extension(x509.BasicConstraints(is_ca, draft.path_length), critical=True)
        .add_extension(_key_usage(is_ca), critical=True)
        .add_extension(identifier(draft.key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if draft.purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(draft.purposes), critical=False)
    if draft.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(draft.hosts), critical=False)
    if crl_url is not None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder.sign(issuer_key, digest_for(issuer_key))


def digest_for(key: ec.EllipticCurvePrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash that is as strong as the key's curve."""
    return hashes.SHA384() if isinstance(key.curve, ec.SECP384R1) else hashes.SHA256()


def keyid(certificate: x509.Certificate) -> str:
    """Return a certificate's `keyid`: its serial in lower-case hexadecimal, no leading zeros."""
    return format(certificate.serial_number, "x")


def nanoseconds(instant: datetime) -> int:
    """Return the nanoseconds of a whole second since 1970."""
    return int(instant.timestamp()) * 1_000_000_000


def standing(certificate: x509.Certificate, now: datetime, notice: timedelta) -> str | None:
    """Return what is to be said about a certificate's validity, None if nothing is.

    Args:
        certificate: the certificate.
        now: the instant to look at it.
        notice: how long before its end that is to be said.
    """
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < first:
        return f"is not valid before {first:%Y-%m-%d}"
    if now > last:
        return f"expired on {last:%Y-%m-%d}"
    if now > last - notice:
        return f"expires on {last:%Y-%m-%d}"
    return None


def begin(now: datetime) -> datetime:
    """Return when a certificate that is made now begins to be valid."""
    return now.astimezone(UTC).replace(microsecond=0) - BACKDATED


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
