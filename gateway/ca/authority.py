"""An authority: a CA's certificate and key, and what it signs with them.

Nothing outlives its issuer: a certificate ends when its CA's does, if not before. A CA whose own
certificate has expired, or does not begin yet, signs nothing. The instant is always given by the
caller, so whoever keeps the rows and whoever signs mean the same one.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from gateway.ca import profile
from gateway.ca.algorithm import PublicKey
from gateway.ca.csr import Request
from gateway.ca.errors import IssueError, IssueReason
from gateway.ca.profile import Draft, Holder
from gateway.signatures.keys import Algorithm

ROOT_VALID: Final = timedelta(days=20 * 365)
ISSUING_VALID: Final = timedelta(days=10 * 365)
SIGNING_VALID: Final = timedelta(days=2 * 365)
CLIENT_VALID: Final = timedelta(days=2 * 365)
TLS_VALID: Final = timedelta(days=397)
"""What browsers have as their upper bound (CA/Browser Forum, Baseline Requirements §6.3.2)."""
CRL_VALID: Final = timedelta(days=1)
LONGEST: Final = timedelta(days=10 * 365)
"""Most that is given to an end certificate."""


class Issued(Struct, frozen=True):
    """A certificate that was signed for a request: what a node stores of it.

    Attributes:
        holder: `merchant/M1`, or `bank`.
        name: the certificate's CN: the merchant's number, or the system's or operator's name.
        keyid: the serial in lower-case hexadecimal without leading zeros.
        algorithm: how its key signs.
        spki: its public key, DER.
        not_before_ns, not_after_ns: its validity, nanoseconds since 1970; both ends belong to it.
        der: the certificate.
    """

    holder: str
    name: str
    keyid: str
    algorithm: Algorithm
    spki: bytes
    not_before_ns: int
    not_after_ns: int
    der: bytes

    @property
    def pem(self) -> bytes:
        """The certificate in PEM."""
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)


class RevocationReason(StrEnum):
    """Why a certificate was revoked (RFC 5280 §5.3.1); none of them can be taken back."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "key_compromise"
    AFFILIATION_CHANGED = "affiliation_changed"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessation_of_operation"
    PRIVILEGE_WITHDRAWN = "privilege_withdrawn"


_FLAGS: Final = {each: x509.ReasonFlags[each.value] for each in RevocationReason}


class Revoked(NamedTuple):
    """An entry of a revocation list."""

    keyid: str
    revoked_ns: int
    reason: RevocationReason = RevocationReason.UNSPECIFIED


class Crl(Struct, frozen=True):
    """A certificate revocation list (X.509 v2), signed.

    Attributes:
        number: its number.
        next_update_ns: until when it may be relied on, nanoseconds since 1970.
        der: the list.
    """

    number: int
    next_update_ns: int
    der: bytes

    @property
    def pem(self) -> bytes:
        """The list in PEM."""
        return x509.load_der_x509_crl(self.der).public_bytes(Encoding.PEM)


class Authority:
    """A CA that can sign.

    Args:
        certificate: the CA's certificate.
        key: its private key.
        crl_url: where its revocation list can be had; None leaves that out of certificates.

    Attributes:
        certificate: the CA's certificate.
        private_key: its private key.
        bank: the bank's name, which stands in every certificate.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        *,
        crl_url: str | None = None,
    ) -> None:
        self.certificate = certificate
        self.bank = profile.organization(certificate)
        self.private_key = key
        self._crl_url = crl_url

    def __repr__(self) -> str:
        return f"Authority({self.certificate.subject.rfc4514_string()!r})"

    def issue(
        self,
        request: Request,
        holder: Holder,
        *,
        now: datetime,
        valid: timedelta = CLIENT_VALID,
    ) -> Issued:
        """Sign a client certificate for the key that a request proved.

        Args:
            request: what `read_csr` returned.
            holder: `profile.merchant(number)`, or `profile.bank(name)`.
            now: the instant of signing; the validity begins five minutes earlier.
            valid: for how long from now, at most ten years; cut off where the CA's own ends.

        Raises:
            IssueError: VALIDITY, ISSUER_NOT_VALID.
        """
        certificate = self._sign(
            profile.subject(self.bank, holder.unit, holder.name),
            request.public_key,
            profile.CLIENT,
            now=now,
            valid=valid,
        )
        return Issued(
            holder=holder.address,
            name=holder.name,
            keyid=profile.keyid(certificate),
            algorithm=request.algorithm,
            spki=request.spki,
            not_before_ns=profile.nanoseconds(certificate.not_valid_before_utc),
            not_after_ns=profile.nanoseconds(certificate.not_valid_after_utc),
            der=certificate.public_bytes(Encoding.DER),
        )

    def sign_signing(
        self, key: PublicKey, *, now: datetime, valid: timedelta = SIGNING_VALID
    ) -> x509.Certificate:
        """Return the certificate of the key that signs the bank's responses and webhooks.

        Raises:
            IssueError: VALIDITY, ISSUER_NOT_VALID.
        """
        subject = profile.subject(self.bank, "bank", "Message signing")
        return self._sign(subject, key, profile.SIGNING, now=now, valid=valid)

    def sign_tls(
        self,
        key: PublicKey,
        hosts: Sequence[str],
        *,
        now: datetime,
        valid: timedelta = TLS_VALID,
    ) -> x509.Certificate:
        """Return the certificate of a TLS server.

        Args:
            key: the server's public key.
            hosts: its DNS names and IP addresses.
            now: the instant of signing.
            valid: for how long from now.

        Raises:
            IssueError: NAME, VALIDITY, ISSUER_NOT_VALID.
        """
        names = tuple(profile.host_names(hosts))
        subject = profile.subject(self.bank, "bank", "TLS server")
        return self._sign(subject, key, profile.SERVER, now=now, valid=valid, hosts=names)

    def make_crl(
        self,
        revoked: Iterable[Revoked],
        *,
        number: int,
        now: datetime,
        valid: timedelta = CRL_VALID,
    ) -> Crl:
        """Sign a revocation list.

        Args:
            revoked: every certificate that was revoked and has not expired.
            number: higher than that of any list before it, 0 to 2^159 − 1 (RFC 5280 §5.2.3).
            now: the instant of signing.
            valid: after how long the next list is due.

        Raises:
            IssueError: ISSUER_NOT_VALID; VALIDITY: `valid` is not positive.
        """
        self._check_valid(now)
        if valid <= timedelta(0):
            raise IssueError(IssueReason.VALIDITY, "the next list is due after this one")
        begins = profile.begin(now)
        next_update = now.astimezone(UTC).replace(microsecond=0) + valid
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self.private_key.public_key()
        )
        # All entries at once: the builder copies its whole list for each one that is added.
        crl = (
            x509.CertificateRevocationListBuilder(
                revoked_certificates=[_entry(each) for each in revoked]
            )
            .issuer_name(self.certificate.subject)
            .last_update(begins)
            .next_update(next_update)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(self.private_key, profile.digest_for(self.private_key))
        )
        return Crl(number, profile.nanoseconds(next_update), crl.public_bytes(Encoding.DER))

    def sign_issuing(
        self, key: PublicKey, *, now: datetime, valid: timedelta = ISSUING_VALID
    ) -> x509.Certificate:
        """Return the certificate of the issuing CA; only a root signs one.

        Raises:
            IssueError: ISSUER_NOT_VALID.
        """
        subject = profile.subject(self.bank, None, "Issuing CA")
        begins, ends = self._validity(now, valid)
        draft = Draft(subject, key, begins, ends, path_length=0)
        return profile.sign(draft, self.certificate.subject, self.private_key)

    def _sign(
        self,
        subject: x509.Name,
        key: PublicKey,
        purposes: tuple[x509.ObjectIdentifier, ...],
        *,
        now: datetime,
        valid: timedelta,
        hosts: tuple[x509.GeneralName, ...] = (),
    ) -> x509.Certificate:
        if not timedelta(seconds=1) <= valid <= LONGEST:
            raise IssueError(
                IssueReason.VALIDITY,
                f"a certificate is valid for at least a second, at most {LONGEST.days} days",
            )
        begins, ends = self._validity(now, valid)
        draft = Draft(subject, key, begins, ends, purposes=purposes, hosts=hosts)
        return profile.sign(draft, self.certificate.subject, self.private_key, self._crl_url)

    def _validity(self, now: datetime, valid: timedelta) -> tuple[datetime, datetime]:
        self._check_valid(now)
        ends = now.astimezone(UTC).replace(microsecond=0) + valid
        return (
            max(profile.begin(now), self.certificate.not_valid_before_utc),
            min(ends, self.certificate.not_valid_after_utc),
        )

    def _check_valid(self, now: datetime) -> None:
        first, last = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        if not first <= now <= last:
            raise IssueError(
                IssueReason.ISSUER_NOT_VALID,
                f"the CA's own certificate is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}",
            )


def new_root(bank: str, *, now: datetime, valid: timedelta = ROOT_VALID) -> Authority:
    """Return a new root: a P-384 key and its self-signed certificate.

    Raises:
        IssueError: NAME: the bank's name cannot stand in a certificate.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    subject = profile.subject(profile.proper_name(bank), None, "Root CA")
    ends = now.astimezone(UTC).replace(microsecond=0) + valid
    draft = Draft(subject, key.public_key(), profile.begin(now), ends, path_length=1)
    return Authority(profile.sign(draft, subject, key), key)


def _entry(revoked: Revoked) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(revoked.keyid, 16))
        .revocation_date(datetime.fromtimestamp(revoked.revoked_ns // 1_000_000_000, UTC))
    )
    # No reason says the same as `unspecified`, which should be left out (RFC 5280 §5.3.1).
    if revoked.reason != RevocationReason.UNSPECIFIED:
        flag = _FLAGS[RevocationReason(revoked.reason)]
        builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()
