"""The plots of a report: one run with all that it has, or several over each other.

Of one run each line has a colour of its own. Of several a colour is a run, and a second line of it
is dashed. What no run has measured has no plot. Times are seconds from the begin of each run's
window, so runs that began at different moments lie over each other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.reports.sheet import Line, Plot
from bench.reports.sources import Run, labels
from bench.runs.result import Open, Point

COLOURS: Final = 6
"""How many runs have a colour of their own before a colour comes round with other dashes; one
more is left for what is no run's."""
_GREY: Final = 6
_STEPS: Final = 20
"""Places on the axis of nines for each nine."""

Take = Callable[[Point], float | None]
Values = dict[float, float | None]


def colour(number: int) -> int:
    """Return the colour of a run by its number, from 0."""
    return number % COLOURS


def plots(runs: Sequence[Run]) -> list[Plot]:
    """Return all plots that there is something to see on."""
    made = [
        _throughput(runs),
        _percentiles(runs),
        _latencies(runs),
        _commits(runs),
        _batches(runs),
        _cpu(runs),
        _memory(runs),
    ]
    return [plot for plot in made if plot.lines]


class _Lines:
    """Lines over time of runs that do not have the same places on it."""

    def __init__(self) -> None:
        self._lines: list[tuple[str, Values, int, int]] = []

    def add(self, label: str, values: Values, colour: int, dash: int = 0) -> None:
        """Add a line, if there is anything on it."""
        if any(each is not None for each in values.values()):
            self._lines.append((label, values, colour, dash))

    def take(
        self,
        runs: Sequence[Run],
        takes: Sequence[tuple[str, Take]],
        *,
        most: int,
        each_second: bool = False,
    ) -> None:
        """Add what is taken of each point.

        Args:
            takes: of one run all are added, of several the first `most`.
            each_second: whether counts of an interval become counts of a second.
        """
        if len(runs) == 1:
            for number, (name, take) in enumerate(takes):
                self.add(name, _values(runs[0], take, each_second), number)
            return
        for number, (run, label) in enumerate(zip(runs, labels(runs), strict=True)):
            for dash, (name, take) in enumerate(takes[:most]):
                line = label if most == 1 else f"{label}, {name}"
                values = _values(run, take, each_second)
                self.add(line, values, colour(number), dash + number // COLOURS * 2)

    def plot(self, name: str, title: str, says: str, unit: str, *, log: bool = False) -> Plot:
        """Return the plot."""
        places = sorted({place for _, values, _, _ in self._lines for place in values})
        lines = [
            Line(label, [values.get(place) for place in places], colour, dash)
            for label, values, colour, dash in self._lines
        ]
        return Plot(
            name, title, says, places, "seconds", "seconds", unit, "log" if log else "linear", lines
        )


def _values(run: Run, take: Take, each_second: bool) -> Values:
    series = run.result.series
    share = series.every_s if each_second else 1.0
    taken = ((round(point.at_s, 3), take(point)) for point in series.points)
    return {place: None if figure is None else figure / share for place, figure in taken}


def _throughput(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    takes: list[tuple[str, Take]] = [("carried out", lambda point: point.done)]
    if any(point.refused for run in runs for point in _points(run)):
        takes.append(("refused", lambda point: point.refused))
    lines.take(runs, takes, most=1, each_second=True)
    if len(runs) == 1 and isinstance(loop := runs[0].result.loop, Open):
        lines.add("asked for", _asked(runs[0], loop), _GREY, 1)
    says = "Operations answered, in each interval."
    return lines.plot("throughput", "Throughput over time", says, "operations/s")


def _points(run: Run) -> Sequence[Point]:
    return run.result.series.points


def _asked(run: Run, loop: Open) -> Values:
    """Return the rate at which operations were to arrive, at each point of the series."""
    ends: list[tuple[float, float]] = []
    end = -run.result.warm_up_s
    for phase in loop.phases:
        end += phase.seconds
        ends.append((end, phase.rate))
    half = run.result.series.every_s / 2
    return {
        round(point.at_s, 3): next((rate for end, rate in ends if point.at_s - half < end), None)
        for point in _points(run)
    }


def _percentiles(runs: Sequence[Run]) -> Plot:
    every = [
        (number, name, histogram)
        for number, run in enumerate(runs)
        for name, histogram in run.histograms.items()
        if len(runs) == 1 or name == "together"
    ]
    counts = [histogram.get_total_count() for _, _, histogram in every]
    places = list(nines(max(counts, default=0)))
    names = labels(runs)
    lines: list[Line] = []
    for (number, name, histogram), count in zip(every, counts, strict=True):
        found = histogram.get_percentile_to_value_dict([100 - 100 / place for place in places])
        values = [
            found.get(100 - 100 / place, 0) / 1e6 or None if place <= count else None
            for place in places
        ]
        one = len(runs) == 1
        paint, dash = (len(lines), 0) if one else (colour(number), number // COLOURS * 2)
        label = name if one else names[number]
        lines.append(Line(label, values, paint % (_GREY + 1), dash))
    return Plot(
        "percentiles",
        "Latency by percentile",
        "How long the slowest of a hundred, a thousand … waited; each nine has as much room.",
        places,
        "percentile",
        "nines",
        "ms",
        "log",
        [line for line in lines if any(line.values)],
    )


def nines(count: int) -> Iterator[float]:
    """Return the places on the axis of nines (1 / (1 - share)) that so many latencies reach."""
    step = 0
    while (place := 10 ** (step / _STEPS)) <= count:
        yield place
        step += 1


def _latencies(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    takes: list[tuple[str, Take]] = [
        ("p99", lambda point: point.p99_ms or None),
        ("p50", lambda point: point.p50_ms or None),
        ("max", lambda point: point.max_ms or None),
    ]
    lines.take(runs, takes, most=2)
    says = "Of the operations that belong to each interval."
    return lines.plot("latency", "Latency over time", says, "ms", log=True)


def _commits(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    takes: list[tuple[str, Take]] = [
        ("commit p50", lambda point: point.commit_ms_p50 or None),
        ("raw fdatasync", lambda point: point.fdatasync_ms or None),
        ("commit p99", lambda point: point.commit_ms_p99 or None),
    ]
    lines.take(runs, takes, most=2)
    says = "Raw fdatasync of 8 KiB on the same disk in the same interval: what the disk gave."
    return lines.plot("commit", "Commit beside raw fdatasync", says, "ms", log=True)


def _batches(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    lines.take(runs, [("commands a commit", lambda point: point.batch)], most=1)
    says = "Commands answered by one commit, on average: all of them share its sync."
    return lines.plot("batch", "Batch size", says, "commands/commit")


def _cpu(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    takes: list[tuple[str, Take]] = [
        ("server", lambda point: point.cpu_server),
        ("clients", lambda point: point.cpu_clients),
    ]
    lines.take(runs, takes, most=2)
    cores = {run.result.machine.cores for run in runs}
    says = f"Cores taken, of {' or '.join(map(str, sorted(cores)))} that there are."
    return lines.plot("cpu", "CPU by side", says, "cores")


def _memory(runs: Sequence[Run]) -> Plot:
    lines = _Lines()
    lines.take(runs, [("server", lambda point: point.anonymous_mib)], most=1)
    says = "Anonymous resident memory of the server; the store's pages are not in it."
    return lines.plot("memory", "Memory", says, "MiB")
