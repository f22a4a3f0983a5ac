"""Verification: does everything that must hold, hold? Bytes, sequence, chain, and the money.

The storage layer checks its own (`storage.verify`); the postings that it has checked stream on
into the domain's audit (`actors.audit`), so the journal is read once. It runs on a snapshot, in
a worker thread where the node is running.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct

from actors.account import HELD, Account
from actors.audit import StoreView, audit
from actors.ledger_audit import PostingRow
from actors.merchant import Merchant
from engine.message import Envelope
from engine.totals import TOTALS_KEY, durable_totals
from gateway import stored
from gateway.link_verification import LinkVerification
from storage.errors import CorruptRowError, readable
from storage.journal import newest_commit
from storage.row import META
from storage.store import Snapshot
from storage.verify import Verification

VIOLATIONS_MAX: Final = 1_000


class Violation(Struct, frozen=True):
    """Something that must hold and does not."""

    invariant: str
    table: str
    key: str
    detail: str


class CurrencySums(Struct, frozen=True):
    """Where a currency's money is, in minor units; the two come to zero together."""

    accounts: int
    messages: int
    difference: int


class Report(Struct, frozen=True):
    """What a verification found; at most 1,000 violations are named.

    Attributes:
        journal_rows: postings.
        chain_heads: the newest commit's chain value of each shard, in hex.
        sums: by currency.
    """

    ok: bool
    violations: list[Violation]
    shards: int
    journal_rows: int
    chain_heads: list[str]
    sums: dict[str, CurrencySums]


class _Postings:
    """The journals of all shards: checked as they are read first, and plainly after that."""

    def __init__(
        self, verifications: Sequence[Verification], snapshots: Sequence[Snapshot]
    ) -> None:
        self._verifications = verifications
        self._snapshots = snapshots
        self._checked = False

    def __iter__(self) -> Iterator[PostingRow]:
        shards = [each.postings() for each in self._verifications]
        if self._checked:
            # What is wrong with them has been noted.
            shards = [stored.postings(each, lambda _: None) for each in self._snapshots]
        self._checked = True
        for postings in shards:
            for sequence, posting in postings:
                yield sequence, *posting


def verify(snapshots: Sequence[Snapshot], check: Callable[[], None] = lambda: None) -> Report:
    """Verify a store.

    Args:
        snapshots: of all shards, in order; they fit together (`Node.snapshots`).
        check: called every now and then; it may raise to break off.
    """
    found: list[Violation] = []
    accounts: Counter[str] = Counter()
    in_messages: Counter[str] = Counter()
    held: list[Counter[str]] = [Counter() for _ in snapshots]

    def skip(error: CorruptRowError) -> None:
        # A checksum that does not fit has been noted with the rows.
        if error.detail != "checksum does not fit":
            found.append(Violation("row", error.table, readable(error.key), error.detail))

    def states() -> Iterator[tuple[str, Struct]]:
        for shard, snapshot in enumerate(snapshots):
            for address, state in stored.states(snapshot, skip):
                if isinstance(state, Account):
                    accounts[state.currency] += state.posted_minor
                    held[shard][state.currency] += state.held_minor
                elif isinstance(state, Merchant):
                    accounts[state.currency] += state.posted_minor + state.fees_minor
                yield address, state

    def messages() -> Iterator[Envelope]:
        for shard, snapshot in enumerate(snapshots):
            for message in stored.messages(snapshot, shard, links.cursors(shard), skip):
                if message.amount_minor:
                    in_messages[message.currency] += message.amount_minor
                yield message

    verifications = [Verification(snapshot, check) for snapshot in snapshots]
    for verification in verifications:
        verification.rows()
    if not all(each.readable for each in verifications):
        return damaged(*_damages(verifications))
    links = LinkVerification(snapshots)
    view = StoreView(
        states(),
        chain.from_iterable(stored.records(each, skip=skip) for each in snapshots),
        _Postings(verifications, snapshots),
        messages(),
        # Where one shard has closed a date, nothing of it was under way on any.
        max(stored.closed_through(each, skip) for each in snapshots),
        chain.from_iterable(stored.timers(each, skip) for each in snapshots),
    )
    for each in audit(view):
        if len(found) < VIOLATIONS_MAX:
            found.append(Violation(*each))
    for snapshot, minor in zip(snapshots, held, strict=True):
        found += _held(snapshot, minor, skip)
    links.compare([each.sums for each in verifications])
    damages = [*_damages(verifications), *(Violation(*damage) for damage in links.damages)]
    violations = [*damages, *found]
    sums = {
        currency: CurrencySums(
            accounts[currency],
            in_messages[currency],
            accounts[currency] + in_messages[currency],
        )
        for currency in sorted(accounts.keys() | in_messages.keys())
    }
    return Report(
        ok=not violations and not any(each.difference for each in sums.values()),
        violations=violations[:VIOLATIONS_MAX],
        shards=len(snapshots),
        journal_rows=sum(each.postings_read for each in verifications),
        chain_heads=[each.chain_head.hex() for each in verifications],
        sums=sums,
    )


def _held(snapshot: Snapshot, held: Counter[str], skip: stored.Skip) -> Iterator[Violation]:
    """Compare what a shard's accounts hold, by currency, with the sum that it keeps."""
    try:
        totals = durable_totals(snapshot, newest_commit(snapshot))
    except CorruptRowError as error:
        skip(error)
        return
    if totals is None:
        return  # the node that opens it next adds them up
    total = Counter(totals.get(HELD, {}))
    total.subtract(held)
    for currency, minor in sorted(total.items()):
        if minor:
            detail = f"what is held is off by {minor} {currency}"
            yield Violation("held-total", META, readable(TOTALS_KEY), detail)


def _damages(verifications: Sequence[Verification]) -> Iterator[Violation]:
    for shard, verification in enumerate(verifications):
        for invariant, table, key, detail in verification.damages:
            where = f"shard {shard}: " if len(verifications) > 1 else ""
            yield Violation(invariant, table, key, where + detail)


def unopenable(error: CorruptRowError) -> Report:
    """Return the report of a store so damaged that it does not open; nothing else was checked."""
    return damaged(Violation("opens", error.table, readable(error.key), error.detail))


def damaged(*found: Violation) -> Report:
    """Return the report of a store of which no more could be read than what was found wrong."""
    return Report(False, list(found[:VIOLATIONS_MAX]), 1, 0, [], {})
