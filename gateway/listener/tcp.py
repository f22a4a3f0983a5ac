"""TCP: what the kernel knows of a connection and a stream of bytes does not tell (Linux, tcp(7)).

Each question is one system call of about a microsecond, so it may be asked where an answer spares
the work of a request.
"""

import socket
import struct
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final, Protocol

_HEAD_BYTES: Final = 32 << 10
"""More than any header block may have."""
_CLOSED: Final = 7
_HALF_CLOSED: Final = 8
"""TCP_CLOSE and TCP_CLOSE_WAIT of the kernel's tcp_states.h, in the first byte of TCP_INFO."""


class Socket(Protocol):
    """The standard library's or Trio's."""

    def fileno(self) -> int: ...

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def is_reset(sock: Socket) -> bool:
    """Return whether nothing can be sent on it any more: its client has aborted it."""
    return _state(sock) == _CLOSED


def has_left(sock: socket.socket) -> bool:
    """Return whether a client has gone before there was anything to answer.

    One that has closed its side alone, after a whole header block, may wait for an answer
    (RFC 9112, section 9.6).
    """
    state = _state(sock)
    if state != _HALF_CLOSED:
        return state == _CLOSED
    try:
        sent = sock.recv(_HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return True
    return b"\r\n\r\n" not in sent


def is_acknowledged(sock: Socket) -> bool:
    """Return whether the client's TCP has all that was sent, the end included."""
    (unacknowledged,) = struct.unpack("i", ioctl(sock.fileno(), TIOCOUTQ, bytes(4)))
    return not unacknowledged


def _state(sock: Socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
