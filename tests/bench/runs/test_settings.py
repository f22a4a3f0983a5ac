"""What cannot be run is refused in one line, before anything is made."""

from pathlib import Path

import pytest

from bench.runs.settings import Settings, resolved
from engine.limits import Limits
from gateway.cli import run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "WORKLOAD"),
        ("tourism", "tourism"),
        ("payments --target carrier-pigeon", "carrier-pigeon"),
        ("payments --seconds 0", "--seconds"),
        ("payments --seconds inf", "--seconds inf"),
        ("payments --warm-up nan", "--warm-up"),
        ("payments --rate -1", "--rate"),
        ("payments --rate inf", "--rate inf"),
        ("payments --rate nan", "--rate"),
        ("payments --batch 1001", "--batch 1001: at most 1000"),
        ("payments --batch 1.5", "--batch"),
        ("payments --batch 20 --in-flight 10", "--batch 20"),
        ("payments --in-flight 2049", "the engine takes 2048"),
        ("payments --in-flight 1025 --payees one", "the engine takes 1024"),
        ("payments --rate 10 --in-flight 5", "--in-flight"),
        ("payments --accounts 3 --merchants 4", "--accounts 3"),
        ("payments --connections 4", "--connections"),
        ("payments --clients 2", "--clients"),
        ("payments --unsigned", "--unsigned"),
        ("payments --target express --in-flight 4", "--in-flight"),
        ("payments --target express --actors-max 4", "--actors-max"),
        ("payments --target express --depth 2", "--depth"),
        ("payments --target express --clients 9 --connections 8", "--clients 9"),
        ("payments --target express --connections 1000000", "--connections 1000000"),
        ("payments --target websocket --payees zipf", "websocket"),
        ("payments --payers once", "--payers"),
        ("payments --copy", "--data"),
        ("payments --data x --accounts 9", "--accounts"),
        ("payments --data x --shards 2", "--shards"),
        ("payments --data x --copy --in-place", "--in-place"),
        ("lifecycle --target websocket", "not websocket"),
        ("lifecycle --target express --batch 2", "--batch 1"),
        ("smallbank --target express", "--target engine"),
        ("smallbank --payees one", "--payees"),
        ("tpcb --target hypercorn", "--target engine"),
        ("tpcb --payers zipf", "--payers"),
        ("overload --rate 5", "--rate"),
        ("cold", "--data"),
        ("cold --data x --payers zipf", "--payers"),
        ("payments --out no/such/folder/x.json", "no folder"),
    ],
)
def test_run_that_cannot_be_made_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["bench", "run", *arguments.split()]) == 2
    output = capsys.readouterr()
    assert not output.out
    assert output.err.count("\n") == 1
    assert says in output.err
    assert not list(tmp_path.iterdir())


def test_file_that_is_there_is_not_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "old.json").write_text("kept")
    assert run(["bench", "run", "payments", "--out", str(tmp_path / "old.json")]) == 2
    assert "already" in capsys.readouterr().err
    assert (tmp_path / "old.json").read_text() == "kept"


def test_what_is_not_said_depends_on_target_and_workload() -> None:
    engine = resolved(Settings("payments"))
    assert (engine.in_flight, engine.connections, engine.batch) == (1_024, 0, 1)
    assert (engine.accounts, engine.merchants) == (100_000, 1_000)
    express = resolved(Settings("payments", "express"))
    assert (express.connections, express.merchants) == (32, 100)
    assert resolved(Settings("payments", "express", rate=5.0)).connections == 128
    crowd = resolved(Settings("overload", "express"))
    assert crowd.batch == 100
    assert crowd.connections * crowd.batch >= 9 * Limits().unconfirmed_max
    assert resolved(Settings("payments", payees="one")).merchants == 1
    assert resolved(Settings("cold", data=Path("x"))).payers == "once"


def test_burst_is_quiet_then_a_wave_of_twenty_times_then_quiet() -> None:
    settings = resolved(Settings("burst", rate=10.0, seconds=50.0, warm_up_s=2.0))
    assert settings.open
    phases = [(each.seconds, each.rate) for each in settings.phases(settings.rate)]
    assert phases == [(2.0, 10.0), (20.0, 10.0), (10.0, 200.0), (20.0, 10.0)]


def test_overload_asks_ten_times_what_was_measured_after_a_warm_up_of_it() -> None:
    settings = resolved(Settings("overload", seconds=5.0, warm_up_s=1.0))
    phases = [(each.seconds, each.rate) for each in settings.phases(700.0)]
    assert phases == [(1.0, 700.0), (5.0, 7_000.0)]
