"""The simulator: the same seed is the same run, and what it finds can be seen again.

That its checkers see anything at all is shown by mutants, deliberate bugs that each of them finds.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.simulator.faults import KINDS
from bench.simulator.mutants import MUTANTS, Edit, Mutant, StaleMutantError, applied
from bench.simulator.proof import find
from bench.simulator.simulation import Result, Settings, shortest, simulate
from gateway import cli

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FRESH_S = 60 if os.environ.get("CI") else 10
SAMPLE = [
    "acknowledged-before-durable",
    "checksum-skipped",
    "date-closed-early",
    "event-number-skipped",
    "expiry-gives-all-back",
    "hold-reserves-nothing",
    "mark-asked-and-not-noted",
    "mark-stored-late",
    "number-forgotten",
    "reply-before-commit",
    "slot-leak",
    "stale-reads",
    "timers-not-written",
    "told-twice",
]
"""Mutants that show themselves within a few seeds."""


@pytest.mark.first
def test_fresh_seeds_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever fails here goes into seeds.txt, with what it found."""
    first = random.SystemRandom().randrange(10**9)
    until = time.monotonic() + FRESH_S
    seed = first
    while time.monotonic() < until:
        result = simulate(Settings(seed))
        assert result.ok, f"piaohao simulate --seed {seed}: {result.failure}"
        seed += 1
    with capsys.disabled():
        print(f"\nsimulated seeds {first} to {seed - 1}")
    assert seed > first + 3


def test_seeds_that_ever_failed_hold() -> None:
    for line in (HERE / "seeds.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            seed, steps, shards, _ = line.split(maxsplit=3)
            result = simulate(Settings(int(seed), int(steps), int(shards)))
            assert result.ok, f"{line}: {result.failure}"


EFFECTS = {
    "attempts",
    "dates closed",
    "gaps",
    "killed in a commit",
    "killed in recovery",
    "marks forgotten",
    "messages between shards",
    "messages discarded",
    "messages kept",
    "messages left at a cut",
    "messages parked",
    "messages sent again",
    "replays refused",
    "timers due at a start",
    "told ABNORMAL",
    "told ACCOUNT_FROZEN",
    "told ACTOR_BUSY",
    "told ACTOR_QUARANTINED",
    "told AGREEMENT_CANCELLED",
    "told DAILY_LIMIT_EXCEEDED",
    "told DISK_NEARLY_FULL",
    "told HOLD_EXPIRED",
    "told INSUFFICIENT_FUNDS",
    "told INTERNAL",
    "told MESSAGE_DISCARDED",
    "told MERCHANT_SUSPENDED",
    "told METHOD_LIMIT_EXCEEDED",
    "told NODE_BUSY",
    "told NUMBER_USED",
    "told OUTCOME_UNKNOWN",
    "told PENDING_FUNDS",
    "told REVERSAL_WINDOW_PASSED",
    "told TIMEOUT",
}
"""What faults and clients have to bring about within some runs."""


@pytest.mark.first
def test_runs_are_full_of_trouble_and_of_work() -> None:
    """A simulation in which nothing happens would hold too."""
    results: list[Result] = []
    faults: set[str] = set()
    effects: set[str] = set()
    # Seed 48 first: it shows what would take 25 others to show.
    for seed in (48, *range(200)):
        results.append(simulate(Settings(seed, 100)))
        faults |= results[-1].faults.keys()
        effects |= {name for name, times in results[-1].effects.items() if times}
        if len(results) >= 12 and faults == KINDS.keys() and effects >= EFFECTS:
            break
    assert all(result.ok for result in results)
    assert faults == KINDS.keys(), KINDS.keys() - faults
    assert effects >= EFFECTS, EFFECTS - effects
    assert {result.shards for result in results} == {1, 2, 3}
    assert sum(result.boots for result in results) > 4 * len(results)
    assert min(result.commits for result in results) > 60
    assert not sum(result.undecided for result in results)


def test_same_seed_is_the_same_run_in_any_process_and_after_any_other() -> None:
    """Python draws the order of sets of strings anew in each process, and puts objects elsewhere;
    what ran before leaves nothing behind."""
    code = (
        "import sys\n"
        "from bench.simulator.simulation import Settings, simulate\n"
        "for seed in map(int, sys.argv[1:]):\n"
        "    print(seed, simulate(Settings(seed, 60, seed % 3 + 1)).trace_hash)\n"
    )
    seeds = ["11", "12", "13"]
    here = {
        f"{seed} {simulate(Settings(int(seed), 60, int(seed) % 3 + 1)).trace_hash}"
        for seed in reversed(seeds)
    }
    assert len({line.split()[1] for line in here}) == len(seeds)
    for options, hash_seed in ((), "0"), ((), "2718"), (("-O",), "1"):
        run = subprocess.run(
            [sys.executable, *options, "-c", code, *seeds],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert set(run.stdout.splitlines()) == here, (options, hash_seed)


def test_fewer_steps_are_the_beginning_of_the_same_run() -> None:
    """Or a shorter prefix could not show the same failure."""
    whole: list[str] = []
    part: list[str] = []
    simulate(Settings(21, 200, 3), whole.append)
    simulate(Settings(21, 80, 3), part.append)
    alike = next(n for n, (one, other) in enumerate(zip(whole, part, strict=False)) if one != other)
    asked = [line for line in part[:alike] if " ask " in line]
    assert len(asked) > 40
    assert alike < len(part)


@pytest.mark.parametrize("name", SAMPLE)
def test_deliberate_bug_is_found_by_a_checker_and_seen_again(name: str) -> None:
    mutant = MUTANTS[name]
    found = find(mutant, 12, steps=100)
    assert found is not None, "no checker found it"
    settings, failure = found.settings, found.result.failure
    assert failure is not None
    with applied(mutant):
        fewest = shortest(settings, failure)
        again = simulate(Settings(settings.seed, fewest, settings.shards))
    assert fewest <= settings.steps
    assert again.failure is not None
    assert again.failure.checker == failure.checker
    assert simulate(Settings(settings.seed, fewest, settings.shards)).ok, "it fails without the bug"


@pytest.mark.long
@pytest.mark.parametrize("name", MUTANTS)
def test_every_deliberate_bug_is_found_by_a_checker(name: str) -> None:
    """All of them: about fifteen minutes."""
    assert find(MUTANTS[name]) is not None


@pytest.mark.parametrize("name", MUTANTS)
def test_deliberate_bug_fits_the_code_as_it_is(name: str) -> None:
    with applied(MUTANTS[name]):
        pass


def test_stale_deliberate_bug_is_an_error_and_leaves_no_trace() -> None:
    edits = (
        Edit("actors.account:available_minor", "account.posted_minor", "0"),
        Edit("actors.account:post", "no such text", ""),
    )
    before = simulate(Settings(3, 40, 1)).trace_hash
    with pytest.raises(StaleMutantError, match="no such text"), applied(Mutant("x", "x", edits)):
        pass
    assert simulate(Settings(3, 40, 1)).trace_hash == before


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(["simulate", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def _json(line: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(line)
    return told


def test_command_says_what_came_of_a_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.txt"
    asked = ("--seed", "4", "--steps", "60", "--shards", "2", "--trace", str(trace))
    code, out, _ = _run(capsys, *asked, "--json")
    told = _json(out)
    assert (code, told["ok"], told["failure"]) == (0, True, None)
    assert (told["seed"], told["steps"], told["shards"]) == (4, 60, 2)
    assert sum(line.count(" commit ") for line in trace.read_text().splitlines()) == told["commits"]
    code, out, _ = _run(capsys, *asked)
    assert code == 0
    assert "seed 4: 60 steps, 2 shards" in out
    assert told["trace_hash"] in out


def test_command_prints_how_a_failure_is_seen_again(capsys: pytest.CaptureFixture[str]) -> None:
    bug = ("--mutant", "hold-reserves-nothing", "--seed", "2")
    code, out, _ = _run(capsys, *bug, "--json")
    failure = _json(out)["failure"]
    assert code == 1
    assert failure["checker"] == "holds"
    assert 0 < failure["shortest"] <= failure["step"]
    code, out, _ = _run(capsys, *bug)
    again = (
        f"piaohao simulate --seed 2 --steps {failure['shortest']} --mutant hold-reserves-nothing"
    )
    assert code == 1
    assert again in out
    code, out, _ = _run(capsys, *again.split()[2:])
    assert code == 1
    assert "holds" in out


def test_command_goes_on_with_the_next_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("--seed", "100", "--steps", "20", "--minutes", "0.02", "--json")
    code, out, _ = _run(capsys, *asked)
    seeds = [_json(line)["seed"] for line in out.splitlines()]
    assert code == 0
    assert seeds == list(range(100, 100 + len(seeds)))
    assert len(seeds) > 1


def test_command_lists_its_deliberate_bugs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "--list-mutants")
    assert (code, out.split()) == (0, list(MUTANTS))
    assert len(MUTANTS) >= 25


@pytest.mark.parametrize(
    "arguments",
    [
        "--mutant none-such",
        "--seed -1",
        "--seed 1.5",
        "--steps many",
        "--shards 0",
        "--minutes 0",
        "--trace /nowhere/trace.txt",
        "--quick",
    ],
)
def test_arguments_that_mean_nothing_are_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    code, out, err = _run(capsys, *arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
