"""Bytes, commits and postings: what a commit has written is whole, in order, and adds up.

The checkers `checksum`, `journal`, `fail-stop`, `time` (of shards), `balances` (of postings),
`dates` and `closed-dates`.
"""

import hashlib
import zlib
from collections import Counter, defaultdict
from typing import Any

import msgspec

from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.dates import ClosedDate, DateState
from storage.journal import Posting
from storage.row import COMMITS, DATES, JOURNAL

decode_posting = msgspec.msgpack.Decoder(Posting).decode
_decode_date = msgspec.msgpack.Decoder(ClosedDate).decode
_encode = msgspec.msgpack.Encoder().encode


class _Shard:
    """How far one shard's journal has come."""

    def __init__(self, start_chain: bytes, start_ns: int) -> None:
        self.sequence = 0
        self.epoch = 0
        self.next_posting = 1
        self.chain = start_chain
        self.now_ns = start_ns
        self.posted: Counter[str] = Counter()
        self.closed: set[str] = set()


class Journal:
    """All shards' journals.

    Args:
        starts: of every shard the chain value and the time of its first commit.
        fail: told what is wrong.
        now: virtual time, seconds.
        effects: counts what is worth knowing of.

    Attributes:
        balances: of every ledger account the sum of its postings, and the newest one's number.
        moments: when something became durable: virtual seconds by (account number or ledger
            account, reference of the posting or `hold/name`), one for each time.
    """

    def __init__(
        self, starts: list[tuple[bytes, int]], fail: Fail, now: Any, effects: Counter[str]
    ) -> None:
        self._effects = effects
        self._fail = fail
        self._now = now
        self._shards = [_Shard(*start) for start in starts]
        self._by_date: Counter[tuple[str, str]] = Counter()
        self._date_of: dict[str, str] = {}
        self.balances: dict[str, tuple[int, int]] = {}
        self.moments: dict[tuple[str, str], list[float]] = defaultdict(list)

    def committed(self, durable: Durable) -> set[str]:
        """Check a commit; returns the ledger accounts that were posted to."""
        shard = self._shards[durable.shard]
        if durable.after_failure:
            self._fail("fail-stop", f"shard {durable.shard} commits after a commit that failed")
        self._checksums(durable)
        self._journal(shard, durable)
        return self._postings(shard, durable)

    def posted(self, shard: int) -> Counter[str]:
        """Return what was posted on a shard, by currency."""
        return self._shards[shard].posted

    def _checksums(self, durable: Durable) -> None:
        rows: dict[str, dict[bytes, bytes | None]] = dict(durable.writes.rows)
        rows[COMMITS] = {durable.commit.sequence.to_bytes(8, "big"): b""}
        if durable.writes.postings:
            rows[JOURNAL] = {durable.commit.posting_first.to_bytes(8, "big"): b""}
        for table, changed in rows.items():
            for key, payload in changed.items():
                row = durable.sealed(table, key)
                if payload is None:
                    if row is not None:
                        self._fail("checksum", f"{table} {key!r} was deleted and is still there")
                    continue
                if row is None:
                    self._fail("checksum", f"{table} {key!r} is not there")
                    continue
                crc = zlib.crc32(row[4:], zlib.crc32(key, zlib.crc32(table.encode())))
                if row[:4] != crc.to_bytes(4, "big"):
                    self._fail("checksum", f"{table} {key!r} has a wrong checksum")

    def _journal(self, shard: _Shard, durable: Durable) -> None:
        commit, postings = durable.commit, durable.writes.postings
        if commit.sequence != shard.sequence + 1:
            self._fail("journal", f"commit {commit.sequence} follows {shard.sequence}")
        if commit.posting_first != shard.next_posting or commit.postings != len(postings):
            self._fail("journal", f"posting {commit.posting_first}, not {shard.next_posting}")
        header = _encode(msgspec.structs.replace(commit, chain=b""))
        chain = hashlib.sha256(shard.chain + len(header).to_bytes(4, "big") + header)
        chain.update(b"".join(postings))
        if commit.chain != chain.digest():
            self._fail("journal", f"the chain is broken at commit {commit.sequence}")
        if commit.epoch < shard.epoch or commit.epoch != durable.epoch:
            self._fail("journal", f"commit of epoch {commit.epoch} after {shard.epoch}")
        if commit.now_ns < shard.now_ns:
            behind_s = (shard.now_ns - commit.now_ns) / 1e9
            self._fail("time", f"commit {commit.sequence} is {behind_s} s before the one before")
        shard.sequence, shard.epoch, shard.chain = commit.sequence, commit.epoch, commit.chain
        shard.next_posting += len(postings)
        shard.now_ns = commit.now_ns

    def _postings(self, shard: _Shard, durable: Durable) -> set[str]:
        """Follow every ledger account; returns those that were posted to."""
        touched = set()
        for sequence, encoded in enumerate(durable.writes.postings, durable.commit.posting_first):
            posting = decode_posting(encoded)
            balance, last = self.balances.get(posting.account, (0, 0))
            balance += posting.amount_minor
            if posting.balance_after_minor != balance or posting.prev != last:
                self._fail("balances", f"posting {sequence} of {posting.account}: {posting}")
            self.balances[posting.account] = (balance, sequence)
            shard.posted[posting.currency] += posting.amount_minor
            self._by_date[posting.business_date, posting.currency] += posting.amount_minor
            if posting.business_date in shard.closed:
                self._fail("closed-dates", f"posting {sequence} on {posting.business_date}")
            if "refund" not in posting.reference.split("/")[:2]:  # It may take days.
                date = self._date_of.setdefault(posting.reference, posting.business_date)
                if date != posting.business_date:
                    detail = f"{posting.reference} on {date} and {posting.business_date}"
                    self._fail("dates", detail)
            touched.add(posting.account)
            self.moments[posting.account, posting.reference].append(self._now())
        return touched

    def dates(self, durable: Durable) -> None:
        """See that a date that a commit closes comes out to zero."""
        shard = self._shards[durable.shard]
        for key, payload in durable.writes.rows.get(DATES, {}).items():
            assert payload is not None
            date = _decode_date(payload)
            business_date = key.decode()
            if date.state is not DateState.CLOSED or business_date in shard.closed:
                continue
            shard.closed.add(business_date)
            self._effects["dates closed"] += 1
            # Where one shard has closed it, nothing of it is under way in any.
            for (of, currency), minor in self._by_date.items():
                if of == business_date and minor:
                    self._fail("closed-dates", f"{business_date} is off by {minor} {currency}")
