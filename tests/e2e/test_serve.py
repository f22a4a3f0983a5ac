"""`piaohao serve` as a process: it says when it is ready, and ends in good order."""

import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from tests.e2e.process import make_store, node, piaohao
from tests.gateway.certificates import Signer
from tests.shards import SHARDS

ACCOUNT = {"account_no": "A1", "currency": "USD"}


@pytest.mark.one_shard
async def test_serve_answers_at_the_address_that_it_prints(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        answer = await client.get(f"{running.address}/v1/node")
        assert answer.json()["clock"] == "wall"
        assert await running.end() == 0
    assert running.errors == b""


@pytest.mark.one_shard
async def test_serve_speaks_tls_and_reads_its_files_again(tmp_path: Path) -> None:
    """By the name that it was given; SIGHUP has new connections see the new certificate."""
    await make_store(tmp_path / "bank")
    signer = Signer(tmp_path)
    certificate, key = signer.sign("server")
    files = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    options = ("--name", "bank.example", "--tls-client-ca", str(signer.file))
    async with node(tmp_path / "bank", *files, *options) as running:
        assert running.address.startswith("https://")

        async def ask() -> Any:
            async with httpx2.AsyncClient(verify=signer.client()) as client:
                path = f"{running.address}/v1/node"
                answer = await client.get(path, headers={"host": "bank.example"})
                assert answer.status_code == 200
                assert (await client.get(path)).status_code == 421
                stream = answer.extensions["network_stream"]
                return stream.get_extra_info("ssl_object").getpeercert()["serialNumber"]

        first = await ask()
        signer.sign("server")
        running.process.send_signal(signal.SIGHUP)
        with trio.fail_after(20):
            while await ask() == first:
                pass
        key.unlink()
        running.process.send_signal(signal.SIGHUP)
        with trio.fail_after(20):
            while b"TLS' files are used as they were" not in running.errors:
                assert await ask() != first
        assert await running.end() == 0


@pytest.mark.one_shard
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_an_idle_node_cleanly(signum: signal.Signals, tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        # The client keeps its connection: an idle one holds nobody up.
        await client.get(f"{running.address}/v1/node")
        running.process.send_signal(signum)
        with trio.fail_after(5):
            assert await running.process.wait() == 0
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        status = (await client.get(f"{running.address}/v1/node")).json()
        assert status["durable_seq"] == [0] * SHARDS, "a clean end needs no recovery commit"


async def test_sigterm_finishes_what_was_admitted(tmp_path: Path) -> None:
    """Each request under way is answered, none is cut off, and what is acknowledged is there."""
    await make_store(tmp_path)
    answers: list[httpx2.Response] = []
    async with node(tmp_path) as running, httpx2.AsyncClient(timeout=30) as client:

        async def open_accounts(worker: int) -> None:
            for number in range(1_000):
                body = {"account_no": f"A{worker}-{number}", "currency": "USD"}
                try:
                    answer = await client.post(f"{running.address}/v1/accounts", json=body)
                except httpx2.ConnectError:
                    return  # it listens no more
                except (httpx2.RemoteProtocolError, httpx2.ReadError):
                    return  # the idle connection was closed just as we sent
                answers.append(answer)
                if len(answers) == 50:
                    running.process.terminate()

        async with trio.open_nursery() as nursery:
            for worker in range(8):
                nursery.start_soon(open_accounts, worker)
        assert await running.process.wait() == 0
    assert running.errors == b""
    assert {each.status_code for each in answers} <= {201, 503}
    acknowledged = [each.json()["account_no"] for each in answers if each.status_code == 201]
    assert len(acknowledged) >= 50
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        for number in acknowledged:
            assert (await client.get(f"{running.address}/v1/accounts/{number}")).status_code == 200


@pytest.mark.one_shard
async def test_second_node_on_a_store_is_refused(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path):
        second = await piaohao("serve", "--data", tmp_path, "--listen", "127.0.0.1:0")
        assert (second.returncode, second.stdout) == (3, "")
        assert second.stderr.count("\n") == 1
        assert "in use" in second.stderr


@pytest.mark.one_shard
async def test_port_that_is_taken_is_exit_2(tmp_path: Path) -> None:
    await make_store(tmp_path / "one")
    await make_store(tmp_path / "two")
    async with node(tmp_path / "one") as running:
        listen = running.address.removeprefix("http://")
        second = await piaohao("serve", "--data", tmp_path / "two", "--listen", listen)
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)


async def test_store_outlives_a_kill(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        answer = await client.post(f"{running.address}/v1/accounts", json=ACCOUNT)
        assert answer.status_code == 201
        await running.end(kill=True)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        assert (await client.get(f"{running.address}/v1/accounts/A1")).json() == answer.json()


@pytest.mark.one_shard
async def test_control_socket_is_for_its_owner_alone(tmp_path: Path) -> None:
    await make_store(tmp_path)
    control = trio.Path(tmp_path / "control.sock")
    async with node(tmp_path) as running:
        mode = (await control.stat()).st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        await running.end()
    assert not await control.exists()


async def _opened(client: httpx2.AsyncClient, address: str, *items: dict[str, Any]) -> None:
    answers = (await client.post(f"{address}/v1/commands", json=items)).json()
    assert {each["status"] for each in answers} == {201}


@pytest.mark.one_shard
async def test_client_that_leaves_cancels_nothing(tmp_path: Path) -> None:
    """Neither its command nor the rest of its array, which had not begun when it left."""
    await make_store(tmp_path)
    async with node(tmp_path) as running, httpx2.AsyncClient() as client:
        merchant = {"command": "open_merchant", "merchant_no": "M1", "currency": "USD"}
        account = {"command": "open_account", **ACCOUNT}
        funding = {"command": "fund_account", "funding_no": "F1", "amount_minor": 10**6, **ACCOUNT}
        signed = {
            "command": "sign_agreement",
            "account_no": "A1",
            "agreement_no": "M1",
            "merchant_no": "M1",
        }
        await _opened(client, running.address, merchant, account, funding, signed)
        hold = {"command": "create_authorization", "merchant_no": "M1", "hold_no": "H1",
                "payer": "A1", "amount_minor": 1_000, "currency": "USD"}  # fmt: skip
        captures = [
            {"command": "capture_authorization", "merchant_no": "M1", "hold_no": "H1",
             "capture_no": f"C{number}", "amount_minor": 1}
            for number in range(40)
        ]  # fmt: skip
        request = client.build_request(
            "POST", f"{running.address}/v1/commands", json=[hold, *captures]
        )
        host, port = running.address.removeprefix("http://").split(":")
        stream = await trio.open_tcp_stream(host, int(port))
        head = f"POST /v1/commands HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += "Content-Type: application/json\r\n"
        head += f"Content-Length: {len(request.content)}\r\n\r\n"
        await stream.send_all(head.encode() + request.content)
        await stream.aclose()
        path = f"{running.address}/v1/authorizations/M1/H1/captures/C39"
        with trio.fail_after(20):
            while (await client.get(path)).json().get("state") != "SUCCEEDED":
                pass
        found = (await client.get(f"{running.address}/v1/authorizations/M1/H1")).json()
        assert found["captured_minor"] == 40


@pytest.mark.one_shard
async def test_node_takes_as_many_open_files_as_it_may(tmp_path: Path) -> None:
    data = tmp_path / "bank"
    await make_store(data)
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1500)); "
        "from gateway.cli import main; main()"
    )
    async with node(data, command=(sys.executable, "-c", limited)) as running:
        limits = await trio.Path(f"/proc/{running.process.pid}/limits").read_text()
    assert re.search(r"Max open files +1500 +1500", limits)
