"""Audit: what must always hold for the money, checked over everything that is stored.

`verify`, the simulator and the tests share it, so it reads plain iterables, each once. Postings
and records stream through; memory is taken by one entry for each ledger account, and for each
thing of which one side has been read and the other not yet. The invariants are those of the
design's section 4.5, items 1 to 3, and that nothing waits for an answer that cannot come.

======================  ===================================================================
conservation            per currency, all postings and all money in messages come to zero
date-conservation       so they do for each business date by itself
closed-date             no money of a closed business date is in a message
ledger-chain            a posting names its account's previous one
ledger-balance          a posting's balance is the previous balance plus its amount
ledger-currency         an account is kept in one currency
balance                 an account's balance and newest posting are those of its ledger
overdraft               neither available funds nor a merchant's ledger are below zero
circulation             no balance is beyond 10**18
held                    what an account holds is the rests of its open holds
frozen                  what of an account is frozen is the sum of its frozen amounts
unfreezes               an amount is released exactly if it was unfrozen once
closed-account          a closed account is empty, and nothing can come back to it
transfers-out           what an account counts as under way is its transfers that are
account-limits          an account's own limits are what it was told to set
agreement               what a merchant is allowed is what the agreement in force says
agreement-changes       an agreement was changed and cancelled as its changes say
daily-limit             no merchant has used more than the daily limit in force
method-limit            no account has used more than its own daily limit of a method
hold-limit              no hold is captured beyond its limit
projection              an authorization agrees with its hold, once nothing of it is in flight
operations              an authorization's figures are the sums of its operations
refund-limit            no more is refunded, or being refunded, than was taken
refunds                 what an original says was refunded is the sum of its refunds
reversals               a payment is reversed exactly if a reversal of it succeeded
remedies                a refund is redirected, or was closed, exactly if a remedy of it says so
pending-queue           a merchant's queue holds its refunds that wait for funds, oldest first
merchant-book           a merchant's two ledgers are the sums of its payments and the rest
merchant-counts         what a merchant, or the bank, counts as under way and open is so
closed-merchant         a closed merchant is owed nothing, and nothing of it is under way
closing-merchant        a merchant that is closing has something that it waits for
certificate             a holder's registration agrees with its certificate, once nothing of it
                        is in flight, and is found by the serial
live-certificates       a holder's roster names those that have not ended or been revoked
webhook-counts          a webhook counts its deliveries as they are
webhook-events          a webhook is its merchant's, and knows no event that it does not have
profile                 a merchant that has not been activated has a profile, of its status
at-rest                 what waits for an answer has a message on its way, and so has a queue of
                        refunds whose first one is covered
timers                  every open hold and every refund that waits has its timer, and no other
                        thing has one
events-gapless          a merchant's events are 1, 2, 3, … up to its last, in order of time
events                  each outcome, each expiry, and each state that a refund comes to, has its
                        one event, and no other has one
======================  ===================================================================
"""

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from msgspec import MsgspecError, Struct

from actors.account import CLEARING, Account
from actors.agreement import Allowance
from actors.authorization import OPEN_STATES as OPEN_AUTHORIZATIONS
from actors.authorization import Authorization
from actors.certificate import Certificate
from actors.certificate_audit import CertificateAudit
from actors.event import (
    OUTCOMES,
    PAGE_EVENTS,
    REFUND_STATES,
    REMEDY_FAILED,
    Event,
    EventPage,
    EventType,
    open_events,
    tail_of,
)
from actors.freeze import Freeze, Unfreeze
from actors.hold import OPEN_STATES, Hold, rest_minor
from actors.lifecycle import Profile
from actors.limits import LimitsChange
from actors.merchant import Merchant, has_liabilities
from actors.messages import CreditTransfer, ExpireHold, ExpireRefund, ResumeRefunds
from actors.method import METHODS, MethodLimit
from actors.money import BALANCE_MAX, share_minor
from actors.operation import Operation
from actors.outcome import Bound
from actors.payment import Payment
from actors.refund import WAIT_NS, Refund
from actors.registration import Bank, Named, Registered, Roster
from actors.remedy import AT_ONCE, Remedy
from actors.signing import Agreement, AgreementChange
from actors.tally import Tally, Violation
from actors.transfer import Transfer
from actors.webhook import Delivery, Webhook
from engine.kind import RecordKind
from engine.message import Envelope

PostingRow = tuple[int, str, int, str, int, int, str, str]
"""(sequence, account, amount, currency, balance after, previous, reference, business date)"""


_UNTRIED: Final = frozenset({"DRAFT", "AUDITING", "REJECTED", "TO_BE_SIGNED", "PROVISIONING"})
"""The statuses of a merchant that has applied and was never activated."""
_ABNORMAL: Final = EventType.PAYMENT_REFUND_ABNORMAL


class StoreView(NamedTuple):
    """What an audit reads, as of one moment; each iterable is read once.

    Attributes:
        states: (address, state) of every actor.
        records: (address, record kind, name, record), in any order.
        postings: in journal order within each ledger account.
        messages: everything that is on its way or parked.
        closed_through: the newest business date that is closed, empty if none is.
        timers: (due time, address, name) of every timer; None to leave them out.
    """

    states: Iterable[tuple[str, Struct]]
    records: Iterable[tuple[str, RecordKind[Any], str, Struct]]
    postings: Iterable[PostingRow]
    messages: Iterable[Envelope]
    closed_through: str = ""
    timers: Iterable[tuple[int, str, str]] | None = None


def audit(view: StoreView) -> Iterator[Violation]:
    """Yield every violation of the invariants; nothing where all is well."""
    return _Audit(view).violations()


class _Audit:
    def __init__(self, view: StoreView) -> None:
        self._view = view
        self._sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._in_flight: set[tuple[str, str]] = set()
        self._ledgers: dict[str, tuple[int, int, str]] = {}
        self._held = Tally("held", "actors", "held_minor", "holds_open")
        self._out = Tally("transfers-out", "actors", "transfers_out")
        self._frozen = Tally("frozen", "actors", "frozen_minor")
        self._unfreezes = Tally("unfreezes", "records", "released")
        self._changes = Tally("agreement-changes", "records", "changes", "cancelled")
        self._counts = Tally("merchant-counts", "actors", "in_flight", "authorizations_open")
        self._books = Tally("merchant-book", "actors", "posted_minor", "fees_minor")
        self._refunds = Tally("refunds", "records", "refunded_minor", "refunding_minor", "refunds")
        self._operations = Tally(
            "operations", "records", "captured_minor", "captures", "incremented", "increments"
        )
        self._reversals = Tally("reversals", "records", "reversals")
        self._remedies = Tally("remedies", "records", "remedies")
        self._pending = Tally("pending-queue", "actors", "count", "first_minor")
        self._links: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._certificates = CertificateAudit(self._in_flight)
        self._applied: dict[str, str] = {}
        self._timers = Tally("timers", "timers", "timers", "due_ns")
        self._expiring: set[str] = set()
        self._pages = Tally("events-gapless", "records", "pages", "their first sequences")
        self._events = Tally("events", "records", "events", "amount_minor", "numbers' checksums")
        self._deliveries = Tally("webhook-counts", "actors", "pending", "delivered", "failed")
        self._happened: dict[str, int] = {}
        self._heard_of: dict[str, int] = {}
        self._tallies = (
            self._deliveries,
            self._held,
            self._out,
            self._frozen,
            self._unfreezes,
            self._changes,
            self._counts,
            self._books,
            self._refunds,
            self._operations,
            self._reversals,
            self._remedies,
            self._pending,
            self._pages,
            self._events,
        )
        self._in_force: dict[tuple[str, str], tuple[str, tuple[object, ...]]] = {}
        self._limits: dict[tuple[str, str], tuple[int | None, int | None]] = {}
        self._addressed: set[str] = set()
        self._projections: dict[tuple[str, str], tuple[str, tuple[int | str, ...]]] = {}

    def violations(self) -> Iterator[Violation]:
        for message in self._view.messages:
            yield from self._message(message)
        for posting in self._view.postings:
            yield from self._posting(posting)
        yield from self._sums_left()
        for address, state in self._view.states:
            yield from _STATES[type(state)](self, address, state)
        for account, (last, balance, _) in self._ledgers.items():
            detail = f"{balance} as of posting {last}, but there is no such actor"
            yield Violation("balance", "journal", account, detail)
        for address, kind, name, record in self._view.records:
            key = f"{address} {kind.name} {name}"
            yield from _RECORDS[type(record)](self, address, name, record, key)
        for (merchant, hold_no), (key, _) in self._projections.items():
            if (merchant, hold_no) not in self._in_flight:
                yield Violation("projection", "records", key, "has no other side")
        yield from self._certificates.left()
        for address, status in self._applied.items():
            yield Violation("profile", "actors", address, f"{status}, and has none")
        for (merchant, before, after), (side, _) in self._links.items():
            detail = f"{before or 'its start'} and {after or 'its end'}: only {side} says so"
            yield Violation("pending-queue", "records", merchant, detail)
        for (address, method), limits in self._limits.items():
            detail = f"{limits} of {method} were never set"
            yield Violation("account-limits", "actors", address, detail)
        for key, _ in self._in_force.values():
            yield Violation("agreement", "records", key, "has no other side")
        for address, sequence in self._heard_of.items():
            events = self._happened.get(address.partition("/")[2], -1)
            if sequence > events:
                detail = f"it knows event {sequence} of {events}"
                yield Violation("webhook-events", "actors", address, detail)
        for tally in self._tallies:
            yield from tally.left()
        if self._view.timers is not None:
            for due_ns, address, name in self._view.timers:
                self._timers.add(f"{address} {name}", 1, due_ns)
            yield from (each for each in self._timers.left() if each.key not in self._expiring)

    # Messages and postings

    def _message(self, message: Envelope) -> Iterator[Violation]:
        if message.amount_minor:
            self._sums[message.business_date, message.currency] += message.amount_minor
            if message.business_date <= self._view.closed_through:
                key = f"{message.sender} -> {message.to}"
                detail = f"{message.amount_minor} {message.currency} of {message.business_date}"
                yield Violation("closed-date", "messages", key, detail)
        if isinstance(message.body, ExpireHold):
            # The timer's turn has failed: what was to expire waits with this parked message.
            self._expiring.add(f"{message.to} {message.body.merchant_no}/{message.body.hold_no}")
        elif isinstance(message.body, ExpireRefund):
            self._expiring.add(f"{message.to} pending/{message.body.refund_no}")
        self._in_flight.update(_concerns(message))
        # What a holder says to its certificate is not a thing of the holder's that is under way.
        certificate = message.to.startswith("certificate/")
        self._addressed.update((message.to,) if certificate else (message.sender, message.to))

    def _posting(self, posting: PostingRow) -> Iterator[Violation]:
        sequence, account, amount, currency, after, previous, _, business_date = posting
        self._sums[business_date, currency] += amount
        last, balance, kept_in = self._ledgers.get(account, (0, 0, currency))
        self._ledgers[account] = (sequence, after, kept_in)
        key = f"{account} {sequence}"
        if previous != last:
            yield Violation("ledger-chain", "journal", key, f"prev is {previous}, not {last}")
        if after != balance + amount:
            detail = f"{balance} and {amount} is not {after}"
            yield Violation("ledger-balance", "journal", key, detail)
        if currency != kept_in:
            yield Violation("ledger-currency", "journal", key, f"{currency} beside {kept_in}")
        if after < 0 and not account.startswith(CLEARING):
            yield Violation("overdraft", "journal", key, f"{after} after {amount}")
        if abs(after) > BALANCE_MAX:
            yield Violation("circulation", "journal", key, f"{after} after {amount}")

    def _sums_left(self) -> Iterator[Violation]:
        totals: defaultdict[str, int] = defaultdict(int)
        for (business_date, currency), total in self._sums.items():
            totals[currency] += total
            if total:
                key = f"{business_date} {currency}"
                yield Violation("date-conservation", "journal", key, f"off by {total}")
        for currency, total in totals.items():
            if total:
                yield Violation("conservation", "journal", currency, f"off by {total}")

    # Actors

    def _account(self, address: str, account: Account) -> Iterator[Violation]:
        number = address.partition("/")[2]
        yield from self._balance(
            number, account.posted_minor, account.posted_last, account.currency
        )
        held, frozen = account.held_minor, account.frozen_minor
        if account.kind != "clearing" and (
            held < 0 or frozen < 0 or held + frozen > account.posted_minor
        ):
            detail = f"{held} held and {frozen} frozen of {account.posted_minor}"
            yield Violation("overdraft", "actors", address, detail)
        out = account.transfers_out
        if account.status == "CLOSED" and (account.posted_minor or account.holds_open or out):
            detail = f"{account.posted_minor} in it, {account.holds_open} holds open, {out} out"
            yield Violation("closed-account", "actors", address, detail)
        self._out.add(address, out)
        self._held.add(address, held, account.holds_open)
        self._frozen.add(address, frozen)
        yield from self._methods(address, account)

    def _methods(self, address: str, account: Account) -> Iterator[Violation]:
        """Check the use by method; what was used before a limit was set may be beyond it."""
        used = account.used_minor
        if len(used) != len(METHODS) or not all(0 <= each <= BALANCE_MAX for each in used):
            yield Violation("method-limit", "actors", address, f"{used} used")
        for method, limit, each in zip(METHODS, account.limits, used, strict=False):
            if limit != MethodLimit():
                limits = (limit.payment_limit_minor, limit.daily_limit_minor)
                self._limits[address, method] = limits
            carried = limit.carried_minor if account.used_date == limit.carried_date else 0
            if limit.daily_limit_minor is not None and each > max(limit.daily_limit_minor, carried):
                detail = f"{each} used of {limit.daily_limit_minor} by {method}"
                yield Violation("method-limit", "actors", address, detail)

    def _merchant(self, address: str, merchant: Merchant) -> Iterator[Violation]:
        for ledger, balance, last in (
            ("receivable", merchant.posted_minor, merchant.posted_last),
            ("fees", merchant.fees_minor, merchant.fees_last),
        ):
            yield from self._balance(f"{address}/{ledger}", balance, last, merchant.currency)
        if merchant.posted_minor < 0 or merchant.fees_minor < 0:
            detail = f"receivable {merchant.posted_minor}, fees {merchant.fees_minor}"
            yield Violation("overdraft", "actors", address, detail)
        if merchant.status == "CLOSED" and (merchant.posted_minor or address in self._addressed):
            detail = f"{merchant.posted_minor} owed to it, or a message on its way"
            yield Violation("closed-merchant", "actors", address, detail)
        if merchant.status == "CLOSED" and (merchant.in_flight or merchant.authorizations_open):
            detail = f"{merchant.in_flight} in flight, {merchant.authorizations_open} open"
            yield Violation("closed-merchant", "actors", address, detail)
        if merchant.status == "CLOSING" and not has_liabilities(merchant):
            yield Violation("closing-merchant", "actors", address, "nothing is open with it")
        if merchant.status in _UNTRIED:
            self._applied[address] = merchant.status
        self._counts.add(address, merchant.in_flight, merchant.authorizations_open)
        self._books.add(address, merchant.posted_minor, merchant.fees_minor)
        pending = merchant.pending
        if pending is not None:
            self._pending.add(address, pending.count, pending.first_minor)
            yield from self._link(address, "", pending.first, "the one before", 0)
            yield from self._link(address, pending.last, "", "the one after", pending.position + 1)
            if merchant.posted_minor >= pending.first_minor:
                detail = f"{pending.first} waits for {pending.first_minor}, which is there"
                yield from self._waits(address, "", f"{address}: {detail}")
        self._happened[address.partition("/")[2]] = merchant.events
        pages = merchant.events // PAGE_EVENTS
        self._pages.take(address, pages, pages + PAGE_EVENTS * (pages * (pages - 1) // 2))
        key = f"{address} {merchant.events}"
        yield from self._appended(address, lambda: tail_of(merchant)[1], "actors", key)

    def _balance(self, account: str, balance: int, last: int, currency: str) -> Iterator[Violation]:
        """Check an actor's own figures against its ledger, and count the ledger as owned."""
        ledger_last, ledger_balance, kept_in = self._ledgers.pop(account, (0, 0, currency))
        if (balance, last) != (ledger_balance, ledger_last):
            detail = f"{balance} as of {last}; its ledger says {ledger_balance} as of {ledger_last}"
            yield Violation("balance", "actors", account, detail)
        if currency != kept_in:
            yield Violation("ledger-currency", "actors", account, f"{currency}, not {kept_in}")

    def _certificate(self, address: str, certificate: Certificate) -> Iterator[Violation]:
        return self._certificates.certificate(address, certificate)

    def _bank(self, address: str, bank: Bank) -> Iterator[Violation]:
        self._counts.add(address, bank.in_flight, 0)
        yield from ()

    def _webhook(self, address: str, webhook: Webhook) -> Iterator[Violation]:
        self._deliveries.add(address, webhook.pending, webhook.delivered, webhook.failed)
        self._hears_of(address, webhook.cursor)
        yield from ()

    def _delivery(
        self, address: str, name: str, delivery: Delivery, key: str
    ) -> Iterator[Violation]:
        states = ("PENDING", "DELIVERED", "FAILED")
        self._deliveries.take(address, *(int(delivery.state == state) for state in states))
        self._hears_of(address, int(name))
        yield from ()

    def _hears_of(self, address: str, sequence: int) -> None:
        self._heard_of[address] = max(self._heard_of.get(address, 0), sequence)

    # An account's records

    def _allowance(
        self, address: str, name: str, allowance: Allowance, key: str
    ) -> Iterator[Violation]:
        limit, used = allowance.daily_limit_minor, allowance.used_minor
        carried = allowance.carried_minor if allowance.used_date == allowance.carried_date else 0
        if used < 0 or (limit is not None and used > max(limit, carried)):
            detail = f"{used} used of {limit} on {allowance.used_date}"
            yield Violation("daily-limit", "records", key, detail)
        if allowance.agreement_no:
            yield from self._force(address, allowance.agreement_no, name, allowance, key)

    def _agreement(
        self, address: str, name: str, agreement: Agreement, key: str
    ) -> Iterator[Violation]:
        self._changes.add(
            f"{address} {name}", agreement.changes, int(agreement.state == "CANCELLED")
        )
        if agreement.state == "SIGNED":
            yield from self._force(address, name, agreement.merchant_no, agreement, key)

    def _force(
        self, address: str, agreement_no: str, merchant_no: str, side: Any, key: str
    ) -> Iterator[Violation]:
        """Keep the side that is met first, and compare it with the other; so of the agreements
        of a payer with a merchant one at most is in force."""
        says = (merchant_no, side.payment_limit_minor, side.daily_limit_minor)
        other = self._in_force.pop((address, agreement_no), None)
        if other is None:
            self._in_force[address, agreement_no] = (key, says)
        elif other[1] != says:
            detail = f"{says}, but {other[0]} says {other[1]}"
            yield Violation("agreement", "records", key, detail)

    def _agreement_change(
        self, address: str, name: str, change: AgreementChange, key: str
    ) -> Iterator[Violation]:
        if change.state == "SUCCEEDED":
            changed = change.kind == "change"
            self._changes.take(f"{address} {change.agreement_no}", int(changed), int(not changed))
        yield from ()

    def _freeze(self, address: str, name: str, freeze: Freeze, key: str) -> Iterator[Violation]:
        if freeze.state == "FROZEN":
            self._frozen.take(address, freeze.amount_minor)
        self._unfreezes.add(f"{address} {name}", int(freeze.state == "RELEASED"))
        yield from ()

    def _unfreeze(
        self, address: str, name: str, unfreeze: Unfreeze, key: str
    ) -> Iterator[Violation]:
        self._unfreezes.take(f"{address} {unfreeze.freeze_no}", int(unfreeze.state == "SUCCEEDED"))
        yield from ()

    def _limits_change(
        self, address: str, name: str, change: LimitsChange, key: str
    ) -> Iterator[Violation]:
        method = (address, change.method)
        limits = (change.payment_limit_minor, change.daily_limit_minor)
        if change.state == "SUCCEEDED" and self._limits.get(method) == limits:
            del self._limits[method]
        yield from ()

    def _hold(self, address: str, name: str, hold: Hold, key: str) -> Iterator[Violation]:
        if not 0 <= hold.captured_minor <= share_minor(hold.amount_minor, hold.limit_bps):
            detail = f"{hold.captured_minor} of {hold.amount_minor} at {hold.limit_bps} bps"
            yield Violation("hold-limit", "records", key, detail)
        self._held.take(address, rest_minor(hold), int(hold.state in OPEN_STATES))
        if hold.state in OPEN_STATES:
            self._timers.take(f"{address} {name}", 1, hold.expires_at_ns)
        yield from self._project(f"merchant/{hold.merchant_no}", hold.hold_no, hold, key)

    def _transfer(
        self, address: str, name: str, transfer: Transfer, key: str
    ) -> Iterator[Violation]:
        if transfer.state == "PROCESSING":
            self._out.take(address, 1)
            yield from self._waits(address, name, key)

    # A merchant's records

    def _payment(self, address: str, name: str, payment: Payment, key: str) -> Iterator[Violation]:
        yield from self._refundable(address, name, payment, payment.amount_minor, key)
        if payment.state == "SUCCEEDED" and not payment.reversing:
            fee = payment.fee_minor
            self._books.take(address, payment.amount_minor - fee, fee)
        self._counts.take(address, int(payment.state == "PROCESSING"), 0)
        if payment.state == "PROCESSING" or payment.reversing:
            yield from self._waits(address, name, key)
        self._reversals.add(f"{address} {name}", int(payment.state == "REVERSED"))
        if payment.state != "PROCESSING":
            self._outcome(address, "payment", name, payment.amount_minor, payment)

    def _authorization(
        self, address: str, name: str, authorization: Authorization, key: str
    ) -> Iterator[Violation]:
        captured = authorization.captured_minor
        yield from self._refundable(address, name, authorization, captured, key)
        self._operations.add(
            f"{address} {name}",
            captured,
            authorization.captures,
            authorization.amount_minor - authorization.requested_minor,
            authorization.increments,
        )
        self._counts.take(address, 0, int(authorization.state in OPEN_AUTHORIZATIONS))
        if authorization.state == "PROCESSING" or authorization.operation:
            yield from self._waits(address, name, key)
        if authorization.state not in {"PROCESSING", "FAILED"}:
            yield from self._project(address, name, authorization, key)
        if authorization.state != "PROCESSING":
            requested = authorization.requested_minor
            self._outcome(address, "authorization", name, requested, authorization)
        rest = authorization.amount_minor - captured
        # One that was captured in part and ended so: released, captured finally, or else expired.
        if authorization.state == "EXPIRED" or (authorization.state == "CAPTURED" and rest > 0):
            self._event(address, EventType.EXPIRED, name, rest, -1)

    def _operation(
        self, address: str, name: str, operation: Operation, key: str
    ) -> Iterator[Violation]:
        original = f"{address} {operation.original}"
        amount, fee = operation.amount_minor, operation.fee_minor
        if operation.state == "PROCESSING":
            self._counts.take(address, 1, 0)
            yield from self._waits(address, operation.original, key)
            return
        rest = operation.hold_amount_minor - operation.hold_captured_minor
        freed = operation.state == "SUCCEEDED" and operation.kind in {"void", "release"}
        self._outcome(address, operation.kind, name, rest if freed else amount, operation)
        if operation.state == "SUCCEEDED":
            if operation.kind == "release" or (operation.final and rest > 0):
                self._event(address, EventType.EXPIRED, operation.original, rest, 1)
            if operation.kind == "capture":
                self._operations.take(original, amount, 1, 0, 0)
                self._books.take(address, amount - fee, fee)
            elif operation.kind == "increment":
                self._operations.take(original, 0, 0, amount, 1)
            elif operation.kind == "reversal":
                self._reversals.take(original, 1)

    def _remedy(self, address: str, name: str, remedy: Remedy, key: str) -> Iterator[Violation]:
        if remedy.state != "FAILED":
            refund = f"{address} {remedy.refund_no} {remedy.account_no}"
            self._remedies.take(f"{refund} by {remedy.kind} {name} {remedy.state}", 1)
        if remedy.state == "PROCESSING":
            yield from self._waits(address, remedy.refund_no, key)
        if remedy.state == "FAILED":
            amount = remedy.amount_minor
            self._event(address, REMEDY_FAILED[remedy.kind], name, amount, -1)
            if remedy.code not in AT_ONCE:  # then an account was asked, and could not take it
                self._event(address, _ABNORMAL, remedy.refund_no, amount, -1)

    def _link(
        self, merchant: str, before: str, after: str, side: str, position: int
    ) -> Iterator[Violation]:
        """Keep the side of a queue's link that is met first, and compare it with the other.

        Each link is known to both its ends, and positions ascend along it: so there is one
        chain from the queue's start to its end, and nothing beside it.
        """
        other = self._links.pop((merchant, before, after), None)
        if other is None:
            self._links[merchant, before, after] = (side, position)
            return
        ends = (position, other[1]) if side == "the one before" else (other[1], position)
        if side == other[0] or ends[0] >= ends[1]:
            detail = f"{before or 'its start'} and {after or 'its end'}: {ends}"
            yield Violation("pending-queue", "records", merchant, detail)

    def _refund(self, address: str, name: str, refund: Refund, key: str) -> Iterator[Violation]:
        original = f"{address} {refund.original_kind} {refund.original}"
        amount = refund.amount_minor
        queued = refund.queued
        if queued is not None:
            at = queued.position
            yield from self._link(address, queued.before, name, "the one after", at)
            yield from self._link(address, name, queued.after, "the one before", at)
            self._pending.take(address, 0, 0 if queued.before else amount)
        if refund.state == "PENDING_FUNDS":
            self._pending.take(address, 1, 0)
            self._timers.take(f"{address} pending/{name}", 1, refund.created_ns + WAIT_NS)
        if refund.redirect_no:
            by = f"redirect {refund.redirect_no} {refund.state}"
            self._remedies.add(f"{address} {name} {refund.redirected_to} by {by}", 1)
        if refund.close_no:
            self._remedies.add(f"{address} {name}  by closing {refund.close_no} SUCCEEDED", 1)
        if refund.state in {"PROCESSING", "PENDING_FUNDS", "ABNORMAL"}:
            self._counts.take(address, 1, 0)
        if refund.state in {"PENDING_FUNDS", "ABNORMAL"}:
            self._refunds.take(original, 0, amount, 1)
        elif refund.state == "PROCESSING":
            yield from self._waits(address, name, key)
            self._refunds.take(original, 0, amount, 1)
            self._books.add(address, amount, 0)
        elif refund.state == "SUCCEEDED":
            self._refunds.take(original, amount, 0, 1)
            self._books.add(address, amount, 0)
        events = REFUND_STATES[refund.original_kind]
        if refund.state in {"SUCCEEDED", "FAILED", "CLOSED"}:
            self._event(address, events[refund.state], name, amount, -1)
        if refund.first == "PENDING_FUNDS":
            self._event(address, events["PENDING_FUNDS"], name, amount, -1)
        closed_abnormal = refund.state == "CLOSED" and refund.code is not None
        # Each redirect that it came back from counts once more.
        if refund.state == "ABNORMAL" or refund.redirect_no or closed_abnormal:
            self._event(address, events["ABNORMAL"], name, amount, -1)

    def _page(self, address: str, name: str, page: EventPage, key: str) -> Iterator[Violation]:
        self._pages.add(address, 1, int(name))
        if (int(name) - 1) % PAGE_EVENTS:
            yield Violation("events-gapless", "records", key, "no page begins here")
        events = page.events
        yield from self._appended(address, lambda: open_events(events, PAGE_EVENTS), "records", key)

    def _appended(
        self, address: str, events: Callable[[], list[Event]], table: str, key: str
    ) -> Iterator[Violation]:
        """Count the events of a page, or of a merchant's state."""
        try:
            opened = events()
        except MsgspecError as error:
            yield Violation("events-gapless", table, key, str(error))
            return
        for event in opened:
            self._event(address, event.type, event.number, event.amount_minor, 1)
        times = [event.at_ns for event in opened]
        if times != sorted(times):
            yield Violation("events-gapless", table, key, "not in the order of time")

    def _outcome(self, address: str, what: str, name: str, amount: int, bound: Bound) -> None:
        """Count an outcome against its event."""
        self._event(address, OUTCOMES[what][bound.state == "FAILED"], name, amount, -1)

    def _event(self, address: str, type_: EventType, number: str, amount: int, sign: int) -> None:
        checksum = zlib.crc32(number.encode())
        # A redirect that failed does not know what the refund is of.
        if type_ is EventType.AUTHORIZATION_REFUND_ABNORMAL:
            type_ = _ABNORMAL
        self._events.add(f"{address} {type_.name}", sign, sign * amount, sign * checksum)

    def _refundable(
        self, address: str, name: str, original: Payment | Authorization, taken: int, key: str
    ) -> Iterator[Violation]:
        refunded, refunding = original.refunded_minor, original.refunding_minor
        if refunded < 0 or refunding < 0 or refunded + refunding > taken:
            detail = f"{refunded} refunded and {refunding} on the way of {taken}"
            yield Violation("refund-limit", "records", key, detail)
        kind = type(original).__name__.lower()
        self._refunds.add(f"{address} {kind} {name}", refunded, refunding, original.refunds)

    def _profile(self, address: str, name: str, profile: Profile, key: str) -> Iterator[Violation]:
        status = self._applied.pop(address, "")
        if status and bool(profile.contract_no) != (status == "PROVISIONING"):
            yield Violation("profile", "records", key, f"{status}, contract {profile.contract_no}")

    # A holder's records

    def _registered(
        self, address: str, name: str, registered: Registered, key: str
    ) -> Iterator[Violation]:
        if registered.state == "PROCESSING":
            self._counts.take(address, 1, 0)
            yield from self._waits(address, name, key)
        yield from self._certificates.registered(address, name, registered, key)

    def _named(self, address: str, name: str, named: Named, key: str) -> Iterator[Violation]:
        return self._certificates.named(address, name, named)

    def _roster(self, address: str, name: str, roster: Roster, key: str) -> Iterator[Violation]:
        return self._certificates.roster(address, roster)

    # What two sides say

    def _project(
        self, merchant: str, hold_no: str, side: Hold | Authorization, key: str
    ) -> Iterator[Violation]:
        """Keep the side that is met first, and compare it with the other."""
        figures = (
            side.amount_minor,
            side.captured_minor,
            side.captures,
            side.increments,
            side.state,
            side.expires_at_ns,
        )
        other = self._projections.pop((merchant, hold_no), None)
        if other is None:
            self._projections[merchant, hold_no] = (key, figures)
        elif other[1] != figures and (merchant, hold_no) not in self._in_flight:
            detail = f"{figures}, but {other[0]} says {other[1]}"
            yield Violation("projection", "records", key, detail)

    def _waits(self, address: str, name: str, key: str) -> Iterator[Violation]:
        if (address, name) not in self._in_flight:
            yield Violation("at-rest", "records", key, "waits, and no message is on its way")


def _concerns(message: Envelope) -> Iterator[tuple[str, str]]:
    """Yield (address, name) of the thing for whose sake a message is on its way."""
    body = message.body
    ends = (message.sender, message.to)
    for field in ("order_no", "hold_no", "refund_no", "certificate_no"):
        name = getattr(body, field, None)
        if name is not None:
            yield from ((end, name) for end in ends if end.startswith(("merchant/", "bank/")))
    yield from ((end, "") for end in ends if end.startswith("certificate/"))
    if isinstance(body, ResumeRefunds):
        yield message.to, ""
    name = getattr(body, "name", None)
    if name is not None:
        yield message.sender if isinstance(body, CreditTransfer) else message.to, name


_STATES: Final[Mapping[type[Struct], Callable[[_Audit, str, Any], Iterator[Violation]]]] = {
    Account: _Audit._account,
    Merchant: _Audit._merchant,
    Certificate: _Audit._certificate,
    Bank: _Audit._bank,
    Webhook: _Audit._webhook,
}

_RECORDS: Final[
    Mapping[type[Struct], Callable[[_Audit, str, str, Any, str], Iterator[Violation]]]
] = {
    Allowance: _Audit._allowance,
    Agreement: _Audit._agreement,
    AgreementChange: _Audit._agreement_change,
    LimitsChange: _Audit._limits_change,
    Freeze: _Audit._freeze,
    Unfreeze: _Audit._unfreeze,
    Hold: _Audit._hold,
    Transfer: _Audit._transfer,
    Payment: _Audit._payment,
    Authorization: _Audit._authorization,
    Operation: _Audit._operation,
    Refund: _Audit._refund,
    Remedy: _Audit._remedy,
    EventPage: _Audit._page,
    Profile: _Audit._profile,
    Registered: _Audit._registered,
    Named: _Audit._named,
    Roster: _Audit._roster,
    Delivery: _Audit._delivery,
}
