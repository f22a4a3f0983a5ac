"""What one client can do to a listener: end its own connection, and nothing else."""

import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx2
import pytest
import trio

from gateway.listener.address import ListenError, address_of, bound
from gateway.listener.bounds import DISCARDED_BYTES
from gateway.server import Serving
from tests.gateway.certificates import Signer
from tests.gateway.serving import (
    Door,
    addressed,
    connect,
    connect_tls,
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

JSON = {"content-type": "application/json"}


Client = trio.SocketStream | trio.SSLStream[trio.SocketStream]

WEBSOCKET = (
    b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
H2C = (
    b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)


async def _byte_after_upgrade(running: Serving, stream: Client) -> None:
    """Hypercorn's issue 225: this ended the whole process."""
    await stream.send_all(addressed(running, WEBSOCKET))
    await stream.send_all(b"\x00")


async def _http2_client_that_leaves(running: Serving, stream: Client) -> None:
    get = b"\0\0\3\1\5\0\0\0%c\x82\x84\x86"  # HEADERS: GET /, and the stream's end
    await stream.send_all(PREFACE + get % 1 + get % 3 + get % 5)


async def _upgrade_to_http2(running: Serving, stream: Client) -> None:
    await stream.send_all(addressed(running, H2C + PREFACE))


async def _garbage(running: Serving, stream: Client) -> None:
    await stream.send_all(bytes(range(256)) * 100)


async def _long_header(running: Serving, stream: Client) -> None:
    await stream.send_all(addressed(running, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000))


async def _half_a_body(running: Serving, stream: Client) -> None:
    await stream.send_all(
        addressed(running, b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n[")
    )


async def _pipelined_and_gone(running: Serving, stream: Client) -> None:
    await stream.send_all(
        addressed(running, b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    )


ATTACKS = [
    _byte_after_upgrade,
    _http2_client_that_leaves,
    _upgrade_to_http2,
    _garbage,
    _long_header,
    _half_a_body,
    _pipelined_and_gone,
]


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
async def test_one_client_ends_nothing_but_its_own_connection(
    attack: Callable[[Serving, Client], Awaitable[None]], secure: bool, tmp_path: Path, door: Door
) -> None:
    """With the byte after an upgrade, or HTTP/2, stock Hypercorn's process ends."""
    signer = Signer(tmp_path)
    context = signer.client()

    async def client_of(running: Serving) -> Client:
        return await (connect_tls(running, context) if secure else connect(running))

    tls = signer.server() if secure else None
    async with serving(tmp_path / "bank", tls=tls, door=door) as running:
        for _ in range(10):
            stream = await client_of(running)
            await attack(running, stream)
            await trio.aclose_forcefully(stream)
        for _ in range(10):
            stream = await client_of(running)
            with suppress(trio.BrokenResourceError):
                await attack(running, stream)
            transport = stream if isinstance(stream, trio.SocketStream) else stream.transport_stream
            await transport.send_eof()
            await until_closed(stream)
            await trio.aclose_forcefully(stream)  # TLS would say once more that it ends
        async with httpx2.AsyncClient(verify=context) as client:
            assert (await client.post(f"{running.address}/v1/commands", json=[])).status_code == 200


async def test_http2_preface_is_refused(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        await stream.send_all(PREFACE)
        assert (await until_closed(stream)).startswith(b"HTTP/1.1 505")


@pytest.mark.parametrize("request_", [WEBSOCKET, H2C])
async def test_upgrade_is_answered_as_if_it_had_not_been_asked_for(
    request_: bytes, tmp_path: Path, door: Door
) -> None:
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        await stream.send_all(addressed(running, request_))
        assert (await read_answer(stream)).code == "NO_SUCH_PAYMENT"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/payments"),
        ("POST", "/nothing"),
        ("PUT", "/v1/payments"),
        ("GET", "/v1/payments/M1/O1"),
    ],
)
async def test_refusal_leaves_the_connection_usable(
    method: str, path: str, tmp_path: Path, door: Door
) -> None:
    """The body is read before it is refused, so that the next request finds its beginning."""
    async with (
        serving(tmp_path, door=door) as running,
        httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1), timeout=10) as client,
    ):
        for _ in range(50):
            answer = await client.request(
                method, running.address + path, content=b"[" * 9_000, headers=JSON
            )
            assert answer.status_code in {400, 404, 405, 421, 422}
        assert (await client.post(f"{running.address}/v1/commands", json=[])).status_code == 200


@pytest.mark.parametrize(
    ("path", "size"), [("/v1/payments", (64 << 10) + 1), ("/v1/commands", (1 << 20) + 1)]
)
async def test_body_beyond_its_limit_is_refused(
    path: str, size: int, tmp_path: Path, door: Door
) -> None:
    async with serving(tmp_path, door=door) as running, httpx2.AsyncClient() as client:
        for body in (b" " * size, b" " * (4 << 20)):
            answer = await client.post(running.address + path, content=body, headers=JSON)
            assert (answer.status_code, answer.json()["code"]) == (413, "BODY_TOO_LARGE")
            assert answer.headers["content-type"] == "application/problem+json"
        # One byte less is looked at.
        body = b" " * (size - 1)
        answer = await client.post(running.address + path, content=body, headers=JSON)
        assert answer.json()["code"] == "MALFORMED_JSON"


async def test_endless_body_is_cut_off(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        head = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await stream.send_all(addressed(running, head))
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_senduntil_closed, stream, chunk)
            answer = await until_closed(stream)
            nursery.cancel_scope.cancel()
        assert answer.startswith(b"HTTP/1.1 413")


async def _senduntil_closed(stream: trio.SocketStream, chunk: bytes) -> None:
    sent = 0
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while sent < 100 * DISCARDED_BYTES:
            await stream.send_all(chunk)
            sent += len(chunk)


async def test_errors_of_framing_carry_problem_details(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, door=door) as running, httpx2.AsyncClient() as client:
        answer = await client.request("BREW", f"{running.address}/v1/payments")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, POST"
        assert answer.headers["content-type"] == "application/problem+json"
        answer = await client.head(f"{running.address}/v1/payments/M1/O1")
        assert (answer.status_code, answer.content) == (404, b"")
        assert int(answer.headers["content-length"]) > 100
        answer = await client.get(f"{running.address}/v1/payments/M1/%ff")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_UTF8")


async def test_connection_refused_at_the_end_ofserving(tmp_path: Path, door: Door) -> None:
    async with AsyncExitStack() as stack:
        async with serving(tmp_path, door=door) as running:
            idle = await stack.enter_async_context(await connect(running))
        # Stopping has closed the idle connection, too.
        assert await until_closed(idle) == b""
    with pytest.raises(OSError, match=r"refused|connect"):
        await connect(running)


@pytest.mark.parametrize(
    "listen",
    ["0.0.0.0:8080", "[::]:0", "192.168.0.1:1", "10.0.0.1:80", "example.org:80", "8080", ":8080",
     "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", ""],
)  # fmt: skip
def test_address_that_is_not_loopback_is_refused(listen: str) -> None:
    with pytest.raises(ListenError):
        address_of(listen)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "127.9.9.9:0"])
def test_loopback_address_is_bound(listen: str) -> None:
    with bound(listen) as sock:
        assert sock.getsockname()[1] > 0


def test_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}"):
            bound(f"127.0.0.1:{port}")
