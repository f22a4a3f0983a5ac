"""Accepting: new connections, as many at a time as there are, up to a bound.

Trio's own loop accepts one and then gives way to whoever else can go on. On a busy node that is
once in 30 ms: five hundred clients who come together waited a quarter of a minute, their first
requests with them. What is taken at a time is bounded, so that a flood of connections cannot hold
up those that are there.
"""

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

log = logging.getLogger("piaohao.gateway")

BACKLOG: Final = 1_024
"""Connections that wait in the kernel to be accepted."""
AT_A_TIME: Final = 32
"""Connections that are accepted before others have their turn: some 2 ms of this process."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_ROOM_S: Final = 0.1


async def accept(bound: socket.socket, welcome: Callable[[socket.socket, str], None]) -> None:
    """Accept connections for ever.

    Args:
        bound: listens, and does not block.
        welcome: called with each connection and the address that it comes from.
    """
    while True:
        await trio.lowlevel.wait_readable(bound)
        for _ in range(AT_A_TIME):
            try:
                sock, peer = bound.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    log.warning("no connection can be accepted for now: %s", error.strerror)
                    await trio.sleep(_NO_ROOM_S)
                    break
                continue  # the client has left already
            welcome(sock, peer[0])
