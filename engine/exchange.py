"""The exchange: how the shards of one process reach each other, and how their links are opened.

What a shard hands over is durable already, so carrying it is a call. The protocol of the links
(`engine.links`) does not rely on that: it would work over a way that loses and doubles messages.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from engine.links import opened
from engine.message import Envelope, Token
from engine.shard import Shard
from storage import link
from storage.errors import CorruptRowError
from storage.row import LINKS


class Exchange:
    """The way between the shards of one node. See `engine.way.Way`.

    Args:
        rested: called when a shard that is to stop has come to rest.
        committed: called after each commit.
    """

    def __init__(self, rested: Callable[[], None], committed: Callable[[], None]) -> None:
        self.shards: list[Shard] = []
        self._rested = rested
        self._committed = committed

    def carry(self, source: int, to: int, first: int, messages: Sequence[Envelope]) -> None:
        """See `Way.carry`."""
        self.shards[to].arrive(source, first, messages)

    def acknowledge(self, source: int, to: int, cursor: int) -> None:
        """See `Way.acknowledge`."""
        self.shards[to].acknowledged(source, cursor)

    def tell(self, token: Token, outcome: Any) -> None:
        """See `Way.tell`."""
        self.shards[token[1]].callers.tell_by_token(token, outcome)

    def moved(self, token: Token, messages: int) -> None:
        """See `Way.moved`."""
        self.shards[token[1]].callers.moved(token, messages)

    def rested(self) -> None:
        """See `Way.rested`."""
        self._rested()

    def committed(self) -> None:
        """See `Way.committed`."""
        self._committed()

    def open_links(self) -> None:
        """Check that both ends of every link agree, and deliver what the outboxes hold.

        Raises:
            CorruptRowError: a message was taken that was never sent, one is missing, or the money
                on a link is not what its ends say.
        """
        for sender in self.shards:
            for receiver in self.shards:
                if sender is not receiver:
                    _open_link(sender, receiver)


def _open_link(sender: Shard, receiver: Shard) -> None:
    here, there = sender.stage.number, receiver.stage.number
    sending, receiving = sender.stage.links, receiver.stage.links
    assert sending is not None
    assert receiving is not None
    out, into = sending.sending[there].end, receiving.receiving[here].end
    link.check_pair(here, out, there, into)
    snapshot = sender.store.snapshot()
    try:
        rows = list(sending.outbox(snapshot, there, into.cursor))
    finally:
        snapshot.close()
    first = into.cursor + 1
    if [sequence for sequence, _ in rows] != list(range(first, out.last + 1)):
        detail = f"shard {there} has taken up to {into.cursor}, and what follows is not there"
        raise CorruptRowError(LINKS, link.outgoing_key(there), detail)
    on_its_way = Counter(out.sent_minor)
    on_its_way.subtract(into.received_minor)
    for _, row in rows:
        on_its_way[row.currency] -= row.amount_minor
    if any(on_its_way.values()):
        detail = f"the money to shard {there} is off by {dict(+on_its_way) or dict(on_its_way)}"
        raise CorruptRowError(LINKS, link.outgoing_key(there), detail)
    sender.acknowledged(there, into.cursor)
    receiver.arrive(here, first, [opened(sender.stage.kinds, row) for _, row in rows])
