"""Refunds that went astray: redirected or closed, and in no other state."""

import pytest

from actors import commands
from actors.answers import Refused, RemedyView, Replayed
from actors.audit import audit
from actors.payment import PAYMENTS
from actors.refund import REFUNDS
from actors.remedy import ALLOWED
from actors.states import REFUND as MACHINE
from tests.actors.driver import MERCHANT, Bank, authorization, payment, shop, table


def _refund(number: str, amount_minor: int = 600, *, waits: bool = False) -> commands.RefundPayment:
    return commands.RefundPayment("M1", number, "O1", amount_minor, waits)


def _redirect(number: str, to: str = "A2") -> commands.RedirectRefund:
    return commands.RedirectRefund("M1", "R1", number, to)


def _astray() -> Bank:
    """Return a bank in which refund R1 of 600 met a closed account; A2 is open, A3 closed."""
    bank = shop(funds_minor=1_000)
    bank.do(payment("O1"))
    bank.do(commands.CloseAccount("A1"))
    assert bank.do(_refund("R1")).state == "ABNORMAL"
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.do(commands.OpenAccount("A3", "USD"))
    bank.do(commands.CloseAccount("A3"))
    return bank


def _figures(bank: Bank) -> tuple[str, int, int, int]:
    """Return R1's state, what O1 has refunded and reserved, and the receivable."""
    original = bank.get(MERCHANT, PAYMENTS, "O1")
    state = bank.get(MERCHANT, REFUNDS, "R1").state
    return (
        state,
        original.refunded_minor,
        original.refunding_minor,
        bank.merchant("M1").posted_minor,
    )


def test_refund_to_closed_account_is_told_as_abnormal() -> None:
    bank = _astray()
    view = bank.ask(_refund("R1"))
    assert isinstance(view, Replayed)
    refund = view.outcome
    assert (refund.state, refund.code, refund.settled_at) == ("ABNORMAL", "ACCOUNT_CLOSED", None)  # type: ignore[union-attr]
    assert _figures(bank) == ("ABNORMAL", 0, 600, 1_000)


def test_refund_of_an_authorization_that_goes_astray_balances() -> None:
    """Its events are told by the authorization's name, and the redirect does not know that."""
    bank = shop(funds_minor=1_000)
    bank.do(authorization("H1", 1_000))
    bank.do(commands.CaptureAuthorization("M1", "H1", "C1", 1_000))
    bank.do(commands.CloseAccount("A1"))
    refund = bank.do(commands.RefundAuthorization("M1", "R1", "H1", 600))
    assert refund.state == "ABNORMAL"
    bank.ask(_redirect("D1", "A9"))
    assert list(audit(bank.view())) == []


def test_redirect_sends_the_money_to_another_account() -> None:
    bank = _astray()
    first = bank.ask(_refund("R1"))
    assert bank.do(_redirect("D1")) == RemedyView(
        remedy="redirect",
        merchant_no="M1",
        number="D1",
        refund_no="R1",
        account_no="A2",
        amount_minor=600,
        state="SUCCEEDED",
        code=None,
        business_date="2026-01-05",
        created_at="2026-01-05T08:00:00.000Z",
        settled_at="2026-01-05T08:00:00.000Z",
    )
    assert _figures(bank) == ("SUCCEEDED", 600, 0, 400)
    assert bank.account("A2").posted_minor == 600
    refund = bank.get(MERCHANT, REFUNDS, "R1")
    assert (refund.redirected_to, refund.code) == ("A2", None)
    assert bank.ask(_refund("R1")) == first


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("A1", "ACCOUNT_CLOSED"),
        ("A3", "ACCOUNT_CLOSED"),
        ("nobody", "ACCOUNT_NOT_FOUND"),
        ("E1", "CURRENCY_MISMATCH"),
        ("clearing-USD", "ACCOUNT_INTERNAL"),
        ("suspense-USD", "ACCOUNT_INTERNAL"),
    ],
)
def test_redirect_that_fails_leaves_all_as_it_was(to: str, code: str) -> None:
    bank = _astray()
    bank.do(commands.OpenAccount("E1", "EUR"))
    assert bank.code(_redirect("D1", to)) == code
    assert _figures(bank) == ("ABNORMAL", 0, 600, 1_000)
    assert bank.code(_redirect("D1", to)) == code
    assert bank.code(_redirect("D2")) == "SUCCEEDED"


def test_redirects_at_once_send_the_money_once() -> None:
    bank = _astray()
    first = bank.send(_redirect("D1"))
    joined = bank.send(_redirect("D1"))
    other = bank.send(_redirect("D2"))
    closing = bank.send(commands.CloseRefund("M1", "R1", "X1"))
    assert [bank.told(other), bank.told(closing)] == ["IN_FLIGHT", "IN_FLIGHT"]
    bank.run()
    assert bank.answer(joined) == Replayed(bank.answer(first))  # type: ignore[arg-type]
    assert bank.account("A2").posted_minor == 600
    assert bank.code(_redirect("D2")) == "STATE_CONFLICT"


def test_closing_ends_the_reservation_for_ever() -> None:
    bank = _astray()
    first = bank.ask(_refund("R1"))
    view = bank.do(commands.CloseRefund("M1", "R1", "X1"))
    assert (view.remedy, view.account_no, view.state) == ("closing", None, "SUCCEEDED")
    assert _figures(bank) == ("CLOSED", 0, 0, 1_000)
    assert bank.get(MERCHANT, PAYMENTS, "O1").refunds == 0
    assert bank.code(_redirect("D1")) == "STATE_CONFLICT"
    assert bank.ask(_refund("R1")) == first
    assert bank.code(_refund("R2", 1_000)) == "ABNORMAL"


REFUND = table("""
state          redirect        closing         credit          seven-days
none           NO_SUCH_REFUND  NO_SUCH_REFUND  -               -
PENDING_FUNDS  STATE_CONFLICT  CLOSED          SUCCEEDED       CLOSED
resumed        IN_FLIGHT       IN_FLIGHT       -               -
PROCESSING     IN_FLIGHT       IN_FLIGHT       -               -
ABNORMAL       SUCCEEDED       CLOSED          -               -
redirected     IN_FLIGHT       IN_FLIGHT       -               -
SUCCEEDED      STATE_CONFLICT  STATE_CONFLICT  -               -
FAILED         STATE_CONFLICT  STATE_CONFLICT  -               -
CLOSED         STATE_CONFLICT  STATE_CONFLICT  -               -
""")
"""A dash: nothing becomes of it."""


def _bring(state: str) -> Bank:
    """Return a bank with refund R1 in a state; `resumed` and `redirected` are PROCESSING again."""
    if state in {"ABNORMAL", "redirected", "CLOSED"}:
        bank = _astray()
        if state == "redirected":
            bank.send(_redirect("D0"))
        if state == "CLOSED":
            bank.do(commands.CloseRefund("M1", "R1", "X0"))
        return bank
    pending = state in {"PENDING_FUNDS", "resumed"}
    bank = shop(fee_bps=10_000 if pending else 0)
    bank.do(payment("O1"))
    bank.do(commands.OpenAccount("A2", "USD"))
    bank.force(MERCHANT, fee_bps=0)
    if state == "FAILED":
        bank.code(_refund("R1", 1_001))
    elif state != "none":
        bank.send(_refund("R1", waits=True))
    if state != "PROCESSING":
        bank.run()
    if state == "resumed":
        bank.send(payment("O2", 600))
        while bank.get(MERCHANT, REFUNDS, "R1").state != "PROCESSING":
            bank.deliver_at(0)
    return bank


@pytest.mark.parametrize(
    ("state", "event", "outcome"),
    [
        (row[0], event, cell)
        for row in REFUND[1:]
        for event, cell in zip(REFUND[0][1:], row[1:], strict=True)
    ],
)
def test_refund_in_state_on_event_comes_to(state: str, event: str, outcome: str) -> None:
    bank = _bring(state)
    before = "" if state == "none" else bank.get(MERCHANT, REFUNDS, "R1").state
    token = None
    if event == "credit":
        bank.do(commands.FundAccount("A2", "F9", 5_000, "USD"))
        bank.do(commands.SignAgreement("A2", "M1", "M1"))
        token = bank.send(commands.CreatePayment("M1", "O9", "A2", 600, "USD"))
    elif event == "seven-days":
        bank.wait(7 * 86_400 * 1_000_000_000)
        bank.fire()
    else:
        closing = commands.CloseRefund("M1", "R1", "X1")
        token = bank.send(_redirect("D1") if event == "redirect" else closing)
    bank.run()
    answer = bank.answer(token) if token else None
    if isinstance(answer, Refused):
        assert answer.code == outcome
        kind = "redirect" if event == "redirect" else "closing"
        conflict = outcome == "STATE_CONFLICT"
        assert answer.current == (before if conflict else None)
        assert answer.allowed == (ALLOWED[kind] if conflict else ())  # type: ignore[index]
    elif state != "none":
        # What was on its way arrives meanwhile.
        expected = "SUCCEEDED" if before == "PROCESSING" else before
        state_now = bank.get(MERCHANT, REFUNDS, "R1").state
        assert state_now == (expected if outcome == "-" else outcome)


def test_remedies_are_legal_wherever_a_refund_stands_still() -> None:
    assert MACHINE.final == ("SUCCEEDED", "FAILED", "CLOSED")
    legal = {state for states in ALLOWED.values() for state in states}
    assert legal == set(MACHINE.states) - {*MACHINE.final, "PROCESSING"}
