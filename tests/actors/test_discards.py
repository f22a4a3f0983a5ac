"""Discards: whatever an operator gives up comes to an end that is true, and its money is back."""

import random
import re
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct
from msgspec.structs import replace

from actors import commands, messages
from actors.answers import Replayed
from actors.audit import audit
from actors.authorization import AUTHORIZATIONS
from actors.event import tail_of
from actors.hold import HOLDS, OPEN_STATES
from actors.kinds import KINDS
from actors.payment import PAYMENTS
from actors.refund import REFUNDS
from engine.message import Envelope
from tests.actors.driver import (
    MERCHANT,
    PAYER,
    SECOND,
    Bank,
    authorization,
    payment,
    registering,
    shop,
)
from tests.actors.test_races import opened
from tests.effort import effort

PAGE: Final = Path(__file__).parents[2] / "docs" / "ops" / "DISCARDS.md"
SUSPENSE: Final = "account/suspense-USD"
GIVEN_UP: Final = "MESSAGE_DISCARDED"
HOUR: Final = 3_600 * SECOND

c = commands
HELD = (authorization("H1", 1_000),)
CAPTURED = (*HELD, c.CaptureAuthorization("M1", "H1", "C0", 300))
CAPTURE = c.CaptureAuthorization("M1", "H1", "C1", 400)
PAID = (payment("O1"),)
REFUND = c.RefundPayment("M1", "R1", "O1", 600)
REVERSAL = c.ReversePayment("M1", "O1", "X1")
TRANSFER = c.CreateTransfer("A1", "T1", "A2", 500, "USD")
VOID, RELEASE = c.VoidAuthorization("M1", "H1", "V1"), c.ReleaseAuthorization("M1", "H1", "L1")
INCREMENT = c.IncrementAuthorization("M1", "H1", "I1", 200)
ABNORMAL = (*PAID, c.WithdrawFunds("A1", "W0", 99_000, "USD"), c.CloseAccount("A1"), REFUND)

COMES_TO_NOTHING: Final[list[tuple[type[Struct], tuple[c.Command, ...], Any]]] = [
    # Questions that are not heard.
    (messages.DebitPayment, (), payment("O1")),
    (messages.PlaceHold, (), authorization("H1")),
    (messages.IncrementHold, HELD, INCREMENT),
    (messages.CaptureHold, HELD, CAPTURE),
    (messages.VoidHold, HELD, VOID),
    (messages.ReleaseHold, CAPTURED, RELEASE),
    (messages.CreditRefund, PAID, REFUND),
    (messages.CreditRefund, CAPTURED, c.RefundAuthorization("M1", "R1", "H1", 100)),
    (messages.CreditReversal, PAID, REVERSAL),
    (messages.CreditTransfer, (), TRANSFER),
    (messages.CreditTransfer, (), c.WithdrawFunds("A1", "W1", 500, "USD")),
    (messages.CreditTransfer, (), c.FundAccount("A1", "F2", 500, "USD")),
    (messages.AddCertificate, (), registering("C1", "ab")),
    # Answers, which are undone.
    (messages.PaymentDebited, (), payment("O1")),
    (messages.HoldPlaced, (), authorization("H1")),
    (messages.OperationApplied, HELD, INCREMENT),
    (messages.OperationApplied, HELD, CAPTURE),
    (messages.OperationApplied, CAPTURED, CAPTURE),
]

KEPT: Final[list[tuple[type[Struct], tuple[c.Command, ...], Any, str]]] = [
    (messages.PaymentDeclined, (), payment("O1", 200_000), "FAILED"),
    (messages.HoldDeclined, (), authorization("H1", 200_000), "FAILED"),
    (messages.OperationRefused, CAPTURED, VOID, "HOLD_PARTLY_CAPTURED"),
    (messages.OperationApplied, HELD, VOID, "SUCCEEDED"),
    (messages.OperationApplied, CAPTURED, RELEASE, "SUCCEEDED"),
    (messages.RefundCredited, PAID, REFUND, "SUCCEEDED"),
    (messages.RefundReturned, ABNORMAL[:-1], REFUND, "ABNORMAL"),
    (messages.ReversalCredited, PAID, REVERSAL, "SUCCEEDED"),
    (messages.ReversalReturned, ABNORMAL[:-1], REVERSAL, "ACCOUNT_CLOSED"),
    (messages.TransferCredited, (), TRANSFER, "SUCCEEDED"),
    (messages.TransferReturned, (), replace(TRANSFER, to="A9"), "ACCOUNT_NOT_FOUND"),
    (messages.CertificateAdded, (), registering("C1", "ab"), "ACTIVE"),
    (messages.CertificateRefused, (registering("C1", "ab"),), registering("C2", "ab"),
     "CERTIFICATE_EXISTS"),
    (messages.EndCertificate, (registering("C1", "ab"),), registering("C2", "cd", 30, renews="ab"),
     "ACTIVE"),
    (messages.WithdrawCertificate, (registering("C1", "ab"),),
     c.RevokeCertificate("M1", "ab", "superseded"), "REVOKED"),
]  # fmt: skip


def _bank(*done: c.Command) -> Bank:
    bank = shop(fee_bps=100, over_capture=True)
    bank.do(c.OpenAccount("A2", "USD"))
    for command in done:
        bank.do(command)
    return bank


def _figures(bank: Bank) -> list[Any]:
    """Return what of all accounts and merchants has to be as it was: money, holds, open things."""
    figures: list[Any] = []
    for address, state in sorted(bank.states.items()):
        if address.startswith("account/") and address != SUSPENSE:
            account = bank.account(address.partition("/")[2])
            used = sum(account.used_minor[:1] + account.used_minor[2:])
            figures.append((account.posted_minor, account.held_minor, account.holds_open, used))
            figures.append(account.transfers_out)
        elif address == MERCHANT:
            merchant = bank.merchant("M1")
            figures.append((merchant.posted_minor, merchant.fees_minor, merchant.in_flight))
            figures.append(merchant.authorizations_open)
        assert state is not None
    return figures


def _until(bank: Bank, type_: type[Struct], command: c.Command) -> None:
    """Do a command until a message of a type is the next one to be delivered."""
    bank.send(command)
    while not any(type(message.body) is type_ for message in bank.queue):
        bank.deliver_at(0)


def test_every_message_has_been_thought_of() -> None:
    for kind in KINDS.by_name.values():
        assert kind.discards.keys() == kind.takes, kind.name


def test_page_says_what_comes_of_every_message() -> None:
    types = {type_.__name__ for kind in KINDS.by_name.values() for type_ in kind.takes}
    rows = re.findall(r"^\| (`.+?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(types)


@pytest.mark.parametrize(
    ("type_", "before", "command"),
    COMES_TO_NOTHING,
    ids=[f"{type_.__name__}-{type(command).__name__}" for type_, _, command in COMES_TO_NOTHING],
)
def test_command_whose_message_is_given_up_comes_to_nothing(
    type_: type[Struct], before: tuple[c.Command, ...], command: Any
) -> None:
    """Its number is bound, who joined it is told, its merchant has the event, and all is back."""
    bank = _bank(*before)
    figures, events = _figures(bank), bank.merchant("M1").events
    _until(bank, type_, command)
    joined = bank.send(command)
    assert bank.give_up(type_) is None
    bank.run()
    assert bank.told(joined) == GIVEN_UP
    assert bank.code(command) == GIVEN_UP
    assert isinstance(bank.ask(command), Replayed)
    assert _figures(bank) == figures
    in_suspense = bank.states.get(SUSPENSE)
    assert in_suspense is None or bank.account("suspense-USD").posted_minor == 0
    if isinstance(command, c.MerchantCommand):
        assert bank.merchant("M1").events == events + 1
        newest = tail_of(bank.merchant("M1"))[1][-1]
        assert newest.code == GIVEN_UP
    used = "NUMBER_USED"
    if hasattr(command, "amount_minor"):
        assert bank.code(replace(command, amount_minor=command.amount_minor + 1)) == used


@pytest.mark.parametrize(
    ("type_", "before", "command", "outcome"),
    KEPT,
    ids=[f"{type_.__name__}-{type(command).__name__}" for type_, _, command, _ in KEPT],
)
def test_message_that_cannot_be_given_up_is_kept_and_ends_by_itself(
    type_: type[Struct], before: tuple[c.Command, ...], command: Any, outcome: str
) -> None:
    bank = _bank(*before)
    _until(bank, type_, command)
    was = (dict(bank.states), dict(bank.rows), list(bank.postings), len(bank.queue))
    why = bank.give_up(type_)
    assert why is not None
    assert why.endswith("; release this")
    assert (dict(bank.states), dict(bank.rows), list(bank.postings), len(bank.queue)) == was
    bank.run()
    told = bank.code(command)
    assert told == outcome or (outcome == "FAILED" and told == "INSUFFICIENT_FUNDS")


ANSWERS: Final = (messages.PaymentDebited, messages.HoldPlaced, messages.OperationApplied)


@pytest.mark.parametrize(
    ("type_", "before", "command"),
    [
        (messages.UndoHold, (), authorization("H1")),
        (messages.UndoIncrement, HELD, INCREMENT),
        (messages.UndoCapture, HELD, CAPTURE),
        (messages.TakeSuspense, (), payment("O1")),
    ],
    ids=["hold", "increment", "capture", "suspense"],
)
def test_what_a_discard_gives_rise_to_is_kept(
    type_: type[Struct], before: tuple[c.Command, ...], command: Any
) -> None:
    bank = _bank(*before)
    figures = _figures(bank)
    _give_up_the_answer(bank, command)
    while type(bank.queue[0].body) is not type_:
        bank.deliver_at(0)
    assert bank.give_up(type_) is not None
    bank.run()
    assert (bank.code(command), _figures(bank)) == (GIVEN_UP, figures)


def _give_up_the_answer(bank: Bank, command: c.Command) -> None:
    bank.send(command)
    bank.deliver_at(0)
    assert isinstance(bank.queue[0].body, ANSWERS)
    assert bank.give_up_at(0) is None


@pytest.mark.parametrize("undoing", ["given up", "met by a closed account"])
def test_money_that_the_payer_cannot_have_back_waits_in_suspense(undoing: str) -> None:
    """From there the bank transfers it."""
    bank = _bank(c.WithdrawFunds("A1", "W0", 99_000, "USD"))
    _give_up_the_answer(bank, payment("O1"))
    bank.deliver(messages.TakeSuspense)
    if undoing == "given up":
        assert bank.give_up(messages.UndoPayment) is None
    else:
        bank.do(c.CloseAccount("A1"))
    bank.run()
    assert bank.code(payment("O1")) == GIVEN_UP
    assert bank.account("A1").posted_minor == 0
    assert bank.account("suspense-USD").posted_minor == 1_000
    assert bank.postings[-1][6] == "suspense/unpaid/M1/O1"
    for number, to, code in (("T1", "clearing-USD", "ACCOUNT_INTERNAL"), ("T2", "A9", None)):
        command = c.CreateTransfer("suspense-USD", number, to, 1_000, "USD")
        assert bank.code(command) == (code or "ACCOUNT_NOT_FOUND")
    assert bank.do(c.CreateTransfer("suspense-USD", "T3", "A2", 1_000, "USD")).state == "SUCCEEDED"
    assert bank.account("suspense-USD").posted_minor == 0
    too_much = c.CreateTransfer("suspense-USD", "T4", "A2", 1, "USD")
    assert bank.code(too_much) == "INSUFFICIENT_FUNDS"
    assert bank.code(c.WithdrawFunds("suspense-USD", "W1", 5, "USD")) == "ACCOUNT_INTERNAL"


def test_captured_money_of_a_closed_account_waits_in_suspense() -> None:
    bank = _bank(c.WithdrawFunds("A1", "W0", 99_000, "USD"), *HELD)
    _give_up_the_answer(bank, c.CaptureAuthorization("M1", "H1", "C1", 1_000))
    bank.send(c.CloseAccount("A1"))  # before the money comes back
    bank.run()
    assert bank.account("A1").status == "CLOSED"
    assert bank.account("suspense-USD").posted_minor == 1_000
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == "VOIDED"


@pytest.mark.parametrize(
    ("before", "command", "state", "rest"),
    [
        (HELD, c.CaptureAuthorization("M1", "H1", "C1", 1_000), "VOIDED", 0),
        (HELD, c.CaptureAuthorization("M1", "H1", "C1", 1_150), "VOIDED", 0),
        (HELD, replace(CAPTURE, final=True), "VOIDED", 0),
        (CAPTURED, replace(CAPTURE, final=True), "CAPTURED", 700),
        (CAPTURED, c.CaptureAuthorization("M1", "H1", "C1", 700), "CAPTURED", 700),
    ],
)
def test_hold_that_a_capture_had_ended_has_ended_without_it(
    before: tuple[c.Command, ...], command: Any, state: str, rest: int
) -> None:
    """What was given back, or may be spent, is not reserved anew; what was captured before stays,
    and its rest is told as expired."""
    bank = _bank(*before)
    captured = bank.get(PAYER, HOLDS, "M1/H1").captured_minor
    _give_up_the_answer(bank, command)
    bank.run()
    hold = bank.get(PAYER, HOLDS, "M1/H1")
    assert (hold.state, hold.captured_minor) == (state, captured)
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == state
    account = bank.account("A1")
    assert (account.posted_minor, account.held_minor) == (100_000 - captured, 0)
    assert bank.merchant("M1").authorizations_open == 0
    told = [(event.type.name, event.amount_minor) for event in tail_of(bank.merchant("M1"))[1]]
    assert told[-1] == ("CAPTURE_FAILED", command.amount_minor)
    assert (("EXPIRED", rest) in told) == bool(rest)
    assert bank.code(VOID) == (
        "HOLD_ALREADY_VOIDED" if state == "VOIDED" else "HOLD_ALREADY_CAPTURED"
    )


@pytest.mark.parametrize("command", [authorization("H1", 1_000), CAPTURE, INCREMENT])
@pytest.mark.parametrize("order", ["expiry first", "expiry given up", "undoing first"])
def test_hold_may_expire_while_its_last_answer_is_being_undone(command: Any, order: str) -> None:
    """Nobody waits for that: the answer to the undoing says it, and may stand behind it."""
    bank = _bank(*(() if isinstance(command, c.CreateAuthorization) else HELD))
    bank.send(command)
    bank.deliver_at(0)
    bank.wait(HOUR)
    if order != "undoing first":
        bank.fire()
    assert bank.give_up_at(0) is None
    if order == "expiry first":
        bank.deliver(messages.HoldEnded)
    elif order == "expiry given up":
        assert bank.give_up(messages.HoldEnded) is None
    bank.run()
    bank.fire()
    bank.run()
    assert bank.code(command) == GIVEN_UP
    state = bank.get(MERCHANT, AUTHORIZATIONS, "H1").state
    if isinstance(command, c.CreateAuthorization):
        assert state == "FAILED"
    else:
        voided = isinstance(command, c.CaptureAuthorization) and order != "undoing first"
        assert state == ("VOIDED" if voided else "EXPIRED")
        assert bank.get(PAYER, HOLDS, "M1/H1").amount_minor == 1_000
    account = bank.account("A1")
    assert (account.posted_minor, account.held_minor, account.holds_open) == (100_000, 0, 0)
    assert not bank.timers


def test_timers_are_kept_as_long_as_something_is_due() -> None:
    bank = _bank(*HELD, *PAID, c.WithdrawFunds("A1", "W0", 5, "USD"))
    bank.do(c.RefundPayment("M1", "R1", "O1", 5))
    bank.do(c.RefundPayment("M1", "R2", "O1", 990, wait_for_funds=True))
    bank.wait(8 * 86_400 * SECOND)
    for (due, address, name), body in sorted(bank.timers.items()):
        bank.timers.pop((due, address, name))
        bank.queue.append(Envelope(address, address, body, bank.business_date))
    for type_ in (messages.ExpireHold, messages.ExpireRefund):
        assert bank.give_up(type_) is not None
    bank.run()
    assert bank.get(MERCHANT, REFUNDS, "R2").state == "CLOSED"
    assert bank.get(MERCHANT, AUTHORIZATIONS, "H1").state == "EXPIRED"


@pytest.mark.parametrize(
    ("before", "late"),
    [
        ((payment("O1"),), messages.PaymentDeclined("O1", "ACCOUNT_CLOSED")),  # type: ignore[arg-type]
        ((payment("O1"),), messages.PaymentDebited("O1")),
        ((payment("O1"),), messages.ReversalCredited("O1")),
        ((*PAID, REFUND), messages.RefundCredited("R1")),
        ((*PAID, REFUND), messages.RefundReturned("R1", "ACCOUNT_CLOSED")),  # type: ignore[arg-type]
        ((*PAID, REFUND), messages.ExpireRefund("R1")),
        ((), messages.ResumeRefunds()),
        ((), messages.CertificateAdded("C1")),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Struct) else "",
)
def test_what_nothing_waits_for_is_dropped(before: tuple[c.Command, ...], late: Struct) -> None:
    """It can have come by a bug only; then its money is nobody's that we know of."""
    bank = _bank(*before)
    states = dict(bank.states)
    money = 70 if isinstance(late, messages.PaymentDebited | messages.RefundReturned) else 0
    bank.audited = False
    envelope = Envelope(MERCHANT, PAYER, late, "2026-01-05", None, money, "USD" if money else "")
    bank.queue.append(envelope)
    assert bank.give_up_at(0) is None
    bank.run()
    if money:
        assert bank.account("suspense-USD").posted_minor == money
        bank.states.pop(SUSPENSE)
    assert bank.states == states


def test_discard_of_a_redirect_leaves_the_refund_abnormal() -> None:
    bank = _bank(*ABNORMAL)
    redirect = c.RedirectRefund("M1", "R1", "D1", "A2")
    figures = _figures(bank)
    bank.send(redirect)
    assert bank.give_up(messages.CreditRefund) is None
    bank.run()
    assert (bank.code(redirect), _figures(bank)) == (GIVEN_UP, figures)
    assert bank.get(MERCHANT, REFUNDS, "R1").state == "ABNORMAL"
    assert bank.do(c.RedirectRefund("M1", "R1", "D2", "A2")).state == "SUCCEEDED"


def test_merchant_that_is_closing_is_closed_when_its_last_payment_comes_to_nothing() -> None:
    bank = _bank()
    bank.send(payment("O1"))
    bank.send(c.CloseMerchant("M1"))
    assert bank.give_up(messages.DebitPayment) is None
    bank.run()
    assert bank.merchant("M1").status == "CLOSED"
    assert bank.get(MERCHANT, PAYMENTS, "O1").state == "FAILED"


class _Wishes:
    """Commands by chance, most of which have something to be done about."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = 0

    def next(self) -> c.Command:
        chance, number = self._chance, self._number()
        payer = chance.choice(("A1", "A1", "A2"))
        original = str(chance.randint(1, 6))
        amount = chance.choice((1, 20, 60, 115))
        final = chance.random() < 0.3
        wishes: dict[c.Command, int] = {
            c.CreatePayment("M1", original, payer, amount, "USD"): 3,
            c.CreateAuthorization("M1", original, payer, 100, "USD", chance.choice((10, 900))): 4,
            c.IncrementAuthorization("M1", original, number, 20): 2,
            c.CaptureAuthorization("M1", original, number, amount, final): 4,
            c.VoidAuthorization("M1", original, number): 1,
            c.ReleaseAuthorization("M1", original, number): 1,
            c.RefundPayment("M1", number, original, amount, wait_for_funds=final): 2,
            c.RefundAuthorization("M1", number, original, amount): 1,
            c.ReversePayment("M1", original, number): 1,
            c.CreateTransfer(payer, number, "A3", amount, "USD"): 1,
            c.WithdrawFunds(payer, number, amount, "USD"): 1,
            c.FundAccount(payer, number, amount, "USD"): 1,
            registering(number, f"0{number}"): 1,
        }
        return chance.choices([*wishes], [*wishes.values()])[0]

    def _number(self) -> str:
        self._numbers += 1
        return str(self._numbers)


@pytest.mark.parametrize("seed", range(effort(30, 1_000)))
def test_whatever_is_given_up_everything_comes_to_an_end(seed: int) -> None:
    """Commands, messages, discards, timers and day cuts in any order; the bank is audited after
    each turn, and in the end nothing waits or is held."""
    chance = random.Random(seed)
    bank, wishes = opened(), _Wishes(chance)
    bank.do(c.FundAccount("A1", "more", 5_000, "USD"))
    asked = {}
    for _ in range(60):
        step = chance.random()
        if step < 0.4:
            command = wishes.next()
            asked[bank.send(command)] = command
        elif step < 0.95 and bank.queue:
            at = chance.randrange(len(bank.queue))
            bank.deliver_at(at) if step < 0.75 else bank.give_up_at(at)
        elif step < 0.98:
            bank.wait(11 * SECOND)
            bank.fire()
        else:
            bank.business_date = f"2026-01-{int(bank.business_date[-2:]) + 1:02d}"
    bank.run()
    bank.wait(8 * 86_400 * SECOND)
    bank.fire()
    bank.run()
    assert not bank.timers
    assert list(audit(bank.view())) == []
    for _, kind, name, record in bank.records():
        state = getattr(record, "state", "")
        assert state not in {"PROCESSING", "PENDING_FUNDS", *OPEN_STATES}, (kind.name, name, record)
    for token, command in asked.items():
        assert token in bank.unsure or len(bank.answers[token]) == 1, command
