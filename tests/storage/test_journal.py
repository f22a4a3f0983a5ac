"""The journal: postings fill pages without a gap, and no change to them goes unseen."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storage.errors import CorruptRowError
from storage.journal import (
    ARRAY16,
    PAGE_BYTES,
    chained,
    encode,
    first_commit,
    open_commit,
    open_page,
    page_postings,
    pages,
    posting_at,
    sequence_key,
)
from storage.memory import MemoryStore
from storage.row import COMMITS, JOURNAL, seal, unseal
from storage.verify import Verification
from tests.storage.stores import DATE, FORMAT, posting, put

OVERHEAD = len(posting(0, ""))


def sized(size: int) -> bytes:
    """Return a posting of so many bytes."""
    for length in range(max(0, size - OVERHEAD - 5), size):
        made = posting(0, "r" * length)
        if len(made) == size:
            return made
    raise AssertionError(f"no posting has {size} bytes")


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([], []),
        ([100], [1]),
        ([PAGE_BYTES], [1]),
        ([PAGE_BYTES + 1], [1]),
        ([20 * PAGE_BYTES], [1]),
        ([PAGE_BYTES - 100, 100], [2]),
        ([PAGE_BYTES - 100, 101], [1, 1]),
        ([100, PAGE_BYTES], [1, 1]),
        ([PAGE_BYTES, 100], [1, 1]),
        ([100, 5 * PAGE_BYTES, 100, 100], [1, 1, 2]),
        ([5 * PAGE_BYTES] * 3, [1, 1, 1]),
        ([100] * 81, [40, 40, 1]),
    ],
)
def test_page_ends_before_it_grows_too_large(sizes: list[int], counts: list[int]) -> None:
    postings = [sized(size) for size in sizes]
    made = list(pages(7, postings))
    firsts = [7 + sum(counts[:n]) for n in range(len(counts))]
    assert [key for key, _ in made] == [sequence_key(first) for first in firsts]
    assert [page_postings(*page)[0] for page in made] == counts
    assert b"".join(page_postings(*page)[1] for page in made) == b"".join(postings)
    assert [n for page in made for n, _ in open_page(*page)] == list(range(7, 7 + len(sizes)))


@given(st.lists(st.integers(0, 2 * PAGE_BYTES), max_size=30), st.integers(1, 2**40))
def test_pages_hold_every_posting_once(lengths: list[int], first: int) -> None:
    postings = [posting(n, "r" * length) for n, length in enumerate(lengths)]
    opened = [each for page in pages(first, postings) for each in open_page(*page)]
    assert [(n, encode(found)) for n, found in opened] == list(enumerate(postings, first))


@pytest.mark.parametrize("payload", [b"", b"\xdc", b"\xdc\0", b"\xc0", b"\x93\1\2\3"])
def test_page_of_another_form_is_corrupt(payload: bytes) -> None:
    key = sequence_key(1)
    with pytest.raises(CorruptRowError):
        list(open_page(key, payload))
    with pytest.raises(CorruptRowError):
        page_postings(key, payload)


def test_commit_under_another_sequence_is_corrupt() -> None:
    payload = encode(first_commit(0, DATE))
    assert open_commit(sequence_key(0), payload).sequence == 0
    for key, changed in ((sequence_key(1), payload), (sequence_key(0), b"\xc0")):
        with pytest.raises(CorruptRowError):
            open_commit(key, changed)


def filled() -> MemoryStore:
    store = MemoryStore(FORMAT, DATE)
    for count in (3, 0, 200, 1):
        put(store, {}, [posting(n) for n in range(count)])
    return store


def test_posting_is_found_by_its_sequence() -> None:
    snapshot = filled().snapshot()
    found = [posting_at(snapshot, n) for n in range(206)]
    amounts = [each and each.amount_minor for each in found]
    assert amounts == [None, *range(3), *range(200), 0, None]


def _posting_changed(store: MemoryStore) -> None:
    key, row = sorted(store._tables[JOURNAL].items())[1]
    payload = bytearray(unseal(JOURNAL, key, row))
    payload[payload.index(b"CNY")] ^= 1
    store._tables[JOURNAL][key] = seal(JOURNAL, key, bytes(payload))


def _postings_swapped(store: MemoryStore) -> None:
    key, row = min(store._tables[JOURNAL].items())
    one, two, three = (encode(each) for _, each in open_page(key, unseal(JOURNAL, key, row)))
    payload = ARRAY16 + b"\0\3" + two + one + three
    store._tables[JOURNAL][key] = seal(JOURNAL, key, payload)


def _posting_put_in(store: MemoryStore) -> None:
    key, row = min(store._tables[JOURNAL].items())
    payload = ARRAY16 + b"\0\4" + unseal(JOURNAL, key, row)[3:] + posting(9)
    store._tables[JOURNAL][key] = seal(JOURNAL, key, payload)


def _posting_dropped(store: MemoryStore) -> None:
    key, row = min(store._tables[JOURNAL].items())
    one, two, _ = (encode(each) for _, each in open_page(key, unseal(JOURNAL, key, row)))
    store._tables[JOURNAL][key] = seal(JOURNAL, key, ARRAY16 + b"\0\2" + one + two)


def _page_dropped(store: MemoryStore) -> None:
    del store._tables[JOURNAL][sorted(store._tables[JOURNAL])[1]]


def _newest_page_dropped(store: MemoryStore) -> None:
    del store._tables[JOURNAL][max(store._tables[JOURNAL])]


def _page_put_at_the_end(store: MemoryStore) -> None:
    key = sequence_key(205)
    ((_, payload),) = pages(205, [posting(1)])
    store._tables[JOURNAL][key] = seal(JOURNAL, key, payload)


def _commit_dropped(store: MemoryStore) -> None:
    del store._tables[COMMITS][sequence_key(2)]


def _newest_commit_dropped(store: MemoryStore) -> None:
    del store._tables[COMMITS][sequence_key(4)]


def _commit_changed(store: MemoryStore) -> None:
    key = sequence_key(2)
    commit = open_commit(key, unseal(COMMITS, key, store._tables[COMMITS][key]))
    store._tables[COMMITS][key] = seal(COMMITS, key, encode(replace(commit, now_ns=1)))


def _commit_linked_anew(store: MemoryStore) -> None:
    """Change a commit and its own link, but not those after it."""
    rows = store._tables[COMMITS]
    before, commit = (
        open_commit(key, unseal(COMMITS, key, rows[key])) for key in map(sequence_key, (1, 2))
    )
    forged = replace(commit, now_ns=1)
    forged = replace(forged, chain=chained(before.chain, forged, []))
    rows[sequence_key(2)] = seal(COMMITS, sequence_key(2), encode(forged))


def _commit_put_in(store: MemoryStore) -> None:
    key = sequence_key(5)
    commit = replace(store.last, sequence=5, postings=0, posting_first=205)
    store._tables[COMMITS][key] = seal(COMMITS, key, encode(commit))


@pytest.mark.parametrize(
    "tamper",
    [
        _posting_changed,
        _postings_swapped,
        _posting_put_in,
        _posting_dropped,
        _page_dropped,
        _newest_page_dropped,
        _page_put_at_the_end,
        _commit_dropped,
        _newest_commit_dropped,
        _commit_changed,
        _commit_linked_anew,
        _commit_put_in,
    ],
)
def test_tampering_breaks_the_chain(tamper: Callable[[MemoryStore], None]) -> None:
    """Every checksum is right: the one who did it knew how to seal a row."""
    store = filled()
    tamper(store)
    verification = Verification(store.snapshot())
    verification.rows()
    assert not verification.damages, "the checksums fit"
    assert len(list(verification.postings())) > 0
    kinds = {damage.invariant for damage in verification.damages} - {"sums"}
    assert kinds & {"chain", "journal-gapless", "commits-gapless"}
