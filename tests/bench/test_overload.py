"""The overload's verdict: each thing that a bank would ask fails it when it does not hold."""

from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from bench.load.clients import Outcome
from bench.load.latencies import Latencies
from bench.load.node import Held
from bench.load.tally import Interval
from bench.overload import Observed, Settings, judge, recovered_s
from bench.workloads.errand import Moved

GOOD = Held(missing_minor=0, untold_minor=0, verify_ok=True)


def tenths(done: list[int]) -> list[Interval]:
    """Return tenths of a second in which so much was done."""
    return [Interval(each) for each in done]


def outcome(p99_ms: float, refused: dict[str, int], **more: Any) -> Outcome:
    """Return what a phase of a hundred payments a second came to."""
    latencies = Latencies()
    latencies.record(int(p99_ms * 1e6), 200)
    given = Outcome(
        2.0, 200, 200, 200, latencies, Counter(refused), 0, Moved(), 5, tenths([10] * 20), 1, 1
    )
    return replace(given, **more)


def observed(over: Outcome, after: Outcome | None = None, grows: float = 0.0) -> Observed:
    """Return four phases, the third of which is the overload."""
    seen = Observed()
    for name, each in (
        ("warm-up", outcome(10, {})),
        ("full", outcome(10, {})),
        ("overload", over),
        ("after", after or outcome(10, {})),
    ):
        seen.samples += [80.0 + grows * n for n in range(10)]
        seen.note(name, 10, each)
    seen.forged.update({"NODE_BUSY": 7, "SIGNATURE_WRONG": 3})
    return seen


def test_overload_that_holds_has_nothing_to_say() -> None:
    seen = observed(outcome(19, {"NODE_BUSY": 900}))
    figures = judge(Settings(), seen, [0.1, 0.2], GOOD)
    assert figures.failed == []
    assert figures.p99_ratio == pytest.approx(1.9, rel=1e-2)
    assert figures.recovered_s == 0


@pytest.mark.parametrize(
    ("seen", "held", "says"),
    [
        (observed(outcome(21, {"NODE_BUSY": 1})), GOOD, "p99"),
        (observed(outcome(10, {})), GOOD, "no overload"),
        (observed(outcome(10, {"NODE_BUSY": 1}), grows=2.0), GOOD, "memory grew"),
        (observed(outcome(10, {"NODE_BUSY": 1}, unexplained=1)), GOOD, "when to come again"),
        (
            observed(outcome(10, {"X": 1}), outcome(10, {}, intervals=tenths([0] * 30))),
            GOOD,
            "full speed was back after None s",
        ),
        (observed(outcome(10, {"X": 1})), replace(GOOD, verify_ok=False), "does not verify"),
        (observed(outcome(10, {"X": 1})), replace(GOOD, missing_minor=3), "3 minor units"),
        (observed(outcome(10, {"X": 1})), replace(GOOD, untold_minor=4), "4 in it"),
    ],
)
def test_overload_in_which_something_does_not_hold_says_what(
    seen: Observed, held: Held, says: str
) -> None:
    (failed,) = judge(Settings(), seen, [0.1, 0.2], held).failed
    assert says in failed


@pytest.mark.parametrize("forged", [{}, {"SIGNATURE_WRONG": 9}, {"NODE_BUSY": 1, "OTHER": 1}])
def test_overload_in_which_wrong_signatures_are_looked_at_first_fails(
    forged: dict[str, int],
) -> None:
    seen = observed(outcome(10, {"NODE_BUSY": 1}))
    seen.forged = Counter(forged)
    (failed,) = judge(Settings(), seen, [0.1, 0.2], GOOD).failed
    assert "before 503" in failed
    assert judge(Settings(signed=False), seen, [0.1, 0.2], GOOD).failed == []


@pytest.mark.parametrize(
    ("tenths", "expected"),
    [
        ([10] * 30, 0.0),
        ([0] * 5 + [10] * 30, 0.3),  # two seconds from there on have nine tenths of the rate
        ([1] * 60, None),
        ([], None),
    ],
)
def test_full_speed_is_back_when_two_seconds_have_nine_tenths_of_it(
    tenths: list[int], expected: float | None
) -> None:
    assert recovered_s(tenths, 100.0) == expected
