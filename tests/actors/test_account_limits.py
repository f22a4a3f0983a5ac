"""An account's own limits, by method, and amounts that the bank has frozen."""

import pytest

from actors import commands
from actors.limits import view_account_limits
from actors.messages import DebitPayment, PlaceHold
from actors.transfer import TRANSFERS
from tests.actors.driver import Bank, authorization, payment, shop


def _limit(
    bank: Bank, method: commands.Method, payment_limit: int | None, daily_limit: int | None
) -> None:
    number = f"L{len(bank.rows)}"
    bank.do(commands.SetAccountLimits("A1", number, method, payment_limit, daily_limit))


def _used(bank: Bank, business_date: str = "2026-01-05") -> list[int]:
    view = view_account_limits("A1", bank.account("A1"), business_date)
    return [each.used_minor for each in view.methods]


def test_limit_set_at_noon_knows_the_morning() -> None:
    bank = shop()
    bank.do(payment("O1", 900))
    bank.do(authorization("H1", 300))
    bank.do(commands.WithdrawFunds("A1", "W1", 50, "USD"))
    assert _used(bank) == [900, 300, 0, 50]
    for method in ("agreement", "authorization", "withdrawal"):
        _limit(bank, method, None, 1_000)
    assert bank.code(payment("O2", 101)) == "METHOD_LIMIT_EXCEEDED"
    assert bank.code(authorization("H2", 701)) == "METHOD_LIMIT_EXCEEDED"
    assert bank.code(commands.WithdrawFunds("A1", "W2", 951, "USD")) == "METHOD_LIMIT_EXCEEDED"
    assert bank.code(payment("O3", 100)) == "SUCCEEDED"
    assert bank.code(authorization("H3", 700)) == "HELD"
    assert bank.code(commands.WithdrawFunds("A1", "W3", 950, "USD")) == "SUCCEEDED"
    assert _used(bank) == [1_000, 1_000, 0, 1_000]
    assert _used(bank, "2026-01-06") == [0, 0, 0, 0]


def test_limit_binds_whoever_is_paid() -> None:
    bank = shop()
    bank.do(commands.OpenMerchant("M2", "USD"))
    bank.do(commands.SignAgreement("A1", "G2", "M2"))
    _limit(bank, "agreement", None, 1_000)
    bank.do(payment("O1", 600))
    other = commands.CreatePayment("M2", "O1", "A1", 401, "USD")
    assert bank.code(other) == "METHOD_LIMIT_EXCEEDED"


def test_capture_counts_only_what_goes_beyond_its_hold() -> None:
    bank = shop(over_capture=True)
    _limit(bank, "authorization", None, 1_000)
    bank.do(authorization("H1", 900))
    bank.do(commands.IncrementAuthorization("M1", "H1", "I1", 50))
    assert _used(bank) == [0, 950, 0, 0]
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 900))
    assert _used(bank) == [0, 950, 0, 0]
    over = commands.CaptureAuthorization("M1", "H1", "C2", 101)
    assert bank.code(over) == "METHOD_LIMIT_EXCEEDED"
    bank.do(commands.CaptureAuthorization("M1", "H1", "C3", 100))
    assert _used(bank) == [0, 1_000, 0, 0]


def test_payment_limit_binds_a_hold_with_its_increments_and_excess() -> None:
    bank = shop(over_capture=True)
    _limit(bank, "authorization", 1_000, None)
    bank.do(authorization("H1", 900))
    over = commands.IncrementAuthorization("M1", "H1", "I1", 101)
    assert bank.code(over) == "METHOD_LIMIT_EXCEEDED"
    excess = commands.CaptureAuthorization("M1", "H1", "C1", 1_001)
    assert bank.code(excess) == "METHOD_LIMIT_EXCEEDED"
    assert bank.do(commands.CaptureAuthorization("M1", "H1", "C2", 1_000)).state == "SUCCEEDED"


def test_transfers_count_apart_and_one_that_comes_back_gives_its_use_back() -> None:
    bank = shop()
    bank.do(commands.OpenAccount("A2", "USD"))
    _limit(bank, "transfer", 600, 1_000)
    for number, amount in (("T1", 601), ("T2", 10**9)):
        over = commands.CreateTransfer("A1", number, "A2", amount, "USD")
        assert bank.code(over) == "METHOD_LIMIT_EXCEEDED"
    bank.do(commands.CreateTransfer("A1", "T3", "A2", 500, "USD"))
    bank.do(commands.WithdrawFunds("A1", "W1", 50, "USD"))
    assert _used(bank) == [0, 0, 500, 50]
    lost = commands.CreateTransfer("A1", "T4", "nobody", 500, "USD")
    bank.send(lost)
    assert _used(bank) == [0, 0, 1_000, 50]
    bank.send(commands.CreateTransfer("A1", "T5", "A2", 1, "USD"))
    bank.run()
    assert bank.get("account/A1", TRANSFERS, "transfer/T5").code == "METHOD_LIMIT_EXCEEDED"
    assert _used(bank) == [0, 0, 500, 50]
    assert bank.code(lost) == "ACCOUNT_NOT_FOUND"
    assert _used(bank) == [0, 0, 500, 50]
    assert bank.code(commands.CreateTransfer("A1", "T6", "A2", 500, "USD")) == "SUCCEEDED"


def test_transfer_that_comes_back_on_a_later_date_gives_back_the_date_it_was_made_on() -> None:
    bank = shop()
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.CreateTransfer("A1", "T0", "A2", 10, "USD"))
    bank.send(commands.CreateTransfer("A1", "T1", "nobody", 500, "USD"))
    assert _used(bank) == [0, 0, 510, 0]
    bank.business_date = "2026-01-06"
    bank.run()
    assert _used(bank) == [0, 0, 10, 0]
    bank.send(commands.CreateTransfer("A1", "T2", "nobody", 500, "USD"))
    bank.business_date = "2026-01-07"
    bank.do(commands.WithdrawFunds("A1", "W1", 50, "USD"))
    bank.run()
    assert _used(bank, "2026-01-07") == [0, 0, 0, 50]


def test_reversal_gives_use_back_and_void_does_not() -> None:
    bank = shop()
    bank.do(payment("O1", 900))
    bank.do(authorization("H1", 300))
    bank.do(commands.ReversePayment("M1", "O1", "V1"))
    bank.do(commands.VoidAuthorization("M1", "H1", "V1"))
    assert _used(bank) == [0, 300, 0, 0]


def test_limits_go_when_they_are_set_to_none() -> None:
    bank = shop()
    _limit(bank, "agreement", 5, 5)
    assert bank.code(payment("O1", 6)) == "METHOD_LIMIT_EXCEEDED"
    _limit(bank, "agreement", None, None)
    assert bank.account("A1").limits == ()
    assert bank.do(payment("O2", 6)).state == "SUCCEEDED"


def test_back_and_forth_over_the_day_cut_does_not_renew_a_method() -> None:
    """A withdrawal of the new date must not give payments of the old one a fresh limit."""
    bank = shop()
    _limit(bank, "agreement", None, 1_000)
    bank.do(payment("O1", 1_000))
    token = bank.send(payment("old", 1_000))
    straggler = bank.queue.pop()
    bank.audited = False  # it would miss the message that is held back here
    bank.business_date = "2026-01-06"
    bank.do(commands.WithdrawFunds("A1", "W1", 5, "USD"))
    bank.do(payment("O2", 600))
    bank.queue.append(straggler)
    bank.deliver(DebitPayment)
    bank.run()
    bank.audited = True
    assert bank.told(token) == "METHOD_LIMIT_EXCEEDED"
    assert _used(bank, "2026-01-06") == [600, 0, 0, 5]


# Frozen amounts


def test_frozen_amount_is_posted_and_not_available() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(commands.FreezeAmount("A1", "Z1", 600))
    account = bank.account("A1")
    assert (account.posted_minor, account.frozen_minor) == (1_000, 600)
    for command in (
        payment("O1", 401),
        authorization("H1", 401),
        commands.WithdrawFunds("A1", "W1", 401, "USD"),
        commands.FreezeAmount("A1", "Z2", 401),
    ):
        assert bank.code(command) == "INSUFFICIENT_FUNDS"
    bank.do(commands.UnfreezeAmount("A1", "Z1", "U1"))
    assert bank.do(payment("O2", 1_000)).state == "SUCCEEDED"


def test_freeze_takes_nothing_from_a_hold() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(authorization("H1", 700))
    assert bank.code(commands.FreezeAmount("A1", "Z1", 301)) == "INSUFFICIENT_FUNDS"
    bank.do(commands.FreezeAmount("A1", "Z2", 300))
    assert bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 700)).state == "SUCCEEDED"
    assert bank.account("A1").frozen_minor == 300 == bank.account("A1").posted_minor


@pytest.mark.parametrize("first", ["hold", "freeze"])
def test_freeze_that_races_a_hold_leaves_one_of_them_without_funds(first: str) -> None:
    bank = shop(funds_minor=1_000)
    hold = bank.send(authorization("H1", 700))
    if first == "hold":
        bank.deliver(PlaceHold)
    freeze = bank.send(commands.FreezeAmount("A1", "Z1", 700))
    bank.run()
    told = (bank.told(hold), bank.told(freeze))
    if first == "hold":
        assert told == ("HELD", "INSUFFICIENT_FUNDS")
    else:
        assert told == ("INSUFFICIENT_FUNDS", "FROZEN")


def test_account_is_closed_once_its_amounts_are_unfrozen() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(commands.FreezeAmount("A1", "Z1", 1_000))
    assert bank.code(commands.CloseAccount("A1")) == "OPEN_LIABILITIES"
    bank.do(commands.UnfreezeAmount("A1", "Z1", "U1"))
    bank.do(commands.WithdrawFunds("A1", "W1", 1_000, "USD"))
    assert bank.do(commands.CloseAccount("A1")).status == "CLOSED"


def test_money_comes_to_an_account_with_frozen_amounts() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1", 1_000))
    bank.do(commands.FundAccount("A1", "F2", 500, "USD"))
    bank.do(commands.FreezeAmount("A1", "Z1", 500))
    bank.do(commands.RefundPayment("M1", "R1", "O1", 1_000))
    assert bank.do(payment("O2", 1_000)).state == "SUCCEEDED"
    assert bank.account("A1").posted_minor == 500
