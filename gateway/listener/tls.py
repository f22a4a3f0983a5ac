"""TLS: 1.2 and 1.3 with forward secrecy, HTTP/1.1 only, a client's certificate where it shows one.

For operators it is mutual: TLS 1.3 alone, and nobody is heard who shows no good certificate.

Files come from an operator, so what is wrong with them is one line. There are no tickets, whose key
would open every session that was resumed by one, and no renegotiation, by which a client could have
the node shake hands again and again on one connection.
"""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, Final

import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.exits import INPUT, CommandError
from gateway.listener.revocations import RevocationFile
from gateway.logs import plain

CLIENT_CERTIFICATE: Final = "client_certificate"
"""Where a request finds its client's certificate (DER), if any: in its scope's state."""

SUBJECT_MAX: Final = 200
"""Characters of a client's subject that are looked at."""

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class TlsFileError(CommandError):
    """A certificate or key cannot be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(INPUT, detail)


class TlsFiles:
    """A server's certificate and key, and a context that follows them.

    Args:
        certificate: PEM, the server's own first, then those between it and a root.
        key: PEM.
        client_ca: PEM; clients may show a certificate that one of these has signed.
        password: of the key, if it is encrypted.

    Attributes:
        context: for the listener.

    Raises:
        TlsFileError: see there.
    """

    _options: ClassVar = ("--tls-certificate", "--tls-key", "--tls-client-ca")
    _least: ClassVar = ssl.TLSVersion.TLSv1_2
    _clients: ClassVar = ssl.CERT_OPTIONAL

    def __init__(
        self,
        certificate: Path,
        key: Path,
        client_ca: Path | None = None,
        *,
        password: str | bytes = "",
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._password = password  # without one OpenSSL would ask the terminal
        self._signers = ""  # of clients' certificates, PEM; not known before they were found good
        self.context = self._read()
        if client_ca is not None:
            self._signers = client_ca.read_text("ascii", "ignore")

    def read_again(self) -> None:
        """Have connections from now on see the certificate and key that the files hold now.

        Whom clients' certificates are signed by does not change.

        Raises:
            TlsFileError: nothing has changed.
        """
        newest = self._read()

        def begin(connection: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
            connection.context = newest

        # Not loaded into the one that listeners have: that would keep what it has of a key of
        # another kind, and might find other files than those that were checked.
        self.context.sni_callback = begin

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = self._least
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of 1.2; those of 1.3 are all good
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        context.num_tickets = 0
        for_certificate, _, for_ca = self._options
        try:
            for each in (self._certificate, self._key, self._client_ca):
                if each is not None:
                    each.read_bytes()  # OpenSSL does not say which one it could not read
            context.load_cert_chain(self._certificate, self._key, self._password)
        except OSError as error:
            raise self._error(error, f"{for_certificate} {self._certificate}") from None
        if self._client_ca is not None:
            try:
                if self._signers:
                    context.load_verify_locations(cadata=self._signers)
                else:
                    context.load_verify_locations(self._client_ca)
            except OSError as error:
                raise self._error(error, f"{for_ca} {self._client_ca}") from None
            context.verify_mode = self._clients
        return context

    def _error(self, error: OSError, option: str) -> TlsFileError:
        if isinstance(error, ssl.SSLError):
            for_certificate, for_key, _ = self._options
            key = f" with {for_key} {self._key}" if option.startswith(for_certificate) else ""
            reason = (error.reason or "not PEM").lower().replace("_", " ")
            return TlsFileError(f"{option}{key}: {reason}")
        return TlsFileError(f"cannot read {error.filename}: {error.strerror}")


class MutualTlsFiles(TlsFiles):
    """The same for operators: each client has to show a certificate that `client_ca` has signed,
    and that no list in `crl` takes back.

    Args:
        certificate, key, client_ca: as for `TlsFiles`.
        crl: PEM, what those who sign have taken back; None where they take nothing back.

    Attributes:
        hosts: for which the certificate was made when this was; as they stand in an address.

    Raises:
        TlsFileError: see there.
    """

    _options = ("--ops-cert", "--ops-key", "--ops-client-ca")
    _least = ssl.TLSVersion.TLSv1_3
    _clients = ssl.CERT_REQUIRED

    def __init__(
        self, certificate: Path, key: Path, client_ca: Path, crl: Path | None = None
    ) -> None:
        super().__init__(certificate, key, client_ca)
        self._authorities = client_ca
        self._crl = crl
        self.hosts = self._hosts()
        self._revocations: RevocationFile | None = None
        self._then: Callable[[], None] = lambda: None
        if crl is not None:
            with self._naming(crl):
                signers = x509.load_pem_x509_certificates(self._signers.encode())
                self._revocations = RevocationFile(crl, signers)

    def when_read_again(self, do: Callable[[], None]) -> None:
        """Have something called whenever the files were read again: who is connected may have
        shown a certificate that was taken back since."""
        self._then = do

    def read_again(self) -> None:
        """See `TlsFiles.read_again`; what was taken back counts from now on."""
        newest = None
        if self._revocations is not None and self._crl is not None:
            with self._naming(self._crl):
                newest = self._revocations.newest()
        super().read_again()
        if self._revocations is not None and newest is not None:
            self._revocations.use(newest)
        self._then()

    def admits(self, certificate: bytes | None) -> bool:
        """Return whether somebody is heard who has shown a certificate (DER) that was signed by
        one of those who may."""
        return self._revocations is None or (
            certificate is not None and self._revocations.admits(certificate)
        )

    @contextmanager
    def _naming(self, crl: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TlsFileError(f"cannot read {crl}: {error.strerror}") from None
        except ValueError as error:
            raise TlsFileError(f"--ops-crl {crl}: {error}") from None

    def _hosts(self) -> tuple[str, ...]:
        try:
            own = x509.load_pem_x509_certificate(self._certificate.read_bytes())
            names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ()
        except (OSError, ValueError) as error:
            raise TlsFileError(f"--ops-cert {self._certificate}: {error}") from None
        addresses = names.get_values_for_type(x509.IPAddress)
        return (
            *names.get_values_for_type(x509.DNSName),
            *(f"[{each}]" if each.version == 6 else str(each) for each in addresses),
        )

    def refuse_authorities(self, *others: x509.Certificate) -> None:
        """Refuse that somebody lets operators in who certifies others too.

        Args:
            others: the bank's own CA: all its merchants would be let in.

        Raises:
            TlsFileError: one of these is among the given.
        """
        try:
            given = x509.load_pem_x509_certificates(self._authorities.read_bytes())
        except (OSError, ValueError) as error:
            raise TlsFileError(f"--ops-client-ca {self._authorities}: {error}") from None
        # By their keys: a CA that was renewed has kept it.
        if {*map(_key_of, given)} & {*map(_key_of, others)}:
            raise TlsFileError(
                f"--ops-client-ca {self._authorities}: the bank's own CA certifies merchants; "
                "operators want one of their own"
            )


def _key_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def shake_hands(
    stream: trio.SocketStream, context: ssl.SSLContext, within_s: float
) -> trio.SSLStream[trio.SocketStream] | None:
    """Return the encrypted stream, or None for a client that takes too long.

    Raises:
        trio.BrokenResourceError: it left, speaks no TLS, or none of ours.
    """
    encrypted = trio.SSLStream(stream, context, server_side=True)
    with trio.move_on_after(within_s) as patience:
        await encrypted.do_handshake()
    return None if patience.cancelled_caught else encrypted


def client_certificate(stream: Stream) -> bytes | None:
    """Return the certificate that a client has shown and that was found good (DER)."""
    if isinstance(stream, trio.SocketStream):
        return None
    shown: bytes | None = stream.getpeercert(binary_form=True)
    return shown


@lru_cache(maxsize=256)
def subject_of(certificate: bytes | None) -> str:
    """Return whom a client's certificate names (RFC 4514), in printable ASCII and not too long.

    One that names nobody, or in a way that is not understood, is called by its fingerprint.

    Args:
        certificate: DER; None for no certificate, which is nobody's: an empty text.
    """
    if certificate is None:
        return ""
    try:
        named = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except ValueError:
        named = ""
    return plain(named or f"sha256:{sha256(certificate).hexdigest()}", SUBJECT_MAX)
