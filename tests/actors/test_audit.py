"""The audit: silent on a healthy bank, and each invariant is shown to fire on a damaged one."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from actors import audit as audits
from actors import commands
from actors.agreement import ALLOWANCES
from actors.audit import audit
from actors.authorization import AUTHORIZATIONS
from actors.commands import BANK
from actors.event import (
    EVENTS,
    PAGE_EVENTS,
    Event,
    EventPage,
    EventType,
    open_events,
    page_name,
    tail_of,
)
from actors.freeze import FREEZES, UNFREEZES
from actors.hold import HOLDS
from actors.kinds import KINDS
from actors.lifecycle import PROFILE, PROFILES
from actors.limits import LIMITS_CHANGES
from actors.messages import PaymentDeclined
from actors.method import MethodLimit
from actors.money import BALANCE_MAX
from actors.operation import CAPTURES, INCREMENTS, REVERSALS
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, Queued
from actors.refusal import Refusal
from actors.registration import CERTIFICATES, ROSTER, ROSTERS, SERIALS
from actors.remedy import CLOSINGS, REDIRECTS
from actors.signing import AGREEMENTS, CHANGES
from actors.tally import Violation
from actors.transfer import TRANSFERS
from actors.webhook import DELIVERIES, delivery_name
from engine.address import row_key
from engine.kind import RecordKind
from engine.message import Envelope
from tests.actors.driver import (
    DAY,
    MERCHANT,
    MORNING,
    PAYER,
    SECOND,
    Bank,
    application,
    authorization,
    issued,
    payment,
    registering,
    shop,
)

CLEARING = "account/clearing-USD"
FIRST_PAGE = page_name(1)


def _bank() -> Bank:
    """Return a bank in which everything has happened once; nothing is in flight."""
    bank = shop(fee_bps=100, over_capture=True, daily_limit_minor=50_000)
    bank.do(payment("O1", 2_000))
    bank.do(payment("O2", 1_000))
    bank.do(commands.RefundPayment("M1", "R1", "O1", 500))
    bank.do(commands.ReversePayment("M1", "O2", "V2"))
    bank.do(authorization("H1", 1_000))
    bank.do(commands.IncrementAuthorization("M1", "H1", "I1", 100))
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 700))
    bank.do(commands.RefundAuthorization("M1", "R2", "H1", 50))
    bank.do(authorization("H2", 300))
    bank.do(commands.VoidAuthorization("M1", "H2", "V1"))
    bank.code(authorization("H3", 10**12))
    for hold_no in ("H4", "H5", "H6", "H7"):
        bank.do(authorization(hold_no, 100, valid_s=60))
    for hold_no in ("H4", "H6", "H7"):
        final = hold_no == "H6"
        bank.do(commands.CaptureAuthorization("M1", hold_no, f"C{hold_no}", 30, final))
    bank.do(commands.ReleaseAuthorization("M1", "H7", "L1"))
    bank.wait(60 * SECOND)
    bank.fire()
    bank.run()
    bank.do(commands.WithdrawFunds("A1", "W1", 100, "USD"))
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.CloseAccount("A2"))
    bank.do(commands.OpenAccount("A3", "USD"))
    bank.do(commands.CreateTransfer("A1", "T1", "A3", 100, "USD"))
    _astray_and_waiting(bank)
    bank.do(commands.SignAgreement("A1", "G2", "M2"))
    bank.do(commands.CancelAgreement("A1", "G2", "E1"))
    bank.do(commands.SignAgreement("A1", "G3", "M2"))
    bank.do(commands.ChangeAgreement("A1", "G3", "C1", 500, None))
    bank.code(commands.SignAgreement("A1", "G4", "M2"))
    bank.do(commands.SetAccountLimits("A1", "L1", "withdrawal", None, 1_000))
    bank.do(commands.FreezeAmount("A1", "F1", 200))
    bank.do(commands.FreezeAmount("A1", "F2", 300))
    bank.do(commands.UnfreezeAmount("A1", "F2", "U1"))
    bank.do(commands.OpenMerchant("M4", "USD"))
    bank.do(commands.CloseMerchant("M4"))
    bank.do(application("M5"))
    bank.do(registering("N0", "a0", 30, start_ns=MORNING - 30 * DAY))  # it has ended already
    bank.do(registering("N1", "a1"))
    bank.do(registering("N2", "a2", renews="a1"))
    bank.do(registering("N3", "a3"))
    bank.do(commands.RevokeCertificate("M1", "a3"))
    bank.code(registering("N4", "a2"))
    bank.do(commands.RegisterBankCertificate("N1", "0" * 64, issued("b1")))
    bank.do(commands.SetWebhook("M1", "https://shop.example/hook", 0))
    results = tuple(
        commands.Result(sequence, 0, commands.Attempt(MORNING, 5, status))
        for sequence, status in ((1, 200), (2, 500))
    )
    bank.do(commands.RecordDeliveries("M1", 3, (3,), results))
    bank.audited = False
    return bank


def _astray_and_waiting(bank: Bank) -> None:
    """Refunds of M2 wait in a queue; of M3's one was redirected, one closed, one is as it was."""
    bank.do(commands.OpenMerchant("M2", "USD", fee_bps=10_000))
    bank.do(commands.OpenMerchant("M3", "USD"))
    bank.do(commands.OpenAccount("A4", "USD"))
    bank.do(commands.SignAgreement("A4", "M2", "M2"))
    bank.do(commands.SignAgreement("A4", "M3", "M3"))
    bank.do(commands.FundAccount("A4", "F4", 2_000, "USD"))
    for merchant_no in ("M2", "M3"):
        bank.do(commands.CreatePayment(merchant_no, "O1", "A4", 1_000, "USD"))
    bank.do(commands.CloseAccount("A4"))
    for merchant_no in ("M2", "M3"):
        for n in (1, 2, 3):
            bank.do(commands.RefundPayment(merchant_no, f"R{n}", "O1", 100, wait_for_funds=True))
    bank.do(commands.RedirectRefund("M3", "R1", "D1", "A3"))
    bank.do(commands.CloseRefund("M3", "R2", "X1"))
    bank.code(commands.RedirectRefund("M3", "R3", "D2", "nobody"))


def _fired(bank: Bank, closed_through: str = "") -> set[str]:
    return {violation.invariant for violation in audit(bank.view(closed_through))}


def test_audit_of_healthy_bank_is_silent() -> None:
    assert _fired(_bank(), closed_through="2026-01-05") == set()


def test_audit_of_bank_in_mid_flight_is_silent() -> None:
    """Money in messages, answers outstanding, a hold that the merchant has not heard of."""
    bank = _bank()
    bank.send(payment("O5"))
    bank.send(commands.FundAccount("A1", "F5", 5, "USD"))
    bank.send(commands.CreateTransfer("A1", "T5", "A3", 5, "USD"))
    bank.send(commands.CreateTransfer("A1", "T6", "A2", 5, "USD"))
    bank.send(authorization("H5"))
    bank.send(commands.RefundPayment("M1", "R5", "O1", 5))
    bank.send(commands.CaptureAuthorization("M1", "H1", "C5", 5))
    bank.send(registering("N5", "a5", renews="a2"))
    bank.send(registering("N6", "a2"))
    bank.send(commands.RevokeCertificate("M1", "a2"))
    while bank.queue:
        assert _fired(bank) == set()
        bank.deliver_at(len(bank.queue) // 2)


def test_audit_reads_records_in_any_order() -> None:
    bank = _bank()
    records = list(bank.records())
    assert list(audit(bank.view()._replace(records=reversed(records)))) == []


Damage = Callable[[Bank], object]


def _state(address: str, **changes: Any) -> Damage:
    return lambda bank: bank.force(address, **changes)


def _record(address: str, kind: RecordKind[Any], name: str, **changes: Any) -> Damage:
    return lambda bank: _put(
        bank, address, kind, name, replace(bank.get(address, kind, name), **changes)
    )


def _put(bank: Bank, address: str, kind: RecordKind[Any], name: str, record: Struct) -> None:
    bank.rows[row_key(address) + b"\0" + kind.tag + name.encode()] = msgspec.msgpack.encode(record)


def _queue(**changes: Any) -> Damage:
    def damage(bank: Bank) -> None:
        pending = bank.merchant("M2").pending
        assert pending is not None
        bank.force("merchant/M2", pending=replace(pending, **changes))

    return damage


def _drop(address: str, kind: RecordKind[Any], name: str) -> Damage:
    def damage(bank: Bank) -> None:
        del bank.rows[row_key(address) + b"\0" + kind.tag + name.encode()]

    return damage


def _posting(sequence: int, **changes: Any) -> Damage:
    """Change columns of one posting, counted from 1; negative from the end."""
    columns = ("sequence", "account", "amount", "currency", "after", "previous", "ref", "date")

    def damage(bank: Bank) -> None:
        index = sequence - 1 if sequence > 0 else sequence
        row: Any = bank.postings[index]
        new = tuple(changes.get(column, value) for column, value in zip(columns, row, strict=True))
        bank.postings[index] = new

    return damage


def _tail(change: Callable[[list[Event]], object], events: int) -> Damage:
    """Change the events in the merchant's state, and how many there are."""

    def damage(bank: Bank) -> None:
        merchant = bank.merchant("M1")
        tail = tail_of(merchant)[1]
        change(tail)
        encoded = b"".join(map(msgspec.msgpack.encode, tail))
        bank.force(MERCHANT, tail=encoded, events=merchant.events + events)

    return damage


def _page(change: Callable[[list[Event]], object]) -> Damage:
    def damage(bank: Bank) -> None:
        events = open_events(bank.get(MERCHANT, EVENTS, FIRST_PAGE).events, PAGE_EVENTS)
        change(events)
        page = EventPage(b"".join(map(msgspec.msgpack.encode, events)))
        _put(bank, MERCHANT, EVENTS, FIRST_PAGE, page)

    return damage


def _page_elsewhere(bank: Bank) -> None:
    page = bank.get(MERCHANT, EVENTS, FIRST_PAGE)
    _drop(MERCHANT, EVENTS, FIRST_PAGE)(bank)
    _put(bank, MERCHANT, EVENTS, page_name(PAGE_EVENTS + 1), page)


def _page_twice(bank: Bank) -> None:
    page = bank.get(MERCHANT, EVENTS, FIRST_PAGE)
    _put(bank, MERCHANT, EVENTS, page_name(PAGE_EVENTS + 1), page)


def _no_account(bank: Bank) -> None:
    del bank.states[CLEARING]


DAMAGES: list[tuple[str, str, Damage]] = [
    ("timer-gone", "timers", lambda bank: bank.timers.popitem()),
    ("posting-dropped", "conservation date-conservation balance",
     lambda bank: bank.postings.pop()),
    ("posting-dropped-in-the-middle", "conservation date-conservation ledger-chain ledger-balance",
     lambda bank: bank.postings.pop(3)),
    ("posting-twice", "conservation date-conservation ledger-chain ledger-balance balance",
     lambda bank: bank.postings.append((99, *bank.postings[-1][1:]))),
    ("posting-of-other-amount", "conservation date-conservation ledger-balance",
     _posting(2, amount=99_999)),
    ("posting-of-other-date", "date-conservation", _posting(2, date="2026-01-06")),
    ("posting-of-other-currency", "conservation date-conservation ledger-currency",
     _posting(3, currency="EUR")),
    ("posting-with-other-previous", "ledger-chain", _posting(3, previous=1)),
    ("posting-below-zero", "overdraft ledger-balance", _posting(3, after=-1)),
    ("posting-beyond-the-cap", "circulation ledger-balance", _posting(3, after=BALANCE_MAX + 1)),
    ("actor-gone", "balance", _no_account),
    ("account-richer", "balance", _state(PAYER, posted_minor=10**6)),
    ("account-of-other-posting", "balance", _state(PAYER, posted_last=1)),
    ("account-of-other-currency", "ledger-currency", _state(PAYER, currency="EUR")),
    ("account-holds-more", "held", _state(PAYER, held_minor=401)),
    ("account-holds-more-than-it-has", "held overdraft", _state(PAYER, held_minor=10**6)),
    ("account-holds-below-zero", "held overdraft", _state(PAYER, held_minor=-1)),
    ("account-with-other-count-of-holds", "held", _state(PAYER, holds_open=2)),
    ("account-closed-with-money", "closed-account", _state(PAYER, status="CLOSED")),
    ("merchant-richer", "balance merchant-book", _state(MERCHANT, posted_minor=10**6)),
    ("merchant-below-zero", "balance merchant-book overdraft", _state(MERCHANT, posted_minor=-1)),
    ("merchant-with-other-fees", "balance merchant-book", _state(MERCHANT, fees_minor=1)),
    ("account-freezes-more", "frozen", _state(PAYER, frozen_minor=201)),
    ("account-freezes-more-than-it-has", "frozen overdraft", _state(PAYER, frozen_minor=10**6)),
    ("account-freezes-below-zero", "frozen overdraft", _state(PAYER, frozen_minor=-1)),
    ("freeze-gone", "frozen", _drop(PAYER, FREEZES, "F1")),
    ("freeze-released-by-nobody", "frozen unfreezes",
     _record(PAYER, FREEZES, "F1", state="RELEASED")),
    ("unfreeze-gone", "unfreezes", _drop(PAYER, UNFREEZES, "U1")),
    ("method-overused", "method-limit", _state(PAYER, used_minor=(0, 0, 0, 1_001))),
    ("method-used-below-zero", "method-limit", _state(PAYER, used_minor=(-1, 0, 0, 0))),
    ("method-missing", "method-limit", _state(PAYER, used_minor=(0, 0, 0))),
    ("limit-never-set", "account-limits",
     _state(PAYER, limits=(MethodLimit(), MethodLimit(), MethodLimit(5), MethodLimit()))),
    ("limit-change-gone", "account-limits", _drop(PAYER, LIMITS_CHANGES, "L1")),
    ("agreement-of-other-limit", "agreement",
     _record(PAYER, AGREEMENTS, "G3", payment_limit_minor=501)),
    ("agreement-of-other-merchant", "agreement",
     _record(PAYER, AGREEMENTS, "G3", merchant_no="M3")),
    ("agreement-in-force-again", "agreement agreement-changes",
     _record(PAYER, AGREEMENTS, "G2", state="SIGNED")),
    ("agreement-gone", "agreement agreement-changes", _drop(PAYER, AGREEMENTS, "G3")),
    ("allowance-gone", "agreement", _drop(PAYER, ALLOWANCES, "M1")),
    ("allowance-of-no-agreement", "agreement", _record(PAYER, ALLOWANCES, "M1", agreement_no="")),
    ("cancelling-gone", "agreement-changes", _drop(PAYER, CHANGES["cancel"], "E1")),
    ("change-gone", "agreement-changes", _drop(PAYER, CHANGES["change"], "C1")),
    ("merchant-with-other-count-in-flight", "merchant-counts", _state(MERCHANT, in_flight=1)),
    ("merchant-with-other-count-of-authorizations", "merchant-counts",
     _state(MERCHANT, authorizations_open=0)),
    ("merchant-closed-with-money-and-hold", "closed-merchant", _state(MERCHANT, status="CLOSED")),
    ("agreement-overused", "daily-limit", _record(PAYER, ALLOWANCES, "M1", used_minor=50_001)),
    ("hold-captured-beyond", "hold-limit held projection",
     _record(PAYER, HOLDS, "M1/H1", captured_minor=1_266)),
    ("hold-of-other-state", "held projection timers",
     _record(PAYER, HOLDS, "M1/H1", state="CAPTURED")),
    ("hold-opened-again", "held projection timers", _record(PAYER, HOLDS, "M1/H2", state="HELD")),
    ("hold-of-other-time", "projection timers", _record(PAYER, HOLDS, "M1/H1", expires_at_ns=1)),
    ("hold-gone", "held projection timers", _drop(PAYER, HOLDS, "M1/H1")),
    ("authorization-gone", "projection operations refunds events merchant-counts",
     _drop(MERCHANT, AUTHORIZATIONS, "H1")),
    ("authorization-failed-with-hold", "projection events",
     _record(MERCHANT, AUTHORIZATIONS, "H2", state="FAILED")),
    ("authorization-of-other-amount", "projection operations",
     _record(MERCHANT, AUTHORIZATIONS, "H1", amount_minor=1_000)),
    ("authorization-waiting", "at-rest",
     _record(MERCHANT, AUTHORIZATIONS, "H1", operation="capture")),
    ("authorization-processing", "at-rest projection merchant-counts events",
     _record(MERCHANT, AUTHORIZATIONS, "H2", state="PROCESSING")),
    ("capture-gone", "operations merchant-book events", _drop(MERCHANT, CAPTURES, "C1")),
    ("capture-of-other-amount", "operations merchant-book events",
     _record(MERCHANT, CAPTURES, "C1", amount_minor=701)),
    ("capture-waiting", "at-rest operations merchant-book merchant-counts events",
     _record(MERCHANT, CAPTURES, "C1", state="PROCESSING")),
    ("increment-gone", "operations events", _drop(MERCHANT, INCREMENTS, "I1")),
    ("reversal-gone", "reversals events", _drop(MERCHANT, REVERSALS, "V2")),
    ("reversal-undone", "reversals merchant-book",
     _record(MERCHANT, PAYMENTS, "O2", state="SUCCEEDED")),
    ("payment-gone", "refunds merchant-book events", _drop(MERCHANT, PAYMENTS, "O1")),
    ("payment-of-other-fee", "merchant-book", _record(MERCHANT, PAYMENTS, "O1", fee_minor=0)),
    ("payment-waiting", "at-rest merchant-book merchant-counts events",
     _record(MERCHANT, PAYMENTS, "O1", state="PROCESSING")),
    ("payment-reversing", "at-rest merchant-book",
     _record(MERCHANT, PAYMENTS, "O1", reversing="V9")),
    ("payment-refunded-beyond", "refund-limit refunds",
     _record(MERCHANT, PAYMENTS, "O1", refunded_minor=2_001)),
    ("payment-refunding-beyond", "refund-limit refunds",
     _record(MERCHANT, PAYMENTS, "O1", refunding_minor=1_501)),
    ("payment-refunded-below-zero", "refund-limit refunds",
     _record(MERCHANT, PAYMENTS, "O1", refunded_minor=-1)),
    ("payment-with-other-count-of-refunds", "refunds",
     _record(MERCHANT, PAYMENTS, "O1", refunds=2)),
    ("refund-gone", "refunds merchant-book events", _drop(MERCHANT, REFUNDS, "R1")),
    ("refund-failed-after-all", "refunds merchant-book events",
     _record(MERCHANT, REFUNDS, "R2", state="FAILED")),
    ("refund-waiting", "at-rest refunds merchant-counts events",
     _record(MERCHANT, REFUNDS, "R1", state="PROCESSING")),
    ("queue-of-other-length", "pending-queue", _queue(count=4)),
    ("queue-with-other-start", "pending-queue", _queue(first="R2")),
    ("queue-with-other-end", "pending-queue", _queue(last="R2")),
    ("queue-with-other-first-amount", "pending-queue", _queue(first_minor=101)),
    ("queue-with-older-position", "pending-queue", _queue(position=2)),
    ("queue-gone", "pending-queue", _state("merchant/M2", pending=None)),
    ("queue-covered-and-not-gone-on", "at-rest pending-queue", _queue(first_minor=0)),
    ("queued-refund-gone", "merchant-counts pending-queue refunds events timers",
     _drop("merchant/M2", REFUNDS, "R2")),
    ("queued-refund-with-other-neighbour", "pending-queue",
     _record("merchant/M2", REFUNDS, "R2", queued=Queued(2, "R1", ""))),
    ("queued-refund-out-of-order", "pending-queue",
     _record("merchant/M2", REFUNDS, "R2", queued=Queued(4, "R1", "R3"))),
    ("queued-refund-beside-the-queue", "pending-queue",
     _record("merchant/M3", REFUNDS, "R3", queued=Queued(1, "R3", "R3"))),
    ("pending-refund-not-in-queue", "pending-queue",
     _record("merchant/M2", REFUNDS, "R2", queued=None)),
    ("pending-refund-closed-in-queue", "merchant-counts pending-queue refunds events timers",
     _record("merchant/M2", REFUNDS, "R2", state="CLOSED")),
    ("abnormal-refund-not-reserved", "refunds",
     _record("merchant/M3", PAYMENTS, "O1", refunding_minor=0)),
    ("redirect-gone", "remedies", _drop("merchant/M3", REDIRECTS, "D1")),
    ("redirect-waiting", "at-rest remedies events",
     _record("merchant/M3", REDIRECTS, "D2", state="PROCESSING")),
    ("redirect-to-another-account", "remedies",
     _record("merchant/M3", REDIRECTS, "D1", account_no="A2")),
    ("closing-gone", "remedies", _drop("merchant/M3", CLOSINGS, "X1")),
    ("closed-refund-abnormal-again", "merchant-counts refunds events",
     _record("merchant/M3", REFUNDS, "R2", state="ABNORMAL")),
    ("funding-waiting", "at-rest transfers-out",
     _record(CLEARING, TRANSFERS, "funding/A1/F1", state="PROCESSING")),
    ("account-with-other-count-of-transfers", "transfers-out", _state(PAYER, transfers_out=1)),
    ("closed-account-with-transfer-out", "closed-account transfers-out",
     _state("account/A2", transfers_out=1)),
    ("transfer-waiting", "at-rest transfers-out",
     _record(PAYER, TRANSFERS, "transfer/T1", state="PROCESSING")),
    ("withdrawal-waiting", "at-rest transfers-out",
     _record(PAYER, TRANSFERS, "withdrawal/W1", state="PROCESSING")),
    ("event-dropped", "events", _tail(lambda tail: tail.pop(), -1)),
    ("event-dropped-uncounted", "events-gapless events", _tail(lambda tail: tail.pop(), 0)),
    ("event-counted-twice", "events-gapless events", _tail(lambda tail: None, 1)),
    ("event-twice", "events", _tail(lambda tail: tail.append(tail[-1]), 1)),
    ("event-of-other-number", "events",
     _tail(lambda tail: tail.append(replace(tail.pop(), number="X")), 0)),
    ("event-of-other-amount", "events",
     _page(lambda page: page.insert(0, replace(page.pop(0), amount_minor=1)))),
    ("event-of-other-type", "events",
     _page(lambda page: page.insert(0, replace(page.pop(0), type=EventType.VOIDED)))),
    ("events-out-of-time", "events-gapless",
     _page(lambda page: page.append(replace(page.pop(), at_ns=1)))),
    ("events-unreadable", "events-gapless events",
     _record(MERCHANT, EVENTS, FIRST_PAGE, events=b"\xc1")),
    ("page-of-events-gone", "events-gapless events", _drop(MERCHANT, EVENTS, FIRST_PAGE)),
    ("page-of-events-elsewhere", "events-gapless", _page_elsewhere),
    ("page-of-events-twice", "events-gapless events", _page_twice),
    ("certificate-elsewhere-revoked", "certificate", _state("certificate/a1", status="REVOKED")),
    ("certificate-ends-elsewhere", "certificate", _state("certificate/a1", ends_ns=1)),
    ("certificate-of-another", "certificate", _state("certificate/a1", holder="merchant/M2")),
    ("certificate-gone", "certificate", lambda bank: bank.states.pop("certificate/a2")),
    ("certificate-of-nobody", "certificate live-certificates",
     _drop(MERCHANT, CERTIFICATES, "N2")),
    ("certificate-not-revoked", "certificate live-certificates",
     _record(MERCHANT, CERTIFICATES, "N3", state="ACTIVE")),
    ("serial-forgotten", "certificate", _drop(MERCHANT, SERIALS, "a1")),
    ("serial-of-another", "certificate",
     _record(MERCHANT, SERIALS, "a1", certificate_no="N2")),
    ("registration-stuck", "certificate at-rest live-certificates merchant-counts",
     _record(MERCHANT, CERTIFICATES, "N0", state="PROCESSING", ends_ns=2**62)),
    ("bank-counts-too-many", "merchant-counts", _state(BANK, in_flight=1)),
    ("roster-forgets-one", "live-certificates",
     _record(MERCHANT, ROSTERS, ROSTER, live=())),
    ("roster-of-the-revoked", "live-certificates",
     _record(BANK, ROSTERS, ROSTER, live=(("N1", 5),))),
    ("roster-gone", "live-certificates", _drop(BANK, ROSTERS, ROSTER)),
    ("merchant-closing-for-nothing", "closing-merchant", _state("merchant/M4", status="CLOSING")),
    ("applicant-without-profile", "profile", _drop("merchant/M5", PROFILES, PROFILE)),
    ("applicant-with-a-contract", "profile",
     _record("merchant/M5", PROFILES, PROFILE, contract_no="K1")),
    ("webhook-counts-too-many", "webhook-counts", _state("webhook/M1", delivered=2)),
    ("delivery-gone", "webhook-counts", _drop("webhook/M1", DELIVERIES, delivery_name(1))),
    ("delivery-of-other-state", "webhook-counts",
     _record("webhook/M1", DELIVERIES, delivery_name(2), state="FAILED")),
    ("webhook-ahead-of-its-merchant", "webhook-events", _state("webhook/M1", cursor=10**6)),
    ("webhook-of-nobody", "webhook-events webhook-counts",
     lambda bank: bank.states.update({"webhook/M77": bank.states["webhook/M1"]})),
    ("page-of-events-in-the-middle-of-one", "events-gapless events",
     lambda bank: _put(bank, MERCHANT, EVENTS, "2", bank.get(MERCHANT, EVENTS, FIRST_PAGE))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("invariants", "damage"),
    [pytest.param(fired, damage, id=name) for name, fired, damage in DAMAGES],
)
def test_audit_of_damaged_bank_names_what_is_broken(invariants: str, damage: Damage) -> None:
    bank = _bank()
    damage(bank)
    assert _fired(bank) == set(invariants.split())


def test_audit_finds_lost_message() -> None:
    """Money that left one actor and never comes to the other, and an answer that never comes."""
    bank = _bank()
    bank.send(commands.RefundPayment("M1", "R5", "O1", 5))
    assert _fired(bank) == set()
    bank.queue.clear()
    assert _fired(bank) == {"conservation", "date-conservation", "at-rest"}


def test_audit_finds_money_of_closed_date_in_message() -> None:
    bank = _bank()
    bank.send(commands.RefundPayment("M1", "R5", "O1", 5))
    assert _fired(bank, closed_through="2026-01-04") == set()
    assert _fired(bank, closed_through="2026-01-05") == {"closed-date"}


def test_audit_finds_message_for_a_closed_merchant() -> None:
    """There can be none, as whatever is under way is counted; so one is made here."""
    bank = _bank()
    assert _fired(bank) == set()
    lost = Envelope(
        "merchant/M4", PAYER, PaymentDeclined("O1", Refusal.ACCOUNT_CLOSED), "2026-01-05"
    )
    bank.queue.append(lost)
    assert _fired(bank) == {"closed-merchant"}


def test_audit_overlooks_projection_only_while_its_message_is_on_the_way() -> None:
    bank = _bank()
    bank.send(commands.CaptureAuthorization("M1", "H1", "C5", 5))
    bank.deliver_at(0)
    assert bank.get(PAYER, HOLDS, "M1/H1").captured_minor == 705
    assert _fired(bank) == set()
    lost = bank.queue.pop()
    assert "projection" in _fired(bank)
    bank.queue.append(lost)
    bank.run()
    assert _fired(bank) == set()


def test_violation_says_where_and_what() -> None:
    bank = _bank()
    bank.force(PAYER, held_minor=401)
    (violation,) = audit(bank.view())
    assert violation == Violation("held", "actors", "account/A1", "held_minor off by 1")


def test_every_invariant_is_explained_and_shown_to_fire() -> None:
    explained = set(re.findall(r"^([a-z-]+)  +\w", audits.__doc__ or "", re.MULTILINE))
    fired = {name for _, names, _ in DAMAGES for name in names.split()} | {"closed-date"}
    assert explained == fired


def test_types_of_all_states_and_records_are_audited() -> None:
    """A new kind of record must not slip past the audit."""
    states = {kind.state for kind in KINDS.by_name.values()}
    assert states == set(audits.Audit().states)
    records = {each.type for kind in KINDS.by_name.values() for each in kind.records.values()}
    assert records == set(audits.Audit().records)
