"""Everything that a snapshot holds, as typed values: what `verify` and `export` walk through.

One row at a time, in key order; memory does not grow with the store. A row whose checksum or
type does not fit raises `CorruptRowError`, or goes to `skip` where the caller gives one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from actors.kinds import KINDS
from engine.dates import DateState, decode_closed
from engine.kind import RecordKind
from engine.message import Envelope
from engine.parking import decode_stored
from storage.errors import CorruptRowError
from storage.row import DATES, OUTBOX, PARKED, RECORDS, unseal
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


def messages(snapshot: Snapshot, skip: Skip = raise_it) -> Iterator[Envelope]:
    """Yield every durable message: on its way, or parked."""
    for table in (OUTBOX, PARKED):
        for key, payload in _rows(snapshot, table, skip):
            try:
                row = decode_stored(payload)
                body = KINDS.of(row.to).decode_body(row.body)
            except (msgspec.DecodeError, KeyError) as error:
                skip(CorruptRowError(table, key, str(error)))
                continue
            yield Envelope(
                row.to,
                row.sender,
                body,
                row.business_date,
                row.token,
                row.amount_minor,
                row.currency,
            )


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


def _rows(snapshot: Snapshot, table: str, skip: Skip) -> Iterator[tuple[bytes, bytes]]:
    for key, row in snapshot.raw(table):
        try:
            yield key, unseal(table, key, row)
        except CorruptRowError as error:
            skip(error)
