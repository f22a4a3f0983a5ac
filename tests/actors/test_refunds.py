"""Refunds: however many run at once, together they never exceed what was taken."""

import pytest

from actors import commands
from actors.answers import RefundView
from actors.authorization import AUTHORIZATIONS
from actors.messages import CaptureHold, CreditRefund, OperationApplied
from actors.payment import PAYMENTS
from tests.actors.driver import DAY, MERCHANT, authorization, payment, shop


def _refund(number: str, amount_minor: int, order_no: str = "O1") -> commands.RefundPayment:
    return commands.RefundPayment("M1", number, order_no, amount_minor)


def test_refund_returns_money_and_keeps_the_fee() -> None:
    bank = shop(funds_minor=5_000, fee_bps=100)
    bank.do(payment("O1", 2_000))
    bank.do(payment("O2", 1_000))
    assert bank.do(_refund("R1", 2_000)) == RefundView(
        merchant_no="M1",
        refund_no="R1",
        original_kind="payment",
        original="O1",
        payer="A1",
        redirected_to=None,
        amount_minor=2_000,
        currency="USD",
        state="SUCCEEDED",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert bank.account("A1").posted_minor == 4_000
    merchant = bank.merchant("M1")
    assert (merchant.posted_minor, merchant.fees_minor) == (970, 30)


def test_two_refunds_of_sixty_on_a_hundred_give_sixty_back() -> None:
    bank = shop(funds_minor=100)
    bank.do(payment("O1", 100))
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.SignAgreement("A2", "M1", "M1"))
    bank.do(commands.FundAccount("A2", "F2", 100, "USD"))
    bank.do(commands.CreatePayment("M1", "O2", "A2", 100, "USD"))
    tokens = [bank.send(_refund("R1", 60)), bank.send(_refund("R2", 60))]
    bank.run()
    assert [bank.told(token) for token in tokens] == ["SUCCEEDED", "REFUND_EXCEEDS_REMAINING"]
    assert bank.account("A1").posted_minor == 60


def test_refunds_at_once_share_the_receivable() -> None:
    """Each is within its payment; together they are more than the merchant has."""
    bank = shop(fee_bps=1_000)
    bank.do(payment("O1", 1_000))
    bank.do(payment("O2", 1_000))
    tokens = [bank.send(_refund("R1", 1_000, "O1")), bank.send(_refund("R2", 1_000, "O2"))]
    bank.run()
    assert [bank.told(token) for token in tokens] == ["SUCCEEDED", "MERCHANT_BALANCE_INSUFFICIENT"]
    assert bank.merchant("M1").posted_minor == 800


def test_refund_that_goes_astray_keeps_its_reservation() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    bank.do(commands.CloseAccount("A1"))
    first = bank.send(_refund("R1", 600))
    assert bank.code(_refund("R2", 600)) == "REFUND_EXCEEDS_REMAINING"
    bank.run()
    assert bank.told(first) == "ABNORMAL"
    assert bank.code(_refund("R3", 401)) == "REFUND_EXCEEDS_REMAINING"
    assert bank.code(_refund("R4", 400)) == "ABNORMAL"
    assert bank.code(_refund("R1", 600)) == "ABNORMAL"
    record = bank.get(MERCHANT, PAYMENTS, "O1")
    assert (record.refunded_minor, record.refunding_minor, record.refunds) == (0, 1_000, 2)
    assert bank.merchant("M1").posted_minor == 1_000


def test_refund_in_flight_while_the_account_closes_comes_back() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    token = bank.send(_refund("R1", 1_000))
    closing = bank.send(commands.CloseAccount("A1"))
    bank.deliver(CreditRefund)
    bank.run()
    assert bank.told(closing) == "CLOSED"
    assert bank.told(token) == "ABNORMAL"
    assert bank.merchant("M1").posted_minor == 1_000


def test_fifty_first_refund_is_refused_but_failed_ones_do_not_count() -> None:
    bank = shop()
    bank.do(payment("O1", 1_000))
    bank.code(_refund("R-too-much", 1_001))
    for n in range(50):
        bank.do(_refund(f"R{n}", 1))
    assert bank.code(_refund("R50", 1)) == "REFUND_COUNT_LIMIT"
    assert bank.get(MERCHANT, PAYMENTS, "O1").refunded_minor == 50


@pytest.mark.parametrize(("late_ns", "outcome"), [(0, "SUCCEEDED"), (1, "REFUND_WINDOW_PASSED")])
def test_refund_window_closes_after_365_days(late_ns: int, outcome: str) -> None:
    bank = shop()
    bank.do(payment("O1"))
    bank.wait(365 * DAY + late_ns)
    assert bank.code(_refund("R1", 1)) == outcome


def test_refund_window_of_authorization_begins_with_its_last_capture() -> None:
    bank = shop()
    bank.do(authorization("H1", 1_000, valid_s=30 * 86_400))
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 100))
    bank.wait(29 * DAY)
    bank.do(commands.CaptureAuthorization("M1", "H1", "C2", 100))
    bank.fire()
    bank.run()
    bank.wait(365 * DAY)
    assert bank.code(commands.RefundAuthorization("M1", "R1", "H1", 200)) == "SUCCEEDED"
    bank.wait(1)
    late = commands.RefundAuthorization("M1", "R2", "H1", 1)
    assert bank.code(late) == "REFUND_WINDOW_PASSED"


def test_refund_of_authorization_is_limited_to_what_has_come_in() -> None:
    """A capture on its way is not money of the merchant yet."""
    bank = shop()
    bank.do(authorization("H1", 1_000))
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 300))
    bank.send(commands.CaptureAuthorization("M1", "H1", "C2", 300))
    bank.deliver(CaptureHold)
    over = bank.send(commands.RefundAuthorization("M1", "R1", "H1", 301))
    fits = bank.send(commands.RefundAuthorization("M1", "R2", "H1", 300))
    bank.deliver(OperationApplied)
    bank.run()
    assert (bank.told(over), bank.told(fits)) == ("REFUND_EXCEEDS_REMAINING", "SUCCEEDED")
    record = bank.get(MERCHANT, AUTHORIZATIONS, "H1")
    assert (record.captured_minor, record.refunded_minor) == (600, 300)
    assert bank.do(commands.RefundAuthorization("M1", "R3", "H1", 300)).state == "SUCCEEDED"


def test_refund_number_serves_payments_and_authorizations_alike() -> None:
    bank = shop()
    bank.do(payment("X1"))
    bank.do(authorization("X1"))
    bank.do(commands.CaptureAuthorization("M1", "X1", "C1", 1_000))
    bank.do(commands.RefundPayment("M1", "R1", "X1", 5))
    assert bank.code(commands.RefundAuthorization("M1", "R1", "X1", 5)) == "NUMBER_USED"
