"""The comparison: a server is found or made, everything is measured, and all of it goes again.

Both sides have their folders on one disk, which is none in memory. Whatever ends the run, Ctrl-C
and SIGTERM included, nothing of it stays but what `--out` was told by then: it is written again
after each part, so that what goes wrong in the second hour does not cost the first.
"""

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import which
from types import FrameType
from typing import Final

import msgspec
import psycopg
import trio

from bench.load.machine import this_machine
from bench.peers import cluster as clusters
from bench.peers.alone_rows import alone_rows
from bench.peers.books import served
from bench.peers.engine_rows import Peer, engine_rows
from bench.peers.gateway_rows import gateway_rows
from bench.peers.observer import Observer
from bench.peers.packages import NEEDED
from bench.peers.plan import Settings, left_out
from bench.peers.profiler import Profiler
from bench.peers.report import as_json, as_table, disturbance_lines, settings_lines
from bench.peers.result import FORMAT, Comparison, Row
from gateway import exits
from gateway.exits import CommandError

DATA: Final = Path("/var/tmp")
_MEMORY: Final = {"tmpfs", "ramfs"}
_SERVER: Final = frozenset({"postgres"})
"""How the processes of a server are called that was there already."""


def run(
    settings: Settings,
    url: str | None,
    data: Path | None,
    *,
    strict: bool,
    json: bool,
    out: Path | None = None,
    profiles: Path | None = None,
) -> int:
    """Compare and print; returns the exit code, 1 if `strict` and a target was missed.

    Args:
        url: of a server to use; None for a cluster of our own.
        data: the folder in which both sides' temporary folders are made, and in which the large
            store is left, or found; None for the usual one, in which nothing is left.
        out: a file for the whole result, as far as there is one; None for none.
        profiles: a folder for a profile of ours for each row; None for none.

    Raises:
        CommandError: something is missing, or money was lost or made.
    """
    parent = DATA if data is None else data
    _check_disk(parent)
    if out is not None:
        _check_file(out)
    profiler = None if profiles is None else Profiler(profiles)
    begun = time.monotonic()
    now = datetime.now(UTC)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        peer = stack.enter_context(_peer(url, parent))
        store = Path(stack.enter_context(tempfile.TemporaryDirectory("", "piaohao-bench-", parent)))
        say = partial(print, file=sys.stderr if json else sys.stdout, flush=True)
        has = served(peer.server)
        for line in settings_lines("PostgreSQL, as it runs here:", has):
            say(line)
        observer = Observer(store, settings.repeats, _SERVER if url else (), say, profiler)
        for line in left_out(settings):
            observer.leave_out(line)
        rows: list[Row] = []
        result = partial(_result, settings, now, begun, has, rows, observer)

        def told(more: list[Row]) -> None:
            rows.extend(more)
            if out is not None:
                _write(out, result(unfinished=True))

        try:
            _measure(peer, store, settings, observer, parent, told, keep=data is not None)
        except CommandError:
            if rows:
                say(as_table(rows))
            raise
    done = result(unfinished=False)
    for line in disturbance_lines(done):
        say(line)
    if out is not None:
        _write(out, done)
    sys.stdout.write(as_json(rows) if json else as_table(rows))
    missed = any(each.passed is False for each in rows)
    return exits.CHECK_FAILED if strict and missed else exits.OK


def _measure(
    peer: Peer,
    store: Path,
    settings: Settings,
    observer: Observer,
    parent: Path,
    told: Callable[[list[Row]], None],
    *,
    keep: bool,
) -> None:
    failures: list[psycopg.Error] = []
    interrupted = False
    try:
        for accounts in settings.sizes:
            for mix in settings.mixes:
                told(trio.run(engine_rows, peer, store, settings, accounts, mix, observer))
        if settings.gateway:
            told(trio.run(gateway_rows, peer, store, settings, observer))
        if settings.alone:
            alone = partial(alone_rows, parent, store, settings, observer, told, keep=keep)
            trio.run(alone)
    except* psycopg.Error as errors:
        failures = list(_leaves(errors))
    except* KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt  # by itself, as the command line knows it
    if failures:
        said = " ".join(str(failures[0]).split())
        raise CommandError(exits.CHECK_FAILED, f"PostgreSQL: {said}")


def _result(
    settings: Settings,
    now: datetime,
    begun: float,
    has: dict[str, str],
    rows: list[Row],
    observer: Observer,
    *,
    unfinished: bool,
) -> Comparison:
    return Comparison(
        format=FORMAT,
        peer="PostgreSQL",
        begun=now.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - begun, 1),
        settings=settings,
        machine=this_machine(*NEEDED),
        peer_settings=has,
        fdatasync=observer.syncs(),
        rows=rows,
        rounds=observer.rounds,
        notes=observer.notes,
        left_out=observer.left_out,
        repeated=sum(not each.kept for each in observer.rounds),
        disturbed=sum(each.kept and each.disturbed for each in observer.rounds),
        unfinished=unfinished,
    )


def _check_file(out: Path) -> None:
    """Refuse a file that could not be written, before an hour has gone by."""
    if out.is_dir():
        raise CommandError(exits.INPUT, f"--out {out} is a folder")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise CommandError(exits.INPUT, f"--out {out} cannot be written")


def _write(out: Path, result: Comparison) -> None:
    """Write it whole, or leave what was there."""
    part = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
        part.replace(out)
    except OSError as error:
        raise CommandError(exits.INPUT, f"--out {out}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _leaves(errors: BaseExceptionGroup[psycopg.Error]) -> Iterator[psycopg.Error]:
    for each in errors.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each


@contextmanager
def _terminable() -> Iterator[None]:
    """Take SIGTERM and SIGHUP as Ctrl-C, so that what was made is removed then too."""

    def interrupt(_: int, __: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _peer(url: str | None, data: Path) -> Iterator[Peer]:
    if url is None:
        with clusters.cluster(data) as folder:
            yield Peer(clusters.conninfo(folder), clusters.programs() / "pgbench")
        return
    found = which("pgbench")
    yield Peer(url, Path(found) if found else clusters.programs() / "pgbench")


def _check_disk(data: Path) -> None:
    """Refuse a folder that is not there, or in memory: there nothing would be durable."""
    if not data.is_dir():
        raise CommandError(exits.INPUT, f"--data {data}: there is no such folder")
    device = data.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted and after.split()[0] in _MEMORY:
            detail = f"--data {data} is in memory, where nothing is durable; name another folder"
            raise CommandError(exits.INPUT, detail)
