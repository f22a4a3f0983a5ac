"""Looking things up: typed records and pages of them, from what is durable.

Every look opens a view of the last commit and closes it before it returns, so none is held
across an `await`, and each sees every effect that has been acknowledged. A page ends with an
opaque cursor, the key of its last row; rows that are added meanwhile neither shift nor repeat it.
"""

import base64
import binascii
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
import trio
from msgspec import Meta, Struct

from actors.answers import View
from engine.address import SLOTS, row_key
from engine.kind import ActorKind, RecordKind
from engine.node import Node
from gateway.answer import Answer, failed
from gateway.errors import Code, RequestCode, RequestError, problem
from storage.errors import CorruptRowError
from storage.row import RECORDS
from storage.store import Snapshot

R = TypeVar("R", bound=Struct)
T = TypeVar("T")

PAGE_MAX: Final = 100
SLOTS_AT_ONCE: Final = 128
"""Slots that are looked into before others have their turn: a millisecond."""

Limit = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[str, Meta(min_length=1, max_length=120)]  # a key of 90 bytes at most


class Page(Struct, Generic[T], frozen=True, tag_field="object", tag="page"):
    """Some of a list; `next_cursor` asks for what follows, None at the end."""

    items: list[T]
    next_cursor: str | None


def found(view: Struct | None, code: Code) -> Answer:
    """Return 200 with the view, or the problem of `code` where there is none."""
    return failed(problem(code)) if view is None else Answer(200, view)


def state_of(node: Node, kind: ActorKind, number: str) -> Any:
    """Return an actor's durable state, None where there is no such actor."""
    snapshot = node.snapshot(f"{kind.name}/{number}")
    try:
        return state_at(snapshot, kind, number)
    finally:
        snapshot.close()


def state_at(snapshot: Snapshot, kind: ActorKind, number: str) -> Any:
    """Return an actor's state as of a snapshot of its shard, None where there is none."""
    key = row_key(f"{kind.name}/{number}")
    payload = snapshot.get(kind.table, key)
    return None if payload is None else _decoded(kind.table, key, payload, kind.decode_state)


def record_of(node: Node, address: str, kind: RecordKind[R], name: str) -> R | None:
    """Return a durable record of an actor, None where there is none of this name."""
    snapshot = node.snapshot(address)
    try:
        key = _prefix(address, kind) + name.encode("ascii")
        payload = snapshot.get(RECORDS, key)
        return None if payload is None else _decoded(RECORDS, key, payload, kind.decode)
    finally:
        snapshot.close()


def record_at(snapshot: Snapshot, address: str, kind: RecordKind[R], name: str) -> R:
    """Return a record that something else says is there.

    Raises:
        CorruptRowError: it is not there.
    """
    key = _prefix(address, kind) + name.encode("ascii")
    payload = snapshot.get(RECORDS, key)
    if payload is None:
        raise CorruptRowError(RECORDS, key, "the record is missing")
    return _decoded(RECORDS, key, payload, kind.decode)


def records_page(
    node: Node,
    address: str,
    kind: RecordKind[R],
    view: Callable[[str, R], View],
    limit: int,
    cursor: str | None,
    under: str = "",
) -> Answer:
    """Return one page of an actor's records of a kind, in the order of their names.

    Args:
        under: only records whose names begin like this; `view` gets what comes after it.
        view: makes an item from (name, record).
        cursor: from the page before, None for the first.
    """
    start = prefix = _prefix(address, kind) + under.encode("ascii")
    if cursor is not None:
        start += opened_cursor(cursor) + b"\0"
    snapshot = node.snapshot(address)
    try:
        rows = list(islice(snapshot.scan(RECORDS, start, prefix + b"\xff"), limit + 1))
    finally:
        snapshot.close()
    items = [
        view(key[len(prefix) :].decode("ascii"), _decoded(RECORDS, key, payload, kind.decode))
        for key, payload in rows[:limit]
    ]
    return _page(items, rows, limit, len(prefix))


async def actors_page(
    node: Node,
    kind: ActorKind,
    view: Callable[[str, Any], View],
    limit: int,
    cursor: str | None,
) -> Answer:
    """Return one page of the actors of a kind, in the order of their row keys: slot, number.

    Others have their turn between some slots and the next: where there are few of the kind, all
    slots are looked into, and that takes 6 ms.

    Args:
        view: makes an item from (number, state).
        cursor: from the page before, None for the first.
    """
    after = b"" if cursor is None else opened_cursor(cursor)
    rows: list[tuple[bytes, bytes]] = []
    for first in range(int.from_bytes(after[:2], "big"), SLOTS, SLOTS_AT_ONCE):
        slots = range(first, min(first + SLOTS_AT_ONCE, SLOTS))
        # Each shard has a range of slots, in order (`engine.address.shard_of`).
        owners = [slot * len(node.shards) // SLOTS for slot in (slots[0], slots[-1])]
        for number in range(owners[0], owners[1] + 1):
            snapshot = node.shards[number].store.snapshot()
            try:
                rows += islice(actor_rows(snapshot, kind, after, slots), limit + 1 - len(rows))
            finally:
                snapshot.close()
        if len(rows) > limit:
            break
        await trio.lowlevel.checkpoint()
    skip = 2 + len(kind.name) + 1
    items = [
        view(key[skip:].decode("ascii"), _decoded(kind.table, key, payload, kind.decode_state))
        for key, payload in rows[:limit]
    ]
    return _page(items, rows, limit, 0)


def actor_rows(
    snapshot: Snapshot, kind: ActorKind, after: bytes = b"", slots: range = range(SLOTS)
) -> Iterator[tuple[bytes, bytes]]:
    """Yield `(key, payload)` of the actors of a kind in some slots, those behind the key `after`.

    Kinds may share a table, and a slot holds all of them; skipping from slot to slot costs 1,024
    seeks at most, where walking past a million others to list ten would cost seconds.
    """
    name = kind.name.encode("ascii")
    for slot in range(max(slots.start, int.from_bytes(after[:2], "big")), slots.stop):
        first = slot.to_bytes(2, "big") + name + b"/"
        yield from snapshot.scan(
            kind.table, max(first, after + b"\0"), slot.to_bytes(2, "big") + name + b"0"
        )


def _page(items: list[Any], rows: list[tuple[bytes, bytes]], limit: int, skip: int) -> Answer:
    more = len(rows) > limit
    return Answer(200, Page(items, sealed_cursor(rows[limit - 1][0][skip:]) if more else None))


def sealed_cursor(key: bytes) -> str:
    """Return where a page ended, as callers see it."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode("ascii")


def opened_cursor(cursor: str) -> bytes:
    """Return where a page ended.

    Raises:
        RequestError: INVALID_REQUEST for what is no cursor.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        key = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        key = b""
    if not key:
        raise RequestError(RequestCode.INVALID_REQUEST, "the cursor is not one of ours")
    return key


def _prefix(address: str, kind: RecordKind[Any]) -> bytes:
    return row_key(address) + b"\0" + kind.tag


def _decoded(table: str, key: bytes, payload: bytes, decode: Callable[[bytes], R]) -> R:
    try:
        return decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRowError(table, key, str(error)) from error
