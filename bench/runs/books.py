"""The books of a run: what its postings moved, held against what clients were told.

The journal from the run's first posting on says what moved on each ledger account, whatever was in
the store before; that balances are the sums of their postings is for `verify` to find. Where
merchants are paid their side is compared; where money goes from account to account, both.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.runs.result import Checked
from bench.workloads.errand import Moved
from gateway.operations import closing_all
from gateway.verification import verify
from storage.folder import Folder, release
from storage.journal import open_page, sequence_key
from storage.row import JOURNAL
from storage.store import Snapshot

VIOLATIONS_MAX: Final = 10
_MERCHANT: Final = "merchant/"
_RECEIVABLE: Final = "/receivable"
_CLEARING: Final = "clearing-"


def check(
    data: Path,
    firsts: Sequence[int],
    moved: Moved,
    *,
    accounts: bool,
    verified: bool,
    signatures: int,
) -> Checked:
    """Check the store in a folder that nobody uses any more.

    Args:
        firsts: by shard, the sequence of the first posting of the run.
        accounts: customers' accounts are compared, and not merchants.
        verified: all that must hold is checked too.
        signatures: see `Checked`.

    Raises:
        StorageError: it cannot be read.
    """
    with closing(Folder(data)) as folder:
        stores = folder.open()
        try:
            with closing_all([store.snapshot() for store in stores]) as snapshots:
                posted = _posted(snapshots, firsts, accounts=accounts)
                report = verify(snapshots) if verified else None
        finally:
            release(stores)
    missing = untold = 0
    numbers = posted.keys() | moved.told.keys() | moved.more.keys() | moved.less.keys()
    for number in numbers:
        told, was = moved.told.get(number, 0), posted[number]
        missing += max(0, told - moved.less.get(number, 0) - was)
        untold += max(0, was - told - moved.more.get(number, 0))
    violations = [] if report is None else report.violations[:VIOLATIONS_MAX]
    fine = report is None or report.ok
    return Checked(
        ok=fine and not missing and not untold,
        verify_ok=None if report is None else report.ok,
        violations=[f"{each.invariant}: {each.key}: {each.detail}" for each in violations],
        accounts=len(numbers),
        missing_minor=missing,
        untold_minor=untold,
        unknown_minor=sum(moved.more.values()) + sum(moved.less.values()),
        signatures=signatures,
    )


def _posted(
    snapshots: Sequence[Snapshot], firsts: Sequence[int], *, accounts: bool
) -> Counter[str]:
    """Return what was posted from the first postings on, by number of account or merchant."""
    posted: Counter[str] = Counter()
    for snapshot, first in zip(snapshots, firsts, strict=True):
        for page in snapshot.scan(JOURNAL, start=sequence_key(first)):
            for _, posting in open_page(*page):
                name = posting.account
                if name.startswith(_MERCHANT):
                    if not accounts:
                        posted[name.removeprefix(_MERCHANT).removesuffix(_RECEIVABLE)] += (
                            posting.amount_minor
                        )
                elif accounts and not name.startswith(_CLEARING):
                    posted[name] += posting.amount_minor
    return posted
