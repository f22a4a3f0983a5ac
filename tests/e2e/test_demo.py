"""`piaohao demo` as people run it: real processes, a real store, killed and resumed.

What it leaves behind is read through `piaohao export` and held against sums of the data set that
are made without anything of ours (`tests.bench.receipts`).
"""

import json
import os
import random
import signal
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest

from bench import journey
from bench.sandbox import SANDBOX, credentials
from gateway import cli
from gateway.client import BankClient
from gateway.commands.calling import look
from gateway.exits import CommandError
from storage.folder import Folder
from tests.bench.receipts import Receipt, by, receipts
from tests.e2e.session import Session, ended, export, until_ended
from tests.effort import effort
from tests.shards import SHARDS

LIMIT = effort(1_500, 3_000)
KILLED_LIMIT = effort(4_500, 8_000)
KEYS = [
    *("baskets", "payments", "holds", "captures", "skipped_zero", "refused", "amount_minor"),
    *("day_cuts", "accounts", "merchants", "seconds", "payments_per_s", "p50_ms", "p99_ms"),
    *("commits", "address", "verify"),
]


class Demo(Session):
    """A demo that runs."""

    def __init__(self, data: Path, *arguments: str) -> None:
        super().__init__("demo", data, *arguments)

    def reach(self, date: str) -> None:
        """Wait until the node's business date has come that far."""
        self.until(lambda: _business_date(self.data) >= date)


@contextmanager
def _running(data: Path, *arguments: str) -> Iterator[Demo]:
    demo = Demo(data, *arguments)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
        demo.process.communicate()


def _run(data: Path, *arguments: str) -> dict[str, Any]:
    """Run a demo to its end, which must be a good one, and return what it says of itself."""
    with _running(data, "--exit", "--json", *arguments) as demo:
        code, out = demo.finish()
        assert code == 0, demo.said()
    result: dict[str, Any] = json.loads(out)
    return result


def _assert_settled(result: dict[str, Any], data: Path, among: tuple[Receipt, ...]) -> None:
    """Every household has paid and every store has got what the data set says, to the cent."""
    sums = {f"household-{key}": total for key, total in by("household_id", among).items()}
    earned = {f"store-{key}": total for key, total in by("store_id", among).items()}
    fuel = sum(receipt.fuel for receipt in among)
    zero = sum(not receipt.amount_minor for receipt in among)
    expected = {
        "baskets": len(among),
        "payments": len(among) - fuel - zero,
        "holds": fuel,
        "captures": fuel,
        "skipped_zero": zero,
        "refused": {},
        "amount_minor": sum(receipt.amount_minor for receipt in among),
        "accounts": 2_469,
        "merchants": 457,
    }
    assert {key: result[key] for key in expected} == expected
    assert result["verify"]["ok"]
    accounts = {row["account"]: row for row in export("accounts", data)}
    clearing = accounts.pop("clearing-USD")
    assert len(accounts) == 2_469
    assert {row["held_minor"] for row in accounts.values()} == {"0"}
    balances = {number: int(row["posted_minor"]) for number, row in accounts.items()}
    put_in: Counter[str] = Counter()
    paid: Counter[str] = Counter()
    for row in export("postings", data):
        if row["account"] in balances:
            amount = int(row["amount_minor"])
            (put_in if row["reference"].startswith("funding/") else paid)[row["account"]] += amount
    assert {number: -total for number, total in paid.items()} == sums
    assert balances == {number: put_in[number] - sums.get(number, 0) for number in balances}
    assert int(clearing["posted_minor"]) == -put_in.total()
    merchants = {row["merchant"]: int(row["posted_minor"]) for row in export("merchants", data)}
    assert {number: total for number, total in merchants.items() if total} == earned


@pytest.mark.first
@pytest.mark.one_shard
def test_demo_settles_every_basket_stays_up_and_can_be_taken_further(tmp_path: Path) -> None:
    """First with a low limit and Ctrl-C at the end, then with a higher one on the same folder."""
    data = tmp_path / "bank"
    with _running(data, "--limit", "700", "--json") as demo:
        assert demo.process.stdout is not None
        first = json.loads(demo.process.stdout.readline())
        assert list(first) == KEYS
        assert first["baskets"] == 700
        assert first["address"] == demo.address()
        assert first["p50_ms"] <= first["p99_ms"]
        assert _business_date(data) == "2017-01-02"
        identity, root = credentials(data / SANDBOX)
        with BankClient(first["address"], identity, root) as bank:
            assert bank.node().business_date == "2017-01-02"
        unsigned = httpx2.get(
            f"{first['address']}/v1/node", verify=ssl.create_default_context(cafile=root)
        )
        assert (unsigned.status_code, unsigned.json()["code"]) == (401, "SIGNATURE_MISSING")
        with _running(tmp_path / "bank", "--exit") as second:
            assert second.finish()[0] == 3
            assert second.said().count("\n") == 1
        demo.process.send_signal(signal.SIGINT)
        assert demo.finish() == (0, "")
    result = _run(data, "--limit", str(LIMIT))
    among = receipts()[:LIMIT]
    _assert_settled(result, data, among)
    assert result["day_cuts"] == _days(among)
    again = _run(data, "--limit", str(LIMIT))
    timed = {"seconds", "payments_per_s", "p50_ms", "p99_ms", "address", "commits", "verify"}
    assert all(again[key] == result[key] for key in result.keys() - timed)
    assert again["verify"]["journal_rows"] == result["verify"]["journal_rows"]


def _days(among: tuple[Receipt, ...]) -> int:
    """The cuts between the first and the last of these baskets."""
    return among[-1].seconds // 86_400 - among[0].seconds // 86_400


def _business_date(data: Path) -> str:
    try:
        return str(look(data, "/v1/node")["business_date"])
    except CommandError:
        return ""


@pytest.mark.first
@pytest.mark.one_shard  # with three a replay is killed as often (test_replay.py)
def test_demo_killed_again_and_again_ends_with_the_same_balances(tmp_path: Path) -> None:
    """SIGKILL at random dates and moments, to the node and to the client, also as they start.

    The client, which nobody tells, never outlives its node.
    """
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    data = tmp_path / "bank"
    among = receipts()[:KILLED_LIMIT]
    dates = [f"2017-01-{day:02d}" for day in sorted(chance.sample(range(1, _days(among) - 4), 4))]
    ends = []
    for turn, date in enumerate(["", *dates, ""]):
        with _running(data, "--limit", str(KILLED_LIMIT), "--exit", "--json") as demo:
            client = demo.client()
            if date:
                demo.reach(date)
            time.sleep(chance.uniform(0, 0.05 if date else 1.0))
            with suppress(ProcessLookupError):
                os.kill(client if turn % 3 == 1 else demo.process.pid, signal.SIGKILL)
            code, out = demo.finish()
            ends.append(code)
            if code == 1:
                assert "the client was killed by signal 9" in demo.said()
                assert out == ""
            until_ended(client)
    print("ends", ends)
    assert ends.count(-signal.SIGKILL) >= 3, ends
    assert set(ends) <= {0, 1, -signal.SIGKILL}, ends
    result = _run(data, "--limit", str(KILLED_LIMIT))
    _assert_settled(result, data, among)
    assert result["day_cuts"] == _days(among)


@pytest.mark.one_shard
def test_demo_told_to_stop_half_way_says_how_to_go_on(tmp_path: Path) -> None:
    """Everything that was admitted is finished first; the client is gone when the node is."""
    data = tmp_path / "bank"
    with _running(data, "--limit", "12000", "--json") as demo:
        client = demo.client()
        demo.reach("2017-01-05")
        demo.process.send_signal(signal.SIGINT)
        assert demo.finish() == (130, "")
        assert ended(client)
        assert f"to go on: piaohao demo --data {data}\n" in demo.said()


@pytest.mark.long
def test_whole_year_settles_to_the_cent(tmp_path: Path) -> None:
    """All 155,848 baskets: half a minute, and the figures that stand in the README."""
    data = tmp_path / "bank"
    result = _run(data)
    assert (result["payments"], result["holds"], result["captures"]) == (142_376, 12_994, 12_994)
    assert (result["skipped_zero"], result["day_cuts"]) == (478, 365)
    assert result["amount_minor"] == 459_603_958
    _assert_settled(result, data, receipts())


@pytest.mark.one_shard
@pytest.mark.parametrize("arguments", ["--limit -1", "--limit 0", "--limit many", "--quick"])
def test_arguments_that_mean_nothing_are_said_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert cli.run(["demo", *arguments.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


@pytest.mark.one_shard
def test_data_set_that_is_not_installed_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(journey, "find_spec", lambda name: None)
    assert cli.run(["demo", "--data", str(tmp_path / "bank")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "pip install '.[demo]'" in said
    assert not (tmp_path / "bank").exists()


@pytest.mark.one_shard
def test_folder_that_cannot_be_used_ends_with_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert cli.run(["demo", "--data", str(tmp_path / "file")]) == 3
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.one_shard
def test_store_of_another_bank_is_left_alone(tmp_path: Path) -> None:
    """Its business date is no date of 2017, so it cannot be one of the demo's."""
    folder = Folder(tmp_path / "bank", create=True)
    folder.create("2026-01-05", 1_767_571_200_000_000_000, shards=SHARDS)
    folder.close()
    with _running(tmp_path / "bank", "--exit") as demo:
        assert demo.finish() == (2, ANY)
        assert "no demo's store" in demo.said()
