"""A client on a stream, as raw as a test wants it: wsproto's frames over a real socket."""

import base64
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec import Struct
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from gateway.ca.csr import body_of, new_csr, new_key
from gateway.server import Serving
from gateway.signatures.keys import PrivateKey
from gateway.signatures.profile import sign_request
from gateway.stream.handshake import SUBPROTOCOL
from tests.gateway.serving import RawAnswer, connect, host_of, serving, until_closed
from tests.gateway.signed_desk import Signer

WITHIN_S = 20.0

SHOP = [
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 100},
    {
        "command": "fund_account",
        "account_no": "A1",
        "funding_no": "F1",
        "amount_minor": 10_000_000,
        "currency": "USD",
    },
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
]


@asynccontextmanager
async def shop(data: Path, **options: Any) -> AsyncIterator[Serving]:
    """Serve a node with account A1, which has money, and merchant M1, which may take it.

    Args:
        options: as for `serving`.
    """
    async with serving(data, **options) as running:
        answers = await as_operator(running, "/v1/commands", SHOP)
        assert [each["status"] for each in answers] == [201] * len(SHOP)
        yield running


class Address(Struct, frozen=True):
    """Where a node is that runs in another process."""

    address: str


async def as_operator(running: Serving, path: str, body: Any) -> Any:
    """Have the node do something in the bank's name."""
    sent = msgspec.json.encode(body)
    response = await running.counter.answer_operator("POST", path, b"", sent)
    assert response.status in {200, 201}, response.body
    return msgspec.json.decode(response.body)


async def certify(running: Serving, path: str, number: str = "K1") -> Signer:
    """Have a new key certified on a node that has the bank's."""
    key = new_key("ed25519")
    body = {"certificate_no": number, "csr": body_of(new_csr(key, number))}
    view = await as_operator(running, path, body)
    return Signer(PrivateKey(key), view["serial"])


def signed(
    running: Serving, signer: Signer, target: str = "/v1/stream", **changes: Any
) -> list[tuple[str, str]]:
    """Return the headers of a signature for a handshake, made a second after the node's start.

    Args:
        changes: of what `sign_request` is given.
    """
    path, _, query = target.partition("?")
    details: dict[str, Any] = {
        "method": "GET",
        "authority": host_of(running).decode(),
        "path": path,
        "query": query,
        "body": b"",
        "created": int(time.time()) + 2,
        "nonce": secrets.token_urlsafe(18),
        "scheme": "http",
    }
    return list(sign_request(signer.key, signer.keyid, **{**details, **changes}).items())


def upgrade_request(
    host: bytes, target: str = "/v1/stream", headers: Sequence[tuple[str, str]] = (), **changes: Any
) -> bytes:
    """Return the head of a handshake.

    Args:
        headers: more of them; those of a signature, say.
        changes: of its own headers, `_` in their names for `-`; None leaves one out.
    """
    fields: dict[str, str | None] = {
        "host": host.decode(),
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
        "sec-websocket-protocol": SUBPROTOCOL,
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode()


class StreamClient:
    """One stream, seen from its client.

    Attributes:
        stream: the socket, or TLS over it.
        head: the answer to the handshake.
        events: all that have come, in the order of their coming.
        answers: by id.
        close: code and reason of the server's close frame, once it has come.
    """

    def __init__(self, stream: trio.abc.Stream, head: RawAnswer, rest: bytes) -> None:
        self.stream = stream
        self.head = head
        self.events: list[dict[str, Any]] = []
        self.answers: dict[str, dict[str, Any]] = {}
        self.pings = 0
        self.pongs: list[bytes] = []
        self.close: tuple[int, str] | None = None
        self._frames = Connection(ConnectionType.CLIENT)
        self._frames.receive_data(rest)
        self._text = ""

    async def send(self, message: Any) -> None:
        """Send one message; what is no text of JSON is made one."""
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        await self.stream.send_all(self._frames.send(TextMessage(text)))

    async def send_event(self, event: Event) -> None:
        """Send one frame of another kind."""
        await self.stream.send_all(self._frames.send(event))

    async def until(self, there: Callable[[], Any], *, answers_pings: bool = True) -> None:
        """Read until something is there, or the server closes."""
        with trio.fail_after(WITHIN_S):
            while not there():
                for event in self._frames.events():
                    if isinstance(event, Ping):
                        self.pings += 1
                        if answers_pings:
                            await self.send_event(event.response())
                    self._note(event)
                if there() or self.close is not None:
                    return
                data = bytes(await self.stream.receive_some(1 << 16))
                if not data:
                    self.close = (1006, "")
                    return
                self._frames.receive_data(data)

    async def answer(self, id_: str) -> dict[str, Any]:
        """Return the answer to an errand."""
        await self.until(lambda: id_ in self.answers)
        return self.answers[id_]

    async def errand(self, id_: str, command: Any) -> dict[str, Any]:
        """Send one errand and return its answer."""
        await self.send({"id": id_, "do": command})
        return await self.answer(id_)

    async def closed(self) -> tuple[int, str]:
        """Return with which code and reason the server closes."""
        await self.until(lambda: False)
        assert self.close is not None
        return self.close

    def _note(self, event: Event) -> None:
        if isinstance(event, CloseConnection):
            self.close = (event.code, event.reason or "")
        elif isinstance(event, TextMessage):
            self._text += event.data
            if event.message_finished:
                self._read(msgspec.json.decode(self._text))
                self._text = ""
        else:
            assert not isinstance(event, BytesMessage)
            assert isinstance(event, Ping | Pong)
            if isinstance(event, Pong):
                self.pongs.append(bytes(event.payload))

    def _read(self, message: dict[str, Any]) -> None:
        if "answers" in message:
            for each in message["answers"]:
                assert each["id"] not in self.answers, "answered twice"
                self.answers[each["id"]] = each
        else:
            assert set(message) == {"events", "newest"}
            self.events += message["events"]
            assert message["events"][-1]["sequence"] <= message["newest"]

    @property
    def sequences(self) -> list[int]:
        """The numbers of the events that have come."""
        return [event["sequence"] for event in self.events]


async def shake_hands(stream: trio.abc.Stream, request: bytes) -> tuple[RawAnswer, bytes]:
    """Send a handshake; returns the answer's head and body, and what came after a head of 101."""
    await stream.send_all(request)
    received = b""
    with trio.fail_after(WITHIN_S):
        while b"\r\n\r\n" not in received:
            data = bytes(await stream.receive_some(1 << 16))
            assert data, "the connection was closed"
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        line, *fields = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value for name, _, value in (f.partition(": ") for f in fields)}
        status = int(line.split()[1])
        if status == 101:
            return RawAnswer(status, headers, b""), rest
        while len(rest) < int(headers["content-length"]):
            rest += bytes(await stream.receive_some(1 << 16))
    return RawAnswer(status, headers, rest), b""


async def refusal(running: Serving, request: bytes) -> RawAnswer:
    """Send a handshake that is to be refused; returns the refusal, after which the node closes."""
    async with await connect(running) as stream:
        answer, _ = await shake_hands(stream, request)
        assert answer.status != 101
        assert answer.headers["connection"].endswith("close")
        assert await until_closed(stream) == b""
    return answer


@asynccontextmanager
async def streaming(
    running: Serving | Address, target: str = "/v1/stream?merchant_no=M1", **changes: Any
) -> AsyncIterator[StreamClient]:
    """Open a stream; at the end the socket is closed without a word.

    Args:
        running: the node, or where it is.
        changes: as for `upgrade_request`.
    """
    stream = await connect(running)
    try:
        request = upgrade_request(host_of(running), target, **changes)
        head, rest = await shake_hands(stream, request)
        assert head.status == 101, head
        yield StreamClient(stream, head, rest)
    finally:
        await trio.aclose_forcefully(stream)
