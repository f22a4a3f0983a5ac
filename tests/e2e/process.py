"""Real processes: `piaohao` as a user starts it, and nodes that are waited for, not slept for."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from bench.load.processes import started
from gateway.series import nanoseconds
from storage.folder import Folder
from tests.shards import SHARDS

PIAOHAO: Final = (sys.executable, "-c", "from gateway.cli import main; main()")
READY: Final = re.compile(
    r"piaohao serves (.+?)( express| ops)? on (https?://127\.0\.0\.1:[0-9]+)\n"
)
BEGINS: Final = datetime(2026, 1, 5, 8, tzinfo=UTC)
LIMIT_S: Final = 30.0
"""After this a process that should have done something counts as hanging."""


class NodeProcess:
    """A running `piaohao serve`.

    Attributes:
        address, express_address, ops_address: from its ready lines.
        process: the process.
        errors: what it has printed on stderr so far.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.address = ""
        self.express_address = ""
        self.ops_address = ""
        self.errors = b""

    async def ready(self, listeners: int) -> None:
        """Wait for the ready lines, one a listener and the only ones on stdout."""
        assert self.process.stdout is not None
        lines = b""
        while lines.count(b"\n") < listeners:
            chunk = await self.process.stdout.receive_some()
            assert chunk, f"it ended before it was ready: {self.errors.decode()}"
            lines += chunk
        found = READY.findall(lines.decode())
        assert "".join(map("piaohao serves {0[0]}{0[1]} on {0[2]}\n".format, found)) == (
            lines.decode()
        )
        addresses = {which: address for _, which, address in found}
        assert len(addresses) == listeners
        self.address = addresses[""]
        self.express_address = addresses.get(" express", "")
        self.ops_address = addresses.get(" ops", "")

    async def read_errors(self) -> None:
        """Keep reading stderr, so that the process never waits for it."""
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.errors += chunk

    async def end(self, *, kill: bool = False) -> int:
        """Stop it with SIGTERM, or kill it; returns the exit code."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        with trio.fail_after(LIMIT_S):
            return await self.process.wait()


@asynccontextmanager
async def starting(
    data: Path, *options: str, command: Sequence[str] = PIAOHAO, listen: str = "127.0.0.1:0"
) -> AsyncIterator[trio.Process]:
    """Start a node and do not wait; it is killed if still there.

    Without `--keys` it takes requests as they come: most tests are about what they ask for.
    """
    signed = ("--keys" in options) or ("--unsigned" in options)
    options = options if signed else ("--unsigned", *options)
    arguments = [*command, "serve", "--data", str(data), "--listen", listen, *options]
    pipe = subprocess.PIPE
    async with started(arguments, stdout=pipe, stderr=pipe) as process:
        yield process


@asynccontextmanager
async def node(
    data: Path, *options: str, command: Sequence[str] = PIAOHAO, listen: str = "127.0.0.1:0"
) -> AsyncIterator[NodeProcess]:
    """Start a node and wait until it is ready; on a free port, if no other is given."""
    async with starting(data, *options, command=command, listen=listen) as process:
        running = NodeProcess(process)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.read_errors)
            with trio.fail_after(LIMIT_S):
                listeners = 1 + len({"--express-listen", "--ops-listen"} & {*options})
                await running.ready(listeners)
            yield running
            if process.returncode is None:
                process.kill()
            nursery.cancel_scope.deadline = trio.current_time() + LIMIT_S


async def piaohao(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, as a user would."""
    with trio.fail_after(LIMIT_S):
        run = await trio.run_process(
            [*PIAOHAO, *map(str, arguments)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    return subprocess.CompletedProcess(
        run.args, run.returncode, run.stdout.decode(), run.stderr.decode()
    )


def store_files(data: Path) -> list[Path]:
    """Return the files of a store's shards."""
    return [data / f"shard-{shard}" / "data.mdb" for shard in range(SHARDS)]


async def make_store(data: Path, shards: int = SHARDS) -> None:
    """Make a store that begins on a fixed morning, without the second that a process takes."""
    with closing(Folder(data, create=True)) as folder:
        folder.create(BEGINS.date().isoformat(), nanoseconds(BEGINS), shards=shards)
