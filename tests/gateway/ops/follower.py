"""A follower: reads a feed of server-sent events from a real socket, when a test wants it to."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import h11
import msgspec
import trio

from gateway.ops.feeds import FeedBounds
from gateway.ops.operators import Role
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.operators import LIMIT_S

QUICK_LOOKS: Final = FeedBounds(look_s=0.05, actors_s=0.05, keep_alive_s=0.1)

Told = dict[str, Any]


class Follower:
    """One feed, seen from its reader.

    Attributes:
        head: the answer's.
        told: what has come, in order: the name of the event, and its data.
        comments: how many have come.
        over: the answer has ended, or the connection.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.head: h11.Response | None = None
        self.told: list[tuple[str, Told]] = []
        self.comments = 0
        self.over = False
        self._http = h11.Connection(h11.CLIENT)
        self._text = b""

    async def ask(self, target: str, headers: list[tuple[str, str]]) -> None:
        """Ask for a feed, and wait for the head of the answer."""
        host = self.stream.socket.getpeername()
        fields = [("host", f"{host[0]}:{host[1]}"), *headers]
        request = h11.Request(method="GET", target=target, headers=fields)
        data = self._http.send(request) or b""
        await self.stream.send_all(data + (self._http.send(h11.EndOfMessage()) or b""))
        await self.until(lambda: self.head is not None)

    @property
    def status(self) -> int:
        """The answer's."""
        assert self.head is not None
        return int(self.head.status_code)

    def of(self, event: str) -> list[Told]:
        """Return the data of the events of one name."""
        return [data for name, data in self.told if name == event]

    def states(self, address: str) -> list[Told]:
        """Return what was told of one actor."""
        return [data for data in self.of("actor") if data["address"] == address]

    async def until(self, there: Callable[[], Any]) -> None:
        """Read until something is there."""
        with trio.fail_after(LIMIT_S):
            while not there():
                assert not self.over, self.told[-3:]
                await self._read()

    async def ended(self) -> str:
        """Read to the end; returns the reason that is told last."""
        await self.until(lambda: self.over)
        name, data = self.told[-1]
        assert name == data["object"] == "end"
        reason: str = data["reason"]
        return reason

    async def _read(self) -> None:
        data = bytes(await self.stream.receive_some(1 << 16))
        if not data:
            self.over = True
            return
        self._http.receive_data(data)
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Response):
                self.head = event
            elif isinstance(event, h11.Data):
                self._text += bytes(event.data)
                self._parse()
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self.over = True
                return
            else:
                assert event is h11.NEED_DATA
                return

    def _parse(self) -> None:
        if self.status != 200:
            return
        *whole, self._text = self._text.split(b"\n\n")
        for each in whole:
            if each.startswith(b":"):
                self.comments += 1
                continue
            name, data = each.split(b"\n")
            assert name.startswith(b"event: ")
            assert data.startswith(b"data: ")
            decoded = msgspec.json.decode(data.removeprefix(b"data: "))
            self.told.append((name.removeprefix(b"event: ").decode(), decoded))


@asynccontextmanager
async def following(
    guarded: Guarded,
    topics: str,
    role: Role = Role.VIEWER,
    *,
    reason: str = "",
    receive_bytes: int | None = None,
) -> AsyncIterator[Follower]:
    """Follow topics; at the end the socket is closed without a word.

    Args:
        receive_bytes: how much the reader's side of the network takes unread.
    """
    host, _, port = guarded.address.rpartition("/")[2].rpartition(":")
    sock = trio.socket.socket()
    if receive_bytes is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_bytes)
    await sock.connect((host, int(port)))
    stream = trio.SocketStream(sock)
    try:
        follower = Follower(stream)
        query = f"?topics={topics}" + (reason and f"&reason={reason}")
        headers = [("authorization", f"Bearer {guarded.tokens[role]}")]
        await follower.ask(f"/ops/feed{query}", headers)
        yield follower
    finally:
        await trio.aclose_forcefully(stream)
