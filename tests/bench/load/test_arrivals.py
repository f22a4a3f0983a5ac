"""Arrivals come as a Poisson process of the rates that are asked for, and the same for a seed."""

import itertools
import statistics

import pytest

from bench.load.arrivals import Phase, arrivals


def test_gaps_of_a_constant_rate_are_exponential() -> None:
    times = list(arrivals([Phase(100.0, 200.0)], seed=7))
    assert len(times) == pytest.approx(20_000, abs=500)
    assert times == sorted(times)
    gaps = [(after - before) / 1e9 for before, after in itertools.pairwise(times)]
    # An exponential distribution's deviation is its mean, and e^-1 of it lies above.
    assert statistics.fmean(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)
    assert sum(gap > 1 / 200 for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.01)


def test_each_phase_has_its_own_rate_and_nothing_comes_outside() -> None:
    phases = [Phase(10.0, 100.0), Phase(5.0, 0.0), Phase(2.0, 2_000.0), Phase(10.0, 100.0)]
    times = [at / 1e9 for at in arrivals(phases, seed=3)]
    counts = [
        sum(begin <= at < end for at in times) for begin, end in ((0, 10), (10, 15), (15, 17))
    ]
    assert counts[0] == pytest.approx(1_000, abs=100)
    assert counts[1] == 0
    assert counts[2] == pytest.approx(4_000, abs=200)
    assert times[-1] < 27


def test_arrivals_are_the_same_for_a_seed_and_fewer_where_several_come_together() -> None:
    phases = [Phase(10.0, 500.0)]
    assert list(arrivals(phases, 1)) == list(arrivals(phases, 1))
    assert list(arrivals(phases, 1)) != list(arrivals(phases, 2))
    together = list(arrivals(phases, 1, together=50))
    assert len(together) == pytest.approx(100, abs=35)
