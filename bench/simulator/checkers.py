"""Checkers: what must hold of the durable state after every commit of any shard.

They read the rows that a commit has written and keep running sums of their own, from nothing that
the engine says of itself: neither its books nor its states are believed. Each finding bears the
name of the checker that made it:

- `checksum`: every row is sealed with the checksum of its table, key and bytes.
- `journal`: commits and postings are gapless, the hash chain is unbroken, epochs never go back.
- `fail-stop`: nothing is committed after a commit that failed.
- `time`: a shard's clock never goes back, and no hold ends before its time.
- `conservation`: postings, money in messages to itself, and what was sent less what was received
  come out to zero on every shard.
- `delivery`: what one shard has sent and another has not taken lies in the outbox, no more and no
  less; the money on every link is the money in those messages.
- `balances`: every balance is the sum of its postings, each of which follows the one before.
- `holds`: an account's held amount is the sum of the rests of its open holds.
- `limits`: what was used of an agreement's limit and of an account's own is what was paid.
- `overdraft`: no customer's account and no merchant is below zero.
- `refunds`, `captures`: nothing is refunded or captured beyond what it is of.
- `reversals`: a payment is reversed on its own business date only.
- `attempts`: after a crash no message has a turn before the attempt at it is written, or, where
  there are many, at the first of them.
- `parked`: parked messages leave in the order in which they came.
- `queue`: of a merchant's refunds that wait for funds the oldest goes on first.
- `outcomes`: what a number is bound to is never taken away or changed, and an end is an end.
- `marks`: a mark is durable with what its command did, once, and until it is over.
- `events`: every merchant's events are numbered without a gap.
- `dates`: a command has one business date, wherever it posts.
- `closed-dates`: a closed date comes out to zero over all shards, and nothing is posted on it
  again.
"""

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from actors.account import Account
from actors.authorization import Authorization
from actors.event import PAGE_EVENTS, EventPage, open_events
from actors.hold import Hold
from actors.kinds import KINDS
from actors.merchant import Merchant
from actors.method import AGREEMENT, AUTHORIZATION, TRANSFER, WITHDRAWAL
from actors.operation import Operation
from actors.outcome import Bound
from actors.payment import Payment
from actors.refund import Refund
from actors.signing import Agreement
from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.address import row_key
from engine.dates import ClosedDate, DateState
from engine.marks import MARGIN_S, WINDOW_S
from engine.message import StoredEnvelope
from engine.timers import open_timer
from storage.journal import Posting
from storage.link import Incoming, Outgoing
from storage.row import (
    ACTORS,
    COMMITS,
    DATES,
    HUBS,
    JOURNAL,
    LINKS,
    MARKS,
    OUTBOX,
    PARKED,
    RECORDS,
    TIMERS,
)

OPEN_HOLDS: Final = ("HELD", "PARTIALLY_CAPTURED")
ENDS: Final = frozenset(
    {"FAILED", "REVERSED", "VOIDED", "EXPIRED", "CLOSED", "RELEASED", "CANCELLED"}
)
"""States that nothing leads out of."""
_NOT_REFUNDED: Final = ("FAILED", "CLOSED")

_METHODS: Final = {
    "payment": AGREEMENT,
    "reversal": AGREEMENT,
    "transfer": TRANSFER,
    "withdrawal": WITHDRAWAL,
}

_decode_posting = msgspec.msgpack.Decoder(Posting).decode
_decode_message = msgspec.msgpack.Decoder(StoredEnvelope).decode
_decode_messages = msgspec.msgpack.Decoder(list[StoredEnvelope]).decode
_decode_outgoing = msgspec.msgpack.Decoder(Outgoing).decode
_decode_incoming = msgspec.msgpack.Decoder(Incoming).decode
_decode_date = msgspec.msgpack.Decoder(ClosedDate).decode
_encode = msgspec.msgpack.Encoder().encode


Content = tuple[str, str, str, bytes]
"""A command, as a record is bound to it: address, tag and name of the record, and the digest."""


class HoldEnd(msgspec.Struct, frozen=True):
    """When a hold was no longer open: at some instant between two points of virtual time.

    Attributes:
        account: address of the payer.
        name: the hold's, `merchant_no/hold_no`.
        began, ended: seconds; the turn was after the cut before last, and is durable now.
    """

    account: str
    name: str
    began: float
    ended: float


class _Shard:
    """What is known of one shard."""

    def __init__(self, start_chain: bytes, start_ns: int) -> None:
        self.sequence = 0
        self.epoch = 0
        self.next_posting = 1
        self.chain = start_chain
        self.now_ns = start_ns
        self.posted: Counter[str] = Counter()
        self.own: dict[tuple[str, bytes], tuple[str, int]] = {}
        self.written: dict[bytes, tuple[int, int]] = {}
        self.crashed = False
        self.found: dict[int, int] = {}
        self.few = True
        self.announced = False
        self.own_sum: Counter[str] = Counter()
        self.marks: set[bytes] = set()
        self.out: dict[int, Outgoing] = {}
        self.into: dict[int, Incoming] = {}
        self.outbox: dict[int, dict[int, list[StoredEnvelope]]] = {}
        self.closed: set[str] = set()
        self.times = (0.0, 0.0)


class Checkers:
    """All checkers of the durable state.

    Args:
        starts: of every shard the chain value and the time of its first commit.
        fail: told what is wrong.
        now: virtual time, seconds.
        effects: counts what is worth knowing of.

    Attributes:
        states: every actor's durable state, by address.
        records: every durable record, by (address, tag, name).
        hold_ends: when each hold came to its end.
        unsigned: commands that came without a mark.
        marks_now_s: the newest time that a request came at since the process began.
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
        self._balances: dict[str, tuple[int, int]] = {}
        self._rests: Counter[str] = Counter()
        self._refunds: dict[tuple[str, str], Counter[str]] = {}
        self._by_date: Counter[tuple[str, str]] = Counter()
        self._date_of: dict[str, str] = {}
        self._pages: Counter[str] = Counter()
        self.states: dict[str, Any] = {}
        self.records: dict[tuple[str, str, str], Any] = {}
        self.hold_ends: list[HoldEnd] = []
        self.unsigned: set[Content] = set()
        self._signed: dict[Content, set[bytes]] = {}
        self._sent: set[bytes] = set()
        self.marks_now_s = 0
        self.moments: dict[tuple[str, str], list[float]] = defaultdict(list)

    def booted(self, shard: int, *, crashed: bool, few: bool) -> None:
        """Hear that a shard begins again, after an abnormal exit or a clean one.

        Args:
            few: as few messages as there are must be tried one by one. More may be tried
                together, once an attempt at the first of them is written.
        """
        self._shards[shard].crashed = crashed
        self._shards[shard].few = few
        self._shards[shard].announced = False
        self._shards[shard].found = {
            other: sender.out[shard].last
            for other, sender in enumerate(self._shards)
            if crashed and shard in sender.out
        }

    def committed(self, durable: Durable) -> None:
        """Check one commit; called when it has become durable."""
        shard = self._shards[durable.shard]
        if durable.after_failure:
            self._fail("fail-stop", f"shard {durable.shard} commits after a commit that failed")
        self._checksums(durable)
        self._journal(shard, durable)
        touched = self._postings(shard, durable)
        rows = durable.writes.rows
        for key, payload in rows.get(TIMERS, {}).items():
            if payload is not None and open_timer(key, payload).attempts:
                self._effects["timers due at a start"] += 1
        use = self._paid(durable)
        before = self._use_of(use)
        allowed = {key: self.records.get((key[0], "a", str(key[1]))) for key in use}
        changed = self._states(rows)
        signed = self._records(shard, durable, changed)
        self._limits(use, before)
        self._allowances(use, allowed, signed)
        for address in sorted(changed):
            self._state(address, touched)
        for account in sorted(touched):
            self._fail("balances", f"{account} was posted to, and its actor was not written")
        self._messages(shard, durable)
        self._links(shard, rows.get(LINKS, {}))
        self._conservation(durable.shard)
        for other in range(len(self._shards)):
            if other != durable.shard:
                self._link(durable.shard, other)
                self._link(other, durable.shard)
        self._dates(shard, rows.get(DATES, {}))
        self._marks(shard, rows.get(MARKS, {}))
        shard.times = (shard.times[1], self._now())

    # Bytes and the journal.

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
            posting = _decode_posting(encoded)
            balance, last = self._balances.get(posting.account, (0, 0))
            balance += posting.amount_minor
            if posting.balance_after_minor != balance or posting.prev != last:
                self._fail("balances", f"posting {sequence} of {posting.account}: {posting}")
            self._balances[posting.account] = (balance, sequence)
            shard.posted[posting.currency] += posting.amount_minor
            self._by_date[posting.business_date, posting.currency] += posting.amount_minor
            if posting.business_date in shard.closed:
                self._fail("closed-dates", f"posting {sequence} on {posting.business_date}")
            if posting.reference.partition("/")[0] != "refund":  # It may take days.
                date = self._date_of.setdefault(posting.reference, posting.business_date)
                if date != posting.business_date:
                    detail = f"{posting.reference} on {date} and {posting.business_date}"
                    self._fail("dates", detail)
            touched.add(posting.account)
            self.moments[posting.account, posting.reference].append(self._now())
        return touched

    # Actors and their records.

    def _states(self, rows: dict[str, dict[bytes, bytes | None]]) -> set[str]:
        changed = set()
        for table in (ACTORS, HUBS):
            for key, payload in rows.get(table, {}).items():
                address = key[2:].decode()
                if payload is None or key != row_key(address):
                    self._fail("outcomes", f"the row of {address} was deleted, or is misplaced")
                    continue
                self.states[address] = KINDS.of(address).decode_state(payload)
                changed.add(address)
        return changed

    # Limits.

    def _paid(self, durable: Durable) -> dict[tuple[str, int | str], list[tuple[str, int]]]:
        """Return what a commit posts that counts against limits: account and method, or account
        and merchant → the date and amount of each posting, and those of holds."""
        use: dict[tuple[str, int | str], list[tuple[str, int]]] = defaultdict(list)
        for posting in map(_decode_posting, durable.writes.postings):
            kind, first, _ = posting.reference.split("/", 2)
            address = f"account/{posting.account}"
            paid = (posting.business_date, -posting.amount_minor)
            if kind not in _METHODS or "/" in posting.account:
                continue
            if kind in ("transfer", "withdrawal") and first != posting.account:
                continue  # It comes in, or goes out of the bank.
            use[address, _METHODS[kind]].append(paid)
            if kind in ("payment", "reversal"):
                use[address, first].append(paid)
        for key, payload in durable.writes.rows.get(RECORDS, {}).items():
            owner, _, rest = key[2:].partition(b"\0")
            if rest[:1] != b"h" or payload is None:
                continue
            address = owner.decode()
            hold = KINDS.of(address).records[b"h"].decode(payload)
            known = self.records.get((address, "h", rest[1:].decode()))
            more = hold.amount_minor - (known.amount_minor if known else 0)
            if more:
                paid = ("", more)  # Its date is not written down.
                use[address, AUTHORIZATION].append(paid)
                use[address, hold.merchant_no].append(paid)
        return use

    def _use_of(self, keys: Iterable[tuple[str, int | str]]) -> list[tuple[str, int] | None]:
        """Return of each account and method, or account and merchant, the newest date with any use
        and how much that is; None where it is not counted."""
        found: list[tuple[str, int] | None] = []
        for address, what in keys:
            if isinstance(what, int):
                account = self.states.get(address)
                if account is None:
                    found.append(None)
                else:
                    found.append((account.used_date, account.used_minor[what]))
                continue
            allowance = self.records.get((address, "a", what))
            if allowance is None or not allowance.counted:
                found.append(None)
            else:
                found.append((allowance.used_date, allowance.used_minor))
        return found

    def _limits(
        self,
        use: dict[tuple[str, int | str], list[tuple[str, int]]],
        before: list[tuple[str, int] | None],
    ) -> None:
        for key, known, now in zip(use, before, self._use_of(use), strict=True):
            if known is None or now is None:
                continue
            date, minor = now
            paid = use[key]
            same_date = known[0] == date
            if any(amount < 0 or (on != date and not same_date) for on, amount in paid):
                continue  # What comes of it depends on the order within the batch.
            used = sum(amount for _, amount in paid) + (known[1] if same_date else 0)
            if minor != used:
                self._fail("limits", f"{key}: {minor} used on {date}, paid were {used}")

    def _allowances(
        self,
        use: dict[tuple[str, int | str], list[tuple[str, int]]],
        allowed: dict[tuple[str, int | str], Any],
        signed: set[str],
    ) -> None:
        """See that merchants took what their agreements let them take, where these are as they
        were before the commit."""
        for (address, merchant), before in allowed.items():
            now = self.records.get((address, "a", str(merchant)))
            if isinstance(merchant, int) or address in signed or now is None or before is None:
                continue
            taken = [amount for _, amount in use[address, merchant] if amount > 0]
            if taken and not now.agreement_no:
                self._fail("limits", f"{merchant} took {taken} of {address} without agreement")
            limit = now.daily_limit_minor
            had = before.used_minor if before.used_date == now.used_date else 0
            if limit is not None and taken and now.used_minor > max(limit, had):
                self._fail("limits", f"{merchant} took {now.used_minor} of {limit} of {address}")

    def _state(self, address: str, touched: set[str]) -> None:
        """Check one changed actor; what was posted to it is taken out of `touched`."""
        state = self.states[address]
        number = address.partition("/")[2]
        if isinstance(state, Account):
            self._ledger(number, state.posted_minor, state.posted_last, touched)
            if state.held_minor != self._rests[address]:
                detail = f"{address} holds {state.held_minor}, its holds {self._rests[address]}"
                self._fail("holds", detail)
            free = state.posted_minor - state.held_minor - state.frozen_minor
            if state.kind == "customer" and free < 0:
                self._fail("overdraft", f"{address} has {free} available")
            if state.kind == "suspense" and state.posted_minor < 0:
                self._fail("overdraft", f"{address} stands at {state.posted_minor}")
        elif isinstance(state, Merchant):
            self._ledger(f"{address}/receivable", state.posted_minor, state.posted_last, touched)
            self._ledger(f"{address}/fees", state.fees_minor, state.fees_last, touched)
            if state.posted_minor < 0 or state.fees_minor < 0:
                self._fail("overdraft", f"{address}: {state.posted_minor}, {state.fees_minor}")
            self._events(address, state)

    def _ledger(self, account: str, minor: int, last: int, touched: set[str]) -> None:
        balance = self._balances.get(account, (0, 0))
        if (minor, last) != balance:
            self._fail("balances", f"{account} stands at {(minor, last)}, postings say {balance}")
        touched.discard(account)

    def _events(self, address: str, merchant: Merchant) -> None:
        whole, rest = divmod(merchant.events, PAGE_EVENTS)
        try:
            open_events(merchant.tail, rest)
        except msgspec.DecodeError:
            self._fail("events", f"{address}: not {rest} events beyond the last full page")
        if self._pages[address] != whole:
            detail = f"{address} has {merchant.events} events in {self._pages[address]} pages"
            self._fail("events", detail)

    def _records(self, shard: _Shard, durable: Durable, changed: set[str]) -> set[str]:
        """Follow every record; returns the accounts that signed, changed or ended agreements."""
        signed = set()
        resumed: list[tuple[str, int]] = []
        newcomers: set[tuple[str, str]] = set()
        for key, payload in durable.writes.rows.get(RECORDS, {}).items():
            owner, _, rest = key[2:].partition(b"\0")
            address, tag, name = owner.decode(), rest[:1].decode(), rest[1:].decode()
            before = self.records.get((address, tag, name))
            if payload is None:
                self._fail("outcomes", f"record {tag} {name} of {address} was deleted")
                continue
            record = KINDS.of(address).records[rest[:1]].decode(payload)
            self.records[address, tag, name] = record
            if isinstance(record, Hold):
                self._hold(shard, durable, (address, name), before, record)
                changed.add(address)
            elif isinstance(record, EventPage):
                self._page(address, name, before, record)
            if isinstance(record, Bound):
                self._bound(f"{address} {tag} {name}", before, record)
                if before is None:
                    self._first(durable, (address, tag, name, record.digest))
            if isinstance(record, Payment | Authorization):
                self._original(address, name, record)
            elif isinstance(record, Refund):
                self._refund(address, name, before, record)
                goes_on = record.state not in ("PENDING_FUNDS", "CLOSED")
                if before is not None and before.state == "PENDING_FUNDS":
                    if goes_on:
                        resumed.append((address, before.queued.position))
                elif not goes_on:
                    newcomers.add((address, name))
            elif isinstance(record, Agreement):
                signed.add(address)
            elif isinstance(record, Operation) and record.kind == "reversal":
                self._reversal(address, name, record)
        for address, position in resumed:
            self._queue(address, position, newcomers)
        return signed

    def _queue(self, merchant: str, position: int, newcomers: set[tuple[str, str]]) -> None:
        """See that no refund goes on while an older one waits.

        One that has come with this very commit is not older: where its position is lower, the
        queue had become empty in between, and begun anew.
        """
        for (address, tag, name), refund in self.records.items():
            waits = (address, tag) == (merchant, "r") and refund.state == "PENDING_FUNDS"
            older = waits and (address, name) not in newcomers
            if older and refund.queued.position < position:
                self._fail("queue", f"{merchant}: the {position}th goes before {name}")

    def _hold(
        self, shard: _Shard, durable: Durable, name: tuple[str, str], before: Any, hold: Hold
    ) -> None:
        address = name[0]
        self._rests[address] += _rest(hold) - _rest(before)
        most = hold.amount_minor * hold.limit_bps // 10_000
        if not 0 <= hold.captured_minor <= most:
            self._fail("captures", f"{address}: {hold.captured_minor} of {most} captured: {hold}")
        if hold.state == "EXPIRED" and durable.commit.now_ns < hold.expires_at_ns:
            self._fail("time", f"{address}: a hold has expired before its time: {hold}")
        if before is None:
            self.moments[address.partition("/")[2], f"hold/{name[1]}"].append(self._now())
        was_open = before is None or before.state in OPEN_HOLDS
        if was_open and hold.state not in OPEN_HOLDS:
            self.hold_ends.append(HoldEnd(*name, shard.times[0], self._now()))

    def _page(self, address: str, name: str, before: Any, page: EventPage) -> None:
        self._pages[address] += 1
        if before is not None or int(name) != (self._pages[address] - 1) * PAGE_EVENTS + 1:
            self._fail("events", f"{address}: page {name} is the {self._pages[address]}th")
        try:
            open_events(page.events, PAGE_EVENTS)
        except msgspec.DecodeError:
            self._fail("events", f"{address}: page {name} does not hold {PAGE_EVENTS} events")

    def _bound(self, what: str, before: Any, record: Bound) -> None:
        if before is None:
            return
        if (record.digest, record.created_ns, record.business_date) != (
            before.digest,
            before.created_ns,
            before.business_date,
        ):
            self._fail("outcomes", f"{what} is bound to another command")
        if before.state in ENDS and record.state != before.state:
            self._fail("outcomes", f"{what} goes from {before.state} to {record.state}")

    def _original(self, address: str, name: str, record: Payment | Authorization) -> None:
        taken = record.amount_minor if isinstance(record, Payment) else record.captured_minor
        refunded = record.refunded_minor + record.refunding_minor
        if not 0 <= refunded <= taken or min(record.refunded_minor, record.refunding_minor) < 0:
            self._fail("refunds", f"{address} {name}: {refunded} of {taken} refunded")
        if record.state == "REVERSED" and refunded:
            self._fail("refunds", f"{address} {name} is reversed, and {refunded} refunded")

    def _reversal(self, address: str, name: str, reversal: Operation) -> None:
        payment = self.records.get((address, "p", reversal.original))
        if reversal.state == "FAILED":
            return
        if payment is None or payment.business_date != reversal.business_date:
            self._fail("reversals", f"{address} {name} of {reversal.business_date}: {payment}")

    def _refund(self, address: str, name: str, before: Any, refund: Refund) -> None:
        original = (address, f"{refund.original_kind}/{refund.original}")
        total = self._refunds.setdefault(original, Counter())
        total[name] = 0 if refund.state in _NOT_REFUNDED else refund.amount_minor
        tag = "p" if refund.original_kind == "payment" else "z"
        whole = self.records.get((address, tag, refund.original))
        taken = 0
        if isinstance(whole, Payment):
            taken = whole.amount_minor
        elif isinstance(whole, Authorization):
            taken = whole.captured_minor
        if total.total() > taken:
            detail = f"{total.total()} of {taken} is refunded of {original}: {dict(total)}"
            self._fail("refunds", detail)

    # Messages and links.

    def _messages(self, shard: _Shard, durable: Durable) -> None:
        own = durable.shard
        for table in (OUTBOX, PARKED):
            for key, payload in durable.writes.rows.get(table, {}).items():
                to, first = int.from_bytes(key[:2], "big"), int.from_bytes(key[2:], "big")
                if table == OUTBOX and to != own:
                    pages = shard.outbox.setdefault(to, {})
                    if payload is None:
                        pages.pop(first, None)
                    else:
                        pages[first] = _decode_messages(payload)
                    continue
                self._in_order(shard, durable, table, key, payload)
                currency, minor = shard.own.pop((table, key), ("", 0))
                shard.own_sum[currency] -= minor
                if payload is not None:
                    message = _decode_message(payload)
                    shard.own[table, key] = (message.currency, message.amount_minor)
                    shard.own_sum[message.currency] += message.amount_minor

    def _in_order(
        self, shard: _Shard, durable: Durable, table: str, key: bytes, payload: bytes | None
    ) -> None:
        """Follow when a message to the shard itself was written, and that parked ones queue."""
        if table == OUTBOX:
            written, attempts = shard.written.pop(key, (durable.epoch, -1))
            if payload is not None:
                self._effects["attempts" if attempts >= 0 else "messages left at a cut"] += 1
                more = _decode_message(payload).attempts
                shard.written[key] = (durable.epoch, more)
                if more <= attempts:
                    self._fail("attempts", f"message {key!r}: {more} attempts after {attempts}")
                shard.announced |= attempts >= 0 and not shard.few
            elif (
                shard.crashed
                and written != durable.epoch
                and not durable.writes.rows.get(PARKED)
                and not shard.announced
            ):
                self._fail("attempts", f"message {key!r} had a turn, and no attempt is written")
        elif payload is not None:
            self._effects["messages parked"] += 1
        else:
            gone = durable.writes.rows[PARKED]
            for of, other in shard.own:
                if of == PARKED and other[:-8] == key[:-8] and other < key and other not in gone:
                    self._fail("parked", f"{key!r} has left before {other!r}")

    def _links(self, shard: _Shard, rows: dict[bytes, bytes | None]) -> None:
        for key, payload in rows.items():
            other = int.from_bytes(key[1:], "big")
            assert payload is not None
            if key[:1] == b">":
                end, outgoing = _decode_outgoing(payload), shard.out.get(other)
                if outgoing is not None and end.last < outgoing.last:
                    self._fail("delivery", f"the newest message to {other} is {end.last}")
                shard.out[other] = end
            else:
                taken, before = _decode_incoming(payload), shard.into.get(other)
                if before is not None and taken.cursor < before.cursor:
                    self._fail("delivery", f"the cursor of {other} goes back to {taken.cursor}")
                self._effects["messages between shards"] += taken.cursor - (
                    before.cursor if before else 0
                )
                cursor, attempts = (before.cursor, before.attempts) if before else (0, 0)
                shard.announced |= taken.attempts > attempts and not shard.few
                if (
                    cursor < min(taken.cursor, shard.found.get(other, 0))
                    and (taken.cursor > cursor + 1 or not attempts)
                    and not shard.announced
                ):
                    detail = f"{cursor + 1} to {taken.cursor} of {other} had {attempts} attempts"
                    self._fail("attempts", detail)
                shard.into[other] = taken

    def _conservation(self, number: int) -> None:
        shard = self._shards[number]
        off = Counter(shard.posted)
        off.update(shard.own_sum)
        for out in shard.out.values():
            off.update(out.sent_minor)
        for into in shard.into.values():
            off.subtract(into.received_minor)
        for currency, minor in off.items():
            if minor:
                self._fail("conservation", f"shard {number} is off by {minor} {currency}")

    def _link(self, one: int, other: int) -> None:
        sender, receiver = self._shards[one], self._shards[other]
        out, into = sender.out.get(other), receiver.into.get(one)
        last, cursor = out.last if out else 0, into.cursor if into else 0
        waiting: dict[int, StoredEnvelope] = {}
        for first, page in sender.outbox.get(other, {}).items():
            for sequence, message in enumerate(page, first):
                if sequence > cursor:
                    waiting[sequence] = message
        if sorted(waiting) != list(range(cursor + 1, last + 1)):
            detail = f"{one} to {other}: {sorted(waiting)} wait, {cursor} of {last} are taken"
            self._fail("delivery", detail)
        money = Counter(out.sent_minor if out else {})
        money.subtract(into.received_minor if into else {})
        for message in waiting.values():
            money[message.currency] -= message.amount_minor
        if any(money.values()):
            self._fail("delivery", f"the money from {one} to {other} is off: {dict(money)}")

    # Marks.

    def let_in(self, content: Content, row: bytes) -> None:
        """Hear that a request with a mark was let in."""
        self._signed.setdefault(content, set()).add(row)
        self._sent.add(row)

    def marked(self, row: bytes, shard: int | None = None) -> bool:
        """Return whether a mark is durable, on any shard or on one."""
        shards = self._shards if shard is None else [self._shards[shard]]
        return any(row in each.marks for each in shards)

    def _marks(self, shard: _Shard, rows: dict[bytes, bytes | None]) -> None:
        for key, payload in rows.items():
            if payload is None:
                if int.from_bytes(key[:4], "big") >= self.marks_now_s - WINDOW_S - MARGIN_S:
                    self._fail("marks", f"{key!r} is forgotten at {self.marks_now_s}")
                self._effects["marks forgotten"] += key in shard.marks
                shard.marks.discard(key)
                continue
            if payload or key not in self._sent:
                self._fail("marks", f"{key!r} is of no request: {payload!r}")
            if key in shard.marks:
                self._fail("marks", f"{key!r} is stored a second time")
            shard.marks.add(key)

    def _first(self, durable: Durable, content: Content) -> None:
        """See that what a command has bound came with its mark."""
        if content in self.unsigned or content not in self._signed:
            return
        if self._signed[content].isdisjoint(durable.writes.rows.get(MARKS, {})):
            self._fail("marks", f"{content[:3]} has become durable without its mark")

    # Business dates.

    def _dates(self, shard: _Shard, rows: dict[bytes, bytes | None]) -> None:
        for key, payload in rows.items():
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


def _rest(hold: Any) -> int:
    if hold is None or hold.state not in OPEN_HOLDS:
        return 0
    minor: int = hold.amount_minor - hold.captured_minor
    return max(0, minor)
