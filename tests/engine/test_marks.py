"""Marks: a request comes once, before and after a crash, and what is over is forgotten."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.clock import DomainClock
from engine.dates import ClosedDate, CutDay
from engine.fault import ACTOR_BUSY, DISK_NEARLY_FULL, INTERNAL, TIMEOUT
from engine.limits import Limits
from engine.marks import MARGIN_S, WINDOW_S, Mark, Marks
from engine.node import Node
from storage import lmdb_store
from storage.errors import CorruptRowError
from storage.folder import Folder, backup, release
from storage.row import MARKS
from storage.store import CommitTimes, Store, Writes
from tests.engine.purses import (
    KINDS,
    MIDNIGHT_NS,
    SECOND_NS,
    GatedStore,
    Give,
    Given,
    Look,
    Misbehave,
    Purse,
    RecordingStore,
    Remind,
    balances,
    killed,
    memory_store,
    running,
    settled,
)
from tests.engine.shards import SHARDS, new_stores, on, reopened, running_node
from tests.storage.stores import make, opened, put

NOW_S = MIDNIGHT_NS // SECOND_NS
OVER_S = WINDOW_S + MARGIN_S + 1


def mark(n: int, created_s: int = NOW_S) -> Mark:
    return Mark(created_s, n.to_bytes(16, "big"))


def row(of: Mark) -> bytes:
    return of.created_s.to_bytes(4, "big") + of.key


def rows(store: Store) -> list[bytes]:
    """Return the marks of a store; each is a key and nothing else."""
    snapshot = store.snapshot()
    found = list(snapshot.scan(MARKS))
    snapshot.close()
    assert all(payload == b"" for _, payload in found)
    return [key for key, _ in found]


# The memory.


def test_mark_is_taken_once() -> None:
    marks = Marks(NOW_S)
    assert marks.take(NOW_S, b"a" * 16, NOW_S)
    assert not marks.take(NOW_S, b"a" * 16, NOW_S)
    assert marks.take(NOW_S, b"b" * 16, NOW_S)
    assert marks.take(NOW_S + 1, b"a" * 16, NOW_S), "it is of another request"
    assert marks.seen(NOW_S, b"a" * 16)
    assert not marks.seen(NOW_S + 1, b"b" * 16)
    assert len(marks) == 3


@pytest.mark.parametrize(
    ("ahead_s", "taken"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)]
)
def test_request_is_taken_within_the_window_only(ahead_s: int, taken: bool) -> None:
    assert Marks(NOW_S).take(NOW_S + ahead_s, b"a" * 16, NOW_S) is taken


@pytest.mark.parametrize(("later_s", "remembered"), [(-1, False), (0, False), (1, True)])
def test_read_of_the_second_in_which_the_process_began_is_not_remembered(
    later_s: int, remembered: bool
) -> None:
    """The process before it may have ended in that second, and have answered one by then."""
    assert Marks(NOW_S).remembers(NOW_S + later_s) is remembered


def test_marks_are_forgotten_second_by_second_and_refused_from_then_on() -> None:
    marks = Marks(NOW_S)
    for second in range(10):
        assert marks.take(NOW_S + second, b"a" * 16, NOW_S + second)
    assert marks.take(NOW_S + WINDOW_S + 4, b"a" * 16, NOW_S + WINDOW_S + 4)
    assert len(marks) == 7
    for second in range(10):
        assert marks.seen(NOW_S + second, b"a" * 16), second
        assert marks.seen(NOW_S + second, b"b" * 16) is (second < 4), second
        assert not marks.take(NOW_S + second, b"a" * 16, NOW_S), "the clock was set back"


def test_bound_forgets_the_oldest_second_and_refuses_it() -> None:
    """A memory that is full takes new requests, and never one that it has taken before."""
    marks = Marks(NOW_S, most=100)
    for n in range(100):
        assert marks.take(NOW_S + n // 40, n.to_bytes(16, "big"), NOW_S)
    assert marks.take(NOW_S + 3, b"a" * 16, NOW_S)
    assert len(marks) == 61
    assert marks.floor_s == NOW_S + 1
    assert not marks.take(NOW_S, b"b" * 16, NOW_S)
    assert not marks.take(NOW_S + 1, (40).to_bytes(16, "big"), NOW_S)


requests = st.lists(
    st.tuples(st.integers(-8, 8), st.integers(0, 2), st.integers(-12, 12)), max_size=80
)


@given(requests, st.sampled_from([3, 20, 1_000]), st.sampled_from([0, 4]))
def test_marks_agree_with_a_list_whatever_the_clock_does(
    schedule: list[tuple[int, int, int]], most: int, window_s: int
) -> None:
    """The clock goes both ways. A mark is refused where it was taken before, where its second lies
    before any window that there was, or beyond the one that there is; else it is taken. With a
    bound it may be refused besides, and memory stays below it."""
    marks = Marks(1_000, window_s=window_s, most=most)
    taken: list[tuple[int, int]] = []
    now_s = newest_s = 1_000
    for ahead_s, key, step_s in schedule:
        now_s += step_s
        newest_s = max(newest_s, now_s)
        created_s = now_s + ahead_s
        expected = (
            (created_s, key) not in taken
            and newest_s - window_s <= created_s <= now_s + window_s
        )  # fmt: skip
        got = marks.take(created_s, bytes([key] * 16), now_s)
        assert got <= expected
        assert got == expected or most < 1_000
        assert len(marks) <= most
        if got:
            taken.append((created_s, key))
    if most == 1_000:
        assert len(marks) == sum(second >= newest_s - window_s for second, _ in taken)


@given(
    st.lists(st.tuples(st.integers(900, 1_100), st.integers(0, 5)), max_size=60, unique=True),
    st.sampled_from([10, 1_000]),
    st.data(),
)
def test_recalled_marks_are_refused(
    left: list[tuple[int, int]], most: int, data: st.DataObject
) -> None:
    marks = Marks(1_000, window_s=50, most=most)
    halves = data.draw(st.integers(0, len(left)))
    for half in (left[:halves], left[halves:]):
        marks.recall(second.to_bytes(4, "big") + bytes([key] * 16) for second, key in half)
    assert len(marks) <= most
    for second, key in left:
        assert not marks.take(second, bytes([key] * 16), 1_000)
    assert marks.take(1_050, bytes([9] * 16), 1_000) or marks.floor_s > 1_050


# The rows.


async def test_mark_is_in_the_commit_of_the_first_turn(tmp_path: Path) -> None:
    """What each commit leaves on the disk, as a process that begins then finds it."""
    store = make(tmp_path / "s", 64 << 20)
    left: list[Path] = []
    commit = store._commit

    def copied(writes: Writes, aside: Any) -> CommitTimes:
        times = commit(writes, aside)
        left.append(tmp_path / f"left-{len(left)}")
        left[-1].mkdir()
        store._env.copy(str(left[-1]))
        return times

    store._commit = copied  # type: ignore[method-assign]
    async with running(store, marks=Marks(NOW_S)) as shard:
        for n in range(12):
            shard.submit("purse/bank", Give(f"purse/{n}", 1), lambda _: None, mark=mark(n))
            if n % 3 == 0:
                await settled()
            if n % 5 == 0:
                await shard.ask("purse/bank", Look())
    store.release()
    assert len(left) > 3
    for path in left:
        there = opened(path, 64 << 20)
        gone = {name for name in balances(there) if name != "bank"}
        assert {int.from_bytes(key[4:], "big") for key in rows(there)} >= {int(n) for n in gone}
        assert len(rows(there)) == -balances(there)["bank"]
        there.release()


async def test_crash_leaves_mark_and_command_or_neither() -> None:
    store = RecordingStore()
    async with killed(store, Limits(batch_s=0.0, slice_s=0.0), marks=Marks(NOW_S)) as shard:
        for n in range(20):
            shard.submit("purse/bank", Give(f"purse/{n}", 1), lambda _: None, mark=mark(n))
        await shard.ask("purse/bank", Look())
    assert len(store.left) > 5
    for left in store.left:
        assert len(rows(left)) == -balances(left).get("bank", 0)


async def test_restart_recalls_what_commands_left(tmp_path: Path) -> None:
    """Also from a backup; what the memory alone had is gone, as a read's."""
    with_folder = Folder(tmp_path / "data", create=True)
    with_folder.create("2026-01-01", MIDNIGHT_NS, shards=SHARDS, map_bytes=64 << 20)
    stores = with_folder.open(map_bytes=64 << 20)
    for store in stores:
        store.begin_epoch()
    node = Node(stores, KINDS, DomainClock(MIDNIGHT_NS), marks=Marks(NOW_S))
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        for shard in range(SHARDS):
            assert node.marks.take(NOW_S, mark(shard).key, NOW_S)
            await node.ask("purse/bank", Give(on(shard), 5))
            answer = await node.ask(on(shard), Give("purse/bank", 1), mark=mark(shard))
            assert isinstance(answer, Given)
        assert node.marks.take(NOW_S, mark(9).key, NOW_S)
        snapshots = await node.snapshots()
        backup(stores, snapshots, tmp_path / "backup")
        for snapshot in snapshots:
            snapshot.close()
        nursery.cancel_scope.cancel()
    release(stores)
    restored = Folder(tmp_path / "restored", create=True)
    restored.restore(tmp_path / "backup")
    for folder in (with_folder, restored):
        stores = folder.open(map_bytes=64 << 20)
        assert [len(rows(store)) for store in stores] == [1] * SHARDS
        marks = Node(stores, KINDS, DomainClock(MIDNIGHT_NS), marks=Marks(NOW_S + 60)).marks
        for shard in range(SHARDS):
            assert not marks.take(NOW_S, mark(shard).key, NOW_S + 60)
        assert marks.take(NOW_S, mark(9).key, NOW_S + 60)
        release(stores)
        folder.close()


async def test_rows_that_are_over_go_with_the_batches_of_others(tmp_path: Path) -> None:
    """The oldest first, some with each commit, and for none of them is there a commit."""
    store = make(tmp_path / "s", 64 << 20)
    marks = Marks(NOW_S)
    async with running_node([store], marks=marks) as node:
        for n in range(700):
            assert marks.take(NOW_S + n // 350, mark(n).key, NOW_S)
            node.submit(
                "purse/bank", Give("purse/a", 1), lambda _: None, mark=mark(n, NOW_S + n // 350)
            )
        await node.ask("purse/bank", Look())
        await settled()
        assert len(rows(store)) == 700
        assert marks.take(NOW_S + OVER_S, b"a" * 16, NOW_S + OVER_S)
        await node.ask("purse/bank", Look())
        assert len(rows(store)) == 700, "nothing was written"
        left = []
        for _ in range(4):
            await node.ask("purse/bank", Give("purse/a", 1))
            left.append(len(rows(store)))
        assert left == [444, 350, 350, 350]
        assert marks.take(NOW_S + 2 * OVER_S, b"a" * 16, NOW_S + 2 * OVER_S)
        last = mark(1_000, NOW_S + 2 * OVER_S)
        await node.ask("purse/bank", Give("purse/a", 1), mark=last)
        assert len(rows(store)) == 350 + 1 - 257
        await node.ask("purse/bank", Give("purse/a", 1))
        assert rows(store) == [row(last)]
    again = opened_node(store.path)
    assert not again.marks.take(last.created_s, last.key, last.created_s)
    release([again.shards[0].store])  # type: ignore[list-item]


def opened_node(path: Path) -> Node:
    marks = Marks(NOW_S + 2 * OVER_S)
    return Node([opened(path, 64 << 20)], KINDS, DomainClock(MIDNIGHT_NS), marks=marks)


async def test_rows_of_an_earlier_process_are_forgotten_too() -> None:
    store = memory_store()
    async with running(store, marks=Marks(NOW_S)) as shard:
        await shard.ask("purse/bank", Give("purse/a", 1), mark=mark(1))
    async with running_node([store.reopened()], marks=Marks(NOW_S + OVER_S)) as node:
        await node.ask("purse/bank", Give("purse/a", 1))
        assert rows(node.shards[0].store) == []


async def test_marks_of_one_request_on_several_shards_are_stored_on_each_once() -> None:
    """An array of commands: each shard has the row with the first effect, and no second one."""
    stores = new_stores()
    one, other = mark(1), mark(2)
    async with running_node(stores, marks=Marks(NOW_S)) as node:
        for shard in range(SHARDS):
            await node.ask("purse/bank", Give(on(shard), 9))
        written = [0] * SHARDS

        def counted(shard: int, writes: Writes) -> None:
            written[shard] += row(one) in writes.rows.get(MARKS, {})

        for shard, store in enumerate(stores):
            watch(store, shard, counted)
        for n in range(2 * SHARDS):
            assert isinstance(
                await node.ask(on(n % SHARDS), Give(on(n % SHARDS, "q"), 1), mark=one), Given
            )
            assert [rows(store) for store in stores[: n + 1]] == [[row(one)]] * min(n + 1, SHARDS)
        assert written == [1] * SHARDS
        await node.ask(on(1), Give(on(1, "q"), 1), mark=other)
    assert [rows(store) for store in stores] == [[row(one)], [row(one), row(other)], [row(one)]]
    marks = Node(reopened(stores), KINDS, DomainClock(MIDNIGHT_NS), marks=Marks(NOW_S)).marks
    assert len(marks) == 2


def watch(store: Any, shard: int, told: Any) -> None:
    """Have `told` hear of each commit of a store."""
    commit = store.commit_now

    def watched(writes: Writes) -> CommitTimes:
        told(shard, writes)
        times: CommitTimes = commit(writes)
        return times

    store.commit_now = watched


async def test_refusal_at_the_door_stores_nothing_and_the_next_command_does() -> None:
    store = GatedStore()
    one = mark(1)
    told: list[Any] = []
    async with running(store, Limits(actor_unconfirmed_max=1), marks=Marks(NOW_S)) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 1), told.append)
        assert shard.submit("purse/bank", Look(), told.append, mark=one) is ACTOR_BUSY
        store.let()
        await settled()
        store.room = False
        await shard.ask("purse/bank", Give("purse/a", 1))
        assert shard.submit("purse/bank", Look(), told.append, mark=one) is DISK_NEARLY_FULL
        store.room = True
        await settled()
        assert (rows(store), one.staged) == ([], 0)
        await trio.sleep(0.2)
        await shard.ask("purse/bank", Give("purse/a", 1), mark=one)
    assert rows(store) == [row(one)]


async def test_command_that_expired_stores_nothing(autojump_clock: MockClock) -> None:
    store = GatedStore()
    one = mark(1)
    told: list[Any] = []
    async with running(store, marks=Marks(NOW_S)) as shard:
        now = trio.current_time()
        shard.submit("purse/bank", Give("purse/a", 1), told.append, deadline=now, mark=one)
        await settled()
        assert told == [TIMEOUT]
        await shard.ask("purse/bank", Give("purse/a", 1))
        assert rows(store) == []
        await shard.ask("purse/bank", Give("purse/a", 1), mark=one)
    assert rows(store) == [row(one)]


async def test_first_turn_that_fails_stores_nothing_and_the_next_command_does() -> None:
    """Of an array the first command may fail; what the second does must not be without a mark."""
    store = RecordingStore()
    one = mark(1)
    async with running(store, marks=Marks(NOW_S)) as shard:
        assert await shard.ask("purse/bank", Misbehave("raise"), mark=one) is INTERNAL
        assert rows(store) == []
        await shard.ask("purse/bank", Give("purse/a", 1), mark=one)
    assert rows(store) == [row(one)]
    assert [len(rows(left)) for left in store.left[-2:]] == [0, 1]


async def test_command_that_changes_nothing_stores_its_mark_before_it_is_answered() -> None:
    """A refusal must be given once, too: later the same command might be carried out."""
    store = GatedStore()
    told: list[Any] = []
    async with running(store, marks=Marks(NOW_S)) as shard:
        store.held = True
        shard.submit("purse/a", Look(), told.append, mark=mark(1))
        await settled()
        assert told == []
        store.let()
        await settled()
        assert told == [Purse()]
        assert rows(store) == [row(mark(1))]


async def test_commands_without_a_mark_write_none() -> None:
    stores = new_stores()
    async with running_node(stores, marks=Marks(NOW_S)) as node:
        await node.ask("purse/bank", Give(on(1), 1))
    assert not any(rows(store) for store in stores)


async def test_command_that_waits_for_its_time_keeps_its_mark() -> None:
    """On a domain clock it stands with the timekeeper until timers before it have fired."""
    stores = new_stores()
    at_ns = MIDNIGHT_NS + 60 * SECOND_NS
    async with running_node(stores, marks=Marks(NOW_S)) as node:
        await node.ask("purse/bank", Remind(at_ns - 1, on(1), 3))
        await node.ask("purse/bank", Give(on(2), 1), at_ns=at_ns, mark=mark(1))
    assert sorted(key for store in stores for key in rows(store)) == [row(mark(1))]


async def test_day_cut_stores_its_mark_on_every_shard() -> None:
    stores = new_stores()
    async with running_node(stores, marks=Marks(NOW_S)) as node:
        cut = CutDay(date(2026, 1, 1).isoformat())
        assert isinstance(await node.ask_control(cut, mark=mark(1)), ClosedDate)
    assert [rows(store) for store in stores] == [[row(mark(1))]] * SHARDS


def test_row_that_is_no_mark_refuses_to_open(tmp_path: Path) -> None:
    store = make(tmp_path / "s", 64 << 20)
    key = row(mark(1))[:-1]
    put(store, {MARKS: {key: b""}})
    with pytest.raises(CorruptRowError, match="a mark has 20 bytes"):
        Node([store], KINDS, DomainClock(MIDNIGHT_NS), marks=Marks(NOW_S))
    store.release()


def test_marks_of_a_store_of_an_earlier_program_are_empty(tmp_path: Path) -> None:
    """It has no such table until it is written to."""
    path = tmp_path / "s"
    drop_marks(path)
    for write in (False, True):
        store = opened(path, 64 << 20) if write else lmdb_store.open_store(path, 64 << 20)
        assert rows(store) == []
        assert store.snapshot().count(MARKS) == 0
        assert list(store.snapshot().raw(MARKS)) == []
        if write:
            put(store, {MARKS: {row(mark(1)): b""}})
            assert rows(store) == [row(mark(1))]
        store.release()
        drop_marks(path)
        looked = lmdb_store.Look(path)
        assert list(looked.snapshot().scan(MARKS)) == []
        looked.release()


def drop_marks(path: Path) -> None:
    """Make a store as the program made it before there were marks."""
    if not path.exists():
        make(path, 64 << 20).release()
    env = lmdb_store._open_env(path, 64 << 20)
    with env.begin(write=True) as txn:
        txn.drop(env.open_db(MARKS.encode(), txn=txn))
    env.close()


def seconds(keys: Sequence[bytes]) -> list[int]:
    return [int.from_bytes(key[:4], "big") for key in keys]


async def test_rows_lie_in_order_of_time() -> None:
    store = memory_store()
    async with running(store, marks=Marks(NOW_S)) as shard:
        for n in (5, 1, 3, 2, 4):
            await shard.ask("purse/bank", Give("purse/a", 1), mark=mark(9 - n, NOW_S + n))
    assert seconds(rows(store)) == [NOW_S + n for n in (1, 2, 3, 4, 5)]
