"""Each workload asks for what its definition says, and the same again for the same seed."""

from collections import Counter
from itertools import islice, pairwise
from typing import Any

import pytest

from actors.commands import CaptureAuthorization, CreateTransfer, RefundPayment, ReversePayment
from bench.bulk import account_no, merchant_no
from bench.load.client import Round, sources_of
from bench.workloads import smallbank, tpcb
from bench.workloads.errand import AccountLookup, Errand, Numbers, PaymentLookup, Source
from bench.workloads.lifecycle import Lifecycle
from bench.workloads.payments import Payees, Payers, Payments
from bench.workloads.smallbank import SmallBank, checking, savings
from bench.workloads.tpcb import Tpcb


def taken(source: Source, count: int, *, done: bool = True) -> list[Errand]:
    """Return errands, each carried out before the next is asked for."""
    errands = []
    for _ in range(count):
        (errand,) = source.take(1)
        source.learn(errand, done=done)
        errands.append(errand)
    return errands


@pytest.mark.parametrize("payers", ["uniform", "zipf", "once"])
@pytest.mark.parametrize("payees", ["uniform", "zipf", "one"])
def test_payer_is_a_customer_of_the_merchant_he_pays(payers: Payers, payees: Payees) -> None:
    merchants = 1 if payees == "one" else 7
    source = Payments(1_003, merchants, payers, payees, seed=1).source(0, "P")
    accounts = {account_no(n): n for n in range(1_003)}
    for errand in source.take(50) + taken(source, 2_000):
        ask: Any = errand.ask
        assert ask.merchant_no == merchant_no(accounts[ask.payer] % merchants)
        assert 1 <= ask.amount_minor == errand.amount_minor <= 997


def test_batch_is_one_merchants() -> None:
    source = Payments(1_000, 10, seed=1).source(0, "P")
    for _ in range(20):
        asks: list[Any] = [errand.ask for errand in source.take(5)]
        assert len({ask.merchant_no for ask in asks}) == 1


def test_distributions_differ_as_they_should() -> None:
    """The busiest of a thousand payers has a seventh of all with Zipf, and nobody more than a few
    in a thousand uniformly; nobody pays twice before everybody has."""

    def most(payers: Payers, payees: Payees, who: str) -> float:
        source = Payments(1_000, 20, payers, payees, seed=3).source(0, "P")
        seen = Counter(getattr(errand.ask, who) for errand in taken(source, 5_000))
        return max(seen.values()) / 5_000

    assert most("uniform", "uniform", "payer") < 0.005
    assert most("zipf", "uniform", "payer") == pytest.approx(0.13, abs=0.03)
    assert most("uniform", "uniform", "merchant_no") < 0.08
    assert most("uniform", "zipf", "merchant_no") == pytest.approx(0.27, abs=0.04)
    sources = [Payments(1_000, 20, "once", sources=4).source(n, f"P{n}") for n in range(4)]
    seen = Counter(
        each.ask.payer  # type: ignore[union-attr]
        for source in sources
        for each in taken(source, 250)
    )
    assert set(seen.values()) == {1}
    assert len(seen) == 1_000


@pytest.mark.parametrize("kind", ["sequential", "random"])
def test_numbers_come_once_and_grow_only_where_they_are_sequential(kind: Any) -> None:
    numbers = Numbers("20260101", kind)
    drawn = [numbers.next() for _ in range(1_000)]
    assert len(set(drawn)) == 1_000
    assert (drawn == sorted(drawn)) == (kind == "sequential")
    again = Numbers("20260101", kind)
    assert drawn == [again.next() for _ in range(1_000)]


def test_lifecycle_has_its_shares_and_refers_to_what_was_paid() -> None:
    source = Lifecycle(1_000, 10, seed=5).source(0, "P")
    errands = taken(source, 22_000)
    shares = Counter(errand.operation for errand in errands)
    for operation, percent in (("pay", 70), ("authorize", 10), ("refund", 8), ("query", 10)):
        assert shares[operation] / 20_000 == pytest.approx(percent / 100, abs=0.01), operation
    assert shares["reverse"] / 20_000 == pytest.approx(0.02, abs=0.005)
    assert shares["capture"] + shares["void"] == pytest.approx(shares["authorize"], abs=1)
    assert shares["capture"] / shares["authorize"] == pytest.approx(0.8, abs=0.05)
    paid: dict[str, int] = {}
    ended: set[str] = set()
    for errand in errands:
        ask: Any = errand.ask
        if errand.operation == "pay":
            paid[ask.order_no] = ask.amount_minor
        elif isinstance(ask, RefundPayment | ReversePayment | PaymentLookup):
            assert ask.order_no in paid
            if not isinstance(ask, PaymentLookup):
                assert ask.order_no not in ended, "each payment is given back once"
                assert 1 <= errand.amount_minor <= paid[ask.order_no]
                ended.add(ask.order_no)


def test_connections_of_a_process_share_the_payments_that_they_know() -> None:
    """With a source each, hardly one of many connections would know of a payment to refund."""
    sources = connections_of(Lifecycle(1_000, 10, seed=5))
    errands = []
    for source in sources:
        (errand,) = source.take(1)
        source.learn(errand, done=True)
        errands.append(errand)
    shares = Counter(errand.operation for errand in errands)
    assert shares["query"] + shares["refund"] + shares["capture"] > 0.1 * len(errands)
    paying = connections_of(Payments(1_000, 10, seed=5))
    assert len({each.take(1)[0].ask.order_no for each in paying}) == len(paying)  # type: ignore[union-attr]


def connections_of(workload: Lifecycle | Payments) -> list[Source]:
    """Return the source of each of a hundred connections."""
    address = ("127.0.0.1", 1)
    return sources_of(Round("express", address, workload, list(range(100)), 1, 1, "P", 0, 0, 0, 1))


def test_capture_follows_its_authorization_and_nothing_that_failed() -> None:
    source = Lifecycle(1_000, 10, seed=5).source(0, "P")
    errands = taken(source, 500)
    for hold, end in pairwise(errands):
        if hold.operation == "authorize":
            assert end.ask.hold_no == hold.ask.hold_no  # type: ignore[union-attr]
            if isinstance(end.ask, CaptureAuthorization):
                assert end.ask.amount_minor == hold.amount_minor
    failing = Lifecycle(1_000, 10, seed=5).source(0, "P")
    assert {each.operation for each in taken(failing, 500, done=False)} == {"pay", "authorize"}


def test_smallbank_has_its_shares() -> None:
    source = SmallBank(500, seed=2).source(0, "P")
    errands = source.take(20_000)
    shares = Counter(errand.operation for errand in errands)
    assert set(shares) == set(smallbank.SHARES)
    for operation, percent in smallbank.SHARES.items():
        assert shares[operation] / 20_000 == pytest.approx(percent / 100, abs=0.012), operation


class _State:
    """As much of an account's state as is looked at."""

    def __init__(self, posted_minor: int) -> None:
        self.posted_minor = posted_minor
        self.held_minor = 0


def test_amalgamate_sends_all_of_both_accounts_to_one_other_customer() -> None:
    source = SmallBank(50, seed=2).source(0, "P")
    seen = 0
    for first in islice((e for e in source.take(400) if e.operation == "amalgamate"), 20):
        balances = {checking(n): 100 + n for n in range(50)} | {savings(n): 7 for n in range(50)}
        before = dict(balances)
        errand: Errand | None = first
        while errand is not None:
            ask = errand.ask
            assert errand.operation == "amalgamate"
            if isinstance(ask, AccountLookup):
                answer: Any = _State(balances[ask.account_no])
            else:
                assert isinstance(ask, CreateTransfer)
                balances[ask.account_no] -= ask.amount_minor
                balances[ask.to] += ask.amount_minor
                answer = None
            errand = None if errand.then is None else errand.then(answer)
        changed = {number for number in before if balances[number] != before[number]}
        gave = sorted(number for number in changed if balances[number] < before[number])
        assert len(changed) == 3
        assert [balances[number] for number in gave] == [0, 0]
        assert sum(balances.values()) == sum(before.values())
        seen += 1
    assert seen == 20


def test_smallbank_balances_are_normal_within_their_bounds() -> None:
    bank = SmallBank(1_000, seed=4)
    low, high = smallbank.OPENING_MINOR
    drawn = [bank.opening_minor(n) for n in range(2_000)]
    assert drawn == [bank.opening_minor(n) for n in range(2_000)]
    assert low <= min(drawn)
    assert max(drawn) <= high
    assert sum(drawn) / 2_000 == pytest.approx(3_000_000, rel=0.03)
    within = sum(2_000_000 <= each <= 4_000_000 for each in drawn)
    assert within / 2_000 == pytest.approx(0.71, abs=0.04)  # 0.683 of 0.954 that are kept


def test_tpcb_passes_the_teller_through_and_looks_at_the_account() -> None:
    workload = Tpcb(250_000, seed=1)
    assert workload.branches == 3
    source = workload.source(0, "P")
    tellers = {account_no(250_000 + n) for n in range(30)}
    branches = {account_no(250_030 + n) for n in range(3)}
    to_customer = 0
    for errand in source.take(300):
        first: Any = errand.ask
        assert errand.then is not None
        second_errand = errand.then(None)
        assert second_errand is not None
        assert second_errand.then is not None
        second: Any = second_errand.ask
        look = second_errand.then(None)
        assert look is not None
        assert look.then is None
        moved: Counter[str] = Counter()
        for ask in (first, second):
            moved[ask.account_no] -= ask.amount_minor
            moved[ask.to] += ask.amount_minor
        moved = Counter({number: minor for number, minor in moved.items() if minor})
        customer = look.ask.account_no  # type: ignore[union-attr]
        (branch,) = set(moved) - {customer}
        assert branch in branches
        assert {first.account_no, first.to} == {
            customer,
            (tellers & {first.account_no, first.to}).pop(),
        }
        assert 1 <= abs(moved[customer]) <= tpcb.DELTA_MAX
        to_customer += moved[customer] > 0
    assert 110 < to_customer < 190
