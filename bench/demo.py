"""The demo: a node in this process, a client in another one, and a year of shopping between them.

What it says at the end is counted from the store and verified, so that a run which was killed
and resumed on the same folder says the same as one that was not.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec import Struct
from rich.console import Console

from bench import newcomer
from bench.demo_display import Bar, summary
from bench.demo_report import Finished, Planned, Progressed, decode_report
from bench.journey import find_data
from bench.sandbox import SANDBOX, open_sandbox
from bench.session import Session, check_shards, ended_early, fresh_folder, reports, take_stock
from bench.shopping import FIRST_DATE, FIRST_NS, LAST_DATE
from bench.tally import Tally, count
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
        limit: how many baskets, all if None.
        stay: whether the node stays up until it is told to stop.
        json: whether one JSON object goes to standard output, and all else to standard error.
        shards: of the store, where it is made; None for one, or for what is there.
    """

    data: Path | None = None
    limit: int | None = None
    stay: bool = True
    json: bool = False
    shards: int | None = None


class Outcome(Struct, frozen=True):
    """What a run comes to, in the store's own figures and in the client's.

    Attributes:
        refused: code → count.
        wrong: what should have come out otherwise, one sentence each.
    """

    address: str
    planned: Planned
    finished: Finished
    tally: Tally
    report: Report
    refused: dict[str, int]
    wrong: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints. Counts are the store's, times the client's."""
        tally, finished = self.tally, self.finished
        return {
            "baskets": tally.payments + tally.holds + self.planned.skipped_zero,
            "payments": tally.payments,
            "holds": tally.holds,
            "captures": tally.captures,
            "skipped_zero": self.planned.skipped_zero,
            "refused": self.refused,
            "amount_minor": tally.amount_minor,
            "day_cuts": tally.day_cuts,
            "accounts": tally.accounts,
            "merchants": tally.merchants,
            "seconds": round(finished.seconds, 3),
            "payments_per_s": round(finished.purchases / finished.seconds, 1),
            "p50_ms": _rounded(finished.p50_ms),
            "p99_ms": _rounded(finished.p99_ms),
            "commits": tally.commits,
            "address": self.address,
            "verify": msgspec.to_builtins(self.report),
        }


def run(options: Options) -> int:
    """Run the demo and return the exit code.

    Raises:
        CommandError: the data set is not there, or the client could not go on.
        StorageError: (in a group, where the node met it) the store cannot be used.
    """
    find_data()
    console = Console(stderr=options.json, highlight=False)
    folder = Folder(options.data or fresh_folder("demo"), create=True)
    try:
        if not folder.exists():
            folder.create(FIRST_DATE, FIRST_NS, shards=options.shards or 1)
        check_shards(folder, options.shards)
        sandbox = open_sandbox(folder.path / SANDBOX)
        session = Session(
            folder=folder,
            sandbox=sandbox,
            client=[
                *("-m", "bench.demo_client", "--sandbox", str(sandbox.folder.absolute())),
                *_limit(options.limit),
            ],
            go_on=f"piaohao demo --data {folder.path}",
            stay=options.stay,
            console=console,
            password=newcomer.take_on(folder) if options.stay else None,
        )

        async def work(client: trio.Process, serving: Serving) -> int:
            outcome = await _replay(client, serving, console)
            _show(outcome, options, console)
            return exits.CHECK_FAILED if outcome.wrong else exits.OK

        code: int = trio.run(session.run, work)
        return code
    finally:
        folder.close()


def _limit(limit: int | None) -> list[str]:
    return [] if limit is None else ["--limit", str(limit)]


def _rounded(latency_ms: float | None) -> float | None:
    return None if latency_ms is None else round(latency_ms, 3)


async def _replay(client: trio.Process, serving: Serving, console: Console) -> Outcome:
    """Let the client do its work, then take stock.

    Raises:
        CommandError: the client gave up or was killed, or the store is no demo's.
    """
    date = serving.node.business_date()
    if not FIRST_DATE <= date <= LAST_DATE:
        detail = f"this is no demo's store: its business date is {date}, not one of 2017"
        raise CommandError(exits.INPUT, detail)
    planned = finished = None
    with Bar(console) as bar:
        async for line in reports(client, serving.address):
            report = decode_report(line)
            if isinstance(report, Planned):
                planned = report
                bar.planned(planned)
            elif isinstance(report, Progressed):
                bar.progressed(report)
            elif isinstance(report, Finished):
                finished = report
            else:
                raise CommandError(report.exit_code, report.message)
    if planned is None or finished is None:
        raise await ended_early(client)
    with console.status("verifying"), closing_all(await serving.node.snapshots()) as snapshots:
        tally, verified = await trio.to_thread.run_sync(take_stock, snapshots, count)
    # What was refused without binding its number left no trace in the store: the client saw it.
    refused = dict(tally.refused | Counter(finished.refused))
    wrong = list(complaints(planned, refused, tally, verified))
    return Outcome(serving.address, planned, finished, tally, verified, refused, wrong)


def complaints(
    planned: Planned, refused: dict[str, int], tally: Tally, verified: Report
) -> Iterator[str]:
    """Yield what did not come out as it should, one sentence each."""
    if not verified.ok:
        yield f"verify found {len(verified.violations):,} violations"
    if verified.violations:
        first = verified.violations[0]
        yield f"the first is {first.invariant}: {first.table} {first.key}: {first.detail}"
    if tally.total_minor:
        yield f"the books are off by {tally.total_minor:,} minor units"
    for code, times in sorted(refused.items()):
        yield f"{times:,} refused with {code}"
    done = (tally.payments, tally.holds, tally.captures, tally.amount_minor)
    data = (planned.payments, planned.holds, planned.holds, planned.amount_minor)
    # A store may hold more: a run with a higher limit was there before.
    if any(held < due for held, due in zip(done, data, strict=True)):
        yield f"payments, holds, captures, amount are {done}; the data set says {data}"


def _show(outcome: Outcome, options: Options, console: Console) -> None:
    console.print(
        summary(outcome.tally, outcome.planned, outcome.finished, outcome.refused, outcome.wrong)
    )
    if options.json:
        give_json(outcome.as_json())
        sys.stdout.flush()
