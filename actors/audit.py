"""Audit: what must always hold for the money, checked over everything that is stored.

`verify`, the simulator and the tests share it, so it reads plain iterables, each once. Postings
and records stream through; memory is taken by one small entry for each ledger account
(`actors.ledger_table`), and by each thing of which one side has been read and the other not yet.
Each part has a file of its own; this one has the list of all, and says which part takes what.

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

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct

from actors.account import Account
from actors.account_audit import AccountAudit
from actors.certificate import Certificate
from actors.certificate_audit import CertificateAudit
from actors.event import EventPage
from actors.event_audit import EventAudit
from actors.flight_audit import FlightAudit
from actors.ledger_audit import LedgerAudit, PostingRow
from actors.merchant import Merchant
from actors.merchant_audit import MerchantAudit
from actors.projection_audit import ProjectionAudit
from actors.registration import Bank
from actors.tally import Tally, Violation
from actors.webhook import Delivery, Webhook
from engine.kind import RecordKind
from engine.message import Envelope


class StoreView(NamedTuple):
    """What an audit reads, as of one moment; each iterable is read once, but for the postings.

    Attributes:
        states: (address, state) of every actor.
        records: (address, record kind, name, record), in any order.
        postings: in journal order within each ledger account; read once more for the names of
            accounts that turn out to be nobody's.
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
    return Audit(view.closed_through).violations(view)


class Audit:
    """The parts, and which of them takes what.

    Attributes:
        states: type of an actor's state → what takes it: `(address, state)`.
        records: type of a record → what takes it: `(address, name, record, key)`.
    """

    def __init__(self, closed_through: str = "") -> None:
        self._flight = FlightAudit()
        self._ledgers = LedgerAudit(closed_through)
        self._timers = Tally("timers", "timers", "timers", "due_ns")
        self._counts = Tally("merchant-counts", "actors", "in_flight", "authorizations_open")
        self._projections = ProjectionAudit(self._flight.things)
        self._events = EventAudit()
        self._certificates = CertificateAudit(self._flight, self._counts)
        self._accounts = AccountAudit(self._ledgers, self._flight, self._projections, self._timers)
        self._merchants = MerchantAudit(
            self._ledgers,
            self._flight,
            self._projections,
            self._events,
            self._timers,
            self._counts,
        )
        self.states: dict[type[Struct], Callable[[str, Any], Iterator[Violation]]] = {
            Account: self._accounts.account,
            Merchant: self._merchants.merchant,
            Certificate: self._certificates.certificate,
            Bank: self._certificates.bank,
            Webhook: self._events.webhook,
        }
        self.records: dict[type[Struct], Callable[..., Iterator[Violation]]] = {
            **self._accounts.records(),
            **self._merchants.records(),
            **self._certificates.records(),
            EventPage: self._events.page,
            Delivery: self._events.delivery,
        }

    def violations(self, view: StoreView) -> Iterator[Violation]:
        """Read all of it once; messages first, since rows are judged by them."""
        for message in view.messages:
            self._flight.message(message)
            yield from self._ledgers.message(message)
        for posting in view.postings:
            yield from self._ledgers.posting(posting)
        yield from self._ledgers.totals()
        for address, state in view.states:
            yield from self.states[type(state)](address, state)
        yield from self._ledgers.left(view.postings)
        for address, kind, name, record in view.records:
            key = f"{address} {kind.name} {name}"
            yield from self.records[type(record)](address, name, record, key)
        for part in (
            self._projections,
            self._certificates,
            self._accounts,
            self._merchants,
            self._events,
            self._counts,
        ):
            yield from part.left()
        if view.timers is not None:
            for due_ns, address, name in view.timers:
                self._timers.add(f"{address} {name}", 1, due_ns)
            expiring = self._flight.expiring
            yield from (each for each in self._timers.left() if each.key not in expiring)
