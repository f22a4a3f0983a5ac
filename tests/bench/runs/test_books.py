"""What the journal says was moved is held against what clients were told."""

from pathlib import Path

import pytest

from bench.engine_run import filled
from bench.runs.books import check
from bench.runs.result import Checked
from bench.workloads.errand import Moved
from storage.folder import Folder

ACCOUNTS, MERCHANTS = 4, 2


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a store in which each merchant was paid 100 by each of its two customers."""
    folder = Folder(tmp_path / "store", create=True)
    for store in filled(folder, ACCOUNTS, MERCHANTS, paid=True, shards=3):
        store.close(clean=True)
    folder.close()
    return tmp_path / "store"


def checked(data: Path, moved: Moved, *, accounts: bool = False) -> Checked:
    """Check all of the store's postings against what clients were told."""
    return check(data, [1, 1, 1], moved, accounts=accounts, verified=True, signatures=7)


@pytest.mark.parametrize(
    ("moved", "missing", "untold"),
    [
        (Moved({"M00000": 200, "M00001": 200}), 0, 0),
        (Moved({"M00000": 203, "M00001": 200}), 3, 0),
        (Moved({"M00000": 190, "M00001": 200}, {"M00000": 4}), 0, 6),
        (Moved({"M00000": 190, "M00001": 200}, {"M00000": 50}), 0, 0),
        (Moved({"M00000": 210, "M00001": 200}, {}, {"M00000": 10}), 0, 0),
        (Moved({"M00000": 210, "M00001": 200}, {}, {"M00000": 3}), 7, 0),
        (Moved({"M00000": 200}), 0, 200),
        (Moved({"M00000": 200, "M00001": 200, "M00009": 1}), 1, 0),
    ],
)
def test_difference_is_told_by_which_side_it_is_on(
    data: Path, moved: Moved, missing: int, untold: int
) -> None:
    result = checked(data, moved)
    assert (result.missing_minor, result.untold_minor) == (missing, untold)
    assert result.ok == (not missing and not untold)
    assert result.verify_ok
    assert result.signatures == 7


def test_accounts_are_compared_where_money_goes_between_them(data: Path) -> None:
    opened = {f"6217{n:012d}": 1_000_000_000 - 100 for n in range(ACCOUNTS)}
    assert checked(data, Moved(opened), accounts=True).ok
    opened[f"6217{0:012d}"] += 1
    assert checked(data, Moved(opened), accounts=True).missing_minor == 1


def test_postings_before_the_run_do_not_count(data: Path) -> None:
    with_none = check(data, [99, 99, 99], Moved(), accounts=False, verified=False, signatures=0)
    assert with_none.ok
    assert with_none.verify_ok is None
