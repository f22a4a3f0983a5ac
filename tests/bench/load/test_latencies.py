"""A histogram of latencies says what the sorted list would, to a thousandth."""

import random
from math import ceil

import pytest

from bench.load.latencies import Latencies


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 0.999, 1.0])
def test_percentile_is_that_of_the_sorted_list_to_a_thousandth(share: float) -> None:
    chance = random.Random(7)
    values = sorted(int(chance.lognormvariate(14, 2)) for _ in range(10_000))
    latencies = Latencies()
    for value in values:
        latencies.record(value)
    exact = values[max(0, ceil(len(values) * share) - 1)]
    assert latencies.percentile_ms(share) == pytest.approx(exact / 1e6, rel=1e-3)


def test_two_histograms_add_up_to_that_of_both() -> None:
    one, other, both = Latencies(), Latencies(), Latencies()
    for n in range(1, 1_000):
        (one if n % 3 else other).record(n * 997, n)
        both.record(n * 997, n)
    one.add(other.counts)
    assert one.counts == both.counts


def test_small_and_no_latencies_are_exact() -> None:
    latencies = Latencies()
    assert latencies.percentile_ms(0.5) == 0
    latencies.record(2_047, 3)
    assert latencies.percentile_ms(0.5) == 2_047 / 1e6
