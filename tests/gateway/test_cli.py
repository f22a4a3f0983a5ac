"""The command line: every way to use it wrongly ends in one clear line and the right exit code."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest

from gateway import cli
from gateway.commands import parked
from gateway.exits import CHECK_FAILED, INPUT, OK, STORE, UNREACHABLE
from storage.folder import SOCKET_NAME, Folder, release
from storage.row import META, seal
from tests.shards import SHARDS

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

GATEWAY = ("ask", "backup", "day", "export", "init", "restore", "serve", "verify")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Run a command line in this process; returns exit code, stdout and stderr."""
    capsys.readouterr()
    code = cli.run([str(each) for each in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _one_line(err: str) -> str:
    """Return the only line there is on stderr."""
    assert err.startswith("piaohao: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


@pytest.fixture
def bank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a new store in it."""
    data = tmp_path / "bank"
    assert _run(capsys, "init", "--data", data, "--shards", str(SHARDS))[0] == OK
    return data


def test_overview_names_every_command_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = _run(capsys, "--help")
    assert (code, err) == (OK, "")
    commands = {entry.name for entry in entry_points(group=cli.GROUP)}
    lines = [line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  ")]
    assert {name for name, _ in lines} == commands
    assert all(len(summary) > 10 for _, summary in lines)


def test_overview_imports_no_command() -> None:
    """Neither the list nor one command's help waits for what another command needs."""
    code = (
        "import sys\nfrom gateway import cli\ncli.run(['--help'])\n"
        "bad = [m for m in sys.modules if m.split('.')[0] in {'quart', 'trio', 'lmdb', 'cyclopts'}"
        " or '.commands.' in m]\nassert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("name", GATEWAY)
def test_help_of_a_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("day", "cut", "--help") if name == "day" else (name, "--help")
    code, out, _ = _run(capsys, *arguments)
    assert code == OK
    assert f"Example: piaohao {name}" in out
    assert "--data" in out


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(capsys, "--version") == (OK, "piaohao 0.1.0\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("--nonsense",),
        ("serve",),
        ("serve", "--data"),
        ("serve", "--data", "x", "--lisen", "127.0.0.1:0"),
        ("serve", "--data", "x", "extra"),
        ("serve", "--data", "x", "--unsigned", "--listen", "0.0.0.0:0"),
        ("serve", "--data", "x", "--listen", "nowhere"),
        ("serve", "--data", "x", "--unsigned", "--express-listen", "0.0.0.0:0"),
        ("serve", "--data", "x", "--express-listen", "nowhere"),
        ("serve", "--data", "x", "--name", "no name"),
        ("serve", "--data", "x", "--name", "bank.example", "--name", "http://bank.example"),
        ("serve", "--data", "x", "--connections", "0"),
        ("serve", "--data", "x", "--connections-per-peer", "0"),
        ("serve", "--data", "x", "--tls-certificate", "x"),
        ("serve", "--data", "x", "--tls-key", "x"),
        ("serve", "--data", "x", "--unsigned", "--tls-client-ca", "x"),
        ("serve", "--data", "x", "--plain", "--tls-key", "x"),
        ("serve", "--data", "x", "--tls-certificate", "nothing", "--tls-key", "nothing"),
        ("serve", "--data", "x", "--clock", "sundial"),
        ("serve", "--data", "x", "--timeout-s", "0"),
        ("serve", "--data", "x", "--timeout-s", "61"),
        ("serve", "--data", "x", "--timeout-s", "nan"),
        ("serve", "--data", "x", "--timeout-s", "soon"),
        ("serve", "--data", "x", "--rate", "0"),
        ("serve", "--data", "x", "--rate", "nan"),
        ("serve", "--data", "x", "--rate", "inf"),
        ("serve", "--data", "x", "--rate", "1e-310"),
        ("init",),
        ("init", "--data", "x", "--begins-at", "yesterday"),
        ("init", "--data", "x", "--begins-at", "2026-01-05T00:00:00"),
        ("init", "--data", "x", "--begins-at", "1969-01-01T00:00:00Z"),
        ("init", "--data", "x", "--business-date", "2026-02-30"),
        ("verify",),
        ("verify", "--data", "x", "--josn"),
        ("export", "--data", "x", "--out", "y"),
        ("export", "everything", "--data", "x", "--out", "y"),
        ("export", "accounts", "--data", "x"),
        ("backup", "--data", "x"),
        ("restore", "--data", "x"),
        ("day",),
        ("day", "cut"),
        ("day", "cut", "2026-01-05"),
        ("day", "cut", "tomorrow", "--data", "x"),
        ("day", "mend", "2026-01-05", "--data", "x"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    arguments: Sequence[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = _run(capsys, *arguments)
    assert (code, out) == (INPUT, "")
    _one_line(err)
    assert list(tmp_path.iterdir()) == [], "it left something behind"


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--data", "{data}", "--listen", "127.0.0.1:0"),
        ("verify", "--data", "{data}"),
        ("export", "accounts", "--data", "{data}", "--out", "{data}/out.csv"),
        ("backup", "--data", "{data}", "--out", "{data}/copy"),
        ("day", "cut", "2026-01-05", "--data", "{data}"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_missing_store_is_exit_3_and_says_how_to_make_one(
    arguments: Sequence[str], there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "bank"
    if there:
        data.mkdir()
    code, out, err = _run(capsys, *(each.format(data=data) for each in arguments))
    assert (code, out) == (STORE, "")
    assert "piaohao init" in _one_line(err)
    assert not there or list(data.iterdir()) == [], "it left something behind"


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--listen", "127.0.0.1:0"),
        ("verify",),
        ("export", "accounts", "--out", "x.csv"),
        ("backup", "--out", "copy"),
    ],
)
def test_store_held_by_something_that_does_not_answer_is_exit_3(
    arguments: Sequence[str], bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Folder(bank)):
        code, out, err = _run(capsys, *arguments, "--data", bank)
    assert (code, out) == (STORE, "")
    assert "in use" in _one_line(err)


def test_init_refuses_a_folder_with_a_store(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "init", "--data", bank)
    assert code == INPUT
    assert "already" in _one_line(err)


def test_init_says_what_it_has_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "deep" / "bank"
    code, out, err = _run(
        capsys, "init", "--data", data, "--begins-at", "2017-01-01T23:30:00-01:00", "--json"
    )
    assert (code, err) == (OK, "")
    assert json.loads(out) == {
        "data": str(data),
        "business_date": "2017-01-02",
        "shards": 1,
    }


def test_folder_that_cannot_be_made_is_exit_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", "ascii")
    code, _, err = _run(capsys, "init", "--data", tmp_path / "file" / "bank")
    assert code == STORE
    _one_line(err)


def test_file_that_is_no_store_is_refused_and_verify_says_why(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bank / "shard-0" / "data.mdb").write_bytes(b"no database" * 1_000)
    code, _, err = _run(capsys, "serve", "--unsigned", "--listen", "127.0.0.1:0", "--data", bank)
    assert code == STORE
    _one_line(err)
    code, out, err = _run(capsys, "verify", "--data", bank)
    assert (code, err) == (CHECK_FAILED, "")
    assert "structure: data.mdb shard-0: not an LMDB data file" in out


def test_store_of_another_version_is_exit_3(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:

    with lmdb.open(str(bank / "shard-0"), max_dbs=1, map_size=1 << 30) as env:
        table = env.open_db(META.encode())
        with env.begin(write=True) as txn:
            payload = msgspec.msgpack.encode({"version": 999})
            txn.put(b"format", seal(META, b"format", payload), db=table)
    code, _, err = _run(capsys, "verify", "--data", bank)
    assert code == STORE
    assert "999" in _one_line(err)


def test_day_cut_without_a_node_is_exit_4(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = _run(capsys, "day", "cut", "2026-01-05", "--data", bank)
    assert code == UNREACHABLE
    assert "piaohao serve" in _one_line(err)


def test_day_cut_on_a_node_that_does_not_answer_is_exit_4(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Folder(bank)), socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(bank / SOCKET_NAME))
        code, _, err = _run(capsys, "day", "cut", "2026-01-05", "--data", bank)
    assert code == UNREACHABLE
    _one_line(err)


def test_parked_messages_are_listed_without_a_node_and_released_only_by_one(
    bank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._call(parked.app, ["list", "--data", str(bank), "--json"]) == OK
    assert json.loads(capsys.readouterr().out) == {"parked": []}
    for name in ("release", "discard"):
        assert cli._call(parked.app, [name, "merchant/M1", "--data", str(bank)]) == UNREACHABLE
        _one_line(capsys.readouterr().err)
        assert cli._call(parked.app, [name, "nobody", "--data", str(bank)]) == INPUT
        _one_line(capsys.readouterr().err)
    assert cli._call(parked.app, []) == INPUT


def test_export_into_no_folder_is_exit_2(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "out.csv"
    code, _, err = _run(capsys, "export", "accounts", "--data", bank, "--out", out)
    assert code == INPUT
    assert "nowhere" in _one_line(err)


def test_backup_into_a_folder_with_something_is_exit_2(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = _run(capsys, "backup", "--data", bank, "--out", tmp_path)
    assert code == INPUT
    assert "not empty" in _one_line(err)


def test_restore_from_nothing_is_exit_3_and_leaves_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new"
    code, _, err = _run(capsys, "restore", "--backup", tmp_path / "none", "--data", data)
    assert code == STORE
    _one_line(err)
    assert _run(capsys, "verify", "--data", data)[0] == STORE


def test_backup_and_restore_give_an_equal_store_of_its_own(
    bank: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, again = tmp_path / "copy", tmp_path / "again"
    assert _run(capsys, "backup", "--data", bank, "--out", copy)[0] == OK
    assert _run(capsys, "restore", "--backup", copy, "--data", again)[0] == OK
    code, _, err = _run(capsys, "restore", "--backup", copy, "--data", again)
    assert code == INPUT
    assert "already" in _one_line(err)

    def report(data: Path) -> Any:
        code, out, _ = _run(capsys, "verify", "--data", data, "--json")
        assert code == OK
        return json.loads(out)

    assert report(again) == report(bank)
    with closing(Folder(bank)) as one, closing(Folder(again)) as other:
        stores, copies = one.open(), other.open()
        assert stores[0].format.incarnation != copies[0].format.incarnation
        release([*stores, *copies])


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("verify",), "ok violations shards journal_rows chain_heads sums"),
        (("export", "accounts", "--out", "{tmp}/a.csv"), "what out rows"),
        (("backup", "--out", "{tmp}/copy"), "out durable_seq audit fault"),
    ],
)
def test_json_is_one_object_on_stdout(
    arguments: Sequence[str],
    keys: str,
    bank: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = (each.format(tmp=tmp_path) for each in arguments)
    code, out, err = _run(capsys, *filled, "--data", bank, "--json")
    assert (code, err) == (OK, "")
    assert out.count("\n") == 1
    assert list(json.loads(out)) == keys.split()


def test_output_that_nobody_reads_is_no_error(bank: Path) -> None:
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "verify"]
    reading, writing = os.pipe()
    os.close(reading)
    run = subprocess.run(
        [*command, "--data", str(bank)], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert run.stderr == b""
