"""The ops port of a node that runs as a process: where it listens, and what hinders the node."""

from pathlib import Path

import httpx2
import pytest
import trio

from tests.e2e.process import LIMIT_S, make_store, node, piaohao
from tests.faults.disk import HANGS_S, Disk, Kind
from tests.gateway.ops.operators import ready_at

ACCOUNT = {"account_no": "A1", "currency": "USD"}


@pytest.mark.one_shard
async def test_hung_disk_makes_a_node_unready_until_it_goes_on(tmp_path: Path) -> None:
    """Nobody is refused and nothing fails while a sync hangs: only the probe says what is wrong."""
    data = tmp_path / "bank"
    await make_store(data)
    disk = Disk(data, tmp_path / "disk")
    options = ("--ops-listen", "127.0.0.1:0")
    async with (
        node(data, *options, command=disk.command()) as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
        trio.open_nursery() as nursery,
    ):
        assert (await ready_at(client, running.ops_address))[0] == 200
        disk.delay(Kind.SYNC, HANGS_S)
        answered = trio.Event()

        async def open_account() -> None:
            answer = await client.post(f"{running.address}/v1/accounts", json=ACCOUNT)
            assert answer.status_code == 201
            answered.set()

        nursery.start_soon(open_account)
        status, readiness = await ready_at(client, running.ops_address)
        with trio.fail_after(LIMIT_S):
            while status == 200:
                await trio.sleep(0.1)  # it is asked as often as a probe would, not all the time
                status, readiness = await ready_at(client, running.ops_address)
        assert (status, readiness["phase"]) == (503, "SERVING")
        assert [each["code"] for each in readiness["hindrances"]] == ["COMMITS_STALLED"]
        assert (await client.get(f"{running.ops_address}/healthz")).status_code == 200
        assert not answered.is_set()
        disk.heal()
        with trio.fail_after(LIMIT_S):
            while status == 503:
                status, _ = await ready_at(client, running.ops_address)
            await answered.wait()
        assert await running.end() == 0


@pytest.mark.one_shard
async def test_ops_port_beyond_loopback_is_refused(tmp_path: Path) -> None:
    """Also where the node itself listens to the world: what operators see is not encrypted."""
    await make_store(tmp_path)
    run = await piaohao("serve", "--data", tmp_path, "--unsigned", "--ops-listen", "0.0.0.0:9090")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "piaohao: --ops-listen '0.0.0.0:9090': operators are served on loopback only, for example "
        "127.0.0.1:9090; reach it from elsewhere through ssh -L\n"
    )
