"""The way to a bank: its address, how TLS is checked, what is said when a connection fails.

Both shells speak HTTP/1.1 over a transport of httpx2's, without what a browser-like client adds:
no cookies, no redirects, no proxy and no certificate that the program did not name. A client
without an identity goes to loopback only.
"""

import ipaddress
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx2
from httpx2 import URL

from gateway.client.core import Core
from gateway.client.exchange import Lost, Send
from gateway.client.identity import Identity
from gateway.client.seal import Seal
from gateway.client.stream_core import StreamCore
from gateway.client.terms import Terms
from gateway.client.trust import Trust

ANSWER_BYTES: Final = 16 << 20
"""The largest answer that is taken: an array's has less than 2 MiB."""

CONNECTIONS: Final = httpx2.Limits(max_connections=64, max_keepalive_connections=64)

NOT_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
"""Failures after which the bank cannot have read anything of the request."""


class Way:
    """How to reach one bank.

    Args:
        address: for example `https://bank.example:8443`.
        identity: whose requests they are; None for a bank on loopback that serves unsigned.
        root: the bank's root certificate, a file or PEM; it is what answers and TLS rest on.
        tls: another judge of the bank's TLS certificate, for example where a proxy ends TLS.
        terms: how patient the client is.
        express: address of the bank's express listener, to which hot calls go; None for none.

    Attributes:
        address: without a slash at the end.
        express: the same of the express listener, None for none.
        url: the same, in its parts.
        tls: what the bank's TLS certificate is judged by.
        terms: how patient the client is.

    Raises:
        ValueError: something of this does not go together.
        OSError: the root's file cannot be read.
    """

    def __init__(
        self,
        address: str,
        identity: Identity | None,
        root: Path | str | bytes | None,
        tls: ssl.SSLContext | None,
        terms: Terms,
        express: str | None = None,
    ) -> None:
        url = _url(address)
        self.address = str(url).rstrip("/")
        self.url = url
        self.terms = terms
        self._seal: Seal | None = None
        self._express_seal: Seal | None = None
        self.express: str | None = None
        pem = None if root is None else root if isinstance(root, bytes) else Path(root).read_bytes()
        if identity is not None:
            if pem is None:
                raise ValueError("the bank's root certificate is needed to believe its answers")
            self._seal = Seal(identity, Trust(pem), url.scheme, url.netloc.decode("ascii"))
        elif not self.on_loopback:
            raise ValueError("a client without an identity goes to a bank on loopback only")
        if express is not None:
            self._lead(_url(express))
        self.tls = tls or ssl.create_default_context(cadata=None if pem is None else pem.decode())

    def _lead(self, express: URL) -> None:
        """Have hot calls go to the express listener.

        Raises:
            ValueError: it would be spoken to with less care than the bank's main one.
        """
        same_host = express.host == self.url.host or (
            self.on_loopback and _is_loopback(express.host)
        )
        if express.scheme != self.url.scheme or not same_host:
            raise ValueError("an express listener is at the bank's own host, and as safe")
        self.express = str(express).rstrip("/")
        if self._seal is not None:
            seal, authority = self._seal, express.netloc.decode("ascii")
            self._express_seal = Seal(seal.identity, seal.trust, express.scheme, authority)

    @property
    def on_loopback(self) -> bool:
        """Whether nobody stands between this machine and the bank."""
        return _is_loopback(self.url.host)

    def core(self, now: Callable[[], float]) -> Core:
        """Return a core; `now` is the shell's monotonic time."""
        return Core(
            self._seal,
            self.terms,
            express=self.express is not None,
            express_seal=self._express_seal,
            now=now,
            wall=time.time,
            random=random.random,
        )

    def stream_core(self, now: Callable[[], float]) -> StreamCore:
        """Return a stream's core."""
        return StreamCore(self._seal, self.terms, now=now, wall=time.time, random=random.random)

    def request(self, send: Send) -> httpx2.Request:
        """Return the request as httpx2 has it."""
        limit_s = send.timeout_s
        connect_s = min(self.terms.connect_s, limit_s)
        waits = {"connect": connect_s, "pool": limit_s, "read": limit_s, "write": limit_s}
        request = httpx2.Request(
            send.method,
            (self.express if send.express and self.express else self.address) + send.target,
            headers=send.headers,
            content=send.body or None,
            extensions={"timeout": waits},
        )
        assert request.url.raw_path == send.target.encode("ascii"), "it is signed as it is sent"
        return request


def _url(address: str) -> URL:
    url = URL(address)
    if url.scheme not in {"http", "https"} or not url.host or url.raw_path not in {b"", b"/"}:
        raise ValueError(f"{address!r} is not an address like https://bank.example:8443")
    return url


def lost(error: Exception) -> Lost:
    """Return what a failure says of the request: whether it may have arrived."""
    unverified = _unverified(error)
    if unverified is not None:
        return Lost(False, f"its certificate: {unverified.verify_message}", stranger=True)
    return Lost(not isinstance(error, NOT_SENT), f"{type(error).__name__} {error}".rstrip())


def _unverified(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return what a failure began with, if that is a certificate that could not be verified."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
