"""The runs of a report: a card for each, and tables that say all that the plots do.

A card has the few figures that people look for and every sentence without which they would
mislead: whether the store holds what clients were told, which side was the bottleneck, what was
refused, and what the disk did meanwhile.
"""

from collections.abc import Sequence
from typing import Final

from bench.reports.figures import duration, moment, number
from bench.reports.machines import commit_of, machine_table, merged
from bench.reports.measures import MEASURES, refused
from bench.reports.plots import colour, nines
from bench.reports.sheet import Card, Note, Table, Tone
from bench.reports.sources import Run, labels
from bench.runs.result import Checked, Fdatasync, Open, Result, Spread, Store

_SWUNG: Final = 2.0
"""How many times as slow one half of a run finds the disk before the reader is warned."""
_CARD: Final = frozenset(
    {
        "rate",
        "latency p50",
        "latency p99",
        "latency p99.9",
        "CPU server",
        "CPU clients",
        "memory",
    }
)
"""Measures that a card has; the table has them all."""
_ROWS_MAX: Final = 600
"""Of a table by time; of more points every second, third … is shown."""


def cards(runs: Sequence[Run]) -> list[Card]:
    """Return a card for each run."""
    named = zip(runs, labels(runs), strict=True)
    return [_card(run, label, place) for place, (run, label) in enumerate(named)]


def _card(run: Run, label: str, place: int) -> Card:
    result = run.result
    figures = {
        f"{each.name}, {each.unit}": number(value)
        for each in MEASURES
        if each.name in _CARD and (value := each.of(result)) is not None
    }
    return Card(
        title=label,
        about=f"{loop_of(result)}; {moment(result.began_at)}, {commit_of(result.machine)}; "
        f"{run.name}",
        colour=colour(place),
        figures=figures,
        notes=notes(result),
    )


def loop_of(result: Result) -> str:
    """Return a run's loop in words."""
    loop = result.loop
    over = f" over {loop.connections} connections" if loop.connections else ""
    batches = f", batches of {loop.batch}" if loop.batch > 1 else ""
    if isinstance(loop, Open):
        return f"open loop at {number(loop.rate)} a second{over}{batches}"
    depth = f", {loop.depth} deep" if loop.depth > 1 else ""
    return f"closed loop, {loop.in_flight:,} in flight{over}{depth}{batches}"


def notes(result: Result) -> list[Note]:
    """Return what a run's figures must not be read without."""
    found = [_books(result.checked)]
    found += [Note(each, "bad") for each in result.checked.violations]
    side = result.bottleneck.side
    bound = "nothing held it back" if side == "rate" else f"bottleneck: {side}"
    tone: Tone = "warn" if side in {"clients", "unknown"} else "plain"
    found.append(Note(f"{bound}: {result.bottleneck.why}", tone))
    codes = refused(result)
    if codes:
        everything = sum(result.together.outcomes.values())
        share = sum(codes.values()) / everything
        said = ", ".join(f"{code} {many:,}" for code, many in codes.items())
        what = f"{share:.1%} of {everything:,} operations were not carried out: {said}"
        found.append(Note(what, "warn" if share > 0.01 else "plain"))
    if result.unexplained:
        what = f"{result.unexplained:,} refusals did not say when to come again"
        found.append(Note(what, "warn"))
    found += _loop(result)
    found += _disk(result.fdatasync)
    if result.store.kind != "fresh":
        found.append(Note(f"store: {_store(result.store)}"))
    if result.machine.commit and result.machine.commit.endswith("+"):
        found.append(Note("the working tree had changes that no commit holds", "warn"))
    return found


def _books(checked: Checked) -> Note:
    if checked.missing_minor or checked.untold_minor:
        what = (
            f"the store does not hold what clients were told: {checked.missing_minor:,} minor "
            f"units are missing, of {checked.untold_minor:,} nobody was told"
        )
        return Note(what, "bad")
    unknown = f"; the outcome of {checked.unknown_minor:,} minor units was said to be unknown"
    held = f"{checked.accounts:,} ledger accounts hold what clients were told"
    held += unknown if checked.unknown_minor else ""
    if not checked.ok or checked.verify_ok is False:
        return Note(f"{held}, and yet something is amiss with the store", "bad")
    if checked.verify_ok is None:
        return Note(f"{held}; the store was not verified", "warn")
    return Note(f"{held}, and the store verifies", "good")


def _loop(result: Result) -> list[Note]:
    loop = result.loop
    if not isinstance(loop, Open):
        what = (
            "closed loop: whoever waits asks for nothing, so latencies are those at this rate only"
        )
        return [Note(what)]
    found = [Note(f"latencies count from when an operation should have begun: {_late(loop)}")]
    if loop.intended and result.together.done < 0.95 * loop.intended:
        what = f"{result.together.done:,} of {loop.intended:,} operations that arrived were done"
        found.append(Note(f"the rate was not kept up: {what}", "warn"))
    if loop.capacity:
        what = f"{number(loop.capacity)} a second was what a closed loop did just before"
        found.append(Note(what))
    return found


def _late(loop: Open) -> str:
    return (
        f"they were sent up to {number(loop.late_ms_max)} ms late "
        f"(p99 {number(loop.late_ms_p99)} ms)"
    )


def _disk(syncs: Fdatasync) -> list[Note]:
    medians = [each.p50_ms for _, each in _spreads(syncs)]
    if min(medians) and max(medians) / min(medians) > _SWUNG:
        said = ", ".join(f"{when} {number(each.p50_ms)} ms" for when, each in _spreads(syncs))
        return [Note(f"the disk was not the same all the time: raw fdatasync p50 {said}", "warn")]
    return []


def _spreads(syncs: Fdatasync) -> list[tuple[str, Spread]]:
    found = [("before", syncs.before), ("during", syncs.during), ("after", syncs.after)]
    return [(when, each) for when, each in found if each is not None]


def _store(store: Store) -> str:
    dropped = ", dropped from the page cache" if store.dropped else ""
    return (
        f"{store.kind}, {store.accounts:,} accounts, {store.merchants:,} merchants, "
        f"{store.shards} shard{'' if store.shards == 1 else 's'}, "
        f"{store.postings:,} postings in it before{dropped}"
    )


def tables(runs: Sequence[Run]) -> list[Table]:
    """Return the tables of runs."""
    names = labels(runs)
    results = dict(zip(names, (run.result for run in runs), strict=True))
    return [
        _figures(results),
        _operations(results),
        *_outcomes(results),
        _syncs(results),
        _checks(results),
        _settings(results),
        machine_table({name: result.machine for name, result in results.items()}),
        _percentiles(dict(zip(names, runs, strict=True))),
        *(_series(name, result, alone=len(results) == 1) for name, result in results.items()),
    ]


def _figures(results: dict[str, Result]) -> Table:
    rows = [
        [f"{each.name}, {each.unit}", *(number(each.of(result)) for result in results.values())]
        for each in MEASURES
    ]
    return Table("Figures", ["measure", *results], rows)


def _operations(results: dict[str, Result]) -> Table:
    rows = []
    for name, result in results.items():
        operations = {**result.operations, "together": result.together}
        for operation, each in operations.items():
            row = [operation, f"{each.done:,}", number(each.per_second)]
            latency = each.latency
            row += (
                ["–"] * 6
                if latency is None
                else [
                    number(latency.mean_ms),
                    number(latency.p50_ms),
                    number(latency.p90_ms),
                    number(latency.p99_ms),
                    number(latency.p999_ms),
                    number(latency.max_ms),
                ]
            )
            rows.append(row if len(results) == 1 else [name, *row])
    columns = ["operation", "done", "a second", "mean ms", "p50", "p90", "p99", "p99.9", "max"]
    if len(results) == 1:
        return Table("Operations", columns, rows)
    return Table("Operations", ["run", *columns], rows, text_columns=2)


def _outcomes(results: dict[str, Result]) -> list[Table]:
    codes = {code for result in results.values() for code in result.together.outcomes}
    if codes <= {"DONE"}:
        return []
    rows = [
        [code, *(f"{result.together.outcomes.get(code, 0):,}" for result in results.values())]
        for code in sorted(codes, key=lambda code: (code != "DONE", code))
    ]
    return [Table("Outcomes", ["outcome", *results], rows)]


def _syncs(results: dict[str, Result]) -> Table:
    rows = [
        [
            when if len(results) == 1 else f"{name}: {when}",
            f"{each.count:,}",
            number(each.p50_ms),
            number(each.p99_ms),
            number(each.max_ms),
        ]
        for name, result in results.items()
        for when, each in _spreads(result.fdatasync)
    ]
    columns = ["when", "times", "p50 ms", "p99", "max"]
    return Table("Raw fdatasync of 8 KiB on the store's disk", columns, rows)


def _checks(results: dict[str, Result]) -> Table:
    verdicts = {True: "ok", False: "FAILED", None: "left out"}
    rows = [
        ["verify", *(verdicts[each.checked.verify_ok] for each in results.values())],
        ["accounts held against it", *(f"{each.checked.accounts:,}" for each in results.values())],
        ["missing, minor units", *(f"{each.checked.missing_minor:,}" for each in results.values())],
        ["untold, minor units", *(f"{each.checked.untold_minor:,}" for each in results.values())],
        ["unknown, minor units", *(f"{each.checked.unknown_minor:,}" for each in results.values())],
        ["signatures verified", *(f"{each.checked.signatures:,}" for each in results.values())],
    ]
    return Table("What clients were told, against the store", ["", *results], rows)


def terms(result: Result) -> dict[str, str]:
    """Return what a run was asked to do, by name, in words."""
    given = {f"--{name.replace('_', '-')}": _said(each) for name, each in result.settings.items()}
    for name in ("--workload", "--target", "--seed"):
        given.pop(name, None)
    return {
        "workload": result.workload,
        "target": result.target,
        "loop": loop_of(result),
        "store": _store(result.store),
        "order numbers": result.order_numbers,
        "seed": str(result.seed),
        "measured": f"{duration(result.seconds)} after {duration(result.warm_up_s)} of warm-up",
        **given,
    }


def _said(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _settings(results: dict[str, Result]) -> Table:
    each = {name: terms(result) for name, result in results.items()}
    names: dict[str, None] = {}
    for one in each.values():
        names.update(dict.fromkeys(one))
    rows = [[name, *(one.get(name, "–") for one in each.values())] for name in names]
    began = ["began", *(moment(result.began_at) for result in results.values())]
    return merged(Table("Settings", ["", *each], [*rows, began], text_columns=1 + len(each)))


def _percentiles(runs: dict[str, Run]) -> Table:
    counts = [
        0 if run.result.together.latency is None else run.result.together.latency.count
        for run in runs.values()
    ]
    places = [place for n, place in enumerate(nines(max(counts))) if n % 5 == 0]
    shares = [100 - 100 / place for place in places]
    found = [
        {} if histogram is None else histogram.get_percentile_to_value_dict(shares)
        for histogram in (run.histograms.get("together") for run in runs.values())
    ]
    rows = [
        [
            f"{share:.6g} %",
            *(
                number(each[share] / 1e6 if place <= count and share in each else None)
                for each, count in zip(found, counts, strict=True)
            ),
        ]
        for place, share in zip(places, shares, strict=True)
    ]
    return Table("Latency by percentile, ms", ["or less", *runs], rows, long=True)


def _series(name: str, result: Result, *, alone: bool) -> Table:
    points = result.series.points
    step = -(-len(points) // _ROWS_MAX) or 1
    every = f", one interval of {step}" if step > 1 else ""
    rows = [
        [
            number(point.at_s),
            number(point.done / result.series.every_s),
            number(point.refused / result.series.every_s),
            *map(
                number,
                (
                    point.p50_ms,
                    point.p99_ms,
                    point.max_ms,
                    point.batch,
                    point.commit_ms_p50,
                    point.commit_ms_p99,
                    point.fdatasync_ms,
                    point.cpu_server,
                    point.cpu_clients,
                    point.anonymous_mib,
                ),
            ),
        ]
        for point in points[::step]
    ]
    columns = [
        "until s",
        "done/s",
        "refused/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "batch",
        "commit p50 ms",
        "commit p99 ms",
        "fdatasync ms",
        "server cores",
        "client cores",
        "memory MiB",
    ]
    return Table(
        f"Over time{every}" if alone else f"Over time{every}: {name}", columns, rows, long=True
    )
