"""The wire: one attempt to hand an event over, from a name to the first words of an answer.

The name is resolved here and nowhere else, all of its addresses are judged (`reach`), and the
connection goes to one of those: so no second look-up can say something else (DNS rebinding). TLS
still asks for the name, and verifies the certificate against it. There are no redirects, cookies
or proxies. An answer is its status; of its body a little is read, for challenges alone to look at.
"""

import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal

import httpcore2
import httpx2
import trio

from actors.commands import Attempt
from gateway.webhooks.reach import Reach, read_ips
from gateway.webhooks.target import Target

ATTEMPT_S: Final = 10.0
"""How long an attempt may take, from the name to the status."""
CONNECT_S: Final = 3.0
"""How long one address is given, so that there is time for another."""
BODY_S: Final = 1.0
BODY_BYTES: Final = 16 << 10
"""How long, and how much, of an answer's body is read, so that its connection can be used again."""
ANSWER_BYTES: Final = 32 << 10
"""Of an answer so much is read in all: interim answers, fields and what is around the body cost far
more to be read than to be sent."""
_READ_BYTES: Final = 4 << 10
"""At a time: between two of these others have their turns."""
_PIECE_BYTES: Final = 256
"""What a piece of a body counts beside its length: chunks of one byte cost as much as long ones."""
CONNECTIONS: Final = 8
"""At a time to one endpoint."""
_IDLE_S: Final = 15.0
_ADDRESSES_MAX: Final = 4
"""Of a name's addresses so many are tried."""

Error = Literal["UNRESOLVED", "ADDRESS_REFUSED", "UNREACHABLE", "TLS", "TIMEOUT", "PROTOCOL"]
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host; OSError where it has none."""


class _NotReachedError(httpcore2.ConnectError):
    """There is no connection.

    Attributes:
        why: for the log.
    """

    def __init__(self, why: Error) -> None:
        super().__init__(why)
        self.why: Error = why


class Wire:
    """The way to one endpoint, with connections that are kept for a while.

    Args:
        target: where it is.
        reach: judges its addresses.
        resolve: looks them up.
        tls: judges its certificate.
        kept: how many connections are kept for the next event.
    """

    def __init__(
        self,
        target: Target,
        reach: Reach,
        resolve: Resolve,
        tls: ssl.SSLContext,
        kept: int = CONNECTIONS,
    ) -> None:
        self._target = target
        self._http = _PinnedTransport(tls, _Backend(target, reach, resolve), kept)

    async def aclose(self) -> None:
        """Hang up."""
        await self._http.aclose()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Post a body; returns what came of it, whatever that is."""
        attempt, _ = await self.ask(body, headers)
        return attempt

    async def ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[Attempt, bytes]:
        """Post a body; returns what came of it, and as much of the answer's body as is read."""
        at_ns, begun = time.time_ns(), trio.current_time()
        request = httpx2.Request("POST", self._target.url, headers=dict(headers), content=body)
        response, error = None, ""
        with trio.move_on_after(ATTEMPT_S) as patience:
            try:
                response = await self._http.handle_async_request(request)
            except (httpx2.TransportError, httpcore2.ProtocolError) as failure:
                error = _why(failure)
        if patience.cancelled_caught:
            error = "TIMEOUT"
        duration_ms = round((trio.current_time() - begun) * 1_000)
        answer = b"" if response is None else await _some_body(response)
        status = 0 if response is None else response.status_code
        return Attempt(at_ns, duration_ms, status, error), answer  # type: ignore[arg-type]


async def _some_body(response: httpx2.Response) -> bytes:
    """Read a little; the status has decided, and who sends without end is hung up on."""
    stream, taken, pieces = response.stream, 0, bytearray()
    assert isinstance(stream, httpx2.AsyncByteStream)
    try:
        with trio.move_on_after(BODY_S) as patience:
            async for piece in stream:  # as it comes: nothing is unpacked
                pieces += piece
                taken += len(piece) + _PIECE_BYTES
                if taken > BODY_BYTES:
                    # Left in the middle, the library's generators would stay open; so they are
                    # cancelled where they wait for more.
                    patience.cancel()
    except (httpx2.TransportError, httpx2.StreamError, httpcore2.ProtocolError):
        pass
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(BODY_S):
            await response.aclose()
    return bytes(pieces)


class _PinnedTransport(httpx2.AsyncHTTPTransport):
    """httpx2's transport over connections of ours: it has no argument for that, only its pool."""

    def __init__(
        self, tls: ssl.SSLContext, backend: httpcore2.AsyncNetworkBackend, kept: int
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=CONNECTIONS,
            max_keepalive_connections=kept,
            keepalive_expiry=_IDLE_S,
            network_backend=backend,
        )


class _Backend(httpcore2.AsyncNetworkBackend):
    """Resolves, judges, and connects to an address that was judged."""

    def __init__(self, target: Target, reach: Reach, resolve: Resolve) -> None:
        self._target = target
        self._reach = reach
        self._resolve = resolve
        self._tcp = httpcore2.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- theirs
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """See `AsyncNetworkBackend.connect_tcp`."""
        target = self._target
        assert (host.strip("[]"), port) == (target.host, target.port), "one endpoint, one wire"
        if target.ip is not None:
            texts = [str(target.ip)]
        else:
            try:
                texts = await self._resolve(target.host, port)
            except OSError:
                raise _NotReachedError("UNRESOLVED") from None
        ips = read_ips(texts)
        if ips is None or not self._reach.admits(target, ips):
            raise _NotReachedError("ADDRESS_REFUSED" if texts else "UNRESOLVED")
        for ip in ips[:_ADDRESSES_MAX]:
            try:
                stream = await self._tcp.connect_tcp(str(ip), port, CONNECT_S, socket_options=())
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
            return _Stream(stream)
        raise _NotReachedError("UNREACHABLE")


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection on which answers are bounded, each by itself.

    It is closed when its handshake is broken off: theirs would be left open.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = ANSWER_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if not self._left:
            raise httpcore2.RemoteProtocolError("the answer is too long")
        most = min(max_bytes, _READ_BYTES, self._left)
        received = await self._stream.read(most, timeout)
        self._left -= len(received)
        return received

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._left = ANSWER_BYTES
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        try:
            inner = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(BODY_S):
                await self._stream.aclose()
            raise
        return _Stream(inner)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _why(failure: BaseException) -> Error:
    """Return what a failure began with, as the log has it."""
    error: BaseException | None = failure
    while error is not None:
        if isinstance(error, _NotReachedError):
            return error.why
        if isinstance(error, ssl.SSLError | ssl.CertificateError):
            return "TLS"
        error = error.__cause__ or error.__context__
    if isinstance(failure, httpx2.TimeoutException):
        return "TIMEOUT"
    if isinstance(failure, httpx2.ProtocolError | httpcore2.ProtocolError):
        return "PROTOCOL"
    return "UNREACHABLE"
