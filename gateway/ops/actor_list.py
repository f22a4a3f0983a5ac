"""The row of actors: found by kind and number, or by what goes on at them.

There are two ways. By address, all actors that there are, in the order of their rows, a page at a
time: a million of them cost no more than the page, and a rare prefix costs a seek into each of the
1,024 slots, in pieces of 64 with a checkpoint between them. By what goes on, only actors at which
something does (`engine.activity`), the most of it first; those are few.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Annotated, Any, Final, Literal

import trio
from msgspec import Meta, Struct

from engine.activity import AT_ONCE, Activity, activity
from engine.address import SLOTS, row_key
from engine.address import split as split_address
from engine.kind import ActorKind
from engine.node import Node
from gateway.answer import Answer
from gateway.errors import RequestCode, RequestError
from gateway.lookup import opened_cursor, sealed_cursor
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.store import Snapshot

Sort = Literal["address", "depth", "head_age", "turn_time", "failures", "dead_letters"]
Only = Literal["waiting", "quarantined", "failed"]

SLOTS_AT_ONCE: Final = 64
"""Slots that are looked into before others have their turn: a millisecond at most."""
_IDLE: Final = Activity()
_MEASURE: Final = {
    "depth": lambda each: float(each.depth),
    "head_age": lambda each: each.head_age_s,
    "turn_time": lambda each: float(each.turn_ns_max),
    "failures": lambda each: float(each.failures),
    "dead_letters": lambda each: float(each.parked),
}
_ONLY: Final = {
    "waiting": lambda each: each.depth > 0,
    "quarantined": lambda each: each.parked > 0,
    "failed": lambda each: each.failures > 0,
}


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
    live = await _activities(desk.node)
    if asked.sort == "address" and asked.only is None:
        found, cursor = await _by_address(desk.node, kinds, asked)
    else:
        found, cursor = await _by_activity(live, kinds, asked)
    items = [_item(desk.node, address, live.get(address, _IDLE)) for address in found]
    return Answer(200, ActorPage(items, cursor))


async def _activities(node: Node) -> dict[str, Activity]:
    """Return what goes on at all actors; other work has its turn meanwhile."""
    found: dict[str, Activity] = {}
    for shard in node.shards:
        found |= await activity(shard)
    return found


async def _by_address(
    node: Node, kinds: Sequence[ActorKind], asked: ListActors
) -> tuple[list[str], str | None]:
    """Return addresses kind by kind, in the order of their rows, and where to go on."""
    first, after = 0, b""
    if asked.cursor is not None:
        opened = opened_cursor(asked.cursor)
        first, after = min(opened[0], len(kinds)), opened[1:]
    found: list[bytes] = []
    for number in range(first, len(kinds)):
        start = after if number == first else b""
        name = f"{kinds[number].name}/{asked.prefix or ''}".encode("ascii")
        for slot in range(int.from_bytes(start[:2], "big"), SLOTS, SLOTS_AT_ONCE):
            keys = _keys(node, kinds[number], name, start, slot)
            found += (bytes([number]) + key for key in islice(keys, asked.limit + 1 - len(found)))
            keys.close()
            if len(found) > asked.limit:
                page = found[: asked.limit]
                return [_address(each) for each in page], sealed_cursor(page[-1])
            await trio.lowlevel.checkpoint()
    return [_address(each) for each in found], None


def _keys(node: Node, kind: ActorKind, name: bytes, after: bytes, first: int) -> Any:
    """Yield the keys of a kind's rows in some slots, those that begin with `name` behind a key."""
    snapshots: dict[int, Snapshot] = {}
    try:
        for slot in range(first, min(first + SLOTS_AT_ONCE, SLOTS)):
            shard = slot * len(node.shards) // SLOTS  # as `engine.address.shard_of`
            if shard not in snapshots:
                snapshots[shard] = node.shards[shard].store.snapshot()
            prefix = slot.to_bytes(2, "big") + name
            start = max(prefix, after + b"\0") if after else prefix
            for key, _ in snapshots[shard].scan(kind.table, start, prefix + b"\x7f"):
                yield key
    finally:
        for snapshot in snapshots.values():
            snapshot.close()


def _address(key: bytes) -> str:
    """Return the address in a cursor: after the number of the kind and two bytes of slot."""
    return key[3:].decode("ascii")


async def _by_activity(
    live: dict[str, Activity], kinds: Sequence[ActorKind], asked: ListActors
) -> tuple[list[str], str | None]:
    """Return the addresses at which the most goes on, and where to go on."""
    names = {kind.name for kind in kinds}
    passes = _ONLY[asked.only] if asked.only is not None else lambda _: True
    measure = _MEASURE[asked.sort] if asked.sort != "address" else lambda _: 0.0
    after = None if asked.cursor is None else _opened_rank(asked.cursor)

    def ranks(some: Iterable[tuple[str, Activity]]) -> Iterator[tuple[float, str]]:
        for address, each in some:
            kind, number = split_address(address)
            wanted = kind in names and number.startswith(asked.prefix or "") and passes(each)
            rank = (-measure(each), address)
            # Where nothing of it goes on there is nothing to be sorted by.
            if wanted and (rank[0] or asked.sort == "address") and (after is None or rank > after):
                yield rank

    page: list[tuple[float, str]] = []
    actors = iter(live.items())
    while some := [*islice(actors, AT_ONCE)]:
        page = heapq.nsmallest(asked.limit + 1, chain(page, ranks(some)))
        await trio.lowlevel.checkpoint()
    more = len(page) > asked.limit
    page = page[: asked.limit]
    cursor = sealed_cursor(f"{page[-1][0]!r} {page[-1][1]}".encode("ascii")) if more else None
    return [address for _, address in page], cursor


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
