"""What strangers cost: whoever has no certificate has nothing of what they send kept, and all who
may be heard have no more kept than may be kept together."""

import tracemalloc
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from gateway.counter import Request
from gateway.listener.bounds import Bounds
from tests.gateway.serving import (
    GOOD,
    Door,
    addressed,
    connect,
    host_of,
    read_answer,
    serving,
    until_closed,
)
from tests.gateway.signed_desk import Signer, new_bank, open_signed_desk

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

PATH = "/v1/commands"
MIB = 1 << 20
STRANGERS = 8


async def test_body_is_wanted_of_those_who_name_a_certificate_that_is_good(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1, revoked = await desk.merchant("M1"), await desk.merchant("M1", "K2")
        revoke = f"/v1/merchants/M1/certificates/{revoked.keyid}/revoke"
        assert (await desk.ask(m1, "POST", revoke))[0] == 200

        def wanted(request: Request) -> bool:
            place = desk.counter.place(request.method, request.path)
            return desk.counter.wants_body(place, request.headers)

        good = desk.signed(m1, "POST", PATH, b"[]")
        assert wanted(good)
        assert not wanted(desk.signed(revoked, "POST", PATH, b"[]"))
        assert not wanted(desk.signed(Signer(m1.key, "abc1"), "POST", PATH, b"[]"))
        assert not wanted(msgspec.structs.replace(good, headers={}))
        assert not wanted(msgspec.structs.replace(good, path="/v1/nothing"))
        assert wanted(Request("GET", "/v1/health", b"", {}, b""))
        desk.now_s += 3 * 365 * 86_400
        assert not wanted(good)


@pytest.mark.parametrize("anybody", [False, True], ids=["a merchant's", "anybody's"])
async def test_bodies_of_strangers_are_not_kept_while_they_come_in(
    anybody: bool, tmp_path: Path, door: Door
) -> None:
    """Before, 4,096 of them had 4.4 GiB of memory without a signature."""
    keys = new_bank(tmp_path / "keys")
    part = b" " * (MIB - 1)
    async with serving(tmp_path / "data", keys=keys, names=["pay.example"], door=door) as running:
        host = b"pay.example"
        if door == "express":
            host += b":" + host_of(running).rpartition(b":")[2]
        line = b"GET /v1/health" if anybody else b"POST /v1/commands"
        head = line + b" HTTP/1.1\r\nHost: " + host + b"\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % MIB
        streams = [await connect(running) for _ in range(STRANGERS)]
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for stream in streams:
                await stream.send_all(head + part)
            await trio.testing.wait_all_tasks_blocked(0.05)
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert taken < STRANGERS * MIB / 4, taken
        # Each is read to its end, refused, and may go on.
        for stream in streams:
            await stream.send_all(b" ")
            code = (await read_answer(stream)).code
            if not anybody:
                assert code == "SIGNATURE_MISSING"
            else:
                assert code == ("BODY_TOO_LARGE" if door == "main" else "MISDIRECTED_REQUEST")
            ask = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
            await stream.send_all(ask)
            assert (await read_answer(stream)).code == "SIGNATURE_MISSING"
            await trio.aclose_forcefully(stream)


async def test_bodies_on_their_way_are_bounded_together_and_the_slowest_go(
    tmp_path: Path, door: Door
) -> None:
    """A good certificate is soon named: 4,096 who did had 1 MiB each for ten seconds."""
    head = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    bounds = Bounds(gathered_bytes=3 * MIB)
    async with serving(tmp_path, door=door, bounds=bounds) as running:
        streams = []
        for _ in range(5):
            stream = await connect(running)
            await stream.send_all(
                addressed(running, head + b"Content-Length: %d\r\n\r\n[" % MIB + b" " * (MIB - 2))
            )
            await trio.testing.wait_all_tasks_blocked(0.05)
            streams.append(stream)
        for stream in streams[:2]:
            await until_closed(stream)
            await trio.aclose_forcefully(stream)
        for stream in streams[2:]:
            await stream.send_all(b"]")
            answer = await read_answer(stream)
            assert (answer.status, answer.body) == (200, b"[]")
            await stream.send_all(addressed(running, GOOD))
            assert (await read_answer(stream)).status == 200
            await trio.aclose_forcefully(stream)
