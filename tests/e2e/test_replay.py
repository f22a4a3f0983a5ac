"""`piaohao replay` as people run it: real processes, a real store, killed and gone on with.

What it leaves behind is read through `piaohao export` and held against a bank of a few dozen lines
that takes the same rows one by one (`tests.bench.ledger_model`).
"""

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from bench.replay import run
from gateway import cli
from storage.folder import Folder
from tests.bench.ledger_model import Bank
from tests.bench.payment_files import (
    COLUMNS,
    Expected,
    at_random,
    followed,
    from_receipts,
    mistaken,
    transfers,
    write,
)
from tests.bench.receipts import receipts
from tests.e2e.session import PIAOHAO, Session, export, until_ended
from tests.effort import effort
from tests.shards import SHARDS

HEADER = ",".join(COLUMNS) + "\n"
PAID = "payment,o1,P1,M1,100,CNY,2026-01-05T08:00:00Z,\n"
KEYS = [
    *("rows", "ok", "refused", "malformed", "seconds", "rows_per_s", "address", "verify"),
]


@contextmanager
def _running(data: Path, *arguments: str | Path) -> Iterator[Session]:
    session = Session("replay", data, *map(str, arguments))
    try:
        yield session
    finally:
        if session.process.poll() is None:
            session.process.kill()
        session.process.communicate()


def _run(data: Path, *arguments: str | Path, within_s: float = 60) -> dict[str, Any]:
    """Run a replay to its end, which must be a good one, and return what it says of itself."""
    with _running(data, "--exit", "--json", *arguments) as session:
        code, out = session.finish(within_s)
        assert code == 0, session.said()
    result: dict[str, Any] = json.loads(out)
    assert list(result) == KEYS
    return result


def _assert_as_expected(
    result: dict[str, Any], data: Path, refusals: Path, expected: Expected
) -> None:
    """Counts and lists are equal, and every balance is to the cent."""
    assert result["verify"]["ok"]
    assert result["rows"] == expected.rows
    assert result["malformed"] == expected.malformed
    with refusals.open(encoding="ascii", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["line"], row["reference"], row["code"]) for row in rows] == expected.refusals
    assert result["refused"] == dict(expected.refused)
    assert result["ok"] == expected.ok
    accounts = {
        row["account"]: (row["currency"], int(row["posted_minor"]), int(row["held_minor"]))
        for row in export("accounts", data)
        if not row["account"].startswith("clearing-")
    }
    merchants = {
        row["merchant"]: (row["currency"], int(row["posted_minor"]), int(row["fees_minor"]))
        for row in export("merchants", data)
    }
    bank = expected.bank
    assert accounts == {
        number: (each.currency, each.posted, each.held) for number, each in bank.accounts.items()
    }
    assert merchants == {
        number: (each.currency, each.posted, each.fees) for number, each in bank.merchants.items()
    }


def _chance() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.mark.parametrize(
    ("opening_minor", "payers", "merchants", "step_s"),
    [(100_000_000_000, 60, 20, 300), (6_000, 30, 200, 600)],
    ids=["funds-for-all", "short-of-funds"],
)
def test_replay_comes_to_what_one_row_after_the_other_comes_to(
    tmp_path: Path, opening_minor: int, payers: int, merchants: int, step_s: int
) -> None:
    chance = _chance()
    rows = transfers(chance, at_random(chance, 700, payers, merchants, step_s), 0.1)
    rows = mistaken(chance, followed(chance, rows, 0.3, 40_000), 0.1)
    file, data, refusals = tmp_path / "file.csv", tmp_path / "bank", tmp_path / "refused.csv"
    expected = write(file, rows, Bank(opening_minor, 38), chance)
    terms = ("--opening-balance-minor", str(opening_minor), "--fee-bps", "38")
    result = _run(data, file, "--refusals", refusals, *terms)
    _assert_as_expected(result, data, refusals, expected)


def _rows_done(data: Path) -> int:
    """How many rows are known to be done."""
    with suppress(sqlite3.Error):
        path = f"file:{data / 'replay.sqlite'}?mode=ro"
        with closing(sqlite3.connect(path, uri=True)) as logbook:
            for (rows,) in logbook.execute("select value from facts where name = 'rows'"):
                return int(rows)
    return 0


def _come_to(data: Path, mark: int) -> bool:
    return _rows_done(data) >= mark


def _kill_again_and_again(
    chance: random.Random, data: Path, file: Path, expected: Expected, *terms: str
) -> None:
    """Five times SIGKILL, to the node, to the client and to both, then once to the end."""
    refusals = data.with_name("refused.csv")
    marks = sorted(chance.sample(range(expected.rows * 2 // 3), 5))
    victims = ["node", "client", "both", *chance.choices(["node", "client", "both"], k=2)]
    for mark, victim in zip(marks, victims, strict=True):
        with _running(data, file, "--exit", *terms) as session:
            client = session.client()
            session.until(partial(_come_to, data, mark), within_s=900)
            time.sleep(chance.uniform(0, 0.02))
            if victim != "node":
                os.kill(client, signal.SIGKILL)
            if victim != "client":
                session.process.kill()
            code, _ = session.finish()
            assert code == (1 if victim == "client" else -signal.SIGKILL), session.said()
            if victim == "client":
                assert "the client was killed by signal 9" in session.said()
            until_ended(client)
        assert not refusals.exists(), "a list that is not whole"
    before = _rows_done(data)
    assert 0 < before < expected.rows
    result = _run(data, file, "--refusals", refusals, *terms, within_s=900)
    _assert_as_expected(result, data, refusals, expected)


@pytest.mark.first
def test_replay_killed_five_times_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    chance = _chance()
    rows = transfers(chance, from_receipts(receipts()[: effort(2_500, 6_000)]), 0.05)
    rows = mistaken(chance, followed(chance, rows, 0.2, 60_000), 0.05)
    file, data = tmp_path / "file.csv", tmp_path / "bank"
    expected = write(file, rows, Bank(20_000), chance)
    _kill_again_and_again(chance, data, file, expected, "--opening-balance-minor", "20000")


@pytest.mark.long
def test_year_of_shopping_killed_five_times_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    """All baskets and what follows on them, about 250,000 rows: five minutes."""
    chance = _chance()
    rows = mistaken(
        chance,
        followed(chance, transfers(chance, from_receipts(receipts()), 0.05), 0.2, 400_000),
        0.05,
    )
    file, data = tmp_path / "file.csv", tmp_path / "bank"
    expected = write(file, rows, Bank(fee_bps=38), chance)
    _kill_again_and_again(chance, data, file, expected, "--fee-bps", "38")


@pytest.mark.long
def test_large_file_comes_to_what_the_model_says_and_says_how_fast(tmp_path: Path) -> None:
    """150,000 rows between 2,500 payers and 15,000 merchants, with all that follows on them."""
    chance = _chance()
    rows = transfers(chance, at_random(chance, 110_000, 2_500, 15_000, 200), 0.02)
    rows = mistaken(chance, followed(chance, rows, 0.2, 600_000), 0.05)
    file, data, refusals = tmp_path / "file.csv", tmp_path / "bank", tmp_path / "refused.csv"
    expected = write(file, islice(rows, 150_000), Bank(), chance)
    result = _run(data, file, "--refusals", refusals, within_s=600)
    print(f"{result['rows']:,} rows, {result['rows_per_s']:,.0f} a second, {SHARDS} shards")
    _assert_as_expected(result, data, refusals, expected)


@pytest.mark.one_shard
def test_finished_replay_stays_up_says_the_same_again_and_goes_on_with_a_longer_file(
    tmp_path: Path,
) -> None:
    data, file, refusals = tmp_path / "bank", tmp_path / "file.csv", tmp_path / "refused.csv"
    file.write_text(f"{HEADER}{PAID}sale\nrefund,r1,,M1,101,CNY,2026-01-06T08:00:00Z,o1\n")
    with _running(data, file, "--json") as session:
        assert session.process.stdout is not None
        first = json.loads(session.process.stdout.readline())
        assert first["address"] == session.address()
        with _running(tmp_path / "bank", file) as second:
            assert second.finish()[0] == 3, "the store is in use"
        session.process.send_signal(signal.SIGINT)
        assert session.finish() == (0, "")
        assert f"to go on: piaohao replay {file} --data {data}\n" in session.said()
    assert (first["rows"], first["ok"]) == (3, 1)
    assert first["refused"] == {"REFUND_EXCEEDS_REMAINING": 1}
    assert first["malformed"] == [{"line": 3, "code": "WRONG_COLUMN_COUNT"}]
    counts = ["rows", "ok", "refused", "malformed", "verify"]
    again = _run(data, file)
    assert {key: again[key] for key in counts[:4]} == {key: first[key] for key in counts[:4]}
    assert again["rows_per_s"] == 0
    assert again["verify"]["journal_rows"] == first["verify"]["journal_rows"]
    with file.open("a") as longer:
        longer.write("refund,r2,P1,M1,100,CNY,2026-01-06T08:00:00Z,o1\n")
    further = _run(data, file, "--refusals", refusals)
    assert (further["rows"], further["ok"], further["refused"]) == (4, 2, first["refused"])
    assert refusals.read_text() == "line,reference,code\n4,r1,REFUND_EXCEEDS_REMAINING\n"


@pytest.mark.one_shard
def test_restored_backup_is_brought_up_to_the_file_again(tmp_path: Path) -> None:
    """The logbook is ahead of a store from a backup, so nothing in it counts."""
    data, file = tmp_path / "bank", tmp_path / "file.csv"
    file.write_text(HEADER + PAID)
    _run(data, file)
    backup = tmp_path / "backup"
    subprocess.run([PIAOHAO, "backup", "--data", data, "--out", backup], check=True)
    with file.open("a") as longer:
        longer.write(PAID.replace("o1", "o2"))
    assert _run(data, file)["ok"] == 2
    restored = tmp_path / "restored"
    subprocess.run([PIAOHAO, "restore", "--data", restored, "--backup", backup], check=True)
    (data / "replay.sqlite").rename(restored / "replay.sqlite")
    assert _run(restored, file)["ok"] == 2
    (account,) = [row for row in export("accounts", restored) if row["account"] == "P1"]
    assert account["posted_minor"] == str(100_000_000_000 - 200)


def test_hold_that_is_due_expires_before_the_row_and_before_the_date_is_cut(
    tmp_path: Path,
) -> None:
    """What the hold reserved is free again for a payment a moment later, six dates on."""
    data, file = tmp_path / "bank", tmp_path / "file.csv"
    rows = [
        "hold,h1,P1,M1,900,CNY,2026-01-05T23:59:59.5Z,",
        "payment,o1,P1,M2,200,CNY,2026-01-12T23:59:59.499999Z,",
        "payment,o2,P1,M2,200,CNY,2026-01-12T23:59:59.5Z,",
        "void,v1,P1,M1,,CNY,2026-01-13T00:00:00Z,h1",
    ]
    file.write_text(HEADER + "\n".join(rows))
    result = _run(data, file, "--opening-balance-minor", "1000")
    assert result["refused"] == {"HOLD_EXPIRED": 1, "INSUFFICIENT_FUNDS": 1}
    dates = {row["business_date"] for row in export("postings", data)}
    assert dates == {"2026-01-05", "2026-01-12"}


@pytest.mark.one_shard
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be opened: No such file or directory"),
        (b"", "is empty"),
        (b"kind,reference\n", "its first line is not kind,reference,payer,"),
        (HEADER.replace("payer,merchant", "merchant,payer").encode(), "its first line is not"),
        (HEADER.encode("utf-16"), "its first line is not"),
        (b"\0" * 100_000, "its first line is not"),
    ],
    ids=["missing", "empty", "short-header", "other-order", "utf-16", "zeros"],
)
def test_file_that_is_none_of_a_replays_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, reason: str
) -> None:
    file = tmp_path / "file.csv"
    if content is not None:
        file.write_bytes(content)
    assert cli.run(["replay", str(file), "--data", str(tmp_path / "bank")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert reason in said.err
    assert not (tmp_path / "bank").exists()


@pytest.mark.one_shard
@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--opening-balance-minor -1",
        "--opening-balance-minor 1.5",
        "--fee-bps 10001",
        "--shards 0",
        "--shards 65",
        "--refusals /nowhere/refused.csv",
        "--refusals /",
        "--quick",
    ],
)
def test_arguments_that_mean_nothing_are_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(HEADER)
    asked = ["replay", *([str(file)] if arguments else []), *arguments.split(), "--exit"]
    assert cli.run(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


@pytest.mark.one_shard
def test_special_files_and_folders_are_no_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, Path("/dev/null")):
        assert cli.run(["replay", str(path), "--exit"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.one_shard
def test_store_that_does_not_fit_the_file_is_left_alone(tmp_path: Path) -> None:
    """Another file, a changed one, other terms, a bank whose date is later: one line, exit 2."""
    data, file, other = tmp_path / "bank", tmp_path / "file.csv", tmp_path / "other.csv"
    file.write_text(HEADER + PAID)
    _run(data, file)
    other.write_text(HEADER + PAID.replace("100", "101"))
    later = tmp_path / "later"
    with closing(Folder(later, create=True)) as folder:
        folder.create("2026-01-06", 1_767_657_600_000_000_000, shards=SHARDS)
    for store, asked, terms, reason in [
        (data, other, (), "is not the file whose replay is in"),
        (data, file, ("--fee-bps", "1"), "--opening-balance-minor 100000000000 --fee-bps 0"),
        (later, file, (), "stands at 2026-01-06, and the file begins on 2026-01-05"),
    ]:
        with _running(store, asked, *terms, "--exit") as session:
            code, _ = session.finish()
            assert (code, session.said().count("piaohao: ")) == (2, 1)
            assert reason in session.said()
    assert _run(data, file)["ok"] == 1


@pytest.mark.one_shard
def test_file_without_rows_is_replayed_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file.csv"
    file.write_text(HEADER.rstrip("\n"))
    result = _run(tmp_path / "bank", file)
    assert (result["rows"], result["ok"], result["refused"], result["malformed"]) == (0, 0, {}, [])
    assert result["verify"]["ok"]
    file.write_text(HEADER + "sale\n" * 3_000)
    result = _run(tmp_path / "other", file)
    assert (result["rows"], len(result["malformed"])) == (3_000, 3_000)


def test_replay_takes_a_store_that_was_made_before(tmp_path: Path) -> None:
    """Its date is cut until it is the first row's."""
    data, file = tmp_path / "bank", tmp_path / "file.csv"
    file.write_text(HEADER + PAID)
    subprocess.run(
        [
            *(PIAOHAO, "init", "--data", data, "--shards", str(SHARDS)),
            *("--begins-at", "2026-01-02T00:00:00Z"),
        ],
        check=True,
    )
    assert _run(data, file)["ok"] == 1
    assert {row["business_date"] for row in export("postings", data)} == {"2026-01-05"}


@pytest.mark.one_shard
def test_store_that_is_lost_is_made_anew(tmp_path: Path) -> None:
    """What the logbook says is void without the store that it says it of."""
    data, file = tmp_path / "bank", tmp_path / "file.csv"
    file.write_text(HEADER + PAID)
    _run(data, file)
    for shard in data.glob("shard-*"):
        shard.rename(tmp_path / f"lost-{shard.name}")
    assert _run(data, file)["ok"] == 1
    assert len(export("postings", data)) == 4


@pytest.mark.one_shard
def test_default_options_are_those_of_the_issue() -> None:
    options = run.Options(Path("file.csv"))
    assert (options.opening_balance_minor, options.fee_bps) == (10**11, 0)
    assert (options.shards, options.stay) == (None, True)
