"""Transfers, fundings and withdrawals: how money moves, enters and leaves."""

import pytest

from actors import commands
from actors.account import Account
from actors.answers import Refused, TransferView
from actors.messages import CreditTransfer
from actors.money import BALANCE_MAX
from actors.transfer import (
    TRANSFERS,
    funding_name,
    transfer_name,
    view_transfer,
    withdrawal_name,
)
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
        to=None,
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


def _pair() -> Bank:
    """Return a bank with 1,000 in account A1, and account A2."""
    bank = shop(funds_minor=1_000)
    bank.do(commands.OpenAccount("A2", "USD"))
    return bank


def _transfer(number: str, amount_minor: int = 1_000, to: str = "A2") -> commands.CreateTransfer:
    return commands.CreateTransfer("A1", number, to, amount_minor, "USD")


def test_transfer_posts_from_account_to_account() -> None:
    bank = _pair()
    view = bank.do(_transfer("T1", 400))
    assert view == TransferView(
        direction="transfer",
        account_no="A1",
        number="T1",
        to="A2",
        amount_minor=400,
        currency="USD",
        state="SUCCEEDED",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert [row[1:5] for row in bank.postings[-2:]] == [
        ("A1", -400, "USD", 600),
        ("A2", 400, "USD", 400),
    ]
    assert [row[6] for row in bank.postings[-2:]] == ["transfer/A1/T1"] * 2
    record = bank.get(PAYER, TRANSFERS, transfer_name("T1"))
    assert view_transfer("A1", "transfer/T1", record) == view


def test_transfer_and_withdrawal_have_number_spaces_of_their_own() -> None:
    bank = _pair()
    assert bank.do(_transfer("X1", 400)).direction == "transfer"
    assert bank.do(commands.WithdrawFunds("A1", "X1", 400, "USD")).direction == "withdrawal"


@pytest.mark.parametrize(
    "command", [_transfer("X1"), commands.WithdrawFunds("A1", "X1", 1_000, "USD")]
)
def test_account_closes_only_once_nothing_can_come_back_to_it(command: commands.Command) -> None:
    bank = _pair()
    token = bank.send(command)
    assert bank.account("A1").transfers_out == 1
    for _ in range(2):
        assert bank.told(bank.send(commands.CloseAccount("A1"))) == "OPEN_LIABILITIES"
        bank.deliver_at(0)
    assert bank.told(token) == "SUCCEEDED"
    assert bank.do(commands.CloseAccount("A1")).status == "CLOSED"


def test_transfer_comes_back_to_an_account_that_was_frozen_meanwhile() -> None:
    bank = _pair()
    bank.do(commands.CloseAccount("A2"))
    token = bank.send(_transfer("T1"))
    bank.do(commands.FreezeAccount("A1"))
    assert bank.told(token) == "ACCOUNT_CLOSED"
    assert (bank.account("A1").posted_minor, bank.account("A1").transfers_out) == (1_000, 0)
    assert bank.get(PAYER, TRANSFERS, "transfer/T1").state == "FAILED"


def test_transfers_to_and_fro_cross_without_waiting_for_each_other() -> None:
    bank = _pair()
    bank.do(commands.FundAccount("A2", "F2", 300, "USD"))
    there = bank.send(_transfer("T1"))
    back = bank.send(commands.CreateTransfer("A2", "T1", "A1", 300, "USD"))
    bank.run()
    assert (bank.told(there), bank.told(back)) == ("SUCCEEDED", "SUCCEEDED")
    assert (bank.account("A1").posted_minor, bank.account("A2").posted_minor) == (300, 1_000)


def test_transfer_cannot_be_spent_before_it_arrives() -> None:
    bank = _pair()
    bank.send(_transfer("T1"))
    onwards = commands.CreateTransfer("A2", "T1", "A1", 1_000, "USD")
    assert bank.told(bank.send(onwards)) == "INSUFFICIENT_FUNDS"


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
