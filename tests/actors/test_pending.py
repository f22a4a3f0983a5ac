"""Refunds that wait for funds: in order, reserved, once, and not for ever."""

from itertools import pairwise

import pytest

from actors import commands
from actors.answers import RefundView, Replayed
from actors.messages import (
    CreditRefund,
    DebitPayment,
    PaymentDebited,
    RefundReturned,
    ResumeRefunds,
)
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, RESUMED_MAX, WAIT_NS
from tests.actors.driver import MERCHANT, SECOND, Bank, authorization, payment, shop


def _refund(
    number: str, amount_minor: int, order_no: str = "O1", *, waits: bool = True
) -> commands.RefundPayment:
    return commands.RefundPayment("M1", number, order_no, amount_minor, waits)


def _poor(*, funds_minor: int = 100_000) -> Bank:
    """Return a bank whose merchant took 1,000 for order O1 and has nothing of it left: a fee of
    all there is. From now on it pays no fees."""
    bank = shop(funds_minor=funds_minor, fee_bps=10_000)
    bank.do(payment("O1"))
    bank.force(MERCHANT, fee_bps=0)
    return bank


def _earn(bank: Bank, order_no: str, amount_minor: int) -> None:
    assert bank.do(payment(order_no, amount_minor)).state == "SUCCEEDED"


def _states(bank: Bank, *numbers: str) -> list[str]:
    return [bank.get(MERCHANT, REFUNDS, number).state for number in numbers]


def _queue(bank: Bank) -> list[str]:
    """Return the queue, read from its start to its end; from its end it must read the same."""
    pending = bank.merchant("M1").pending
    queue: list[str] = []
    number = pending.first if pending else ""
    while number:
        queue.append(number)
        queued = bank.get(MERCHANT, REFUNDS, number).queued
        assert queued is not None
        number = queued.after
    assert len(queue) == (pending.count if pending else 0)
    return queue


def test_refund_that_waits_is_reserved_and_debits_nothing() -> None:
    bank = _poor()
    postings = len(bank.postings)
    assert bank.do(_refund("R1", 600)) == RefundView(
        merchant_no="M1",
        refund_no="R1",
        original_kind="payment",
        original="O1",
        payer="A1",
        redirected_to=None,
        amount_minor=600,
        currency="USD",
        state="PENDING_FUNDS",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at=None,
    )
    assert len(bank.postings) == postings
    assert (bank.code(_refund("R2", 401)), bank.code(_refund("R3", 400))) == (
        "REFUND_EXCEEDS_REMAINING",
        "PENDING_FUNDS",
    )
    assert bank.code(commands.ReversePayment("M1", "O1", "V1")) == "REVERSAL_NOT_FULL"


def test_refund_that_may_wait_does_not_if_it_need_not() -> None:
    bank = shop()
    bank.do(payment("O1"))
    assert bank.code(_refund("R1", 1_000)) == "SUCCEEDED"
    assert bank.merchant("M1").pending is None
    assert not bank.timers


def test_repetition_gets_the_first_outcome_and_a_look_the_newest() -> None:
    bank = _poor()
    first = bank.do(_refund("R1", 600))
    assert bank.ask(_refund("R1", 600)) == Replayed(first)
    bank.send(payment("O2", 600))
    while not any(type(message.body) is CreditRefund for message in bank.queue):
        bank.deliver_at(0)
    assert _states(bank, "R1") == ["PROCESSING"]
    assert bank.answer(bank.send(_refund("R1", 600))) == Replayed(first)
    bank.run()
    assert _states(bank, "R1") == ["SUCCEEDED"]
    assert bank.ask(_refund("R1", 600)) == Replayed(first)
    assert bank.code(_refund("R1", 600, waits=False)) == "NUMBER_USED"


def test_whose_money_goes_on_to_a_refund_is_answered_once() -> None:
    """The refund rides on the payment's chain, but its outcome is not the payer's to hear."""
    bank = _poor()
    bank.do(_refund("R1", 600))
    view = bank.do(payment("O2", 600))
    assert (view.order_no, view.state) == ("O2", "SUCCEEDED")


@pytest.mark.parametrize("way", ["payment", "capture", "returned-refund", "returned-reversal"])
def test_money_that_comes_in_any_way_is_passed_on(way: str) -> None:
    bank = _poor()
    bank.do(_refund("R1", 600))
    if way == "payment":
        _earn(bank, "O2", 600)
    elif way == "capture":
        bank.do(authorization("H1", 600))
        bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 600))
    else:
        bank.do(commands.OpenAccount("A2", "USD"))
        bank.do(commands.SignAgreement("A2", "M1", "M1"))
        bank.do(commands.FundAccount("A2", "F2", 599, "USD"))
        bank.do(commands.CreatePayment("M1", "O2", "A2", 599, "USD"))
        bank.do(commands.CloseAccount("A2"))
        if way == "returned-refund":
            back: commands.Command = _refund("R2", 599, "O2", waits=False)
        else:
            back = commands.ReversePayment("M1", "O2", "V2")
        token = bank.send(back)
        bank.send(payment("O3", 1))
        bank.deliver(DebitPayment)
        bank.deliver(PaymentDebited)
        assert (bank.merchant("M1").posted_minor, _queue(bank)) == (1, ["R1"])
        bank.run()
        assert bank.told(token) == ("ABNORMAL" if way == "returned-refund" else "ACCOUNT_CLOSED")
    assert _states(bank, "R1") == ["SUCCEEDED"]
    assert bank.merchant("M1").posted_minor == 0


def test_first_of_the_queue_is_not_overtaken() -> None:
    bank = _poor()
    for number, amount in (("R9", 500), ("R2", 100), ("R5", 50)):
        bank.do(_refund(number, amount))
    _earn(bank, "O2", 499)
    assert _queue(bank) == ["R9", "R2", "R5"]
    _earn(bank, "O3", 101)
    assert (_queue(bank), _states(bank, "R9", "R2")) == (["R5"], ["SUCCEEDED", "SUCCEEDED"])
    references = [row[6] for row in bank.postings if row[2] in {-500, -100}]
    assert references == ["refund/M1/R9", "refund/M1/R2"]


def test_new_refund_queues_behind_though_it_would_be_covered() -> None:
    bank = _poor()
    bank.do(_refund("R1", 500))
    _earn(bank, "O2", 400)
    assert bank.code(_refund("R2", 100)) == "PENDING_FUNDS"
    assert _queue(bank) == ["R1", "R2"]


def test_refund_that_does_not_wait_is_decided_at_once() -> None:
    """It takes what the receivable has, also if others wait for more than that."""
    bank = _poor()
    bank.do(_refund("R1", 500))
    _earn(bank, "O2", 400)
    assert bank.code(_refund("R2", 401, waits=False)) == "MERCHANT_BALANCE_INSUFFICIENT"
    assert bank.code(_refund("R3", 400, waits=False)) == "SUCCEEDED"
    assert _queue(bank) == ["R1"]


def test_refund_is_closed_after_seven_days_and_frees_what_it_reserved() -> None:
    bank = _poor()
    first = bank.do(_refund("R1", 600))
    bank.wait(WAIT_NS - 1)
    bank.fire()
    assert _states(bank, "R1") == ["PENDING_FUNDS"]
    bank.wait(1)
    bank.fire()
    refund = bank.get(MERCHANT, REFUNDS, "R1")
    assert (refund.state, refund.settled_ns, refund.queued) == ("CLOSED", bank.now_ns, None)
    assert bank.merchant("M1").pending is None
    record = bank.get(MERCHANT, PAYMENTS, "O1")
    assert (record.refunding_minor, record.refunds) == (0, 0)
    assert bank.code(_refund("R2", 1_000)) == "PENDING_FUNDS"
    assert bank.ask(_refund("R1", 600)) == Replayed(first)


def test_closing_of_the_first_lets_those_behind_it_go_on() -> None:
    bank = _poor()
    bank.do(_refund("R1", 600))
    bank.wait(SECOND)
    bank.do(_refund("R2", 300))
    bank.do(_refund("R3", 100))
    _earn(bank, "O2", 400)
    bank.wait(WAIT_NS - SECOND)
    bank.fire()
    assert _states(bank, "R1", "R2", "R3") == ["CLOSED", "PROCESSING", "PROCESSING"]
    assert not bank.timers
    bank.run()
    assert _states(bank, "R2", "R3") == ["SUCCEEDED", "SUCCEEDED"]


def test_timer_of_refund_that_has_moved_on_changes_nothing() -> None:
    """A timer may be on its way, or parked, when the money comes."""
    bank = _poor()
    bank.do(_refund("R1", 600))
    (timer,) = list(bank.timers.items())
    bank.send(payment("O2", 600))
    while bank.queue:
        bank.timers[timer[0]] = timer[1]
        bank.now_ns = timer[0][0]
        state = _states(bank, "R1")
        if state != ["PENDING_FUNDS"]:
            bank.fire()
            assert _states(bank, "R1") == state
        bank.deliver_at(0)
    assert _states(bank, "R1") == ["SUCCEEDED"]


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_refund_may_be_closed_wherever_it_stands(which: int) -> None:
    bank = _poor()
    numbers = ["R1", "R2", "R3", "R4"]
    for number in numbers:
        bank.do(_refund(number, 100))
    assert bank.do(commands.CloseRefund("M1", numbers.pop(which), "X1")).state == "SUCCEEDED"
    assert _queue(bank) == numbers
    assert len(bank.timers) == 3
    bank.do(_refund("R5", 100))
    assert _queue(bank) == [*numbers, "R5"]
    _earn(bank, "O2", 400)
    assert _queue(bank) == []
    assert bank.get(MERCHANT, PAYMENTS, "O1").refunded_minor == 400


def test_long_queue_goes_on_in_chunks_and_in_order() -> None:
    """Also while somebody takes what is there between two chunks."""
    bank = _poor()
    bank.audited = False
    originals = 3
    for n in range(2, originals + 2):
        bank.force(MERCHANT, fee_bps=10_000)
        bank.do(payment(f"O{n}", 1_000))
    bank.force(MERCHANT, fee_bps=0)
    numbers = [f"R{n}" for n in range(originals * 50)]
    for n, number in enumerate(numbers):
        bank.do(_refund(number, 10, f"O{2 + n // 50}"))
    bank.audited = True
    bank.send(payment("O9", 1_500))
    while bank.merchant("M1").posted_minor == 0:
        bank.deliver_at(0)
    assert len(_queue(bank)) == originals * 50 - RESUMED_MAX
    assert [type(m.body) for m in bank.queue].count(ResumeRefunds) == 1
    grab = bank.send(_refund("X1", 995, "O9", waits=False))
    bank.run()
    assert bank.told(grab) == "SUCCEEDED"
    assert _queue(bank) == numbers[RESUMED_MAX:]
    assert bank.merchant("M1").posted_minor == 5
    _earn(bank, "O10", 995)
    assert bank.merchant("M1").pending is None
    sent = [row[6] for row in bank.postings if row[2] == -10]
    assert sent == [f"refund/M1/{number}" for number in numbers]


def test_suspended_merchant_gives_back_what_waits() -> None:
    bank = _poor()
    bank.do(_refund("R1", 600))
    token = bank.send(payment("O2", 600))
    bank.force(MERCHANT, status="SUSPENDED")
    bank.run()
    assert (bank.told(token), _states(bank, "R1")) == ("SUCCEEDED", ["SUCCEEDED"])
    assert bank.code(_refund("R2", 100)) == "PENDING_FUNDS"
    assert bank.code(commands.CloseRefund("M1", "R2", "X1")) == "SUCCEEDED"


def test_refund_that_waited_and_goes_astray_makes_room_for_the_next() -> None:
    """Its money comes back to the receivable, and is passed on to who stands behind it."""
    bank = _poor()
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.SignAgreement("A2", "M1", "M1"))
    bank.do(commands.FundAccount("A2", "F2", 600, "USD"))
    bank.force(MERCHANT, fee_bps=10_000)
    bank.do(commands.CreatePayment("M1", "O2", "A2", 600, "USD"))
    bank.force(MERCHANT, fee_bps=0)
    bank.do(_refund("R1", 600, "O2"))
    bank.do(_refund("R2", 500))
    bank.do(commands.CloseAccount("A2"))
    token = bank.send(payment("O3", 600))
    bank.deliver_at(0)
    bank.deliver_at(0)
    assert _states(bank, "R1", "R2") == ["PROCESSING", "PENDING_FUNDS"]
    bank.deliver(CreditRefund)
    bank.deliver(RefundReturned)
    assert _states(bank, "R1", "R2") == ["ABNORMAL", "PROCESSING"]
    bank.run()
    assert (bank.told(token), bank.merchant("M1").posted_minor) == ("SUCCEEDED", 100)


def test_many_waiting_refunds_count_as_under_way() -> None:
    bank = _poor()
    for n in range(50):
        bank.do(_refund(f"R{n}", 1))
    assert bank.code(_refund("R50", 1)) == "REFUND_COUNT_LIMIT"
    positions = [bank.get(MERCHANT, REFUNDS, number).queued for number in _queue(bank)]
    assert all(a and b and a.position < b.position for a, b in pairwise(positions))
