"""What an agreement allows: a limit for one payment, and one for a business date."""

import pytest

from actors import commands
from actors.agreement import ALLOWANCES, Allowance
from actors.messages import DebitPayment, PaymentDebited
from tests.actors.driver import PAYER, Bank, authorization, payment, shop


def _used(bank: Bank) -> tuple[str, int]:
    allowance: Allowance = bank.get(PAYER, ALLOWANCES, "M1")
    return allowance.used_date, allowance.used_minor


def test_daily_limit_counts_payments_holds_and_increments() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 300))
    bank.do(authorization("H1", 300))
    bank.do(commands.IncrementAuthorization("M1", "H1", "I1", 300))
    assert _used(bank) == ("2026-01-05", 900)
    assert bank.code(payment("O2", 101)) == "DAILY_LIMIT_EXCEEDED"
    assert bank.code(authorization("H2", 101)) == "DAILY_LIMIT_EXCEEDED"
    over = commands.IncrementAuthorization("M1", "H1", "I2", 101)
    assert bank.code(over) == "DAILY_LIMIT_EXCEEDED"
    assert bank.do(payment("O3", 100)).state == "SUCCEEDED"


def test_capture_of_held_money_is_not_counted_twice() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(authorization("H1", 1_000))
    assert bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 1_000)).state == "SUCCEEDED"
    assert _used(bank) == ("2026-01-05", 1_000)
    assert bank.account("A1").used_minor == (0, 1_000, 0, 0)


def test_limit_is_whole_again_on_the_next_date() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 1_000))
    assert bank.code(payment("O2", 1)) == "DAILY_LIMIT_EXCEEDED"
    bank.business_date = "2026-01-06"
    assert bank.do(payment("O3", 1_000)).state == "SUCCEEDED"


def test_going_back_and_forth_over_the_day_cut_does_not_renew_the_limit() -> None:
    """Payments stamped before the cut reach the account among those stamped after it."""
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 1_000))
    old = [bank.send(payment(f"old{n}", 1_000)) for n in range(3)]
    stragglers = list(bank.queue)
    bank.queue.clear()
    bank.audited = False  # it would miss the messages that are held back here
    bank.business_date = "2026-01-06"
    outcomes = []
    for n, straggler in enumerate(stragglers):
        outcomes.append(bank.code(payment(f"new{n}", 1_000)))
        bank.queue.append(straggler)
        bank.deliver(DebitPayment)
        bank.audited = n == len(stragglers) - 1
        bank.run()
    assert outcomes == ["SUCCEEDED", "DAILY_LIMIT_EXCEEDED", "DAILY_LIMIT_EXCEEDED"]
    assert [bank.told(token) for token in old] == ["DAILY_LIMIT_EXCEEDED"] * 3
    assert bank.account("A1").posted_minor == 98_000


def test_reversal_gives_its_use_back_and_nothing_else_does() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 1_000))
    bank.do(commands.ReversePayment("M1", "O1", "V1"))
    assert _used(bank) == ("2026-01-05", 0)
    assert bank.account("A1").used_minor == (0, 0, 0, 0)
    bank.do(payment("O2", 400))
    bank.do(commands.RefundPayment("M1", "R1", "O2", 400))
    bank.do(authorization("H1", 600))
    bank.do(commands.VoidAuthorization("M1", "H1", "V1"))
    assert _used(bank) == ("2026-01-05", 1_000)
    assert bank.code(payment("O3", 1)) == "DAILY_LIMIT_EXCEEDED"


@pytest.mark.parametrize("undone", ["reversed", "discarded"])
def test_payment_from_before_the_first_daily_limit_gives_no_use_back(undone: str) -> None:
    """It was never counted, so the merchant would take more than the limit on that date."""
    bank = shop()
    bank.send(payment("O1", 1_000))
    bank.deliver(DebitPayment)
    bank.send(commands.ChangeAgreement("A1", "M1", "C1", None, 500))
    bank.send(payment("O2", 500))
    bank.deliver(DebitPayment)
    if undone == "discarded":
        assert bank.give_up(PaymentDebited) is None
    bank.run()
    if undone == "reversed":
        bank.do(commands.ReversePayment("M1", "O1", "V1"))
    assert _used(bank) == ("2026-01-05", 500)
    assert bank.code(payment("O3", 1)) == "DAILY_LIMIT_EXCEEDED"
    bank.do(commands.ChangeAgreement("A1", "M1", "C2", None, 600))
    bank.do(commands.ReversePayment("M1", "O2", "V2"))
    assert _used(bank) == ("2026-01-05", 500), "nobody can tell which of that date were counted"
    bank.business_date = "2026-01-06"
    bank.do(payment("O4", 600))
    bank.do(commands.ReversePayment("M1", "O4", "V4"))
    assert _used(bank) == ("2026-01-06", 0)


def test_payment_limit_binds_a_hold_with_its_increments() -> None:
    bank = shop(payment_limit_minor=1_000)
    bank.do(authorization("H1", 600))
    over = commands.IncrementAuthorization("M1", "H1", "I1", 401)
    assert bank.code(over) == "PAYMENT_LIMIT_EXCEEDED"
    assert bank.do(commands.IncrementAuthorization("M1", "H1", "I2", 400)).state == "SUCCEEDED"


def test_agreement_without_daily_limit_is_never_written_again() -> None:
    """It is read with every payment and would otherwise be written with every payment."""
    bank = shop(payment_limit_minor=1_000)
    before = dict(bank.rows)
    bank.do(payment("O1"))
    assert {key: bank.rows[key] for key in before} == before


def test_limits_of_two_merchants_are_apart() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(commands.OpenMerchant("M2", "USD"))
    bank.do(commands.SignAgreement("A1", "M2", "M2", None, 500))
    bank.do(payment("O1", 1_000))
    assert bank.do(commands.CreatePayment("M2", "O1", "A1", 500, "USD")).state == "SUCCEEDED"
    assert bank.account("A1").used_minor == (1_500, 0, 0, 0)
