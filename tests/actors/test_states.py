"""State machines: state × command → outcome, one text table each.

A cell is the state that the original comes to, or the code of the refusal. `=` means that it
goes through and the state stays.
"""

import pytest

from actors import commands
from actors.account import Account
from actors.answers import Refused, Replayed
from actors.authorization import AUTHORIZATIONS
from actors.messages import CreditRefund, DebitPayment, PlaceHold
from actors.operation import ALLOWED
from actors.payment import PAYMENTS
from actors.refund import ALLOWED as REFUND_ALLOWED
from tests.actors.driver import MERCHANT, PAYER, SECOND, Bank, authorization, payment, shop, table

HOUR = 3_600 * SECOND

AUTHORIZATION = table("""
state               increment             capture                capture-final          void                   release                refund
none                NO_SUCH_HOLD          NO_SUCH_HOLD           NO_SUCH_HOLD           NO_SUCH_HOLD           NO_SUCH_HOLD           NO_SUCH_HOLD
PROCESSING          IN_FLIGHT             IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              IN_FLIGHT
FAILED              STATE_CONFLICT        STATE_CONFLICT         STATE_CONFLICT         STATE_CONFLICT         STATE_CONFLICT         STATE_CONFLICT
HELD                =                     PARTIALLY_CAPTURED     CAPTURED               VOIDED                 STATE_CONFLICT         STATE_CONFLICT
busy                IN_FLIGHT             IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              STATE_CONFLICT
PARTIALLY_CAPTURED  HOLD_PARTLY_CAPTURED  =                      CAPTURED               HOLD_PARTLY_CAPTURED   CAPTURED               =
partly-busy         IN_FLIGHT             IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              IN_FLIGHT              =
CAPTURED            HOLD_ALREADY_CAPTURED HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  =
VOIDED              HOLD_ALREADY_VOIDED   HOLD_ALREADY_VOIDED    HOLD_ALREADY_VOIDED    HOLD_ALREADY_VOIDED    HOLD_ALREADY_VOIDED    STATE_CONFLICT
EXPIRED             HOLD_EXPIRED          HOLD_EXPIRED           HOLD_EXPIRED           HOLD_EXPIRED           HOLD_EXPIRED           STATE_CONFLICT
overdue             HOLD_EXPIRED          HOLD_EXPIRED           HOLD_EXPIRED           HOLD_EXPIRED           HOLD_EXPIRED           STATE_CONFLICT
partly-expired      HOLD_ALREADY_CAPTURED HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  =
partly-overdue      HOLD_ALREADY_CAPTURED HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  HOLD_ALREADY_CAPTURED  =
""")  # noqa: E501


def _bring_authorization(bank: Bank, state: str) -> None:
    """Bring authorization H1 of 1,000 into a state; `overdue` is late with its timer."""
    if state == "none":
        return
    if state == "FAILED":
        bank.code(authorization("H1", 10**9))
        return
    bank.send(authorization("H1"))
    if state == "PROCESSING":
        return
    bank.run()
    if state in {"PARTIALLY_CAPTURED", "partly-busy", "partly-expired", "partly-overdue"}:
        bank.do(commands.CaptureAuthorization("M1", "H1", "C0", 400))
    if state in {"busy", "partly-busy"}:
        bank.send(commands.CaptureAuthorization("M1", "H1", "C9", 1))
    if state == "CAPTURED":
        bank.do(commands.CaptureAuthorization("M1", "H1", "C0", 1_000))
    if state == "VOIDED":
        bank.do(commands.VoidAuthorization("M1", "H1", "V0"))
    if state in {"EXPIRED", "overdue", "partly-expired", "partly-overdue"}:
        bank.wait(HOUR)
    if state in {"EXPIRED", "partly-expired"}:
        bank.fire()
        bank.run()


AUTHORIZATION_COMMANDS: dict[str, commands.Command] = {
    "increment": commands.IncrementAuthorization("M1", "H1", "X1", 100),
    "capture": commands.CaptureAuthorization("M1", "H1", "X1", 100),
    "capture-final": commands.CaptureAuthorization("M1", "H1", "X1", 100, final=True),
    "void": commands.VoidAuthorization("M1", "H1", "X1"),
    "release": commands.ReleaseAuthorization("M1", "H1", "X1"),
    "refund": commands.RefundAuthorization("M1", "X1", "H1", 100),
}


def _cells(rows: list[list[str]]) -> list[tuple[str, str, str]]:
    columns = rows[0][1:]
    return [
        (row[0], column, cell)
        for row in rows[1:]
        for column, cell in zip(columns, row[1:], strict=True)
    ]


@pytest.mark.parametrize(("state", "command", "outcome"), _cells(AUTHORIZATION))
def test_authorization_in_state_on_command_comes_to(state: str, command: str, outcome: str) -> None:
    bank = shop()
    _bring_authorization(bank, state)
    before = "" if state == "none" else bank.get(MERCHANT, AUTHORIZATIONS, "H1").state
    token = bank.send(AUTHORIZATION_COMMANDS[command])
    if state not in {"PROCESSING", "busy", "partly-busy"}:
        bank.run()
    elif command == "refund":
        while not bank.answers[token]:  # it overtakes what is in flight, which must not hinder
            bank.deliver_at(len(bank.queue) - 1)
    answer = bank.answer(token)
    assert not isinstance(answer, Replayed)
    if isinstance(answer, Refused):
        assert answer.code == outcome
        _expect_state_named(answer, bank, command)
    else:
        expected = before if outcome == "=" else outcome
        assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == expected
    bank.run()


def _expect_state_named(answer: Refused, bank: Bank, command: str) -> None:
    """An illegal transition says where the authorization stands and where it would have to."""
    if answer.code in {"NO_SUCH_HOLD", "IN_FLIGHT"}:
        assert answer.current is None
        assert answer.allowed == ()
        return
    kind = command.removesuffix("-final")
    assert answer.current == bank.get(MERCHANT, AUTHORIZATIONS, "H1").state
    assert answer.allowed == (ALLOWED.get(kind) or REFUND_ALLOWED["authorization"])
    assert answer.current not in answer.allowed


@pytest.mark.parametrize("command", ["increment", "capture", "void", "release"])
@pytest.mark.parametrize("state", ["", "partly-"])
def test_hold_past_its_time_answers_as_if_its_timer_had_come(state: str, command: str) -> None:
    """Whether the timer is late must not show: same answer, same books, same projection."""
    outcomes = []
    for lateness in ("overdue", "expired" if state else "EXPIRED"):
        bank = shop()
        _bring_authorization(bank, state + lateness)
        answer = bank.ask(AUTHORIZATION_COMMANDS[command])
        bank.fire()
        bank.run()
        assert not bank.timers
        hold = bank.get(MERCHANT, AUTHORIZATIONS, "H1")
        outcomes.append((answer, hold, bank.account("A1")))
    assert outcomes[0] == outcomes[1]


PAYMENT = table("""
state       refund                    refund-all                reverse
none        NO_SUCH_PAYMENT           NO_SUCH_PAYMENT           NO_SUCH_PAYMENT
PROCESSING  IN_FLIGHT                 IN_FLIGHT                 IN_FLIGHT
FAILED      PAYMENT_NOT_SUCCEEDED     PAYMENT_NOT_SUCCEEDED     PAYMENT_NOT_SUCCEEDED
SUCCEEDED   =                         =                         REVERSED
refunding   =                         REFUND_EXCEEDS_REMAINING  REVERSAL_NOT_FULL
refunded    =                         REFUND_EXCEEDS_REMAINING  REVERSAL_NOT_FULL
reversing   IN_FLIGHT                 IN_FLIGHT                 IN_FLIGHT
REVERSED    PAYMENT_NOT_SUCCEEDED     PAYMENT_NOT_SUCCEEDED     PAYMENT_NOT_SUCCEEDED
""")


@pytest.mark.parametrize(("state", "command", "outcome"), _cells(PAYMENT))
def test_payment_in_state_on_command_comes_to(state: str, command: str, outcome: str) -> None:
    bank = shop()
    if state == "FAILED":
        bank.code(payment("O1", 10**9))
    elif state != "none":
        bank.send(payment("O1"))
    if state not in {"none", "PROCESSING", "FAILED"}:
        bank.run()
    if state == "refunding":
        bank.send(commands.RefundPayment("M1", "R0", "O1", 100))
    if state == "refunded":
        bank.do(commands.RefundPayment("M1", "R0", "O1", 100))
    if state in {"reversing", "REVERSED"}:
        bank.send(commands.ReversePayment("M1", "O1", "V0"))
    if state == "REVERSED":
        bank.run()
    token = bank.send(
        {
            "refund": commands.RefundPayment("M1", "X1", "O1", 100),
            "refund-all": commands.RefundPayment("M1", "X1", "O1", 1_000),
            "reverse": commands.ReversePayment("M1", "O1", "X1"),
        }[command]
    )
    bank.run()
    answer = bank.answer(token)
    if isinstance(answer, Refused):
        assert answer.code == outcome
        illegal = outcome == "PAYMENT_NOT_SUCCEEDED"
        assert answer.current == (state if illegal else None)
        assert answer.allowed == (("SUCCEEDED",) if illegal else ())
    else:
        expected = "SUCCEEDED" if outcome == "=" else outcome
        assert bank.get(MERCHANT, PAYMENTS, "O1").state == expected


ACCOUNT = table("""
command         none               OPEN       FROZEN          CLOSED
open            OPEN               repeats    repeats         repeats
freeze          ACCOUNT_NOT_FOUND  FROZEN     FROZEN          STATE_CONFLICT
unfreeze        ACCOUNT_NOT_FOUND  OPEN       OPEN            STATE_CONFLICT
close           ACCOUNT_NOT_FOUND  CLOSED     CLOSED          CLOSED
sign            ACCOUNT_NOT_FOUND  ok         ok              ACCOUNT_CLOSED
fund            ACCOUNT_NOT_FOUND  SUCCEEDED  SUCCEEDED       ACCOUNT_CLOSED
withdraw        ACCOUNT_NOT_FOUND  SUCCEEDED  ACCOUNT_FROZEN  ACCOUNT_CLOSED
transfer        ACCOUNT_NOT_FOUND  SUCCEEDED  ACCOUNT_FROZEN  ACCOUNT_CLOSED
receive         ACCOUNT_NOT_FOUND  SUCCEEDED  SUCCEEDED       ACCOUNT_CLOSED
pay             ACCOUNT_NOT_FOUND  SUCCEEDED  ACCOUNT_FROZEN  ACCOUNT_CLOSED
hold            ACCOUNT_NOT_FOUND  HELD       ACCOUNT_FROZEN  ACCOUNT_CLOSED
""")


@pytest.mark.parametrize(("command", "status", "outcome"), _cells(ACCOUNT))
def test_account_in_status_on_command_comes_to(command: str, status: str, outcome: str) -> None:
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD"))
    if status != "none":
        bank.do(commands.OpenAccount("A1", "USD"))
        bank.do(commands.SignAgreement("A1", "M1", "M1"))
    if command in {"transfer", "receive"}:
        bank.do(commands.OpenAccount("A2", "USD"))
        bank.do(commands.FundAccount("A2", "F2", 5, "USD"))
    if command in {"withdraw", "pay", "hold", "transfer"} and status in {"OPEN", "FROZEN"}:
        bank.do(commands.FundAccount("A1", "F1", 1_000, "USD"))
    if status == "FROZEN":
        bank.do(commands.FreezeAccount("A1"))
    if status == "CLOSED":
        bank.do(commands.CloseAccount("A1"))
    every: dict[str, commands.Command] = {
        "open": commands.OpenAccount("A1", "USD"),
        "freeze": commands.FreezeAccount("A1"),
        "unfreeze": commands.UnfreezeAccount("A1"),
        "close": commands.CloseAccount("A1"),
        "sign": commands.SignAgreement("A1", "M2", "M2"),
        "fund": commands.FundAccount("A1", "X1", 5, "USD"),
        "withdraw": commands.WithdrawFunds("A1", "X1", 5, "USD"),
        "transfer": commands.CreateTransfer("A1", "X1", "A2", 5, "USD"),
        "receive": commands.CreateTransfer("A2", "X1", "A1", 5, "USD"),
        "pay": payment("X1", 5),
        "hold": authorization("X1", 5),
    }
    answer = bank.ask(every[command])
    if outcome == "repeats":
        assert isinstance(answer, Replayed)
        assert getattr(answer.outcome, "status", "") == "OPEN"
    elif isinstance(answer, Refused):
        assert answer.code == outcome
        if outcome == "STATE_CONFLICT":
            assert (answer.current, answer.allowed) == ("CLOSED", ("OPEN", "FROZEN"))
    elif outcome != "ok":
        assert getattr(answer, "state", getattr(answer, "status", "")) == outcome


FROZEN = table("""
    capture         PARTIALLY_CAPTURED
    capture-final   CAPTURED
    void            VOIDED
    increment       ACCOUNT_FROZEN
    excess          ACCOUNT_FROZEN
    expiry          EXPIRED
""")


@pytest.mark.parametrize(("command", "outcome"), FROZEN)
def test_frozen_account_honours_its_holds_but_nothing_new(command: str, outcome: str) -> None:
    bank = shop(over_capture=True)
    bank.do(authorization("H1"))
    bank.do(commands.FreezeAccount("A1"))
    if command == "expiry":
        bank.wait(HOUR)
        bank.fire()
        bank.run()
    elif command == "excess":
        capture = commands.CaptureAuthorization("M1", "H1", "X1", 1_001)
        assert bank.code(capture) == outcome
        return
    else:
        answer = bank.ask(AUTHORIZATION_COMMANDS[command])
        if isinstance(answer, Refused):
            assert answer.code == outcome
            return
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == outcome


MISSING = table("""
    nobody    ACCOUNT_NOT_FOUND
    foreign   CURRENCY_MISMATCH
    frozen    -
""")


@pytest.mark.parametrize(("who", "outcome"), MISSING)
def test_refund_to_account_that_cannot_take_it_comes_back(who: str, outcome: str) -> None:
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    if who == "frozen":
        bank.do(commands.FreezeAccount("A1"))
    refund = commands.RefundPayment("M1", "R1", "O1", 1_000)
    account = bank.states[PAYER]
    assert isinstance(account, Account)
    token = bank.send(refund)
    # Such an account cannot be had by commands once it has paid; so it is swapped for the turn.
    bank.audited = False
    if who == "nobody":
        del bank.states[PAYER]
    if who == "foreign":
        bank.force(PAYER, currency="EUR")
    bank.deliver(CreditRefund)
    if who in {"nobody", "foreign"}:
        bank.states[PAYER] = account
    bank.audited = True
    bank.run()
    answer = bank.answer(token)
    if outcome == "-":
        assert bank.account("A1").posted_minor == 1_000
    else:
        assert isinstance(answer, Refused)
        assert answer.code == outcome
        assert bank.merchant("M1").posted_minor == 1_000
        record = bank.get(MERCHANT, PAYMENTS, "O1")
        assert (record.refunding_minor, record.refunded_minor, record.refunds) == (0, 0, 0)


def test_questions_of_a_merchant_need_no_account() -> None:
    """A number that no account has is an ordinary refusal, for payments and holds alike."""
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD"))
    bank.send(payment("O1"))
    bank.deliver(DebitPayment)
    bank.send(authorization("H1"))
    bank.deliver(PlaceHold)
    assert PAYER not in bank.states
    bank.run()
    assert bank.get(MERCHANT, PAYMENTS, "O1").code == "ACCOUNT_NOT_FOUND"
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").code == "ACCOUNT_NOT_FOUND"
