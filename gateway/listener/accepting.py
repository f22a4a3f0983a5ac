"""Accepting: new connections, as many at a time as a part of the loop's time allows.

Trio's own loop accepts one and then gives way to whoever else can go on. On a busy node that is
once in 30 ms: five hundred clients who come together waited a quarter of a minute, their first
requests with them. To take all that come is no better: a flood of them lengthens each turn of the
loop, and whoever is there waits several turns for an answer. So newcomers have a fixed share of the
time: many of them in a long turn, one in a short one.
"""

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Final

import trio

log = logging.getLogger("piaohao.gateway")

BACKLOG: Final = 1_024
"""Connections that wait in the kernel to be accepted."""
AT_A_TIME: Final = 32
"""The most that are accepted before others have their turn."""
EACH_S: Final = 0.0008
"""The time of others for each that is accepted: four times what one takes to begin and end."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_ROOM_S: Final = 0.1


async def accept(
    bound: socket.socket,
    welcome: Callable[[socket.socket, str], None],
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Accept connections for ever.

    Args:
        bound: listens, and does not block.
        welcome: called with each connection and the address that it comes from.
        clock: seconds, by which the loop's turns are measured.
    """
    since = clock()
    while True:
        await trio.lowlevel.wait_readable(bound)
        many = int((clock() - since) / EACH_S)
        for _ in range(max(1, min(AT_A_TIME, many))):
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
        since = clock()
