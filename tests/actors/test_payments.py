"""Payments and reversals: what is posted, what is kept, and what comes back."""

import pytest

from actors import commands
from actors.answers import PaymentView
from actors.messages import CreditReversal, DebitPayment, PaymentDebited
from actors.payment import PAYMENTS, view_payment
from tests.actors.driver import MERCHANT, Bank, payment, shop


def _postings(bank: Bank, reference: str) -> list[tuple[str, int, int]]:
    return [(row[1], row[2], row[4]) for row in bank.postings if row[6] == reference]


def test_payment_with_fee_posts_gross_then_fee() -> None:
    bank = shop(funds_minor=10_000, fee_bps=250)
    view = bank.do(payment("O1", 999))
    assert view == PaymentView(
        merchant_no="M1",
        order_no="O1",
        payer="A1",
        amount_minor=999,
        currency="USD",
        fee_minor=25,
        refunded_minor=0,
        state="SUCCEEDED",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert _postings(bank, "payment/M1/O1") == [
        ("A1", -999, 9_001),
        ("merchant/M1/receivable", 999, 999),
        ("merchant/M1/receivable", -25, 974),
        ("merchant/M1/fees", 25, 25),
    ]


def test_payment_without_fee_posts_twice() -> None:
    bank = shop(fee_bps=1)
    assert bank.do(payment("O1", 4_999)).fee_minor == 0
    assert len(_postings(bank, "payment/M1/O1")) == 2


def test_payment_of_all_money_at_full_fee_leaves_nothing() -> None:
    """The caps: the largest amount, all of the account, a fee of everything."""
    bank = shop(funds_minor=10**13, fee_bps=10_000)
    bank.do(payment("O1", 10**13))
    assert bank.account("A1").posted_minor == 0
    assert (bank.merchant("M1").posted_minor, bank.merchant("M1").fees_minor) == (0, 10**13)


def test_payment_takes_three_turns() -> None:
    bank = shop()
    token = bank.send(payment("O1"))
    bank.deliver(DebitPayment)
    assert not bank.answers[token]
    bank.deliver(PaymentDebited)
    assert bank.told(token) == "SUCCEEDED"
    assert not bank.queue


def test_payments_at_once_never_overdraw() -> None:
    bank = shop(funds_minor=2_500)
    tokens = [bank.send(payment(f"O{n}")) for n in range(5)]
    bank.run()
    told = [bank.told(token) for token in tokens]
    assert told == ["SUCCEEDED"] * 2 + ["INSUFFICIENT_FUNDS"] * 3
    assert bank.account("A1").posted_minor == 500


def test_payment_cannot_use_what_a_hold_reserves() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(commands.CreateAuthorization("M1", "H1", "A1", 1, "USD"))
    assert bank.code(payment("O1", 1_000)) == "INSUFFICIENT_FUNDS"
    assert bank.do(payment("O2", 999)).state == "SUCCEEDED"


def test_payment_parts_of_two_dates_keep_the_first() -> None:
    """The date of the first turn travels: the day is cut while the payment is on its way."""
    bank = shop()
    bank.send(payment("O1"))
    bank.business_date = "2026-01-06"
    bank.run()
    assert {row[7] for row in bank.postings if row[6] == "payment/M1/O1"} == {"2026-01-05"}
    assert bank.code(commands.ReversePayment("M1", "O1", "V1")) == "REVERSAL_WINDOW_PASSED"


def test_reversal_returns_amount_and_fee() -> None:
    bank = shop(funds_minor=1_000, fee_bps=300)
    bank.do(payment("O1"))
    view = bank.do(commands.ReversePayment("M1", "O1", "V1"))
    assert (view.operation, view.original, view.amount_minor, view.fee_minor) == (
        "reversal",
        "O1",
        1_000,
        30,
    )
    assert _postings(bank, "reversal/M1/O1") == [
        ("merchant/M1/fees", -30, 0),
        ("merchant/M1/receivable", 30, 1_000),
        ("merchant/M1/receivable", -1_000, 0),
        ("A1", 1_000, 1_000),
    ]
    assert bank.get(MERCHANT, PAYMENTS, "O1").state == "REVERSED"


def test_reversal_counts_its_own_fee_as_cover() -> None:
    """970 in the receivable and a fee of 30 cover 1,000, to the cent."""
    bank = shop(fee_bps=300)
    bank.do(payment("O1"))
    bank.do(payment("O2"))
    bank.do(commands.RefundPayment("M1", "R1", "O2", 970))
    assert bank.code(commands.ReversePayment("M1", "O1", "V1")) == "SUCCEEDED"
    bank.do(payment("O3"))
    bank.do(payment("O4"))
    bank.do(commands.RefundPayment("M1", "R2", "O4", 971))
    assert bank.code(commands.ReversePayment("M1", "O3", "V2")) == "MERCHANT_BALANCE_INSUFFICIENT"


def test_reversal_to_closed_account_books_everything_back() -> None:
    bank = shop(funds_minor=1_000, fee_bps=300)
    bank.do(payment("O1"))
    bank.do(commands.CloseAccount("A1"))
    assert bank.code(commands.ReversePayment("M1", "O1", "V1")) == "ACCOUNT_CLOSED"
    merchant = bank.merchant("M1")
    assert (merchant.posted_minor, merchant.fees_minor) == (970, 30)
    record = bank.get(MERCHANT, PAYMENTS, "O1")
    assert (record.state, record.reversing) == ("SUCCEEDED", "")
    assert bank.code(commands.RefundPayment("M1", "R1", "O1", 1)) == "ABNORMAL"


def test_reversal_and_refund_race_ends_with_one_of_them() -> None:
    """Whichever comes first at the merchant wins; the money goes back once."""
    refund = commands.RefundPayment("M1", "R1", "O1", 1_000)
    reversal = commands.ReversePayment("M1", "O1", "V1")
    for first, second in ((refund, reversal), (reversal, refund)):
        bank = shop(funds_minor=1_000)
        bank.do(payment("O1"))
        winner, loser = bank.send(first), bank.send(second)
        bank.run()
        assert bank.told(winner) == "SUCCEEDED"
        assert bank.told(loser) in {"REVERSAL_NOT_FULL", "IN_FLIGHT"}
        assert bank.account("A1").posted_minor == 1_000
        assert bank.merchant("M1").posted_minor == 0


def test_reversal_race_with_closing_account_leaves_the_money_somewhere() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    token = bank.send(commands.ReversePayment("M1", "O1", "V1"))
    closing = bank.send(commands.CloseAccount("A1"))
    bank.deliver(CreditReversal)
    bank.run()
    assert bank.told(closing) == "CLOSED"
    assert bank.told(token) == "ACCOUNT_CLOSED"
    assert bank.merchant("M1").posted_minor == 1_000


def test_payment_view_after_refund_shows_current_figures() -> None:
    bank = shop()
    bank.do(payment("O1"))
    bank.do(commands.RefundPayment("M1", "R1", "O1", 300))
    view = view_payment("M1", "O1", bank.get(MERCHANT, PAYMENTS, "O1"))
    assert (view.state, view.refunded_minor) == ("SUCCEEDED", 300)


@pytest.mark.parametrize("payer", ["clearing-USD", "suspense-USD", "A2"])
def test_payment_from_account_without_agreement_takes_nothing(payer: str) -> None:
    bank = shop()
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.FundAccount("A2", "F2", 5_000, "USD"))
    command = commands.CreatePayment("M1", "O1", payer, 1_000, "USD")
    before = len(bank.postings)
    assert bank.code(command) in {"ACCOUNT_INTERNAL", "ACCOUNT_NOT_FOUND", "AGREEMENT_NOT_FOUND"}
    assert len(bank.postings) == before
