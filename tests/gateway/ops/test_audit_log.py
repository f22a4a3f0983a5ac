"""The audit log: whatever is done to it afterwards is found."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import lmdb
import msgspec
import pytest
import trio

from gateway.ops import audit_log
from gateway.ops.audit_log import START, Audited, Kept, append, verify
from gateway.ops.office import ENTRIES_AT_ONCE, Office
from storage.cabinet import Cabinet, Writing
from storage.row import AUDIT
from tests.gateway.ops.tampering import Rows, tamper

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

ENTRIES = 7


def write_one(writing: Writing, number: int) -> None:
    append(writing, number, "duty-1", "admin", "get_actor", subject="x", outcome="200")


def write(cabinet: Cabinet, count: int = ENTRIES) -> None:
    for number in range(count):
        cabinet.write(partial(write_one, number=number))


def check(cabinet: Cabinet, kept: Kept | None = None) -> Audited:
    snapshot = cabinet.snapshot()
    try:
        return verify(snapshot, kept)
    finally:
        snapshot.close()


def test_log_that_nobody_touched_verifies(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path / "ops")
    assert check(cabinet) == Audited(True, 0, START.hex())
    write(cabinet)
    first = check(cabinet)
    assert (first.ok, first.rows) == (True, ENTRIES)
    cabinet.close()
    cabinet = Cabinet(tmp_path / "ops")
    assert check(cabinet, Kept(first.rows, first.head)) == first
    write(cabinet, 2)
    later = check(cabinet, Kept(first.rows, first.head))
    assert (later.ok, later.rows) == (True, ENTRIES + 2)
    assert later.head != first.head
    cabinet.close()


def _change(rows: Rows) -> None:
    key = (4).to_bytes(8, "big")
    entry = msgspec.msgpack.decode(rows[key][32:], type=audit_log.Entry)
    other = msgspec.structs.replace(entry, operator="duty-2")
    rows[key] = rows[key][:32] + msgspec.msgpack.encode(other)


def _take_out(rows: Rows) -> None:
    del rows[(4).to_bytes(8, "big")]


def _close_the_gap(rows: Rows) -> None:
    left = [payload for number, payload in enumerate(rows.values(), 1) if number != 4]
    rows.clear()
    rows.update({number.to_bytes(8, "big"): each for number, each in enumerate(left, 1)})


def _swap(rows: Rows) -> None:
    first, second = (3).to_bytes(8, "big"), (5).to_bytes(8, "big")
    rows[first], rows[second] = rows[second], rows[first]


def _put_in(rows: Rows) -> None:
    rows[(ENTRIES + 1).to_bytes(8, "big")] = rows[ENTRIES.to_bytes(8, "big")]


def _begin_later(rows: Rows) -> None:
    del rows[(1).to_bytes(8, "big")]


def _cut_short(rows: Rows) -> None:
    del rows[ENTRIES.to_bytes(8, "big")]


def _spoil(rows: Rows) -> None:
    rows[(2).to_bytes(8, "big")] = b"short"


@pytest.mark.parametrize(
    ("how", "sound"),
    [
        (_change, 3),
        (_take_out, 3),
        (_close_the_gap, 3),
        (_swap, 2),
        (_put_in, ENTRIES),
        (_begin_later, 0),
        (_spoil, 1),
    ],
)
def test_tampering_is_found_where_it_begins(
    tmp_path: Path, how: Callable[[Rows], None], sound: int
) -> None:
    cabinet = Cabinet(tmp_path / "ops")
    write(cabinet)
    cabinet.close()
    tamper(tmp_path / "ops", how)
    cabinet = Cabinet(tmp_path / "ops")
    found = check(cabinet)
    assert (found.ok, found.rows) == (False, sound)
    assert found.fault
    cabinet.close()


def test_cut_or_remade_log_is_found_by_who_kept_a_head(tmp_path: Path) -> None:
    """A chain alone cannot show that its end is missing, or that all of it is another."""
    cabinet = Cabinet(tmp_path / "ops")
    write(cabinet)
    before = check(cabinet)
    kept = Kept(before.rows, before.head)
    cabinet.close()
    tamper(tmp_path / "ops", _cut_short)
    cabinet = Cabinet(tmp_path / "ops")
    assert check(cabinet).ok
    cut = check(cabinet, kept)
    assert (cut.ok, cut.rows) == (False, ENTRIES - 1)
    assert cut.fault == f"there were {ENTRIES} entries once, and {ENTRIES - 1} are left"
    write(cabinet, 3)
    assert check(cabinet).ok
    other = check(cabinet, kept)
    assert (other.ok, other.rows) == (False, ENTRIES)
    assert other.fault == f"up to entry {ENTRIES} it is not the log that it was"
    cabinet.close()


def test_row_whose_checksum_is_wrong_is_named(tmp_path: Path) -> None:
    cabinet = Cabinet(tmp_path / "ops")
    write(cabinet)
    cabinet.close()
    env = lmdb.open(str(tmp_path / "ops"), max_dbs=8, map_size=1 << 30)
    with env.begin(write=True, db=env.open_db(AUDIT.encode())) as txn:
        key = (5).to_bytes(8, "big")
        row = bytearray(txn.get(key) or b"")
        row[-1] ^= 1
        txn.put(key, bytes(row))
    env.close()
    cabinet = Cabinet(tmp_path / "ops")
    found = check(cabinet)
    assert (found.ok, found.rows) == (False, 4)
    assert "checksum" in found.fault
    cabinet.close()


async def test_node_checks_a_long_log_in_pieces(tmp_path: Path) -> None:
    """Others have their turns between them, and no view is held: a log may be checked for long."""
    office = Office(tmp_path, lambda: 1)
    pieces = 7
    office.cabinet.write(lambda writing: _many(writing, ENTRIES_AT_ONCE * pieces))
    views: list[str] = []

    async def others() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            views.append(office.cabinet._env.readers())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        found = await office.verify()
        assert len(views) >= pieces - 2
        nursery.cancel_scope.cancel()
    assert all("no active readers" in each for each in views), "a view is held between pieces"
    assert found == check(office.cabinet)
    assert (found.ok, found.rows) == (True, ENTRIES_AT_ONCE * pieces)
    office.close()


def _many(writing: Writing, count: int) -> None:
    for number in range(count):
        write_one(writing, number)


async def test_row_that_was_put_in_between_two_pieces_is_found(tmp_path: Path) -> None:
    """Its key is behind that of an entry and before that of the next; a page would show it."""
    office = Office(tmp_path, lambda: 1)
    office.cabinet.write(lambda writing: _many(writing, ENTRIES_AT_ONCE + 1))
    office.close()
    last = ENTRIES_AT_ONCE.to_bytes(8, "big")
    tamper(tmp_path / "ops", lambda rows: rows.update({last + b"\0": rows[last]}))
    found = await office.verify()
    assert found == check(office.cabinet)
    assert (found.ok, found.rows) == (False, ENTRIES_AT_ONCE)
    office.close()
