"""Who is connected: how many there may be, of one address and at all, and who goes for whom."""

import resource
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gateway.listener.bounds import Bounds
from gateway.listener.census import Census
from gateway.server import Serving
from tests.gateway.certificates import Signer
from tests.gateway.serving import (
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

LOOKUP = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n"
FOREIGN = (
    b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Origin: https://evil.example\r\n\r\n"
)
"""A handshake that is refused."""


class _Guest:
    def __init__(self) -> None:
        self.gone = False

    def hang_up(self) -> None:
        self.gone = True


def _arrive(census: Census[_Guest], *hosts: str) -> list[_Guest]:
    guests = []
    for host in hosts:
        guest = _Guest()
        guest.gone = not census.admit(guest, host)
        guests.append(guest)
    return guests


def test_request_that_has_been_coming_in_longest_goes_for_what_others_send() -> None:
    census: Census[_Guest] = Census(Bounds(gathered_bytes=10))
    first, second, third, fourth = _arrive(census, *(f"10.0.0.{n}" for n in range(1, 5)))
    census.gathering(first, 4)
    census.gathering(second, 4)
    census.gathering(first, 5)
    census.work(first)  # it is whole: nobody takes its place any more
    census.gathering(third, 6)
    assert not any(each.gone for each in (first, second, third))
    census.gathering(fourth, 1)
    assert [each.gone for each in (first, second, third, fourth)] == [False, True, False, False]
    census.gathering(third, 0)  # nobody will look at it, and nothing is kept
    census.gathering(fourth, 10)
    census.gathering(second, 10)  # it has left
    assert [each.gone for each in (first, third, fourth)] == [False, False, False]
    census.gathering(third, 1)
    assert [each.gone for each in (first, third, fourth)] == [False, False, True]
    assert len(census) == 2


def test_longest_idle_one_goes_for_a_new_one() -> None:
    census: Census[_Guest] = Census(Bounds(connections_max=3))
    first, second, third = _arrive(census, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    census.work(first)
    census.work(second)
    census.rest(second)
    census.rest(first)
    arrived = _arrive(census, "10.0.0.4")
    assert [each.gone for each in (first, second, third, *arrived)] == [False, False, True, False]
    arrived += _arrive(census, "10.0.0.5")
    assert [each.gone for each in (first, second, *arrived)] == [False, True, False, False]
    assert len(census) == 3


def test_new_one_is_turned_away_where_all_are_at_work() -> None:
    census: Census[_Guest] = Census(Bounds(connections_max=2))
    guests = _arrive(census, "10.0.0.1", "10.0.0.2")
    for each in guests:
        census.work(each)
    assert _arrive(census, "10.0.0.3")[0].gone
    census.leave(guests[0])
    census.leave(guests[0])
    assert not _arrive(census, "10.0.0.3")[0].gone
    assert not any(each.gone for each in guests)


@pytest.mark.parametrize("per_peer", [3, 10])
def test_answer_that_is_not_taken_keeps_its_place_for_a_while(per_peer: int) -> None:
    """Then its client goes, unless there is one that has been idle for longer."""
    now = 0.0
    bounds = Bounds(connections_max=3, connections_per_peer=per_peer, stall_s=3)
    census: Census[_Guest] = Census(bounds, lambda: now)
    guests = _arrive(census, *["10.0.0.1"] * 3)
    for each in guests[1:]:
        now += 1
        census.work(each)
        census.sending(each)
    gone = []
    for then in (4.5, 4.6, 4.7, 5.1):
        now = then
        guests += _arrive(census, "10.0.0.1")
        gone.append({number for number, each in enumerate(guests) if each.gone})
        census.work(guests[-1])
    assert gone == [{0}, {0, 1}, {0, 1, 5}, {0, 1, 2, 5}]
    census.sending(guests[3])
    census.sent(guests[3])
    now = 20.0
    assert _arrive(census, "10.0.0.1")[0].gone
    assert not census._sending


def test_one_address_takes_nothing_from_another() -> None:
    census: Census[_Guest] = Census(Bounds(connections_max=10, connections_per_peer=2))
    other = _arrive(census, "10.0.0.1")[0]
    flood = _arrive(census, *["10.0.0.2"] * 20)
    assert [each.gone for each in flood] == [True] * 18 + [False] * 2
    for each in flood[-2:]:
        census.work(each)
    assert _arrive(census, "10.0.0.2")[0].gone
    assert not other.gone
    for each in (*flood, other):
        census.leave(each)
    assert len(census) == 0
    assert not census._of_peer
    assert not census._idle


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::2:0:0:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("127.0.0.1", "127.0.0.1", False),  # loopback is not counted
        ("::1", "::1", False),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", False),
    ],
)
def test_peer_is_an_address_or_a_network(one: str, other: str, same: bool) -> None:
    census: Census[_Guest] = Census(Bounds(connections_per_peer=1))
    guests = _arrive(census, one, other)
    assert [each.gone for each in guests] == [same, False]


def test_connections_are_as_many_as_files_allow() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert Bounds(connections_max=10).connections() == 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1_000), hard))
    try:
        assert Bounds().connections() == 872
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _asks(running: Serving, stream: trio.SocketStream) -> int:
    await stream.send_all(addressed(running, GOOD))
    return (await read_answer(stream)).status


async def test_idle_connection_is_closed_for_a_new_one(tmp_path: Path, door: Door) -> None:
    """Those that are at work stay; where none is idle the new one is closed at once."""
    bounds = Bounds(connections_max=2)
    async with serving(tmp_path, bounds=bounds, door=door) as running, AsyncExitStack() as stack:
        idle = await stack.enter_async_context(await connect(running))
        assert await _asks(running, idle) == 200
        for shard in running.node.shards:
            shard.hold_commits()
        at_work = await stack.enter_async_context(await connect(running))
        await at_work.send_all(addressed(running, OPEN_MERCHANT))
        await trio.testing.wait_all_tasks_blocked(0.02)
        new = await stack.enter_async_context(await connect(running))
        await new.send_all(addressed(running, OPEN_MERCHANT))
        assert await until_closed(idle) == b""
        await trio.testing.wait_all_tasks_blocked(0.02)
        turned_away = await stack.enter_async_context(await connect(running))
        assert await until_closed(turned_away) == b""
        for shard in running.node.shards:
            shard.let_commits()
        for each in (at_work, new):
            assert (await read_answer(each)).status == 200


async def test_answer_that_is_not_sent_keeps_its_connection(tmp_path: Path, door: Door) -> None:
    """What came with a command is served before its answer goes out, and somebody is waiting."""
    bounds = Bounds(connections_max=1)
    async with serving(tmp_path, bounds=bounds, door=door) as running, AsyncExitStack() as stack:
        stream = await stack.enter_async_context(await connect(running))
        for shard in running.node.shards:
            shard.hold_commits()
        await stream.send_all(addressed(running, OPEN_MERCHANT + LOOKUP * 100))
        await trio.testing.wait_all_tasks_blocked(0.05)
        for shard in running.node.shards:
            shard.let_commits()
        received = b""

        async def read() -> None:
            nonlocal received
            received = await until_closed(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            with trio.fail_after(20):
                while not received and nursery.child_tasks:
                    await trio.aclose_forcefully(await connect(running))
        assert b'"status":201' in received


@pytest.mark.parametrize(
    "half",
    [b"", OPEN_MERCHANT[:5], OPEN_MERCHANT.partition(b"Content")[0], OPEN_MERCHANT[:-1]],
    ids=["nothing", "half a line", "half a header", "half a body"],
)
async def test_half_a_request_keeps_no_place_that_others_could_use(
    half: bytes, tmp_path: Path, door: Door
) -> None:
    """Who holds all connections that way loses the one that it has had longest; nothing begins."""
    bounds = Bounds(connections_max=3)
    async with serving(tmp_path, bounds=bounds, door=door) as running, AsyncExitStack() as stack:
        held = []
        for _ in range(3):
            held.append(await stack.enter_async_context(await connect(running)))
            await held[-1].send_all(addressed(running, half))
            await trio.testing.wait_all_tasks_blocked(0.02)
        new = await stack.enter_async_context(await connect(running))
        assert await _asks(running, new) == 200
        assert await until_closed(held[0]) == b""
        await held[1].send_all(addressed(running, OPEN_MERCHANT)[len(addressed(running, half)) :])
        answer = await read_answer(held[1])
        assert answer.status == 200
        assert b'"status":201' in answer.body


async def test_half_a_handshake_keeps_no_place_that_others_could_use(
    tmp_path: Path, door: Door
) -> None:
    signer = Signer(tmp_path)
    bounds = Bounds(connections_max=2)
    options: Any = {"tls": signer.server(), "bounds": bounds, "door": door}
    async with serving(tmp_path / "bank", **options) as running, AsyncExitStack() as stack:
        for _ in range(2):
            held = await stack.enter_async_context(await connect(running))
            await held.send_all(b"\x16\x03\x01\x02\x00\x01")
            await trio.testing.wait_all_tasks_blocked(0.02)
        stream = await connect_tls(running, signer.client())
        await stream.send_all(addressed(running, GOOD))
        assert (await read_answer(stream)).status == 200
        await trio.aclose_forcefully(stream)


async def test_stream_that_is_refused_keeps_no_place_that_others_could_use(
    tmp_path: Path, door: Door
) -> None:
    """Its client may read why for five seconds; so many that take their time would keep everybody
    out, and anybody may ask for a stream that there will not be."""
    bounds = Bounds(connections_max=2)
    async with serving(tmp_path, bounds=bounds, door=door) as running, AsyncExitStack() as stack:
        for _ in range(2):
            held = await stack.enter_async_context(await connect(running))
            await held.send_all(addressed(running, FOREIGN))
            assert (await read_answer(held)).status == 400
        new = await stack.enter_async_context(await connect(running))
        assert await _asks(running, new) == 200


async def test_answers_that_are_not_read_keep_no_place_that_others_could_use(
    tmp_path: Path, door: Door
) -> None:
    """A page that anybody may ask for is more than sockets hold, and whoever takes none of it is
    hung up on after 30 s: by then the others would have been turned away."""
    bounds = Bounds(connections_max=2, stall_s=0.2)
    page = LOOKUP.replace(b"/v1/payments/M1/O1", b"/openapi.json")
    ask = page * 200 if door == "main" else LOOKUP * 50_000
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        AsyncExitStack() as stack,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            deaf = await stack.enter_async_context(await connect(running))
            nursery.start_soon(_insist, deaf, addressed(running, ask))
        await trio.testing.wait_all_tasks_blocked(0.05)
        turned_away = await stack.enter_async_context(await connect(running))
        assert await until_closed(turned_away) == b""
        await trio.sleep(bounds.stall_s)
        new = await stack.enter_async_context(await connect(running))
        assert await _asks(running, new) == 200
        nursery.cancel_scope.cancel()


async def _insist(stream: trio.SocketStream, ask: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(ask)


async def test_one_address_has_its_own_share_of_connections(tmp_path: Path, door: Door) -> None:
    bounds = Bounds(connections_per_peer=3, counts_loopback=True)
    async with serving(tmp_path, bounds=bounds, door=door) as running, AsyncExitStack() as stack:
        other = await stack.enter_async_context(await connect(running, "127.0.0.2"))
        flood = [await stack.enter_async_context(await connect(running)) for _ in range(10)]
        for each in flood[:7]:
            assert await until_closed(each) == b""
        for each in (other, *flood[7:]):
            assert await _asks(running, each) == 200
