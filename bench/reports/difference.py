"""`piaohao bench diff`: by how much one side's runs differ from another's, measure by measure.

As many runs on each side are pairs, in the order in which they began; otherwise the sides are held
against each other as wholes. Ratios are B to A, with the intervals of `bench.statistics`; one run
a side has none. Runs that were asked to do different things are no measure of a change, so they
are refused unless that is wanted, and then what differs is said first.
"""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from bench.reports.figures import number
from bench.reports.measures import MEASURES, Measure
from bench.reports.runs import notes
from bench.reports.sources import Run, runs_of
from bench.runs.result import Open, Result
from bench.statistics import Quoted, Ratio, geometric_mean, paired, unpaired
from gateway import exits
from gateway.exits import CommandError

_FREE: Final = frozenset({"seed", "out", "json", "data"})
"""Settings in which runs of one kind may differ: chance, and where things lie."""


class Change(Struct, frozen=True):
    """One measure on both sides.

    Attributes:
        a, b: geometric means of the sides' runs.
        change: B to A.
        shown: whether a difference was shown; None where no interval is possible.
        better: whether B is on the better side, where a difference was shown and one is better.
    """

    measure: str
    unit: str
    a: float
    b: float
    change: Quoted
    shown: bool | None
    better: bool | None


class Difference(Struct, frozen=True):
    """What `piaohao bench diff` has found.

    Attributes:
        runs: of each side, by the names of their files.
        paired: whether each run has its partner on the other side.
        interleaved: whether they were made in turn.
        differs: what the runs were asked to do differently: name → of A, of B.
        beside: likewise, what may differ: commit, versions, seeds.
        notes: what the figures must not be read without.
    """

    runs: tuple[list[str], list[str]]
    paired: bool
    interleaved: bool
    differs: dict[str, tuple[str, str]]
    beside: dict[str, tuple[str, str]]
    changes: list[Change]
    notes: list[str]


def run(a: str, b: str, *, anyway: bool, as_json: bool) -> int:
    """Read both sides and print how they differ; returns the exit code.

    Args:
        a, b: as `bench.reports.sources.runs_of` takes them.
        anyway: go on though the runs were asked to do different things.

    Raises:
        CommandError: INPUT; a side cannot be read, or the sides cannot be compared.
    """
    found = difference(runs_of(a), runs_of(b))
    if found.differs and not anyway:
        said = "; ".join(f"{name} {x} and {y}" for name, (x, y) in found.differs.items())
        detail = f"the runs were asked to do different things (--anyway goes on): {said}"
        raise CommandError(exits.INPUT, detail)
    sys.stdout.write(
        msgspec.json.encode(found).decode() + "\n" if as_json else "\n".join(_lines(found)) + "\n"
    )
    return exits.OK


def difference(a: Sequence[Run], b: Sequence[Run]) -> Difference:
    """Return how the runs of B differ from those of A; each side has one at least, in order."""
    pairs = len(a) == len(b)
    sides = [[run.result for run in side] for side in (a, b)]
    changes = [change for each in MEASURES if (change := _change(each, *sides, pairs=pairs))]
    return Difference(
        runs=([run.name for run in a], [run.name for run in b]),
        paired=pairs,
        interleaved=_interleaved(*sides),
        differs=_differing(*([_asked(each) for each in side] for side in sides)),
        beside=_differing(*([_beside(each) for each in side] for side in sides)),
        changes=changes,
        notes=list(_notes(a, b)),
    )


def _change(
    measure: Measure, a: Sequence[Result], b: Sequence[Result], *, pairs: bool
) -> Change | None:
    """Return a measure's change; None where a run on either side has no such figure above 0."""
    found_a, found_b = ([measure.of(each) for each in side] for side in (a, b))
    if not all((*found_a, *found_b)):
        return None
    figures_a, figures_b = ([each or 0.0 for each in side] for side in (found_a, found_b))
    ratio = (paired if pairs else unpaired)(figures_b, figures_a)
    shown = ratio.shown if ratio.bounded else None
    return Change(
        measure.name,
        measure.unit,
        geometric_mean(figures_a),
        geometric_mean(figures_b),
        ratio.quoted(),
        shown,
        _better(measure, ratio) if shown else None,
    )


def _better(measure: Measure, ratio: Ratio) -> bool | None:
    if not measure.better:
        return None
    return (ratio.ratio > 1) == (measure.better == "more")


def _interleaved(a: Sequence[Result], b: Sequence[Result]) -> bool:
    """Return whether runs of both sides came in turn: never two of one side with none of the
    other's between."""
    order = sorted([(each.began_at, 0) for each in a] + [(each.began_at, 1) for each in b])
    sides = [side for _, side in order]
    # A B B A is in turn too: each pair has one of both.
    return all(set(sides[n : n + 2]) == {0, 1} for n in range(0, len(sides) - 1, 2))


def _asked(result: Result) -> dict[str, Any]:
    """Return what a run was asked to do, and on what."""
    loop = result.loop
    asked: dict[str, Any]
    if isinstance(loop, Open):
        asked = {"loop": "open", "connections": loop.connections, "batch": loop.batch}
        if loop.capacity is None:
            asked["rate"] = loop.rate
    else:
        asked = {"loop": "closed", **msgspec.structs.asdict(loop)}
    store, machine = result.store, result.machine
    asked |= {
        "workload": result.workload,
        "target": result.target,
        "order_numbers": result.order_numbers,
        "store": store.kind,
        "store's accounts": store.accounts,
        "store's merchants": store.merchants,
        "store's shards": store.shards,
        "page cache dropped": store.dropped,
        "seconds": result.seconds,
        "CPU": machine.cpu,
        "cores": machine.cores,
        "memory_mib": machine.memory_mib,
    }
    # Settings last: they say by the names of the options what the loop says too.
    return asked | {name: each for name, each in result.settings.items() if name not in _FREE}


def _beside(result: Result) -> dict[str, Any]:
    machine = result.machine
    return {
        "commit": machine.commit,
        "kernel": machine.kernel,
        "Python": machine.python,
        "seed": result.seed,
        **machine.packages,
    }


def _differing(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]
) -> dict[str, tuple[str, str]]:
    """Return what is not the same in all runs, as each side has it."""
    names = dict.fromkeys(name for each in (*a, *b) for name in each)
    return {
        name: (_said(a, name), _said(b, name))
        for name in names
        if len({repr(each.get(name)) for each in (*a, *b)}) > 1
    }


def _said(side: Iterable[dict[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(str(each.get(name)) for each in side))


def _notes(a: Sequence[Run], b: Sequence[Run]) -> Iterable[str]:
    """Return what a reader is warned of, each with the side that it is true of."""
    for side, runs in (("A", a), ("B", b)):
        said: dict[str, list[str]] = {}
        for each in runs:
            for note in notes(each.result):
                if note.tone in {"warn", "bad"}:
                    said.setdefault(note.text, []).append(each.name)
        yield from (f"{side} ({', '.join(names)}): {text}" for text, names in said.items())


def _lines(found: Difference) -> Iterable[str]:
    yield from (f"{name}: {', '.join(runs)}" for name, runs in zip("AB", found.runs, strict=True))
    for name, (x, y) in found.differs.items():
        yield f"differs, though it should not: {name}: A {x}, B {y}"
    for name, (x, y) in found.beside.items():
        yield f"differs: {name}: A {x}, B {y}"
    yield _basis(found)
    yield ""
    width = max((len(f"{each.measure}, {each.unit}") for each in found.changes), default=0)
    yield f"{'':<{width}}  {'A':>10}  {'B':>10}  {'B / A':>7}  95 % interval"
    for each in found.changes:
        yield (
            f"{f'{each.measure}, {each.unit}':<{width}}  {number(each.a):>10}  "
            f"{number(each.b):>10}  {each.change.ratio:>7.3f}  {_interval(each)}"
        )
    yield ""
    if found.changes and found.changes[0].change.ci95:
        yield (
            f"Of {len(found.changes)} measures that did not change, about one in twenty is "
            "outside its interval by chance."
        )
    yield from (f"! {note}" for note in found.notes)


def _basis(found: Difference) -> str:
    a, b = map(len, found.runs)
    if min(a, b) == 1:
        return (
            f"{a} run{'s' * (a > 1)} of A, {b} of B: with one run on a side no interval is "
            "possible, and a ratio shows nothing"
        )
    order = "" if found.interleaved else "; not made in turn, so what slowed the machine shows too"
    if found.paired:
        return f"{a} pairs, by the order in which the runs began; paired t intervals{order}"
    return f"{a} runs of A, {b} of B: not in pairs; Welch's intervals{order}"


def _interval(change: Change) -> str:
    if change.change.ci95 is None:
        return "no interval"
    low, high = change.change.ci95
    verdict = {True: "better", False: "worse", None: "more" if change.change.ratio > 1 else "less"}
    said = verdict[change.better] if change.shown else "no difference shown"
    return f"{low:.3f} to {high:.3f}  {said}"
