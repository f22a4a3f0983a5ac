"""Feeds: all that a node has, and what they are told together: its pulse, and who is quarantined.

Both are looked at once a second for all of them, and not at all while nobody follows. Each look
also tells every feed that time has passed, so that one whose session is over ends within a second,
though nothing had happened that it could be told. How many there may be is bounded, of all and of
one operator; nobody's feed ends for somebody who comes later.
"""

import logging
from collections.abc import Mapping
from contextlib import closing
from enum import StrEnum
from typing import Final, Protocol

import trio
from msgspec import Struct

from engine.node import Node
from engine.parking import quarantined
from gateway.counter import Counter
from gateway.ops.errors import OpsCode, OpsError
from gateway.ops.sessions import Sessions
from gateway.ops.vitals import NodeVitals, Pulse
from storage.errors import StorageError

log = logging.getLogger("piaohao.ops")

QUARANTINED_MAX: Final = 1_000
"""Quarantined actors of a shard that feeds tell of: a seek each, 10 ms in all."""
_AGAIN_S: Final = 5
"""When somebody who found no place may look again."""


class EndReason(StrEnum):
    """Why a feed has ended."""

    SESSION_OVER = "SESSION_OVER"
    STOPPING = "STOPPING"
    TOO_MANY_FEEDS = "TOO_MANY_FEEDS"
    UNAVAILABLE = "UNAVAILABLE"


class FeedBounds(Struct, frozen=True, kw_only=True):
    """What feeds take from a node; times in seconds.

    Attributes:
        feeds_max, per_operator: feeds at a time, of all and of one operator.
        look_s: from one look at the node to the next.
        actors_s, actors_max: the least from one telling of actors to the next, and of how many of
            them at a time: a merchant that changes hundreds of times a second is told of as often
            as somebody can read, and each telling is a look of 0.1 ms.
        keep_alive_s: after so long without a word something is sent that says nothing, and shows
            that both are there.
    """

    feeds_max: int = 32
    per_operator: int = 16
    look_s: float = 1.0
    actors_s: float = 0.25
    actors_max: int = 8
    keep_alive_s: float = 5.0


class Follower(Protocol):
    """A feed as this sees it."""

    @property
    def operator(self) -> str:
        """Whose it is."""

    def look(self) -> None:
        """Hear that the node was looked at."""

    def shut(self, reason: EndReason) -> None:
        """End."""


class Feeds:
    """The feeds of one node.

    Args:
        node: the engine.
        counter: the API's.
        sessions: of operators.
        bounds: how many, how often.

    Attributes:
        vitals: as of the last look, None before there was one.
        quarantined: actors with something parked as of then, durably → their shard.
    """

    def __init__(
        self,
        node: Node,
        counter: Counter,
        sessions: Sessions,
        bounds: FeedBounds | None = None,
    ) -> None:
        self.bounds = FeedBounds() if bounds is None else bounds
        self.vitals: NodeVitals | None = None
        self.quarantined: Mapping[str, int] = {}
        self._node = node
        self._counter = counter
        self._sessions = sessions
        self._followers: set[Follower] = set()
        self._stopping = False
        self._some = trio.Event()
        self._none = trio.Event()

    def __len__(self) -> int:
        return len(self._followers)

    def check_room(self, operator: str) -> None:
        """Check that one more of an operator's feeds may begin.

        Raises:
            OpsError: TOO_MANY_FEEDS.
        """
        if self._full(operator):
            raise OpsError(OpsCode.TOO_MANY_FEEDS, retry_after_s=_AGAIN_S)

    def join(self, follower: Follower) -> EndReason | None:
        """Take a feed in, or return why not: others may have begun since there was room."""
        if self._stopping:
            return EndReason.STOPPING
        if self._full(follower.operator):
            return EndReason.TOO_MANY_FEEDS
        self._followers.add(follower)
        self._some.set()
        return None

    def leave(self, follower: Follower) -> None:
        """Forget a feed, if it was taken in."""
        if follower not in self._followers:
            return
        self._followers.remove(follower)
        if not self._followers:
            self._some = trio.Event()
            self._none.set()
            self._none = trio.Event()

    def stands(self, token: str) -> bool:
        """Return whether a session is not over; to be followed is no use of it.

        Raises:
            StorageError: that cannot be seen.
        """
        return self._sessions.standing(token) is not None

    def failed(self, error: StorageError) -> None:
        """Hear that a row of a shard cannot be read, which ends the node wherever it is met."""
        self._node.fail(error)

    def close(self) -> None:
        """Let none begin any more, and end those that there are."""
        self._stopping = True
        for follower in list(self._followers):
            follower.shut(EndReason.STOPPING)

    async def over(self) -> None:
        """Wait until there is none."""
        while self._followers:
            await self._none.wait()

    async def run(self) -> None:
        """Look at the node while anybody follows, until cancelled."""
        while True:
            await self._some.wait()
            try:
                await self._follow()
            except Exception:
                # Whoever pays is served all the same, and so are operators who ask.
                log.exception("a look at the node for its feeds failed")
                await trio.sleep(self.bounds.look_s)

    async def _follow(self) -> None:
        pulse = Pulse(self._node, self._counter)
        self._look()
        while self._followers:
            await trio.sleep(self.bounds.look_s)
            if self._followers:
                self.vitals = await pulse.take()
                self._look()
        self.vitals = None
        self.quarantined = {}

    def _full(self, operator: str) -> bool:
        theirs = sum(each.operator == operator for each in self._followers)
        return len(self._followers) >= self.bounds.feeds_max or theirs >= self.bounds.per_operator

    def _look(self) -> None:
        """See who is quarantined, and tell all feeds that there was a look."""
        try:
            self.quarantined = self._quarantined()
        except StorageError as error:
            self.failed(error)
        for follower in list(self._followers):
            follower.look()

    def _quarantined(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        known = set(self.quarantined.values())
        for shard in self._node.shards:
            number = shard.stage.number
            # What is in memory goes ahead of what is durable: as long as either has somebody.
            if not shard.stage.parking.by_actor and number not in known:
                continue
            with closing(shard.store.snapshot()) as snapshot:
                for address in quarantined(snapshot, QUARANTINED_MAX):
                    found[address] = number
        # The same as before stays the same: feeds compare.
        return self.quarantined if found == self.quarantined else found
