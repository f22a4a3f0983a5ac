"""A thousand clients that misbehave, each in its own way: nothing is left of them."""

import gc
import logging
import ssl
import tempfile
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from gateway.express import connection as express
from gateway.listener.bounds import Bounds
from gateway.listener.connection import Connection
from gateway.server import Serving
from tests.gateway.certificates import Signer
from tests.gateway.serving import (
    GOOD,
    OPEN_MERCHANT,
    Door,
    addressed,
    connect,
    connect_tls,
    no_task_is_left,
    read_answer,
    reset,
    serving,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

CLIENTS = 100
PIECE_BYTES = 100_000
PAGES = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 20
"""More than sockets hold."""


class Script(Struct, frozen=True):
    """What one client does: send pieces, each so many times, then go in its own way, or stay."""

    pieces: list[tuple[bytes, int]]
    ending: str
    shakes_hands: bool


_REQUESTS = st.sampled_from(
    [
        GOOD,
        b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /v1/payments/M1/O1 HTTP/1.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0",
        b"HEAD /v1/payments/M1/O1 HTTP/1.1\r\nHost: elsewhere\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n",
        b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nHost: x\r\nContent-Length: 2\r\n\r\n",
    ]
)
_SCRAPS = st.sampled_from(
    [
        GOOD[:20], GOOD[20:], b"\r\n", b"\n", b"\0", b" ", b"[]", b"2\r\n[]\r\n", b"0\r\n\r\n",
        b"ffff\r\n", b"z\r\n", b"A: b\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
)  # fmt: skip
_PIECES = st.one_of(
    st.tuples(_REQUESTS, st.sampled_from([1, 1, 3])),
    st.tuples(
        st.one_of(_SCRAPS, st.binary(min_size=1, max_size=20)), st.sampled_from([1, 1, 200, 20_000])
    ),
)
_SCRIPTS = st.builds(
    Script,
    pieces=st.lists(_PIECES, max_size=5),
    ending=st.sampled_from(["close", "reset", "half", "read", "stay"]),
    shakes_hands=st.booleans(),
)


async def _act(running: Serving, context: ssl.SSLContext | None, script: Script) -> None:
    if context is not None and script.shakes_hands:
        try:
            stream: Any = await connect_tls(running, context)
        except trio.BrokenResourceError:
            return  # on a busy machine a handshake may take longer than these bounds allow
        transport = stream.transport_stream
    else:
        stream = transport = await connect(running)
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for piece, times in script.pieces:
            await stream.send_all((addressed(running, piece) * times)[:PIECE_BYTES])
        if script.ending == "half":
            await transport.send_eof()
        if script.ending in {"half", "read"}:
            with trio.move_on_after(0.1):
                await stream.receive_some()
        if script.ending == "stay":  # until the node has had enough of it
            while await transport.receive_some():
                pass
    if script.ending == "reset":
        await reset(transport)
    await trio.aclose_forcefully(stream)


@contextmanager
def _no_complaints() -> Iterator[None]:
    """Nothing is logged that an operator would have to look at."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear(logging.WARNING)
    logging.getLogger().addHandler(ear)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(ear)
    assert not heard


def _connections() -> int:
    gc.collect()
    return sum(isinstance(each, Connection | express.Connection) for each in gc.get_objects())


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(scripts=st.lists(_SCRIPTS, min_size=CLIENTS, max_size=CLIENTS), secure=st.booleans())
async def test_a_thousand_misbehaving_clients_leave_nothing(
    scripts: list[Script], secure: bool, door: Door
) -> None:
    """No task and no connection of theirs is there, nothing is logged, and the node answers."""
    bounds = Bounds(hello_s=0.2, head_s=0.2, body_s=0.2, keep_alive_s=0.2, send_s=0.2, linger_s=0.2)
    with tempfile.TemporaryDirectory() as folder, _no_complaints():
        signer = Signer(Path(folder))
        tls, context = (signer.server(), signer.client()) if secure else (None, None)
        async with serving(Path(folder, "bank"), tls=tls, bounds=bounds, door=door) as running:
            async with no_task_is_left(), trio.open_nursery() as nursery:
                for script in scripts:
                    nursery.start_soon(_act, running, context, script)
            assert _connections() == 0
            stream = await (connect_tls(running, context) if context else connect(running))
            async with stream:
                await stream.send_all(addressed(running, GOOD))
                assert (await read_answer(stream)).status == 200


@pytest.mark.parametrize("leave", [reset, trio.aclose_forcefully])
async def test_client_that_leaves_with_more_to_ask_leaves_nothing(
    leave: Callable[[trio.SocketStream], Awaitable[None]], tmp_path: Path, door: Door
) -> None:
    """Hypercorn's connection waits for ever for an answer that nobody sends any more."""
    request = OPEN_MERCHANT.replace(b"Host: x\r\n", b"Host: x\r\nUpgrade: h2c\r\n")
    async with serving(tmp_path, door=door) as running:
        async with no_task_is_left():
            for more in (b"", GOOD * 20):
                for shard in running.node.shards:
                    shard.hold_commits()
                stream = await connect(running)
                await stream.send_all(addressed(running, request + more))
                await trio.testing.wait_all_tasks_blocked(0.02)
                await leave(stream)
                for shard in running.node.shards:
                    shard.let_commits()
        assert _connections() == 0


async def test_nothing_is_held_of_what_was_answered(tmp_path: Path, door: Door) -> None:
    """4,096 clients who send 60 kB each and stay would be 240 MB of it otherwise."""
    large = GOOD.replace(b"Length: 2\r\n\r\n", b"Length: 60002\r\n\r\n" + b" " * 60_000)
    async with serving(tmp_path, door=door) as running, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await connect(running)) for _ in range(20)]
        tracemalloc.start()
        try:
            held = []
            for request in (GOOD, large):
                for client in clients:
                    await client.send_all(addressed(running, request))
                    assert (await read_answer(client)).status == 200
                await trio.testing.wait_all_tasks_blocked(0.02)
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert (held[1] - held[0]) / len(clients) < 20_000


@pytest.mark.parametrize("secure", [False, True])
async def test_answers_that_are_not_taken_hold_little(secure: bool, tmp_path: Path) -> None:
    """A page of half a megabyte that anybody may ask for: 4,096 who do, and do not read it, had
    2 GiB of memory, with TLS 7."""
    signer = Signer(tmp_path)
    tls, context = (signer.server(), signer.client()) if secure else (None, None)
    async with serving(tmp_path / "bank", tls=tls) as running, AsyncExitStack() as stack:
        held = []
        for clients in (1, 10):
            tracemalloc.start()
            try:
                for _ in range(clients):
                    client = await (connect_tls(running, context) if context else connect(running))
                    stack.push_async_callback(trio.aclose_forcefully, client)
                    await client.send_all(addressed(running, PAGES))
                    await trio.testing.wait_all_tasks_blocked(0.03)
                held.append(tracemalloc.get_traced_memory()[0] / clients)
            finally:
                tracemalloc.stop()
        assert held[-1] < 150_000
