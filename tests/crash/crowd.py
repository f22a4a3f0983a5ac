"""The crowd: the test's end of a client that runs in a process of its own (`client.py`)."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import trio

from tests.crash.client import Settings
from tests.crash.town import opening
from tests.e2e.process import LIMIT_S

ROOT: Final = Path(__file__).parents[2]


class Crowd:
    """A running client.

    Attributes:
        told: how many outcomes it has been told, as far as somebody has waited for them.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.told = 0
        self._buffered = b""

    async def go_to(self, address: str) -> None:
        """Tell it where a node listens now."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(address.encode() + b"\n")

    async def told_more(self, outcomes: int, limit_s: float = LIMIT_S) -> None:
        """Wait until it has been told so many outcomes more."""
        assert self.process.stdout is not None
        wanted = self.told + outcomes
        with trio.fail_after(limit_s):
            while self.told < wanted:
                chunk = await self.process.stdout.receive_some()
                assert chunk, "the client has ended"
                *lines, self._buffered = (self._buffered + chunk).split(b"\n")
                self.told += sum(map(int, lines))

    async def end(self) -> None:
        """Have it begin nothing more, and wait until what it has begun has its outcome."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        await self.finish()

    async def finish(self, limit_s: float = LIMIT_S) -> None:
        """Wait until it has sent all that it was to send, and has been told every outcome."""
        assert self.process.stdout is not None
        with trio.fail_after(limit_s):
            while chunk := await self.process.stdout.receive_some():
                *lines, self._buffered = (self._buffered + chunk).split(b"\n")
                self.told += sum(map(int, lines))
            assert await self.process.wait() == 0


@asynccontextmanager
async def crowd(log: Path, workers: int, seed: int, **settings: Any) -> AsyncIterator[Crowd]:
    """Start a client that waits for an address; it is killed at the end."""
    asked = Settings(str(log), seed, workers, **settings)
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.crash.client", msgspec.json.encode(asked).decode()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield Crowd(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                await trio.aclose_forcefully(stream)


async def open_town(address: str) -> None:
    """Open the town's merchants and accounts."""
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        answers = (await client.post(f"{address}/v1/commands", json=opening())).json()
    assert {each["status"] for each in answers} == {201}, answers
