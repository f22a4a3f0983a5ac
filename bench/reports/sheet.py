"""A sheet: what a report says, before it has a form.

Runs and comparisons become a sheet; a page (`bench.reports.page`) and Markdown
(`bench.reports.markdown`) are two forms of the same sheet, so neither can say what the other does
not know. All texts are plain: whatever form they get, it escapes them.
"""

from typing import Literal

from msgspec import Struct

Tone = Literal["plain", "good", "warn", "bad"]


class Note(Struct, frozen=True):
    """A sentence that a figure must not be read without."""

    text: str
    tone: Tone = "plain"


class Table(Struct, frozen=True):
    """A table; the first column names the rows.

    Attributes:
        text_columns: how many columns, from the left, are no figures.
        long: whether a page folds it away, and Markdown leaves it out.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    text_columns: int = 1
    long: bool = False


class Card(Struct, frozen=True):
    """What is seen of a run at a glance.

    Attributes:
        figures: name → value, the most important first.
    """

    title: str
    about: str
    colour: int
    figures: dict[str, str]
    notes: list[Note]


class Line(Struct, frozen=True):
    """A line of a plot.

    Attributes:
        values: one for each place of the plot's `x`; None where there is none.
        colour, dash: numbers of them; what they look like is the page's style.
    """

    label: str
    values: list[float | None]
    colour: int
    dash: int = 0


class Plot(Struct, frozen=True):
    """A plot.

    Attributes:
        name: of letters and hyphens, its own on the sheet.
        says: what is to be seen on it, in a sentence or two.
        x_kind: `seconds`, or `nines`: 1 / (1 - share), logarithmic.
    """

    name: str
    title: str
    says: str
    x: list[float]
    x_label: str
    x_kind: Literal["seconds", "nines"]
    y_label: str
    y_kind: Literal["linear", "log"]
    lines: list[Line]


class Bar(Struct, frozen=True):
    """A ratio with its interval on a logarithmic axis; places are in per cent of its width.

    Attributes:
        text: the ratio in words, with its interval.
        verdict: how it stands to its target; empty where there is none.
    """

    measure: str
    against: str
    text: str
    interval: str
    sides: str
    verdict: str
    tone: Tone
    dot: float
    low: float
    high: float
    target: float | None
    aim: float | None


class Bars(Struct, frozen=True):
    """Ratios, one below the other.

    Attributes:
        rules: places of the axis's rules, and what stands at each.
        one: place at which both sides are the same.
    """

    title: str
    rows: list[Bar]
    rules: list[tuple[float, str]]
    one: float


class Part(Struct, frozen=True):
    """A part of the sheet with a heading of its own: a comparison."""

    title: str
    about: str
    notes: list[Note]
    bars: list[Bars]
    tables: list[Table]


class Sheet(Struct, frozen=True):
    """A report.

    Attributes:
        about: machine, commit and time, in a line.
    """

    title: str
    about: str
    parts: list[Part]
    cards: list[Card]
    plots: list[Plot]
    tables: list[Table]
