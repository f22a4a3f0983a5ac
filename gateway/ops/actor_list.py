"""The row of actors: found by kind and number, or by what goes on at them.

There are two ways. By address, all actors that there are, kind by kind, in the order of their rows,
a page at a time: a million of them cost no more than the page, and a rare prefix costs a leap into
each of the 1,024 slots, in pieces of 256 with a checkpoint between them. By what goes on, only
actors at which something does (`engine.activity`), the most of it first; those are few.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Annotated, Final, Literal

import trio
from msgspec import Meta, Struct

from engine.activity import AT_ONCE, Activities, Activity, Measure
from engine.address import SLOTS, row_key
from engine.kind import ActorKind
from engine.node import Node
from gateway.answer import Answer
from gateway.errors import RequestCode, RequestError
from gateway.lookup import opened_cursor, sealed_cursor
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.store import Snapshot

Sort = Literal["address"] | Measure
Only = Literal["waiting", "quarantined", "failed"]

SLOTS_AT_ONCE: Final = 256
"""Slots that are looked into before others have their turn: a millisecond at most."""
_ONLY: Final[dict[Only, Measure]] = {
    "waiting": "depth",
    "quarantined": "dead_letters",
    "failed": "failures",
}
"""Of what there is something at each actor that is found."""


class ListActors(Struct, frozen=True, forbid_unknown_fields=True):
    """Which actors, in which order.

    Attributes:
        kind: of one kind alone.
        prefix: those whose number begins like this.
        only: those that have something waiting, have dead letters, or whose turns failed.
        sort: by address, or the most first of something that goes on at them; actors at which
            nothing does are in the first alone.
    """

    kind: Annotated[str, Meta(pattern=r"^[a-z]{1,32}$(?!\n)")] | None = None
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:@+-]{1,64}$(?!\n)")] | None = None
    only: Only | None = None
    sort: Sort = "address"
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class ActorItem(Struct, frozen=True, tag_field="object", tag="actor_item"):
    """An actor, and what goes on at it.

    Attributes:
        status: of the actor's durable state, null where it has none.
        live: it is in memory.
        turns, turn_us_max, failures: of those in the shard's ring of the last 4,096.
    """

    address: str
    shard: int
    status: str | None
    live: bool
    depth: int
    head_age_s: float
    turns: int
    turn_us_max: float
    failures: int
    dead_letters: int


class ActorPage(Struct, frozen=True):
    """A page of actors; `next_cursor` asks for what follows, null at the end."""

    items: list[ActorItem]
    next_cursor: str | None


async def list_actors(desk: OpsDesk, visitor: Visitor, asked: ListActors) -> Answer:
    """Return actors, by kind, by the beginning of their number, or by what goes on at them."""
    by_name = desk.node.kinds.by_name
    if asked.kind is not None and asked.kind not in by_name:
        detail = f"there are actors of these kinds: {', '.join(by_name)}"
        raise RequestError(RequestCode.INVALID_REQUEST, detail)
    kinds = list(by_name.values()) if asked.kind is None else [by_name[asked.kind]]
    if asked.sort == "address" and asked.only is None:
        found, cursor = await _by_address(desk.node, kinds, asked)
        shards = _activities(desk.node)
    else:
        shards = _activities(desk.node)
        found, cursor = await _by_activity(shards, kinds, asked)
    live: dict[str, Activity] = {}
    for number, shard in enumerate(shards):
        there = [each for each in found if desk.node.shard_of(each).stage.number == number]
        live |= await shard.at(there)
    items = [_item(desk.node, address, live[address]) for address in found]
    return Answer(200, ActorPage(items, cursor))


def _activities(node: Node) -> list[Activities]:
    """Return what goes on at all actors now."""
    return [Activities(shard) for shard in node.shards]


async def _by_address(
    node: Node, kinds: Sequence[ActorKind], asked: ListActors
) -> tuple[list[str], str | None]:
    """Return addresses kind by kind, in the order of their rows, and where to go on."""
    walk = _Walk(node, kinds, asked.prefix or "", asked.limit + 1)
    first = 0
    if asked.cursor is not None:
        opened = opened_cursor(asked.cursor)
        first = min(opened[0], len(kinds))
        # The others of a table are walked together; of this one a part is over.
        await walk.go(range(first, min(first + 1, len(kinds))), opened[1:] + b"\0")
        first += 1
    for table in dict.fromkeys(kind.table for kind in kinds):
        together = [n for n in range(first, len(kinds)) if kinds[n].table == table]
        await walk.go(together)
    found = [(number, key) for number, keys in enumerate(walk.found) for key in keys]
    page = found[: asked.limit]
    cursor = None
    if len(found) > len(page):
        number, key = page[-1]
        cursor = sealed_cursor(bytes([number]) + key)
    return [key[2:].decode("ascii") for _, key in page], cursor


class _Walk:
    """A walk through the rows of actors whose numbers begin alike, by leaps.

    Args:
        kinds: which actors; a page has those of the first first.
        enough: a kind is not looked for any more once there are so many of it and of those before.

    Attributes:
        found: the keys of each kind, in order.
    """

    def __init__(self, node: Node, kinds: Sequence[ActorKind], prefix: str, enough: int) -> None:
        self._node = node
        self._kinds = kinds
        self._names = [f"{kind.name}/{prefix}".encode("ascii") for kind in kinds]
        self._enough = enough
        self.found: list[list[bytes]] = [[] for _ in kinds]

    async def go(self, numbers: Sequence[int], after: bytes = b"") -> None:
        """Find kinds of one table; others have their turn meanwhile.

        Args:
            numbers: of the kinds. In a slot that has rows of one, the leap past them mostly says
                that there are none of the others, so two are hardly dearer than one.
            after: nothing below this key is looked for.
        """
        slot, shards = int.from_bytes(after[:2], "big"), len(self._node.shards)
        while slot < SLOTS:
            wanted = [n for n in numbers if sum(map(len, self.found[: n + 1])) < self._enough]
            if not wanted:
                return
            shard = slot * shards // SLOTS  # as `engine.address.shard_of`
            end = -(-(shard + 1) * SLOTS // shards)  # the first slot of the next
            with closing(self._node.shards[shard].store.snapshot()) as snapshot:
                slot = self._leap(snapshot, wanted, slot, min(slot + SLOTS_AT_ONCE, end), after)
            slot = min(slot, end)
            await trio.lowlevel.checkpoint()

    def _leap(
        self, snapshot: Snapshot, numbers: Sequence[int], slot: int, end: int, after: bytes
    ) -> int:
        """Find kinds in the slots of a shard from one on; returns the first that was not seen."""
        table = self._kinds[numbers[0]].table
        seek = snapshot.seeking(table)
        names = sorted((self._names[number], self.found[number]) for number in numbers)
        while slot < end:
            beginning = slot.to_bytes(2, "big")
            key: bytes | None = b""
            for name, found in names:
                first = beginning + name
                if key is not None and key < first:
                    key = seek(first if first > after else after)
                while key is not None and key.startswith(first) and len(found) < self._enough:
                    snapshot.get(table, key)  # its checksum is looked at
                    found.append(key)
                    key = seek(key + b"\0")
            if key is None:
                return SLOTS
            slot += 1
            if key[:2] > beginning:
                slot = int.from_bytes(key[:2], "big")
        return slot


async def _by_activity(
    shards: Sequence[Activities], kinds: Sequence[ActorKind], asked: ListActors
) -> tuple[list[str], str | None]:
    """Return the addresses at which the most goes on, and where to go on."""
    begins = tuple(f"{kind.name}/{asked.prefix or ''}" for kind in kinds)
    only = None if asked.only is None else await _most(shards, _ONLY[asked.only])
    measured = only if asked.sort == "address" else await _most(shards, asked.sort)
    assert measured is not None
    after = None if asked.cursor is None else _opened_rank(asked.cursor)
    page: list[tuple[float, str]] = []

    def ranks(some: Iterable[tuple[str, float]], least: float) -> Iterator[tuple[float, str]]:
        for address, most in some:
            if most < least or not address.startswith(begins):
                continue
            rank = (0.0 if asked.sort == "address" else -most, address)
            if (only is None or address in only) and (after is None or rank > after):
                yield rank

    actors = iter(measured.items())
    while some := [*islice(actors, AT_ONCE)]:
        # Once the page is full most of what is left is less than all that is on it.
        least = -page[-1][0] if len(page) > asked.limit else 0.0
        page = heapq.nsmallest(asked.limit + 1, chain(page, ranks(some, least)))
        await trio.lowlevel.checkpoint()
    more = len(page) > asked.limit
    page = page[: asked.limit]
    cursor = sealed_cursor(f"{page[-1][0]!r} {page[-1][1]}".encode("ascii")) if more else None
    return [address for _, address in page], cursor


async def _most(shards: Iterable[Activities], measure: Measure) -> dict[str, float]:
    """Return a measure of all actors; those with none of it are left out."""
    found: dict[str, float] = {}
    for shard in shards:
        found |= await shard.most(measure)
    return found


def _opened_rank(cursor: str) -> tuple[float, str]:
    measured, _, address = opened_cursor(cursor).decode("latin-1").partition(" ")
    try:
        return float(measured), address
    except ValueError:
        raise RequestError(
            RequestCode.INVALID_REQUEST, "the cursor is not one of this order"
        ) from None


def _item(node: Node, address: str, live: Activity) -> ActorItem:
    shard = node.shard_of(address)
    kind = node.kinds.of(address)
    snapshot = shard.store.snapshot()
    try:
        payload = snapshot.get(kind.table, row_key(address))
    finally:
        snapshot.close()
    state = None if payload is None else kind.decode_state(payload)
    return ActorItem(
        address,
        shard.stage.number,
        getattr(state, "status", None),
        address in shard.stage.actors,
        live.depth,
        live.head_age_s,
        live.turns,
        live.turn_ns_max / 1e3,
        live.failures,
        live.parked,
    )


ROWS: Final = (read("/ops/actors", ListActors, list_actors, Right.LOOK, ActorPage),)
