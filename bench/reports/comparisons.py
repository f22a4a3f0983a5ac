"""A comparison's part of a report: its rows against their targets, and what they rest on.

Rows with a target come first, as one plot and one table; the others are there to be seen. What was
left out, measured again or measured beside others at work is said before any figure.
"""

from collections.abc import Sequence

from bench.peers.result import Comparison, Round, Row
from bench.reports.bars import bars
from bench.reports.figures import duration, interval, moment, number, times
from bench.reports.machines import machine_line
from bench.reports.sheet import Note, Part, Table


def comparison_part(comparison: Comparison) -> Part:
    """Return a comparison's part of a sheet."""
    aimed = [row for row in comparison.rows if row.target is not None]
    others = [row for row in comparison.rows if row.target is None]
    shown = [("Against targets", aimed), ("Beside them, without a target", others)]
    peer = comparison.peer
    return Part(
        title=f"Piaohao beside {peer}",
        about=(
            f"{moment(comparison.begun)}, {duration(comparison.seconds)}; "
            f"{machine_line(comparison.machine)}"
        ),
        notes=_notes(comparison),
        bars=[bars(title, rows) for title, rows in shown if rows],
        tables=[
            *(_rows(f"Figures: {title.lower()}", rows) for title, rows in shown if rows),
            Table(
                f"Settings of {peer}",
                ["setting", "value"],
                [[name, value] for name, value in sorted(comparison.peer_settings.items())],
                text_columns=2,
                long=True,
            ),
            _rounds(comparison.rounds),
        ],
    )


def _notes(comparison: Comparison) -> list[Note]:
    rows = comparison.rows
    targets = [row.passed for row in rows if row.passed is not None]
    missed = [row for row in rows if row.passed is False]
    notes = [
        Note(f"{row.measure}: {times(row.ratio)}, at least {times(row.target)} was asked", "bad")
        for row in missed
    ]
    if targets and not missed:
        notes.append(Note(f"all of the {len(targets)} targets measured here are met", "good"))
    unclear = [
        row
        for row in rows
        if row.passed and row.target is not None and row.ci95[1] is not None
        if row.ci95[0] < row.target
    ]
    notes += [
        Note(f"{row.measure}: the interval begins below the target, so it is met just so", "warn")
        for row in unclear
    ]
    if comparison.unfinished:
        notes.append(Note("the run was broken off: rows may be missing, others unchecked", "warn"))
    if comparison.disturbed:
        what = f"others disturbed {comparison.disturbed} of the rounds that count"
        notes.append(Note(f"{what}: they took more than a tenth of the machine", "warn"))
    if comparison.repeated:
        notes.append(Note(f"{comparison.repeated} disturbed rounds were measured again"))
    syncs = comparison.fdatasync
    notes.append(
        Note(
            f"raw fdatasync of 8 KiB between the rounds: p50 {number(syncs.p50_ms)} ms, "
            f"p99 {number(syncs.p99_ms)} ms, at most {number(syncs.max_ms)} ms"
        )
    )
    return [*notes, *map(Note, comparison.left_out), *map(Note, comparison.notes)]


def _rows(title: str, rows: Sequence[Row]) -> Table:
    verdicts = {True: "ok", False: "MISSED", None: "–"}
    profiled = any(row.profile for row in rows)
    return Table(
        title,
        [
            "measure",
            "ours",
            "peer or bound",
            "unit",
            "ratio",
            "95 % interval",
            "at least",
            "aim",
            "met",
            "pairs",
            "disturbed",
            *(["profile"] if profiled else []),
        ],
        [
            [
                row.measure,
                number(row.ours),
                number(row.peer),
                row.unit,
                times(row.ratio),
                interval(*row.ci95),
                times(row.target),
                times(row.aim),
                verdicts[row.passed],
                str(len(row.pairs)),
                str(row.disturbed),
                *([row.profile or "–"] if profiled else []),
            ]
            for row in rows
        ],
    )


def _rounds(rounds: Sequence[Round]) -> Table:
    return Table(
        f"All {len(rounds)} rounds",
        ["group", "side", "pair", "value", "unit", "seconds", "others' share", "counts"],
        [
            [
                each.group,
                each.side,
                f"{each.pair + 1}" + (f", attempt {each.attempt + 1}" if each.attempt else ""),
                number(each.value),
                each.unit,
                number(each.seconds),
                f"{each.during.others:.1%}",
                ("yes" if each.kept else "no") + (", disturbed" if each.disturbed else ""),
            ]
            for each in rounds
        ],
        text_columns=2,
        long=True,
    )
