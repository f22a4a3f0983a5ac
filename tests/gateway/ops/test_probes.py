"""Probes: a node says that it is ready when it can be used, and only then, and says why not."""

import socket
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing

from engine import recovery
from gateway.console.assets import address_of
from gateway.listener.address import ListenError, check_ops_address
from gateway.listener.bounds import Bounds
from gateway.ops import cookie, health
from gateway.ops.listener import BOUNDS
from gateway.ops.operators import Role
from gateway.patience import Patience
from gateway.server import serve
from storage.folder import Folder
from storage.lmdb_store import LmdbStore
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S, Ops, ready_at, watched
from tests.gateway.serving import GOOD, OPEN_MERCHANT, addressed, connect, read_answer
from tests.shards import SHARDS


async def open_merchant(ops: Ops) -> None:
    """Have the node do something that wants a commit."""
    async with await connect(ops.running) as stream:
        await stream.send_all(addressed(ops.running, OPEN_MERCHANT))
        assert (await read_answer(stream)).status == 200


async def test_node_that_serves_is_alive_and_ready(tmp_path: Path) -> None:
    async with watched(tmp_path) as ops:
        alive = {"object": "liveness", "alive": True, "phase": "SERVING"}
        assert await ops.get("/healthz") == (200, alive)
        ready = {"object": "readiness", "ready": True, "phase": "SERVING", "hindrances": []}
        assert await ops.get("/readyz") == (200, ready)


async def test_node_that_recovers_is_alive_and_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ops listener answers while the others take no request yet."""
    begun, goes_on = trio.Event(), trio.Event()
    recover = recovery.recover

    async def slow(*arguments: object) -> None:
        begun.set()
        await goes_on.wait()
        await recover(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(recovery, "recover", slow)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with closing(Folder(tmp_path, create=True)) as folder:
        folder.create("2026-01-05", 1_767_600_000 * 10**9, shards=SHARDS)
        async with trio.open_nursery() as nursery, httpx2.AsyncClient() as client:
            started: list[object] = []

            async def start() -> None:
                node = partial(serve, folder, listen="127.0.0.1:0", ops_listen=address)
                started.append(await nursery.start(node))

            nursery.start_soon(start)
            with trio.fail_after(LIMIT_S):
                await begun.wait()
            status, readiness = await ready_at(client, f"http://{address}")
            assert (status, readiness["phase"]) == (503, "RECOVERING")
            assert [each["code"] for each in readiness["hindrances"]] == ["RECOVERING"]
            assert (await client.get(f"http://{address}/healthz")).status_code == 200
            assert started == []
            goes_on.set()
            with trio.fail_after(LIMIT_S):
                while status == 503:
                    status, readiness = await ready_at(client, f"http://{address}")
            assert readiness["phase"] == "SERVING"
            nursery.cancel_scope.cancel()


async def test_nearly_full_disk_is_named_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path) as ops:
        with monkeypatch.context() as patch:
            patch.setattr(LmdbStore, "has_headroom", lambda _: False)
            readiness = await ops.until_hindered(*["DISK_NEARLY_FULL"] * SHARDS)
            assert readiness["phase"] == "SERVING"
            assert {each["shard"] for each in readiness["hindrances"]} == {*range(SHARDS)}
            samples = await ops.samples()
            assert samples["piaohao_ready", ()] == 0
            assert samples["piaohao_hindered", (("code", "DISK_NEARLY_FULL"),)] == 1
        await ops.until_hindered()
        samples = await ops.samples()
        assert samples["piaohao_ready", ()] == 1
        assert samples["piaohao_hindered", (("code", "DISK_NEARLY_FULL"),)] == 0


async def test_commit_that_does_not_end_is_named_until_it_does(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a commit hangs the node looks idle: nothing fails, and nobody is answered."""
    monkeypatch.setattr(health, "STALLED_S", 0.05)
    async with watched(tmp_path) as ops:
        async with trio.open_nursery() as nursery:
            disk.clear()
            nursery.start_soon(open_merchant, ops)
            (hindered,) = (await ops.until_hindered("COMMITS_STALLED"))["hindrances"]
            assert "under way for" in hindered["detail"]
            samples = await ops.samples()
            shard = (("shard", str(hindered["shard"])),)
            assert samples["piaohao_commit_running_seconds", shard] >= 0.05
            assert samples["piaohao_oldest_command_seconds", shard] > 0
            disk.set()
        await ops.until_hindered()


async def test_node_that_stops_is_not_ready_while_it_finishes(
    tmp_path: Path, disk: threading.Event
) -> None:
    async with watched(tmp_path) as ops, trio.open_nursery() as nursery:
        disk.clear()
        nursery.start_soon(open_merchant, ops)
        with trio.fail_after(LIMIT_S):
            while not sum(each.admission.unconfirmed for each in ops.running.node.shards):
                await trio.testing.wait_all_tasks_blocked()
        ops.running.stop()
        readiness = await ops.until_hindered("STOPPING")
        assert readiness["phase"] == "STOPPING"
        assert (await ops.get("/healthz"))[0] == 200
        disk.set()


async def test_node_that_has_failed_is_neither_alive_nor_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is about to end; until then nobody is to be sent to it."""
    async with watched(tmp_path) as ops:
        monkeypatch.setattr(health.Health, "phase", health.Phase.FAILED)
        status, body = await ops.get("/healthz")
        assert (status, body["alive"]) == (503, False)
        status, body = await ops.get("/readyz")
        assert (status, body["hindrances"][0]["code"]) == (503, "FAILED")


@pytest.mark.one_shard
async def test_no_listener_knows_the_paths_of_the_other(tmp_path: Path) -> None:
    """What operators see is not at the customers' port, nor the other way round."""
    async with watched(tmp_path) as ops:
        for path in ("/healthz", "/readyz", "/metrics"):
            answer = await ops.client.get(f"{ops.running.address}{path}")
            assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
        status, problem = await ops.get("/v1/node")
        assert (status, problem["code"]) == (404, "NOT_FOUND")


@pytest.mark.one_shard
async def test_ops_listener_refuses_as_the_others_do(tmp_path: Path) -> None:
    """Problem details with the codes of docs/ERRORS.md; nothing may be kept on the way."""
    async with watched(tmp_path) as ops:
        address, client = f"{ops.running.ops_address}", ops.client
        posted = await client.post(f"{address}/metrics")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
        assert posted.headers["content-type"] == "application/problem+json"
        asked = await client.get(f"{address}/readyz?verbose=1")
        assert (asked.status_code, asked.json()["code"]) == (422, "INVALID_REQUEST")
        # A name that was rebound to loopback: a page of any site could read what is here.
        rebound = await client.get(f"{address}/metrics", headers={"host": "evil.example"})
        assert (rebound.status_code, rebound.json()["code"]) == (421, "MISDIRECTED_REQUEST")
        answer = await client.get(f"{address}/metrics")
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.one_shard
async def test_operators_find_a_place_where_customers_find_none(tmp_path: Path) -> None:
    """Connections and requests are counted port by port."""
    async with (
        watched(tmp_path, bounds=Bounds(connections_max=1)) as ops,
        await connect(ops.running) as busy,
    ):
        await busy.send_all(addressed(ops.running, GOOD)[:-1])
        assert (await ops.get("/readyz"))[0] == 200
        samples = await ops.samples()
        assert samples["piaohao_connections", ()] == 1
        assert samples["piaohao_connections_max", ()] == 1


@pytest.mark.one_shard
@pytest.mark.parametrize("listen", ["[::]:9090", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"])
def test_ops_address_beyond_loopback_is_none(listen: str) -> None:
    with pytest.raises(ListenError, match="on loopback only"):
        check_ops_address(listen)


@pytest.mark.one_shard
@pytest.mark.parametrize("listen", ["127.0.0.1", "bank.example:1", "127.0.0.1:70000"])
def test_ops_address_that_is_none_is_refused_by_its_option(listen: str) -> None:
    with pytest.raises(ListenError, match=r"^--ops-listen "):
        check_ops_address(listen)


async def test_what_nobody_with_a_session_asks_is_heard_later(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of anybody's, in an operator's browser, may ask as fast as it is answered."""
    told: list[bool] = []
    answered = Patience.answered

    def note(patience: Patience, busy_s: int | None, *, proven: bool) -> None:
        told.append(proven)
        answered(patience, busy_s, proven=proven)

    monkeypatch.setattr(Patience, "answered", note)
    token = guarded.tokens[Role.VIEWER]
    tool, browser = {"authorization": f"Bearer {token}"}, {"cookie": f"{cookie.NAME}={token}"}
    for path, headers, status in (
        ("/healthz", {}, 200),
        ("/metrics", {}, 200),
        ("/ops/openapi.json", {}, 200),
        ("/ops/shards", tool, 200),
        ("/ops/audit", tool, 403),
        ("/ops/actors/account/nobody", tool, 404),
        ("/ops/shards", {}, 401),
        ("/ops/nothing", {}, 404),
        (address_of("console.js"), {}, 200),
        ("/console/shards", browser, 200),
        ("/console/audit", browser, 403),
        ("/console/login", {}, 200),
        ("/console/shards", {}, 303),
    ):
        told.clear()
        answer = await guarded.ops.client.get(f"{guarded.address}{path}", headers=headers)
        assert (answer.status_code, told) == (status, [bool(headers)]), path
    assert BOUNDS.unproven_s_max <= 0.5
