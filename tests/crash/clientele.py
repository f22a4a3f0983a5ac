"""A clientele: customers (`tests.crash.customers`) in a process of its own, let loose on a node."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from tests.crash import customers
from tests.e2e.process import LIMIT_S, NodeProcess


class Clientele:
    """The process, as seen from outside.

    Attributes:
        answered: how many commands have been acknowledged so far.
    """

    def __init__(self, process: trio.Process) -> None:
        self.answered = 0
        self._process = process
        self._stopped = False
        self._heard = trio.Event()

    async def listen(self) -> None:
        """Count what is acknowledged; a pipe that nobody empties would stop all customers."""
        assert self._process.stdout is not None
        line = b""
        async for chunk in self._process.stdout:
            *lines, line = (line + chunk).split(b"\n")
            self.answered += sum(map(int, lines))
            self._tell()
        self._stopped = True
        self._tell()

    def _tell(self) -> None:
        self._heard.set()
        self._heard = trio.Event()

    async def until(self, answers: int) -> None:
        """Wait until so many commands have been acknowledged."""
        with trio.fail_after(LIMIT_S + answers / 20):
            while self.answered < answers:
                assert not self._stopped, "all customers have stopped"
                await self._heard.wait()


@asynccontextmanager
async def clientele(running: NodeProcess, log: Path, size: int) -> AsyncIterator[Clientele]:
    """Let so many customers loose on a node; in the end they are gone, and the log is whole."""
    process = await trio.lowlevel.open_process(
        [sys.executable, customers.__file__, str(log), running.address, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    loose = Clientele(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loose.listen)
            yield loose
            # The end of its input is its end; an answer that has come is still written down.
            await process.stdin.aclose()
            with trio.fail_after(LIMIT_S):
                await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()
