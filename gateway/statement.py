"""Statements: an account's postings, newest first, along the links from each to the one before.

A posting names its account's previous one, so the history needs no index; a page follows a
bounded number of links. The journal has no dates to search for, but commits do: none before the
first commit of a business date holds a posting of it, and there a statement ends.
"""

from typing import Annotated, Final

from msgspec import Meta

from actors.account import Account
from actors.answers import View
from actors.kinds import ACCOUNT
from actors.refusal import Refusal
from engine.node import Node
from gateway.answer import Answer, failed
from gateway.errors import RequestCode, RequestError, problem
from gateway.lookup import Page, opened_cursor, sealed_cursor, state_at
from storage.errors import CorruptRowError
from storage.journal import Posting, open_commit, open_page, sequence_key
from storage.row import COMMITS, JOURNAL
from storage.store import Snapshot

LINKS_MAX: Final = 200
"""Links that one page follows: up to 20 µs each, where every posting is in a page of its own."""

BusinessDate = Annotated[
    str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="ISO 8601")
]

_MARK: Final = b"\0p"
"""Cursors of statements begin with it."""


class PostingView(View, frozen=True, tag="posting"):
    """One entry of an account; `sequence` is the journal's, over all accounts."""

    sequence: int
    business_date: str
    amount_minor: int
    currency: str
    balance_after_minor: int
    reference: str


def statement(
    node: Node,
    account_no: str,
    from_date: str | None,
    to_date: str | None,
    limit: int,
    cursor: str | None,
) -> Answer:
    """Return one page of an account's postings, newest first.

    With dates it may hold less than its limit, even nothing, and have a cursor all the same.

    Args:
        from_date, to_date: business dates, both included; None for no bound.

    Raises:
        RequestError: the cursor is not one of this account's.
    """
    snapshot = node.snapshot(f"account/{account_no}")
    try:
        account: Account | None = state_at(snapshot, ACCOUNT, account_no)
        if account is None:
            return failed(problem(Refusal.ACCOUNT_NOT_FOUND))
        walk = Walk(snapshot, account_no)
        sequence = account.posted_last
        if cursor is not None:
            sequence = _opened(cursor)
            if sequence > account.posted_last or not walk.is_own(sequence):
                raise RequestError(RequestCode.INVALID_REQUEST, _FOREIGN)
        first = 1 if from_date is None else _first_of(snapshot, from_date)
        items: list[View] = []
        links = 0
        while sequence >= first and len(items) < limit and links < LINKS_MAX:
            posting = walk.at(sequence)
            date = posting.business_date
            if (from_date is None or from_date <= date) and (to_date is None or date <= to_date):
                items.append(
                    PostingView(
                        sequence,
                        date,
                        posting.amount_minor,
                        posting.currency,
                        posting.balance_after_minor,
                        posting.reference,
                    )
                )
            sequence = posting.prev
            links += 1
    finally:
        snapshot.close()
    more = sequence >= first
    return Answer(200, Page(items, _sealed(sequence) if more else None))


class Walk:
    """Postings of one ledger account; it remembers the journal's page that it read last.

    Args:
        snapshot: of its shard.
        account: as its postings name it: an account's number, or `merchant/M1/receivable`.
    """

    def __init__(self, snapshot: Snapshot, account: str) -> None:
        self._snapshot = snapshot
        self._account = account
        self._page: dict[int, Posting] = {}

    def at(self, sequence: int) -> Posting:
        """Return the account's posting of that sequence.

        Raises:
            CorruptRowError: it is not there, or another account's.
        """
        posting = self._read(sequence)
        if posting is None or posting.account != self._account:
            raise CorruptRowError(
                JOURNAL, sequence_key(sequence), f"{self._account} has no posting {sequence}"
            )
        return posting

    def is_own(self, sequence: int) -> bool:
        """Return whether the account has a posting of that sequence."""
        posting = self._read(sequence)
        return posting is not None and posting.account == self._account

    def _read(self, sequence: int) -> Posting | None:
        if sequence not in self._page:
            stop = sequence_key(sequence + 1)
            page = next(self._snapshot.scan(JOURNAL, stop=stop, reverse=True), None)
            self._page = {} if page is None else dict(open_page(*page))
        return self._page.get(sequence)


def _first_of(snapshot: Snapshot, business_date: str) -> int:
    """Return a sequence before which no posting is of that business date, or of a later one."""
    newest = next(snapshot.scan(COMMITS, reverse=True))
    low, high = 0, int.from_bytes(newest[0], "big")
    while low < high:
        middle = (low + high) // 2
        if _commit(snapshot, middle)[0] < business_date:
            low = middle + 1
        else:
            high = middle
    return _commit(snapshot, low)[1]


def _commit(snapshot: Snapshot, sequence: int) -> tuple[str, int]:
    """Return the business date that was current at a commit, and its first posting."""
    key = sequence_key(sequence)
    payload = snapshot.get(COMMITS, key)
    if payload is None:
        raise CorruptRowError(COMMITS, key, "the commit is missing")
    commit = open_commit(key, payload)
    return commit.business_date, commit.posting_first


_FOREIGN: Final = "the cursor is not of this list"


def _sealed(sequence: int) -> str:
    return sealed_cursor(_MARK + sequence_key(sequence))


def _opened(cursor: str) -> int:
    opened = opened_cursor(cursor)
    sequence = opened.removeprefix(_MARK)
    if len(opened) != len(_MARK) + 8 or len(sequence) != 8 or not sequence.strip(b"\0"):
        raise RequestError(RequestCode.INVALID_REQUEST, _FOREIGN)
    return int.from_bytes(sequence, "big")
