"""A run of each workload writes one file that says what was done, and the store agrees."""

from pathlib import Path
from typing import Any

import pytest

from actors.commands import CreatePayment
from bench.load import tally
from bench.runs.result import Closed, Open, Result, read
from bench.workloads import errand as errands
from bench.workloads.errand import Errand
from gateway.cli import run

SHORT = "--seconds 0.5 --warm-up 0.05 --accounts 200"


def ran(folder: Path, arguments: str, expected: int = 0) -> Result:
    """Run, and return what the file says."""
    out = folder / "run.json"
    assert run(["bench", "run", *arguments.split(), "--out", str(out)]) == expected
    return read(out)


def check_figures(result: Result) -> None:
    """Check what holds of every run in which nothing goes wrong."""
    assert result.checked.ok
    assert result.checked.verify_ok
    assert (result.checked.missing_minor, result.checked.untold_minor) == (0, 0)
    assert result.checked.accounts > 0
    together, points = result.together, result.series.points
    assert together.done == sum(each.done for each in result.operations.values()) > 0
    assert together.done == sum(point.done for point in points)
    assert together.outcomes["DONE"] >= together.done * 0.5
    assert together.latency is not None
    assert together.latency.count == together.outcomes["DONE"]
    assert 0 < together.latency.p50_ms <= together.latency.p99_ms <= together.latency.max_ms
    assert len(points) == 10
    assert points[-1].at_s == pytest.approx(result.seconds)
    assert all(point.cpu_server is not None for point in points)
    assert any(point.commit_ms_p99 for point in points)
    assert any(point.batch for point in points)
    assert result.fdatasync.during is not None
    assert result.fdatasync.during.count == 30
    assert result.anonymous_mib > 10
    assert result.cpu.server_us
    assert result.machine.packages["hdrhistogram"]


@pytest.mark.parametrize(
    ("arguments", "operations"),
    [
        ("payments --merchants 7 --payers zipf --payees zipf", {"pay"}),
        ("payments --payees one --batch 16 --order-numbers random --shards 3", {"pay"}),
        (
            "lifecycle --merchants 3 --in-flight 64",
            {"pay", "authorize", "capture", "void", "refund", "reverse", "query"},
        ),
        (
            "smallbank",
            {
                "amalgamate",
                "balance",
                "deposit_checking",
                "send_payment",
                "transact_savings",
                "write_check",
            },
        ),
        ("tpcb", {"transaction"}),
    ],
)
def test_closed_loop_on_the_engine_is_written_down_and_the_store_agrees(
    tmp_path: Path, arguments: str, operations: set[str]
) -> None:
    result = ran(tmp_path, f"{arguments} {SHORT}")
    check_figures(result)
    assert set(result.operations) == operations
    assert isinstance(result.loop, Closed)
    assert result.store.kind == "fresh"
    assert result.cpu.clients_us is None
    assert result.order_numbers == ("random" if "random" in arguments else "dated and sequential")
    allowed = {"DONE", "INSUFFICIENT_FUNDS"}
    assert set(result.together.outcomes) <= allowed


def test_open_loop_on_the_engine_has_what_came_and_nothing_else(tmp_path: Path) -> None:
    arguments = "burst --rate 100 --merchants 3 --accounts 200 --seconds 0.6 --warm-up 0.1"
    result = ran(tmp_path, arguments)
    check_figures(result)
    loop = result.loop
    assert isinstance(loop, Open)
    assert [each.rate for each in loop.phases] == [100, 100, 2_000, 100]
    assert loop.rate == pytest.approx(480)
    assert loop.intended == sum(result.together.outcomes.values())
    assert loop.intended == pytest.approx(480 * 0.6, rel=0.3)
    # On a busy machine answers to the wave may come after it, but never before.
    answered = [point.done for point in result.series.points]
    assert sum(answered[4:]) > 5 * sum(answered[:4])


def test_overload_measures_the_capacity_and_asks_for_ten_times_as_much(tmp_path: Path) -> None:
    result = ran(tmp_path, f"overload --merchants 20 --in-flight 64 {SHORT}")
    assert result.checked.ok
    assert isinstance(result.loop, Open)
    assert result.loop.capacity
    assert result.loop.rate == pytest.approx(10 * result.loop.capacity)
    assert result.loop.intended == sum(result.together.outcomes.values())
    assert result.loop.intended > 4 * result.together.done


def test_lifecycle_over_sockets_is_written_down_and_the_store_agrees(tmp_path: Path) -> None:
    result = ran(
        tmp_path,
        "lifecycle --target express --connections 8 --clients 2 --merchants 3 --accounts 200 "
        "--seconds 1 --warm-up 0.2",
    )
    check_figures(result)
    assert {"pay", "authorize", "query"} <= set(result.operations)
    assert set(result.together.outcomes) == {"DONE"}
    assert isinstance(result.loop, Closed)
    assert (result.loop.in_flight, result.loop.connections) == (8, 8)
    assert result.cpu.clients_us
    assert result.cpu.busiest_client
    assert result.checked.signatures > 0


def test_cold_store_is_given_copied_and_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "aged")
    fill = ["bench", "fill", "--data", data, "--accounts", "400", "--merchants", "5", "--paid"]
    assert run(fill) == 0
    before = (tmp_path / "aged/shard-0/data.mdb").stat().st_mtime_ns
    given = f"cold --data {data} --actors-max 50 --seconds 0.2 --warm-up 0"
    result = ran(tmp_path, given)
    assert result.checked.ok
    store = result.store
    assert (store.kind, store.accounts, store.merchants, store.shards) == ("copy", 400, 5, 1)
    assert store.postings == 400 * 4
    assert store.dropped
    assert (tmp_path / "aged/shard-0/data.mdb").stat().st_mtime_ns == before
    (tmp_path / "run.json").unlink()
    # On the store itself twice: the numbers of the first time do not come again.
    postings = store.postings
    for _ in range(2):
        used = ran(tmp_path, f"{given} --in-place")
        assert used.checked.ok
        assert set(used.together.outcomes) == {"DONE"}
        assert used.store.kind == "in place"
        assert used.store.postings >= postings
        postings += 2 * used.together.outcomes["DONE"]
        (tmp_path / "run.json").unlink()


def test_payment_that_a_client_was_told_of_otherwise_is_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[Any] = []

    def once_too_much(errand: Errand, amount_minor: int) -> errands.Movements:
        ask = errand.ask
        assert isinstance(ask, CreatePayment)
        told.append(ask)
        return ((ask.merchant_no, amount_minor + (len(told) == 1)),)

    monkeypatch.setattr(errands, "movements", once_too_much)
    assert ran(tmp_path, f"payments --merchants 3 {SHORT}", 1).checked.missing_minor == 1
    assert "MISSING 1, UNTOLD 0" in capsys.readouterr().out


def test_json_is_what_the_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = f"payments --merchants 3 --skip-verify --json {SHORT}"
    assert run(["bench", "run", *arguments.split()]) == 0
    (file,) = tmp_path.glob("*-payments-engine.json")
    result = read(file)
    assert result.checked.verify_ok is None
    printed = tmp_path / "printed.json"
    printed.write_text(capsys.readouterr().out)
    assert read(printed) == result


def test_not_sent_is_no_code_of_the_banks() -> None:
    assert tally.NOT_SENT not in tally.UNKNOWN
