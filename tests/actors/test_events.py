"""Events: each outcome has exactly one, in order and without a gap, whatever happens around it."""

import pytest

from actors import commands
from actors.answers import EventView, Refused
from actors.event import (
    EVENTS,
    MEANINGS,
    OUTCOMES,
    PAGE_EVENTS,
    REFUND_STATES,
    REMEDY_FAILED,
    EventType,
    open_events,
    page_name,
    tail_of,
    view_event,
)
from actors.messages import HoldEnded, RefundCredited
from tests.actors.driver import MERCHANT, SECOND, Bank, authorization, payment, shop, table


def _events(bank: Bank) -> list[EventView]:
    """Return all events of M1, each page where its name says."""
    merchant = bank.merchant("M1")
    first, tail = tail_of(merchant)
    paged = [
        event
        for start in range(1, first, PAGE_EVENTS)
        for event in open_events(bank.get(MERCHANT, EVENTS, page_name(start)).events, PAGE_EVENTS)
    ]
    events = [*paged, *tail]
    assert len(events) == merchant.events
    return [view_event(n, event, merchant.currency) for n, event in enumerate(events, 1)]


def _told(bank: Bank) -> list[tuple[str, str, str | None]]:
    return [(event.type, event.number, event.state) for event in _events(bank)]


OUTCOME_OF = table("""
payment                  payment.succeeded            SUCCEEDED
payment-declined         payment.failed               FAILED
payment-other-currency   payment.failed               FAILED
reversal                 payment.reversed             REVERSED
reversal-of-failed       payment.reversal_failed      FAILED
reversal-of-nothing      payment.reversal_failed      None
reversal-not-taken       payment.reversal_failed      SUCCEEDED
authorization            authorization.held           HELD
authorization-declined   authorization.failed         FAILED
authorization-currency   authorization.failed         FAILED
increment                authorization.incremented    HELD
increment-refused        authorization.increment_failed  HELD
capture                  authorization.captured       PARTIALLY_CAPTURED
capture-whole            authorization.captured       CAPTURED
capture-refused          authorization.capture_failed HELD
capture-of-nothing       authorization.capture_failed None
capture-of-failed        authorization.capture_failed FAILED
void                     authorization.voided         VOIDED
void-refused             authorization.void_failed    PARTIALLY_CAPTURED
release                  authorization.released       CAPTURED
release-refused          authorization.release_failed HELD
refund                   refund.succeeded             SUCCEEDED
refund-refused           refund.failed                FAILED
refund-of-capture        refund.succeeded             SUCCEEDED
refund-waits             refund.pending_funds         PENDING_FUNDS
refund-of-capture-waits  refund.pending_funds         PENDING_FUNDS
refund-astray            refund.abnormal              ABNORMAL
redirect-refused         refund.redirect_failed       SUCCEEDED
redirect-of-nothing      refund.redirect_failed       None
redirect-not-taken       refund.redirect_failed       ABNORMAL
closing-refused          refund.closing_failed        SUCCEEDED
closing-of-nothing       refund.closing_failed        None
""")

_PARTLY = (authorization("H1"), commands.CaptureAuthorization("M1", "H1", "C0", 400))
_LEAVING = (
    commands.WithdrawFunds("A1", "W1", 99_000, "USD"),
    commands.CloseAccount("A1"),
)
CASES: dict[str, tuple[commands.Command, ...]] = {
    "payment": (payment("X"),),
    "payment-declined": (payment("X", 10**9),),
    "payment-other-currency": (commands.CreatePayment("M1", "X", "A1", 5, "EUR"),),
    "reversal": (payment("O1"), commands.ReversePayment("M1", "O1", "X")),
    "reversal-of-failed": (payment("O1", 10**9), commands.ReversePayment("M1", "O1", "X")),
    "reversal-of-nothing": (commands.ReversePayment("M1", "O1", "X"),),
    "reversal-not-taken": (payment("O1"), *_LEAVING, commands.ReversePayment("M1", "O1", "X")),
    "authorization": (authorization("X"),),
    "authorization-declined": (authorization("X", 10**9),),
    "authorization-currency": (commands.CreateAuthorization("M1", "X", "A1", 5, "EUR"),),
    "increment": (authorization("H1"), commands.IncrementAuthorization("M1", "H1", "X", 5)),
    "increment-refused": (
        authorization("H1"),
        commands.IncrementAuthorization("M1", "H1", "X", 10**9),
    ),
    "capture": (authorization("H1"), commands.CaptureAuthorization("M1", "H1", "X", 400)),
    "capture-whole": (authorization("H1"), commands.CaptureAuthorization("M1", "H1", "X", 1_000)),
    "capture-refused": (
        authorization("H1"),
        commands.CaptureAuthorization("M1", "H1", "X", 1_001),
    ),
    "capture-of-nothing": (commands.CaptureAuthorization("M1", "H1", "X", 1),),
    "capture-of-failed": (
        authorization("H1", 10**9),
        commands.CaptureAuthorization("M1", "H1", "X", 1),
    ),
    "void": (authorization("H1"), commands.VoidAuthorization("M1", "H1", "X")),
    "void-refused": (*_PARTLY, commands.VoidAuthorization("M1", "H1", "X")),
    "release": (*_PARTLY, commands.ReleaseAuthorization("M1", "H1", "X")),
    "release-refused": (authorization("H1"), commands.ReleaseAuthorization("M1", "H1", "X")),
    "refund": (payment("O1"), commands.RefundPayment("M1", "X", "O1", 5)),
    "refund-refused": (payment("O1"), commands.RefundPayment("M1", "X", "O1", 1_001)),
    "refund-astray": (payment("O1"), *_LEAVING, commands.RefundPayment("M1", "X", "O1", 5)),
    "refund-of-capture": (*_PARTLY, commands.RefundAuthorization("M1", "X", "H1", 5)),
    "refund-waits": (payment("O1"), commands.RefundPayment("M1", "X", "O1", 1_000, True)),
    "refund-of-capture-waits": (*_PARTLY, commands.RefundAuthorization("M1", "X", "H1", 400, True)),
    "redirect-refused": (
        payment("O1"),
        commands.RefundPayment("M1", "R1", "O1", 5),
        commands.RedirectRefund("M1", "R1", "X", "A2"),
    ),
    "redirect-of-nothing": (commands.RedirectRefund("M1", "R1", "X", "A2"),),
    "redirect-not-taken": (
        payment("O1"),
        *_LEAVING,
        commands.RefundPayment("M1", "R1", "O1", 5),
        commands.RedirectRefund("M1", "R1", "X", "missing"),
    ),
    "closing-refused": (
        payment("O1"),
        commands.RefundPayment("M1", "R1", "O1", 5),
        commands.CloseRefund("M1", "R1", "X"),
    ),
    "closing-of-nothing": (commands.CloseRefund("M1", "R1", "X"),),
}


@pytest.mark.parametrize(("case", "type_", "state"), OUTCOME_OF)
def test_outcome_has_one_event(case: str, type_: str, state: str) -> None:
    """The last command's number is X; told again it adds nothing."""
    bank = shop(fee_bps=100)
    for command in CASES[case]:
        bank.ask(command)
    events = _events(bank)
    assert [(each.type, str(each.state)) for each in events if each.number == "X"] == [
        (type_, state)
    ]
    assert events[-1].number == "X"
    assert (events[-1].code is None) == ("failed" not in type_ and type_ != "refund.abnormal")
    for command in CASES[case]:
        bank.ask(command)
    assert _events(bank) == events


def test_every_type_of_event_has_a_case() -> None:
    """What nobody asks for under a number of its own has tests of its own."""
    types = {row[1] for row in OUTCOME_OF} | {"authorization.expired", "refund.closed"}
    assert types == {meaning.name for meaning in MEANINGS.values()}
    assert set(MEANINGS) == set(EventType)
    outcomes = {each for pair in OUTCOMES.values() for each in pair}
    refunds = {each for states in REFUND_STATES.values() for each in states.values()}
    assert outcomes | refunds | set(REMEDY_FAILED.values()) == set(EventType) - {EventType.EXPIRED}


def _waiting() -> Bank:
    """Return a bank in which refund R1 of 1,000 waits, as the fee took 10 of them."""
    bank = shop(fee_bps=100)
    bank.do(payment("O1"))
    assert bank.do(commands.RefundPayment("M1", "R1", "O1", 1_000, True)).state == "PENDING_FUNDS"
    return bank


def test_refund_that_waited_and_succeeded_has_both_events() -> None:
    bank = _waiting()
    bank.do(payment("O2"))
    assert _told(bank) == [
        ("payment.succeeded", "O1", "SUCCEEDED"),
        ("refund.pending_funds", "R1", "PENDING_FUNDS"),
        ("payment.succeeded", "O2", "SUCCEEDED"),
        ("refund.succeeded", "R1", "SUCCEEDED"),
    ]


def test_refund_that_is_closed_has_an_event_and_its_closing_none() -> None:
    bank = _waiting()
    for _ in range(2):
        bank.ask(commands.CloseRefund("M1", "R1", "X1"))
    assert _told(bank)[1:] == [
        ("refund.pending_funds", "R1", "PENDING_FUNDS"),
        ("refund.closed", "R1", "CLOSED"),
    ]


def test_refund_that_has_waited_too_long_has_its_event_unasked() -> None:
    bank = _waiting()
    bank.wait(7 * 86_400 * SECOND)
    bank.fire()
    assert _told(bank)[2:] == [("refund.closed", "R1", "CLOSED")]


def test_each_time_that_a_refund_goes_astray_has_its_event() -> None:
    bank = shop(fee_bps=100)
    for command in CASES["redirect-not-taken"]:
        bank.ask(command)
    bank.do(commands.OpenAccount("A2", "USD"))
    for _ in range(2):
        bank.ask(commands.RedirectRefund("M1", "R1", "D2", "A2"))
    assert _told(bank)[1:] == [
        ("refund.abnormal", "R1", "ABNORMAL"),
        ("refund.abnormal", "R1", "ABNORMAL"),
        ("refund.redirect_failed", "X", "ABNORMAL"),
        ("refund.succeeded", "R1", "SUCCEEDED"),
    ]
    codes = [event.code for event in _events(bank)]
    assert codes == [None, "ACCOUNT_CLOSED", "ACCOUNT_CLOSED", "ACCOUNT_NOT_FOUND", None]


def test_event_says_what_a_merchant_needs_to_act() -> None:
    bank = shop(fee_bps=100)
    bank.do(authorization("H1", 1_000))
    bank.wait(SECOND)
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 700, final=True))
    assert _events(bank)[1] == EventView(
        sequence=2,
        type="authorization.captured",
        number="C1",
        original_kind="authorization",
        original="H1",
        amount_minor=700,
        currency="USD",
        fee_minor=7,
        state="CAPTURED",
        code=None,
        hold_amount_minor=1_000,
        hold_captured_minor=700,
        expires_at="2026-01-05T09:00:00.000Z",
        business_date="2026-01-05",
        occurred_at="2026-01-05T08:00:01.000Z",
    )


UNBOUND: list[commands.Command] = [
    payment("O1", 7),  # NUMBER_USED
    commands.RefundPayment("M1", "X", "busy", 1),  # IN_FLIGHT
    commands.OpenMerchant("M1", "EUR"),
    commands.CreatePayment("nobody", "X", "A1", 1, "USD"),
]


@pytest.mark.parametrize("command", UNBOUND, ids=lambda command: type(command).__name__)
def test_refusal_that_binds_nothing_is_no_event(command: commands.Command) -> None:
    bank = shop()
    bank.do(payment("O1"))
    bank.send(payment("busy"))
    token = bank.send(command)
    assert isinstance(bank.answer(token), Refused)
    assert [each.number for each in _events(bank)] == ["O1"]


def test_command_under_way_has_no_event_and_those_who_join_it_add_none() -> None:
    bank = shop()
    bank.send(payment("O1"))
    bank.send(payment("O1"))
    assert _events(bank) == []
    bank.run()
    assert _told(bank) == [("payment.succeeded", "O1", "SUCCEEDED")]


@pytest.mark.parametrize("events", [PAGE_EVENTS - 1, PAGE_EVENTS, PAGE_EVENTS + 1, 70])
def test_sequence_is_gapless_over_pages(events: int) -> None:
    bank = shop(funds_minor=10**6)
    for n in range(events):
        bank.do(payment(f"O{n}", 10))
    assert [each.number for each in _events(bank)] == [f"O{n}" for n in range(events)]
    assert [each.sequence for each in _events(bank)] == list(range(1, events + 1))


@pytest.mark.parametrize("captured", [0, 400])
def test_expiry_by_timer_is_one_event(captured: int) -> None:
    """It gives the rest back; a hold that was captured in part ends as CAPTURED."""
    bank = shop()
    bank.do(authorization("H1"))
    if captured:
        bank.do(commands.CaptureAuthorization("M1", "H1", "C1", captured))
    bank.wait(3_600 * SECOND)
    bank.fire()
    bank.run()
    expired = _events(bank)[-1]
    state = "CAPTURED" if captured else "EXPIRED"
    assert (expired.type, expired.number, expired.state) == ("authorization.expired", "H1", state)
    assert expired.amount_minor == 1_000 - captured
    bank.fire()
    assert _events(bank)[-1] == expired


def _late(bank: Bank) -> None:
    """Have H1 run out, its timer late, and a capture ask for it."""
    bank.do(authorization("H1"))
    bank.wait(3_600 * SECOND)
    bank.send(commands.CaptureAuthorization("M1", "H1", "C1", 1))


def test_expiry_that_a_refusal_tells_first_is_an_event_before_it() -> None:
    bank = shop()
    _late(bank)
    bank.run()
    bank.fire()
    bank.run()
    assert _told(bank)[1:] == [
        ("authorization.expired", "H1", "EXPIRED"),
        ("authorization.capture_failed", "C1", "EXPIRED"),
    ]


def test_expiry_by_timer_while_a_capture_is_under_way_is_told_once() -> None:
    bank = shop()
    _late(bank)
    bank.fire()  # the timer first, the capture's question after it
    bank.deliver(HoldEnded)
    bank.run()
    assert _told(bank)[1:] == [
        ("authorization.expired", "H1", "EXPIRED"),
        ("authorization.capture_failed", "C1", "EXPIRED"),
    ]


@pytest.mark.parametrize("first", [0, 1])
def test_concurrent_refunds_have_their_events_in_the_order_of_their_outcomes(first: int) -> None:
    """Two of 60 on 100: one is refused at once, before the other has its outcome."""
    bank = shop()
    bank.do(payment("O1", 100))
    refunds = ["R1", "R2"][:: 1 - 2 * first]
    for refund_no in refunds:
        bank.send(commands.RefundPayment("M1", refund_no, "O1", 60))
    bank.deliver_at(0)
    bank.deliver(RefundCredited)
    assert _told(bank)[1:] == [
        ("refund.failed", refunds[1], "FAILED"),
        ("refund.succeeded", refunds[0], "SUCCEEDED"),
    ]


def test_merchants_have_sequences_of_their_own() -> None:
    bank = shop()
    bank.do(commands.OpenMerchant("M2", "USD"))
    bank.do(commands.SignAgreement("A1", "M2", "M2"))
    bank.do(payment("O1"))
    bank.do(commands.CreatePayment("M2", "O1", "A1", 5, "USD"))
    bank.do(payment("O2"))
    assert [each.number for each in _events(bank)] == ["O1", "O2"]
    assert bank.merchant("M2").events == 1


def test_payment_costs_the_bytes_that_the_documents_say() -> None:
    """An event that grows is paid by every payment."""
    bank = shop(fee_bps=100)
    bank.do(payment("20260105-00001"))
    assert len(bank.merchant("M1").tail) <= 24 + len("20260105-00001")
