"""The comparison: a server is found or made, everything is measured, and all of it goes again.

Both sides have their folders on one disk, which is none in memory. Whatever ends the run, Ctrl-C
and SIGTERM included, nothing of it stays.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from shutil import which
from types import FrameType
from typing import Final

import psycopg
import trio

from bench.peers import cluster as clusters
from bench.peers.books import served
from bench.peers.engine_rows import Peer, engine_rows
from bench.peers.gateway_rows import Say, gateway_rows
from bench.peers.plan import Settings, left_out
from bench.peers.report import Row, as_json, as_table, settings_lines
from gateway import exits
from gateway.exits import CommandError

_MEMORY: Final = {"tmpfs", "ramfs"}


def run(settings: Settings, url: str | None, data: Path, *, strict: bool, json: bool) -> int:
    """Compare and print; returns the exit code, 1 if `strict` and a target was missed.

    Args:
        url: of a server to use; None for a cluster of our own.
        data: the folder in which both sides' temporary folders are made.

    Raises:
        CommandError: something is missing, or money was lost or made.
    """
    _check_disk(data)
    with ExitStack() as stack:
        stack.enter_context(_terminable())
        peer = stack.enter_context(_peer(url, data))
        store = Path(stack.enter_context(tempfile.TemporaryDirectory("", "piaohao-bench-", data)))
        say = partial(print, file=sys.stderr if json else sys.stdout, flush=True)
        for line in settings_lines("PostgreSQL, as it runs here:", served(peer.server)):
            say(line)
        for line in left_out(settings):
            say(line)
        rows = _measured(peer, store, settings, say)
    sys.stdout.write(as_json(rows) if json else as_table(rows))
    missed = any(each.passed is False for each in rows)
    return exits.CHECK_FAILED if strict and missed else exits.OK


def _measured(peer: Peer, store: Path, settings: Settings, say: Say) -> list[Row]:
    rows: list[Row] = []
    failures: list[psycopg.Error] = []
    interrupted = False
    try:
        for accounts in settings.sizes:
            for mix in settings.mixes:
                rows += trio.run(engine_rows, peer, store, settings, accounts, mix)
        if settings.gateway:
            rows += trio.run(gateway_rows, peer, store, settings, say)
    except* psycopg.Error as errors:
        failures = list(_leaves(errors))
    except* KeyboardInterrupt:
        interrupted = True
    if interrupted:
        raise KeyboardInterrupt  # by itself, as the command line knows it
    if failures:
        said = " ".join(str(failures[0]).split())
        raise CommandError(exits.CHECK_FAILED, f"PostgreSQL: {said}")
    return rows


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
