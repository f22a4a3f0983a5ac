"""A bank's certificates in memory: root, issuing CA, signers of answers, merchants."""

import ssl
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.ca import profile
from gateway.ca.authority import Authority, new_root
from gateway.ca.csr import new_csr, new_key, read_body, read_csr
from gateway.client import Identity
from gateway.signatures.keys import PrivateKey


class Bank:
    """A root, an issuing CA, a key that signs answers, and whom the CA has certified."""

    def __init__(self, name: str = "Bank of Tests", now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC)
        self.root = new_root(name, now=self.now)
        key = ec.generate_private_key(ec.SECP256R1())
        issuing = self.root.sign_issuing(key.public_key(), now=self.now)
        self.issuing = Authority(issuing, key)
        self.signers: list[x509.Certificate] = []
        self.new_signer()

    def new_signer(self) -> None:
        """Make another key that signs answers, as the bank does now and then."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.issuing.sign_signing(key.public_key(), now=self.now)
        self.key, self.keyid = PrivateKey(key), profile.keyid(certificate)
        self.signers.append(certificate)

    @property
    def root_pem(self) -> bytes:
        return pem(self.root.certificate)

    def listed(self, *certificates: x509.Certificate) -> bytes:
        """Return the bank's list of certificates, of all its signers if no others are given."""
        items = [
            {"serial": profile.keyid(each), "pem": pem(each).decode()}
            for each in certificates or self.signers
        ]
        issuing_pem = pem(self.issuing.certificate).decode()
        return msgspec.json.encode({"items": items, "issuing_pem": issuing_pem})

    def tls(self, folder: Path) -> ssl.SSLContext:
        """Return what a TLS server of the bank's on this machine needs; its key goes to a file."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = ["localhost", "127.0.0.1"]
        certificate = self.issuing.sign_tls(key.public_key(), hosts, now=self.now)
        hidden = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = folder / "tls.pem"
        file.write_bytes(hidden + pem(certificate) + pem(self.issuing.certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def certify(self, number: str, algorithm: str = "ed25519") -> Identity:
        """Return a merchant's new identity."""
        key = new_key(algorithm)
        issued = self.issuing.issue(
            read_csr(new_csr(key, number)), profile.merchant(number), now=self.now
        )
        return Identity(key, issued.pem)

    def certify_csr(self, number: str, csr: str) -> bytes:
        """Return a merchant's certificate in PEM, for a request that it has made."""
        return self.issuing.issue(read_body(csr), profile.merchant(number), now=self.now).pem


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
