"""Fundings, withdrawals and suspense: how money enters, leaves and waits."""

from actors import commands
from actors.account import Account
from actors.answers import Refused, TransferView
from actors.messages import CreditTransfer
from actors.money import BALANCE_MAX
from actors.transfer import TRANSFERS, funding_name, suspend, view_transfer, withdrawal_name
from engine.message import Envelope
from tests.actors.driver import PAYER, Bank, shop

CLEARING = "account/clearing-USD"


def test_funding_posts_from_clearing_to_account() -> None:
    bank = Bank()
    bank.do(commands.OpenAccount("A1", "USD"))
    view = bank.do(commands.FundAccount("A1", "F1", 5_000, "USD"))
    assert view == TransferView(
        direction="funding",
        account_no="A1",
        number="F1",
        amount_minor=5_000,
        currency="USD",
        state="SUCCEEDED",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert [row[1:5] for row in bank.postings] == [
        ("clearing-USD", -5_000, "USD", -5_000),
        ("A1", 5_000, "USD", 5_000),
    ]
    record = bank.get(CLEARING, TRANSFERS, funding_name("A1", "F1"))
    assert view_transfer("clearing-USD", "funding/A1/F1", record) == view


def test_withdrawal_posts_from_account_to_clearing() -> None:
    bank = shop(funds_minor=5_000)
    view = bank.do(commands.WithdrawFunds("A1", "W1", 5_000, "USD"))
    assert (view.direction, view.account_no, view.number) == ("withdrawal", "A1", "W1")
    assert [row[6] for row in bank.postings[-2:]] == ["withdrawal/A1/W1"] * 2
    assert bank.account("A1").posted_minor == bank.account("clearing-USD").posted_minor == 0
    record = bank.get(PAYER, TRANSFERS, withdrawal_name("W1"))
    assert view_transfer("A1", "withdrawal/W1", record) == view


def test_withdrawal_cannot_use_what_a_hold_reserves() -> None:
    bank = shop(funds_minor=1_000)
    bank.do(commands.CreateAuthorization("M1", "H1", "A1", 1, "USD"))
    assert bank.code(commands.WithdrawFunds("A1", "W1", 1_000, "USD")) == "INSUFFICIENT_FUNDS"


def test_withdrawal_settles_though_its_account_has_closed_meanwhile() -> None:
    bank = shop(funds_minor=1_000)
    token = bank.send(commands.WithdrawFunds("A1", "W1", 1_000, "USD"))
    bank.send(commands.CloseAccount("A1"))
    assert bank.account("A1").status == "CLOSED"
    bank.run()
    assert bank.told(token) == "SUCCEEDED"


def test_funding_of_account_that_closes_meanwhile_comes_back() -> None:
    bank = shop(funds_minor=0)
    token = bank.send(commands.FundAccount("A1", "F9", 700, "USD"))
    bank.send(commands.CloseAccount("A1"))
    bank.deliver(CreditTransfer)
    bank.run()
    answer = bank.answer(token)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.number) == ("ACCOUNT_CLOSED", "F9")
    assert bank.account("clearing-USD").posted_minor == 0


def test_funding_number_is_the_accounts_own() -> None:
    bank = shop(funds_minor=0)
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.FundAccount("A1", "F1", 5, "USD"))
    assert bank.do(commands.FundAccount("A2", "F1", 6, "USD")).state == "SUCCEEDED"


def test_funding_stops_when_all_of_a_currency_is_in_circulation() -> None:
    """The cap binds here and nowhere else: no balance can exceed what was issued."""
    bank = shop(funds_minor=0)
    bank.audited = False
    bank.states[CLEARING] = Account("clearing", "USD", b"", 1, posted_minor=-BALANCE_MAX + 5)
    assert bank.code(commands.FundAccount("A1", "F1", 6, "USD")) == "BALANCE_LIMIT"
    assert bank.code(commands.FundAccount("A1", "F2", 5, "USD")) == "SUCCEEDED"
    assert bank.code(commands.FundAccount("A1", "F3", 1, "USD")) == "BALANCE_LIMIT"


def test_funding_of_another_currency_goes_through_its_own_clearing() -> None:
    bank = shop(funds_minor=0)
    assert bank.code(commands.FundAccount("A1", "F1", 5, "EUR")) == "CURRENCY_MISMATCH"
    assert bank.account("clearing-EUR").posted_minor == 0
    assert CLEARING not in bank.states


def test_failed_withdrawal_of_internal_account_is_not_taken_for_a_funding() -> None:
    bank = shop()
    bank.code(commands.WithdrawFunds("clearing-USD", "W1", 5, "USD"))
    record = bank.get(CLEARING, TRANSFERS, "withdrawal/W1")
    view = view_transfer("clearing-USD", "withdrawal/W1", record)
    assert (view.direction, view.account_no) == ("withdrawal", "clearing-USD")


def test_discarded_money_ends_in_suspense() -> None:
    bank = shop(funds_minor=0)
    bank.send(commands.FundAccount("A1", "F1", 700, "USD"))
    lost = bank.queue.pop()
    bank.audited = False  # the funding itself now waits for ever, which the audit would say
    to, body = suspend(lost.currency, f"{lost.sender}->{lost.to}")
    bank.queue.append(
        Envelope(to, lost.sender, body, lost.business_date, None, lost.amount_minor, "USD")
    )
    bank.run()
    account = bank.account("suspense-USD")
    assert (account.kind, account.currency, account.posted_minor) == ("suspense", "USD", 700)
    assert bank.postings[-1][6] == "suspense/account/clearing-USD->account/A1"
    assert bank.code(commands.WithdrawFunds("suspense-USD", "W1", 5, "USD")) == "ACCOUNT_INTERNAL"
