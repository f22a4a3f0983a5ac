"""Feeds over a WebSocket: the same is told, to the same people, and to no page of another site."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec.structs import replace
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from gateway.ops.operators import Role
from tests.gateway.ops.follower import QUICK_LOOKS, following
from tests.gateway.ops.guarded import Guarded, row_of
from tests.gateway.ops.operators import LIMIT_S
from tests.gateway.ops.test_feed import ACCOUNT, ACTOR, room, shop
from tests.gateway.ops.test_look import pay
from tests.gateway.serving import RawAnswer, until_closed
from tests.gateway.stream.stream_client import shake_hands, upgrade_request

pytestmark = pytest.mark.one_shard  # what is told on several is the concern of test_feed


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    async with shop(tmp_path, QUICK_LOOKS, Role.VIEWER, Role.AUDITOR) as made:
        yield made


class Listening:
    """A client that listens.

    Attributes:
        close: code and reason of the server's close frame, once it has come.
    """

    def __init__(self, stream: trio.abc.Stream, rest: bytes) -> None:
        self.stream = stream
        self.close: tuple[int, str] | None = None
        self.pongs = 0
        self._frames = Connection(ConnectionType.CLIENT)
        self._frames.receive_data(rest)
        self._messages: list[dict[str, Any]] = []
        self._text = ""

    async def send(self, event: Event) -> None:
        """Send one frame."""
        await self.stream.send_all(self._frames.send(event))

    async def message(self) -> dict[str, Any]:
        """Return the next message."""
        while not self._messages:
            assert self.close is None, self.close
            await self._read()
        return self._messages.pop(0)

    async def until(self, there: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return the messages up to the first that somebody waits for."""
        told = [await self.message()]
        while not there(told[-1]):
            told.append(await self.message())
        return told

    async def closed(self) -> tuple[int, str]:
        """Return with which code and reason it is closed."""
        while self.close is None:
            await self._read()
        return self.close

    async def _read(self) -> None:
        with trio.fail_after(LIMIT_S):
            data = bytes(await self.stream.receive_some(1 << 16))
        assert data, "the connection was closed"
        self._frames.receive_data(data)
        self._note()

    def _note(self) -> None:
        for event in self._frames.events():
            if isinstance(event, TextMessage):
                self._text += event.data
                if event.message_finished:
                    self._messages.append(msgspec.json.decode(self._text))
                    self._text = ""
            elif isinstance(event, CloseConnection):
                self.close = (event.code, event.reason or "")
            elif isinstance(event, Pong):
                self.pongs += 1


@asynccontextmanager
async def socket_on(
    guarded: Guarded, topics: str, role: Role = Role.VIEWER, **changes: Any
) -> AsyncIterator[Listening]:
    """Open a WebSocket that follows topics; at the end the socket is closed without a word."""
    changes["authorization"] = f"Bearer {guarded.tokens[role]}"
    request = handshake(guarded, target=f"/ops/feed?topics={topics}", **changes)
    host, _, port = guarded.address.rpartition("/")[2].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    try:
        answer, rest = await shake_hands(stream, request)
        assert answer.status == 101, answer
        assert "sec-websocket-protocol" not in answer.headers
        yield Listening(stream, rest)
    finally:
        await trio.aclose_forcefully(stream)


def handshake(guarded: Guarded, **changes: Any) -> bytes:
    """Return a request for a WebSocket, with some of its headers or its target changed."""
    headers: dict[str, Any] = {
        "sec_websocket_protocol": None,
        "authorization": f"Bearer {guarded.tokens[Role.VIEWER]}",
        **changes,
    }
    target = headers.pop("target", "/ops/feed?topics=vitals")
    return upgrade_request(guarded.address.rpartition("/")[2].encode(), target, **headers)


async def refused(guarded: Guarded, **changes: Any) -> RawAnswer:
    """Return the answer to a handshake that is to be refused."""
    host, _, port = guarded.address.rpartition("/")[2].rpartition(":")
    early = changes.pop("early", b"")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        answer, _ = await shake_hands(stream, handshake(guarded, **changes) + early)
        assert answer.status != 101
        assert await until_closed(stream) == b""
    return answer


async def test_socket_tells_what_an_event_stream_does(guarded: Guarded) -> None:
    async with (
        socket_on(guarded, f"vitals,{ACTOR}") as connection,
        following(guarded, f"vitals,{ACTOR}") as follower,
    ):
        first = await connection.until(lambda told: told["object"] == "vitals")
        assert [each["object"] for each in first] == ["actor_state", "vitals"]
        await follower.until(lambda: follower.of("vitals"))
        await guarded.commands(pay("O1", 700))

        def paid(told: dict[str, Any]) -> bool:
            return bool(
                told["object"] == "actor_state" and told["confirmed"]["posted_minor"] == 9_300
            )

        told = (await connection.until(paid))[-1]
        await follower.until(lambda: paid(follower.states(ACCOUNT)[-1]))
        assert follower.states(ACCOUNT)[-1] == told
        entries = [each["action"] for each in await guarded.entries("?limit=50")]
        assert entries.count("follow_feed") == 2


async def test_page_of_this_listener_may_and_of_another_site_may_not(guarded: Guarded) -> None:
    """A browser sends a cookie along for any page that asks (RFC 6455, section 10.2)."""
    async with socket_on(guarded, "vitals", origin=guarded.address) as connection:
        await connection.message()
    for origin in ("https://example.com", "null", guarded.address.replace("http", "https", 1)):
        answer = await refused(guarded, origin=origin)
        assert (answer.status, answer.code) == (400, "HANDSHAKE_REFUSED")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"authorization": None}, 401, "NO_SESSION"),
        ({"authorization": f"Bearer {'A' * 43}"}, 401, "NO_SESSION"),
        ({"target": "/ops/feed?topics=all"}, 422, "INVALID_REQUEST"),
        ({"target": "/ops/feed?topics=vitals&reason=curious"}, 403, "RIGHT_MISSING"),
        ({"sec_websocket_version": "8"}, 426, "UPGRADE_REQUIRED"),
        ({"sec_websocket_key": "short"}, 400, "HANDSHAKE_REFUSED"),
        ({"early": b"\x81\x01a"}, 400, "HANDSHAKE_REFUSED"),
    ],
)
async def test_handshake_that_is_refused_says_why(
    guarded: Guarded, changes: dict[str, Any], status: int, code: str
) -> None:
    answer = await refused(guarded, **changes)
    assert (answer.status, answer.code) == (status, code)


async def test_client_that_sends_a_message_is_shut_out_and_a_ping_is_answered(
    guarded: Guarded,
) -> None:
    async with socket_on(guarded, "quarantines") as connection:
        await connection.send(Ping(b"there?"))
        await connection.send(TextMessage("hello"))
        assert await connection.closed() == (4400, "a feed takes no messages")
        assert connection.pongs == 1


async def test_session_and_node_that_end_close_their_sockets(guarded: Guarded) -> None:
    async with (
        socket_on(guarded, f"quarantines,{ACTOR}") as connection,
        socket_on(guarded, "quarantines", Role.AUDITOR) as other,
    ):
        await connection.message()
        await guarded.ask(row_of("log_out"), Role.VIEWER)
        told = await connection.until(lambda told: told["object"] == "end")
        assert told == [{"object": "end", "reason": "SESSION_OVER"}]
        assert await connection.closed() == (4401, "SESSION_OVER")
        guarded.ops.running.stop()
        assert await other.closed() == (1001, "STOPPING")


@pytest.mark.parametrize("politely", [True, False])
async def test_client_that_leaves_gives_its_place_back(tmp_path: Path, politely: bool) -> None:
    async with shop(tmp_path, replace(QUICK_LOOKS, feeds_max=1)) as guarded:
        async with socket_on(guarded, "vitals") as connection:
            await connection.message()
            assert (await refused(guarded)).code == "TOO_MANY_FEEDS"
            if politely:
                await connection.send(CloseConnection(1000))
                assert await connection.closed() == (1000, "")
        await room(guarded)
