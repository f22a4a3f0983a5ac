"""What a node must not go on after ends it: a row that is not what was written, above all.

Commits that fail are in `tests/faults/test_errors.py`.
"""

import re
import subprocess
import sys
from pathlib import Path

import httpx2
import trio

from gateway.exits import FAIL_STOP
from tests.e2e.process import make_store, node, store_files


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
