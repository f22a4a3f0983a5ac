"""Zipf's ranks have Zipf's probabilities, and scattering loses nobody."""

import itertools
import random
from collections import Counter

import pytest

from bench.workloads.draws import Scatter, Zipf, harmonic


@pytest.mark.parametrize("n", [1, 2, 3, 10, 10_000, 10_001, 300_000])
def test_harmonic_sum_is_that_of_its_terms(n: int) -> None:
    assert harmonic(n, 0.99) == pytest.approx(sum(k**-0.99 for k in range(1, n + 1)), rel=1e-12)


def test_zipf_ranks_come_as_often_as_they_should() -> None:
    """The first two ranks exactly, all from there on within the approximation's few percent."""
    n, draws = 1_000, 400_000
    law, chance = Zipf(n), random.Random(7)
    seen = Counter(law.rank(chance.random()) for _ in range(draws))
    assert min(seen) == 0
    assert max(seen) < n
    total = harmonic(n, 0.99)
    for rank in (0, 1):
        assert seen[rank] / draws == pytest.approx((rank + 1) ** -0.99 / total, rel=0.03)
    for low, high in ((0, 10), (10, 100), (100, 1_000)):
        share = sum(seen[rank] for rank in range(low, high)) / draws
        exact = sum((rank + 1) ** -0.99 for rank in range(low, high)) / total
        assert share == pytest.approx(exact, rel=0.08)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_zipf_of_a_few_stays_among_them(n: int) -> None:
    law = Zipf(n)
    assert {law.rank(chance / 100) for chance in range(100)} == set(range(n))


@pytest.mark.parametrize("n", [1, 2, 7, 1_000, 1_024])
def test_scatter_has_each_number_once_and_no_neighbours(n: int) -> None:
    scattered = [Scatter(n, seed=5).at(position) for position in range(n)]
    assert sorted(scattered) == list(range(n))
    if n > 7:
        gaps = [abs(a - b) for a, b in itertools.pairwise(scattered)]
        assert min(gaps) > n // 10
