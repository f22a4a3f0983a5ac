"""A front before a node: it verifies requests, signs answers, and has mishaps when it is told to.

It stands in for a bank's gateway that signs, on real sockets: what it cuts is cut, what it keeps
back is late. Requests are forwarded one by one to a node that serves unsigned, or to none.
"""

import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import h11
import httpx2
import trio
from msgspec import Struct

from gateway.client import Identity
from gateway.signatures.profile import read_request, sign_response, verify_request
from tests.gateway.client.bank import Bank


class Answer(Struct):
    """What the client is about to get; a mishap may change any of it."""

    status: int
    headers: dict[str, str]
    body: bytes


class Mishap(Struct, frozen=True):
    """What happens to one request, and is over then.

    Attributes:
        unread: the connection is cut once the head has come; the node sees nothing.
        unheard: the node does what is asked, and the connection is cut instead of an answer.
        instead: the answer that the node has no part in; it is signed like any other.
        late_s: how long the answer is kept back.
        tampered: changes the answer after it was signed.
        loose: it is signed, but for no particular request.
    """

    unread: bool = False
    unheard: bool = False
    instead: tuple[int, bytes] | None = None
    late_s: float = 0.0
    tampered: Callable[[Answer], None] = lambda _: None
    loose: bool = False


class Front:
    """What the front has seen, and what is to happen to the next requests.

    Attributes:
        address: where it listens.
        mishaps: of the next requests, in order; certificates are asked for undisturbed.
        targets: of all requests, in order.
        nonces: of all signed requests, in order.
        answered: all answers as the client got them.
    """

    def __init__(
        self, node: str, bank: Bank | None, identities: list[Identity], scheme: str
    ) -> None:
        self.address = ""
        self.mishaps: deque[Mishap] = deque()
        self.targets: list[str] = []
        self.nonces: list[str] = []
        self.answered: list[Answer] = []
        self.listed: bytes | None = None
        self.bank = bank
        self._node = node
        self._scheme = scheme
        self._keys = {each.keyid: each.key.public for each in identities}
        self._http = httpx2.AsyncClient(trust_env=False)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answer the requests of one connection, until either side has enough of it."""
        async with stream:
            with suppress(trio.BrokenResourceError):
                await self._serve(stream)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        connection = h11.Connection(h11.SERVER)
        while True:
            head = await _next(stream, connection)
            if not isinstance(head, h11.Request):
                return
            target = head.target.decode()
            asks_certificates = target == "/v1/signing-certificates"
            mishap = Mishap()
            if self.mishaps and not asks_certificates:
                mishap = self.mishaps.popleft()
            self.targets.append(f"{head.method.decode()} {target}")
            if mishap.unread:
                return
            body = b""
            while isinstance(event := await _next(stream, connection), h11.Data):
                body += bytes(event.data)
            headers = {name.decode(): each.decode() for name, each in head.headers}
            if asks_certificates and self.bank is not None:
                answer = Answer(200, {}, self.listed or self.bank.listed())
            else:
                answer = await self._answer(head.method.decode(), target, headers, body, mishap)
            if mishap.unheard:
                return
            await trio.sleep(mishap.late_s)
            mishap.tampered(answer)
            self.answered.append(answer)
            answer.headers["content-length"] = str(len(answer.body))
            for out in (
                h11.Response(status_code=answer.status, headers=list(answer.headers.items())),
                h11.Data(data=answer.body),
                h11.EndOfMessage(),
            ):
                await stream.send_all(connection.send(out) or b"")
            connection.start_next_cycle()

    async def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes, mishap: Mishap
    ) -> Answer:
        request_signature = None
        if self.bank is not None:
            request_signature = self._verified(method, target, headers, body)
        if mishap.instead is not None:
            status, content = mishap.instead
            answer = Answer(status, {}, content)
        else:
            passed = {name: each for name, each in headers.items() if name == "content-type"}
            came = await self._http.request(
                method, self._node + target, content=body or None, headers=passed, timeout=30
            )
            answer = Answer(came.status_code, {}, came.content)
        if self.bank is not None:
            answer.headers |= sign_response(
                self.bank.key,
                self.bank.keyid,
                status=answer.status,
                body=answer.body,
                created=int(time.time()),
                request_signature=None if mishap.loose else request_signature,
            )
        return answer

    def _verified(self, method: str, target: str, headers: dict[str, str], body: bytes) -> str:
        signature = read_request(headers.get("signature-input"), headers.get("signature"))
        path, _, query = target.partition("?")
        verify_request(
            self._keys[signature.keyid],
            signature,
            method=method,
            authority=headers["host"],
            path=path,
            query=query,
            content_digest=headers.get("content-digest"),
            body=body,
            now=time.time(),
            scheme=self._scheme,
        )
        self.nonces.append(signature.nonce)
        return signature.header

    async def aclose(self) -> None:
        await self._http.aclose()


async def _next(stream: trio.abc.Stream, connection: h11.Connection) -> h11.Event:
    while True:
        event = connection.next_event()
        if not isinstance(event, type):
            return event
        assert event is h11.NEED_DATA, "nobody sends a second request before the answer"
        try:
            connection.receive_data(bytes(await stream.receive_some()))
        except (trio.BrokenResourceError, h11.RemoteProtocolError):
            return h11.ConnectionClosed()


@asynccontextmanager
async def fronting(
    node: str, bank: Bank | None, *identities: Identity, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Front]:
    """Stand before a node, for the length of a test; on `localhost` where there is TLS."""
    front = Front(node, bank, list(identities), "http" if tls is None else "https")
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        if tls is None:
            front.address = f"http://127.0.0.1:{port}"
            nursery.start_soon(trio.serve_listeners, front.serve, listeners)
        else:
            front.address = f"https://localhost:{port}"
            secure = [trio.SSLListener(each, tls, https_compatible=True) for each in listeners]
            nursery.start_soon(trio.serve_listeners, front.serve, secure)
        try:
            yield front
        finally:
            await front.aclose()
            nursery.cancel_scope.cancel()
