"""The client's stream, end to end: real processes, TLS and signatures, kill -9 on both sides."""

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from gateway.client import AsyncClient, Stream
from tests.e2e.bank import Bank
from tests.e2e.process import LIMIT_S

KILLS: Final = int(os.environ.get("PIAOHAO_STREAM_KILLS", "10"))
FOLLOWER: Final = Path(__file__).with_name("follower.py")
LIVES: Final = 2 + KILLS // 20
"""How often the node starts meanwhile."""

_BOUGHT: Final[dict[str, Any]] = {"payer": "A1", "amount_minor": 3, "currency": "USD"}


class Trade:
    """Payments, refunds and authorizations of M1's, over one stream.

    Attributes:
        done: numbers of what was carried out; no two things have the same.
        over: everybody has stopped.
    """

    def __init__(self, stream: Stream, pause_s: float) -> None:
        self.done: list[str] = []
        self.over = trio.Event()
        self._stream = stream
        self._pause_s = pause_s
        self._ends = False

    async def run(self) -> None:
        """Buy and take back, several at a time, until told to end."""
        async with trio.open_nursery() as nursery:
            for worker in "abcd":
                nursery.start_soon(self._work, worker)
        self.over.set()

    async def end(self) -> None:
        """Begin nothing more, and wait until what was begun is carried out."""
        self._ends = True
        with trio.fail_after(LIMIT_S):
            await self.over.wait()

    async def _work(self, worker: str) -> None:
        stream, count = self._stream, 0
        while not self._ends:
            count += 1
            one, two = f"{worker}{count}-1", f"{worker}{count}-2"
            if count % 2:
                await stream.pay(one, **_BOUGHT)
                await stream.refund(two, order_no=one, amount_minor=1)
            else:
                await stream.authorize(one, **_BOUGHT)
                if count % 4:
                    await stream.capture(one, two, amount_minor=3)
                else:
                    await stream.void(one, two)
            self.done += one, two
            await trio.sleep(self._pause_s)


class Followers:
    """The followers' process, and how many of them have been killed."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._told = b""

    async def killed(self, count: int) -> None:
        """Wait until so many have been killed."""
        assert self._process.stdout is not None
        while b"%d\n" % count not in self._told:
            data = bytes(await self._process.stdout.receive_some())
            assert data, "a follower has ended by itself"
            self._told += data

    async def go_to(self, newest: int) -> None:
        """Have the last one follow up to an event, and end."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"%d\n" % newest)
        with trio.fail_after(LIMIT_S):
            assert await self._process.wait() == 0


@asynccontextmanager
async def following(address: str, folder: Path, seed: int) -> AsyncIterator[Followers]:
    """Have followers of M1's events that write to `seen` in the folder."""
    process = await trio.lowlevel.open_process(
        [
            sys.executable,
            str(FOLLOWER),
            address,
            folder,
            folder / "seen",
            f"{KILLS}",
            f"{seed}",
        ],
        env={**os.environ, "PYTHONPATH": str(FOLLOWER.parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Followers(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _check(client: AsyncClient, trade: Trade, folder: Path) -> None:
    """Check what the followers have seen, and what has come of the trade, against the bank."""
    events = [event async for event in client.events()]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    seen = (folder / "seen").read_bytes().splitlines()
    assert seen == [msgspec.json.encode(event) for event in events]
    happened = [event.number for event in events]
    assert len(set(happened)) == len(happened)
    assert sorted(happened) == sorted(trade.done)


@pytest.mark.one_shard
async def test_follower_that_is_killed_sees_every_event_once_in_order(tmp_path: Path) -> None:
    """Followers and node are killed while a merchant's trade goes on over a stream of its own.

    The trade's commands are none lost and none doubled either, whatever connection was lost.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    bank = Bank(tmp_path)
    async with bank.serving() as running:
        listen = running.address.removeprefix("https://")
        await bank.open_business()
        me = await bank.merchant()
        me.write(key=tmp_path / "m1.key", certificate=tmp_path / "m1.pem")
    async with (
        bank.client(running, me) as client,
        client.stream() as stream,
        following(running.address, tmp_path, seed) as followers,
        trio.open_nursery() as nursery,
    ):
        trade = Trade(stream, pause_s=0.05)
        nursery.start_soon(trade.run)
        for life in range(1, LIVES):
            async with bank.serving(listen=listen) as running:
                await followers.killed(KILLS * life // LIVES)
                await running.end(kill=True)
        async with bank.serving(listen=listen) as running:
            await followers.killed(KILLS)
            await trade.end()
            await followers.go_to(len(trade.done))
            await _check(client, trade, tmp_path)
            assert await running.end() == 0
    print(f"{len(trade.done)} events, {KILLS} kills of followers, {LIVES - 1} of the node")
