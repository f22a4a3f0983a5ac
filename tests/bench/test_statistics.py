"""Paired ratios, against figures worked out elsewhere."""

import math
import random

import pytest

from bench.statistics import geometric_mean, paired, student_t, unpaired


def test_paired_ratio_has_students_interval() -> None:
    """Logarithms 0.6931, 0.9163, 0.7885: mean 0.7993, deviation 0.11199; t(2) is 4.303."""
    found = paired([200, 250, 220], [100, 100, 100])
    half = 4.303 * 0.111995 / math.sqrt(3)
    assert found.ratio == pytest.approx((2 * 2.5 * 2.2) ** (1 / 3))
    assert found.low == pytest.approx(found.ratio / math.exp(half), rel=1e-3)
    assert found.high == pytest.approx(found.ratio * math.exp(half), rel=1e-3)
    assert found.shown
    assert found.sentence().startswith("2.224 (1.684 to 2.937, 3 pairs)")


def test_paired_ratio_that_may_be_one_shows_no_difference() -> None:
    found = paired([100, 110, 90, 101], [101, 100, 100, 99])
    assert not found.shown
    assert found.sentence().startswith("no difference shown: ")


def test_slow_moments_of_the_machine_cancel_out_within_a_pair() -> None:
    moments = [1.0, 0.2, 3.0, 0.5]
    found = paired([200 * each for each in moments], [100 * each for each in moments])
    assert found.low == pytest.approx(2)
    assert found.high == pytest.approx(2)


def test_single_pair_shows_nothing() -> None:
    found = paired([300], [100])
    assert found.ratio == pytest.approx(3)
    assert (found.low, found.high) == (0, math.inf)
    assert not found.shown


@pytest.mark.parametrize(("ours", "others"), [([], []), ([1], [0]), ([1, 2], [1])])
def test_pairs_that_are_none_are_refused(ours: list[float], others: list[float]) -> None:
    with pytest.raises(ValueError, match=r"pairs of figures|longer|shorter"):
        paired(ours, others)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)]
)
def test_students_quantile_is_the_tables(degrees: int, quantile: float) -> None:
    assert student_t(degrees) == pytest.approx(quantile, abs=1e-3)


def test_interval_holds_the_truth_19_times_of_20() -> None:
    chance = random.Random(7)
    held = 0
    for _ in range(2_000):
        ours = [1.5 * math.exp(chance.gauss(0, 0.2)) for _ in range(6)]
        found = paired(ours, [1.0] * 6)
        held += found.low <= 1.5 <= found.high
    assert 0.93 < held / 2_000 < 0.97


def test_geometric_mean_of_a_factor_and_its_inverse_is_one() -> None:
    assert geometric_mean([4, 0.25]) == pytest.approx(1)


def test_unpaired_ratio_has_welchs_interval() -> None:
    """Logarithms 0, 0.2, 0.1 and 0.6, 0.5, 0.7, 0.6: standard errors 0.0577 and 0.0408, so 0.0707
    together with 3.8 degrees of freedom, rounded down to 3, for which t is 3.182."""
    ours = [math.exp(each) for each in (0.6, 0.5, 0.7, 0.6)]
    found = unpaired(ours, [math.exp(each) for each in (0, 0.2, 0.1)])
    assert found.ratio == pytest.approx(math.exp(0.5))
    assert found.high == pytest.approx(math.exp(0.5 + 3.182 * 0.070711), rel=1e-4)
    assert found.low == pytest.approx(math.exp(0.5 - 3.182 * 0.070711), rel=1e-4)
    assert found.sentence().endswith(", unpaired)")


def test_unpaired_ratio_of_a_single_figure_has_no_interval() -> None:
    found = unpaired([2], [1, 1, 1])
    assert found.ratio == pytest.approx(2)
    assert not found.bounded
    assert not found.shown
    assert found.quoted().ci95 is None


def test_unpaired_interval_holds_the_truth_19_times_of_20() -> None:
    """And a little more often: the degrees of freedom are rounded down."""
    chance = random.Random(11)
    held = 0
    for _ in range(2_000):
        ours = [1.5 * math.exp(chance.gauss(0, 0.2)) for _ in range(5)]
        found = unpaired(ours, [math.exp(chance.gauss(0, 0.1)) for _ in range(8)])
        held += found.low <= 1.5 <= found.high
    assert 0.93 < held / 2_000 < 0.98
