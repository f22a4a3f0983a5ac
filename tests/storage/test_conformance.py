"""Both stores do the same with the same writes, byte for byte."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import CommitError, CorruptRowError, StorageError
from storage.journal import open_page
from storage.memory import MemoryStore
from storage.row import ACTORS, COMMITS, JOURNAL, OUTBOX, RECORDS, TABLES
from storage.store import Store
from storage.verify import Verification
from tests.storage.stores import DATE, FORMAT, both, make, opened, posting, put, writes


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore(FORMAT, DATE) if request.param == "memory" else make(tmp_path / "s")
    yield made
    made.close(clean=False)


def test_new_store_holds_its_first_commit(store: Store) -> None:
    assert (store.epoch, store.was_clean) == (1, True)
    assert (store.last.sequence, store.last.business_date) == (0, DATE)
    assert store.snapshot().count(COMMITS) == 1
    assert store.format == FORMAT


def test_row_is_put_replaced_and_deleted(store: Store) -> None:
    put(store, {ACTORS: {b"a": b"1", b"b": b"2"}, OUTBOX: {b"a": b"3"}})
    put(store, {ACTORS: {b"a": b"4", b"b": None, b"none": None}})
    snapshot = store.snapshot()
    assert list(snapshot.scan(ACTORS)) == [(b"a", b"4")]
    assert snapshot.get(OUTBOX, b"a") == b"3"
    assert snapshot.get(ACTORS, b"b") is None
    assert (snapshot.count(ACTORS), snapshot.count(RECORDS)) == (1, 0)


def test_view_stays_as_it_was_opened(store: Store) -> None:
    put(store, {ACTORS: {b"a": b"1"}})
    view = store.snapshot()
    scan = view.scan(ACTORS)
    put(store, {ACTORS: {b"a": b"2", b"b": b"2"}})
    assert list(scan) == [(b"a", b"1")]
    assert view.get(ACTORS, b"a") == b"1"
    assert view.count(ACTORS) == 1


def test_closed_view_is_an_error_not_a_value(store: Store) -> None:
    put(store, {ACTORS: {b"a": b"1", b"b": b"1"}})
    view = store.snapshot()
    scan = view.scan(ACTORS)
    next(scan)
    view.close()
    view.close()
    for look in (
        lambda: view.get(ACTORS, b"a"),
        lambda: next(scan),
        lambda: next(view.raw(ACTORS)),
        lambda: view.count(ACTORS),
        lambda: view.seeking(ACTORS)(b"a"),
    ):
        with pytest.raises(StorageError):
            look()


def test_seeking_finds_the_first_key_that_is_not_below(store: Store) -> None:
    put(store, {ACTORS: {b"a": b"1", b"c": b"2"}})
    seek = store.snapshot().seeking(ACTORS)
    assert [seek(key) for key in (b"c", b"b", b"c\0", b"a", b"a\0", b"0")] == [
        b"c", b"c", None, b"a", b"c", b"a"
    ]  # fmt: skip
    assert store.snapshot().seeking(RECORDS)(b"a") is None


@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_key_that_is_none_is_an_error(store: Store, key: bytes) -> None:
    with pytest.raises(CommitError):
        put(store, {ACTORS: {key: b"1"}})
    with pytest.raises(CommitError):
        put(store, {ACTORS: {b"a": b"1"}})


def test_look_for_a_key_that_is_none_finds_nothing(store: Store) -> None:
    assert store.snapshot().get(ACTORS, b"k" * 512) is None
    with pytest.raises(StorageError):
        store.snapshot().get(ACTORS, b"")


def test_longest_key_is_kept(store: Store) -> None:
    put(store, {ACTORS: {b"k" * 511: b"1"}})
    assert store.snapshot().get(ACTORS, b"k" * 511) == b"1"


def test_postings_and_chain_verify(store: Store) -> None:
    for size in (0, 1, 3, 400):
        put(store, {ACTORS: {b"a": b"1"}}, [posting(n - (size - 1) // 2) for n in range(size)])
    verification = Verification(store.snapshot())
    found = [sequence for sequence, _ in verification.postings()]
    assert found == list(range(1, 405))
    assert verification.chain_head == store.last.chain
    assert [each.invariant for each in verification.damages if each.invariant != "sums"] == []


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (b"", None),
        (b"", b""),
        (b"a", b"a"),
        (b"b", b"a"),
        (b"a", b"b"),
        (b"", b"a"),
        (b"aa", b"c"),
        (b"b", None),
        (b"bb", None),
        (b"z", None),
        (b"", b"z"),
        (b"c", b"c\0"),
        (b"d", b"\xff" * 9),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("keys", [[], [b"a", b"b", b"c"]])
def test_scan_gives_what_lies_between(
    store: Store, keys: list[bytes], start: bytes, stop: bytes | None, reverse: bool
) -> None:
    put(store, {ACTORS: {key: key for key in keys}})
    expected = [key for key in keys if key >= start and (stop is None or key < stop)]
    found = [key for key, _ in store.snapshot().scan(ACTORS, start, stop, reverse=reverse)]
    assert found == (expected[::-1] if reverse else expected)


async def test_commit_without_holding_up_the_loop_does_the_same(store: Store) -> None:
    await store.commit(writes(store, {ACTORS: {b"a": b"1"}}))
    assert store.snapshot().get(ACTORS, b"a") == b"1"
    assert store.last.sequence == 1


keys = st.one_of(
    st.binary(min_size=1, max_size=3), st.sampled_from([b"\0", b"\xff", b"a", b"a\0", b"b" * 511])
)
amounts = st.tuples(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from([0, 10, 3_000]))
tables = st.sampled_from([ACTORS, RECORDS, OUTBOX])
payloads = st.one_of(st.none(), st.binary(max_size=40))
batches = st.tuples(
    st.dictionaries(tables, st.dictionaries(keys, payloads, max_size=6), max_size=3),
    st.lists(amounts, max_size=5),
)
edges = st.one_of(st.just(b""), keys)
scans = st.tuples(edges, st.one_of(st.none(), edges), st.booleans())


@settings(max_examples=60)
@given(st.lists(batches, max_size=5), st.lists(scans, max_size=5))
def test_stores_agree_on_random_writes(written: list[Any], looks: list[Any]) -> None:
    """Rows, journal, chain, scans and what a crash leaves are the same in both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        with both(path) as (memory, durable):
            for rows, amounts in written:
                postings = [posting(amount, "r" * size) for amount, size in amounts]
                put(memory, rows, postings)
                put(durable, rows, postings)
                assert memory.last == durable.last
            _compare(memory, durable, looks)
        left = opened(path, 64 << 20)
        again = memory.reopened()
        assert (left.last, left.epoch, left.was_clean) == (again.last, again.epoch, again.was_clean)
        _compare(again, left, looks)
        left.release()


def _compare(one: Store, other: Store, looks: list[Any]) -> None:
    mine, theirs = one.snapshot(), other.snapshot()
    for table in TABLES[1:]:
        assert list(mine.raw(table)) == list(theirs.raw(table))
        assert mine.count(table) == theirs.count(table)
        for start, stop, reverse in looks:
            found = list(mine.scan(table, start, stop, reverse=reverse))
            assert found == list(theirs.scan(table, start, stop, reverse=reverse))
    for row in mine.scan(JOURNAL):
        list(open_page(*row))
    mine.close()
    theirs.close()


def test_checksum_error_names_the_row() -> None:
    store = MemoryStore(FORMAT, DATE)
    put(store, {ACTORS: {b"a": b"1"}})
    store._tables[ACTORS][b"b"] = store._tables[ACTORS][b"a"]
    with pytest.raises(CorruptRowError, match="corrupt row in actors, key b:"):
        store.snapshot().get(ACTORS, b"b")
