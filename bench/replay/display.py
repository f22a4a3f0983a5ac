"""What a replay shows at its end."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.demo_display import codes
from gateway.verification import Report

if TYPE_CHECKING:
    from bench.replay.run import Outcome


def summary(outcome: "Outcome", name: str) -> RenderableType:
    """Return the summary that a replay of the file of that name ends with."""
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("Rows", f"{outcome.rows:,}")
    facts.add_row("Carried out", f"{outcome.ok:,}")
    facts.add_row("Refused", codes(outcome.refused) or "nothing")
    facts.add_row("Malformed", _lines(outcome.malformed) or "nothing")
    finished, report = outcome.finished, outcome.report
    speed = "Everything was there already."
    if finished.rows:
        rate = finished.rows / finished.seconds
        speed = f"{finished.rows:,} rows in {finished.seconds:.1f} s: {rate:,.0f} a second."
    parts: list[RenderableType] = [facts, Text(), _money(report), Text(), Text(speed, "dim")]
    if report.ok:
        proof = (
            f"✓ {report.journal_rows:,} postings verified: every balance is the sum of its own,"
            " every date comes to zero, and the chain over them is unbroken."
        )
        parts += [Text(), Text(proof, "green")]
    else:
        first = f"; the first is {report.violations[0].detail}" if report.violations else ""
        found = f"✗ verify found {len(report.violations):,} violations{first}"
        parts += [Text(), Text(found, "bold red")]
    style = "green" if report.ok else "red"
    title = f"[bold]Replay of {name}"
    return Panel(Group(*parts), title=title, border_style=style, expand=False, padding=(1, 3))


def _lines(malformed: list[tuple[int, str]]) -> str:
    """Return the malformed rows for people: the first few of them."""
    shown = ", ".join(f"line {line} {code}" for line, code in malformed[:5])
    more = len(malformed) - 5
    return f"{shown} and {more:,} more" if more > 0 else shown


def _money(report: Report) -> Table:
    """Return where each currency's money is: accounts and messages come to zero together."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("Minor units")
    for column in ("in accounts, clearing included", "in messages", "all together"):
        table.add_column(column, justify="right")
    for currency, sums in report.sums.items():
        style = "red" if sums.difference else "green"
        difference = Text(f"{sums.difference:,}", style)
        table.add_row(currency, f"{sums.accounts:,}", f"{sums.messages:,}", difference)
    return table
