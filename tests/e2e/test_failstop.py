"""A commit that fails ends the node: callers are told that they do not know, never that it failed.

The node is a real process and its fsync really fails (`tests.e2e.failing_sync`).
"""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import trio

from gateway.exits import FAIL_STOP
from gateway.operations import Verify
from gateway.operator import perform
from tests.e2e import failing_sync
from tests.e2e.process import make_store, node, store_files
from tests.shards import SHARDS

WORKERS = 32


async def test_failing_fsync_tells_every_waiter_and_ends_with_74(tmp_path: Path) -> None:
    """Within a second: OUTCOME_UNKNOWN for all who wait, then the end; what came in later is
    refused or not answered at all. After a restart nothing acknowledged is lost."""
    await make_store(tmp_path)
    answers: list[tuple[float, int, Any]] = []
    acknowledged: list[Any] = []
    cut_off = 0
    command = [sys.executable, failing_sync.__file__]
    async with node(tmp_path, command=command) as running, httpx2.AsyncClient(timeout=30) as client:

        async def open_accounts(worker: int) -> None:
            nonlocal cut_off
            for number in range(10_000):
                body = {"account_no": f"A{worker}-{number}", "currency": "USD"}
                try:
                    answer = await client.post(f"{running.address}/v1/accounts", json=body)
                except httpx2.TransportError:
                    cut_off += 1
                    return
                answers.append((trio.current_time(), answer.status_code, answer.json()))
                if answer.status_code == 201:
                    acknowledged.append(answer.json())
                if len(acknowledged) == 200:
                    running.process.send_signal(signal.SIGUSR1)

        async with trio.open_nursery() as nursery:
            for worker in range(WORKERS):
                nursery.start_soon(open_accounts, worker)
            with trio.fail_after(20):
                assert await running.process.wait() == FAIL_STOP
            ended = trio.current_time()
    assert b"Input/output error" in running.errors

    unknown = [when for when, _, body in answers if body.get("code") == "OUTCOME_UNKNOWN"]
    assert unknown, "nobody waited for the commit that failed: this run shows nothing"
    assert ended - unknown[0] < 1
    codes = {(status, body.get("code")) for _, status, body in answers}
    assert codes <= {(201, None), (504, "OUTCOME_UNKNOWN"), (503, "STOPPING")}
    if SHARDS == 1:
        # Nothing is acknowledged once something is unknown. Another shard may have acknowledged
        # just before, and answers on two connections overtake each other: below, it is all there.
        assert all(status != 201 for when, status, _ in answers if when > unknown[0])
    assert cut_off <= WORKERS

    report = perform(tmp_path, Verify())
    assert report["ok"], report["violations"]
    async with node(tmp_path) as running, httpx2.AsyncClient(timeout=30) as client:
        for view in acknowledged:
            path = f"{running.address}/v1/accounts/{view['account_no']}"
            assert (await client.get(path)).json() == view


async def test_corrupt_row_met_by_a_read_ends_the_node_by_its_name(tmp_path: Path) -> None:
    """A value that is not what was written is never given out, and nothing is built on it."""
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        for number in ("M1", "M2"):
            merchant = {"merchant_no": number, "currency": "USD"}
            await client.post(f"{running.address}/v1/merchants", json=merchant)
        assert await running.end() == 0
    # The merchant's key, its row's checksum, its currency: in every page that has a copy.
    row = re.compile(rb"(merchant/M1.{4,8}?\xa3)USD", re.DOTALL)
    changed = 0
    for file in map(trio.Path, store_files(tmp_path)):
        content, times = row.subn(rb"\1EUR", await file.read_bytes())
        await file.write_bytes(content)
        changed += times
    assert changed
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        assert (await client.get(f"{running.address}/v1/merchants/M2")).status_code == 200
        answer = await client.get(f"{running.address}/v1/merchants/M1")
        assert (answer.status_code, answer.json()["code"]) == (500, "INTERNAL")
        with trio.fail_after(5):
            assert await running.process.wait() == FAIL_STOP
    assert b"merchant/M1" in running.errors


def test_node_whose_event_loop_hangs_ends_all_the_same() -> None:
    """The guard is a thread: it needs neither the loop nor anything that the loop could hold."""
    code = (
        "import threading, trio\n"
        "from gateway.failstop import FailStop\n"
        "async def main():\n"
        "    FailStop().begin(OSError('the disk is gone'))\n"
        "    threading.Event().wait()\n"
        "trio.run(main)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=20)
    assert run.returncode == FAIL_STOP
