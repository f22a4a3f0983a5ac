"""The demo: a node in this process, a client in another one, and a year of shopping between them.

What it says at the end is counted from the store and verified, so that a run which was killed
and resumed on the same folder says the same as one that was not. The client ends with this
process, whatever ends it; a node that is killed loses nothing that it had acknowledged.
"""

import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from rich.console import Console

from bench.demo_display import Bar, summary
from bench.demo_report import Finished, Planned, Progressed, decode_report
from bench.journey import find_data
from bench.shopping import FIRST_DATE, FIRST_NS, LAST_DATE
from bench.tally import Tally, count
from gateway import exits
from gateway.commands.printing import give_json
from gateway.exits import CommandError
from gateway.operations import closing_all
from gateway.server import Serving, serve
from gateway.verification import Report, verify
from storage.folder import Folder
from storage.store import Snapshot

INTERRUPTED: Final = 130
"""Exit code after a signal that came before the end, as shells count them."""


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
    folder = Folder(options.data or _fresh_folder(), create=True)
    try:
        if not folder.exists():
            folder.create(FIRST_DATE, FIRST_NS, shards=options.shards or 1)
        elif options.shards not in {None, folder.shards()}:
            detail = f"the store in {folder.path} has {folder.shards()} shards"
            raise CommandError(exits.INPUT, f"--shards {options.shards}: {detail}")
        code: int = trio.run(_demo, folder, options, console)
        return code
    finally:
        folder.close()


def _fresh_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="piaohao-demo-"))


def _rounded(latency_ms: float | None) -> float | None:
    return None if latency_ms is None else round(latency_ms, 3)


async def _demo(folder: Folder, options: Options, console: Console) -> int:
    code = INTERRUPTED
    failure = None
    until_signal = trio.CancelScope()
    async with trio.open_nursery() as beside:
        await beside.start(_cancel_on_signal, until_signal)
        # The client reads its data set while the node starts.
        client = await beside.start(_start_client, options.limit)
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(
                partial(serve, folder, listen="127.0.0.1:0", clock="domain")
            )
            with until_signal:
                _say(console, f"node {serving.address}, data in {folder.path}")
                try:
                    outcome = await _replay(client, serving, console)
                except CommandError as error:
                    failure = error
                else:
                    _show(outcome, options, console)
                    code = exits.CHECK_FAILED if outcome.wrong else exits.OK
                    if options.stay:
                        _say(console, f"The node stays up at {serving.address}; Ctrl-C stops it.")
                        await trio.sleep_forever()
            client.kill()
            serving.stop()
        beside.cancel_scope.cancel()
    if failure is not None:
        raise failure
    begin = "Stopped before the end" if code == INTERRUPTED else "All of it is kept"
    _say(console, f"{begin}; to go on: piaohao demo --data {folder.path}")
    return code


def _say(console: Console, line: str) -> None:
    """Print a line whole, however narrow the terminal: addresses and paths are for copying."""
    console.print(line, soft_wrap=True, markup=False)


async def _start_client(limit: int | None, *, task_status: trio.TaskStatus[trio.Process]) -> None:
    command = [sys.executable, "-P", "-m", "bench.demo_client"]
    if limit is not None:
        command += ["--limit", str(limit)]
    await trio.run_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        check=False,
        task_status=task_status,
    )


async def _cancel_on_signal(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _replay(client: trio.Process, serving: Serving, console: Console) -> Outcome:
    """Let the client do its work, then take stock.

    Raises:
        CommandError: the client gave up or was killed, or the store is no demo's.
    """
    date = serving.node.business_date()
    if not FIRST_DATE <= date <= LAST_DATE:
        detail = f"this is no demo's store: its business date is {date}, not one of 2017"
        raise CommandError(exits.INPUT, detail)
    assert client.stdin is not None
    await client.stdin.send_all(f"{serving.address}\n".encode())
    planned = finished = None
    with Bar(console) as bar:
        async for line in _lines(client):
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
        code = await client.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        detail = f"the client {how}; the same command goes on from there, given the same --data"
        raise CommandError(exits.CHECK_FAILED, detail)
    with console.status("verifying"), closing_all(await serving.node.snapshots()) as snapshots:
        tally, verified = await trio.to_thread.run_sync(_take_stock, snapshots)
    # What was refused without binding its number left no trace in the store: the client saw it.
    refused = dict(tally.refused | Counter(finished.refused))
    wrong = list(complaints(planned, refused, tally, verified))
    return Outcome(serving.address, planned, finished, tally, verified, refused, wrong)


async def _lines(client: trio.Process) -> AsyncIterator[bytes]:
    assert client.stdout is not None
    buffered = b""
    async for chunk in client.stdout:
        *lines, buffered = (buffered + chunk).split(b"\n")
        for line in lines:
            yield line


def _take_stock(snapshots: Sequence[Snapshot]) -> tuple[Tally, Report]:
    """Count and verify; in a worker thread, which a cancelled run does not wait for long."""
    return count(snapshots), verify(snapshots, trio.from_thread.check_cancelled)


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
