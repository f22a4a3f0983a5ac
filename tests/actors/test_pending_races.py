"""The queue under fire: refunds that wait, money that comes, accounts that close, time that passes.

Everything happens in any order, messages overtake each other between different actors, and the
whole bank is audited after every turn; each turn begins from encoded rows, as after a restart.
"""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from actors import commands
from actors.answers import Outcome, Replayed
from actors.messages import ResumeRefunds
from actors.payment import PAYMENTS
from actors.refund import REFUNDS, WAIT_NS, Refund
from tests.actors.driver import DAY, MERCHANT, Bank
from tests.effort import effort

PAYERS = ("A1", "A2", "A3")
_numbers = st.integers(0, 30).map(str)
_orders = st.sampled_from(["1", "2", "3", "4", "5"])
_amounts = st.sampled_from([1, 7, 30, 30, 60, 100])


def _refund(number: str, order_no: str, amount: int, waits: bool) -> commands.RefundPayment:
    return commands.RefundPayment("M1", number, order_no, amount, waits)


def _payment(number: str, payer: str, amount: int) -> commands.CreatePayment:
    return commands.CreatePayment("M1", f"P{number}", payer, amount, "USD")


_waits = st.sampled_from([True, True, True, True, False])
_payers = st.sampled_from(PAYERS)
_command = st.one_of(
    st.builds(_refund, _numbers, _orders, _amounts, _waits),
    st.builds(_refund, _numbers, _orders, _amounts, _waits),
    st.builds(_refund, _numbers, _orders, _amounts, _waits),
    st.builds(_payment, _numbers, _payers, st.sampled_from([20, 50, 150])),
    st.builds(commands.ReversePayment, st.just("M1"), _numbers.map("P{}".format), _numbers),
    st.builds(commands.RedirectRefund, st.just("M1"), _numbers, _numbers, _payers),
    st.builds(commands.CloseRefund, st.just("M1"), _numbers, _numbers),
    st.builds(commands.CloseAccount, _payers),
)
_steps = st.lists(
    st.one_of(_command, _command, st.integers(0, 9), st.integers(0, 9), st.sampled_from([DAY, -1])),
    min_size=20,
    max_size=120,
)


def _opened() -> Bank:
    """Return a bank whose merchant took 100 five times, all of it as a fee, from three payers
    that have little left, so that they can be closed."""
    bank = Bank()
    bank.do(commands.OpenMerchant("M1", "USD", 10_000))
    for payer in PAYERS:
        bank.do(commands.OpenAccount(payer, "USD"))
        bank.do(commands.SignAgreement(payer, "M1", "M1"))
        bank.do(commands.FundAccount(payer, "0", 200 if payer == "A1" else 400, "USD"))
    for order_no, payer in zip("12345", ("A1", "A1", "A2", "A2", "A3"), strict=True):
        bank.do(commands.CreatePayment("M1", order_no, payer, 100, "USD"))
    bank.do(commands.CloseAccount("A1"))
    bank.force(MERCHANT, fee_bps=0)
    return bank


def _refunds(bank: Bank) -> dict[str, Refund]:
    return {name: each for _, kind, name, each in bank.records()
            if kind is REFUNDS and isinstance(each, Refund)}  # fmt: skip


def _departures(bank: Bank) -> list[str]:
    """Return whose money left the receivable, in order of time; one may leave several times."""
    return [row[6].rpartition("/")[2] for row in bank.postings
            if row[1] == f"{MERCHANT}/receivable" and row[2] < 0
            and row[6].startswith("refund/")]  # fmt: skip


@settings(max_examples=effort(80, 200))
@given(_steps)
def test_queue_keeps_its_order_and_its_promises(steps: list[commands.Command | int]) -> None:
    bank = _opened()
    asked = {}
    queued: list[str] = []
    for step in steps:
        if isinstance(step, commands.Command):
            token = bank.send(step)
            asked[token] = step
            pending = bank.merchant("M1").pending
            if pending is not None and pending.last not in queued:
                queued.append(pending.last)
        elif step == -1:
            bank.fire()
        elif step == DAY:
            bank.wait(DAY)
        elif bank.queue:
            bank.deliver_at(step % len(bank.queue))
    bank.run()
    _expect_in_order(bank, queued)
    bank.wait(WAIT_NS)
    bank.fire()
    bank.run()
    assert bank.merchant("M1").pending is None
    assert not bank.timers
    left = Counter(_departures(bank))
    for name, refund in _refunds(bank).items():
        assert refund.state in {"SUCCEEDED", "FAILED", "ABNORMAL", "CLOSED"}
        assert refund.state not in {"SUCCEEDED", "ABNORMAL"} or left[name] >= 1
    for order_no in "12345":
        record = bank.get(MERCHANT, PAYMENTS, order_no)
        astray = [each.amount_minor for each in _refunds(bank).values()
                  if each.original == order_no and each.state == "ABNORMAL"]  # fmt: skip
        assert record.refunding_minor == sum(astray)
    _expect_one_outcome(bank, asked)


def _expect_in_order(bank: Bank, queued: list[str]) -> None:
    """Those that waited left for the first time in the order in which they had come."""
    firsts = list(dict.fromkeys(_departures(bank)))
    waited = [name for name in firsts if name in queued]
    assert waited == [name for name in queued if name in waited]


def _expect_one_outcome(bank: Bank, asked: dict[tuple[int, int, int], commands.Command]) -> None:
    outcomes: dict[commands.Command, set[Outcome]] = {}
    for token, command in asked.items():
        answer = bank.answer(token)
        for each in (answer, bank.ask(command)):
            told = outcomes.setdefault(command, set())
            if isinstance(each, Replayed):
                told.add(each.outcome)
            elif getattr(each, "state", ""):
                told.add(each)
    assert all(len(told) <= 1 for told in outcomes.values()), outcomes


@settings(max_examples=effort(4, 10))
@given(
    st.lists(st.booleans(), min_size=60, max_size=160),
    st.lists(st.integers(0, 400), min_size=1, max_size=6),
    st.lists(st.integers(0, 50), max_size=60),
)
def test_long_queue_is_worked_off_in_order(
    waiting: list[bool], earnings: list[int], order: list[int]
) -> None:
    """It is longer than what one turn sends off; of its two payers one is gone."""
    bank = _opened()
    bank.audited = False
    bank.do(commands.FundAccount("A2", "1", 10_000, "USD"))
    numbers = []
    for n, gone in enumerate(waiting):
        order_no = f"Q{n}"
        bank.force(MERCHANT, fee_bps=10_000)
        bank.do(commands.CreatePayment("M1", order_no, "A3" if gone else "A2", 1, "USD"))
        bank.force(MERCHANT, fee_bps=0)
        numbers.append(f"R{n}")
        assert bank.code(_refund(f"R{n}", order_no, 1, waits=True)) == "PENDING_FUNDS"
    bank.do(commands.WithdrawFunds("A3", "W1", bank.account("A3").posted_minor, "USD"))
    bank.do(commands.CloseAccount("A3"))
    bank.audited = True
    for n, amount in enumerate(earnings):
        if amount:
            bank.send(commands.CreatePayment("M1", f"E{n}", "A2", amount, "USD"))
    for choice in order:
        if bank.queue:
            bank.deliver_at(choice % len(bank.queue))
    bank.run()
    assert not any(isinstance(message.body, ResumeRefunds) for message in bank.queue)
    _expect_in_order(bank, numbers)
    kept = sum(1 for refund in _refunds(bank).values() if refund.state == "SUCCEEDED")
    pending = bank.merchant("M1").pending
    assert bank.merchant("M1").posted_minor == sum(earnings) - kept
    assert pending is None or bank.merchant("M1").posted_minor == 0
