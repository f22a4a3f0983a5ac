"""Exports have exactly the columns that are promised, and the figures that the API gives."""

import csv
from pathlib import Path
from typing import Any, get_args

import pytest

from gateway.exporting import COLUMNS, What, export
from storage.memory import MemoryStore
from tests.gateway.desk_client import capture, hold, new_store, open_desk, payment


async def _store() -> MemoryStore:
    store = new_store()
    async with open_desk(store=store) as client:
        await client.shop()
        await client.commands(
            payment("O1", 700),
            payment("O2", 10**9),
            hold("H1", 500),
            capture("H1", "C1", 200),
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R1",
             "order_no": "O1", "amount_minor": 100},
        )  # fmt: skip
    return store


def _rows(store: MemoryStore, what: What, out: Path) -> list[dict[str, Any]]:
    count = export([store.snapshot()], what, out, lambda: None)
    with out.open(newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    return rows


EXPECTED: dict[What, list[str]] = {
    "accounts": ["A1,customer,OPEN,USD,9200,300,0", "clearing-USD,clearing,OPEN,USD,-10000,0,0"],
    "merchants": ["M1,ACTIVE,USD,791,9"],
    "payments": [
        "M1,O1,A1,700,100,USD,SUCCEEDED,,2026-01-05",
        "M1,O2,A1,1000000000,0,USD,FAILED,INSUFFICIENT_FUNDS,2026-01-05",
    ],
    "holds": ["M1,H1,A1,500,200,PARTIALLY_CAPTURED"],
    "refunds": ["M1,R1,O1,100,SUCCEEDED"],
}


@pytest.mark.parametrize("what", EXPECTED)
async def test_export_holds_every_row_in_its_columns(what: What, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    _rows(await _store(), what, out)
    header, *rows = out.read_text("ascii").splitlines()
    assert header == COLUMNS[what]
    assert rows == EXPECTED[what]


async def test_postings_add_up_to_the_balances(tmp_path: Path) -> None:
    store = await _store()
    rows = _rows(store, "postings", tmp_path / "postings.csv")
    assert [int(each["seq"]) for each in rows] == list(range(1, len(rows) + 1))
    balances: dict[str, tuple[int, str]] = {}
    for each in rows:
        before, prev = balances.get(each["account"], (0, "0"))
        after = before + int(each["amount_minor"])
        assert (after, prev) == (int(each["balance_after_minor"]), each["prev"])
        balances[each["account"]] = (after, each["seq"])
    assert {account: balance for account, (balance, _) in balances.items()} == {
        "A1": 9_200,
        "clearing-USD": -10_000,
        "merchant/M1/receivable": 791,
        "merchant/M1/fees": 9,
    }


def test_every_kind_has_its_columns() -> None:
    assert set(COLUMNS) == set(get_args(What))


async def test_export_that_breaks_off_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither half a file under its name, nor the unfinished one; what was there stays."""
    out = tmp_path / "out.csv"
    out.write_text("before", "ascii")
    store = await _store()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export([store.snapshot()], "payments", out, stop)
    assert _contents(tmp_path) == {"out.csv": "before"}


def _contents(folder: Path) -> dict[str, str]:
    return {each.name: each.read_text("ascii") for each in folder.iterdir()}
