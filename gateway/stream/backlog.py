"""Backlogs: the bytes that a merchant's streams hold for clients who have not taken them.

A command counts from its beginning, at first by its own length and what an answer comes to, then
by its answer, until the client or its side of the network has that; so does a page of events that
is on its way. Past the bound none of the merchant's streams hears another message, which stays
where it is: with the client (TCP's flow control), nor reads another page of events. A backlog
shrinks as clients read, or as those who do not are hung up on.
"""

from collections.abc import Callable


class Backlog:
    """What one merchant's streams hold, all together.

    Args:
        bytes_max: with so many nothing more is begun.

    Attributes:
        bytes_held: as many as there are now.
        waiting: called when there is room again.
    """

    __slots__ = ("_bytes_max", "bytes_held", "waiting")

    def __init__(self, bytes_max: float) -> None:
        self._bytes_max = bytes_max
        self.bytes_held = 0
        self.waiting: set[Callable[[], None]] = set()

    @property
    def has_room(self) -> bool:
        """Whether another message may be heard."""
        return self.bytes_held < self._bytes_max

    def change(self, bytes_more: int) -> None:
        """Hold so many bytes more, or fewer."""
        had_room = self.has_room
        self.bytes_held += bytes_more
        if self.has_room and not had_room:
            for stir in list(self.waiting):
                stir()
