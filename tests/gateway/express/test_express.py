"""What is the express listener's own: what it leaves to the other, order, and the end."""

import re
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.listener.bounds import Bounds
from tests.gateway.serving import (
    GOOD,
    OPEN_MERCHANT,
    addressed,
    connect,
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

LOOKUP = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "line",
    [b"GET /v1/node", b"GET /v1/payments", b"GET /", b"GET /v1/nothing", b"DELETE /v1/accounts/A1",
     b"POST /v1/merchants", b"HEAD /v1/health", b"GET /v1/events"],
)  # fmt: skip
async def test_what_it_does_not_serve_is_sent_elsewhere(line: bytes, tmp_path: Path) -> None:
    """With an address for machines, and on a connection that goes on."""
    names = ["bank.example:8443", "other.example"]
    async with serving(tmp_path, names=names, door="express") as running:
        port = running.address.rpartition(":")[2].encode()
        host = b"bank.example:" + port
        async with await connect(running) as stream:
            for _ in range(2):
                await stream.send_all(line + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
                bodiless = line.startswith(b"HEAD")
                answer = await read_answer(stream, bodiless=bodiless)
                assert answer.status == 421
                assert "connection" not in answer.headers
                if not bodiless:
                    problem = msgspec.json.decode(answer.body)
                    assert problem["code"] == "MISDIRECTED_REQUEST"
                    assert problem["address"] == "http://bank.example:8443"


async def test_pipelined_requests_are_answered_in_order_and_together(tmp_path: Path) -> None:
    """What need not wait goes out in one piece, and before what waits for a commit."""
    async with serving(tmp_path, door="express") as running, await connect(running) as stream:
        for shard in running.node.shards:
            shard.hold_commits()
        ask = LOOKUP + GOOD + LOOKUP.replace(b"O1 ", b"O2 ") + OPEN_MERCHANT + GOOD
        await stream.send_all(addressed(running, ask))
        await trio.testing.wait_all_tasks_blocked(0.05)
        first = bytes(await stream.receive_some(1 << 16))
        assert re.findall(rb"HTTP/1.1 ([0-9]+) \r", first) == [b"404", b"200", b"404"]
        for shard in running.node.shards:
            shard.let_commits()
        rest = b""
        with trio.fail_after(20):
            while rest.count(b"HTTP/1.1 200 ") < 2:
                rest += await stream.receive_some(1 << 16)
        assert rest.index(b'"status":201') < rest.rindex(b"[]")


async def test_whoever_waits_to_be_told_to_go_on_is_told(tmp_path: Path) -> None:
    """RFC 9110, section 10.1.1; who has sent the body already is not told."""
    async with serving(tmp_path, door="express") as running, await connect(running) as stream:
        head, body = GOOD[:-2], GOOD[-2:]
        head = addressed(running, head.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        await stream.send_all(head)
        assert await stream.receive_some() == b"HTTP/1.1 100 \r\n\r\n"
        await stream.send_all(body)
        assert (await read_answer(stream)).status == 200
        await stream.send_all(head + body)
        assert (await read_answer(stream)).status == 200


async def test_both_doors_count_their_connections_together(tmp_path: Path) -> None:
    async with serving(tmp_path, bounds=Bounds(connections_max=2), door="express") as running:
        assert running.express_address == running.address
        first, second = await connect(running), await connect(running)
        for each in (first, second):
            await each.send_all(addressed(running, GOOD))
            await read_answer(each)
        other = await connect(running)
        assert await until_closed(first) == b""
        for each in (first, second, other):
            await trio.aclose_forcefully(each)


async def test_node_that_stops_answers_what_was_asked_express(tmp_path: Path) -> None:
    async with serving(tmp_path, door="express") as running:
        idle, asking = await connect(running), await connect(running)
        for shard in running.node.shards:
            shard.hold_commits()
        await asking.send_all(addressed(running, OPEN_MERCHANT))
        await trio.testing.wait_all_tasks_blocked(0.05)
        running.stop()
        assert await until_closed(idle) == b""
        for shard in running.node.shards:
            shard.let_commits()
        answer = await read_answer(asking)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await until_closed(asking) == b""
    for stream in (idle, asking):
        await trio.aclose_forcefully(stream)
