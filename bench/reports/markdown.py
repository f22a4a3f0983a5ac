"""Markdown: a sheet in a form that a commit, an issue or a mail can carry.

The tables are the page's own, without what that one folds away; plots are left out. Texts come
from files that somebody else may have written, so what Markdown or HTML would take for markup is
escaped.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from bench.reports.sheet import Card, Note, Sheet, Table

_SIGNS: Final = {"plain": "", "good": "✓ ", "warn": "! ", "bad": "✗ "}
_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", "|": "\\|", "[": "\\[", "`": "\\`", "\n": " ", "\r": " "}
)


def markdown(sheet: Sheet) -> str:
    """Return a sheet as Markdown (GitHub's, for its tables)."""
    return "\n".join(_lines(sheet))


def _lines(sheet: Sheet) -> Iterator[str]:
    yield from (f"# {_plain(sheet.title)}", "", _plain(sheet.about), "")
    for part in sheet.parts:
        yield from (f"## {_plain(part.title)}", "", _plain(part.about), "")
        yield from _notes(part.notes)
        for each in part.tables:
            yield from _table(each)
    for card in sheet.cards:
        yield from _card(card)
    for each in sheet.tables:
        yield from _table(each)


def _card(card: Card) -> Iterator[str]:
    yield from (f"## {_plain(card.title)}", "", _plain(card.about), "")
    figures = (f"{_plain(name)} **{_plain(value)}**" for name, value in card.figures.items())
    yield from (", ".join(figures), "")
    yield from _notes(card.notes)


def _notes(notes: Sequence[Note]) -> Iterator[str]:
    yield from (f"- {_SIGNS[note.tone]}{_plain(note.text)}" for note in notes)
    if notes:
        yield ""


def _table(table: Table) -> Iterator[str]:
    if table.long:
        return
    rules = [":--" if n < table.text_columns else "--:" for n in range(len(table.columns))]
    yield from (f"### {_plain(table.title)}", "", _row(table.columns), f"| {' | '.join(rules)} |")
    yield from map(_row, table.rows)
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    return text.translate(_ESCAPES)
