"""The observer: whom it blames for what the machine did, and which rounds count."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from bench.load.processes import started
from bench.peers import machine_time
from bench.peers import observer as observing
from bench.peers.machine_time import Reading, load, reading
from bench.peers.observer import Measured, Observer
from bench.peers.profiler import Profiler

_CPUS = 2
_SPINS = "import time\nwhile time.process_time() < {}: pass"


def _readings(others: list[float]) -> list[Reading]:
    """Two for each round, a second apart, in which others took such shares; nobody in between."""
    made = [Reading(0, 0, 0, 0, 0)]
    at_s = busy_s = 0.0
    for share in others:
        made.append(Reading(at_s, busy_s, 0, 0, 0))
        at_s += 1
        busy_s += share * _CPUS
        made.append(Reading(at_s, busy_s, 0, 0, 0))
    return made


async def _checkpoint(_: Observer) -> None:
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("others", "again", "kept"),
    [
        ([0.1], True, 0),
        ([0.5, 0.05], True, 1),
        ([0.3, 0.2, 0.4], True, 1),
        ([0.5], False, 0),
    ],
)
def test_disturbed_round_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: list[float], kept: int, *, again: bool
) -> None:
    """Up to three times; the one counts in which others took least, whatever it came to."""
    monkeypatch.setattr("os.cpu_count", lambda: _CPUS)
    readings = iter(_readings(others))
    monkeypatch.setattr(observing, "reading", lambda _: next(readings))
    monkeypatch.setattr(Observer, "_calm", _checkpoint)
    observer = Observer(tmp_path, 5)

    async def measure(attempt: int) -> Measured:
        return Measured(100.0 + attempt)

    value = trio.run(lambda: observer.round("group", "ours", 0, measure, again=again))
    assert value == 100 + kept
    assert [each.kept for each in observer.rounds] == [n == kept for n in range(len(others))]
    assert [each.disturbed for each in observer.rounds] == [each > 0.1 for each in others]
    assert observer.disturbed("group", "ours") == (others[kept] > 0.1)
    assert next(readings, None) is None


def test_repeats_are_limited_in_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: _CPUS)
    readings = iter(_readings([0.5, 0.5, 0.5]))
    monkeypatch.setattr(observing, "reading", lambda _: next(readings))
    monkeypatch.setattr(Observer, "_calm", _checkpoint)
    observer = Observer(tmp_path, 1)

    async def measure(_: int) -> Measured:
        return Measured(1.0)

    for pair in range(2):
        trio.run(observer.round, "group", "ours", pair, measure)
    assert [(each.pair, each.attempt) for each in observer.rounds] == [(0, 0), (0, 1), (1, 0)]


def test_children_are_ours_and_what_they_took_stays_so() -> None:
    """A child that spins for a while is ours, while it runs and when it has ended."""
    before = reading()
    with subprocess.Popen([sys.executable, "-c", _SPINS.format(0.5)]) as child:
        while reading().ours_s < before.ours_s + 0.2:
            assert child.poll() is None
            time.sleep(0.02)
    found = load(before, reading())
    assert found.ours > 0
    assert reading().ours_s - before.ours_s >= 0.4


@pytest.mark.parametrize("seen_too_often", [True, False])
def test_process_that_ends_while_we_look_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, *, seen_too_often: bool
) -> None:
    """Its parent was read after it had waited for it, or before: 5 s twice, or not at all."""
    hz = os.sysconf("SC_CLK_TCK")
    me, child = os.getpid(), 1 << 22
    waited = {me: machine_time._Process(1, "parent", 7 * hz)}
    looks = iter(
        [waited | {child: machine_time._Process(me, "child", 5 * hz)}, waited, waited]
        if seen_too_often
        else [{me: machine_time._Process(1, "parent", 2 * hz)}, waited]
    )
    monkeypatch.setattr(machine_time, "_processes", lambda: next(looks))
    assert reading().ours_s == 7


def test_load_shares_out_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cores in 10 s: 8 s ours, 1 s of the kernel's is nobody's, 2 s others', 1 s stolen."""
    monkeypatch.setattr("os.cpu_count", lambda: _CPUS)
    found = load(Reading(5, 100, 3, 50, 7), Reading(15, 111, 4, 58, 8))
    assert (found.ours, found.others, found.stolen) == (0.4, 0.15, 0.05)


def test_profile_shows_what_a_process_does(tmp_path: Path) -> None:
    """Where the kernel lets nobody look, it is said instead."""
    said: list[str] = []
    observer = Observer(tmp_path, 0, (), said.append, Profiler(tmp_path / "profiles"))

    async def profile() -> str | None:
        async with started([sys.executable, "-c", _SPINS.format(60)]) as child:
            return await observer.profile("uniform, 10,000 accounts", child.pid, measure)

    async def measure(_: int) -> Measured:
        await trio.sleep(1)
        return Measured(0.0)

    name = trio.run(profile)
    if name is None:
        assert "could not look" in said[0]
        return
    assert name == "uniform-10000-accounts.svg"
    drawn = (tmp_path / "profiles" / name).read_text()
    assert "module" in drawn
    assert ">uniform, 10,000 accounts</text>" in drawn
    assert str(tmp_path) not in drawn


def test_no_profile_takes_no_round(tmp_path: Path) -> None:
    async def measure(_: int) -> Measured:
        raise AssertionError("it has no place in a run without profiles")

    assert trio.run(Observer(tmp_path, 0).profile, "uniform", 1, measure) is None
