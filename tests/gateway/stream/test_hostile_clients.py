"""Clients of streams that mean harm, or are only slow: each ends by its code, and nobody else."""

import socket
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
from wsproto.events import CloseConnection, Ping, Pong

from gateway.listener.bounds import Bounds
from gateway.server import Serving
from gateway.stream.bounds import MESSAGE_BYTES, StreamBounds
from gateway.webhooks.log import newest_event
from tests.gateway.desk_client import payment
from tests.gateway.serving import (
    Door,
    RawAnswer,
    connect,
    host_of,
    no_task_is_left,
    reset,
    until_closed,
)
from tests.gateway.signed_desk import new_bank
from tests.gateway.stream.stream_client import (
    StreamClient,
    as_operator,
    certify,
    shake_hands,
    shop,
    signed,
    streaming,
    upgrade_request,
)
from tests.gateway.stream.test_frames import frame

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

QUICK = StreamBounds(linger_s=2.0, tick_s=0.05, message_s=0.3, ping_s=0.2, pong_s=0.3)

ATTACKS: dict[str, tuple[Callable[[], bytes], int]] = {
    "unmasked frame": (lambda: frame(0x81, b"{}", masked=False), 1002),
    "compressed frame": (lambda: frame(0xC1, b"\xaa\x56\x2a\x2e"), 1002),
    "2 MiB": (lambda: frame(0x81, b" " * (MESSAGE_BYTES * 2)), 1009),
    "endless fragments": (lambda: frame(0x01) + frame(0x00) * 500, 1009),
    "pings": (lambda: frame(0x89, b"hm?") * 1_000, 1008),
    "bytes": (lambda: frame(0x82, b"{}"), 1003),
    "no UTF-8": (lambda: frame(0x81, b'{"\xff"}'), 1007),
    "no JSON": (lambda: frame(0x81, b"hello"), 4400),
    "deep JSON": (lambda: frame(0x81, b"[" * 100_000), 4400),
    "plain HTTP": (lambda: b"GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
}


async def test_attack_ends_its_own_stream_with_its_code(tmp_path: Path, door: Door) -> None:
    bounds = StreamBounds(fragments_max=50)
    async with (
        shop(tmp_path, door=door, stream_bounds=bounds) as running,
        streaming(running) as other,
    ):
        assert (await other.errand("1", payment("O1")))["status"] == 201
        async with no_task_is_left():
            for attack, (raw, code) in ATTACKS.items():
                async with streaming(running) as client, trio.open_nursery() as nursery:
                    nursery.start_soon(_send, client, raw())
                    assert (await client.closed())[0] == code, attack
                    nursery.cancel_scope.cancel()
        # The others have noticed nothing.
        assert (await other.errand("2", payment("O2")))["status"] == 201


async def _send(client: StreamClient, raw: bytes) -> None:
    """Send as much as the node takes."""
    with suppress(trio.BrokenResourceError):
        await client.stream.send_all(raw)


async def test_message_without_end_is_not_waited_for(tmp_path: Path, door: Door) -> None:
    async with (
        shop(tmp_path, door=door, stream_bounds=QUICK) as running,
        streaming(running) as client,
    ):
        await client.stream.send_all(frame(0x01, b"["))
        assert await client.closed() == (4408, "a message has no end")


async def test_messages_that_come_without_a_pause_are_not_one_without_end(
    tmp_path: Path, door: Door
) -> None:
    """What comes in ends within a message each time, as it does for who sends on and on."""
    async with (
        shop(tmp_path, door=door, stream_bounds=QUICK) as running,
        streaming(running) as client,
    ):
        end = trio.current_time() + 3 * QUICK.message_s
        number, begun = 0, b""
        while client.close is None and trio.current_time() < end:
            text = b'{"id":"%d","do":{}}' % number
            following = frame(0x81, text)
            await client.stream.send_all(begun + following[:-1])
            begun = following[-1:]
            if number:
                await client.until(lambda id_=f"{number - 1}": id_ in client.answers)  # type: ignore[misc]
            await trio.sleep(QUICK.tick_s / 5)
            number += 1
        assert client.close is None


async def test_silent_client_is_asked_and_closed_unless_it_answers(
    tmp_path: Path, door: Door
) -> None:
    async with (
        shop(tmp_path, door=door, stream_bounds=QUICK) as running,
        streaming(running) as client,
    ):
        await client.until(lambda: client.pings == 3)  # which it answers
        assert client.close is None
        await client.until(lambda: client.close, answers_pings=False)
        assert client.close == (4408, "a ping has no answer")


@pytest.mark.one_shard  # whose commits are held
async def test_client_that_waits_for_its_window_is_not_taken_for_silent(
    tmp_path: Path, door: Door
) -> None:
    """Who is not listened to cannot be heard: it is asked before it is given up."""
    bounds = StreamBounds(window=1, tick_s=0.05, ping_s=0.2, pong_s=0.3)
    async with (
        shop(tmp_path, door=door, stream_bounds=bounds) as running,
        streaming(running) as client,
    ):
        (shard,) = running.node.shards
        shard.hold_commits()
        await client.send({"id": "1", "do": payment("O1")})
        await trio.sleep(2 * (bounds.ping_s + bounds.pong_s))
        shard.let_commits()
        assert (await client.answer("1"))["status"] == 201
        await client.until(lambda: client.pings)
        assert client.close is None


async def test_ping_is_answered_with_what_it_says(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, streaming(running) as client:
        await client.send_event(Ping(b"hm?"))
        await client.until(lambda: client.pongs)
        assert client.pongs == [b"hm?"]


async def test_client_that_says_so_is_let_go(tmp_path: Path, door: Door) -> None:
    async with (
        shop(tmp_path, door=door) as running,
        no_task_is_left(),
        streaming(running) as client,
    ):
        await client.send_event(CloseConnection(1000, "done"))
        assert (await client.closed())[0] == 1000
        assert await client.stream.receive_some() == b""


@pytest.mark.parametrize("way", ["reset", "half", "close"])
async def test_client_that_leaves_stops_no_command(way: str, tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, no_task_is_left():
        async with streaming(running) as client:
            await client.send([{"id": f"{n}", "do": payment(f"O{n}")} for n in range(50)])
            assert isinstance(client.stream, trio.SocketStream)
            if way == "reset":
                # Once it is heard: what is reset on its way has not been sent.
                await client.until(lambda: client.answers)
                await reset(client.stream)
            elif way == "half":
                await client.stream.send_eof()
        async with streaming(running) as client:
            await client.send({"resume": 0})
            await client.until(lambda: len(client.events) == 50)


async def _narrow(
    running: Serving,
    target: str = "/v1/stream?merchant_no=M1",
    headers: Sequence[tuple[str, str]] = (),
) -> StreamClient:
    """Return a stream whose client has room for little that it has not read."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    host, _, port = host_of(running).decode().rpartition(":")
    await sock.connect((host, int(port)))
    stream = trio.SocketStream(sock)
    request = upgrade_request(host_of(running), target, headers)
    head, rest = await shake_hands(stream, request)
    assert head.status == 101
    return StreamClient(stream, head, rest)


LONG = {"metadata": {f"key-{n}": "x" * 250 for n in range(16)}}


async def test_slow_reader_is_slowed_then_closed_and_loses_nothing(
    tmp_path: Path, door: Door
) -> None:
    """The answers come to megabytes: what it sends beyond the window is not even read."""
    bounds = StreamBounds(window=20, send_s=0.5, linger_s=5.0, tick_s=0.05)
    async with shop(tmp_path, door=door, stream_bounds=bounds) as running:
        client = await _narrow(running)
        sent = 0

        async def send_on_and_on() -> None:
            nonlocal sent
            while True:
                numbers = range(sent, sent + 5)
                await client.send(
                    [{"id": f"{n}", "do": payment(f"O{n}", 1, **LONG)} for n in numbers]
                )
                sent += 5

        async with streaming(running) as other, trio.open_nursery() as nursery:
            nursery.start_soon(send_on_and_on)
            await other.send({"resume": 0})
            with trio.move_on_after(1.0):
                await other.until(lambda: False)  # long enough for the node to lose patience
            nursery.cancel_scope.cancel()
        begun = len(other.events)
        assert begun < sent, "all that was sent was read"
        code, reason = await client.closed()
        assert (code, reason) == (4408, "what was sent is not taken")
        assert len(client.answers) <= begun
        await trio.aclose_forcefully(client.stream)
        async with streaming(running) as again:
            await again.send({"resume": 0})
            await again.until(lambda: len(again.events) >= begun)
            assert again.sequences == list(range(1, len(again.events) + 1))


async def test_streams_that_read_nothing_hold_no_more_than_their_merchant_may(
    tmp_path: Path,
) -> None:
    """Sixteen send on and on: what is not begun stays with them, and nothing of it is lost."""
    bound = 1 << 20
    bounds = StreamBounds(merchant_bytes=bound)
    keys = new_bank(tmp_path / "keys")
    async with (
        shop(tmp_path / "bank", keys=keys, door="express", stream_bounds=bounds) as running,
        AsyncExitStack() as stack,
    ):
        signer = await certify(running, "/v1/merchants/M1/certificates")
        async with trio.open_nursery() as nursery:
            clients = []
            for _ in range(16):
                client = await _narrow(running, "/v1/stream", signed(running, signer))
                stack.push_async_callback(trio.aclose_forcefully, client.stream)
                clients.append(client)
            sent = [_long_messages(f"{name}") for name in range(len(clients))]
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
            for client, messages in zip(clients, sent, strict=True):
                nursery.start_soon(client.stream.send_all, messages)
            begun = -1
            while begun != (begun := newest_event(running.node, "M1") or 0):
                await trio.testing.wait_all_tasks_blocked(0.05)
            held, _ = tracemalloc.get_traced_memory()
            print(f"{begun} of 3,200 payments begun, {held / 1e6:.1f} MB held")
            assert held < 6 * bound, "what each has read of a message comes on top of the bound"
            tracemalloc.stop()
            for client in clients:
                assert isinstance(client.stream, trio.SocketStream)
                client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                nursery.start_soon(client.until, lambda c=client: len(c.answers) == 200)
        found = [each["status"] for client in clients for each in client.answers.values()]
        assert found == [201] * 3_200


def _long_messages(name: str) -> bytes:
    """Return ten frames of 90 kB each, whose answers are as long."""
    numbers = [f"{name}-{n}" for n in range(200)]
    errands = [{"id": n, "do": payment(n, 1, **LONG)} for n in numbers]
    texts = [msgspec.json.encode(errands[n : n + 20]) for n in range(0, 200, 20)]
    return b"".join(frame(0x81, text) for text in texts)


@pytest.mark.parametrize("moment", ["message", "event", "its ping", "its pong", "ping"])
async def test_revoked_certificate_ends_the_stream(moment: str, tmp_path: Path, door: Door) -> None:
    """With the next message, which is not done; with the next event, which it does not get; and
    else with the next ping, the node's or its own: nobody stays by control frames alone."""
    keys = new_bank(tmp_path / "keys")
    bounds = QUICK if moment == "ping" else StreamBounds()
    async with shop(tmp_path / "bank", keys=keys, door=door, stream_bounds=bounds) as running:
        signer = await certify(running, "/v1/merchants/M1/certificates")
        headers = signed(running, signer)
        async with streaming(running, "/v1/stream", headers=headers) as client:
            await client.send({"resume": 0})
            await client.errand("1", payment("O1"))
            await client.until(lambda: client.events)
            await as_operator(running, f"/v1/merchants/M1/certificates/{signer.keyid}/revoke", {})
            if moment == "message":
                await client.send({"id": "2", "do": payment("O2")})
            elif moment == "event":
                await as_operator(running, "/v1/commands", [payment("O2")])
            elif moment == "its ping":
                await client.send_event(Ping(b""))
            elif moment == "its pong":
                await client.send_event(Pong(b""))
            code, reason = await client.closed()
            assert (code, reason.partition(":")[0]) == (4401, "SIGNER_REVOKED")
            assert (list(client.answers), client.sequences) == (["1"], [1])
        (answer,) = await as_operator(running, "/v1/commands", [payment("O2")])
        assert answer.get("replayed", False) is (moment == "event")


async def test_idle_streams_are_not_thrown_out_for_newcomers(tmp_path: Path, door: Door) -> None:
    """Nor is one whose connection was idle before it was a stream."""
    async with (
        shop(tmp_path, door=door, bounds=Bounds(connections_max=4)) as running,
        await connect(running) as stream,
        streaming(running),
        streaming(running),
    ):
        await stream.send_all(
            b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: %b\r\n\r\n" % host_of(running)
            + upgrade_request(host_of(running))
        )
        received = b""
        with trio.fail_after(20):
            while b"sec-websocket-accept" not in received:
                received += await stream.receive_some()
        first = StreamClient(stream, RawAnswer(101, {}, b""), b"")
        for _ in range(2):
            async with await connect(running) as idle, await connect(running):
                assert await until_closed(idle) == b""
        assert (await first.errand("1", payment("O1")))["status"] == 201
