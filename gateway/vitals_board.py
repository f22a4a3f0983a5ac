"""The board of `piaohao top`: a node's vital signs for a terminal, however narrow.

Each fact has a line that says what it is and wraps where it has to; where a node has several shards
a table compares them, with the columns that fit.
"""

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.ops.vitals import NodeVitals, ShardVitals

_BARS: Final = "▁▂▃▄▅▆▇█"
_BARS_MAX: Final = 30
_WIDE: Final = 76
"""Columns from which on the table of shards has all of its own."""
_MIB: Final = 1 << 20

Column = tuple[str, Callable[[ShardVitals], str]]

_FEW: Final[tuple[Column, ...]] = (
    ("shard", lambda each: str(each.shard)),
    ("pays/s", lambda each: f"{each.payments_per_s:,.0f}"),
    ("p99", lambda each: _ms(each.commit_ns_p99)),
    ("wait", lambda each: f"{each.waiting:,}"),
    ("flight", lambda each: f"{each.unconfirmed:,}"),
)
_ALL: Final[tuple[Column, ...]] = (
    _FEW[0],
    _FEW[1],
    ("commits/s", lambda each: f"{each.commits_per_s:,.0f}"),
    ("turns", lambda each: f"{each.batch_turns:,.0f}"),
    ("p50", lambda each: _ms(each.commit_ns_p50)),
    *_FEW[2:],
    ("actors", lambda each: f"{each.actors_live:,}"),
    ("stuck", lambda each: f"{each.actors_quarantined:,}"),
)


def board(vitals: NodeVitals, name: str, rates: Sequence[float], width: int) -> RenderableType:
    """Return the board.

    Args:
        vitals: as they are now.
        name: of the node.
        rates: payments a second until now, the newest last.
        width: of the terminal, in columns.
    """
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for label, fact in _facts(vitals, rates, width):
        facts.add_row(label, fact)
    parts: list[RenderableType] = [Text(f"{name}  {vitals.at}", "bold"), facts]
    if len(vitals.shards) > 1:
        parts += [Text(), _shards(vitals.shards, _ALL if width >= _WIDE else _FEW)]
    return Group(*parts)


def _facts(vitals: NodeVitals, rates: Sequence[float], width: int) -> list[tuple[str, Text]]:
    payments = Text(f"{vitals.payments_per_s:,.0f}/s", "bold")
    bars = min(_BARS_MAX, width - 30)
    if bars > 0:
        payments.append(f"  {_bars(rates[-bars:])}", "cyan")
    stuck = Text(f"{vitals.actors_live:,} in memory")
    if vitals.actors_quarantined:
        stuck.append(
            f", {vitals.actors_quarantined:,} quarantined with {vitals.parked:,} messages",
            "bold red",
        )
    commit = Text(f"p50 {_ms(vitals.commit_ns_p50)}, p99 {_ms(vitals.commit_ns_p99)} ms")
    if vitals.committing_s >= 1:
        commit.append(f", one runs for {vitals.committing_s:.0f} s", "bold red")
    return [
        ("payments", payments),
        (
            "commits",
            Text(f"{vitals.commits_per_s:,.0f}/s of {vitals.batch_turns:,.0f} turns"),
        ),
        ("a commit", commit),
        ("a turn", Text(f"p50 {_us(vitals.turn_ns_p50)}, p99 {_us(vitals.turn_ns_p99)} µs")),
        ("an answer", Text(f"p50 {_ms(vitals.answer_ns_p50)}, p99 {_ms(vitals.answer_ns_p99)} ms")),
        ("waiting", Text(f"{vitals.waiting:,} commands, {vitals.messages:,} messages")),
        (
            "in flight",
            Text(
                f"{vitals.unconfirmed:,} of {vitals.unconfirmed_max:,},"
                f" the oldest for {vitals.oldest_command_s:.1f} s"
            ),
        ),
        ("actors", stuck),
        ("memory", Text(f"{vitals.memory_bytes / _MIB:,.0f} MiB")),
        ("money", _money(vitals)),
    ]


def _money(vitals: NodeVitals) -> Text:
    if vitals.balanced:
        return Text("balanced", "green")
    off = (each for each in vitals.currencies if each.difference_minor)
    return Text(
        ", ".join(f"{each.currency} off by {each.difference_minor:,}" for each in off), "bold red"
    )


def _shards(shards: Sequence[ShardVitals], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    for each in shards:
        style = "red" if each.actors_quarantined else ""
        table.add_row(*(figure(each) for _, figure in columns), style=style)
    return table


def _bars(rates: Sequence[float]) -> str:
    """Return one bar a rate, the highest of them a full one."""
    highest = max(rates, default=0.0)
    if not highest:
        return ""
    return "".join(_BARS[round(rate / highest * (len(_BARS) - 1))] for rate in rates)


def _ms(figure_ns: int | None) -> str:
    return "–" if figure_ns is None else f"{figure_ns / 1e6:,.1f}"


def _us(figure_ns: int | None) -> str:
    return "–" if figure_ns is None else f"{figure_ns / 1e3:,.0f}"
