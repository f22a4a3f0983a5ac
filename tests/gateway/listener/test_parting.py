"""How connections end: a client reads what it was sent, whatever it was sending meanwhile."""

import re
import socket
import struct
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.listener.bounds import Bounds
from gateway.listener.listener import DRAIN_S
from gateway.server import Serving
from tests.gateway.certificates import Signer
from tests.gateway.serving import (
    BODY,
    GOOD,
    OPEN_MERCHANT,
    Door,
    addressed,
    connect,
    connect_tls,
    host_of,
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # whose commits are held


def _long_array() -> bytes:
    """Return a request whose answer is longer than what a narrow client has room for, and not
    longer than what the node's socket takes at once."""
    item = msgspec.json.decode(BODY)[0]
    body = msgspec.json.encode([item] * 100)
    head = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def _narrow(running: Serving) -> trio.SocketStream:
    """Return a connection whose client has room for little that it has not read."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    host, _, port = host_of(running).decode().rpartition(":")
    await sock.connect((host, int(port)))
    return trio.SocketStream(sock)


async def test_request_of_a_client_that_has_reset_its_connection_is_not_begun(
    tmp_path: Path,
) -> None:
    """On the main listener, where it would take 2 ms for nobody."""
    async with serving(tmp_path) as running:
        host, _, port = host_of(running).decode().rpartition(":")
        with socket.create_connection((host, int(port))) as leaving:
            await trio.testing.wait_all_tasks_blocked(0.03)  # it is accepted and listened to
            leaving.sendall(addressed(running, OPEN_MERCHANT))
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.testing.wait_all_tasks_blocked(0.03)
        async with await connect(running) as other:
            await other.send_all(addressed(running, OPEN_MERCHANT))
            answer = await read_answer(other)
    assert answer.status == 200
    assert b'"replayed"' not in answer.body


async def test_command_behind_answers_that_are_not_taken_is_not_begun(
    tmp_path: Path, door: Door
) -> None:
    """Once its client is hung up on nobody would hear what became of it."""
    lookup = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(tmp_path, door=door, bounds=Bounds(send_s=0.2)) as running:
        deaf = await _narrow(running)
        await deaf.send_all(addressed(running, lookup * 120 + OPEN_MERCHANT))
        await trio.sleep(0.5)
        await trio.aclose_forcefully(deaf)
        async with await connect(running) as other:
            await other.send_all(addressed(running, OPEN_MERCHANT))
            answer = await read_answer(other)
    assert answer.status == 200
    assert b'"replayed"' not in answer.body


@pytest.mark.parametrize("turns", range(8))
async def test_client_that_comes_as_the_node_stops_does_not_hold_it_up(
    turns: int, tmp_path: Path, door: Door
) -> None:
    """In whichever turn of the loop: it is told to end as all others are, or never accepted."""
    async with serving(tmp_path, door=door) as running:
        host, _, port = host_of(running).decode().rpartition(":")
        running.stop()
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        with suppress(ConnectionError), socket.create_connection((host, int(port))) as late:
            late.setblocking(False)
            with trio.fail_after(DRAIN_S / 4):
                await trio.lowlevel.wait_readable(late)
            assert late.recv(1) == b""


async def test_client_reads_its_answer_though_it_has_sent_more_than_is_read(
    tmp_path: Path, door: Door
) -> None:
    """The node stops with requests behind it that it has not read: no reset spoils the answer."""
    async with serving(tmp_path, door=door, bounds=Bounds(linger_s=10)) as running:
        (shard,) = running.node.shards
        shard.hold_commits()
        client = await _narrow(running)
        await client.send_all(addressed(running, _long_array()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, addressed(running, GOOD * 10_000))
            await trio.testing.wait_all_tasks_blocked(0.03)
            running.stop()
            shard.let_commits()
            answer = await read_answer(client)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert len(msgspec.json.decode(answer.body)) == 100
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(client)


async def test_connection_that_is_to_close_waits_for_its_client(tmp_path: Path, door: Door) -> None:
    """`Connection: close` with more behind it: what is sent then is read, and the end is clean."""
    last = GOOD.replace(b"Host: x\r\n", b"Host: x\r\nConnection: close\r\n")
    async with serving(tmp_path, door=door) as running, await connect(running) as client:
        await client.send_all(addressed(running, last + GOOD * 100))
        assert (await read_answer(client)).status == 200
        await client.send_all(addressed(running, GOOD * 100))
        assert await client.receive_some() == b"", "ended, not reset"


@pytest.mark.parametrize("secure", [False, True])
async def test_stop_is_quick_though_clients_stay(secure: bool, tmp_path: Path, door: Door) -> None:
    """Idle ones that notice nothing, and one that has just been answered and does not close."""
    signer = Signer(tmp_path)
    tls = signer.server() if secure else None
    async with AsyncExitStack() as stack:
        async with serving(tmp_path / "bank", tls=tls, door=door) as running:
            clients: list[trio.abc.Stream] = []
            for _ in range(20):
                reached = connect_tls(running, signer.client()) if secure else connect(running)
                clients.append(await reached)
                stack.push_async_callback(trio.aclose_forcefully, clients[-1])
            for client in clients[:10]:
                await client.send_all(addressed(running, GOOD))
                assert (await read_answer(client)).status == 200
            await clients[0].send_all(addressed(running, OPEN_MERCHANT))
            assert (await read_answer(clients[0])).status == 200
            begun = time.monotonic()
        took_s = time.monotonic() - begun
        assert took_s < 0.7, "less than a client would be lingered for"


async def test_half_closed_client_gets_its_answers(tmp_path: Path, door: Door) -> None:
    """RFC 9112, section 9.6: it has said that it sends nothing more, and not that it has gone."""
    async with serving(tmp_path, door=door) as running:
        (shard,) = running.node.shards
        for ask in (OPEN_MERCHANT, GOOD + OPEN_MERCHANT, OPEN_MERCHANT + GOOD):
            shard.hold_commits()
            async with await connect(running) as client:
                await client.send_all(addressed(running, ask))
                await client.send_eof()
                await trio.testing.wait_all_tasks_blocked(0.03)
                shard.let_commits()
                received = await until_closed(client)
            statuses = re.findall(rb"HTTP/1.1 ([0-9]+) ", received)
            assert statuses == [b"200"] * ask.count(b"POST"), received


async def test_half_closed_client_whose_request_is_not_whole_is_let_go(
    tmp_path: Path, door: Door
) -> None:
    """Nobody waits for what cannot come."""
    async with serving(tmp_path, door=door) as running:
        for part in (b"", GOOD[:20], OPEN_MERCHANT[:-5], GOOD + OPEN_MERCHANT[:-5]):
            async with await connect(running) as client:
                await client.send_all(addressed(running, part))
                await client.send_eof()
                with trio.fail_after(5):
                    received = await until_closed(client)
            assert received.count(b"HTTP/1.1 200 ") == part.count(GOOD)
