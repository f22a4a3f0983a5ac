"""A disk that fills up: new work is refused before it is full, reads go on, work resumes unaided.

The disk is a file system of its own of 64 MiB (tmpfs), so mounting it takes root.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from gateway.exits import FAIL_STOP, OK
from gateway.operations import Verify
from gateway.operator import perform
from tests.e2e.process import LIMIT_S, make_store, node
from tests.gateway.ops.operators import ready_at

DISK_MIB = 64


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path, leave_bytes: int) -> None:
    """Leave as much free as asked for, at once; the node may take some of it meanwhile."""
    with (path / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while (free := os.statvfs(path).f_bavail * os.statvfs(path).f_frsize) > leave_bytes:
            filler.write(bytes(min(free - leave_bytes, 4 << 20)))


async def open_account(
    client: httpx2.AsyncClient, address: str, number: str
) -> tuple[int, dict[str, Any], httpx2.Headers]:
    body = {"account_no": number, "currency": "USD"}
    answer = await client.post(f"{address}/v1/accounts", json=body)
    return answer.status_code, answer.json(), answer.headers


async def test_nearly_full_disk_refuses_new_work_until_there_is_room(disk: Path) -> None:
    data = disk / "data"
    await make_store(data)
    async with (
        node(data, "--ops-listen", "127.0.0.1:0") as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
    ):
        assert (await ready_at(client, running.ops_address))[0] == 200
        status, first, headers = await open_account(client, running.address, "A1")
        refused = first
        assert status == 201
        fill(disk, leave_bytes=1 << 20)
        with trio.fail_after(5):
            while status == 201:
                status, refused, headers = await open_account(
                    client, running.address, f"B{trio.current_time()}"
                )
        assert (status, refused["code"]) == (503, "DISK_NEARLY_FULL")
        assert int(headers["Retry-After"]) > 0
        unready, readiness = await ready_at(client, running.ops_address)
        assert unready == 503
        assert {each["code"] for each in readiness["hindrances"]} == {"DISK_NEARLY_FULL"}
        path = f"{running.address}/v1/accounts/A1"
        assert (await client.get(path)).json() == first, "reads go on"
        (disk / "filler").unlink()
        with trio.fail_after(5):
            while status != 201:
                status, _, _ = await open_account(client, running.address, "A2")
        assert (await ready_at(client, running.ops_address))[0] == 200
        assert await running.end() == OK
    assert perform(data, Verify())["ok"]


async def test_disk_that_is_full_at_once_loses_nothing(disk: Path) -> None:
    """Somebody else takes the last byte under load: the node refuses, or stops with 74."""
    data = disk / "data"
    await make_store(data)
    acknowledged: list[dict[str, Any]] = []
    async with node(data) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:

        async def keep_opening(worker: int) -> None:
            for number in range(100_000):
                try:
                    status, view, _ = await open_account(
                        client, running.address, f"W{worker}-{number}"
                    )
                except httpx2.TransportError:
                    return
                if status != 201:
                    assert view["code"] in {"OUTCOME_UNKNOWN", "DISK_NEARLY_FULL", "STOPPING"}
                    return
                acknowledged.append(view)
                if len(acknowledged) == 150:
                    fill(disk, leave_bytes=0)

        async with trio.open_nursery() as nursery:
            for worker in range(16):
                nursery.start_soon(keep_opening, worker)
        stopped = running.process.poll()
        assert stopped in {None, FAIL_STOP}
    (disk / "filler").unlink()
    report = perform(data, Verify())
    assert report["ok"], report["violations"]
    async with node(data) as running, httpx2.AsyncClient(timeout=LIMIT_S) as client:
        for view in acknowledged:
            answer = await client.get(f"{running.address}/v1/accounts/{view['account_no']}")
            assert answer.json() == view
