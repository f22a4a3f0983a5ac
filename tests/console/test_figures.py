"""Figures and languages: as the reader writes them, and in which of the two."""

import pytest

from gateway.console.figures import Figures
from gateway.console.languages import preferred

EN, ZH = Figures("en"), Figures("zh")
NARROW = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (0, "USD", "0.00"),
        (1, "USD", "0.01"),
        (-1, "CNY", "\N{MINUS SIGN}0.01"),
        (123_456_789, "USD", "1,234,567.89"),
        (10**18, "USD", "10,000,000,000,000,000.00"),
        (-(10**18) - 1, "USD", "\N{MINUS SIGN}10,000,000,000,000,000.01"),
        (1_234, "JPY", "1,234"),
        (1_234, "KWD", "1.234"),
        (1_234, "IQD", "1.234"),
        (12_345, "CLF", "1.2345"),
    ],
)
def test_amount_has_its_currencys_decimals(minor: int, currency: str, text: str) -> None:
    for figures in (EN, ZH):
        assert figures.amount(minor, currency) == f"{text}{NARROW}{currency}"


def test_signed_amount_has_a_plus_too() -> None:
    assert EN.amount(700, "USD", signed=True) == f"+7.00{NARROW}USD"
    assert EN.amount(0, "USD", signed=True) == f"0.00{NARROW}USD"
    assert EN.amount(-700, "USD", signed=True) == f"\N{MINUS SIGN}7.00{NARROW}USD"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ms"),
        (640, "640 ns"),
        (24_400, "24.4 µs"),
        (999_400, "999 µs"),
        (1_500_000, "1.5 ms"),
        (234_000_000, "234 ms"),
        (2_500_000_000, "2.5 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_duration_has_three_figures_or_so(ns: float, text: str) -> None:
    assert EN.duration(ns) == text.replace(" ", NARROW)


def test_times_are_written_as_the_reader_does() -> None:
    instant = "2026-01-05T08:09:10.123Z"
    assert (EN.time(instant), ZH.time(instant)) == ("5 Jan 2026, 08:09:10", "2026年1月5日 08:09:10")
    assert EN.exact(instant) == ZH.exact(instant) == "08:09:10.123"
    assert (EN.date("2026-01-05"), ZH.date("2026-01-05")) == ("5 Jan 2026", "2026年1月5日")
    assert (EN.moment(0), EN.moment(1_767_600_000 * 10**9)) == ("–", "5 Jan 2026, 08:00:00")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr,zh;q=0.3,en;q=0.2", "zh"),
        ("ZH-hant", "zh"),
        ("zh;q=0", "en"),
        ("de, *;q=0.5", "en"),
        ("zh;q=nonsense, en;q=0.1", "en"),
        (";;;,,,zh zh", "en"),
    ],
)
def test_language_is_what_the_browser_would_rather_have(accepted: str, language: str) -> None:
    assert preferred(accepted) == language
