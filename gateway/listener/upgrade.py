"""Upgrades: a request that would have its connection become a stream, read from its header block.

Hypercorn's own WebSocket never sees a byte: it offers compression that nobody can turn off, and a
client can end the process through it. Whatever asks for another upgrade, or for this one elsewhere,
stays a plain request (RFC 9110, section 7.8).
"""

from collections.abc import Awaitable, Callable

from gateway.counter import Request
from gateway.listener.names import Names
from gateway.listener.tls import Stream
from gateway.stream.handshake import PATH, asks_for_stream

TakeOver = Callable[[Request, Stream, bytes, Callable[[], None]], Awaitable[None]]
"""Serves a connection from now on: the request, the connection, what came in behind it, and what is
to be called once it is let in. Until then the connection is anybody's, and goes for a newcomer like
others that are idle. It is closed after that."""


def upgrade(head: bytes, names: Names, host: bytes, at: str = PATH) -> Request | None:
    """Return the request for a stream that a header block is, None for any other.

    Args:
        head: whole, and checked by `framing`.
        names: those of the listener.
        host: what it says in Host.
        at: the path of the listener's streams.

    Raises:
        RequestError: MALFORMED_REQUEST, MISDIRECTED_REQUEST: it is for somebody else.
    """
    line, *fields = head.split(b"\r\n")
    method, sent, version = line.split(b" ")
    _, target = names.addressed(sent, host)
    path, _, query = target.partition(b"?")
    headers: dict[str, str] = {}
    for field in fields[:-2]:
        given, _, value = field.decode("latin-1").partition(":")
        name, value = given.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    request = Request(
        method.decode("ascii"), path.decode("ascii"), query, headers, b"", names.scheme
    )
    asks = asks_for_stream(request.method, request.path, version, headers, at)
    return request if asks else None
