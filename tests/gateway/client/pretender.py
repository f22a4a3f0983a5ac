"""A bank's stream that says whatever a test wants, on real sockets: forged, cut, in wrong order.

It shakes hands as a bank does, signs like one if it is given keys, and has each stream go on as the
next of its scripts says; the last script is for all streams that follow.
"""

import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import h11
import msgspec
import trio
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

from gateway.signatures.profile import read_request, sign_response
from gateway.stream.handshake import accepted
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Answer


class Talk:
    """One stream, from the bank's side.

    Attributes:
        stream: the connection.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._frames = Connection(ConnectionType.SERVER)

    async def hear(self) -> Any:
        """Return the next message; the connection ends where there is none."""
        text = ""
        while True:
            for event in self._frames.events():
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        return msgspec.json.decode(text)
            data = bytes(await self.stream.receive_some())
            if not data:
                raise trio.BrokenResourceError
            self._frames.receive_data(data)

    async def say(self, message: Any) -> None:
        """Send a message; what is no text is made one of JSON."""
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        await self.stream.send_all(self._frames.send(TextMessage(text)))

    async def events(self, *sequences: int) -> None:
        """Send events of these sequences."""
        items = [{"object": "event", **EVENT, "sequence": each} for each in sequences]
        await self.say({"events": items, "newest": max(sequences)})

    async def close(self, code: int) -> None:
        """Close with a code, or cut the connection for 1006."""
        if code != 1006:
            await self.stream.send_all(self._frames.send(CloseConnection(code, "so it is")))
            with suppress(trio.BrokenResourceError):
                await self.stream.receive_some()


EVENT: dict[str, Any] = {
    "type": "payment.succeeded",
    "number": "O1",
    "original_kind": "payment",
    "original": "O1",
    "amount_minor": 1,
    "currency": "USD",
    "fee_minor": 0,
    "state": "SUCCEEDED",
    "code": None,
    "hold_amount_minor": None,
    "hold_captured_minor": None,
    "expires_at": None,
    "business_date": "2026-01-05",
    "occurred_at": "2026-01-05T08:00:00.000000Z",
}

Script = Callable[[Talk], Awaitable[None]]


class Pretender:
    """What has come to it.

    Attributes:
        address: where it listens.
        nonces: of the handshakes, in order; empty where they were not signed.
        signatures: of the handshakes.
        instead: answers to the next handshakes, in the place of a stream.
        tampered: changes the answer to each handshake after it was signed.
        bound_to: the signature that answers are bound to; that of their request, if None.
    """

    def __init__(self, bank: Bank | None, *scripts: Script) -> None:
        self.address = ""
        self.nonces: list[str] = []
        self.signatures: list[str] = []
        self.instead: list[tuple[int, bytes]] = []
        self.tampered: Callable[[Answer], None] = lambda _: None
        self.bound_to: str | None = None
        self.bank = bank
        self._scripts = list(scripts)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer one connection."""
        async with stream:
            with suppress(trio.BrokenResourceError):
                await self._serve(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = bytes(await stream.receive_some())
            if not data:
                return
            head += data
        parser = h11.Connection(h11.SERVER)
        parser.receive_data(head)
        request = parser.next_event()
        assert isinstance(request, h11.Request)
        if request.target == b"/v1/signing-certificates":
            assert self.bank is not None
            await stream.send_all(raw(Answer(200, {}, self.bank.listed())))
            return
        assert request.target == b"/v1/stream?merchant_no=M1"
        headers = {name.decode(): value.decode() for name, value in request.headers}
        await stream.send_all(raw(self._answer(headers)))
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        await script(Talk(stream))

    def _answer(self, headers: dict[str, str]) -> Answer:
        answer = Answer(101, accepted(headers), b"")
        self.nonces.append("")
        if self.instead:
            status, body = self.instead.pop(0)
            answer = Answer(status, {}, body)
        if self.bank is not None:
            signature = read_request(headers.get("signature-input"), headers.get("signature"))
            self.nonces[-1] = signature.nonce
            self.signatures.append(signature.header)
            answer.headers |= sign_response(
                self.bank.key,
                self.bank.keyid,
                status=answer.status,
                body=answer.body,
                created=int(time.time()),
                request_signature=self.bound_to or signature.header,
            )
        self.tampered(answer)
        return answer


def raw(answer: Answer) -> bytes:
    """Return an answer as it is sent."""
    headers = answer.headers
    if answer.status != 101:
        headers = {**headers, "content-length": f"{len(answer.body)}", "connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + answer.body


@asynccontextmanager
async def pretending(
    bank: Bank | None, *scripts: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Pretender]:
    """Pretend to be a bank for the length of a test; on `localhost` where there is TLS."""
    pretender = Pretender(bank, *scripts)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        if tls is None:
            pretender.address = f"http://127.0.0.1:{port}"
            nursery.start_soon(trio.serve_listeners, pretender.serve, listeners)
        else:
            pretender.address = f"https://localhost:{port}"
            secure = [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]
            nursery.start_soon(trio.serve_listeners, pretender.serve, secure)
        yield pretender
        nursery.cancel_scope.cancel()


async def hang(_: Talk) -> None:
    """Say nothing, and read nothing."""
    await trio.sleep(math.inf)


async def leave(_: Talk) -> None:
    """Hang up without a word."""
