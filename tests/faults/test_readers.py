"""Readers of other processes: who is gone is forgotten, who stays makes the file grow, not break.

LMDB keeps every page that the oldest reader may still see. A process that is killed while it reads
leaves its place in the table of readers; the node clears such places every few seconds. (LMDB
itself begins a new table when nobody else has the store open.)
"""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import trio

from gateway.operations import Verify
from gateway.operator import perform
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node

READER: Final = """
import lmdb, sys
env = lmdb.open(sys.argv[1], readonly=True, max_dbs=20)
with env.begin() as txn:
    list(txn.cursor())
    print("reading", end="", flush=True)
    sys.stdin.read()
"""
ROUND: Final = 40
"""Arrays of commands in a round, each a commit or two that frees pages."""


@asynccontextmanager
async def reader(shard: Path) -> AsyncIterator[trio.Process]:
    """Have another process hold a read transaction open, until it is killed."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", READER, str(shard)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with trio.fail_after(LIMIT_S):
            assert await process.stdout.receive_some() == b"reading"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        await trio.aclose_forcefully(process.stdin)
        await trio.aclose_forcefully(process.stdout)


async def said(running: NodeProcess, words: bytes) -> None:
    """Wait until a node has said so."""
    while words not in running.errors:  # noqa: ASYNC110 -- another process sets no event
        await trio.sleep(0.05)


async def overwrite(running: NodeProcess, client: httpx2.AsyncClient, name: str) -> None:
    """Fund the same accounts again and again: what is overwritten is what the file could reuse."""
    for number in range(ROUND):
        commands = [
            {"command": "fund_account", "account_no": f"A{n}", "funding_no": f"{name}-{number}",
             "amount_minor": 1, "currency": "USD"}
            for n in range(20)
        ]  # fmt: skip
        answer = await client.post(f"{running.address}/v1/commands", json=commands)
        assert {each["status"] for each in answer.json()} == {201}


async def opened(running: NodeProcess, client: httpx2.AsyncClient) -> None:
    commands: list[dict[str, Any]] = [
        {"command": "open_account", "account_no": f"A{n}", "currency": "USD"} for n in range(20)
    ]
    await client.post(f"{running.address}/v1/commands", json=commands)


def size(shard: Path) -> int:
    return (shard / "data.mdb").stat().st_size


async def grown(running: NodeProcess, client: httpx2.AsyncClient, shard: Path, name: str) -> int:
    """Return by how much a round of overwrites makes a shard's file grow."""
    before = size(shard)
    await overwrite(running, client, name)
    return size(shard) - before


async def test_reader_that_is_gone_keeps_the_file_from_growing_no_longer(tmp_path: Path) -> None:
    await make_store(tmp_path)
    shard = tmp_path / "shard-0"
    async with node(tmp_path) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        await opened(running, client)
        await overwrite(running, client, "warm")
        usual = await grown(running, client, shard, "usual")
        async with reader(shard) as reading:
            beside_reader = await grown(running, client, shard, "beside")
            assert beside_reader > 2 * max(usual, 1 << 16), "the reader held nothing back"
            reading.kill()
            await reading.wait()
            with trio.fail_after(LIMIT_S):
                await said(running, b"readers are gone")
        # What the reader kept is free now: a round finds its room in it.
        assert await grown(running, client, shard, "after") <= max(usual, 1 << 16)
        assert await running.end() == 0
    assert perform(tmp_path, Verify())["ok"]
