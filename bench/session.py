"""A session: a node in this process, and a client in another one that drives it.

The client ends with this process, whatever ends it; a node that is killed loses nothing that it
had acknowledged. The node stays up afterwards if asked to, until it is told to stop.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio
from msgspec import Struct
from rich.console import Console

from bench import newcomer
from bench.sandbox import Sandbox
from gateway import exits
from gateway.exits import CommandError
from gateway.server import Serving, serve
from gateway.verification import Report, verify
from storage.folder import Folder
from storage.store import Snapshot

T = TypeVar("T")

INTERRUPTED: Final = 130
"""Exit code after a signal that came before the end, as shells count them."""

Work = Callable[[trio.Process, Serving], Awaitable[int]]
"""Lets the client do its work and shows what came of it; returns the exit code."""


class Session(Struct, frozen=True):
    """What a session is about.

    Attributes:
        folder: of the node's store, which is there.
        sandbox: the bank's keys, and the client's.
        client: arguments to Python that start the client.
        go_on: the command line that goes on after an interruption.
        stay: whether the node stays up until it is told to stop.
        password: of the operator `bench.newcomer`, for whom there is an ops port then; None for
            neither.
    """

    folder: Folder
    sandbox: Sandbox
    client: list[str]
    go_on: str
    stay: bool
    console: Console
    password: str | None = None

    async def run(self, work: Work) -> int:
        """Serve, start the client, and let `work` see to it; returns the exit code.

        Raises:
            CommandError: from `work`, once the node has ended in good order.
            StorageError: (in a group, where the node met it) the store cannot be used.
        """
        code = INTERRUPTED
        failure = None
        until_signal = trio.CancelScope()
        async with trio.open_nursery() as beside:
            await beside.start(_cancel_on_signal, until_signal)
            # The client reads what it has to while the node starts.
            client = await beside.start(_start_client, self.client)
            async with trio.open_nursery() as nursery:
                serving = await nursery.start(
                    partial(
                        serve,
                        self.folder,
                        keys=self.sandbox.keys,
                        tls=self.sandbox.tls.context,
                        listen="127.0.0.1:0",
                        ops_listen=None if self.password is None else "127.0.0.1:0",
                        clock="domain",
                    )
                )
                await self.sandbox.admit_client(serving.counter)
                with until_signal:
                    self.say(f"node {serving.address}, data in {self.folder.path}")
                    if self.password is not None:
                        who = f"log in as {newcomer.NAME}, password {self.password}"
                        self.say(f"look inside: {serving.ops_address}/console ({who})")
                    try:
                        code = await work(client, serving)
                    except CommandError as error:
                        failure = error
                    else:
                        if self.stay:
                            self.say(f"The node stays up at {serving.address}; Ctrl-C stops it.")
                            await trio.sleep_forever()
                client.kill()
                serving.stop()
            beside.cancel_scope.cancel()
        if failure is not None:
            raise failure
        begin = "Stopped before the end" if code == INTERRUPTED else "All of it is kept"
        self.say(f"{begin}; to go on: {self.go_on}")
        return code

    def say(self, line: str) -> None:
        """Print a line whole, however narrow the terminal: addresses and paths are for copying."""
        self.console.print(line, soft_wrap=True, markup=False)


def take_stock(
    snapshots: Sequence[Snapshot], look: Callable[[Sequence[Snapshot]], T]
) -> tuple[T, Report]:
    """Look at views of all shards and verify them.

    It is for a worker thread, which a cancelled run does not wait for long.
    """
    return look(snapshots), verify(snapshots, trio.from_thread.check_cancelled)


def check_shards(folder: Folder, shards: int | None) -> None:
    """Refuse a number of shards that is not the store's; None asks for none in particular.

    Raises:
        CommandError: it has another number.
    """
    if shards not in {None, folder.shards()}:
        has = "1 shard" if folder.shards() == 1 else f"{folder.shards()} shards"
        raise CommandError(exits.INPUT, f"--shards {shards}: the store in {folder.path} has {has}")


def fresh_folder(command: str) -> Path:
    """Return a new temporary folder for a command's store; it is kept."""
    return Path(tempfile.mkdtemp(prefix=f"piaohao-{command}-"))


async def reports(client: trio.Process, address: str) -> AsyncIterator[bytes]:
    """Tell the client where the node is, then yield what it reports, line by line."""
    assert client.stdin is not None
    assert client.stdout is not None
    with suppress(trio.BrokenResourceError):  # killed already: it has nothing to report
        await client.stdin.send_all(f"{address}\n".encode())
    buffered = b""
    async for chunk in client.stdout:
        *lines, buffered = (buffered + chunk).split(b"\n")
        for line in lines:
            yield line


async def ended_early(client: trio.Process) -> CommandError:
    """Return the error that a client is which ended without saying that it had finished."""
    code = await client.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    detail = f"the client {how}; the same command goes on from there, given the same --data"
    return CommandError(exits.CHECK_FAILED, detail)


async def _start_client(
    arguments: list[str], *, task_status: trio.TaskStatus[trio.Process]
) -> None:
    await trio.run_process(
        [sys.executable, "-P", *arguments],
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
