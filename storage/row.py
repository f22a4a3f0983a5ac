"""Rows: a payload sealed with a checksum over table, key and payload.

LMDB has no page checksums: most flipped bits come back as values. The CRC-32 in front of every
payload covers the key and the table too, so that a row that turns up in the wrong place is
found as surely as one whose bytes changed.
"""

import zlib
from typing import Final

from storage.errors import CorruptRowError

CHECKSUM_BYTES: Final = 4

META: Final = "meta"
ACTORS: Final = "actors"
HUBS: Final = "hubs"
RECORDS: Final = "records"
JOURNAL: Final = "journal"
COMMITS: Final = "commits"
TIMERS: Final = "timers"
OUTBOX: Final = "outbox"
PARKED: Final = "parked"
DATES: Final = "dates"
LINKS: Final = "links"
MARKS: Final = "marks"

TABLES: Final = (
    META,
    ACTORS,
    HUBS,
    RECORDS,
    JOURNAL,
    COMMITS,
    TIMERS,
    OUTBOX,
    PARKED,
    DATES,
    LINKS,
    MARKS,
)
LATER_TABLES: Final = frozenset({MARKS})
"""Tables that a store made by an earlier program may lack; it gets them when it is written to."""
MARK_KEY_BYTES: Final = 20
"""A mark is its key alone: four bytes of seconds, big-endian, sixteen that stand for a request."""
OPERATORS: Final = "operators"
AUDIT: Final = "audit"
PROPOSALS: Final = "proposals"
OPEN_PROPOSALS: Final = "open_proposals"
CABINET_TABLES: Final = (META, OPERATORS, AUDIT, PROPOSALS, OPEN_PROPOSALS)
"""Tables of the cabinet (`storage.cabinet`)."""

SEEDS: Final = {table: zlib.crc32(table.encode()) for table in (*TABLES, *CABINET_TABLES)}
"""The checksum of a table's name: where the checksum of each of its rows starts."""


def seal(table: str, key: bytes, payload: bytes) -> bytes:
    """Return the row to store: four bytes of CRC-32, big-endian, then the payload."""
    return zlib.crc32(payload, zlib.crc32(key, SEEDS[table])).to_bytes(4, "big") + payload


def unseal(table: str, key: bytes, row: bytes) -> bytes:
    """Return the payload of a stored row.

    Raises:
        CorruptRowError: the checksum does not fit table, key and payload.
    """
    payload = row[4:]
    if zlib.crc32(payload, zlib.crc32(key, SEEDS[table])).to_bytes(4, "big") != row[:4]:
        raise CorruptRowError(table, key, "checksum does not fit")
    return payload
