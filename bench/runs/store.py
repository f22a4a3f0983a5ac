"""The store of a run: made for it, or a given one, copied or used where it is.

A copy leaves the given store as it was filled, so that the next run begins on the same; a large one
takes long to copy and is used in place unless asked otherwise. What a given store holds is found
by looking for its accounts and merchants (`bench.bulk` numbers them without a gap).
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from actors.kinds import ACCOUNT, MERCHANT
from bench.bulk import account_no, merchant_no
from bench.engine_run import filled
from bench.runs.result import Store
from bench.runs.settings import Settings
from bench.runs.workload import accounts_in_store, accounts_of_store, opening_of
from engine.address import shard_of
from engine.kind import ActorKind
from gateway.exits import INPUT, CommandError
from gateway.lookup import state_at
from gateway.operations import closing_all
from storage.folder import Folder, release
from storage.lmdb_store import LmdbStore
from storage.store import Snapshot

COPIED_MAX_BYTES: Final = 2 << 30
"""A given store up to this size is copied unless asked otherwise."""


class Prepared(Struct, frozen=True):
    """A store that is closed, and what it holds.

    Attributes:
        firsts: by shard, the sequence of the first posting that the run will make.
    """

    path: Path
    about: Store
    firsts: list[int]


def prepared(settings: Settings, fresh: Path) -> tuple[Prepared, Settings]:
    """Return the store of a run, and the settings with what it holds.

    Args:
        fresh: where a store is made, or copied to.

    Raises:
        StorageError: the given store cannot be used.
        CommandError: INPUT: it is not one that `piaohao bench fill` has made.
    """
    path = fresh
    if settings.data is None:
        _fill(settings, fresh)
        kind = "fresh"
    elif copied(settings):
        _say(f"copying {settings.data}")
        with closing(Folder(settings.data)), closing(Folder(fresh, create=True)) as folder:
            folder.restore(settings.data)
        kind = "copy"
    else:
        path, kind = settings.data, "in place"
    dropped = settings.workload == "cold" and drop_pages(path)
    with closing(Folder(path)) as folder:
        stores = folder.open()
        try:
            lasts = [store.last for store in stores]
            accounts, merchants = accounts_in_store(settings), settings.merchants
            if settings.data is not None:
                accounts, merchants = _found(stores)
            own = accounts_of_store(settings, accounts)
            if own < 2 or not merchants:
                detail = f"{settings.data} holds too few accounts of piaohao bench fill"
                raise CommandError(INPUT, detail)
        finally:
            release(stores)
    about = Store(
        kind=kind,  # type: ignore[arg-type]
        accounts=accounts,
        merchants=merchants,
        shards=len(lasts),
        postings=sum(last.posting_first + last.postings - 1 for last in lasts),
        commits=sum(last.sequence for last in lasts),
        dropped=dropped,
    )
    full = replace(settings, accounts=own, merchants=merchants, shards=len(lasts))
    return Prepared(path, about, [last.posting_first + last.postings for last in lasts]), full


def _fill(settings: Settings, path: Path) -> None:
    with closing(Folder(path, create=True)) as folder:
        stores = filled(
            folder,
            accounts_in_store(settings),
            settings.merchants,
            paid=False,
            shards=settings.shards,
            opening=opening_of(settings),
        )
        for store in stores:
            store.close(clean=True)


def copied(settings: Settings) -> bool:
    """Return whether a run has a copy of the given store."""
    if settings.data is None:
        return False
    if settings.keep != "auto":
        return settings.keep == "copy"
    return _bytes(settings.data) <= COPIED_MAX_BYTES


def _bytes(data: Path) -> int:
    """Return the room that a store takes; its files have holes."""
    return sum(each.stat().st_blocks * 512 for each in data.rglob("data.mdb"))


def drop_pages(data: Path) -> bool:
    """Have the kernel forget a store's pages, so that it has to read them; returns whether it
    was told to, which is not everywhere possible."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for each in data.rglob("data.mdb"):
        file = os.open(each, os.O_RDONLY)
        try:
            # What is not written yet is not dropped.
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    return True


def _found(stores: Sequence[LmdbStore]) -> tuple[int, int]:
    with closing_all([store.snapshot() for store in stores]) as snapshots:
        return (
            _count(snapshots, ACCOUNT, account_no),
            _count(snapshots, MERCHANT, merchant_no),
        )


def _count(snapshots: Sequence[Snapshot], kind: ActorKind, number: Callable[[int], str]) -> int:
    """Return how many there are, from 0 on without a gap."""

    def there(n: int) -> bool:
        name = number(n)
        snapshot = snapshots[shard_of(f"{kind.name}/{name}", len(snapshots))]
        return state_at(snapshot, kind, name) is not None

    above = 1
    while there(above - 1):
        above *= 2
    # The first that is missing lies from above/2 to above - 1.
    low = above // 2
    high = above - 1
    while low < high:
        middle = (low + high) // 2
        if there(middle):
            low = middle + 1
        else:
            high = middle
    return low


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
