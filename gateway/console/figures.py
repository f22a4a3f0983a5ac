"""Figures: amounts, numbers, durations and times as the reader of a page writes them.

Amounts are minor units of an ISO 4217 currency; how many of its decimals there are is a table here,
after the standard's list one: what Unicode's data (and so Babel) has is how prices are written,
which is another thing for IQD or RSD. Times are UTC, and say so once on a page.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from babel.dates import format_date, format_datetime
from babel.numbers import get_decimal_symbol, get_group_symbol

from actors.answers import instant
from gateway.console.languages import LOCALES

_DECIMALS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
    **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""Currencies that do not have two decimals → how many they have."""
_STEPS: Final = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))
_KEPT: Final = 4_096
"""Times and dates that are remembered: in a list many are the same, and Babel takes 60 µs each."""


class Figures:
    """How one language writes figures.

    Babel is asked once for the signs of a locale: each figure formatted by it cost the page of a
    busy merchant 6 ms more of the event loop. Both locales group by thousands.

    Args:
        language: one of `gateway.console.languages.LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        self._locale = LOCALES[language]
        self._point = get_decimal_symbol(self._locale)
        self._signs = str.maketrans(
            {",": get_group_symbol(self._locale), ".": self._point, "-": "\N{MINUS SIGN}"}
        )
        self.time = lru_cache(_KEPT)(self._time)
        self.date = lru_cache(_KEPT)(self._date)

    def amount(self, minor: int, currency: str, *, signed: bool = False) -> str:
        """Return an amount with its currency's code: `-1,234.50 USD`.

        Args:
            signed: with a plus sign too.
        """
        decimals = _DECIMALS.get(currency, 2)
        whole, rest = divmod(abs(minor), 10**decimals)
        sign = "-" if minor < 0 else "+" if signed and minor else ""
        text = f"{sign}{whole:,}" + (f".{rest:0{decimals}}" if decimals else "")
        # A real minus sign is as wide as a figure, and no line is broken at it or before the code.
        return f"{text.translate(self._signs)}\N{NO-BREAK SPACE}{currency}"

    def number(self, value: float) -> str:
        """Return a number, with one decimal at most."""
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")
        return text.translate(self._signs)

    def duration(self, ns: float) -> str:
        """Return a duration of so many nanoseconds in three figures or so."""
        for step, unit in _STEPS:
            if ns >= step:
                text = f"{ns / step:,.0f}" if ns >= 100 * step else f"{ns / step:.1f}"
                return f"{text.translate(self._signs)}\N{NO-BREAK SPACE}{unit}"
        return f"{round(ns)}\N{NO-BREAK SPACE}{'ns' if ns else 'ms'}"

    def _time(self, instant: str) -> str:
        """Return a point of time, given as RFC 3339, to the second."""
        text: str = format_datetime(_parsed(instant), "medium", locale=self._locale)
        return text

    def moment(self, ns: int) -> str:
        """Return a point of time, given as nanoseconds since 1970, to the second; a dash for 0."""
        return self.time(instant(ns)) if ns else "–"

    def exact(self, instant: str) -> str:
        """Return the time of day of a point of time, to the millisecond."""
        return _parsed(instant).time().isoformat("milliseconds")

    def _date(self, date: str) -> str:
        """Return a business date, given as ISO 8601; a dash where there is none."""
        if not date:
            return "–"
        text: str = format_date(datetime.fromisoformat(date), "medium", locale=self._locale)
        return text

    def filters(self) -> dict[str, Any]:
        """Return the filters by which templates use all this."""
        names = ("amount", "number", "duration", "time", "moment", "exact", "date")
        return {name: getattr(self, name) for name in names}


def _parsed(instant: str) -> datetime:
    return datetime.fromisoformat(instant).astimezone(UTC)
