"""TLS: what is spoken, who may be asked for a certificate, and how little one client can spoil."""

import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
import trio.testing
from cryptography import x509

from gateway.counter import Request, Response
from gateway.listener.address import authority, bound
from gateway.listener.bounds import Bounds
from gateway.listener.listener import Listener
from gateway.listener.names import named
from gateway.listener.tls import CLIENT_CERTIFICATE, TlsFileError, TlsFiles
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
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

JSON = {"content-type": "application/json"}
HANDSHAKE = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def _is_well(running: Serving, context: ssl.SSLContext) -> None:
    async with await connect_tls(running, context) as stream:
        await stream.send_all(addressed(running, GOOD))
        assert (await read_answer(stream)).status == 200


async def test_node_is_reached_by_https(tmp_path: Path, door: Door) -> None:
    signer = Signer(tmp_path)
    async with (
        serving(tmp_path / "bank", tls=signer.server(), door=door) as running,
        httpx2.AsyncClient(verify=signer.client()) as client,
    ):
        assert running.address.startswith("https://127.0.0.1:")
        path = f"{running.address}/v1/commands"
        answer = await client.post(path, content=BODY, headers=JSON)
        assert [each["status"] for each in answer.json()] == [201]
        async with httpx2.AsyncClient() as stranger:
            with pytest.raises(httpx2.ConnectError):
                await stranger.get(path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_versions_ciphers_and_protocol_are_todays(
    version: ssl.TLSVersion, tmp_path: Path, door: Door
) -> None:
    """A client that would rather speak HTTP/2 speaks HTTP/1.1; it gets no ticket."""
    signer = Signer(tmp_path)
    context = signer.client()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with (
        serving(tmp_path / "bank", tls=signer.server(), door=door) as running,
        await connect_tls(running, context) as stream,
    ):
        assert stream.selected_alpn_protocol() == "http/1.1"
        assert stream.version() == version.name.replace("_", ".")
        name, _, bits = stream.cipher()
        assert version is ssl.TLSVersion.TLSv1_3 or name.startswith("ECDHE-")
        assert "GCM" in name or "CHACHA20" in name
        assert bits >= 128
        await stream.send_all(addressed(running, GOOD))
        await read_answer(stream)
        assert not stream.session.has_ticket


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_versions_and_weak_ciphers_are_refused(tmp_path: Path, door: Door) -> None:
    signer = Signer(tmp_path)

    def old(context: ssl.SSLContext) -> None:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    def without_forward_secrecy(context: ssl.SSLContext) -> None:
        context.set_ciphers("AES128-GCM-SHA256")
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    def not_authenticated(context: ssl.SSLContext) -> None:
        context.set_ciphers("ECDHE+AES:!AESGCM")
        context.maximum_version = ssl.TLSVersion.TLSv1_2

    async with serving(tmp_path / "bank", tls=signer.server(), door=door) as running:
        for weaken in (old, without_forward_secrecy, not_authenticated):
            context = signer.client()
            weaken(context)
            with pytest.raises(trio.BrokenResourceError):
                await connect_tls(running, context)
        await _is_well(running, signer.client())


async def test_client_that_stalls_or_speaks_no_tls_spoils_nothing(
    tmp_path: Path, door: Door
) -> None:
    """In whatever state it leaves its handshake; nobody waits for it."""
    signer = Signer(tmp_path)
    hello = _client_hello(signer.client())
    bounds = Bounds(hello_s=0.3)
    async with serving(tmp_path / "bank", tls=signer.server(), bounds=bounds, door=door) as running:
        for begun in (b"", hello[:1], hello[:100], hello):
            async with await connect(running) as stalled:
                await stalled.send_all(begun)
                await _is_well(running, signer.client())
                await until_closed(stalled)
        for spoken in (addressed(running, GOOD), os.urandom(500), hello[:100] + bytes(1_000)):
            async with await connect(running) as stranger:
                await stranger.send_all(spoken)
                assert b"HTTP" not in await until_closed(stranger)
        async with await connect_tls(running, signer.client()) as broken:
            await broken.transport_stream.send_all(os.urandom(500))
            assert b"HTTP" not in await until_closed(broken)
        await _is_well(running, signer.client())


def _client_hello(context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def test_tls_at_the_plain_port_spoils_nothing(tmp_path: Path, door: Door) -> None:
    signer = Signer(tmp_path)
    async with serving(tmp_path / "bank", door=door) as running:
        with pytest.raises(trio.BrokenResourceError):
            await connect_tls(running, signer.client())
        async with await connect(running) as stream:
            await stream.send_all(addressed(running, GOOD))
            assert (await read_answer(stream)).status == 200


async def test_http2_client_is_refused_within_tls_too(tmp_path: Path, door: Door) -> None:
    """One that speaks HTTP/2 though it was told HTTP/1.1, or offered nothing else."""
    signer = Signer(tmp_path)
    context = signer.client()
    context.set_alpn_protocols(["h2"])
    async with (
        serving(tmp_path / "bank", tls=signer.server(), door=door) as running,
        await connect_tls(running, context) as stream,
    ):
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
        assert (await read_answer(stream)).code == "HTTP_VERSION"
        await until_closed(stream)


@asynccontextmanager
async def _showing(tls: ssl.SSLContext) -> AsyncIterator[Serving]:
    """A listener whose application answers with the client's certificate."""

    async def show(scope: Any, receive: Any, send: Any) -> None:
        body = scope["state"][CLIENT_CERTIFICATE] or b"none"
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with bound("127.0.0.1:0") as sock:
        address = authority(sock)
        names = named([address], "https")
        listener = Listener(show, sock, names=names, bounds=Bounds(), tls=tls)
        async with trio.open_nursery() as nursery:
            await nursery.start(listener.run)
            yield Serving(f"https://{address}", None, None, listener.stop_accepting)  # type: ignore[arg-type]
            listener.stop_accepting()


async def test_client_certificate_is_in_the_scope(tmp_path: Path) -> None:
    """If it shows one that the given authority has signed; another one is refused."""
    signer, stranger = Signer(tmp_path), Signer(tmp_path, "stranger")
    own, other = signer.sign("M1"), stranger.sign("M2")
    shown = x509.load_pem_x509_certificate(own[0].read_bytes())
    async with _showing(signer.server(client_ca=signer.file)) as running:
        for files, subject in [(None, None), (own, shown.subject)]:
            async with await connect_tls(running, signer.client(files)) as stream:
                for _ in range(2):
                    await stream.send_all(addressed(running, GOOD))
                    body = (await read_answer(stream)).body
                    if subject is None:
                        assert body == b"none"
                    else:
                        assert x509.load_der_x509_certificate(body) == shown
        # TLS 1.3 tells a client after the handshake that its certificate is not good.
        async with await connect_tls(running, signer.client(other)) as stream:
            await stream.send_all(addressed(running, GOOD))
            with pytest.raises(trio.BrokenResourceError):
                await read_answer(stream)
        async with await connect_tls(running, signer.client()) as stream:
            await stream.send_all(addressed(running, GOOD))
            assert (await read_answer(stream)).body == b"none"


async def test_client_certificate_is_in_the_request_that_becomes_a_stream(tmp_path: Path) -> None:
    """Whoever serves the stream is told as whoever answers a request is."""
    signer = Signer(tmp_path)
    files, asked = signer.sign("M1"), list[Request]()

    async def take_over(request: Request, stream: object, rest: bytes, let_in: object) -> None:
        asked.append(request)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it was taken for a plain request")

    with bound("127.0.0.1:0") as sock:
        address = authority(sock)
        tls = signer.server(client_ca=signer.file)
        names = named([address], "https")
        listener = Listener(
            answer, sock, names=names, bounds=Bounds(), tls=tls, take_over=take_over
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(listener.run)
            running = Serving(f"https://{address}", None, None, listener.stop_accepting)  # type: ignore[arg-type]
            async with await connect_tls(running, signer.client(files)) as stream:
                await stream.send_all(addressed(running, HANDSHAKE))
                await until_closed(stream)
            listener.stop_accepting()
    shown = x509.load_pem_x509_certificate(files[0].read_bytes())
    (request,) = asked
    assert request.certificate is not None
    assert x509.load_der_x509_certificate(request.certificate) == shown


async def test_authorities_of_clients_are_not_read_again(tmp_path: Path) -> None:
    """What was asked of them when the node was started, nobody asks again."""
    signer, other = Signer(tmp_path), Signer(tmp_path, "other authority")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(signer.file.read_bytes())
    files = TlsFiles(*signer.sign("server"), clients)
    clients.write_bytes(other.file.read_bytes())
    files.read_again()
    old, new = signer.sign("M1"), other.sign("M2")
    async with _showing(files.context) as running:
        async with await connect_tls(running, signer.client(old)) as stream:
            await stream.send_all(addressed(running, GOOD))
            body = (await read_answer(stream)).body
            assert ssl.DER_cert_to_PEM_cert(body).encode() == old[0].read_bytes()
        async with await connect_tls(running, signer.client(new)) as stream:
            await stream.send_all(addressed(running, GOOD))
            with pytest.raises(trio.BrokenResourceError):
                await read_answer(stream)


async def test_client_certificate_is_not_asked_for_without_an_authority(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    async with (
        _showing(signer.server()) as running,
        await connect_tls(running, signer.client(signer.sign("M1"))) as stream,
    ):
        await stream.send_all(addressed(running, GOOD))
        assert (await read_answer(stream)).body == b"none"


@pytest.mark.parametrize("with_rsa", [False, True])
async def test_certificate_is_read_again_for_new_connections(
    with_rsa: bool, tmp_path: Path, door: Door
) -> None:
    """What is there goes on; files that cannot be used change nothing. A key of another kind takes
    the place of the one before, which clients might prefer."""
    signer = Signer(tmp_path)
    certificate, key = signer.sign("server")
    files = TlsFiles(certificate, key)

    async def shown(stream: trio.SSLStream[trio.SocketStream]) -> object:
        await stream.send_all(addressed(running, GOOD))
        assert (await read_answer(stream)).status == 200
        return stream.getpeercert()["serialNumber"]

    async with (
        serving(tmp_path / "bank", tls=files.context, door=door) as running,
        await connect_tls(running, signer.client()) as old,
    ):
        first = await shown(old)
        signer.sign("server", with_rsa=with_rsa)
        key_bytes = key.read_bytes()
        key.write_bytes(signer.sign("other", with_rsa=with_rsa)[1].read_bytes())
        with pytest.raises(TlsFileError, match="key values mismatch"):
            files.read_again()
        async with await connect_tls(running, signer.client()) as stream:
            assert await shown(stream) == first
        key.write_bytes(key_bytes)
        files.read_again()
        async with await connect_tls(running, signer.client()) as stream:
            assert await shown(stream) != first
        assert await shown(old) == first


async def test_node_that_stops_answers_what_was_asked_over_tls(tmp_path: Path, door: Door) -> None:
    """The answer says that it is the last, and TLS that it ends; a stalled client is left."""
    signer = Signer(tmp_path)
    async with serving(tmp_path / "bank", tls=signer.server(), door=door) as running:
        idle = await connect_tls(running, signer.client())
        await idle.send_all(addressed(running, GOOD))
        await read_answer(idle)
        stalled = await connect(running)
        asking = await connect_tls(running, signer.client())
        for shard in running.node.shards:
            shard.hold_commits()
        await asking.send_all(addressed(running, OPEN_MERCHANT))
        await trio.testing.wait_all_tasks_blocked(0.05)
        running.stop()
        with trio.fail_after(2):
            assert await idle.receive_some() == b"", "closed with a word"
        for shard in running.node.shards:
            shard.let_commits()
        answer = await read_answer(asking)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await asking.receive_some() == b""
    assert await until_closed(stalled) == b""
    for stream in (idle, stalled, asking):
        await trio.aclose_forcefully(stream)


@pytest.mark.parametrize("leave", [trio.aclose_forcefully, trio.SSLStream.aclose])
async def test_client_that_leaves_within_tls_cancels_nothing(
    leave: Callable[[Any], Any], tmp_path: Path, door: Door
) -> None:
    """Neither a command, nor what of an array had not begun when it left."""
    signer = Signer(tmp_path)
    async with serving(tmp_path / "bank", tls=signer.server(), door=door) as running:
        account = {"account_no": "A1", "currency": "USD"}
        array = [
            {"command": "open_account", **account},
            {"command": "open_merchant", "merchant_no": "M2", "currency": "USD"},
            # These refer to an earlier one: they begin once that has been answered.
            *({"command": "fund_account", "funding_no": f"F{n}", "amount_minor": 1, **account}
              for n in range(50)),
        ]  # fmt: skip
        for shard in running.node.shards:
            shard.hold_commits()
        for body in (BODY, msgspec.json.encode(array)):
            stream = await connect_tls(running, signer.client())
            head = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            head += b"Content-Length: %d\r\n\r\n" % len(body)
            await stream.send_all(addressed(running, head) + body)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await leave(stream)
        await trio.testing.wait_all_tasks_blocked(0.05)
        for shard in running.node.shards:
            shard.let_commits()
        with trio.fail_after(20):
            for path, query in (
                ("merchants/M1", b""),
                ("merchants/M2", b""),
                ("accounts/A1/fundings/F49", b"currency=USD"),
            ):
                while (await _looked_up(running, path, query)).status != 200:
                    await trio.lowlevel.checkpoint()
        found = msgspec.json.decode((await _looked_up(running, "accounts/A1")).body)
        assert found["posted_minor"] == 50


async def _looked_up(running: Serving, path: str, query: bytes = b"") -> Response:
    return await running.counter.answer_operator("GET", f"/v1/{path}", query, b"")


async def test_key_may_be_encrypted(tmp_path: Path, door: Door) -> None:
    signer = Signer(tmp_path)
    files = TlsFiles(*signer.sign("server", password=b"secret"), password=b"secret")
    files.read_again()
    async with serving(tmp_path / "bank", tls=files.context, door=door) as running:
        await _is_well(running, signer.client())


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    signer = Signer(tmp_path)
    certificate, key = signer.sign("server")
    _, other = signer.sign("other")
    _, locked = signer.sign("locked", password=b"secret")
    nothing = tmp_path / "nothing.pem"
    empty = tmp_path / "empty.pem"
    empty.touch()
    for files, said in [
        ((nothing, key), "nothing.pem: No such file"),
        ((certificate, nothing), "nothing.pem: No such file"),
        ((tmp_path, key), "Is a directory"),
        ((empty, key), "empty.pem"),
        ((certificate, empty), "empty.pem"),
        ((certificate, other), "key values mismatch"),
        ((certificate, locked), "locked.key"),
        ((key, certificate), "server.key"),
        ((certificate, key, nothing), "nothing.pem: No such file"),
        ((certificate, key, empty), "--tls-client-ca .*empty.pem"),
    ]:
        with pytest.raises(TlsFileError, match=said) as error:
            TlsFiles(*files)
        assert "\n" not in str(error.value)
        assert error.value.code == 2
