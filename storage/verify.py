"""Verification of a store's bytes: checksums, sequences, the hash chain, the newest sums.

It knows tables, commits and postings, and nothing of what actors mean by them: domain invariants
are checked elsewhere, on the postings that stream through here. Everything is read once, in key
order; memory is taken by what is wrong, and by one sum for each business date and currency.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from storage.errors import CorruptRowError, StorageError, readable
from storage.journal import (
    ARRAY16,
    GENESIS,
    Commit,
    Posting,
    chained,
    open_commit,
    open_page,
    sequence_key,
)
from storage.row import COMMITS, JOURNAL, MARK_KEY_BYTES, MARKS, TABLES, unseal
from storage.store import Snapshot

_CHECK_EVERY: Final = 1_000
_HEADER: Final = len(ARRAY16) + 2


class Damage(NamedTuple):
    """Something about the bytes that does not hold.

    `invariant` is `structure`, `checksum`, `journal-gapless`, `commits-gapless`, `chain`, `sums` or
    `marks`.
    """

    invariant: str
    table: str
    key: str
    detail: str


class Verification:
    """One verification of one snapshot: first `rows`, then `postings` to its end, then `damages`.

    Args:
        snapshot: what to verify.
        check: called every now and then; it may raise to break the verification off.

    Attributes:
        damages: what is wrong, as far as it has been read.
        commits, postings_read: how many there are.
        sums: of all postings, by business date and currency.
        chain_head: the newest commit's chain value (32 bytes).
        readable: whether every table could be read to its end.
    """

    def __init__(self, snapshot: Snapshot, check: Callable[[], None] = lambda: None) -> None:
        self.damages: list[Damage] = []
        self.commits = 0
        self.postings_read = 0
        self.chain_head = GENESIS
        self.readable = True
        self.sums: Counter[tuple[str, str]] = Counter()
        self._snapshot = snapshot
        self._check = check

    def rows(self) -> None:
        """Check every row's checksum in every table.

        A table that LMDB cannot walk to its end is damaged too, and `readable` is false: whoever
        goes on to what rows mean would meet the same again.
        """
        for table in TABLES:
            try:
                self._rows(table)
            except StorageError as error:
                self.readable = False
                self._note("structure", table, b"", str(error))

    def _rows(self, table: str) -> None:
        for number, (key, row) in enumerate(self._snapshot.raw(table)):
            if number % _CHECK_EVERY == 0:
                self._check()
            try:
                payload = unseal(table, key, row)
            except CorruptRowError as error:
                self._note("checksum", table, key, error.detail)
                continue
            try:
                there = self._snapshot.get(table, key) is not None
            except CorruptRowError:
                there = False
            if not there:
                # It was met on the way from row to row, and is not found by its key.
                self._note("structure", table, key, "the way to it is damaged")
            elif table == MARKS and (len(key) != MARK_KEY_BYTES or payload):
                self._note("marks", table, key, f"it is not {MARK_KEY_BYTES} bytes of key alone")

    def postings(self) -> Iterator[tuple[int, Posting]]:
        """Yield `(sequence, posting)` of the whole journal, checking it against the commits.

        Sequences without a gap, every commit with its own postings and no others, the hash
        chain from its first commit on, and the newest commit's sums against all postings.
        """
        pages = self._pages()
        page = next(pages, None)
        last: Commit | None = None
        sums = self.sums
        for commit in self._commit_rows():
            if last is not None:
                self._follow(last, commit)
            elif commit.sequence != 0:
                self._note("commits-gapless", COMMITS, sequence_key(0), "missing")
            stop = commit.posting_first + commit.postings
            encoded: list[bytes] = []
            while page is not None and page[0] < stop:
                first, payload = page
                if first != commit.posting_first + self._count(encoded):
                    self._note(
                        "journal-gapless",
                        JOURNAL,
                        sequence_key(first),
                        f"commit {commit.sequence} has postings from {commit.posting_first}",
                    )
                encoded.append(payload)
                for sequence, posting in self._open(first, payload):
                    sums[posting.business_date, posting.currency] += posting.amount_minor
                    yield sequence, posting
                page = next(pages, None)
            if self._count(encoded) != commit.postings:
                self._note(
                    "journal-gapless",
                    JOURNAL,
                    sequence_key(commit.posting_first),
                    f"commit {commit.sequence} wrote {commit.postings} postings, "
                    f"{self._count(encoded)} are there",
                )
            previous = GENESIS if last is None else last.chain
            if chained(previous, commit, [row[_HEADER:] for row in encoded]) != commit.chain:
                detail = "does not follow from the commit before it and its postings"
                self._note("chain", COMMITS, sequence_key(commit.sequence), detail)
            last = commit
            self.commits += 1
        while page is not None:
            self._note("journal-gapless", JOURNAL, sequence_key(page[0]), "belongs to no commit")
            yield from self._open(*page)
            page = next(pages, None)
        if last is None:
            self._note("commits-gapless", COMMITS, sequence_key(0), "there is no commit at all")
        else:
            self.chain_head = last.chain
            self._compare(last, sums)

    def _commit_rows(self) -> Iterator[Commit]:
        for key, row in self._snapshot.raw(COMMITS):
            try:
                yield open_commit(key, unseal(COMMITS, key, row))
            except CorruptRowError as error:
                self._note("commits-gapless", COMMITS, key, error.detail)

    def _pages(self) -> Iterator[tuple[int, bytes]]:
        for number, (key, row) in enumerate(self._snapshot.raw(JOURNAL)):
            if number % _CHECK_EVERY == 0:
                self._check()
            try:
                yield int.from_bytes(key, "big"), unseal(JOURNAL, key, row)
            except CorruptRowError:
                continue  # `rows` has noted it, and its postings will be found missing

    def _open(self, first: int, payload: bytes) -> list[tuple[int, Posting]]:
        try:
            postings = list(open_page(sequence_key(first), payload))
        except CorruptRowError as error:
            self._note("journal-gapless", JOURNAL, error.key, error.detail)
            return []
        self.postings_read += len(postings)
        return postings

    @staticmethod
    def _count(pages: list[bytes]) -> int:
        return sum(int.from_bytes(page[len(ARRAY16) : _HEADER], "big") for page in pages)

    def _follow(self, last: Commit, commit: Commit) -> None:
        key = sequence_key(commit.sequence)
        if commit.sequence != last.sequence + 1:
            self._note("commits-gapless", COMMITS, key, f"comes after commit {last.sequence}")
        if commit.posting_first != last.posting_first + last.postings:
            detail = (
                f"postings from {commit.posting_first}, after {last.postings} "
                f"from {last.posting_first}"
            )
            self._note("journal-gapless", COMMITS, key, detail)
        if commit.epoch < last.epoch:
            self._note("commits-gapless", COMMITS, key, f"epoch {commit.epoch} after {last.epoch}")

    def _compare(self, last: Commit, sums: Counter[tuple[str, str]]) -> None:
        """Compare the newest commit's sums of its open dates with the journal's."""
        key = sequence_key(last.sequence)
        for each in last.sums:
            total = sums[each.business_date, each.currency]
            about = f"{each.business_date} {each.currency}"
            if total != each.postings_minor:
                detail = f"{about}: {each.postings_minor}, the journal says {total}"
                self._note("sums", COMMITS, key, detail)
            if each.off_minor:
                detail = (
                    f"{about}: {each.postings_minor}, {each.messages_minor} in messages, "
                    f"{each.sent_minor} sent, {each.received_minor} received"
                )
                self._note("sums", COMMITS, key, detail)

    def _note(self, invariant: str, table: str, key: bytes, detail: str) -> None:
        self.damages.append(Damage(invariant, table, readable(key), detail))
