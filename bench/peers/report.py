"""The report of a comparison: rows as JSON, or a table for people, with what they rest on."""

from collections.abc import Mapping, Sequence
from statistics import median

import msgspec
from msgspec import Struct

from bench.peers.plan import Target
from bench.statistics import paired


class Row(Struct, frozen=True, rename={"passed": "pass"}):
    """One measure.

    Attributes:
        measure: what is measured, and against what.
        ours, peer: medians of all rounds, payments a second.
        ratio, ci95: ours to the peer's by pair, and its 95 % interval (`bench.statistics`).
        target, aim: at least, and meant to be; None where there is none.
        passed: whether the ratio is the target's at least; None where there is none.
        fdatasync_ms: raw, beside each pair.
        pairs: payments a second of both sides, in order.
    """

    measure: str
    ours: float
    peer: float
    ratio: float
    ci95: tuple[float, float]
    target: float | None
    passed: bool | None
    aim: float | None
    fdatasync_ms: list[float]
    pairs: list[tuple[float, float]]


def row(
    measure: str,
    ours: Sequence[float],
    peer: Sequence[float],
    fdatasync_ms: Sequence[float],
    target: Target | None,
) -> Row:
    """Return the row of two sides that were measured in pairs."""
    found = paired(ours, peer)
    return Row(
        measure=measure,
        ours=round(median(ours), 1),
        peer=round(median(peer), 1),
        ratio=round(found.ratio, 3),
        ci95=(round(found.low, 3), round(found.high, 3)),
        target=target.at_least if target else None,
        passed=found.ratio >= target.at_least if target else None,
        aim=target.aim if target else None,
        fdatasync_ms=[round(each, 3) for each in fdatasync_ms],
        pairs=[(round(a, 1), round(b, 1)) for a, b in zip(ours, peer, strict=True)],
    )


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as one JSON array."""
    return msgspec.json.encode(rows).decode() + "\n"


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows for people: payments a second, ratios by pair with their interval."""
    width = max((len(each.measure) for each in rows), default=0)
    lines = [
        f"{'payments a second':<{width}}  {'ours':>8}  {'peer':>8}  {'ratio':>6}  "
        f"{'95 % interval':<15}  {'at least':>8}  {'aim':>4}       fdatasync ms"
    ]
    for each in rows:
        low, high = each.ci95
        interval = f"{low:.2f} to {high:.2f}"
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
