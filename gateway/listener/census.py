"""Census: who is connected, how many of them there may be, and who has to go for another.

Whoever comes when all connections, or all that its address may have, are taken gets the place of
the one that has been idle longest; where none is idle it is turned away at once. A connection is
idle while there is no whole request of it: neither half a header nor a body that drips in keeps a
place that somebody else could use, and nothing has begun that its end could spoil. One whose client
has not taken its answer for a while counts like one that has been idle since. Where more is kept of
unfinished requests than may be, the one that has been coming in longest goes.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from ipaddress import IPv6Address, ip_address
from typing import Generic, Protocol, TypeVar

from gateway.listener.bounds import Bounds


class Guest(Protocol):
    """A connection as the census sees it."""

    def hang_up(self) -> None:
        """Close it at once."""


G = TypeVar("G", bound=Guest)


class Census(Generic[G]):
    """The connections of a node, to whichever of its listeners.

    Args:
        bounds: how many there may be.
        clock: seconds.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounds = bounds
        self._clock = clock
        self._max = bounds.connections()
        self._peers: dict[G, str] = {}
        # Both in the order in which they became idle last.
        self._of_peer: dict[str, OrderedDict[G, None]] = {}
        self._idle: OrderedDict[G, float] = OrderedDict()
        # What is kept of their requests that are not whole, in the order in which these began.
        self._gathering: OrderedDict[G, int] = OrderedDict()
        self._gathered = 0
        # Since when those at work have had something to take, in that order.
        self._sending: OrderedDict[G, float] = OrderedDict()

    def __iter__(self) -> Iterator[G]:
        return iter(list(self._peers))

    def __len__(self) -> int:
        return len(self._peers)

    def admit(self, guest: G, host: str) -> bool:
        """Take a new connection in, for which another may have to go; it counts as idle.

        Args:
            host: the address that it comes from.
        """
        peer, counted = _peer(host)
        theirs = self._of_peer.setdefault(peer, OrderedDict())
        counted = counted or self._bounds.counts_loopback
        if counted and len(theirs) >= self._bounds.connections_per_peer:
            idle = next((each for each in theirs if each in self._idle), None)
            slow = [each for each in theirs if each in self._sending]
            leaving = self._longest(idle, min(slow, key=self._sending.__getitem__, default=None))
        elif len(self._peers) >= self._max:
            leaving = self._longest_of_all()
        else:
            leaving = guest
        if leaving is not None:
            theirs[guest] = None
            self._peers[guest] = peer
            self.rest(guest)
            if leaving is not guest:
                self.leave(leaving)
                leaving.hang_up()
        elif not theirs:
            del self._of_peer[peer]
        return leaving is not None

    def make_room(self) -> bool:
        """Have one go, though there may be more, because there is no file for a new one.

        Returns whether there was any that could.
        """
        leaving = self._longest_of_all()
        if leaving is None:
            return False
        self.leave(leaving)
        leaving.hang_up()
        return True

    def leave(self, guest: G) -> None:
        """Strike a connection off, if it is there."""
        peer = self._peers.pop(guest, None)
        self._idle.pop(guest, None)
        self._sending.pop(guest, None)
        self._gathered -= self._gathering.pop(guest, 0)
        if peer is None:
            return
        theirs = self._of_peer[peer]
        del theirs[guest]
        if not theirs:
            del self._of_peer[peer]

    def rest(self, guest: G) -> None:
        """Hear that a connection is idle from now on."""
        peer = self._peers.get(guest)
        if peer is not None:
            self._idle[guest] = self._clock()
            self._idle.move_to_end(guest)
            self._of_peer[peer].move_to_end(guest)

    def work(self, guest: G) -> None:
        """Hear that a connection is idle no longer: its request is there as a whole."""
        self._idle.pop(guest, None)
        self._gathered -= self._gathering.pop(guest, 0)

    def gathering(self, guest: G, kept: int) -> None:
        """Hear how many bytes are kept of a connection's request that is not whole; 0 once it is.

        Whoever sends at a usual pace is done long before others have sent as much as may be kept.
        """
        if not kept or guest not in self._peers:
            self._gathered -= self._gathering.pop(guest, 0)
            return
        self._gathered += kept - self._gathering.get(guest, 0)
        self._gathering[guest] = kept
        while self._gathered > self._bounds.gathered_bytes:
            slowest = next(iter(self._gathering))
            self.leave(slowest)
            slowest.hang_up()

    def sending(self, guest: G) -> None:
        """Hear that a connection has something to take from now on."""
        if guest in self._peers and guest not in self._idle:
            self._sending[guest] = self._clock()

    def sent(self, guest: G) -> None:
        """Hear that it has taken all of that, or never will."""
        self._sending.pop(guest, None)

    def _longest_of_all(self) -> G | None:
        return self._longest(next(iter(self._idle), None), next(iter(self._sending), None))

    def _longest(self, idle: G | None, slow: G | None) -> G | None:
        """Return which of the two goes for a new one, if any."""
        if slow is None:
            return idle
        since = self._sending[slow]
        if since > self._clock() - self._bounds.stall_s:
            return idle
        return slow if idle is None or since < self._idle[idle] else idle


def _peer(host: str) -> tuple[str, bool]:
    """Return whom an address counts for, and whether it is counted though it is loopback."""
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif not address.is_loopback:
            # Whoever has one address of a network of 64 bits has them all.
            return str(IPv6Address(int(address) >> 64 << 64)), True
    return str(address), not address.is_loopback
