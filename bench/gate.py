"""A gate for measuring: a real store with many certificates, the bank's keys, and no node behind.

It is made in a folder that goes when it is done with. Its certificates were not issued by anyone,
their rows are just there; the gate reads them as it reads any others.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
from msgspec import Struct

from actors.certificate import Certificate
from actors.kinds import CERTIFICATE, KINDS
from engine.address import row_key
from engine.clock import WallClock
from engine.node import Node
from gateway.ca import ceremony
from gateway.ca.bank_keys import BankKeys
from gateway.ca.master_key import new_master_key
from gateway.gate import Gate
from gateway.signatures.keys import PublicKey
from storage.folder import Folder, release
from storage.journal import Commit
from storage.store import Writes

OTHERS: Final = 10_000
"""Certificates beside those that are used, so that a look-up goes through some pages."""
_DAY_NS: Final = 86_400 * 10**9
_encode: Final = msgspec.msgpack.Encoder().encode


class Opened(Struct, frozen=True):
    """A gate, and the bank's keys with which it signs."""

    gate: Gate
    keys: BankKeys


@contextmanager
def open_gate(holders: Mapping[str, PublicKey]) -> Iterator[Opened]:
    """Open a gate that knows some keys.

    Args:
        holders: serial, in lower-case hex → key; each is a merchant's.
    """
    with TemporaryDirectory(prefix="piaohao-gate-") as path:
        now = datetime.now(UTC)
        master_key = new_master_key()
        ceremony.found(Path(path, "keys"), "Bench Bank", master_key, now=now)
        keys = BankKeys.load(Path(path, "keys"), master_key)
        with closing(Folder(Path(path, "data"), create=True)) as folder:
            folder.create(now.date().isoformat(), time.time_ns(), shards=1)
            stores = folder.open()
            try:
                (store,) = stores
                store.begin_epoch()
                last = store.last
                commit = Commit(
                    last.sequence + 1,
                    store.epoch,
                    time.time_ns(),
                    last.business_date,
                    last.posting_first + last.postings,
                    0,
                    0,
                    0,
                    (),
                )
                store.commit_now(Writes(commit, [], {CERTIFICATE.table: _rows(holders)}))
                node = Node(stores, KINDS, WallClock())
                yield Opened(Gate(node, keys, node.marks, time.time), keys)
            finally:
                release(stores)


def _rows(holders: Mapping[str, PublicKey]) -> dict[bytes, bytes | None]:
    now_ns = time.time_ns()
    some = next(iter(holders.values()))
    others = {secrets.token_hex(16): some for _ in range(OTHERS)}
    return {
        row_key(f"certificate/{serial}"): _encode(
            Certificate(
                holder="merchant/M1",
                name="K1",
                alg=key.alg,
                spki=key.spki,
                not_before_ns=now_ns - _DAY_NS,
                ends_ns=now_ns + _DAY_NS,
            )
        )
        for serial, key in {**others, **holders}.items()
    }
