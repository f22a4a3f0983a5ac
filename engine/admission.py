"""Admission: which external commands get in, and in which order they get their first turn.

The number of unconfirmed commands is bounded per shard and per actor, so memory stays bounded
whatever comes in. Waiting commands stand in lanes: one per merchant or account, or one per array
or stream of commands. Those of one party (`Lane`) share its turn, and parties are served
round-robin: a caller with a long queue delays only itself, and gains nothing by many queues.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct

from engine.fault import ACTOR_BUSY, NODE_BUSY, Fault
from engine.marks import Mark

log = logging.getLogger("piaohao.engine")

Reply = Callable[[Any], None]
"""Called once, in the event loop, with the actor's answer (a Struct) or a `Fault`."""


class Lane(NamedTuple):
    """One of several lanes of a party. Any other object that a lane is named by is a party's only.

    Attributes:
        party: whose turn it shares; the party's own name is a lane of it, too.
        name: which of its lanes.
    """

    party: object
    name: object


class Ask(Struct, eq=False):
    """One external command on its way (a Struct because one is made a command: 0.1 µs).

    Attributes:
        n: its number within this boot; with epoch and shard its token.
        to: the first actor's address.
        body: the command.
        reply: who is told, exactly once.
        deadline: on Trio's clock, seconds; after it the caller is told TIMEOUT or
            OUTCOME_UNKNOWN.
        at_ns: the command's time on a domain clock, which moves at least here before the first
            turn; 0 for wherever it stands.
        since: when it was admitted, on Trio's clock, seconds; up to a tenth of a second early.
        mark: becomes durable with the first turn; None where nothing is to be remembered.
        started: its first turn has been given, or refused.
        done: the caller has been told.
        ended: its chain of messages is over, durably. Done and ended, it gives its slot back.
        pending: messages of its chain that have not had their turn.
    """

    n: int
    to: str
    body: Any
    reply: Reply
    deadline: float
    at_ns: int
    since: float = 0.0
    mark: Mark | None = None
    started: bool = False
    done: bool = False
    ended: bool = False
    pending: int = 1


class Admission:
    """Counts unconfirmed commands and keeps the waiting ones in fair order.

    Args:
        shard_max: unconfirmed commands that the shard takes.
        actor_max: unconfirmed commands that one actor takes as their first.
    """

    def __init__(self, shard_max: int, actor_max: int) -> None:
        self.shard_max = shard_max
        self.actor_max = actor_max
        self.unconfirmed = 0
        self.waiting = 0
        self._by_actor: dict[str, int] = {}
        # Most parties have one lane, and no more than its queue: 0.8 µs less a command.
        self._parties: dict[object, deque[Ask] | _Lanes] = {}
        self._order: deque[object] = deque()

    def admit(self, address: str) -> Fault | None:
        """Take a slot for one command to `address`; returns why not, or None.

        NODE_BUSY past the shard's bound, ACTOR_BUSY past the actor's.
        """
        if self.unconfirmed >= self.shard_max:
            return NODE_BUSY
        count = self._by_actor.get(address, 0)
        if count >= self.actor_max:
            return ACTOR_BUSY
        self._by_actor[address] = count + 1
        self.unconfirmed += 1
        return None

    def full(self) -> bool:
        """Return whether every slot of the shard is taken."""
        return self.unconfirmed >= self.shard_max

    def release(self, address: str) -> None:
        """Give the slot of one command to `address` back."""
        self.unconfirmed -= 1
        count = self._by_actor[address] - 1
        if count:
            self._by_actor[address] = count
        else:
            del self._by_actor[address]

    def enqueue(self, lane: object, ask: Ask) -> None:
        """Let an admitted command wait in its lane."""
        self.waiting += 1
        party = lane.party if type(lane) is Lane else lane
        waiting = self._parties.get(party)
        if waiting is None:
            self._order.append(party)
            if party is lane:
                self._parties[party] = deque((ask,))
                return
            waiting = self._parties[party] = _Lanes()
        elif isinstance(waiting, deque):
            if party is lane:
                waiting.append(ask)
                return
            waiting = self._parties[party] = _Lanes(party, waiting)
        waiting.put(lane, ask)

    def next(self) -> Ask | None:
        """Take the next waiting command, one party after the other; None when none waits."""
        order = self._order
        if not order:
            return None
        party = order[0]
        waiting = self._parties[party]
        ask = waiting.popleft()
        if waiting:
            order.rotate(-1)
        else:
            del self._parties[party]
            order.popleft()
        self.waiting -= 1
        return ask

    def queued(self) -> Iterator[Ask]:
        """Yield the waiting commands, lane by lane; those that have been told are among them."""
        for waiting in self._parties.values():
            yield from waiting


class _Lanes:
    """What waits of a party that has several lanes; they take its turn one after the other.

    Args:
        lane, queue: that it has already.
    """

    __slots__ = ("_order", "_queues")

    def __init__(self, lane: object = None, queue: deque[Ask] | None = None) -> None:
        self._queues: dict[object, deque[Ask]] = {} if queue is None else {lane: queue}
        self._order: deque[object] = deque(self._queues)

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[Ask]:
        for queue in self._queues.values():
            yield from queue

    def put(self, lane: object, ask: Ask) -> None:
        queue = self._queues.get(lane)
        if queue is None:
            self._queues[lane] = deque((ask,))
            self._order.append(lane)
        else:
            queue.append(ask)

    def popleft(self) -> Ask:
        order = self._order
        lane = order[0]
        queue = self._queues[lane]
        ask = queue.popleft()
        if queue:
            order.rotate(-1)
        else:
            del self._queues[lane]
            order.popleft()
        return ask


def tell_caller(reply: Reply, outcome: Any) -> None:
    """Tell one caller. What the callback raises is its own affair: others wait to be told."""
    try:
        reply(outcome)
    except Exception:
        log.exception("a caller could not be told its outcome")
