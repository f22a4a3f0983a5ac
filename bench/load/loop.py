"""The loop of a client process: many sockets and a few timers in one thread, by epoll.

It does as little as can be done, so that what is measured is the node and not its clients: an
exchange costs two system calls and a callback. What it calls must not block.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Final

_RECEIVE_BYTES: Final = 1 << 18

Ready = Callable[[], None]


class Loop:
    """Calls back whoever can go on."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._links: dict[int, Link] = {}
        self._timers: list[tuple[int, int, Ready]] = []
        self._numbers = count()

    def at(self, when_ns: int, ready: Ready) -> None:
        """Call back at a time of the monotonic clock, in nanoseconds."""
        heappush(self._timers, (when_ns, next(self._numbers), ready))

    def run(self, until_ns: int) -> None:
        """Go on until no connection is left, or until that time."""
        while self._links or self._timers:
            now_ns = time.monotonic_ns()
            if now_ns >= until_ns:
                return
            next_ns = min(until_ns, self._timers[0][0]) if self._timers else until_ns
            if next_ns > now_ns:
                for fd, events in self._epoll.poll((next_ns - now_ns) / 1e9):
                    link = self._links.get(fd)
                    if link is not None:
                        link.heard(events)
            now_ns = time.monotonic_ns()
            while self._timers and self._timers[0][0] <= now_ns:
                heappop(self._timers)[2]()

    def add(self, link: "Link", fd: int) -> None:
        """Hear of a connection's socket."""
        self._links[fd] = link
        self._epoll.register(fd, select.EPOLLIN)

    def watch(self, fd: int, *, writing: bool) -> None:
        """Hear of it being writable too, or no more."""
        self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if writing else 0))

    def drop(self, fd: int) -> None:
        """Hear of it no more."""
        if self._links.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Hang up on everybody."""
        for link in list(self._links.values()):
            link.close()
        self._epoll.close()


class Link:
    """One connection.

    Args:
        address: host and port, an IPv4 address; nobody waits for the connection to stand.
        received: called with what has come in.
        lost: called once where the other side has hung up.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        received: Callable[[bytes], None],
        lost: Ready,
    ) -> None:
        self._loop = loop
        self._received = received
        self._lost = lost
        self._unsent = b""
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = self._sock.connect_ex(address)
        if error and error != errno.EINPROGRESS:
            self._sock.close()
            raise OSError(error, os.strerror(error))
        # What is sent before it stands goes out when it does: with a backlog that is full that
        # may be seconds later, and the other callers of this loop must not wait meanwhile.
        loop.add(self, self._sock.fileno())

    @property
    def open(self) -> bool:
        """Whether nobody has hung up."""
        return self._sock.fileno() >= 0

    def send(self, data: bytes) -> None:
        """Send, now or as soon as the other side takes it."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hung_up()
            return
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.watch(self._sock.fileno(), writing=True)

    def heard(self, events: int) -> None:
        """Go on where epoll says that it can."""
        if events & select.EPOLLOUT and self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._loop.watch(self._sock.fileno(), writing=False)
            self.send(unsent)
        if events & ~select.EPOLLOUT and self._sock.fileno() >= 0:
            try:
                data = self._sock.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                self._received(data)
            else:
                self._hung_up()

    def close(self) -> None:
        """Hang up."""
        if self._sock.fileno() >= 0:
            self._loop.drop(self._sock.fileno())
            self._sock.close()

    def _hung_up(self) -> None:
        self.close()
        self._lost()
