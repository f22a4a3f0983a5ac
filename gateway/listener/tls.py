"""TLS: 1.2 and 1.3 with forward secrecy, HTTP/1.1 only, a client's certificate where it shows one.

Files come from an operator, so what is wrong with them is one line. There are no tickets, whose key
would open every session that was resumed by one, and no renegotiation, by which a client could have
the node shake hands again and again on one connection.
"""

import ssl
from pathlib import Path
from typing import Final

import trio

from gateway.exits import INPUT, CommandError

CLIENT_CERTIFICATE: Final = "client_certificate"
"""Where a request finds its client's certificate (DER), if any: in its scope's state."""

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
        self.context = self._read()

    def read_again(self) -> None:
        """Have connections from now on see the certificate and key that the files hold now.

        Whom clients' certificates are signed by does not change.

        Raises:
            TlsFileError: nothing has changed.
        """
        self._read()
        self.context.load_cert_chain(self._certificate, self._key, self._password)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of 1.2; those of 1.3 are all good
        context.set_alpn_protocols(["http/1.1"])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        context.num_tickets = 0
        try:
            for each in (self._certificate, self._key, self._client_ca):
                if each is not None:
                    each.read_bytes()  # OpenSSL does not say which one it could not read
            context.load_cert_chain(self._certificate, self._key, self._password)
        except OSError as error:
            raise self._error(error, f"--tls-certificate {self._certificate}") from None
        if self._client_ca is not None:
            try:
                context.load_verify_locations(self._client_ca)
            except OSError as error:
                raise self._error(error, f"--tls-client-ca {self._client_ca}") from None
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _error(self, error: OSError, option: str) -> TlsFileError:
        if isinstance(error, ssl.SSLError):
            key = f" with --tls-key {self._key}" if "certificate" in option else ""
            reason = (error.reason or "not PEM").lower().replace("_", " ")
            return TlsFileError(f"{option}{key}: {reason}")
        return TlsFileError(f"cannot read {error.filename}: {error.strerror}")


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
