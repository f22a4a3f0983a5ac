"""Sources: the files that a report is made of, read and told apart.

A file holds the result of a run or that of a comparison; whatever else it holds is refused in one
line. Histograms are unpacked here, so that a broken one is found before anything is written.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from hdrh.histogram import HdrHistogram
from msgspec import Struct

from bench.peers import result as comparisons
from bench.peers.result import Comparison
from bench.runs.result import Open, Result, ResultError, read
from gateway import exits
from gateway.exits import CommandError


class Run(Struct, frozen=True):
    """A run that was read.

    Attributes:
        name: of its file, without the ending.
        histograms: operation → latencies of it in nanoseconds; `together` for all of them.
    """

    name: str
    result: Result
    histograms: dict[str, HdrHistogram]


class Sources(Struct, frozen=True):
    """What a report is made of, in the order in which it was given."""

    runs: list[Run]
    comparisons: list[Comparison]


class _Head(Struct):
    """What tells a comparison from a run, and one form of it from another."""

    kind: str = ""
    format: int = 0


def sources(paths: Sequence[Path]) -> Sources:
    """Return what is in files.

    Raises:
        CommandError: INPUT; one cannot be read, or is neither.
    """
    found = [_read(path) for path in paths]
    return Sources(
        [each for each in found if isinstance(each, Run)],
        [each for each in found if isinstance(each, Comparison)],
    )


def runs_of(argument: str) -> list[Run]:
    """Return the runs of one side, the oldest first.

    Args:
        argument: a file, a folder of files, or several of them with commas between.

    Raises:
        CommandError: INPUT; there are none, or one of them is no run.
    """
    paths: list[Path] = []
    for name in argument.split(","):
        if not name:
            raise CommandError(exits.INPUT, f"{argument!r}: a name in it is empty")
        path = Path(name)
        paths += sorted(path.glob("*.json")) if path.is_dir() else [path]
    runs = [each for path in paths if isinstance(each := _read(path), Run)]
    if len(runs) < len(paths):
        detail = f"{argument!r} has a comparison in it, and only runs are held against each other"
        raise CommandError(exits.INPUT, detail)
    if not runs:
        raise CommandError(exits.INPUT, f"{argument!r}: there is no result of a run in it")
    return sorted(runs, key=lambda run: run.result.began_at)


def _read(path: Path) -> Run | Comparison:
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=_Head)
        if head.kind == "comparison":
            return _comparison(path, content, head.format)
        result = read(path)
    except OSError as error:
        raise CommandError(exits.INPUT, f"{path}: {error.strerror}") from None
    except ResultError as error:
        raise CommandError(exits.INPUT, str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        detail = f"{path} is no result of a run or of a comparison: {error}"
        raise CommandError(exits.INPUT, detail) from None
    return Run(path.stem, result, _histograms(path, result))


def _comparison(path: Path, content: bytes, version: int) -> Comparison:
    if version != comparisons.FORMAT:
        detail = f"{path} has format {version}; this version reads {comparisons.FORMAT}"
        raise CommandError(exits.INPUT, detail)
    comparison = msgspec.json.decode(content, type=Comparison)
    for row in comparison.rows:
        figures = (*row.ci95, row.target, row.aim)
        if row.ratio <= 0 or any(each is not None and each < 0 for each in figures):
            detail = f"{path}: a ratio in it is not above 0, or a figure about one is below"
            raise CommandError(exits.INPUT, detail)
    return comparison


def _histograms(path: Path, result: Result) -> dict[str, HdrHistogram]:
    operations = {"together": result.together, **result.operations}
    if len(result.operations) == 1:
        # It is the same as all together.
        operations = {"together": result.together}
    packed = {name: each.latency.hdr for name, each in operations.items() if each.latency}
    try:
        return {name: HdrHistogram.decode(each) for name, each in packed.items()}
    except Exception as error:
        # The library has exceptions of its own, zlib's, ctypes' and base64's, without a base.
        raise CommandError(exits.INPUT, f"{path}: a histogram cannot be read: {error}") from None


def labels(runs: Iterable[Run]) -> list[str]:
    """Return names for runs that are shown together: a number, and what they are.

    What all of them share beyond workload and target is left out.
    """
    found = list(runs)
    names: list[list[str]] = [[run.result.workload, run.result.target] for run in found]
    loops = ["open" if isinstance(run.result.loop, Open) else "closed" for run in found]
    commits = [run.result.machine.commit for run in found]
    for told in (loops, commits):
        if len(set(told)) > 1:
            names = [[*name, str(each)] for name, each in zip(names, told, strict=True)]
    if len(found) == 1:
        return [", ".join(names[0])]
    return [f"{number}: {', '.join(name)}" for number, name in enumerate(names, 1)]
