"""Agreements by number: signed, changed, cancelled, also while payments are under way."""

import pytest

from actors import commands
from actors.agreement import ALLOWANCES
from actors.answers import Replayed
from actors.authorization import AUTHORIZATIONS
from actors.messages import CreditReversal, DebitPayment, IncrementHold, PlaceHold
from actors.signing import AGREEMENTS, view_agreement
from tests.actors.driver import MERCHANT, PAYER, Bank, authorization, payment, shop

CANCEL = commands.CancelAgreement("A1", "M1", "E1")


def _change(daily_limit_minor: int | None, change_no: str = "C1") -> commands.ChangeAgreement:
    return commands.ChangeAgreement("A1", "M1", change_no, None, daily_limit_minor)


def _sign(agreement_no: str, daily_limit_minor: int | None) -> commands.SignAgreement:
    return commands.SignAgreement("A1", agreement_no, "M1", None, daily_limit_minor)


def _used(bank: Bank) -> int:
    return bank.get(PAYER, ALLOWANCES, "M1").used_minor


def test_one_agreement_with_each_merchant_is_in_force() -> None:
    bank = shop()
    assert bank.code(_sign("G2", None)) == "AGREEMENT_IN_FORCE"
    assert bank.do(commands.SignAgreement("A1", "G3", "M2")).state == "SIGNED"
    bank.do(CANCEL)
    assert bank.code(_sign("G2", None)) == "AGREEMENT_IN_FORCE"  # bound, for ever
    assert bank.do(_sign("G4", None)).state == "SIGNED"
    assert bank.do(payment("O1")).state == "SUCCEEDED"


def test_first_outcome_of_signing_is_told_after_change_and_cancelling() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(_change(5))
    bank.do(CANCEL)
    again = bank.ask(commands.SignAgreement("A1", "M1", "M1", None, 1_000))
    assert isinstance(again, Replayed)
    view = view_agreement("A1", "M1", bank.get(PAYER, AGREEMENTS, "M1"))
    assert (view.state, view.daily_limit_minor) == ("CANCELLED", 5)
    assert getattr(again.outcome, "state", "") == "SIGNED"
    assert getattr(again.outcome, "daily_limit_minor", 0) == 1_000


def test_change_keeps_what_was_used_today() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    bank.do(_change(1_500))
    assert bank.code(payment("O2", 601)) == "DAILY_LIMIT_EXCEEDED"
    assert bank.do(payment("O3", 600)).state == "SUCCEEDED"


def test_change_below_what_is_used_lets_nothing_more_be_taken_today() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    bank.do(_change(500))
    assert bank.code(payment("O2", 1)) == "DAILY_LIMIT_EXCEEDED"
    bank.business_date = "2026-01-06"
    assert bank.do(payment("O3", 500)).state == "SUCCEEDED"
    assert bank.code(payment("O4", 1)) == "DAILY_LIMIT_EXCEEDED"


def test_daily_limit_taken_away_and_set_again_does_not_forget_the_day() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    bank.do(_change(None, "C1"))
    bank.do(payment("O2", 5_000))
    bank.do(_change(6_000, "C2"))
    assert bank.code(payment("O3", 101)) == "DAILY_LIMIT_EXCEEDED"
    assert bank.do(payment("O4", 100)).state == "SUCCEEDED"


def test_signing_again_has_its_own_limit_and_the_same_day() -> None:
    """Whoever cancels and signs again, however often, takes no more a day than one limit."""
    bank = shop(daily_limit_minor=1_000)
    taken = 0
    agreement_no = "M1"
    for n in range(5):
        if bank.code(payment(f"O{n}", 400)) == "SUCCEEDED":
            taken += 400
        bank.do(commands.CancelAgreement("A1", agreement_no, f"E{n}"))
        agreement_no = f"G{n}"
        bank.do(_sign(agreement_no, 1_000))
    assert taken == 800
    bank.do(commands.CancelAgreement("A1", agreement_no, "E9"))
    bank.do(_sign("G9", 1_300))
    assert bank.code(payment("O9", 501)) == "DAILY_LIMIT_EXCEEDED"
    assert bank.do(payment("O10", 500)).state == "SUCCEEDED"


def test_reversal_after_signing_again_gives_use_back_to_the_day() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    bank.do(CANCEL)
    bank.do(commands.ReversePayment("M1", "O1", "V1"))
    assert _used(bank) == 0
    bank.do(_sign("G2", 1_000))
    assert bank.do(payment("O2", 1_000)).state == "SUCCEEDED"


def test_reversal_that_arrives_on_a_later_date_gives_nothing_back() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    bank.send(commands.ReversePayment("M1", "O1", "V1"))
    straggler = bank.queue.pop()
    bank.audited = False  # it would miss the message that is held back here
    bank.business_date = "2026-01-06"
    bank.do(payment("O2", 700))
    bank.queue.append(straggler)
    bank.deliver(CreditReversal)
    bank.run()
    bank.audited = True
    assert _used(bank) == 700
    assert bank.account("A1").used_minor == (700, 0, 0, 0)
    assert bank.code(payment("O3", 301)) == "DAILY_LIMIT_EXCEEDED"


def test_cancelled_agreement_lets_open_holds_and_refunds_go_on() -> None:
    bank = shop(over_capture=True)
    bank.do(payment("O1"))
    for hold_no in ("H1", "H2", "H3"):
        bank.do(authorization(hold_no))
    bank.do(CANCEL)
    assert bank.code(payment("O2")) == "AGREEMENT_CANCELLED"
    assert bank.code(authorization("H4")) == "AGREEMENT_CANCELLED"
    increment = commands.IncrementAuthorization("M1", "H1", "I1", 1)
    assert bank.code(increment) == "AGREEMENT_CANCELLED"
    excess = commands.CaptureAuthorization("M1", "H1", "C1", 1_001)
    assert bank.code(excess) == "AGREEMENT_CANCELLED"
    for command in (
        commands.CaptureAuthorization("M1", "H1", "C2", 1_000),
        commands.VoidAuthorization("M1", "H2", "V1"),
        commands.CaptureAuthorization("M1", "H3", "C3", 400),
        commands.ReleaseAuthorization("M1", "H3", "L1"),
        commands.RefundPayment("M1", "R1", "O1", 1_000),
        commands.RefundAuthorization("M1", "R2", "H1", 1_000),
    ):
        assert bank.do(command).state == "SUCCEEDED"


@pytest.mark.parametrize("first", ["account", "cancelling"])
def test_payment_under_way_is_judged_by_the_agreement_it_meets(first: str) -> None:
    """What counts is which of the two comes to the account first, not when the payment began."""
    bank = shop()
    token = bank.send(payment("O1"))
    if first == "account":
        bank.deliver(DebitPayment)
    bank.send(CANCEL)
    bank.run()
    expected = "SUCCEEDED" if first == "account" else "AGREEMENT_CANCELLED"
    assert bank.told(token) == expected
    assert bank.get(PAYER, AGREEMENTS, "M1").state == "CANCELLED"


def test_change_overtakes_what_is_under_way() -> None:
    """Two payments, a hold and an increment began under a limit that is gone when they come."""
    bank = shop(daily_limit_minor=10_000)
    bank.do(authorization("H1", 500))
    tokens = [bank.send(payment("O1", 400)), bank.send(payment("O2", 400))]
    tokens.append(bank.send(authorization("H2", 100)))
    tokens.append(bank.send(commands.IncrementAuthorization("M1", "H1", "I1", 100)))
    bank.send(_change(1_000))
    bank.deliver(DebitPayment)
    bank.deliver(DebitPayment)
    bank.deliver(PlaceHold)
    bank.deliver(IncrementHold)
    bank.run()
    assert [bank.told(token) for token in tokens] == [
        "SUCCEEDED",
        "DAILY_LIMIT_EXCEEDED",
        "HELD",
        "DAILY_LIMIT_EXCEEDED",
    ]
    assert _used(bank) == 1_000
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").amount_minor == 500


def test_agreement_says_what_is_used_on_the_date_that_asks() -> None:
    bank = shop(daily_limit_minor=1_000)
    bank.do(payment("O1", 900))
    agreement, allowance = bank.get(PAYER, AGREEMENTS, "M1"), bank.get(PAYER, ALLOWANCES, "M1")
    today = view_agreement("A1", "M1", agreement, allowance, "2026-01-05")
    tomorrow = view_agreement("A1", "M1", agreement, allowance, "2026-01-06")
    assert (today.used_minor, tomorrow.used_minor) == (900, 0)
    bank.do(CANCEL)
    agreement, allowance = bank.get(PAYER, AGREEMENTS, "M1"), bank.get(PAYER, ALLOWANCES, "M1")
    assert view_agreement("A1", "M1", agreement, allowance, "2026-01-05").used_minor is None
