"""The large store: 10,000,000 accounts, each of which has paid once, to be cold on.

It takes minutes to fill, so where its user names a folder it stays there and is found again. It is
filled under another name and renamed when it is whole. What runs leave in it are payments like any
others: whoever uses it again begins where the last one ended.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from actors.kinds import MERCHANT
from bench.bulk import merchant_no
from bench.engine_run import filled
from gateway import exits
from gateway.exits import CommandError
from gateway.lookup import state_at
from gateway.operations import closing_all
from storage.folder import Folder, release

_NAME: Final = "piaohao-large-{}"
_ABOUT: Final = "large.json"
_BYTES_AN_ACCOUNT: Final = 1_300
"""What it needs on disk, and room for what is paid on it; filling takes 870."""
_READ_BYTES: Final = 1 << 20
_LOOKS: Final = 1_000


class About(Struct, frozen=True):
    """What a large store holds, beside it."""

    accounts: int
    merchants: int


@contextmanager
def large_store(
    parent: Path, accounts: int, merchants: int, *, keep: bool, say: Callable[[str], None]
) -> Iterator[Path | None]:
    """Have the store while the block runs: the one in `parent`, or a new one.

    Args:
        keep: leave it there, for the next time.
        say: told what it took.

    Yields the data folder; None where the disk has no room for it.

    Raises:
        CommandError: what is there is another store.
    """
    path = parent / _NAME.format(accounts)
    about = About(accounts, merchants)
    if path.exists():
        _check(path, about)
        # Its name alone: notes are published, and where folders are is nobody's business.
        say(f"the large store {path.name} is used again: {_mib(path):,.0f} MiB")
        yield path
        return
    if shutil.disk_usage(parent).free < accounts * _BYTES_AN_ACCOUNT:
        yield None
        return
    with tempfile.TemporaryDirectory("", "piaohao-large-", parent) as scratch:
        made = Path(scratch) / "store"
        begun = time.monotonic()
        with closing(Folder(made, create=True)) as folder:
            for store in filled(folder, accounts, merchants, paid=True, shards=1):
                store.close(clean=True)
        (made / _ABOUT).write_bytes(msgspec.json.encode(about))
        took = f"{time.monotonic() - begun:,.0f} s and {_mib(made):,.0f} MiB"
        say(f"the large store took {took}: {accounts:,} accounts, and as many payments")
        if keep:
            made.rename(path)
            yield path
        else:
            yield made


def _check(path: Path, about: About) -> None:
    try:
        found = msgspec.json.decode((path / _ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.DecodeError):
        found = None
    if found != about:
        raise CommandError(exits.INPUT, f"{path} is no such large store: remove it")


def _mib(data: Path) -> float:
    return sum(each.stat().st_blocks for each in _files(data)) * 512 / 2**20


def _files(data: Path) -> list[Path]:
    return sorted(data.glob("shard-*/data.mdb"))


def read_pages(data: Path) -> float | None:
    """Read a store's files once, so that they are in the page cache.

    Returns the share of them that is: less where memory is short; see `cached_share`.
    """
    for each in _files(data):
        with each.open("rb", buffering=0) as file:
            while file.read(_READ_BYTES):
                pass
    return cached_share(data)


def drop_pages(data: Path) -> float | None:
    """Drop the files of a store that nobody has open from the page cache.

    Returns the share of them that is still there; see `cached_share`.
    """
    for each in _files(data):
        file = os.open(each, os.O_RDONLY)
        try:
            os.fdatasync(file)  # what is not written yet cannot be dropped
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)
    return cached_share(data)


def cached_share(data: Path) -> float | None:
    """Return which share of a store's files is in the page cache, by a look at a thousand pages.

    None where the file system does not tell. A look has the kernel read the pages that it misses.
    """
    there = looked = 0
    for each in _files(data):
        file = os.open(each, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)  # a look is to bring no neighbours
            size = os.fstat(file).st_size
            for offset in range(0, size, max(1, size // _LOOKS)):
                looked += 1
                with suppress(BlockingIOError):
                    there += os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return None
        finally:
            os.close(file)
    return there / max(1, looked)


def total_minor(data: Path, merchants: int) -> int:
    """Return what the merchants of a store that nobody has open have been paid, in minor units.

    Raises:
        StorageError: it cannot be read.
    """
    with closing(Folder(data)) as folder:
        stores = folder.open()
        try:
            with closing_all([store.snapshot() for store in stores]) as snapshots:
                states = (
                    state_at(snapshot, MERCHANT, merchant_no(n))
                    for snapshot in snapshots
                    for n in range(merchants)
                )
                return sum(state.posted_minor for state in states if state is not None)
        finally:
            release(stores)
