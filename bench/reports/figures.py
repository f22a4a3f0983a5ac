"""Figures as people read them: with as many digits as say something, and their unit."""

from datetime import UTC, datetime


def number(value: float | None) -> str:
    """Return a figure with three digits that count, or more before the point; a dash for none."""
    if value is None:
        return "–"
    size = abs(value)
    digits = 0 if size >= 100 or value == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def times(value: float | None) -> str:
    """Return a ratio, or a dash for none."""
    return "–" if value is None else f"{number(value)}×"


def interval(low: float, high: float | None) -> str:
    """Return an interval; without an upper end there is none."""
    return "no interval" if high is None else f"{number(low)} to {number(high)}"


def moment(iso: str) -> str:
    """Return a time in ISO 8601, to the minute in UTC; the text itself where it is none."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return iso


def duration(seconds: float) -> str:
    """Return a time span in its largest whole unit."""
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{seconds / 60:,.0f} minutes"
