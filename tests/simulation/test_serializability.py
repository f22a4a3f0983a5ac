"""The checker of histories: it accepts what a bank could have answered, and nothing else.

By hand: the anomalies that have names, each told apart from the history beside it that is possible.
By machine: a second opinion that tries every order, on histories that a bank has had, on the same
with one answer changed, and on histories that Hypothesis makes up.
"""

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.simulator.serializability import ACCOUNT, MERCHANT, Operation, Outcome, check
from tests.effort import effort
from tests.simulation.bank import (
    ACCOUNT_KINDS,
    MERCHANT_KINDS,
    PAYMENTS,
    Bank,
    explicable,
    happened,
    numbers,
    retold,
)


def _did(kind: str, amount: int, began: float, ended: float, **more: Any) -> Operation:
    return Operation(f"{kind}-{began:.0f}", kind, amount, began, ended, **more)


def _asked(kind: str, amount: int, began: float, **more: Any) -> Operation:
    """Something of which nobody knows whether it took effect."""
    return Operation(f"{kind}-{began:.0f}", kind, amount, began, math.inf, "UNKNOWN", **more)


def _account(*history: Operation, available: int = 0) -> str:
    """Judge the history of an account; returns why it is impossible, or nothing."""
    return _reason(history, merchant=False, bank=Bank(available))


def _merchant(*history: Operation) -> str:
    return _reason(history, merchant=True, bank=Bank())


def _reason(history: tuple[Operation, ...], merchant: bool, bank: Bank) -> str:
    rules = MERCHANT if merchant else ACCOUNT
    verdict = check(history, rules, start=numbers(bank, merchant))
    assert verdict.ok is explicable(history, bank), "the second opinion is another"
    if not verdict.ok:
        assert verdict.operation in history
        assert set(verdict.core) <= set(history)
        assert verdict.operation.name in verdict.reason
    return verdict.reason


def test_lost_update_is_refused() -> None:
    one, other = _did("credit", 10, 0, 5), _did("credit", 10, 1, 6)
    assert not _account(one, other, _did("read", 20, 7, 7))
    assert "read read-7" in _account(one, other, _did("read", 10, 7, 7))


def test_stale_read_is_refused() -> None:
    """What was answered is seen by whoever looks later."""
    credit = _did("credit", 10, 0, 5)
    assert not _account(credit, _did("read", 0, 5, 5)), "at that moment it may be either"
    assert "read" in _account(credit, _did("read", 0, 6, 6))


def test_read_from_the_future_is_refused() -> None:
    assert "read" in _account(_did("read", 10, 1, 2), _did("credit", 10, 3, 4))
    assert not _account(_did("read", 10, 1, 3), _did("credit", 10, 3, 4))


def test_reads_that_go_back_are_refused() -> None:
    """Each is possible by itself while the credit is under way, but not in this order."""
    credit = _did("credit", 10, 0, 9)
    assert not _account(credit, _did("read", 0, 1, 2), _did("read", 10, 3, 4))
    assert _account(credit, _did("read", 10, 1, 2), _did("read", 0, 3, 4))


def test_money_spent_twice_is_refused() -> None:
    one, other = _did("debit", 10, 0, 9), _did("debit", 10, 1, 8)
    assert "debit" in _account(one, other, available=10)
    assert not _account(one, other, available=20)
    assert "hold" in _account(one, _did("hold", 1, 2, 3), available=10)


def test_debit_that_only_a_later_credit_covers_is_refused() -> None:
    """The sum would come out; what was real time does not."""
    debit = _did("debit", 10, 0, 2)
    assert "debit" in _account(debit, _did("credit", 10, 3, 4))
    assert not _account(debit, _did("credit", 10, 2, 4))


def test_unknown_that_must_have_happened_is_taken_as_happened() -> None:
    credit, debit = _asked("credit", 10, 0), _did("debit", 10, 2, 3)
    assert not _account(credit, debit)
    assert "read" in _account(credit, debit, _did("read", 10, 4, 5)), "it is spent"


def test_unknown_that_cannot_have_happened_explains_nothing() -> None:
    """Nothing takes effect before it was asked for, nor twice, nor against the rules."""
    debit = _did("debit", 10, 2, 3)
    assert "debit" in _account(_asked("credit", 10, 4), debit)
    assert "debit" in _account(_asked("credit", 9, 0), debit)
    twice = (_did("read", 10, 1, 1), _did("read", 20, 2, 2))
    assert "read-2" in _account(_asked("credit", 10, 0), *twice)
    assert "read-1" in _account(_asked("debit", 10, 0), _did("read", -10, 1, 2))


def test_unknown_may_take_effect_long_after_it_was_asked() -> None:
    credit = _asked("credit", 10, 0)
    late = (_did("read", 0, 5, 5), _did("read", 0, 50, 50), _did("read", 10, 500, 500))
    assert not _account(credit, *late)
    assert _account(credit, *late, _did("read", 0, 501, 501)), "and does not go away again"


def test_refusal_for_funds_needs_a_moment_without_them() -> None:
    short = _did("debit", 10, 2, 3, outcome="SHORT")
    assert "debit" in _account(short, available=10)
    assert not _account(short, _did("credit", 10, 3, 4))
    assert "debit" in _account(_did("credit", 10, 0, 1), short)
    assert not _account(_did("debit", 1, 0, 4), _did("credit", 1, 0, 4), short, available=10)


def test_hold_that_ends_early_or_late_is_refused() -> None:
    hold = _did("hold", 10, 0, 1)
    expiry = _did("release", 10, 20, 21)
    early, late = _did("debit", 10, 5, 6), _did("debit", 10, 30, 31, outcome="SHORT")
    assert "debit" in _account(hold, early, expiry, available=10)
    assert "debit" in _account(hold, late, expiry, available=10)
    assert not _account(hold, _did("debit", 10, 21, 22), expiry, available=10)


def test_capture_gives_back_what_it_does_not_take_and_no_more() -> None:
    hold = _did("hold", 10, 0, 1)
    capture = _did("capture", 4, 2, 3, held_minor=10)
    after = _did("debit", 6, 4, 5)
    assert not _account(hold, capture, after, _did("read", 0, 6, 6), available=10)
    assert "debit" in _account(hold, capture, _did("debit", 7, 4, 5), available=10)
    read = _did("read", 10, 2, 2, held_minor=10)
    assert not _account(hold, capture, read, available=10)
    assert _account(hold, capture, _did("read", 10, 2, 2), available=10), "nothing held, all there"


def test_capture_beyond_its_hold_needs_funds() -> None:
    hold, capture = _did("hold", 10, 0, 1), _did("capture", 11, 2, 3, held_minor=10)
    assert "capture" in _account(hold, capture, available=10)
    assert not _account(hold, capture, available=11)


def test_refunds_beyond_their_payment_are_refused() -> None:
    paid = _did("payment", 100, 0, 1, payment="P")
    one, other = (_did("refund", 60, start, 9, payment="P") for start in (2, 3))
    plenty = _did("credit", 1_000, 0, 1)
    assert "refund" in _merchant(paid, plenty, one, other)
    exceeds = _did("refund", 60, 3, 9, payment="P", outcome="EXCEEDS")
    assert not _merchant(paid, plenty, one, exceeds)
    assert "EXCEEDS" in _merchant(paid, plenty, exceeds), "there was nothing that it exceeds"
    elsewhere = _did("payment", 100, 0, 1, payment="Q")
    assert "refund" in _merchant(paid, elsewhere, plenty, one, other), "each payment by itself"


def test_reversal_beside_a_refund_is_refused() -> None:
    """Write skew, as far as one actor can have it: each sees that there is enough, not both."""
    paid = _did("payment", 100, 0, 1, payment="P", fee_minor=2)
    reversal = _did("reversal", 100, 2, 9, payment="P", fee_minor=2)
    refund = _did("refund", 1, 2, 9, payment="P")
    plenty = _did("credit", 1_000, 0, 1)
    assert not _merchant(paid, reversal, plenty)
    assert "P" in _merchant(paid, plenty, reversal, refund)


def test_fee_comes_back_with_a_reversal_and_not_with_a_refund() -> None:
    paid = _did("payment", 100, 0, 1, payment="P", fee_minor=2)
    assert not _merchant(paid, _did("reversal", 100, 2, 3, payment="P", fee_minor=2))
    assert "refund" in _merchant(paid, _did("refund", 100, 2, 3, payment="P"))
    short = _did("refund", 100, 2, 3, payment="P", outcome="SHORT")
    assert not _merchant(paid, short)


def test_refund_that_came_back_can_be_made_again() -> None:
    paid, plenty = _did("payment", 9, 0, 1, payment="P"), _did("credit", 99, 0, 1)
    refund, again = (_did("refund", 9, start, start + 1, payment="P") for start in (2, 6))
    assert "refund" in _merchant(paid, plenty, refund, again)
    assert not _merchant(paid, plenty, refund, _did("restore", 9, 4, 5, payment="P"), again)


def test_reason_names_what_was_open_and_sums_up_what_was_over() -> None:
    over = [_did("credit", 1, at, at + 0.5) for at in range(20)]
    reason = _account(*over, _did("debit", 2, 30, 34), _did("read", 17, 31, 33))
    assert "read read-31 (17, OK, 31 to 33)" in reason
    assert "available 20" in reason
    assert "debit debit-30 (2, OK, 30 to 34)" in reason
    assert "credit" not in reason


def test_history_that_is_too_hard_is_undecided_and_neither_good_nor_bad() -> None:
    """Amounts of which no two sums are alike, and a read that only a search can explain."""
    history = [_asked("credit", 3**power, power) for power in range(30)]
    wanted = sum(3**power for power in range(1, 30, 2))
    history.append(_did("read", wanted, 100, 100))
    verdict = check(history, ACCOUNT, limit=50)
    assert verdict.ok is None
    assert "50 branches" in verdict.reason
    assert check(history, ACCOUNT).ok


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (_did("gift", 1, 0, 1), "no account knows gift"),
        (_did("credit", 1, 2, 1), "ended before it began"),
        (_did("debit", 1, 0, 1, outcome="EXCEEDS"), "exceeds nothing"),
    ],
)
def test_operation_that_makes_no_sense_is_an_error(one: Operation, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check([one], ACCOUNT)


@pytest.mark.parametrize("merchant", [False, True])
def test_what_a_bank_did_is_accepted_and_refused_with_one_answer_changed(merchant: bool) -> None:
    """300 histories of up to seven operations, and some 4,000 that were changed."""
    verdicts: Counter[bool] = Counter()
    rules = MERCHANT if merchant else ACCOUNT
    for seed in range(300):
        bank, history = happened(seed, merchant, 3 + seed % 5)
        start = numbers(bank, merchant)
        assert check(history, rules, start=start).ok, seed
        for told in retold(history, merchant):
            possible = explicable(told, bank)
            assert check(told, rules, start=start).ok is possible, (seed, told)
            verdicts[possible] += 1
    assert min(verdicts[True], verdicts[False]) > 1_000, verdicts


@pytest.mark.parametrize("merchant", [False, True])
def test_long_history_of_a_bank_is_accepted_and_a_wrong_answer_in_it_is_found(
    merchant: bool,
) -> None:
    """Too long for the second opinion, and as hard as the simulator's own."""
    bank, history = happened(7, merchant, 400, lost=0.02)
    rules, start = (MERCHANT if merchant else ACCOUNT), numbers(bank, merchant)
    assert check(history, rules, start=start).ok
    reads = [each for each in history if each.kind == "read"]
    wrong = Operation("wrong", "read", 10**6, reads[-1].began, reads[-1].ended)
    verdict = check([*history, wrong], rules, start=start)
    assert verdict.ok is False
    assert verdict.operation == wrong
    assert len(verdict.core) < 40


@st.composite
def _histories(draw: st.DrawFn, merchant: bool) -> list[Operation]:
    history = []
    for place in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(MERCHANT_KINDS if merchant else ACCOUNT_KINDS))
        began = draw(st.integers(0, 12))
        outcomes: list[Outcome] = ["OK", "UNKNOWN"]
        if kind in ("debit", "hold", "capture", "refund", "reversal"):
            outcomes.append("SHORT")
        if kind in ("refund", "reversal"):
            outcomes.append("EXCEEDS")
        amount = draw(st.integers(0 if kind == "read" else 1, 6))
        held = kind == "capture" or (kind == "read" and not merchant)
        fee = kind in ("payment", "reversal")
        history.append(
            Operation(
                f"{place}",
                kind,
                amount,
                float(began),
                float(began + draw(st.integers(0, 8))),
                draw(st.sampled_from(outcomes)),
                held_minor=draw(st.integers(0, amount)) if held else 0,
                fee_minor=draw(st.integers(0, amount)) if fee else 0,
                payment=draw(st.sampled_from(PAYMENTS)) if merchant else "",
            )
        )
    return history


@given(_histories(merchant=False), st.integers(0, 6))
@settings(max_examples=effort(500, 1_500), deadline=None)
def test_account_history_is_judged_as_by_trying_every_order(
    history: list[Operation], posted: int
) -> None:
    bank = Bank(posted)
    verdict = check(history, ACCOUNT, start=numbers(bank, False))
    assert verdict.ok is explicable(history, bank)


@given(_histories(merchant=True), st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=effort(500, 1_500), deadline=None)
def test_merchant_history_is_judged_as_by_trying_every_order(
    history: list[Operation], posted: int, refundable: int
) -> None:
    bank = Bank(posted, refundable=(refundable, 0))
    verdict = check(history, MERCHANT, start=numbers(bank, True))
    assert verdict.ok is explicable(history, bank)
