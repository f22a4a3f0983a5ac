"""The onlooker does what a browser's console does, and what that costs is judged fairly."""

import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench import onlooker
from bench.load.clients import Outcome
from bench.load.latencies import Latencies
from bench.load.node import Held
from bench.looking import Look, Pairs, Settings, judge, run
from bench.onlooker import Seen
from bench.workloads.errand import Moved
from gateway import console
from gateway.cli import run as piaohao

GOOD = Held(missing_minor=0, untold_minor=0, verify_ok=True)
SCRIPT = Path(console.__file__).parent / "static" / "console.js"


def outcome(payments: int) -> Outcome:
    """Return what a round of a second came to."""
    latencies = Latencies()
    latencies.record(10_000_000, payments)
    return Outcome(1.0, payments, payments, 1, latencies, Counter(), 0, Moved(), 1, [], 0.1, 0.2)


def pairs(alone: list[int], watched: list[int], parts: int = 3) -> Pairs:
    """Return rounds with so many payments."""
    seen = [Seen(parts, 1) for _ in watched]
    return Pairs([outcome(each) for each in alone], [outcome(each) for each in watched], seen)


def test_console_that_costs_little_has_nothing_to_say() -> None:
    look = judge(Settings(), pairs([1000, 1010, 990], [970, 985, 960]), [0.1], GOOD)
    assert look.failed == []
    assert look.rate.ratio == pytest.approx(0.972, abs=0.001)
    assert look.looks_per_s == 3


@pytest.mark.parametrize(
    ("found", "held", "says"),
    [
        (pairs([1000, 1010, 990], [920, 930, 910]), GOOD, "8.0% of the payments"),
        (pairs([1000, 1010], [1000, 1010], parts=0), GOOD, "seen nothing"),
        (pairs([1000, 1010], [1000, 1010]), replace(GOOD, verify_ok=False), "does not verify"),
        (pairs([1000, 1010], [1000, 1010]), replace(GOOD, missing_minor=3), "3 minor units"),
        (pairs([1000, 1010], [1000, 1010]), replace(GOOD, untold_minor=4), "4 in it"),
    ],
)
def test_look_in_which_something_does_not_hold_says_what(
    found: Pairs, held: Held, says: str
) -> None:
    (failed,) = judge(Settings(), found, [0.1], held).failed
    assert says in failed


def test_onlooker_asks_as_often_as_the_consoles_script() -> None:
    script = SCRIPT.read_text()
    (beat,) = re.findall(r"BEAT_MS = (\d+)", script)
    (periods,) = re.findall(r"PERIODS_MS = \{(.*)\}", script)
    said = {kind: int(ms.replace("_", "")) for kind, ms in re.findall(r"(\w+): ([\d_]+)", periods)}
    assert int(beat) == onlooker.BEAT_S * 1000
    assert {kind: s * 1000 for kind, s in onlooker.PERIODS_S.items()} == said


@pytest.mark.one_shard
def test_bench_look_reports_what_was_seen_and_the_store_holds_what_was_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(("actor", "shards"), batch=20, connections=4, pairs=1, accounts=200)
    assert run(replace(settings, seconds=1.0), as_json=True) == 0
    look = msgspec.json.decode(capsys.readouterr().out, type=Look)
    assert look.looks_per_s > 0
    assert look.events_per_s > 0
    assert min(look.payments_per_s) > 0
    assert min(look.cpu_us) > 0
    assert (look.missing_minor, look.untold_minor, look.verify_ok) == (0, 0, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--pages telescope", "telescope"),
        ("--pages actor --pairs 0", "--pairs"),
        ("--pages actor --seconds 0", "--seconds"),
        ("--transport carrier-pigeon", "carrier-pigeon"),
    ],
)
def test_bench_look_that_cannot_be_measured_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    assert piaohao(["bench", "look", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
