"""A hunt: one seed after the other, until something is found or time is over."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
from msgspec import Struct

from bench.simulator.failure import EXCEPTIONS
from bench.simulator.mutants import Mutant, applied
from bench.simulator.proof import SEEDS_MAX
from bench.simulator.simulation import Result, Settings, shortest, simulate


class Options(Struct, frozen=True):
    """What to hunt for: see `piaohao simulate --help`."""

    seed: int
    steps: int = 300
    shards: int = 0
    minutes: float = 0.0
    mutant: Mutant | None = None
    trace: Path | None = None
    json: bool = False


def run(options: Options) -> int:
    """Hunt and report; returns the exit code, 1 if something was found.

    Raises:
        OSError: the trace cannot be written.
    """
    with applied(options.mutant):
        if options.trace is not None:
            with options.trace.open("w", encoding="utf-8") as lines:
                return _run(options, lines)
        return _run(options, None)


def _run(options: Options, lines: TextIO | None) -> int:
    until = time.monotonic() + options.minutes * 60
    steps = runs = undecided = 0
    for settings in _settings(options):
        result = simulate(settings, None if lines is None else lines.write)
        runs += 1
        undecided += result.undecided
        steps += result.failure.step if result.failure else result.steps
        if options.mutant is not None and result.failure and result.failure.checker in EXCEPTIONS:
            continue  # a bug that trips over itself has not been found by anybody
        _report(options, settings, result)
        if result.failure is not None:
            if options.mutant is not None and not options.json:
                _say(f"{options.mutant.name}: found after {steps:,} steps of {runs} seeds")
            return 1
        if options.mutant is None and time.monotonic() >= until:
            break
    if options.mutant is not None and not options.json:
        _say(f"{options.mutant.name}: not found in {steps:,} steps of {runs} seeds")
    elif options.minutes and not options.json:
        _say(f"{runs} seeds from {options.seed} on, {steps:,} steps: {_held(undecided)}")
    return 0


def _settings(options: Options) -> Iterator[Settings]:
    """Yield what to run, seed by seed; a mutant may need a number of shards to show."""
    shards = options.shards or (options.mutant.shards if options.mutant else 0)
    count = SEEDS_MAX if options.mutant is not None and not options.minutes else sys.maxsize
    for number in range(count):
        yield Settings(options.seed + number, options.steps, shards)


def _report(options: Options, settings: Settings, result: Result) -> None:
    failure = result.failure
    fewest = shortest(settings, failure) if failure is not None else None
    if options.json:
        _say(msgspec.json.encode(as_json(result, fewest)).decode())
        return
    if failure is None:
        if not options.minutes and options.mutant is None:
            _say(
                f"seed {result.seed}: {result.steps} steps, {result.shards} shards, "
                f"{result.boots} boots, {result.commits} commits, "
                f"{sum(result.faults.values())} faults: {_held(result.undecided)}\n"
                f"trace {result.trace_hash}"
            )
        return
    again = f"piaohao simulate --seed {result.seed} --steps {fewest}"
    if settings.shards:
        again += f" --shards {settings.shards}"
    if options.mutant is not None:
        again += f" --mutant {options.mutant.name}"
    _say(
        f"seed {result.seed} failed at step {failure.step}: {failure.checker}\n"
        f"  {failure.detail}\n"
        f"shortest: {fewest} steps; again: {again} --trace trace.txt"
    )


def as_json(result: Result, fewest: int | None) -> dict[str, Any]:
    """Return what `--json` prints of a run.

    Args:
        fewest: steps of the shortest failing prefix, None without a failure.
    """
    failure = result.failure
    return {
        "seed": result.seed,
        "steps": result.steps,
        "shards": result.shards,
        "trace_hash": result.trace_hash,
        "commits": result.commits,
        "boots": result.boots,
        "faults": result.faults,
        "effects": result.effects,
        "undecided": result.undecided,
        "ok": result.ok,
        "failure": failure
        and {
            "step": failure.step,
            "checker": failure.checker,
            "detail": failure.detail,
            "shortest": fewest,
        },
    }


def _held(undecided: int) -> str:
    return f"all held, but {undecided} histories are undecided" if undecided else "all held"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
