"""The report of a comparison: rows as JSON, or a table for people, with what they rest on."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from bench.peers.result import Comparison, Row


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as one JSON array."""
    return msgspec.json.encode(rows).decode() + "\n"


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows for people: payments a second, ratios by pair with their interval."""
    width = max((len(each.measure) for each in rows), default=0)
    lines = [
        f"{'payments a second, but for bounds':<{width}}  {'ours':>8}  {'peer':>8}  {'ratio':>6}  "
        f"{'95 % interval':<15}  {'at least':>8}  {'aim':>4}       fdatasync ms"
    ]
    for each in rows:
        low, high = each.ci95
        interval = f"{low:.2f} to {'inf' if high is None else format(high, '.2f')}"
        verdict = {True: "ok", False: "MISSED", None: ""}[each.passed]
        target = "" if each.target is None else f"{each.target:g}x"
        aim = "" if each.aim is None else f"{each.aim:g}x"
        lines.append(
            f"{each.measure:<{width}}  {each.ours:>8,.0f}  {each.peer:>8,.0f}  "
            f"{each.ratio:>6.2f}  {interval:<15}  {target:>8}  {aim:>4}  {verdict:<6}  "
            f"{median(each.fdatasync_ms):.2f}"
        )
    return "\n".join(lines) + "\n"


def settings_lines(title: str, shown: Mapping[str, str]) -> list[str]:
    """Return a server's settings, a few on a line."""
    pairs = [f"{name} = {value}" for name, value in shown.items()]
    return [title, *(f"  {', '.join(pairs[n : n + 4])}" for n in range(0, len(pairs), 4))]


def disturbance_lines(result: Comparison) -> list[str]:
    """Say how quiet the machine was; nothing where nobody disturbed anything."""
    lines = []
    if result.repeated:
        lines.append(f"others disturbed {result.repeated} rounds, which were measured again")
    if result.disturbed:
        lines.append(
            f"others took more than a tenth of the machine in {result.disturbed} of the "
            f"{sum(each.kept for each in result.rounds)} rounds that count"
        )
    return lines
