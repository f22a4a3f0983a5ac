"""Exports: what a store holds, as CSV with a header row, in the order of the store's keys.

Amounts are signed minor units, empty fields stand for nothing. Accounts, merchants and holds are
as they stand; every row of the journal is a posting.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from actors.account import Account
from actors.authorization import AUTHORIZATIONS
from actors.merchant import Merchant
from actors.payment import PAYMENTS
from actors.refund import REFUNDS
from engine.kind import RecordKind
from gateway import stored
from storage.journal import open_page
from storage.row import JOURNAL
from storage.store import Snapshot

What = Literal["accounts", "merchants", "payments", "holds", "refunds", "postings"]
Cells = tuple[Any, ...]

COLUMNS: Final[Mapping[What, str]] = {
    "accounts": "account,kind,status,currency,posted_minor,held_minor,frozen_minor",
    "merchants": "merchant,status,currency,posted_minor,fees_minor",
    "payments": "merchant,order_no,payer,amount_minor,refunded_minor,currency,state,code,"
    "business_date",
    "holds": "merchant,hold_no,payer,amount_minor,captured_minor,state",
    "refunds": "merchant,refund_no,original,amount_minor,state",
    "postings": "shard,seq,business_date,account,amount_minor,currency,balance_after_minor,prev,"
    "reference",
}


def export(snapshots: Sequence[Snapshot], what: What, out: Path, check: Callable[[], None]) -> int:
    """Write one export; the file appears under its name once it is whole.

    Args:
        snapshots: of all shards, in order.
        check: called every now and then; it may raise to break off.

    Returns:
        How many rows were written, the header not counted.

    Raises:
        OSError: the file cannot be written.
    """
    count = 0
    unfinished = out.with_name(out.name + ".unfinished")
    try:
        with unfinished.open("w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS[what].split(","))
            for shard, snapshot in enumerate(snapshots):
                for cells in _ROWS[what](snapshot, shard):
                    if count % 1_000 == 0:
                        check()
                    writer.writerow(cells)
                    count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _accounts(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for address, each in stored.states(snapshot):
        if isinstance(each, Account):
            number = _number(address)
            yield (
                number,
                each.kind,
                each.status,
                each.currency,
                each.posted_minor,
                each.held_minor,
                each.frozen_minor,
            )


def _merchants(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for address, each in stored.states(snapshot):
        if isinstance(each, Merchant):
            number = _number(address)
            yield number, each.status, each.currency, each.posted_minor, each.fees_minor


def _payments(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for merchant, order_no, each in _records(snapshot, PAYMENTS):
        yield (
            merchant,
            order_no,
            each.payer,
            each.amount_minor,
            each.refunded_minor,
            each.currency,
            each.state,
            each.code,
            each.business_date,
        )


def _holds(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for merchant, hold_no, each in _records(snapshot, AUTHORIZATIONS):
        yield merchant, hold_no, each.payer, each.amount_minor, each.captured_minor, each.state


def _refunds(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for merchant, refund_no, each in _records(snapshot, REFUNDS):
        yield merchant, refund_no, each.original, each.amount_minor, each.state


def _postings(snapshot: Snapshot, shard: int) -> Iterator[Cells]:
    for key, payload in snapshot.scan(JOURNAL):
        for sequence, each in open_page(key, payload):
            yield (
                shard,
                sequence,
                each.business_date,
                each.account,
                each.amount_minor,
                each.currency,
                each.balance_after_minor,
                each.prev,
                each.reference,
            )


def _records(snapshot: Snapshot, kind: RecordKind[Any]) -> Iterator[tuple[str, str, Any]]:
    for address, _, name, record in stored.records(snapshot, (kind,)):
        yield _number(address), name, record


def _number(address: str) -> str:
    return address.partition("/")[2]


_ROWS: Final[Mapping[What, Callable[[Snapshot, int], Iterable[Cells]]]] = {
    "accounts": _accounts,
    "merchants": _merchants,
    "payments": _payments,
    "holds": _holds,
    "refunds": _refunds,
    "postings": _postings,
}
