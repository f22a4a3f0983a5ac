"""Totals: the sum over all actors of a kind is durable with the turns that change it."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import MockClock

from engine import totals
from engine.address import row_key
from engine.totals import TOTALS_KEY, Sums, Total, durable_totals, totals_row
from storage.errors import CorruptRowError
from storage.folder import Folder, backup, release
from storage.memory import MemoryStore
from storage.row import META, seal
from storage.store import CommitTimes, Store, Writes
from tests.engine.purses import (
    MIDNIGHT_NS,
    PURSE,
    GatedStore,
    Give,
    Look,
    Misbehave,
    Write,
    give_ok,
    killed,
    memory_store,
    purses,
    running,
    settled,
)

SAVED = Total("saved", lambda purse: max(0, purse.balance_minor), lambda _: "CNY")


def sum_up(total: Total | None, patch: pytest.MonkeyPatch) -> None:
    """Have purses summed, or not, as an earlier program did not."""
    patch.setattr(PURSE, "total", total)
    patch.setattr(PURSE, "summed", None if total is None else total.minor)


@pytest.fixture(autouse=True)
def _summed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        sum_up(SAVED, patch)
        yield


def said(store: Store) -> Sums | None:
    """Return what the store's row says, as of its newest commit."""
    snapshot = store.snapshot()
    try:
        return durable_totals(snapshot, store.last)
    finally:
        snapshot.close()


def saved(store: MemoryStore) -> Sums:
    """Return what its purses say."""
    return {"saved": {"CNY": sum(map(SAVED.minor, purses(store).values()))}}


class CheckedStore(MemoryStore):
    """A store in memory that compares the row with the purses at every commit."""

    rows = 0
    unknown = 0

    def commit_now(self, writes: Writes) -> CommitTimes:
        """See `Store.commit_now`."""
        times = super().commit_now(writes)
        self.rows += TOTALS_KEY in writes.rows.get(META, {})
        known = said(self)
        self.unknown += known is None
        assert known in (None, saved(self))
        return times


def checked(store: MemoryStore) -> CheckedStore:
    """Return a store that checks, as the next process finds this one."""
    again = CheckedStore(store.format, store.last.business_date)
    store.give_content(again)
    return again


def forgotten(store: MemoryStore) -> CheckedStore:
    """Return it without its row, as an earlier program made it."""
    again = checked(store)
    del again._tables[META][TOTALS_KEY]
    return again


async def test_total_is_that_of_all_actors_after_every_commit() -> None:
    """Also where turns fail, messages are parked, and actors are let go and come again."""
    store = checked(memory_store())
    async with running(store) as shard:
        for n in range(5):
            await give_ok(shard, "purse/bank", f"purse/{n}", 10 + n)
        await give_ok(shard, "purse/3", "purse/0", 4)
        await shard.ask("purse/1", Misbehave("raise"))
        await shard.ask("purse/1", Give("purse/broken", 7))
        shard.stage.passivate(0)
        shard.stage.passivate(0)
        await give_ok(shard, "purse/4", "purse/0", 14)
    assert said(store) == {"saved": {"CNY": 10 + 11 + 12 + 13 + 14 - 7}}
    assert store.unknown == 0


async def test_row_is_written_where_a_total_has_changed_and_once_a_start() -> None:
    store = checked(memory_store())
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 5)
        for n in range(3):
            await shard.ask("purse/a", Write("p", str(n), n))
        assert (store.last.sequence, store.rows) == (4, 1)
    store = checked(store)
    async with running(store) as shard:
        assert said(store) == {"saved": {"CNY": 5}}, "before its first commit"
        await shard.ask("purse/a", Write("p", "4", 4))
        assert (store.last.epoch, store.rows) == (store.epoch, 1)
        await shard.ask("purse/a", Write("p", "5", 5))
    assert (store.rows, said(store)) == (1, {"saved": {"CNY": 5}})


@pytest.mark.parametrize("seed", range(5))
async def test_store_without_totals_has_them_added_up_beside_turns(
    seed: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """Whatever moves meanwhile is counted once, whether it has been added up before or not."""
    draw = random.Random(seed)
    monkeypatch.setattr(totals, "ADDED_AT_ONCE", 3)
    store = memory_store()
    numbers = [f"{n}" for n in range(40)]
    async with running(store) as shard:
        for number in numbers[:30]:
            await give_ok(shard, "purse/bank", f"purse/{number}", draw.randrange(1, 50))
    store = forgotten(store)
    async with running(store) as shard:
        assert not shard.stage.totals.complete
        while not shard.stage.totals.complete:
            giver, taker = draw.sample([*numbers, "bank"], 2)
            await shard.ask(f"purse/{giver}", Give(f"purse/{taker}", draw.randrange(1, 9)))
            await trio.sleep(draw.choice((0, 0.01, 0.1)))
        assert store.unknown > 10
        unknown = store.unknown
        await trio.sleep(0.01)
        assert said(store) == saved(store), "it is written though nobody asks for anything"
        await give_ok(shard, "purse/bank", "purse/0", 3)
    assert store.unknown <= unknown + 1
    assert said(store) == saved(store)


async def test_what_is_not_durable_yet_is_added_up_as_it_will_be(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """A commit hangs, and turns go on, while all of them are added up."""
    monkeypatch.setattr(totals, "ADDED_AT_ONCE", 3)
    earlier = memory_store()
    async with running(earlier) as shard:
        for n in range(10):
            await give_ok(shard, "purse/bank", f"purse/{n}", 20)
    store = GatedStore()
    forgotten(earlier).give_content(store)
    async with running(store) as shard:
        store.held = True
        *others, last = sorted((f"purse/{n}" for n in range(10)), key=row_key)
        for address in (last, *others, *others):  # the last one's is in the commit that hangs
            shard.submit("purse/bank", Give(address, 1), lambda _: None)
            await settled()
        assert shard.stage.committing
        assert shard.stage.batch.pending()
        assert not shard.stage.totals.complete
        await trio.sleep(2)
        assert shard.stage.totals.complete
        store.let()
    assert said(store) == {"saved": {"CNY": 10 * 20 + 19}}


async def test_start_that_is_broken_off_begins_to_add_up_anew(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(totals, "ADDED_AT_ONCE", 3)
    store = memory_store()
    async with running(store) as shard:
        for n in range(10):
            await give_ok(shard, "purse/bank", f"purse/{n}", 1)
    store = forgotten(store)
    async with killed(store) as shard:
        await give_ok(shard, "purse/bank", "purse/0", 1)
        assert not shard.stage.totals.complete
    store = checked(store)
    assert said(store) is None
    async with running(store):
        await trio.sleep(1)
        assert said(store) == {"saved": {"CNY": 11}}


async def test_totals_are_added_up_anew_after_a_program_that_knows_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its commits are of a later epoch than the row."""
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 5)
    store = store.reopened()
    with monkeypatch.context() as patch:
        sum_up(None, patch)
        async with running(store) as shard:
            await give_ok(shard, "purse/bank", "purse/b", 6)
    assert said(store) is None
    store = checked(store)
    async with running(store) as shard:
        await give_ok(shard, "purse/a", "purse/b", 1)
    assert said(store) == {"saved": {"CNY": 11}}


async def test_backup_has_the_totals(tmp_path: Path) -> None:
    """On LMDB, over a restore, and no walk is made."""
    folder = Folder(tmp_path / "data", create=True)
    folder.create("2026-01-01", MIDNIGHT_NS, shards=1, map_bytes=64 << 20)
    (store,) = folder.open(map_bytes=64 << 20)
    store.begin_epoch()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 5)
        snapshot = store.snapshot()
        backup([store], [snapshot], tmp_path / "backup")
        snapshot.close()
        await give_ok(shard, "purse/bank", "purse/b", 6)
        assert said(store) == {"saved": {"CNY": 11}}
    release([store])
    restored = Folder(tmp_path / "restored", create=True)
    restored.restore(tmp_path / "backup")
    (store,) = restored.open(map_bytes=64 << 20)
    assert said(store) == {"saved": {"CNY": 5}}
    release([store])


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", msgspec.msgpack.encode([1, {"saved": {"CNY": "much"}}])]
)
async def test_row_that_is_no_row_of_totals_is_named(payload: bytes) -> None:
    store = memory_store()
    store._tables[META][TOTALS_KEY] = seal(META, TOTALS_KEY, payload)
    with pytest.raises(CorruptRowError, match="totals"):
        async with running(store) as shard:
            await shard.ask("purse/a", Look())


def test_row_is_that_of_its_commits_epoch() -> None:
    store = memory_store()
    assert said(store) == {}, "there is nobody yet"
    sums: Sums = {"saved": {"CNY": 3}}
    store._tables[META][TOTALS_KEY] = seal(META, TOTALS_KEY, totals_row(0, sums)[TOTALS_KEY] or b"")
    assert said(store) == sums
    store._tables[META][TOTALS_KEY] = seal(META, TOTALS_KEY, totals_row(1, sums)[TOTALS_KEY] or b"")
    assert said(store) is None
