"""Fees, shares and daily use: formulas against what people would expect of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.money import BALANCE_MAX, fee_minor, give_back, share_minor, use, used_on


@pytest.mark.parametrize(
    ("amount", "bps", "fee"),
    [
        (10_000, 0, 0),
        (10_000, 30, 30),
        (49, 100, 0),
        (50, 100, 1),
        (149, 100, 1),
        (150, 100, 2),
        (1, 10_000, 1),
        (10**13, 10_000, 10**13),
        (10**13, 1, 10**9),
    ],
)
def test_fee_is_rounded_half_up(amount: int, bps: int, fee: int) -> None:
    assert fee_minor(amount, bps) == fee


@given(st.integers(1, 10**13), st.integers(0, 10_000))
def test_fee_never_exceeds_the_amount(amount: int, bps: int) -> None:
    """So a credit less its fee never brings a receivable below what it was."""
    assert 0 <= fee_minor(amount, bps) <= amount


@pytest.mark.parametrize(("amount", "share"), [(100, 115), (99, 113), (1, 1), (7, 8)])
def test_share_is_rounded_down(amount: int, share: int) -> None:
    assert share_minor(amount, 11_500) == share


def test_use_on_newer_date_starts_from_zero() -> None:
    assert used_on("2026-01-06", "2026-01-05", 70) == 0
    assert use("2026-01-06", "2026-01-05", 70, 5) == ("2026-01-06", 5)


def test_use_of_straggler_counts_against_newer_date() -> None:
    """A payment stamped before the cut may come after one that was stamped after it."""
    assert used_on("2026-01-05", "2026-01-06", 70) == 70
    assert use("2026-01-05", "2026-01-06", 70, 5) == ("2026-01-06", 75)


def test_use_stops_at_cap() -> None:
    assert use("2026-01-05", "2026-01-05", BALANCE_MAX - 1, 10**13)[1] == BALANCE_MAX


def test_give_back_leaves_newer_date_alone() -> None:
    assert give_back("2026-01-05", "2026-01-05", 70, 30) == 40
    assert give_back("2026-01-05", "2026-01-06", 70, 30) == 70
    assert give_back("2026-01-05", "2026-01-05", 20, 30) == 0
