"""Several shards of purses: stores in memory, a node on them, and what must hold over all."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec.structs import replace

from engine.address import shard_of
from engine.clock import Clock, DomainClock
from engine.exchange import Exchange
from engine.limits import Limits
from engine.links import decode_page
from engine.marks import Marks
from engine.message import Envelope, StoredEnvelope
from engine.node import Node
from engine.parking import decode_stored
from engine.shard import ShardFailedError
from gateway.link_verification import LinkVerification
from storage import link
from storage.memory import MemoryStore
from storage.row import OUTBOX, PARKED
from storage.store import CommitTimes, Writes
from storage.verify import Verification
from tests.engine.purses import FORMAT, KINDS, MIDNIGHT_NS, Death, balances, postings, purses

SHARDS = 3


def on(shard: int, name: str = "p") -> str:
    """Return the address of a purse that lives on a shard; its number begins with `name`."""
    return next(
        address
        for n in range(10_000)
        for address in (f"purse/{name}{n}",)
        if shard_of(address, SHARDS) == shard
    )


BANK_SHARD = shard_of("purse/bank", SHARDS)


class Log:
    """What a crash after each commit of any shard would leave of all of them."""

    def __init__(self) -> None:
        self.stores: list[LoggedStore] = []
        self.left: list[list[MemoryStore]] = []

    def note(self) -> None:
        """Remember what is durable now."""
        self.left.append([store.reopened() for store in self.stores])


class LoggedStore(MemoryStore):
    """A store in memory that tells a log of its commits, and waits while it is held."""

    def __init__(self, shard: int, log: Log | None = None) -> None:
        super().__init__(replace(FORMAT, shard=shard, shards=SHARDS), "2026-01-01")
        self.log = log
        self.held = False
        self._changed = trio.Event()

    def let(self) -> None:
        """Let commits through again."""
        self.held = False
        self._changed.set()
        self._changed = trio.Event()

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`."""
        while self.held:
            await self._changed.wait()
        return await super().commit(writes)

    def commit_now(self, writes: Writes) -> CommitTimes:
        """See `Store.commit_now`."""
        times = super().commit_now(writes)
        if self.log is not None:
            self.log.note()
        return times


def new_stores(log: Log | None = None) -> list[LoggedStore]:
    """Return the empty stores of all shards."""
    stores = [LoggedStore(shard, log) for shard in range(SHARDS)]
    if log is not None:
        log.stores = stores
        log.note()
    return stores


def reopened(stores: Sequence[MemoryStore]) -> list[MemoryStore]:
    """Return the stores as the next process finds them after a crash."""
    return [store.reopened() for store in stores]


def way_of(node: Node) -> Exchange:
    """Return the exchange between a node's shards."""
    way = node.shards[0]._way
    assert isinstance(way, Exchange)
    return way


@asynccontextmanager
async def running_node(
    stores: Sequence[Any],
    limits: Limits | None = None,
    clock: Clock | None = None,
    *,
    kill: bool = False,
    marks: Marks | None = None,
) -> AsyncIterator[Node]:
    """Run a node; on the way out it drains, unless it has failed or is to be killed."""
    node = Node(stores, KINDS, clock or DomainClock(MIDNIGHT_NS), limits, marks=marks)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        started = False
        try:
            async with trio.open_nursery() as running:
                await running.start(node.run)
                task_status.started()
                started = True
        except* ShardFailedError:
            assert any(shard.failure is not None for shard in node.shards)
        except* Death:
            assert kill
            if not started:
                task_status.started()

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield node
        if kill:
            nursery.cancel_scope.cancel()
        node.stop()
    if not kill and all(shard.failure is None for shard in node.shards):
        for store in stores:
            store.close(clean=True)


def all_balances(stores: Sequence[MemoryStore]) -> dict[str, int]:
    """Return the durable balance of every purse."""
    return {number: minor for store in stores for number, minor in balances(store).items()}


def all_gifts(stores: Sequence[MemoryStore]) -> Counter[str]:
    """Return how often each gift was received, by its number."""
    return Counter(
        gift for store in stores for purse in purses(store).values() for gift in purse.log
    )


def under_way(stores: Sequence[MemoryStore]) -> list[StoredEnvelope]:
    """Return every message that is durable and has not had its turn."""
    found = []
    for shard, store in enumerate(stores):
        snapshot = store.snapshot()
        cursors = {
            other: link.ends(stores[other].snapshot())[1][shard].cursor
            for other in range(SHARDS)
            if other != shard
        }
        for key, payload in snapshot.scan(OUTBOX):
            to, first = int.from_bytes(key[:2], "big"), int.from_bytes(key[2:], "big")
            if to == shard:
                found.append(decode_stored(payload))
            else:
                rows = enumerate(decode_page(payload), first)
                found += [row for sequence, row in rows if row.to and sequence > cursors[to]]
        found += [decode_stored(payload) for _, payload in snapshot.scan(PARKED)]
    return found


def check_all_books(stores: Sequence[MemoryStore]) -> None:
    """Check from outside that every shard's bytes are whole and that no money came or went."""
    links = LinkVerification([store.snapshot() for store in stores])
    assert links.damages == []
    total: Counter[tuple[str, str]] = Counter()
    for shard, store in enumerate(stores):
        assert all(shard_of(f"purse/{number}", SHARDS) == shard for number in purses(store))
        verification = Verification(store.snapshot())
        verification.rows()
        assert [posting for _, posting in verification.postings()] == [
            posting for _, posting in postings(store)
        ]
        assert verification.damages == []
        by_purse: Counter[str] = Counter()
        for _, posting in postings(store):
            total[posting.business_date, posting.currency] += posting.amount_minor
            by_purse[posting.account] += posting.amount_minor
        for number, minor in balances(store).items():
            assert by_purse[number] == minor
            assert minor >= 0 or number == "bank", "somebody is overdrawn"
    for row in under_way(stores):
        total[row.business_date, row.currency] += row.amount_minor
    assert not any(total.values()), f"money was made or lost: {total}"


class LossyWay(Exchange):
    """A way that loses, doubles and reorders what is carried, as its `draw` decides."""

    def __init__(self, node: Node, draw: Any) -> None:
        super().__init__(node._end_if_at_rest, node._hear_of_commit)
        self.shards = node.shards
        self._draw = draw
        self._late: list[tuple[int, int, int, Sequence[Envelope]]] = []
        for shard in self.shards:
            shard._way = self

    def carry(self, source: int, to: int, first: int, messages: Sequence[Envelope]) -> None:
        """See `Way.carry`."""
        how = self._draw.random()
        if how < 0.2:
            return
        if how < 0.4:
            self._late.append((source, to, first, messages))
            return
        super().carry(source, to, first, messages)
        if how < 0.6:
            super().carry(source, to, first, messages)
        while self._late and self._draw.random() < 0.5:
            late = self._late.pop(self._draw.randrange(len(self._late)))
            super().carry(*late)

    def acknowledge(self, source: int, to: int, cursor: int) -> None:
        """See `Way.acknowledge`."""
        if self._draw.random() > 0.4:
            super().acknowledge(source, to, cursor)
