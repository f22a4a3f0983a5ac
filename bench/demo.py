"""The demo: a node in this process, a client in another one, and a year of shopping between them.

What it says at the end is counted from the store and verified, so that a run which was killed
and resumed on the same folder says the same as one that was not. The client ends with this
process, whatever ends it; a node that is killed loses nothing that it had acknowledged.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from rich.console import Console

from bench.demo_display import Bar, summary
from bench.demo_report import Failed, Finished, Planned, Progressed, decode_report
from bench.journey import JourneyError, find_data
from bench.shopping import FIRST_DATE, FIRST_NS, LAST_DATE
from bench.tally import Tally, count
from gateway.server import serve
from gateway.verification import Report, verify
from storage.folder import Folder
from storage.store import Store

EXIT_CHECK: Final = 1
EXIT_INTERRUPTED: Final = 130


class DemoError(Exception):
    """The demo cannot go on; the text says why, in one line.

    Attributes:
        exit_code: of the process.
    """

    def __init__(self, exit_code: int, reason: str) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Options(Struct, frozen=True):
    """What the caller asks for.

    Attributes:
        data: the node's folder, a fresh temporary one if None.
        limit: how many baskets, all if None.
        listen: where the node listens; port 0 takes a free one.
        stay: whether the node stays up until it is told to stop.
        json: whether one JSON object goes to standard output, and all else to standard error.
    """

    data: Path | None = None
    limit: int | None = None
    listen: str = "127.0.0.1:0"
    stay: bool = True
    json: bool = False


class Outcome(Struct, frozen=True):
    """What a run comes to, in the store's own figures and in the client's.

    Attributes:
        wrong: what should have come out otherwise, one sentence each.
    """

    address: str
    planned: Planned
    finished: Finished
    tally: Tally
    report: Report
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
            # A refusal that binds no number leaves no trace in the store; the client saw it.
            "refused": dict(tally.refused) | finished.refused,
            "amount_minor": tally.amount_minor,
            "day_cuts": tally.day_cuts,
            "accounts": tally.accounts,
            "merchants": tally.merchants,
            "seconds": round(finished.seconds, 3),
            "payments_per_s": round(finished.purchases / finished.seconds, 1),
            "p50_ms": finished.p50_ms,
            "p99_ms": finished.p99_ms,
            "commits": tally.commits,
            "address": self.address,
            "verify": msgspec.to_builtins(self.report),
        }


def run(options: Options) -> int:
    """Run the demo and return the exit code.

    Raises:
        DemoError: it cannot go on.
        JourneyError: the data set is not installed.
        ListenError: the address cannot be listened on.
        StorageError: the store cannot be used.
    """
    find_data()
    console = Console(stderr=options.json, highlight=False)
    path = options.data
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="piaohao-demo-"))
    folder = Folder(path, create=True)
    try:
        if not folder.exists():
            folder.create(FIRST_DATE, FIRST_NS)
        return trio.run(_demo, folder, options, console)
    finally:
        folder.close()


async def _demo(folder: Folder, options: Options, console: Console) -> int:
    code = EXIT_INTERRUPTED
    async with trio.open_nursery() as beside:
        # The client reads its data set while the node starts.
        client = await beside.start(partial(_start_client, options.limit))
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(
                partial(serve, folder, listen=options.listen, clock="domain")
            )
            until_signal = trio.CancelScope()
            beside.start_soon(_cancel_on_signal, until_signal)
            with until_signal:
                console.print(f"node [bold]{serving.address}[/bold], data in {folder.path}")
                store = serving.node.shards[0].store
                outcome = await _replay(client, serving.address, store, console)
                code = EXIT_CHECK if outcome.wrong else 0
                _show(outcome, options, console)
                if options.stay:
                    console.print(
                        f"The node stays up at [bold]{serving.address}[/bold]; Ctrl-C stops it."
                    )
                    await trio.sleep_forever()
            serving.stop()
        beside.cancel_scope.cancel()
    if code == EXIT_INTERRUPTED:
        console.print("Stopped half-way.")
    console.print(f"All of it is kept: piaohao demo --data {folder.path} goes on from there.")
    return code


async def _start_client(
    limit: int | None, *, task_status: trio.TaskStatus[trio.Process]
) -> None:
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


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _replay(
    client: trio.Process, address: str, store: Store, console: Console
) -> Outcome:
    """Let the client do its work, then take stock.

    Raises:
        DemoError: the client gave up, or was killed.
    """
    assert client.stdin is not None
    await client.stdin.send_all(f"{address}\n".encode())
    planned = finished = None
    with Bar(console) as bar:
        async for line in _lines(client):
            report = decode_report(line)
            if isinstance(report, Planned):
                planned = _checked(report)
                bar.planned(planned)
            elif isinstance(report, Progressed):
                bar.progressed(report)
            elif isinstance(report, Finished):
                finished = report
            else:
                raise DemoError(report.exit_code, report.message)
    if planned is None or finished is None:
        code = await client.wait()
        raise DemoError(
            EXIT_CHECK, f"the client ended with {code}; start again with the same --data to go on"
        )
    tally, verified = await trio.to_thread.run_sync(_take_stock, store)
    return Outcome(
        address, planned, finished, tally, verified, _wrong(planned, finished, tally, verified)
    )
