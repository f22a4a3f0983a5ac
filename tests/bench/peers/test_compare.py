"""The comparison as a command: its report, its refusals, and that nothing of it stays behind."""

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import psycopg
import pytest
import trio

from bench.engine_bench import ZIPF_S
from bench.peers import cluster as clusters
from bench.peers import compare, function, packages
from bench.peers.engine_rows import Peer
from bench.peers.observer import Observer
from bench.peers.plan import Settings, Target, left_out, settings
from bench.peers.report import as_table
from bench.peers.result import Comparison, Row, row
from gateway import exits
from gateway.cli import run
from gateway.exits import CommandError

_TINY = Settings(
    False,
    (200,),
    1,
    1,
    0.5,
    7,
    mixes=("uniform",),
    merchants=5,
    clients=(2,),
    gateway=False,
    alone=False,
)
_NAMES = {"measure", "ours", "peer", "ratio", "ci95", "target", "pass"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user can get into, as pytest's own are not where we are root."""
    with tempfile.TemporaryDirectory(prefix="piaohao-test-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def _processes(place: Path) -> dict[int, str]:
    """Processes whose command line names the folder: the server, and what removes it."""
    found = {}
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes()
        except OSError:
            continue
        if str(place).encode() in line:
            found[int(each.parent.name)] = line.replace(b"\0", b" ").decode()
    return found


def test_comparison_reports_each_measure_and_leaves_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both sides' books were checked, or it would have failed; one pair shows no difference."""
    out = tmp_path / "comparison.json"
    assert compare.run(_TINY, None, place, strict=False, json=True, out=out) == 0
    said = capsys.readouterr()
    rows = msgspec.json.decode(said.out)
    assert len(rows) == 4
    for each in rows:
        assert each.keys() >= _NAMES
        assert each["ours"] > 0 < each["peer"]
        assert each["ratio"] == pytest.approx(each["ours"] / each["peer"], rel=0.01)
        assert each["ci95"] == [0, None]
        assert len(each["fdatasync_ms"]) == len(each["pairs"]) == 1
    assert [each["target"] for each in rows] == [2, None, 1.3, None]
    assert "synchronous_commit = on" in said.err
    assert "left out: cold" in said.err
    whole = msgspec.json.decode(out.read_bytes(), type=Comparison)
    assert msgspec.json.decode(msgspec.json.encode(whole.rows)) == rows
    kept = {each.side: each.value for each in whole.rounds if each.kept}
    assert kept["ours"] == pytest.approx(rows[0]["ours"], abs=0.1)
    assert (whole.settings, whole.peer_settings["synchronous_commit"]) == (_TINY, "on")
    assert {"lmdb", "psycopg"} <= whole.machine.packages.keys()
    assert list(tmp_path.iterdir()) == [out]
    assert list(place.iterdir()) == []
    assert _processes(place) == {}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_comparison_that_is_interrupted_leaves_no_server(place: Path, how: signal.Signals) -> None:
    """Whatever ends it: the server ends, and its folder is removed. SIGTERM is made a Ctrl-C."""
    command = "from gateway.cli import main; main()"
    arguments = ["bench", "compare", "postgres", "--quick", "--data", str(place)]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"PostgreSQL")
            others = _processes(place).keys() - {process.pid}
            # What removes the folder, and the server; one of its children may just begin.
            assert len(others) >= 2
            ends = []
            for each in others:
                with suppress(ProcessLookupError):
                    ends.append(os.pidfd_open(each))
            process.send_signal(how)
            assert process.wait() == (-how if how is signal.SIGKILL else 130)
        finally:
            process.kill()
    for end in ends:
        assert select.select([end], [], [], 30)[0], _processes(place)
        os.close(end)
    assert not list(place.glob("piaohao-peer-*"))
    if how is not signal.SIGKILL:
        assert list(place.iterdir()) == []


def test_interruption_among_tasks_is_one_by_itself(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyboardInterrupt

    monkeypatch.setattr(compare, "engine_rows", interrupted)
    peer = Peer("", place)
    with pytest.raises(KeyboardInterrupt):
        compare._measure(
            peer, place, _TINY, Observer(place, 0), place, list[Row]().extend, keep=False
        )


def test_comparison_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "NEEDED", ("msgspec", "no_such_package"))
    assert run(["bench", "compare", "postgres"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no_such_package not installed: run ./just setup" in said


def test_comparison_without_postgresql_says_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(place))
    monkeypatch.setattr(clusters, "_DEBIAN", place)
    assert run(["bench", "compare", "postgres", "--data", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt-get install postgresql" in said
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--data", "/no/such/folder"], "there is no such folder"),
        (["--data", "/dev/shm"], "is in memory"),
        (["--url", "postgres://127.0.0.1:1/x"], "does not serve"),
        (["--rounds", "3"], "Unknown option"),
        (["--pairs", "1"], "Must be >= 2"),
        (["--seed", "x"], "seed"),
        (["--out", "/"], "--out / is a folder"),
        (["--out", "/no/such/folder/file"], "cannot be written"),
        (["--profile", "/no/such/folder"], "--profile /no/such/folder"),
    ],
)
def test_comparison_refuses_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    assert run(["bench", "compare", "postgres", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert why in said


@pytest.mark.parametrize(("ours", "passed"), [(200.0, True), (199.0, False)])
def test_row_passes_from_its_target_on(ours: float, passed: bool) -> None:
    found = row("a measure", [ours, ours], [100, 100], [0.1, 0.3], Target(2, 4))
    assert found.passed is passed
    assert ("MISSED" in as_table([found])) is not passed
    assert row("a measure", [ours], [100], [0.1], None).passed is None


@pytest.mark.parametrize(("strict", "code"), [(True, 1), (False, 0)])
def test_strict_comparison_fails_where_a_target_is_missed(
    place: Path, monkeypatch: pytest.MonkeyPatch, server: str, *, strict: bool, code: int
) -> None:
    rows = [
        row("met", [300, 300], [100, 100], [0.1, 0.1], Target(2, 4)),
        row("missed", [199, 199], [100, 100], [0.1, 0.1], Target(2, 4)),
    ]
    monkeypatch.setattr(compare, "_measure", _telling(rows))
    assert compare.run(_TINY, server, place, strict=strict, json=True) == code


def test_comparison_that_fails_at_its_end_leaves_what_it_measured(
    place: Path, monkeypatch: pytest.MonkeyPatch, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rows are printed and in the file, which says that it is not the whole."""
    rows = [row("measured", [300, 300], [100, 100], [0.1, 0.1], Target(2, 4))]
    failing = CommandError(exits.CHECK_FAILED, "the large store does not verify")
    monkeypatch.setattr(compare, "_measure", _telling(rows, failing))
    out = place / "out.json"
    with pytest.raises(CommandError):
        compare.run(_TINY, server, place, strict=False, json=False, out=out)
    left = msgspec.json.decode(out.read_bytes(), type=Comparison)
    assert [each.measure for each in left.rows] == ["measured"]
    assert left.unfinished
    assert "measured" in capsys.readouterr().out


def _telling(rows: list[Row], failing: CommandError | None = None) -> Callable[..., None]:
    """Return what stands in for measuring: it tells the rows, and fails if it is to."""

    def measure(*arguments: object, **_: object) -> None:
        told = arguments[-1]
        assert callable(told)
        told(rows)
        if failing is not None:
            raise failing

    return measure


def test_quick_comparison_says_that_it_is_one() -> None:
    assert any(
        "10,000 accounts instead of 100,000" in each
        for each in left_out(settings(quick=True, seed=1))
    )
    assert settings(quick=False, seed=1).target_size() == 100_000


def test_pgbench_draws_zipf_as_our_driver_does(server: str, tmp_path: Path) -> None:
    """The first ranks come as often as they have to, within five standard errors."""
    draws = 6_000
    lines = [*function.draw("zipf", 10_000), "INSERT INTO drawn VALUES (:payer);"]
    (tmp_path / "draw").write_text("\n".join(lines))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("CREATE UNLOGGED TABLE drawn (payer integer)")
        subprocess.run(
            [
                *(str(clusters.programs() / "pgbench"), "-n", "-M", "prepared"),
                *("-f", str(tmp_path / "draw"), "-t", str(draws), "--random-seed=7", server),
            ],
            check=True,
            capture_output=True,
            env=os.environ | {"PGOPTIONS": "-c synchronous_commit=off"},
        )
        counted = connection.execute("SELECT payer, count(*) FROM drawn GROUP BY payer").fetchall()
        connection.execute("DROP TABLE drawn")
    drawn: dict[int, int] = dict(counted)
    total = sum(rank**-ZIPF_S for rank in range(1, 10_001))
    for rank in range(1, 7):
        share = rank**-ZIPF_S / total
        found = drawn[(rank - 1) * function._step(10_000) % 10_000] / draws
        assert abs(found - share) < 5 * (share / draws) ** 0.5, rank


@pytest.mark.parametrize("accounts", [3, 10_000, 1_000_000])
def test_step_hits_each_account_once(accounts: int) -> None:
    step = function._step(accounts)
    assert len({rank * step % accounts for rank in range(min(accounts, 10_000))}) == min(
        accounts, 10_000
    )


def test_rate_leaves_the_first_second_out() -> None:
    """1,000 in the first second, 6,000 in all, in three seconds: 2,500 a second from then on."""
    first = function._FIRST.search("progress: 1.0 s, 1000.0 tps, lat 1 ms stddev 0")
    assert function._once_warm(6_000, 2_000.0, first) == pytest.approx(2_500)
    assert function._once_warm(6_000, 2_000.0, None) == 2_000


def test_no_command_but_compare_loads_the_peers_packages() -> None:
    code = (
        "import bench.commands.bench, gateway.commands.serve, bench.engine_run, sys;"
        " sys.exit(any(name in sys.modules for name in ('psycopg', 'fastapi', 'uvicorn')))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
