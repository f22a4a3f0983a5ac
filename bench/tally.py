"""The tally: what a store holds of the demo, counted from its rows and from nothing else.

So a run that was killed and resumed says the same as one that was not. It reads one snapshot,
takes a second or two for a whole year, and is meant for a thread of its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field

from actors.account import Account
from actors.authorization import Authorization
from actors.merchant import Merchant
from actors.operation import Operation
from actors.payment import Payment
from engine.dates import DateState, decode_closed
from gateway import stored
from storage.journal import newest_commit
from storage.row import DATES
from storage.store import Snapshot


class Purchase(Struct, frozen=True):
    """A payment that succeeded, or what was captured of a hold."""

    amount_minor: int
    business_date: str
    merchant_no: str
    payer: str


class Tally(Struct):
    """Counts and sums of a store that is kept in one currency.

    Attributes:
        payments, holds, captures: those that succeeded.
        refused: code → how many commands failed for good under their number.
        amount_minor: sum of payments and captures.
        accounts: customers' accounts, without the bank's own.
        day_cuts: business dates that are closed.
        commits: since the store was made.
        by_merchant: merchant → payments and captures.
        accounts_minor, merchants_minor, fees_minor, clearing_minor, messages_minor: where the
            money is; `clearing_minor` is below zero by all that has entered the bank.
    """

    payments: int = 0
    holds: int = 0
    captures: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    amount_minor: int = 0
    accounts: int = 0
    merchants: int = 0
    day_cuts: int = 0
    business_date: str = ""
    commits: int = 0
    postings: int = 0
    accounts_minor: int = 0
    merchants_minor: int = 0
    fees_minor: int = 0
    clearing_minor: int = 0
    messages_minor: int = 0
    by_merchant: Counter[str] = field(default_factory=Counter)
    biggest: Purchase | None = None

    @property
    def total_minor(self) -> int:
        """All money and all debt: zero, unless some was lost or invented."""
        customers = self.accounts_minor + self.merchants_minor + self.fees_minor
        return customers + self.clearing_minor + self.messages_minor


def count(snapshots: Sequence[Snapshot]) -> Tally:
    """Return the tally of a store.

    Args:
        snapshots: of all its shards, in order.

    Raises:
        CorruptRowError: a row is not what was written.
    """
    tally = Tally()
    closed: Counter[str] = Counter()
    for snapshot in snapshots:
        _shard(tally, closed, snapshot)
    tally.day_cuts = sum(shards == len(snapshots) for shards in closed.values())
    return tally


def _shard(tally: Tally, closed: Counter[str], snapshot: Snapshot) -> None:
    for _, state in stored.states(snapshot):
        _actor(tally, state)
    for address, _, _, record in stored.records(snapshot):
        count_record = _RECORDS.get(type(record))
        if count_record is not None:
            count_record(tally, address.partition("/")[2], record)
    for _, payload in snapshot.scan(DATES):
        date = decode_closed(payload)
        closed[date.business_date] += date.state is DateState.CLOSED
    commit = newest_commit(snapshot)
    tally.commits += commit.sequence
    tally.postings += commit.posting_first + commit.postings - 1
    tally.business_date = min(tally.business_date or commit.business_date, commit.business_date)
    for each in commit.sums:
        tally.messages_minor += each.messages_minor + each.sent_minor - each.received_minor


def _actor(tally: Tally, state: Struct) -> None:
    if isinstance(state, Merchant):
        tally.merchants += 1
        tally.merchants_minor += state.posted_minor
        tally.fees_minor += state.fees_minor
    elif isinstance(state, Account) and state.kind == "clearing":
        tally.clearing_minor += state.posted_minor
    elif isinstance(state, Account):
        tally.accounts += state.kind == "customer"
        tally.accounts_minor += state.posted_minor


def _payment(tally: Tally, merchant_no: str, payment: Payment) -> None:
    if payment.state == "SUCCEEDED":
        tally.payments += 1
        _purchase(tally, merchant_no, payment, payment.amount_minor)
    elif payment.code is not None:
        tally.refused[payment.code] += 1


def _authorization(tally: Tally, merchant_no: str, authorization: Authorization) -> None:
    if authorization.code is not None:
        tally.refused[authorization.code] += 1
    elif authorization.state != "PROCESSING":
        tally.holds += 1
    if authorization.captures:
        tally.captures += authorization.captures
        _purchase(tally, merchant_no, authorization, authorization.captured_minor)


def _operation(tally: Tally, merchant_no: str, operation: Operation) -> None:
    if operation.code is not None:
        tally.refused[operation.code] += 1


def _purchase(
    tally: Tally, merchant_no: str, record: Payment | Authorization, amount_minor: int
) -> None:
    tally.amount_minor += amount_minor
    tally.by_merchant[merchant_no] += 1
    if tally.biggest is None or amount_minor > tally.biggest.amount_minor:
        tally.biggest = Purchase(amount_minor, record.business_date, merchant_no, record.payer)


_RECORDS: Final[Mapping[type[Struct], Callable[[Tally, str, Any], None]]] = {
    Payment: _payment,
    Authorization: _authorization,
    Operation: _operation,
}
