"""Tampering with an audit log: what somebody can do who has the file and knows its format."""

from collections.abc import Callable
from pathlib import Path

import lmdb

from storage.row import AUDIT, seal

Rows = dict[bytes, bytes]
"""Key → payload, without its checksum: whoever tampers makes that anew."""


def tamper(path: Path, how: Callable[[Rows], None]) -> None:
    """Do something to the rows of a log, checksums made anew, as somebody with the file can."""
    env = lmdb.open(str(path), max_dbs=8, map_size=1 << 30)
    table = env.open_db(AUDIT.encode())
    with env.begin(write=True, db=table) as txn:
        rows = {bytes(key): bytes(row)[4:] for key, row in txn.cursor()}
        how(rows)
        txn.drop(table, delete=False)
        for key, payload in rows.items():
            txn.put(key, seal(AUDIT, key, payload))
    env.close()
