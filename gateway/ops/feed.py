"""A feed: what one operator is told as it happens, and what has not been told yet.

Nothing is kept for a reader: it is only noted what has changed, and read when the reader takes the
next piece. So a slow one skips, and holds no more memory than one that keeps up: of vital signs it
gets the latest, of an actor the newest state, with a count of changes that shows what it has
missed. States come from the last commit, which is woken for by `engine.watch`: nothing is told that
is not durable. Before anything is told the session has to stand.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, Final

import trio
from msgspec import Struct

from engine.node import Node
from gateway.lookup import state_at
from gateway.ops.desk import Visitor
from gateway.ops.feeds import EndReason, Feeds
from gateway.ops.masking import Eyes
from gateway.ops.topics import Topics
from gateway.ops.vitals import NodeVitals
from storage.errors import StorageError
from storage.journal import newest_commit


class QuarantineTold(Struct, frozen=True, tag_field="object", tag="quarantine"):
    """An actor is quarantined now, or no more: as of the look, a second apart, and durably."""

    address: str
    shard: int
    quarantined: bool


class ActorTold(Struct, frozen=True, tag_field="object", tag="actor_state"):
    """An actor's state as of the last commit; told when a feed begins, and when it has changed.

    Attributes:
        changes: commits with a new state of it since the feed began; where it jumps by more than
            one, states between have been left out.
        durable_seq: the newest commit of its shard.
        masked: personal data is masked.
        confirmed: by the names of its fields; null while it does not exist.
    """

    address: str
    shard: int
    changes: int
    durable_seq: int
    masked: bool
    confirmed: dict[str, Any] | None


class FeedEnded(Struct, frozen=True, tag_field="object", tag="end"):
    """The last that a feed tells."""

    reason: EndReason


Told = NodeVitals | QuarantineTold | ActorTold | FeedEnded

EVENTS: Final[Mapping[type[Struct], str]] = {
    NodeVitals: "vitals",
    QuarantineTold: "quarantine",
    ActorTold: "actor",
    FeedEnded: "end",
}
"""What is told → the event that it is (Server-sent events)."""


class Feed:
    """One feed; it takes its place when the first piece of it is asked for.

    Args:
        feeds: all that there are.
        node: the engine.
        visitor: who follows, in a session.
        topics: what.
        eyes: how they see.

    Attributes:
        topics: what it tells of.
        operator: whose it is.
        over: its end was told, and nothing follows.
    """

    def __init__(
        self, feeds: Feeds, node: Node, visitor: Visitor, topics: Topics, eyes: Eyes
    ) -> None:
        assert visitor.session is not None
        self.topics = topics
        self.operator = visitor.session.operator
        self.over = False
        self._feeds = feeds
        self._node = node
        self._token = visitor.token
        self._eyes = eyes
        self._begun = False
        self._ending: EndReason | None = None
        self._woken = trio.Event()
        self._vitals: NodeVitals | None = None
        self._quarantined: Mapping[str, int] = {}
        self._changes = dict.fromkeys(topics.actors, 0)
        self._due = dict.fromkeys(topics.actors)  # in the order in which they changed
        self._due_at = -math.inf
        self._watches = ExitStack()

    async def next(self) -> list[Told]:
        """Return what is to be told next, once there is something.

        Nothing for so long that something has to be sent is an empty list. The end comes alone.
        """
        if not self._begun:
            self._begin()
        patience = trio.current_time() + self._feeds.bounds.keep_alive_s
        while not self.over:
            told = self._take()
            if told:
                return told
            if trio.current_time() >= patience:
                break
            with trio.CancelScope(deadline=min(patience, self._due_at if self._due else math.inf)):
                await self._woken.wait()
            self._woken = trio.Event()
        return []

    def leave(self) -> None:
        """Hear that nobody reads any more."""
        self._watches.close()
        self._feeds.leave(self)

    def look(self) -> None:
        """See whether the session stands, and have what the last look found be told."""
        self._check_standing()
        self._woken.set()

    def shut(self, reason: EndReason) -> None:
        """End it; the first reason is the one that counts."""
        if self._ending is None:
            self._ending = reason
            self._woken.set()

    def _begin(self) -> None:
        self._begun = True
        self._ending = self._feeds.join(self)
        if self._ending is None:
            for address in self.topics.actors:
                self._watches.enter_context(self._node.hearing(address, self._changed))

    def _changed(self, address: str) -> None:
        """Hear of an actor's change; the shard calls this from its commit, hundreds of times a
        second perhaps: it wakes nobody who knows already."""
        self._changes[address] += 1
        if address not in self._due:
            self._due[address] = None
            self._woken.set()

    def _check_standing(self) -> None:
        if self._ending is not None:
            return
        try:
            if not self._feeds.stands(self._token):
                self.shut(EndReason.SESSION_OVER)
        except StorageError:
            self.shut(EndReason.UNAVAILABLE)

    def _take(self) -> list[Told]:
        """Return what there is to tell by now."""
        if self._has_news():
            self._check_standing()
        if self._ending is None:
            try:
                return list(self._news())
            except StorageError as error:
                self._feeds.failed(error)
                self.shut(EndReason.UNAVAILABLE)
        self.over = True
        return [FeedEnded(self._ending or EndReason.UNAVAILABLE)]

    def _has_news(self) -> bool:
        return (
            (self.topics.vitals and self._feeds.vitals is not self._vitals)
            or (self.topics.quarantines and self._feeds.quarantined is not self._quarantined)
            or self._actors_are_due()
        )

    def _actors_are_due(self) -> bool:
        return bool(self._due) and trio.current_time() >= self._due_at

    def _news(self) -> Iterator[Told]:
        feeds = self._feeds
        if self.topics.vitals and feeds.vitals is not self._vitals:
            self._vitals = feeds.vitals
            if self._vitals is not None:
                yield self._vitals
        if self.topics.quarantines:
            before, self._quarantined = self._quarantined, feeds.quarantined
            if before is not self._quarantined:
                for address in before.keys() - self._quarantined.keys():
                    yield QuarantineTold(address, before[address], False)
                for address in self._quarantined.keys() - before.keys():
                    yield QuarantineTold(address, self._quarantined[address], True)
        if self._actors_are_due():
            # Those that have waited longest; one that changes meanwhile waits behind the others.
            due = [*islice(self._due, feeds.bounds.actors_max)]
            self._due_at = trio.current_time() + feeds.bounds.actors_s
            for address in due:
                del self._due[address]
                yield self._actor(address)

    def _actor(self, address: str) -> ActorTold:
        """Return an actor's durable state; what has changed it later is counted, and told later.

        Raises:
            StorageError: it cannot be read.
        """
        shard = self._node.shard_of(address)
        kind = self._node.kinds.of(address)
        number = address.partition("/")[2]
        with closing(shard.store.snapshot()) as snapshot:
            state = state_at(snapshot, kind, number)
            durable_seq = newest_commit(snapshot).sequence
        return ActorTold(
            address,
            shard.stage.number,
            self._changes[address],
            durable_seq,
            not self._eyes.all,
            self._eyes.state(state),
        )
