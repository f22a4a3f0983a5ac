"""The journal: postings in pages, commits in a hash chain.

A posting is a small msgpack array; the postings of a batch are packed into pages of up to 4 KB,
keyed by the sequence of their first posting, so that a thousand postings cost forty puts. Each
commit row holds the SHA-256 over the previous commit's hash, its own header and its postings'
bytes: no posting and no commit can be changed, dropped or put in without breaking the chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from storage.errors import CorruptRowError
from storage.row import COMMITS, JOURNAL

if TYPE_CHECKING:
    from storage.store import Snapshot

PAGE_BYTES: Final = 4_000
"""Payload of one page of postings: with its checksum it fills one page of the file."""
GENESIS: Final = bytes(32)
ARRAY16: Final = b"\xdc"
_HEADER: Final = len(ARRAY16) + 2


class Posting(NamedTuple):
    """One signed entry of one ledger account, as the journal holds it (without its sequence)."""

    account: str
    amount_minor: int
    currency: str
    balance_after_minor: int
    prev: int
    reference: str
    business_date: str


class Sum(Struct, array_like=True, frozen=True):
    """Running sums of one open business date and currency, as of a commit.

    `postings_minor` is the sum of all postings; `messages_minor` the money in messages that the
    shard still has to give their turn: on their way to itself, or parked. `sent_minor` has gone
    to other shards, `received_minor` has come from them. Postings, messages and sent less
    received add up to zero.
    """

    business_date: str
    currency: str
    postings_minor: int
    messages_minor: int
    sent_minor: int = 0
    received_minor: int = 0

    @property
    def off_minor(self) -> int:
        """What has come or gone without a trace: zero."""
        return self.postings_minor + self.messages_minor + self.sent_minor - self.received_minor


class Commit(Struct, array_like=True, frozen=True):
    """One commit: what it held, where the shard stood after it, and the chain.

    `outbox_last` is the number of the newest message that the shard has written to itself.
    """

    sequence: int
    epoch: int
    now_ns: int
    business_date: str
    posting_first: int
    postings: int
    turns: int
    outbox_last: int
    sums: tuple[Sum, ...]
    chain: bytes = b""


encode = msgspec.msgpack.Encoder().encode
decode_commit = msgspec.msgpack.Decoder(Commit).decode
decode_page = msgspec.msgpack.Decoder(list[Posting]).decode


def sequence_key(sequence: int) -> bytes:
    """Return the row key of a sequence number: eight bytes, big-endian."""
    return sequence.to_bytes(8, "big")


def chained(previous: bytes, commit: Commit, postings: Iterable[bytes]) -> bytes:
    """Return the chain value of `commit` (32 bytes): SHA-256 over previous, header, postings."""
    header = encode(msgspec.structs.replace(commit, chain=b""))
    chain = hashlib.sha256(previous)
    chain.update(len(header).to_bytes(4, "big"))
    chain.update(header)
    chain.update(b"".join(postings))
    return chain.digest()


def first_commit(now_ns: int, business_date: str) -> Commit:
    """Return commit 0, which opens the chain of a new store."""
    commit = Commit(0, 0, now_ns, business_date, 1, 0, 0, 0, ())
    return msgspec.structs.replace(commit, chain=chained(GENESIS, commit, ()))


def pages(first: int, postings: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield `(key, payload)` of the journal pages that hold encoded `postings` from `first`."""
    start = size = 0
    for index, posting in enumerate(postings):
        if size + len(posting) > PAGE_BYTES and index > start:
            yield _page(first + start, postings[start:index])
            start, size = index, 0
        size += len(posting)
    if postings:
        yield _page(first + start, postings[start:])


def _page(first: int, postings: Sequence[bytes]) -> tuple[bytes, bytes]:
    count = len(postings).to_bytes(2, "big")
    return sequence_key(first), ARRAY16 + count + b"".join(postings)


def page_postings(key: bytes, payload: bytes) -> tuple[int, bytes]:
    """Return how many postings a page holds, and their bytes as they were chained.

    Raises:
        CorruptRowError: it does not begin as a page does.
    """
    if payload[:1] != ARRAY16 or len(payload) < _HEADER:
        raise CorruptRowError(JOURNAL, key, "not a page of postings")
    return int.from_bytes(payload[1:_HEADER], "big"), payload[_HEADER:]


def posting_at(snapshot: Snapshot, sequence: int) -> Posting | None:
    """Return the posting of that sequence, None where there is none."""
    page = next(snapshot.scan(JOURNAL, stop=sequence_key(sequence + 1), reverse=True), None)
    for number, posting in () if page is None else open_page(*page):
        if number == sequence:
            return posting
    return None


def open_page(key: bytes, payload: bytes) -> Iterator[tuple[int, Posting]]:
    """Yield `(sequence, posting)` of one journal page.

    Raises:
        CorruptRowError: the page is not a list of postings.
    """
    try:
        postings = decode_page(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRowError(JOURNAL, key, str(error)) from error
    return enumerate(postings, int.from_bytes(key, "big"))


def newest_commit(snapshot: Snapshot) -> Commit:
    """Return a store's newest commit.

    Raises:
        CorruptRowError: it is damaged, or there is none.
    """
    row = next(snapshot.scan(COMMITS, reverse=True), None)
    if row is None:
        raise CorruptRowError(COMMITS, sequence_key(0), "no commit at all")
    return open_commit(*row)


def open_commit(key: bytes, payload: bytes) -> Commit:
    """Return the commit in a row.

    Raises:
        CorruptRowError: the row is not a commit, or lies under another sequence.
    """
    try:
        commit = decode_commit(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRowError(COMMITS, key, str(error)) from error
    if sequence_key(commit.sequence) != key:
        raise CorruptRowError(COMMITS, key, f"holds commit {commit.sequence}")
    return commit
