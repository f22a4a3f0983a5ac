"""The audit of merchants: their figures are those of their payments, operations and refunds.

Part of `actors.audit`, with the same rules: rows come in any order, each once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from actors.authorization import OPEN_STATES as OPEN_AUTHORIZATIONS
from actors.authorization import Authorization
from actors.event import REFUND_STATES, REMEDY_FAILED, EventType
from actors.event_audit import ABNORMAL, EventAudit
from actors.flight_audit import FlightAudit
from actors.ledger_audit import LedgerAudit
from actors.lifecycle import Profile
from actors.merchant import Merchant, has_liabilities
from actors.operation import Operation
from actors.payment import Payment
from actors.projection_audit import ProjectionAudit
from actors.refund import WAIT_NS, Refund
from actors.remedy import AT_ONCE, Remedy
from actors.tally import Tally, Violation

_UNTRIED: Final = frozenset({"DRAFT", "AUDITING", "REJECTED", "TO_BE_SIGNED", "PROVISIONING"})
"""The statuses of a merchant that has applied and was never activated."""


class MerchantAudit:
    """Checks merchants and their records.

    Args:
        ledgers: their journal.
        flight: what is on its way.
        projections: what holds say of authorizations.
        events: what merchants were told.
        timers: takes one for each refund that waits.
        counts: takes what is under way and open.
    """

    def __init__(
        self,
        ledgers: LedgerAudit,
        flight: FlightAudit,
        projections: ProjectionAudit,
        events: EventAudit,
        timers: Tally,
        counts: Tally,
    ) -> None:
        self._ledgers = ledgers
        self._flight = flight
        self._projections = projections
        self._events = events
        self._timers = timers
        self._counts = counts
        self._books = Tally("merchant-book", "actors", "posted_minor", "fees_minor")
        self._refunds = Tally("refunds", "records", "refunded_minor", "refunding_minor", "refunds")
        self._operations = Tally(
            "operations", "records", "captured_minor", "captures", "incremented", "increments"
        )
        self._reversals = Tally("reversals", "records", "reversals")
        self._remedies = Tally("remedies", "records", "remedies")
        self._pending = Tally("pending-queue", "actors", "count", "first_minor")
        self._links: dict[tuple[str, str, str], tuple[str, int]] = {}
        self._applied: dict[str, str] = {}

    def records(self) -> Mapping[type[Struct], Callable[..., Iterator[Violation]]]:
        """Return what takes each type of record: `(address, name, record, key)`."""
        return {
            Payment: self._payment,
            Authorization: self._authorization,
            Operation: self._operation,
            Refund: self._refund,
            Remedy: self._remedy,
            Profile: self._profile,
        }

    def merchant(self, address: str, merchant: Merchant) -> Iterator[Violation]:
        """Take a merchant's state."""
        for ledger, balance, last in (
            ("receivable", merchant.posted_minor, merchant.posted_last),
            ("fees", merchant.fees_minor, merchant.fees_last),
        ):
            yield from self._ledgers.balance(
                f"{address}/{ledger}", balance, last, merchant.currency
            )
        if merchant.posted_minor < 0 or merchant.fees_minor < 0:
            detail = f"receivable {merchant.posted_minor}, fees {merchant.fees_minor}"
            yield Violation("overdraft", "actors", address, detail)
        if merchant.status == "CLOSED" and (
            merchant.posted_minor or address in self._flight.addressed
        ):
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
                yield from self._flight.waits(address, "", f"{address}: {detail}")
        yield from self._events.merchant(address, merchant)

    def left(self) -> Iterator[Violation]:
        """Yield what does not fit, once all rows have been told."""
        for address, status in self._applied.items():
            yield Violation("profile", "actors", address, f"{status}, and has none")
        for (merchant, before, after), (side, _) in self._links.items():
            detail = f"{before or 'its start'} and {after or 'its end'}: only {side} says so"
            yield Violation("pending-queue", "records", merchant, detail)
        for tally in (
            self._books,
            self._refunds,
            self._operations,
            self._reversals,
            self._remedies,
            self._pending,
        ):
            yield from tally.left()

    def _payment(self, address: str, name: str, payment: Payment, key: str) -> Iterator[Violation]:
        yield from self._refundable(address, name, payment, payment.amount_minor, key)
        if payment.state == "SUCCEEDED" and not payment.reversing:
            fee = payment.fee_minor
            self._books.take(address, payment.amount_minor - fee, fee)
        self._counts.take(address, int(payment.state == "PROCESSING"), 0)
        if payment.state == "PROCESSING" or payment.reversing:
            yield from self._flight.waits(address, name, key)
        self._reversals.add(f"{address} {name}", int(payment.state == "REVERSED"))
        if payment.state != "PROCESSING":
            self._events.outcome(address, "payment", name, payment.amount_minor, payment)

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
            yield from self._flight.waits(address, name, key)
        if authorization.state not in {"PROCESSING", "FAILED"}:
            yield from self._projections.tell(address, name, authorization, key)
        if authorization.state != "PROCESSING":
            requested = authorization.requested_minor
            self._events.outcome(address, "authorization", name, requested, authorization)
        rest = authorization.amount_minor - captured
        # One that was captured in part and ended so: released, captured finally, or else expired.
        if authorization.state == "EXPIRED" or (authorization.state == "CAPTURED" and rest > 0):
            self._events.happened(address, EventType.EXPIRED, name, rest, -1)

    def _operation(
        self, address: str, name: str, operation: Operation, key: str
    ) -> Iterator[Violation]:
        original = f"{address} {operation.original}"
        amount, fee = operation.amount_minor, operation.fee_minor
        if operation.state == "PROCESSING":
            self._counts.take(address, 1, 0)
            yield from self._flight.waits(address, operation.original, key)
            return
        rest = operation.hold_amount_minor - operation.hold_captured_minor
        freed = operation.state == "SUCCEEDED" and operation.kind in {"void", "release"}
        self._events.outcome(address, operation.kind, name, rest if freed else amount, operation)
        if operation.state == "SUCCEEDED":
            if operation.kind == "release" or (operation.final and rest > 0):
                self._events.happened(address, EventType.EXPIRED, operation.original, rest, 1)
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
            yield from self._flight.waits(address, remedy.refund_no, key)
        if remedy.state == "FAILED":
            amount = remedy.amount_minor
            self._events.happened(address, REMEDY_FAILED[remedy.kind], name, amount, -1)
            if remedy.code not in AT_ONCE:  # then an account was asked, and could not take it
                self._events.happened(address, ABNORMAL, remedy.refund_no, amount, -1)

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
            yield from self._flight.waits(address, name, key)
            self._refunds.take(original, 0, amount, 1)
            self._books.add(address, amount, 0)
        elif refund.state == "SUCCEEDED":
            self._refunds.take(original, amount, 0, 1)
            self._books.add(address, amount, 0)
        events = REFUND_STATES[refund.original_kind]
        if refund.state in {"SUCCEEDED", "FAILED", "CLOSED"}:
            self._events.happened(address, events[refund.state], name, amount, -1)
        if refund.first == "PENDING_FUNDS":
            self._events.happened(address, events["PENDING_FUNDS"], name, amount, -1)
        closed_abnormal = refund.state == "CLOSED" and refund.code is not None
        # Each redirect that it came back from counts once more.
        if refund.state == "ABNORMAL" or refund.redirect_no or closed_abnormal:
            self._events.happened(address, events["ABNORMAL"], name, amount, -1)

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
