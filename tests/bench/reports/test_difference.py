"""A difference shows what changed and no more, and refuses what cannot be held together."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench.reports.difference import Difference
from gateway.cli import run
from tests.bench.reports.examples import CHECKED, MACHINE, comparison, result, write


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs of each side that were made in turn; B is 1.2 times as fast."""
    monkeypatch.chdir(tmp_path)
    for side, speed, first in (("a", 1.0, 10), ("b", 1.2, 11)):
        (tmp_path / side).mkdir()
        for number in range(4):
            path = tmp_path / side / f"{side}{number}.json"
            write(path, result(first + 2 * number, speed=speed, seconds=5))
    return tmp_path


def _found(capsys: pytest.CaptureFixture[str], *arguments: str) -> Difference:
    assert run(["bench", "diff", *arguments, "--json"]) == 0
    return msgspec.json.decode(capsys.readouterr().out, type=Difference)


@pytest.mark.usefixtures("folders")
def test_diff_of_runs_in_turn_shows_the_change_with_an_interval_by_pair(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = _found(capsys, "a", "b")
    assert (found.paired, found.interleaved) == (True, True)
    changes = {each.measure: each for each in found.changes}
    rate = changes["rate"]
    assert rate.change.pairs == 4
    assert rate.change.ci95 is not None
    low, high = rate.change.ci95
    assert low < 1.2 < high
    assert (rate.shown, rate.better) == (True, True)
    assert changes["latency p50"].better is True
    assert changes["CPU clients"].shown is False
    assert set(found.beside) == {"seed"}
    assert not found.differs


@pytest.mark.usefixtures("folders")
def test_diff_the_other_way_round_is_the_inverse_and_worse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    there, back = _found(capsys, "a", "b"), _found(capsys, "b", "a")
    for one, other in zip(there.changes, back.changes, strict=True):
        assert one.change.ratio * other.change.ratio == pytest.approx(1)
    assert back.changes[0].better is False


@pytest.mark.usefixtures("folders")
def test_diff_of_as_many_runs_that_are_the_same_shows_no_difference(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "diff", "a/a0.json,a/a2.json", "a/a1.json,a/a3.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "2 pairs, by the order in which the runs began; paired t intervals" in lines
    rate = next(line for line in lines if line.startswith("rate, "))
    assert rate.endswith("no difference shown")


@pytest.mark.usefixtures("folders")
def test_diff_of_sides_that_were_not_made_in_turn_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "diff", "a/a0.json,a/a1.json", "b/b2.json,b/b3.json"]) == 0
    assert "not made in turn" in capsys.readouterr().out


@pytest.mark.usefixtures("folders")
def test_diff_of_sides_of_different_sizes_is_welchs(capsys: pytest.CaptureFixture[str]) -> None:
    found = _found(capsys, "a/a0.json,a/a1.json,a/a2.json", "b")
    assert not found.paired
    assert found.changes[0].change.pairs == 0
    assert found.changes[0].shown is True


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize("b", ["b/b0.json", "b"])
def test_diff_of_one_run_has_no_interval_and_says_so(
    capsys: pytest.CaptureFixture[str], b: str
) -> None:
    found = _found(capsys, "a/a0.json", b)
    assert {(each.change.ci95, each.shown, each.better) for each in found.changes} == {
        (None, None, None)
    }
    assert run(["bench", "diff", "a/a0.json", b]) == 0
    output = capsys.readouterr().out
    assert "no interval is possible" in output
    assert "no difference shown" not in output


@pytest.mark.usefixtures("folders")
def test_diff_of_different_settings_is_refused_unless_told_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = replace(MACHINE, commit="fedcba987654", cores=4)
    settings = {"seconds": 5, "accounts": 99, "payers": "uniform", "seed": 3}
    write(Path("other.json"), result(3, seconds=5, machine=other, settings=settings))
    assert run(["bench", "diff", "a", "other.json"]) == 2
    refused = capsys.readouterr()
    assert not refused.out
    assert refused.err.count("\n") == 1
    assert "cores 2 and 4; accounts 10000 and 99" in refused.err
    assert run(["bench", "diff", "a", "other.json", "--anyway"]) == 0
    output = capsys.readouterr().out
    assert "differs, though it should not: cores: A 2, B 4" in output
    assert "differs: commit: A 0123456789ab, B fedcba987654" in output


def test_diff_warns_of_figures_of_which_money_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = replace(CHECKED, ok=False, missing_minor=5)
    a = write(tmp_path / "a.json", result(1, seconds=5))
    b = write(tmp_path / "b.json", result(2, seconds=5, checked=lost))
    found = _found(capsys, str(a), str(b))
    assert any(note.startswith("B (b): the store does not hold") for note in found.notes)


def test_diff_leaves_out_what_one_side_has_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = result(1, seconds=5)
    a = write(tmp_path / "a.json", whole)
    b = write(tmp_path / "b.json", replace(whole, cpu=replace(whole.cpu, clients_us=None)))
    assert "CPU clients" not in {each.measure for each in _found(capsys, str(a), str(b)).changes}


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("a", "B"),
        ("a no-such", "no-such: No such file"),
        ("a nothing", "'nothing': there is no result of a run in it"),
        ("a a/a0.json,", "a name in it is empty"),
        ("a notes.txt", "notes.txt is no result"),
        ("a compare.json", "has a comparison in it"),
    ],
)
def test_diff_of_what_is_none_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: str, says: str
) -> None:
    Path("nothing").mkdir()
    Path("notes.txt").write_text("not one")
    write(Path("compare.json"), comparison())
    assert run(["bench", "diff", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert output.err.count("\n") == 1
    assert says in output.err
