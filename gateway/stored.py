"""Everything that a snapshot holds, as typed values: what `verify` and `export` walk through.

One row at a time, in key order; memory does not grow with the store. A row whose checksum or
type does not fit raises `CorruptRowError`, or goes to `skip` where the caller gives one.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from actors.kinds import KINDS
from engine.dates import DateState, decode_closed
from engine.kind import RecordKind
from engine.links import decode_page
from engine.message import Envelope, StoredEnvelope, Unreadable
from engine.parking import decode_stored
from engine.timers import open_timer, split_timer_key
from storage.errors import CorruptRowError
from storage.journal import Posting, open_page
from storage.row import DATES, JOURNAL, OUTBOX, PARKED, RECORDS, TIMERS, unseal
from storage.store import Snapshot

Skip = Callable[[CorruptRowError], None]


def raise_it(error: CorruptRowError) -> None:
    """The default for `skip`: nothing is skipped."""
    raise error


def states(snapshot: Snapshot, skip: Skip = raise_it) -> Iterator[tuple[str, Struct]]:
    """Yield `(address, state)` of every actor."""
    kinds = {kind.table for kind in KINDS.by_name.values()}
    for table in sorted(kinds):
        for key, payload in _rows(snapshot, table, skip):
            address = key[2:].decode("ascii", "replace")
            try:
                yield address, KINDS.of(address).decode_state(payload)
            except (msgspec.DecodeError, KeyError) as error:
                skip(CorruptRowError(table, key, str(error)))


def records(
    snapshot: Snapshot, only: tuple[RecordKind[Any], ...] = (), skip: Skip = raise_it
) -> Iterator[tuple[str, RecordKind[Any], str, Any]]:
    """Yield `(address, kind, name, record)` of every record, or of some kinds only."""
    for key, payload in _rows(snapshot, RECORDS, skip):
        owner, _, rest = key[2:].partition(b"\0")
        address = owner.decode("ascii", "replace")
        try:
            kind = KINDS.of(address).records[rest[:1]]
            if only and kind not in only:
                continue
            yield address, kind, rest[1:].decode("ascii"), kind.decode(payload)
        except (msgspec.DecodeError, KeyError, UnicodeDecodeError) as error:
            skip(CorruptRowError(RECORDS, key, str(error)))


def postings(snapshot: Snapshot, skip: Skip = raise_it) -> Iterator[tuple[int, Posting]]:
    """Yield `(sequence, posting)` of the journal; commits and their chain are not looked at."""
    for key, payload in _rows(snapshot, JOURNAL, skip):
        try:
            yield from open_page(key, payload)
        except CorruptRowError as error:
            skip(error)


def messages(
    snapshot: Snapshot, shard: int, cursors: Mapping[int, int], skip: Skip = raise_it
) -> Iterator[Envelope]:
    """Yield every durable message of a shard that has not had its turn: on its way, or parked.

    Args:
        shard: its number.
        cursors: how far each other shard has taken its messages; what lies in the outbox before
            that has had its turn there.
    """
    for table in (OUTBOX, PARKED):
        for key, payload in _rows(snapshot, table, skip):
            try:
                rows = _message_rows(table, key, payload, shard, cursors)
            except msgspec.DecodeError as error:
                skip(CorruptRowError(table, key, str(error)))
                continue
            for row in rows:
                message = KINDS.opened(row)
                if isinstance(message.body, Unreadable):
                    skip(CorruptRowError(table, key, message.body.why))
                else:
                    yield message


def _message_rows(
    table: str, key: bytes, payload: bytes, shard: int, cursors: Mapping[int, int]
) -> list[StoredEnvelope]:
    to, first = int.from_bytes(key[:2], "big"), int.from_bytes(key[2:], "big")
    if table == PARKED or to == shard:
        return [decode_stored(payload)]
    taken = cursors.get(to, 0)
    return [
        row
        for sequence, row in enumerate(decode_page(payload), first)
        if row.to and sequence > taken
    ]


def closed_through(snapshot: Snapshot, skip: Skip = raise_it) -> str:
    """Return the newest business date that is closed with all before it, empty if none is."""
    newest = ""
    for key, payload in _rows(snapshot, DATES, skip):
        try:
            date = decode_closed(payload)
        except msgspec.DecodeError as error:
            skip(CorruptRowError(DATES, key, str(error)))
            continue
        if date.state is not DateState.CLOSED:
            break
        newest = date.business_date
    return newest


def timers(snapshot: Snapshot, skip: Skip = raise_it) -> Iterator[tuple[int, str, str]]:
    """Yield `(due_ns, address, name)` of every timer."""
    for key, payload in _rows(snapshot, TIMERS, skip):
        try:
            open_timer(key, payload)
            yield split_timer_key(key)
        except (CorruptRowError, UnicodeDecodeError) as error:
            skip(CorruptRowError(TIMERS, key, str(error)))


def _rows(snapshot: Snapshot, table: str, skip: Skip) -> Iterator[tuple[bytes, bytes]]:
    for key, row in snapshot.raw(table):
        try:
            yield key, unseal(table, key, row)
        except CorruptRowError as error:
            skip(error)
