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
    """The process, as seen from outside."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._seen = b""

    async def until(self, answers: int) -> None:
        """Wait until so many commands have been acknowledged."""
        assert self._process.stdout is not None
        with trio.fail_after(LIMIT_S + answers / 20):
            while sum(map(int, self._seen.splitlines()[:-1])) < answers:
                chunk = await self._process.stdout.receive_some()
                assert chunk, "all customers have stopped"
                self._seen += chunk


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
    try:
        yield Clientele(process)
        # The end of its input is its end; an answer that has come is still written down.
        await process.stdin.aclose()
        with trio.fail_after(LIMIT_S):
            async for _ in process.stdout:
                pass
            await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await process.stdin.aclose()
        await process.stdout.aclose()
