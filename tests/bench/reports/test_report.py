"""A report says what its files hold, in both forms, and refuses what is none of them."""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bench.peers.result import Comparison
from bench.reports.markdown import markdown
from bench.reports.page import page
from bench.reports.report import sheet
from bench.reports.sheet import Sheet
from bench.reports.sources import sources
from bench.runs.result import Operation, Result, Series
from gateway.cli import run
from tests.bench.reports.examples import CHECKED, comparison, open_loop, result, write


def _sheet(tmp_path: Path, *results: Result | Comparison) -> Sheet:
    paths = [write(tmp_path / f"{number}.json", each) for number, each in enumerate(results)]
    return sheet(sources(paths))


def test_report_of_a_run_has_every_plot_and_says_what_bounds_it(tmp_path: Path) -> None:
    made = _sheet(tmp_path, result())
    names = ["throughput", "percentiles", "latency", "commit", "batch", "cpu", "memory"]
    assert [plot.name for plot in made.plots] == names
    texts = [note.text for note in made.cards[0].notes]
    assert "bottleneck: server: its event loop's thread took 0.98 of a core" in texts
    assert any("INSUFFICIENT_FUNDS 31" in text for text in texts)
    assert made.cards[0].notes[0].tone == "good"


def test_report_of_several_runs_lays_them_over_each_other(tmp_path: Path) -> None:
    """One line a run where there is one measure, of lengths that differ; labels tell them apart."""
    made = _sheet(tmp_path, result(1, seconds=10), result(2, seconds=30), open_loop())
    throughput, percentiles, *_ = made.plots
    assert [line.label for line in throughput.lines] == [card.title for card in made.cards]
    assert made.cards[0].title == "1: payments, express, closed"
    assert len(throughput.x) == 30
    assert throughput.lines[0].values[9] is not None
    assert throughput.lines[0].values[10] is None
    assert len(percentiles.lines) == 3
    assert len({line.colour for line in percentiles.lines}) == 3


def test_percentiles_end_where_there_are_too_few_latencies_for_the_next_nine(
    tmp_path: Path,
) -> None:
    """Of 16,000 latencies the last place is the slowest one's: 1 / (1 - share) is their number."""
    made = _sheet(tmp_path, open_loop())
    plot = made.plots[1]
    shown = [x for x, y in zip(plot.x, plot.lines[0].values, strict=True) if y is not None]
    assert 14_000 < shown[-1] <= 16_000
    by_name = {line.label: line.values for line in plot.lines}
    median = next(n for n, x in enumerate(plot.x) if x >= 2)
    assert by_name["together"][median] == pytest.approx(60, rel=0.05)


def test_report_of_an_open_loop_says_that_the_rate_was_not_kept_up(tmp_path: Path) -> None:
    made = _sheet(tmp_path, open_loop())
    texts = {note.text: note.tone for note in made.cards[0].notes}
    kept = "the rate was not kept up: 16,000 of 22,000 operations that arrived were done"
    assert texts[kept] == "warn"
    asked = made.plots[0].lines[-1]
    assert (asked.label, asked.values[9], asked.values[10]) == ("asked for", 100, 2_000)


def test_report_of_lost_money_says_so_first(tmp_path: Path) -> None:
    lost = replace(CHECKED, ok=False, missing_minor=1_200, violations=["account 7 is short"])
    first, second, *_ = _sheet(tmp_path, result(checked=lost)).cards[0].notes
    assert (first.tone, second.tone) == ("bad", "bad")
    assert "1,200 minor units are missing" in first.text
    assert second.text == "account 7 is short"


def test_report_leaves_out_plots_of_what_no_run_measured(tmp_path: Path) -> None:
    whole = result()
    points = [
        replace(point, commit_ms_p50=None, commit_ms_p99=None, fdatasync_ms=None, batch=None)
        for point in whole.series.points
    ]
    made = _sheet(tmp_path, replace(whole, series=replace(whole.series, points=points)))
    assert not {"commit", "batch"} & {plot.name for plot in made.plots}
    assert ["commit p50, ms", "–"] in made.tables[0].rows


def test_report_of_a_run_that_did_nothing_says_so(tmp_path: Path) -> None:
    """No operation was carried out, and no interval ended: there are dashes, and no plot."""
    nothing = Operation(0, 0.0, {"OVERLOADED": 40}, None)
    empty = result(together=nothing, operations={"pay": nothing}, series=Series(1.0, []))
    made = _sheet(tmp_path, empty, empty)
    assert made.plots == []
    assert ["latency p50, ms", "–", "–"] in made.tables[0].rows
    assert any("100.0% of 40 operations" in note.text for note in made.cards[0].notes)
    assert "OVERLOADED" in page(made)
    assert "OVERLOADED" in markdown(made)


def test_report_of_a_comparison_holds_each_row_against_its_target(tmp_path: Path) -> None:
    part = _sheet(tmp_path, comparison()).parts[0]
    aimed, others = part.bars
    verdicts = [row.verdict for row in aimed.rows]
    assert verdicts == ["ok", "aim reached", "missed", "ok", "ok"]
    assert all(row.verdict == "" for row in others.rows)
    for row in aimed.rows:
        assert row.target is not None
        assert row.aim is not None
        assert 0 < row.target < row.aim < 100
        assert 0 < row.low < row.dot < row.high < 100
    assert part.notes[0].tone == "bad"


def test_rows_without_an_interval_are_points(tmp_path: Path) -> None:
    rows = _sheet(tmp_path, comparison(pairs=1)).parts[0].bars[0].rows
    assert all(row.interval == "no interval" and row.low == row.dot == row.high for row in rows)


def test_markdown_has_the_tables_and_no_markup_of_others(tmp_path: Path) -> None:
    evil = result(settings={"note": "<b>|[x](y)`\n# loud"})
    text = markdown(_sheet(tmp_path, evil, comparison()))
    assert "| --note | &lt;b>\\|\\[x](y)\\` # loud |" in text
    assert "| rate, operations/s | 1," in text
    assert "3.77" in text
    heights = {line.count(" | ") for line in text.splitlines() if line.startswith("| engine, ")}
    assert heights == {10}


def test_report_writes_both_forms_and_nothing_to_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "run.json", result())
    html, text = tmp_path / "page.html", tmp_path / "report.md"
    assert run(["bench", "report", str(file), "--html", str(html), "--markdown", str(text)]) == 0
    assert capsys.readouterr().out == ""
    assert html.read_text("utf-8").lstrip().startswith("<!doctype html>")
    assert run(["bench", "report", str(file)]) == 0
    assert capsys.readouterr().out == text.read_text("utf-8")


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that are no results, but for `run.json`."""
    folder = tmp_path_factory.mktemp("wrong")
    good = result()
    whole = write(folder / "run.json", good).read_bytes()
    (folder / "empty.json").touch()
    (folder / "binary.json").write_bytes(bytes(range(128, 192)))
    (folder / "array.json").write_text("[1, 2]")
    (folder / "other.json").write_text('{"format": 1}')
    (folder / "future.json").write_text('{"format": 99}')
    (folder / "later.json").write_text('{"format": 99, "kind": "comparison"}')
    (folder / "torn.json").write_bytes(whole[:-40])
    assert good.together.latency is not None
    broken = replace(good.together, latency=replace(good.together.latency, hdr="HISTFAAA"))
    write(folder / "broken.json", replace(good, together=broken))
    nothing = comparison()
    rows = [replace(each, ratio=0.0) for each in nothing.rows]
    write(folder / "zero.json", replace(nothing, rows=rows))
    rows = [replace(each, ci95=(-1.0, 2.0)) for each in nothing.rows]
    write(folder / "below.json", replace(nothing, rows=rows))
    deep = b'{"format": 1, "settings": ' + b"[" * 100_000
    (folder / "deep.json").write_bytes(deep)
    return folder


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "name files with results"),
        ("no-such.json", "no-such.json: No such file"),
        (".", ".: Is a directory"),
        ("empty.json", "empty.json is no result"),
        ("binary.json", "binary.json is no result"),
        ("array.json", "array.json is no result"),
        ("other.json", "other.json"),
        ("future.json", "future.json has format 99"),
        ("later.json", "later.json has format 99"),
        ("torn.json", "torn.json is no result"),
        ("broken.json", "broken.json: a histogram cannot be read"),
        ("zero.json", "zero.json: a ratio in it is not above 0"),
        ("below.json", "below.json: a ratio in it is not above 0"),
        ("deep.json", "deep.json is no result"),
        ("run.json --html run.json", "run.json is one of the files"),
        ("run.json --html x --markdown x", "named twice"),
        ("run.json --html no/such/folder.html", "no/such/folder.html: No such file"),
        ("run.json --pdf x", "--pdf"),
    ],
)
def test_report_of_what_is_none_is_one_line_and_exit_2(
    wrong: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    says: str,
) -> None:
    monkeypatch.chdir(wrong)
    whole = Path("run.json").read_bytes()
    assert run(["bench", "report", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert output.err.count("\n") == 1
    assert says in output.err
    assert Path("run.json").read_bytes() == whole


def test_result_with_more_than_is_known_is_read(tmp_path: Path) -> None:
    """A later version may say more under the same format."""
    content = msgspec.json.decode(write(tmp_path / "run.json", result()).read_bytes())
    (tmp_path / "more.json").write_bytes(msgspec.json.encode(content | {"weather": "fine"}))
    assert len(sources([tmp_path / "more.json"]).runs) == 1
