"""Authorizations and holds: figures, limits, over-capture, time, and races between them."""

import pytest

from actors import commands
from actors.answers import OperationView, Refused
from actors.authorization import AUTHORIZATIONS, view_authorization
from actors.hold import HOLDS
from actors.messages import CaptureHold, DebitPayment, HoldEnded, HoldPlaced, VoidHold
from tests.actors.driver import MERCHANT, PAYER, SECOND, Bank, authorization, payment, shop

HOUR = 3_600 * SECOND


def _capture(
    number: str, amount_minor: int, *, final: bool = False
) -> commands.CaptureAuthorization:
    return commands.CaptureAuthorization("M1", "H1", number, amount_minor, final)


def _figures(bank: Bank) -> tuple[int, int, int]:
    account = bank.account("A1")
    return account.posted_minor, account.held_minor, account.holds_open


def test_hold_reserves_and_captures_take() -> None:
    bank = shop(funds_minor=5_000, fee_bps=100)
    view = bank.do(authorization("H1", 1_000))
    assert (view.state, view.amount_minor, view.expires_at) == (
        "HELD",
        1_000,
        "2026-01-05T09:00:00.000Z",
    )
    assert _figures(bank) == (5_000, 1_000, 1)
    assert bank.do(_capture("C1", 400)) == OperationView(
        operation="capture",
        merchant_no="M1",
        number="C1",
        original="H1",
        amount_minor=400,
        final=False,
        fee_minor=4,
        state="SUCCEEDED",
        code=None,
        hold_amount_minor=1_000,
        hold_captured_minor=400,
        hold_state="PARTIALLY_CAPTURED",
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert _figures(bank) == (4_600, 600, 1)
    assert bank.do(_capture("C2", 600)).hold_state == "CAPTURED"
    assert _figures(bank) == (4_000, 0, 0)
    assert not bank.timers
    assert bank.merchant("M1").posted_minor == 990


def test_final_capture_releases_the_rest() -> None:
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1", 1_000))
    assert bank.do(_capture("C1", 1, final=True)).hold_state == "CAPTURED"
    assert _figures(bank) == (4_999, 0, 0)
    assert not bank.timers


@pytest.mark.parametrize("give_back", ["void", "release", "expiry"])
def test_giving_back_frees_what_was_reserved(give_back: str) -> None:
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1", 1_000))
    taken = 0
    if give_back == "release":
        taken = bank.do(_capture("C1", 300)).amount_minor
        bank.do(commands.ReleaseAuthorization("M1", "H1", "L1"))
    elif give_back == "void":
        bank.do(commands.VoidAuthorization("M1", "H1", "V1"))
    else:
        bank.wait(HOUR)
        bank.fire()
        bank.run()
    assert _figures(bank) == (5_000 - taken, 0, 0)
    assert not bank.timers


def test_increment_raises_hold_and_its_limit() -> None:
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1", 1_000))
    view = bank.do(commands.IncrementAuthorization("M1", "H1", "I1", 500))
    assert (view.hold_amount_minor, view.hold_state) == (1_500, "HELD")
    assert _figures(bank) == (5_000, 1_500, 1)
    assert bank.code(_capture("C1", 1_501)) == "CAPTURE_EXCEEDS_HOLD"
    assert bank.do(_capture("C2", 1_500)).hold_state == "CAPTURED"


def test_eleventh_increment_is_refused() -> None:
    bank = shop()
    bank.do(authorization("H1"))
    for n in range(10):
        bank.do(commands.IncrementAuthorization("M1", "H1", f"I{n}", 1))
    command = commands.IncrementAuthorization("M1", "H1", "I10", 1)
    assert bank.code(command) == "INCREMENT_LIMIT"
    assert bank.account("A1").held_minor == 1_010


def test_fifty_first_capture_is_refused_and_the_rest_can_be_released() -> None:
    bank = shop()
    bank.do(authorization("H1", 1_000))
    for n in range(50):
        bank.do(_capture(f"C{n}", 1))
    assert bank.code(_capture("C50", 1, final=True)) == "CAPTURE_LIMIT"
    bank.do(commands.ReleaseAuthorization("M1", "H1", "L1"))
    assert _figures(bank) == (99_950, 0, 0)


def test_over_capture_takes_its_excess_from_available_funds() -> None:
    bank = shop(funds_minor=1_150, over_capture=True)
    bank.do(authorization("H1", 1_000))
    assert bank.code(_capture("C1", 1_151)) == "CAPTURE_EXCEEDS_HOLD"
    assert bank.do(_capture("C2", 1_150)).hold_state == "CAPTURED"
    assert _figures(bank) == (0, 0, 0)


def test_over_capture_in_two_parts_holds_to_the_limit() -> None:
    bank = shop(over_capture=True)
    bank.do(authorization("H1", 1_000))
    bank.do(_capture("C1", 999))
    assert bank.code(_capture("C2", 152)) == "CAPTURE_EXCEEDS_HOLD"
    view = bank.do(_capture("C3", 151))
    assert (view.hold_captured_minor, view.hold_state) == (1_150, "CAPTURED")
    assert _figures(bank) == (98_850, 0, 0)


def test_over_capture_cannot_take_what_another_hold_reserves() -> None:
    bank = shop(funds_minor=1_100, over_capture=True)
    bank.do(authorization("H1", 1_000))
    bank.do(authorization("H2", 100))
    assert bank.code(_capture("C1", 1_001)) == "INSUFFICIENT_FUNDS"
    assert bank.do(_capture("C2", 1_000)).hold_state == "CAPTURED"
    assert bank.do(commands.CaptureAuthorization("M1", "H2", "C3", 100)).state == "SUCCEEDED"


def test_over_capture_counts_its_excess_against_the_agreement() -> None:
    bank = shop(over_capture=True, payment_limit_minor=1_050)
    bank.do(authorization("H1", 1_000))
    assert bank.code(_capture("C1", 1_051)) == "PAYMENT_LIMIT_EXCEEDED"
    assert bank.do(_capture("C2", 1_050)).state == "SUCCEEDED"


def test_capture_of_merchant_without_over_capture_ends_at_the_hold() -> None:
    bank = shop()
    bank.do(authorization("H1", 1_000))
    assert bank.code(_capture("C1", 1_001)) == "CAPTURE_EXCEEDS_HOLD"
    assert bank.do(_capture("C2", 1_000)).hold_state == "CAPTURED"


@pytest.mark.parametrize("timer_first", [False, True])
def test_capture_and_expiry_race_ends_the_hold_once(timer_first: bool) -> None:
    """The capture is asked for in time and reaches the account when time is over."""
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1", 1_000))
    token = bank.send(_capture("C1", 400))
    bank.wait(HOUR)
    if timer_first:
        bank.fire()
        bank.deliver(HoldEnded)
        assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").operation == "capture"
    bank.deliver(CaptureHold)
    bank.fire()
    bank.run()
    answer = bank.answer(token)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.current) == ("HOLD_EXPIRED", "EXPIRED")
    assert _figures(bank) == (5_000, 0, 0)
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").operation == ""


def test_capture_in_the_last_nanosecond_succeeds() -> None:
    bank = shop()
    bank.do(authorization("H1", 1_000))
    bank.wait(HOUR - 1)
    assert bank.do(_capture("C1", 1_000)).hold_state == "CAPTURED"
    bank.wait(1)
    bank.fire()
    assert not bank.queue


def test_partly_captured_hold_ends_captured_at_its_time() -> None:
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1", 1_000))
    bank.do(_capture("C1", 400))
    bank.wait(HOUR)
    bank.fire()
    bank.run()
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == "CAPTURED"
    assert _figures(bank) == (4_600, 0, 0)


def test_expiry_with_the_clock_set_back_still_ends_the_hold() -> None:
    """The timer's row is gone once it has fired, so it must not be fired in vain."""
    bank = shop()
    bank.do(authorization("H1"))
    bank.wait(HOUR)
    timers = dict(bank.timers)
    bank.wait(-HOUR)
    for (due, address, name), body in timers.items():
        bank.timers.pop((due, address, name))
        bank.timers[0, address, name] = body
    bank.fire()
    bank.run()
    assert bank.get(PAYER, HOLDS, "M1/H1").state == "EXPIRED"


def test_timer_of_ended_hold_changes_nothing() -> None:
    """A timer that was parked and released late finds the hold voided long ago."""
    bank = shop(funds_minor=5_000)
    bank.do(authorization("H1"))
    timers = dict(bank.timers)
    bank.do(commands.VoidAuthorization("M1", "H1", "V1"))
    bank.timers.update(timers)
    bank.wait(HOUR)
    bank.fire()
    assert not bank.queue
    assert bank.get(PAYER, HOLDS, "M1/H1").state == "VOIDED"
    assert _figures(bank) == (5_000, 0, 0)


def test_expiry_before_the_merchant_knows_of_the_hold_comes_after_it() -> None:
    bank = shop()
    token = bank.send(authorization("H1"))
    bank.deliver_at(0)
    bank.wait(HOUR)
    bank.fire()
    assert [type(message.body) for message in bank.queue] == [HoldPlaced, HoldEnded]
    bank.run()
    assert bank.told(token) == "HELD"
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == "EXPIRED"


def test_void_and_capture_race_is_settled_at_the_merchant() -> None:
    bank = shop()
    bank.do(authorization("H1"))
    void = bank.send(commands.VoidAuthorization("M1", "H1", "V1"))
    capture = bank.send(_capture("C1", 100))
    bank.deliver(VoidHold)
    bank.run()
    assert getattr(bank.answer(void), "hold_state", "") == "VOIDED"
    assert bank.told(capture) == "IN_FLIGHT"
    assert bank.code(_capture("C1", 100)) == "HOLD_ALREADY_VOIDED"


def test_increment_and_payment_race_never_overdraws() -> None:
    """800 held, an increment of 200 under way; another merchant's payment of 200 overtakes it."""
    bank = shop(funds_minor=1_000)
    bank.do(commands.OpenMerchant("M2", "USD"))
    bank.do(commands.SignAgreement("A1", "M2", "M2"))
    bank.do(authorization("H1", 800))
    increment = bank.send(commands.IncrementAuthorization("M1", "H1", "I1", 200))
    paid = bank.send(commands.CreatePayment("M2", "O1", "A1", 200, "USD"))
    bank.deliver(DebitPayment)
    bank.run()
    assert bank.told(paid) == "SUCCEEDED"
    assert bank.told(increment) == "INSUFFICIENT_FUNDS"
    assert _figures(bank) == (800, 800, 1)


def test_holds_of_two_merchants_under_one_number_are_two() -> None:
    bank = shop()
    bank.do(commands.OpenMerchant("M2", "USD"))
    bank.do(commands.SignAgreement("A1", "M2", "M2"))
    bank.do(authorization("H1", 100))
    bank.do(commands.CreateAuthorization("M2", "H1", "A1", 200, "USD"))
    bank.do(commands.VoidAuthorization("M2", "H1", "V1"))
    assert _figures(bank) == (100_000, 100, 1)


def test_operation_numbers_of_each_kind_are_their_own() -> None:
    bank = shop()
    bank.do(authorization("N1", 1_000))
    bank.do(commands.IncrementAuthorization("M1", "N1", "N1", 1))
    bank.do(commands.CaptureAuthorization("M1", "N1", "N1", 1))
    bank.do(commands.RefundAuthorization("M1", "N1", "N1", 1))
    bank.do(commands.ReleaseAuthorization("M1", "N1", "N1"))
    bank.do(payment("N1", 1))
    bank.do(commands.ReversePayment("M1", "N1", "N1"))


def test_view_of_authorization_shows_the_hold_as_it_stands() -> None:
    bank = shop()
    bank.do(authorization("H1"))
    bank.do(_capture("C1", 400))
    bank.do(commands.RefundAuthorization("M1", "R1", "H1", 150))
    view = view_authorization("M1", "H1", bank.get(MERCHANT, AUTHORIZATIONS, "H1"))
    assert (view.state, view.captured_minor, view.refunded_minor) == (
        "PARTIALLY_CAPTURED",
        400,
        150,
    )
