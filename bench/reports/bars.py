"""Ratios on a logarithmic axis, with their intervals, what they have to be and are meant to be.

On such an axis twice as much and half as much are as far from one, and intervals of ratios, which
are Student's on logarithms, lie about them evenly.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final

from bench.peers.result import Row
from bench.reports.figures import interval, number, times
from bench.reports.sheet import Bar, Bars, Tone

_RULES: Final = tuple(step * 10.0**power for power in range(-4, 5) for step in (1, 2, 5))
_MARGIN: Final = 1.2
"""How much further than the outermost figure the axis goes."""
_RULES_MAX: Final = 8
"""More than these would run into each other on a telephone; then there are powers of ten alone."""


def bars(title: str, rows: Sequence[Row]) -> Bars:
    """Return rows as bars on one axis.

    Args:
        rows: with ratios above 0.
    """
    figures = [1.0, *(figure for row in rows for figure in _figures(row))]
    low = math.log(min(figures) / _MARGIN)
    width = math.log(max(figures) * _MARGIN) - low

    def place(ratio: float) -> float:
        """Return where a ratio lies, in per cent of the axis; what is off it lies at its end."""
        if ratio <= 0:
            return 0.0
        return min(100.0, max(0.0, (math.log(ratio) - low) / width * 100))

    shown = [each for each in _RULES if 0 < place(each) < 100]
    if len(shown) > _RULES_MAX:
        shown = [each for each in shown if math.log10(each).is_integer()]
    rules = [(place(each), f"{each:g}×") for each in shown]
    return Bars(title, [_bar(row, place) for row in rows], rules, place(1))


def _figures(row: Row) -> list[float]:
    """Return what has to be on the axis."""
    figures = [row.ratio, row.target, row.aim]
    figures += row.ci95 if row.ci95[1] is not None else ()
    return [each for each in figures if each]


def _bar(row: Row, place: Callable[[float], float]) -> Bar:
    measure, _, against = row.measure.partition(", against ")
    tone, verdict = _verdict(row)
    low, high = row.ci95
    return Bar(
        measure=measure,
        against=f"against {against}" if against else "",
        text=times(row.ratio),
        interval=interval(low, high),
        sides=_sides(row),
        verdict=verdict,
        tone=tone,
        dot=place(row.ratio),
        low=place(low if high is not None else row.ratio),
        high=place(high if high is not None else row.ratio),
        target=None if row.target is None else place(row.target),
        aim=None if row.aim is None else place(row.aim),
    )


def _sides(row: Row) -> str:
    if row.bound:
        return f"{number(row.ours)} {row.unit}, at most {number(row.peer)}"
    return f"{number(row.ours)} to {number(row.peer)} {row.unit}"


def _verdict(row: Row) -> tuple[Tone, str]:
    if row.passed is None:
        return "plain", ""
    if not row.passed:
        return "bad", "missed"
    if row.aim is not None and row.ratio >= row.aim:
        return "good", "aim reached"
    return "good", "ok"
