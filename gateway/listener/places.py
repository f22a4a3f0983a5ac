"""Places: how many requests are at work at a time, and what becomes of the others.

A request is gathered before it gets a place: while it is on its way it has none, or a few slow
senders would shut out everybody else. One that finds no place is refused at once, before the web
framework has seen it.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import trio

from engine.fault import NODE_BUSY
from gateway.answer import Answer, encode, failed
from gateway.errors import RequestCode, faulted, problem
from gateway.listener.bounds import DISCARDED_BYTES, Bounds
from gateway.patience import PATIENCE

GATHERED_BYTES: Final = 1 << 20
"""The longest body that any request may have."""
TOO_LONG: Final = "piaohao.too_long"
"""Where an application finds that a body is longer than it may be: in its scope's state. It gets
none of it."""
_BUSY: Final = failed(faulted(NODE_BUSY))
_LATE: Final = failed(problem(RequestCode.BODY_TIMEOUT))

GATHERING: Final = "piaohao.gathering"
"""Where it is told how much of a request is kept that is not whole: in the scope's state."""
Application = Callable[[Any, Any, Any], Awaitable[None]]
Keeps = Callable[[Any], int]
"""How long a body of the request with this scope may be for anybody to look at it."""


class Places:
    """An ASGI application that lets only so many requests into another one.

    Args:
        app: the other one.
        bounds: how many, and how slow their bodies may be.
        keeps: other bodies are read and forgotten, and the application gets none of them: what
            comes in of 4,096 requests would be more memory than a node may have. 0 for one that
            nobody will look at; it is too long only where any would be.
    """

    def __init__(self, app: Application, bounds: Bounds, keeps: Keeps) -> None:
        self._app = app
        self._keeps = keeps
        self._bounds = bounds
        self._active = 0
        self._taken = 0
        self._closing = False
        self._quiet = trio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""

        async def send_or_last(message: Any) -> None:
            if self._closing and message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"connection", b"close")]
                message = {**message, "headers": headers}
            await send(message)

        self._active += 1
        try:
            await self._placed(scope, receive, send_or_last)
        finally:
            self._active -= 1
            if not self._active:
                self._quiet.set()

    def close(self) -> None:
        """Have what is still answered say that its connection closes (RFC 9112, section 9.6)."""
        self._closing = True

    async def quiet(self) -> None:
        """Wait until every request that has come in is answered, down to its last byte."""
        await trio.lowlevel.checkpoint()
        while self._active:
            self._quiet = trio.Event()
            await self._quiet.wait()

    async def _placed(self, scope: Any, receive: Any, send: Any) -> None:
        gathering: Callable[[int], None] = scope["state"][GATHERING]
        request = _Request(receive, partial(self._keeps, scope), gathering)
        with trio.move_on_after(self._bounds.body_s) as patience:
            if not await request.gather():
                return
        if patience.cancelled_caught:
            await _answer(send, _LATE)
        elif self._taken >= self._bounds.requests_max or scope["state"][PATIENCE].spent:
            scope["state"][PATIENCE].refused(NODE_BUSY.retry_after_s or 0)
            await _answer(send, _BUSY)
        else:
            scope["state"][TOO_LONG] = request.too_long
            await self._serve(scope, request.receive, send)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Have a request answered; its place is free as soon as there is an answer.

        A client has `send_s` for each piece of that, and 128 that read nothing, which anybody may
        be, would shut out everybody else.
        """
        self._taken += 1
        holds = True

        async def send_without_place(message: Any) -> None:
            nonlocal holds
            if holds:
                holds = False
                self._taken -= 1
            await send(message)

        try:
            await self._app(scope, receive, send_without_place)
        finally:
            if holds:
                self._taken -= 1


class _Request:
    """What has come in of a request; the application receives it all, from the first piece on."""

    def __init__(
        self,
        receive: Callable[[], Awaitable[Any]],
        keeps: Callable[[], int],
        gathering: Callable[[int], None],
    ) -> None:
        self._receive = receive
        self._keeps = keeps
        self._gathering = gathering
        self._pieces: deque[Any] = deque()
        self._size = 0
        self._longest = GATHERED_BYTES

    @property
    def too_long(self) -> bool:
        """Whether its body is longer than it may be."""
        return self._size > self._longest

    async def gather(self) -> bool:
        """Wait until it is there as a whole; what is too long is read, up to a bound, for nothing.

        Returns whether there is a request: its client may have left before it was whole.
        """
        more = kept = True
        while more and self._size <= DISCARDED_BYTES:
            message = await self._receive()
            if message["type"] != "http.request":
                return False
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            if piece and not self._size:
                kept = bool(longest := self._keeps())
                self._longest = longest or GATHERED_BYTES
            self._size += len(piece)
            if self.too_long:
                kept = False
                self._pieces.clear()
            if kept:
                self._pieces.append(message)
            if more:
                self._gathering(self._size if kept else 0)
        self._gathering(0)
        if more or not kept:
            self._pieces.append({"type": "http.request", "body": b"", "more_body": False})
        return True

    async def receive(self) -> Any:
        """See ASGI. Behind the request there is only the news that its client has left."""
        if self._pieces:
            return self._pieces.popleft()
        while (message := await self._receive())["type"] == "http.request":
            pass
        return message


async def _answer(send: Any, answer: Answer) -> None:
    body = encode(answer.body)
    headers = {**answer.headers(), "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
