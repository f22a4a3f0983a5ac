"""Bounds: how many, how large and how slow the clients of a node's listeners may be.

The defaults are what a node serves with; tests set smaller ones instead of waiting.
"""

import resource
from typing import Final

from msgspec import Struct

from gateway.endpoint import BODY_S
from gateway.patience import UNPROVEN_S_MAX

REQUESTS_MAX: Final = 128
"""Requests that are taken on at a time: a quarter of a second's work for this stack."""
EXPRESS_REQUESTS_MAX: Final = 256
"""The same for the express listener: a sixth of a second's work, and enough for full speed. Twice
as many are served no faster and wait twice as long."""
DISCARDED_BYTES: Final = 16 << 20
"""How much of a body that is too large is read for the sake of a clean answer."""
_OTHER_FILES: Final = 128
"""Open files that are no connections: stores, sockets, what handlers read."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What a listener takes from its clients; times in seconds.

    Attributes:
        requests_max: requests that have a place at a time.
        express_requests_max: the same on the express listener.
        gathered_bytes: of requests that are on their way, all connections together; past that the
            one that has been on its way longest is given up. A place has room for 1 MiB more.
        connections_max: connections of all clients to all listeners; see also `connections`.
        connections_per_peer: of one IPv4 address or one IPv6 network of 64 bits.
        counts_loopback: whether the bound for a peer holds for loopback too, from where a proxy
            passes on what the whole world asks.
        hello_s: from accepting a connection to its first byte, and to the end of TLS' handshake.
        head_s: from a header block's first byte to its last.
        body_s: from there to the body's last byte.
        keep_alive_s: from an answer to the next request's first byte.
        send_s: for the client to take a piece of an answer.
        stall_s: for it to take all that is ready, where others want the connection.
        linger_s: how long a refused client is listened to, for it to read the refusal.
        unproven_s_max: the longest that a request waits that follows many of nobody's on one
            connection; see `gateway.patience`.
        line_bytes: of a request line.
        head_bytes: of a header block with its request line, and of a body's trailers.
        fields_max: lines in either.
        chunk_line_bytes: of a chunk's size with its extensions.
        chunks_max: of one body.
    """

    requests_max: int = REQUESTS_MAX
    express_requests_max: int = EXPRESS_REQUESTS_MAX
    gathered_bytes: int = 128 << 20
    connections_max: int = 4_096
    connections_per_peer: int = 256
    counts_loopback: bool = False
    hello_s: float = 10.0
    head_s: float = 10.0
    body_s: float = BODY_S
    keep_alive_s: float = 75.0
    send_s: float = 30.0
    stall_s: float = 3.0
    linger_s: float = 1.0
    unproven_s_max: float = UNPROVEN_S_MAX
    line_bytes: int = 8 << 10
    head_bytes: int = 16 << 10
    fields_max: int = 100
    chunk_line_bytes: int = 256
    chunks_max: int = 4_096

    def connections(self) -> int:
        """Return how many connections there may be, given how many files may be open."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files == resource.RLIM_INFINITY:
            return self.connections_max
        return max(1, min(self.connections_max, files - _OTHER_FILES))
