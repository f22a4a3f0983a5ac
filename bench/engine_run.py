"""What `piaohao bench engine` and `piaohao bench fill` do, around the measurement itself."""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from bench import bulk
from bench import soak as soaking
from bench.engine_bench import BenchError, Figures, Settings, measure
from storage.folder import Folder
from storage.lmdb_store import LmdbStore

OK: Final = 0
CHECK_FAILED: Final = 1
_VERIFIED: Final = {True: "ok", False: "FAILED", None: "skipped"}


def fill(data: Path, accounts: int, merchants: int, *, paid: bool, shards: int) -> int:
    """Create a store in the new folder `data` and fill it; returns the exit code.

    Raises:
        StorageError: there is a store already, or the folder cannot be used.
    """
    folder = Folder(data, create=True)
    try:
        _close(filled(folder, accounts, merchants, paid=paid, shards=shards))
    finally:
        folder.close()
    return OK


def run(settings: Settings, data: Path | None, *, as_json: bool) -> int:
    """Measure and print the figures; returns the exit code, 1 if something does not verify.

    Raises:
        StorageError: the store in `data` cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-") as scratch:
        folder = Folder(Path(scratch) / "store" if data is None else data, create=data is None)
        try:
            if data is None:
                _close(
                    filled(
                        folder,
                        settings.accounts,
                        settings.payees,
                        paid=False,
                        shards=settings.shards,
                    )
                )
            figures = None
            try:
                open_stores = partial(_opened, folder)
                figures = trio.run(measure, open_stores, Path(scratch), settings, _say)
            except* BenchError as errors:
                _say(f"piaohao: {errors.exceptions[0]}")
        finally:
            folder.close()
    if figures is None:
        return CHECK_FAILED
    if as_json:
        sys.stdout.write(msgspec.json.encode(figures).decode() + "\n")
    else:
        sys.stdout.write(_table(settings, figures))
    return CHECK_FAILED if figures.verify_ok is False else OK


def soak(accounts: int, merchants: int, seconds: float, *, as_json: bool) -> int:
    """Soak the engine on a store of its own; returns the exit code, 1 if memory grew."""
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-") as scratch:
        folder = Folder(Path(scratch) / "store", create=True)
        try:
            stores = filled(folder, accounts, merchants, paid=False, shards=1)
            soaked = trio.run(soaking.soak, stores, accounts, merchants, seconds)
            _close(stores)
        finally:
            folder.close()
    if as_json:
        sys.stdout.write(msgspec.json.encode(soaked).decode() + "\n")
    else:
        parts = ", ".join(f"{part:.1f}" for part in soaked.anonymous_mib)
        sys.stdout.write(
            f"{soaked.payments:,} payments in {soaked.seconds:,.0f} s; anonymous memory by fifths "
            f"of the run: {parts} MiB: {'flat' if soaked.ok else 'IT GREW'}\n"
        )
    return OK if soaked.ok else CHECK_FAILED


def _opened(folder: Folder) -> list[LmdbStore]:
    stores = folder.open()
    for store in stores:
        store.begin_epoch()
    return stores


def _close(stores: Sequence[LmdbStore]) -> None:
    for store in stores:
        store.close(clean=True)


def filled(
    folder: Folder,
    accounts: int,
    merchants: int,
    *,
    paid: bool,
    shards: int,
    opening: Callable[[int], int] = lambda n: bulk.OPENING_MINOR,
) -> list[LmdbStore]:
    """Create a store in a folder, fill it (`bulk.fill`), and return its shards, open."""
    now_ns = time.time_ns()
    date = datetime.fromtimestamp(now_ns / 1e9, UTC).date().isoformat()
    folder.create(date, now_ns, shards=shards)
    stores = _opened(folder)
    begun = time.perf_counter()

    def progress(done: int) -> None:
        _say(f"{done:,} of {accounts:,} accounts, {time.perf_counter() - begun:.0f} s")

    bulk.fill(stores, accounts, merchants, paid=paid, opening=opening, progress=progress)
    return stores


def _table(settings: Settings, figures: Figures) -> str:
    ratio = figures.cpu_us_process / figures.floor_us if figures.floor_us else 0.0
    lines = [
        f"{settings.mix}: {settings.accounts:,} accounts, {settings.payees:,} merchants, "
        f"{settings.in_flight:,} in flight, batches of {settings.batch}",
        f"  payments      {figures.payments:>12,}   {figures.payments_per_s:,.0f} a second",
        f"  latency       {figures.p50_ms:>9.2f} ms   p99 {figures.p99_ms:.2f}, "
        f"p99.9 {figures.p999_ms:.2f}",
        f"  CPU           {figures.cpu_us_process:>9.1f} us   {figures.cpu_us_loop:.1f} of it in "
        f"the event loop",
        f"  floor         {figures.floor_us:>9.1f} us   ratio {ratio:.2f}",
        f"  commits       {figures.commits:>12,}   {figures.batch_p50:.0f} answers each, "
        f"{figures.commit_ms_p50:.2f} ms",
        f"  raw fdatasync {figures.fdatasync_ms_p50:>9.3f} ms",
        f"  first answer  {figures.first_answer_s:>9.2f} s    after the store began to be opened",
        f"  memory        {figures.anonymous_mib:>9.1f} MiB  anonymous",
        f"  verify        {_VERIFIED[figures.verify_ok]:>12}",
    ]
    if figures.never_idle_ratio is not None:
        lines.append(f"  never-idle    {figures.never_idle_ratio:>12.2f}   of the quiet rate")
    if figures.marks_us is not None:
        lines.append(f"  marks         {figures.marks_us:>9.1f} us   more of CPU a payment")
    return "\n".join(lines) + "\n"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
