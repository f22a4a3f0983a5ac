"""The ops port of a node that runs as a process: what hinders the node, and who may look at it."""

import json
import os
from pathlib import Path

import httpx2
import pyotp
import pytest
import trio

from gateway.ca import private_files
from gateway.ca.master_key import new_master_key
from gateway.operator import administer
from gateway.ops.office import AddOperator, VerifyAudit
from gateway.ops.operators import Role
from tests.e2e.process import LIMIT_S, make_store, node, piaohao
from tests.faults.disk import HANGS_S, Disk, Kind
from tests.gateway.certificates import Signer
from tests.gateway.ops.operators import ready_at
from tests.gateway.ops.tampering import Rows, tamper


def drop_newest(rows: Rows) -> None:
    del rows[max(rows)]


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
        "piaohao: --ops-listen '0.0.0.0:9090': without mutual TLS operators are served on loopback "
        "only, for example 127.0.0.1:9090; give --ops-cert, --ops-key and --ops-client-ca, or "
        "reach it from elsewhere through ssh -L\n"
    )


@pytest.mark.one_shard
async def test_ops_port_with_mutual_tls_answers_who_shows_a_certificate(tmp_path: Path) -> None:
    """By the options of the command line; customers' port is as it was."""
    data, signer = tmp_path / "bank", Signer(tmp_path)
    await make_store(data)
    certificate, key = map(str, signer.sign("server"))
    files = ("--ops-cert", certificate, "--ops-key", key, "--ops-client-ca", str(signer.file))
    async with (
        node(data, "--ops-listen", "127.0.0.1:0", *files) as running,
        httpx2.AsyncClient(verify=signer.client(signer.sign("laptop-1"))) as client,
        httpx2.AsyncClient(verify=signer.client()) as stranger,
    ):
        assert running.ops_address.startswith("https://")
        assert (await ready_at(client, running.ops_address))[0] == 200
        with pytest.raises(httpx2.TransportError):
            await stranger.get(f"{running.ops_address}/readyz")
        assert (await stranger.get(f"{running.address}/v1/health")).status_code == 200
        assert await running.end() == 0


@pytest.mark.one_shard
async def test_operator_is_taken_on_logs_in_and_is_written_down(tmp_path: Path) -> None:
    """The first admin before the node runs, another one while it does; the log verifies in either
    case, and shows who has cut it short to whoever kept its head."""
    data, key, secret = tmp_path / "bank", tmp_path / "master.key", tmp_path / "password"
    await make_store(data)
    new_master_key().write(key)
    private_files.write_new(secret, b"a password of some length\n")
    given = ("--data", data, "--password-file", secret, "--master-key", key, "--json")
    run = await piaohao("operator", "add", "duty-1", "--role", "admin", *given)
    assert run.returncode == 0, run.stderr
    codes = pyotp.parse_uri(json.loads(run.stdout)["totp_uri"])
    assert isinstance(codes, pyotp.TOTP)
    options = ("--ops-listen", "127.0.0.1:0", "--master-key", str(key))
    async with (
        node(data, *options) as running,
        httpx2.AsyncClient(timeout=LIMIT_S, base_url=running.ops_address) as client,
    ):
        # Over the control socket, as the command line does it.
        second = AddOperator("duty-2", Role.VIEWER, "no hash", b"")
        await trio.to_thread.run_sync(administer, data, second)
        login = {"name": "duty-1", "password": "a password of some length", "code": codes.now()}
        begun = await client.post("/ops/sessions", json=login)
        assert begun.status_code == 201, begun.text
        headers = {"authorization": f"Bearer {begun.json()['token']}"}
        listed = await client.get("/ops/operators", headers=headers)
        assert [each["name"] for each in listed.json()["operators"]] == ["duty-1", "duty-2"]
        page = (await client.get("/ops/audit", headers=headers)).json()
        shell = f"shell/uid-{os.getuid()}"
        assert [(each["operator"], each["action"]) for each in page["items"]] == [
            ("duty-1", "list_operators"),
            ("duty-1", "log_in"),
            (shell, "add_operator"),
            (shell, "add_operator"),
        ]
        live = await trio.to_thread.run_sync(administer, data, VerifyAudit())
        assert (live["ok"], live["rows"]) == (True, 5)
        assert await running.end() == 0
    assert administer(data, VerifyAudit()) == live
    tamper(data / "ops", drop_newest)
    kept = f"5:{live['head']}"
    run = await piaohao("audit", "verify", "--data", data, "--kept", kept, "--json")
    found = json.loads(run.stdout)
    assert (run.returncode, found["ok"], found["rows"]) == (1, False, 4)
    assert found["fault"] == "there were 5 entries once, and 4 are left"
