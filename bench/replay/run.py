"""The replay: a node in this process, and a client in another one that sends it a file.

Counts are those of the whole file, from the client's logbook, and money is verified in the store;
so a run that was killed and gone on with says the same as one that was not.
"""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec import Struct
from rich.console import Console

from bench.bar import Bar
from bench.replay.display import summary
from bench.replay.file import ReplayFile
from bench.replay.logbook import NAME, Logbook
from bench.replay.report import Finished, Planned, Progressed, decode_report
from bench.replay.row import instant
from bench.sandbox import SANDBOX, open_sandbox
from bench.session import (
    Session,
    check_shards,
    ended_early,
    fresh_folder,
    reports,
    take_stock,
)
from gateway import exits
from gateway.commands.printing import give_json
from gateway.exits import CommandError
from gateway.operations import closing_all
from gateway.server import Serving
from gateway.verification import Report
from storage.folder import Folder


class Options(Struct, frozen=True):
    """What the caller asks for.

    Attributes:
        data: the node's folder, a fresh temporary one if None.
        refusals: where refused rows are listed, nowhere if None.
        stay: whether the node stays up until it is told to stop.
        json: whether one JSON object goes to standard output, and all else to standard error.
    """

    file: Path
    data: Path | None = None
    shards: int | None = None
    refusals: Path | None = None
    opening_balance_minor: int = 100_000_000_000
    fee_bps: int = 0
    stay: bool = True
    json: bool = False


class Outcome(Struct, frozen=True):
    """What a replay comes to: counts of the whole file, speed of this run.

    Attributes:
        refused: code → count.
        malformed: (line, code), in the order of the file.
    """

    address: str
    rows: int
    refused: dict[str, int]
    malformed: list[tuple[int, str]]
    finished: Finished
    report: Report

    @property
    def ok(self) -> int:
        """How many rows were carried out."""
        return self.rows - sum(self.refused.values()) - len(self.malformed)

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        finished = self.finished
        return {
            "rows": self.rows,
            "ok": self.ok,
            "refused": self.refused,
            "malformed": [{"line": line, "code": code} for line, code in self.malformed],
            "seconds": round(finished.seconds, 3),
            "rows_per_s": round(finished.rows / finished.seconds, 1),
            "address": self.address,
            "verify": msgspec.to_builtins(self.report),
        }


def run(options: Options) -> int:
    """Run a replay and return the exit code.

    Raises:
        CommandError: the file is none, its replay does not fit the store, or the client could
            not go on.
        StorageError: (in a group, where the node met it) the store cannot be used.
    """
    with ReplayFile(options.file) as file:
        first = file.first_time()
    _check_refusals(options.refusals)
    console = Console(stderr=options.json, highlight=False)
    folder = Folder(options.data or fresh_folder("replay"), create=True)
    try:
        if not folder.exists():
            _create(folder, first or "1970-01-01T00:00:00Z", options.shards or 1)
        check_shards(folder, options.shards)
        session = Session(
            folder=folder,
            sandbox=open_sandbox(folder.path / SANDBOX),
            client=[
                *("-m", "bench.replay.client", str(options.file.absolute())),
                *("--data", str(folder.path.absolute())),
                *("--opening-balance-minor", str(options.opening_balance_minor)),
                *("--fee-bps", str(options.fee_bps)),
            ],
            go_on=f"piaohao replay {options.file} --data {folder.path}",
            stay=options.stay,
            console=console,
        )

        async def work(client: trio.Process, serving: Serving) -> int:
            outcome = await _replay(client, serving, folder.path, console)
            if options.refusals is not None:
                _write_refusals(folder.path, options.refusals)
            console.print(summary(outcome, options.file.name))
            if options.json:
                give_json(outcome.as_json())
                sys.stdout.flush()
            return exits.OK if outcome.report.ok else exits.CHECK_FAILED

        code: int = trio.run(session.run, work)
        return code
    finally:
        folder.close()


def _create(folder: Folder, first: str, shards: int) -> None:
    """Make the store, on the date of the first row; what a lost store's logbook says is void."""
    for suffix in ("", "-wal", "-shm"):
        (folder.path / f"{NAME}{suffix}").unlink(missing_ok=True)
    at = instant(f"{first[:10]}T00:00:00Z")
    assert at is not None
    folder.create(first[:10], at[0] * 1_000, shards=shards)


async def _replay(
    client: trio.Process, serving: Serving, folder: Path, console: Console
) -> Outcome:
    """Let the client do its work, then take stock.

    Raises:
        CommandError: the client gave up or was killed.
    """
    finished = None
    with Bar(console, "reading the file") as bar:
        async for line in reports(client, serving.address):
            report = decode_report(line)
            if isinstance(report, Planned):
                bar.begin(report.rows, report.rows_before)
            elif isinstance(report, Progressed):
                bar.advance(report.rows, report.business_date, report.refused)
            elif isinstance(report, Finished):
                finished = report
            else:
                raise CommandError(report.exit_code, report.message)
    if finished is None:
        raise await ended_early(client)
    with console.status("verifying"), closing_all(await serving.node.snapshots()) as snapshots:
        _, verified = await trio.to_thread.run_sync(take_stock, snapshots, lambda _: None)
    with Logbook(folder) as logbook:
        progress = logbook.progress()
        assert progress is not None
        refused, _ = logbook.counts()
        malformed = logbook.malformed()
    return Outcome(
        serving.address,
        progress.rows,
        dict(sorted(refused.items())),
        malformed,
        finished,
        verified,
    )


def _check_refusals(path: Path | None) -> None:
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise CommandError(exits.INPUT, f"{path}: cannot be written")


def _write_refusals(folder: Path, path: Path) -> None:
    """Write the refused rows of the whole file; the list appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with Logbook(folder) as logbook, unfinished.open("w", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("line", "reference", "code"))
            writer.writerows(logbook.refused())
        unfinished.replace(path)
    except OSError as error:
        raise CommandError(exits.INPUT, f"{path}: cannot be written: {error.strerror}") from error
