"""Certificates for tests: an authority of their own, and what it signs, as PEM files."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from gateway.listener.tls import TlsFiles


class Signer:
    """An authority that keeps what it makes in a folder.

    Args:
        signs_lists: what its certificate says of that; None where it says nothing of any use.

    Attributes:
        file: its own certificate.
    """

    def __init__(
        self, folder: Path, name: str = "authority", *, signs_lists: bool | None = None
    ) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        builder = _builder(self._name, self._name, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        if signs_lists is not None:
            named = ("digital_signature", "content_commitment", "key_encipherment",
                     "data_encipherment", "key_agreement", "encipher_only",
                     "decipher_only")  # fmt: skip
            usage = x509.KeyUsage(
                **dict.fromkeys(named, False), key_cert_sign=True, crl_sign=signs_lists
            )
            builder = builder.add_extension(usage, True)
        certificate = builder.sign(self._key, hashes.SHA256())
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def sign(
        self, name: str, *, password: bytes | None = None, with_rsa: bool = False
    ) -> tuple[Path, Path]:
        """Return the files of a new certificate, for 127.0.0.1 too, and of its key."""
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = (
            rsa.generate_private_key(65_537, 2_048)
            if with_rsa
            else ec.generate_private_key(ec.SECP256R1())
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = _builder(subject, self._name, key)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        certificate = builder.sign(self._key, hashes.SHA256())
        files = (self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        encryption = BestAvailableEncryption(password) if password else NoEncryption()
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        return files

    def take_back(
        self,
        *files: tuple[Path, Path],
        ends: timedelta = timedelta(days=1),
        begun: timedelta = timedelta(days=-2),
        extension: x509.ExtensionType | None = None,
    ) -> Path:
        """Return the file of a list of revoked certificates.

        Args:
            files: of these certificates, and of their keys.
            ends, begun: when, from now on.
            extension: one that is critical.
        """
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now + begun).next_update(now + ends)
        for certificate, _ in files:
            serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        if extension is not None:
            builder = builder.add_extension(extension, critical=True)
        found = builder.sign(self._key, hashes.SHA256())
        file = self._folder / f"{self.file.stem}.crl"
        file.write_bytes(found.public_bytes(Encoding.PEM))
        return file

    def server(self, *, client_ca: Path | None = None) -> ssl.SSLContext:
        """Return the context of a server that this authority has signed for."""
        return TlsFiles(*self.sign("server"), client_ca).context

    def client(self, files: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority, and shows a certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        if files is not None:
            context.load_cert_chain(*files)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
