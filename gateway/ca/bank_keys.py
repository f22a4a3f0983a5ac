"""What a node needs of the bank's keys, loaded once when it starts.

The issuing CA, to sign merchants' certificates and revocation lists; the key that signs responses
and webhooks, and every certificate of its predecessors; the chain that merchants are given; the
TLS server's files, if there are some. Every key belongs to its certificate and every certificate
to this CA, or nothing is loaded. The root's private key is not looked at, and need not be there.
"""

import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from gateway.ca import profile
from gateway.ca.authority import Authority
from gateway.ca.ceremony import open_issuing
from gateway.ca.master_key import MasterKey
from gateway.ca.vault import Role, Vault

NOTICE: Final = timedelta(days=30)
"""How long before its end a certificate is called expiring."""


class Signing(Struct, frozen=True):
    """The key that signs the bank's messages.

    Attributes:
        keyid: names it in a signature.
        key: the private key, ECDSA on P-256.
        certificate: its certificate.
    """

    keyid: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class TlsServer(Struct, frozen=True):
    """The TLS server's files; the key's is encrypted.

    Attributes:
        certificate: the server's certificate.
        certificate_path: it and the issuing CA's, PEM.
        key_path: its private key.
        chain_pem: the CA whose client certificates it knows.
        master_key: gives the password of the key's file.
    """

    certificate: x509.Certificate
    certificate_path: Path
    key_path: Path
    chain_pem: bytes
    master_key: MasterKey

    def context(self, clients: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
        """Return a server's TLS context, TLS 1.2 and later; ALPN is left to the listener.

        Args:
            clients: CERT_REQUIRED for mutual TLS, CERT_OPTIONAL to look at what a client has;
                this CA's client certificates are the only ones accepted.

        Raises:
            OSError: a file cannot be read (ssl.SSLError: it does not hold what it did).
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION
        context.load_cert_chain(self.certificate_path, self.key_path, self.master_key.password)
        context.load_verify_locations(cadata=self.chain_pem.decode())
        context.verify_mode = clients
        return context


class BankKeys(Struct, frozen=True):
    """The bank's keys, as a node uses them.

    Attributes:
        issuing: signs merchants' certificates and revocation lists.
        signing: signs responses and webhooks.
        signing_certificates: of the key in use, then of those before it, newest first: whoever
            keeps an old message can check it.
        root: the certificate that merchants trust.
        chain_pem: the root's and the issuing CA's certificates, PEM.
        tls: the TLS server's files, None where the bank brings its own or has none.
    """

    issuing: Authority
    signing: Signing
    signing_certificates: tuple[x509.Certificate, ...]
    root: x509.Certificate
    chain_pem: bytes
    tls: TlsServer | None

    @classmethod
    def load(cls, folder: Path, master_key: MasterKey) -> "BankKeys":
        """Load and check the keys of a folder.

        Raises:
            KeysError: one of them cannot be used; the reason says why.
            OSError: a file cannot be read.
        """
        vault = Vault(folder)
        issuing = open_issuing(vault, master_key)
        root = vault.certificate(vault.current(Role.ROOT))
        chain = pem(root, issuing.certificate)
        signing = vault.pair(vault.current(Role.SIGNING), master_key)
        published = map(vault.certificate, reversed(vault.places(Role.SIGNING)))
        return cls(
            issuing=issuing,
            signing=Signing(profile.keyid(signing.certificate), signing.key, signing.certificate),
            signing_certificates=tuple(published),
            root=root,
            chain_pem=chain,
            tls=_tls(vault, master_key, chain) if vault.places(Role.TLS) else None,
        )

    def lapses(self, now: datetime, notice: timedelta = NOTICE) -> list[str]:
        """Return a line for each certificate that is not valid now or will soon not be."""
        looked_at = {
            "root": self.root,
            "issuing": self.issuing.certificate,
            "signing": self.signing.certificate,
        }
        if self.tls is not None:
            looked_at["tls"] = self.tls.certificate
        told = ((name, profile.standing(each, now, notice)) for name, each in looked_at.items())
        return [f"the {name} certificate {said}" for name, said in told if said]


def pem(*certificates: x509.Certificate) -> bytes:
    """Return certificates in PEM, one after the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def _tls(vault: Vault, master_key: MasterKey, chain: bytes) -> TlsServer:
    pair = vault.pair(vault.current(Role.TLS), master_key)
    return TlsServer(
        certificate=pair.certificate,
        certificate_path=vault.certificate_path(pair.place),
        key_path=vault.key_path(pair.place),
        chain_pem=chain,
        master_key=master_key,
    )
