"""Chance: times are drawn as they should be, without what machines do not agree on."""

from statistics import fmean, pstdev

from bench.simulator.chance import Chance


def test_times_between_events_are_exponential() -> None:
    """A share of 1/e is beyond the mean, and the deviation is the mean itself."""
    chance = Chance("times")
    drawn = [chance.expovariate(0.5) for _ in range(50_000)]
    assert abs(fmean(drawn) - 2) < 0.04
    assert abs(pstdev(drawn) - 2) < 0.04
    for times, share in ((1, 0.367879), (2, 0.135335), (0.5, 0.606531)):
        assert abs(sum(each > 2 * times for each in drawn) / len(drawn) - share) < 0.01


def test_drawn_numbers_are_these_on_every_machine() -> None:
    chance = Chance("7/disk/0")
    assert [chance.expovariate(2).hex() for _ in range(3)] == [
        "0x1.35bc5d544a564p-1",
        "0x1.f3428b57d496ap-1",
        "0x1.84f14355ee78bp-2",
    ]
