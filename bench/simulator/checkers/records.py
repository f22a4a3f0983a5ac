"""Actors and their records: each change of a record is one that may happen, and states agree.

The checkers `balances` (of states), `holds`, `overdraft`, `refunds`, `captures`, `reversals`,
`queue`, `outcomes`, `events`, and `time` (of holds).
"""

from collections import Counter
from typing import Any, Final

import msgspec

from actors.account import Account
from actors.authorization import Authorization
from actors.event import PAGE_EVENTS, EventPage, open_events
from actors.hold import Hold
from actors.kinds import KINDS
from actors.merchant import Merchant
from actors.operation import Operation
from actors.outcome import Bound
from actors.payment import Payment
from actors.refund import Refund
from actors.signing import Agreement
from bench.simulator.checkers.journal import Journal
from bench.simulator.checkers.marks import Marks
from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.address import row_key
from storage.row import ACTORS, HUBS, RECORDS

OPEN_HOLDS: Final = ("HELD", "PARTIALLY_CAPTURED")
ENDS: Final = frozenset(
    {"FAILED", "REVERSED", "VOIDED", "EXPIRED", "CLOSED", "RELEASED", "CANCELLED"}
)
"""States that nothing leads out of."""
_NOT_REFUNDED: Final = ("FAILED", "CLOSED")


class HoldEnd(msgspec.Struct, frozen=True):
    """When a hold was no longer open: at some instant between two points of virtual time.

    Attributes:
        account: address of the payer.
        name: the hold's, `merchant_no/hold_no`.
        began, ended: seconds; the turn was after the cut before last, and is durable now.
        rest_minor: what of it was given back then.
        state: EXPIRED, CAPTURED or VOIDED; UNDONE where the hold, or what had ended it, has come to
            nothing.
    """

    account: str
    name: str
    began: float
    ended: float
    rest_minor: int
    state: str


class Records:
    """All durable states and records.

    Args:
        shards: how many there are.
        journal: knows the balances, and learns when a hold became durable.
        marks: told what each command has bound.
        fail: told what is wrong.
        now: virtual time, seconds.

    Attributes:
        states: every actor's durable state, by address.
        records: every durable record, by (address, tag, name).
        hold_ends: when each hold came to its end.
    """

    def __init__(self, shards: int, journal: Journal, marks: Marks, fail: Fail, now: Any) -> None:
        self._journal = journal
        self._marks = marks
        self._fail = fail
        self._now = now
        self._times = [(0.0, 0.0)] * shards
        self._rests: Counter[str] = Counter()
        self._refunds: dict[tuple[str, str], Counter[str]] = {}
        self._pages: Counter[str] = Counter()
        self.states: dict[str, Any] = {}
        self.records: dict[tuple[str, str, str], Any] = {}
        self.hold_ends: list[HoldEnd] = []

    def read(self, durable: Durable) -> tuple[set[str], set[str]]:
        """Take in what a commit has written, and check each change by itself.

        Returns the actors that have changed, and the accounts that signed, changed or ended
        agreements.
        """
        changed = self._states(durable.writes.rows)
        return changed, self._read(durable, changed)

    def committed(self, durable: Durable, changed: set[str], touched: set[str]) -> None:
        """Check the actors that have changed.

        Args:
            touched: the ledger accounts that were posted to.
        """
        for address in sorted(changed):
            self._state(address, touched)
        for account in sorted(touched):
            self._fail("balances", f"{account} was posted to, and its actor was not written")
        self._times[durable.shard] = (self._times[durable.shard][1], self._now())

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
        balance = self._journal.balances.get(account, (0, 0))
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

    def _read(self, durable: Durable, changed: set[str]) -> set[str]:
        """Follow every record; returns the accounts that signed, changed or ended agreements."""
        signed = set()
        resumed: list[tuple[str, int]] = []
        newcomers: set[tuple[str, str]] = set()
        for key, payload in durable.writes.rows.get(RECORDS, {}).items():
            owner, _, rest = key[2:].partition(b"\0")
            address, tag, name = owner.decode(), rest[:1].decode(), rest[1:].decode()
            before = self.records.get((address, tag, name))
            if payload is None:
                if tag == "h":
                    self._dropped(durable, (address, name), before)
                    changed.add(address)
                else:
                    self._fail("outcomes", f"record {tag} {name} of {address} was deleted")
                continue
            record = KINDS.of(address).records[rest[:1]].decode(payload)
            self.records[address, tag, name] = record
            if isinstance(record, Hold):
                self._hold(durable, (address, name), before, record)
                changed.add(address)
            elif isinstance(record, EventPage):
                self._page(address, name, before, record)
            if isinstance(record, Bound):
                self._bound(f"{address} {tag} {name}", before, record)
                if before is None:
                    self._marks.bound(durable, (address, tag, name, record.digest))
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

    def _hold(self, durable: Durable, name: tuple[str, str], before: Any, hold: Hold) -> None:
        address = name[0]
        self._rests[address] += _rest(hold) - _rest(before)
        most = hold.amount_minor * hold.limit_bps // 10_000
        if not 0 <= hold.captured_minor <= most:
            self._fail("captures", f"{address}: {hold.captured_minor} of {most} captured: {hold}")
        if hold.state == "EXPIRED" and durable.commit.now_ns < hold.expires_at_ns:
            self._fail("time", f"{address}: a hold has expired before its time: {hold}")
        if before is None:
            self._journal.moments[address.partition("/")[2], f"hold/{name[1]}"].append(self._now())
        was_open = before is None or before.state in OPEN_HOLDS
        ends, rest = hold.state not in OPEN_HOLDS, hold.amount_minor - hold.captured_minor
        if was_open and ends:
            self._hold_ended(durable, name, rest, hold.state)
        elif ends and hold.captured_minor < before.captured_minor:
            self._hold_ended(durable, name, before.captured_minor - hold.captured_minor, "UNDONE")

    def _dropped(self, durable: Durable, name: tuple[str, str], before: Any) -> None:
        """A hold is there no more: its merchant never heard of it, and never will."""
        merchant_no, _, hold_no = name[1].partition("/")
        told = self.records.get((f"merchant/{merchant_no}", "z", hold_no))
        if told is None or told.state not in ("PROCESSING", "FAILED"):
            self._fail("holds", f"the hold {name} was deleted, and its authorization is {told}")
        if before is None:
            return
        del self.records[name[0], "h", name[1]]
        self._rests[name[0]] -= _rest(before)
        if before.state in OPEN_HOLDS:
            self._hold_ended(durable, name, _rest(before), "UNDONE")

    def _hold_ended(
        self, durable: Durable, name: tuple[str, str], rest_minor: int, state: str
    ) -> None:
        began = self._times[durable.shard][0]
        self.hold_ends.append(HoldEnd(*name, began, self._now(), rest_minor, state))

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


def _rest(hold: Any) -> int:
    if hold is None or hold.state not in OPEN_HOLDS:
        return 0
    minor: int = hold.amount_minor - hold.captured_minor
    return max(0, minor)
