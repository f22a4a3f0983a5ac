"""Numbers: one outcome each, told again in the same words however much has happened since."""

import pytest

from actors import commands
from actors.answers import Refused, Replayed
from actors.outcome import JOINED_MAX
from tests.actors.driver import (
    DAY,
    SECOND,
    Bank,
    application,
    authorization,
    issued,
    payment,
    registering,
    shop,
)


def _history() -> list[commands.Command]:
    """Return commands of every kind, some of them refused; later ones change earlier things."""
    return [
        commands.OpenAccount("A9", "USD"),
        commands.OpenMerchant("M9", "USD", 5, over_capture=True),
        commands.SignAgreement("A9", "G9", "M9", 5, 6),
        commands.SignAgreement("A9", "G10", "M9", 5, 6),
        commands.ChangeAgreement("A9", "G9", "C9", 7, None),
        commands.ChangeAgreement("A9", "nothing", "C10", 7, None),
        commands.CancelAgreement("A9", "G9", "E9"),
        commands.CancelAgreement("A9", "G9", "E10"),
        commands.SignAgreement("A9", "G11", "M9"),
        commands.FundAccount("A1", "F9", 500, "USD"),
        commands.FundAccount("nobody", "F9", 500, "USD"),
        commands.WithdrawFunds("A1", "W9", 500, "USD"),
        commands.WithdrawFunds("A1", "W10", 10**12, "USD"),
        commands.CreateTransfer("A1", "T9", "A9", 500, "USD"),
        commands.CreateTransfer("A1", "T10", "nobody", 500, "USD"),
        commands.CreateTransfer("A1", "T11", "A1", 500, "USD"),
        commands.FreezeAmount("A1", "Z1", 700),
        commands.FreezeAmount("A1", "Z2", 10**12),
        commands.UnfreezeAmount("A1", "Z1", "U1"),
        commands.UnfreezeAmount("A1", "Z1", "U2"),
        commands.UnfreezeAmount("A1", "nothing", "U3"),
        commands.SetAccountLimits("A1", "L1", "withdrawal", None, 600),
        commands.SetAccountLimits("clearing-USD", "L1", "withdrawal", 5),
        commands.WithdrawFunds("A1", "W11", 101, "USD"),
        payment("O1"),
        payment("O2"),
        payment("O3", 10**12),
        commands.CreatePayment("M1", "O4", "A1", 5, "EUR"),
        commands.RefundPayment("M1", "R1", "O1", 300),
        commands.RefundPayment("M1", "R2", "O1", 701),
        commands.RefundPayment("M1", "R3", "O3", 1),
        commands.RefundPayment("M1", "R4", "nothing", 1),
        commands.ReversePayment("M1", "O2", "V2"),
        commands.ReversePayment("M1", "O2", "V3"),
        commands.RefundPayment("M1", "R5", "O2", 1),
        commands.ReversePayment("M1", "nothing", "V4"),
        authorization("H1"),
        authorization("H2", 10**12),
        authorization("H3"),
        commands.IncrementAuthorization("M1", "H1", "I1", 200),
        commands.CaptureAuthorization("M1", "H1", "C1", 700),
        commands.CaptureAuthorization("M1", "H1", "C2", 701),
        commands.IncrementAuthorization("M1", "H1", "I2", 200),
        commands.VoidAuthorization("M1", "H1", "V1"),
        commands.CaptureAuthorization("M1", "H1", "C3", 100),
        commands.ReleaseAuthorization("M1", "H1", "L1"),
        commands.CaptureAuthorization("M1", "H1", "C4", 1),
        commands.RefundAuthorization("M1", "R6", "H1", 800),
        commands.RefundAuthorization("M1", "R7", "H3", 1),
        commands.VoidAuthorization("M1", "H3", "V3"),
        commands.SignAgreement("A9", "M1", "M1"),
        commands.FundAccount("A9", "F10", 1_000, "USD"),
        commands.CreatePayment("M1", "O10", "A9", 1_500, "USD"),
        commands.CloseAccount("A9"),
        commands.RefundPayment("M1", "R8", "O10", 500),
        commands.RefundPayment("M1", "R9", "O10", 600),
        commands.RedirectRefund("M1", "R8", "D1", "nobody"),
        commands.RedirectRefund("M1", "R8", "D2", "A1"),
        commands.RedirectRefund("M1", "R8", "D3", "A1"),
        commands.CloseRefund("M1", "R9", "X1"),
        commands.CloseRefund("M1", "R8", "X2"),
        commands.CloseRefund("M1", "nothing", "X3"),
        commands.RefundPayment("M1", "R10", "O10", 1_000, wait_for_funds=True),
        commands.OpenMerchant("M8", "USD", 10_000),
        commands.SignAgreement("A1", "M8", "M8"),
        commands.CreatePayment("M8", "O1", "A1", 1_000, "USD"),
        commands.RefundPayment("M8", "R1", "O1", 100, wait_for_funds=True),
        commands.RefundPayment("M8", "R2", "O1", 100, wait_for_funds=True),
        commands.CloseRefund("M8", "R1", "X1"),
        application("M7"),
        registering("N1", "ab"),
        registering("N2", "cd", renews="ab"),
        registering("N3", "cd"),
        registering("N4", "ef", renews="77"),
        commands.RegisterBankCertificate("N1", "0" * 64, issued("12")),
        commands.CaptureAuthorization("M1", "nothing", "C5", 1),
        commands.CaptureAuthorization("M1", "H2", "C6", 1),
    ]


def test_repetition_of_anything_gets_the_very_same_answer() -> None:
    """Also the next day, with everything frozen, and nothing moves or changes by it."""
    bank = shop(fee_bps=100)
    firsts = [(command, bank.ask(command)) for command in _history()]
    assert not any(isinstance(first, Replayed) for _, first in firsts)
    refused = [first for _, first in firsts if isinstance(first, Refused)]
    assert 10 < len(refused) < len(firsts) - 10
    bank.wait(400 * DAY)
    bank.business_date = "2027-02-09"
    bank.do(commands.FreezeAccount("A1"))
    bank.audited = False  # no command leads there with money in it
    bank.force("merchant/M1", status="CLOSED")
    before = (dict(bank.states), dict(bank.rows), list(bank.postings), dict(bank.timers))
    for command, first in firsts:
        if isinstance(command, commands.CloseAccount):
            continue  # It has no number.
        assert bank.ask(command) == Replayed(first), command  # type: ignore[arg-type]
    assert before == (bank.states, bank.rows, bank.postings, bank.timers)


def test_number_with_any_other_content_is_refused_and_nothing_changes() -> None:
    bank = shop()
    history = _history()
    for command in history:
        bank.ask(command)
    before = (dict(bank.states), dict(bank.rows))
    others: list[commands.Command] = [
        commands.OpenAccount("A9", "EUR"),
        commands.OpenMerchant("M9", "USD", 5, over_capture=False),
        application("M7", legal_name="Other"),
        application("M9"),
        commands.OpenMerchant("M7", "USD"),
        registering("N2", "34"),
        registering("N4", "ef"),
        registering("N4", "ef", renews="78"),
        commands.RegisterBankCertificate("N1", "1" * 64, issued("12")),
        commands.SignAgreement("A9", "G9", "M9", 5, None),
        commands.SignAgreement("A9", "G9", "M8", 5, 6),
        commands.ChangeAgreement("A9", "G9", "C9", 7, 8),
        commands.ChangeAgreement("A9", "G11", "C9", 7, None),
        commands.CancelAgreement("A9", "G11", "E9"),
        commands.FreezeAmount("A1", "Z1", 701),
        commands.UnfreezeAmount("A1", "Z2", "U1"),
        commands.SetAccountLimits("A1", "L1", "transfer", None, 600),
        commands.SetAccountLimits("A1", "L1", "withdrawal", 600, None),
        commands.FundAccount("A1", "F9", 501, "USD"),
        commands.WithdrawFunds("A1", "W9", 499, "USD"),
        commands.CreateTransfer("A1", "T9", "A8", 500, "USD"),
        payment("O1", 999),
        payment("O3", 1),
        commands.CreatePayment("M1", "O1", "A9", 1_000, "USD"),
        commands.RefundPayment("M1", "R1", "O2", 300),
        commands.RefundPayment("M1", "R1", "O1", 300, wait_for_funds=True),
        commands.RedirectRefund("M1", "R8", "D2", "A9"),
        commands.CloseRefund("M1", "R8", "X1"),
        commands.ReversePayment("M1", "O1", "V2"),
        authorization("H1", valid_s=3_601),
        commands.IncrementAuthorization("M1", "H3", "I1", 200),
        commands.CaptureAuthorization("M1", "H1", "C1", 700, final=True),
        commands.VoidAuthorization("M1", "H1", "V3"),
        commands.ReleaseAuthorization("M1", "H3", "L1"),
    ]
    for other in others:
        answer = bank.ask(other)
        assert isinstance(answer, Refused)
        assert answer.code == "NUMBER_USED", other
    assert before == (bank.states, bank.rows)


IN_FLIGHT: list[commands.Command] = [
    payment("X1"),
    payment("X1", 10**12),
    authorization("X1"),
    commands.FundAccount("A1", "X1", 5, "USD"),
    commands.FundAccount("nobody", "X1", 5, "USD"),
    commands.WithdrawFunds("A1", "X1", 5, "USD"),
    commands.CreateTransfer("A1", "X1", "clearing", 5, "USD"),
    commands.RefundPayment("M1", "X1", "O1", 5),
    commands.ReversePayment("M1", "O1", "X1"),
    commands.CaptureAuthorization("M1", "H1", "X1", 5),
    commands.CaptureAuthorization("M1", "H1", "X1", 10**12),
    commands.VoidAuthorization("M1", "H1", "X1"),
    registering("X1", "ab"),
    registering("X1", "cd"),
]


def _ready() -> Bank:
    bank = shop()
    bank.do(payment("O1"))
    bank.do(authorization("H1"))
    bank.do(registering("C1", "cd"))
    return bank


@pytest.mark.parametrize("command", IN_FLIGHT, ids=lambda c: type(c).__name__)
def test_repetitions_in_flight_all_get_the_one_outcome(command: commands.Command) -> None:
    bank = _ready()
    postings = len(bank.postings)
    first = bank.send(command)
    joined = [bank.send(command) for _ in range(JOINED_MAX)]
    too_many = bank.send(command)
    assert bank.told(too_many) == "IN_FLIGHT"
    assert not bank.answers[first]
    bank.run()
    outcome = bank.answer(first)
    assert not isinstance(outcome, Replayed)
    for token in joined:
        assert bank.answer(token) == Replayed(outcome)
    assert len(bank.postings) - postings <= 4
    assert bank.ask(command) == Replayed(outcome)


@pytest.mark.parametrize("command", IN_FLIGHT, ids=lambda c: type(c).__name__)
def test_outcome_does_not_depend_on_who_repeated(command: commands.Command) -> None:
    """Books and records come out the same with and without a repetition in between."""
    alone, joined = _ready(), _ready()
    alone.ask(command)
    joined.send(command)
    joined.ask(command)
    assert (alone.states, alone.rows) == (joined.states, joined.rows)


def test_refusal_stays_after_its_cause_is_gone() -> None:
    bank = shop(funds_minor=0)
    first = bank.ask(payment("O1"))
    assert isinstance(first, Refused)
    assert first.code == "INSUFFICIENT_FUNDS"
    bank.do(commands.FundAccount("A1", "F2", 5_000, "USD"))
    assert bank.ask(payment("O1")) == Replayed(first)
    assert bank.do(payment("O2")).state == "SUCCEEDED"


def test_in_flight_does_not_bind() -> None:
    bank = _ready()
    bank.send(commands.CaptureAuthorization("M1", "H1", "C1", 1))
    assert bank.told(bank.send(commands.VoidAuthorization("M1", "H1", "V1"))) == "IN_FLIGHT"
    bank.run()
    assert bank.code(commands.VoidAuthorization("M1", "H1", "V1")) == "HOLD_PARTLY_CAPTURED"


def test_first_answer_keeps_its_times() -> None:
    bank = shop()
    first = bank.do(payment("O1"))
    bank.wait(1_234_567_890 + SECOND)
    assert bank.ask(payment("O1")) == Replayed(first)
    assert bank.do(payment("O2")).created_at == "2026-01-05T08:00:02.234Z"
