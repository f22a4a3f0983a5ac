"""Accepting: new connections, as many at a time as a part of the loop's time allows.

Trio's own loop accepts one and then gives way to whoever else can go on. On a busy node that is
once in 30 ms: five hundred clients who come together waited a quarter of a minute, their first
requests with them. To take all that come is no better: a flood of them lengthens each turn of the
loop, and whoever is there waits several turns for an answer. So newcomers have a fixed share of the
time: many of them in a long turn, one in a short one. Who has left already, as most of a flood has,
takes little of it and is not let in.
"""

import errno
import logging
import socket
import time
from collections.abc import Callable
from typing import Final

import trio

from gateway.listener.tcp import has_left

log = logging.getLogger("piaohao.gateway")

BACKLOG: Final = 1_024
"""Connections that wait in the kernel to be accepted."""
AT_A_TIME: Final = 32
"""The most that are accepted before others have their turn."""
EACH_S: Final = 0.002
"""The time of others for each that is accepted: some times what one takes to begin and end, so that
a long turn is not followed by another."""
GONE_AT_A_TIME: Final = 64
"""And the most that have left, of which one takes a twentieth of that."""
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_ROOM_S: Final = 0.1


async def accept(
    bound: socket.socket,
    welcome: Callable[[socket.socket, str], None],
    make_room: Callable[[], bool],
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Accept connections for ever.

    Args:
        bound: listens, and does not block.
        welcome: called with each connection and the address that it comes from.
        make_room: called where no file is left for one; has another go, and returns whether there
            was any.
        clock: seconds, by which the loop's turns are measured.
    """
    since = clock()
    while True:
        await trio.lowlevel.wait_readable(bound)
        left = max(1, min(AT_A_TIME, int((clock() - since) / EACH_S)))
        gone = 0
        made_room = False
        while left and gone < GONE_AT_A_TIME:
            try:
                sock, peer = bound.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _NO_ROOM:
                    # One goes for one: where that does not help, somebody else is quicker.
                    if not made_room and make_room():
                        made_room = True
                        continue
                    log.warning("no connection can be accepted for now: %s", error.strerror)
                    await trio.sleep(_NO_ROOM_S)
                    break
                gone += 1
                continue
            made_room = False
            if has_left(sock):
                sock.close()
                gone += 1
            else:
                welcome(sock, peer[0])
                left -= 1
        since = clock()
