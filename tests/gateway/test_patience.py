"""Callers who come when there is too much to do: refused at once, and not heard if they insist."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing

from engine.address import shard_of
from engine.limits import Limits
from gateway.listener.bounds import Bounds
from gateway.patience import UNPROVEN_FREE, UNPROVEN_S_MAX, WAIT_S_MAX, Patience
from gateway.server import Serving
from tests.gateway.serving import BODY, GOOD, Door, addressed, connect, serving
from tests.gateway.signed_desk import new_bank
from tests.shards import SHARDS

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

JSON = {"content-type": "application/json"}
SLOW = (
    b"POST /v1/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
ONE_PLACE = Bounds(requests_max=1, express_requests_max=1)


async def test_caller_who_heeds_is_heard_at_once(autojump_clock: trio.testing.MockClock) -> None:
    patience = Patience()
    for _ in range(3):
        patience.refused(1)
        await trio.sleep(1)
        begun = trio.current_time()
        await patience.wait()
        assert trio.current_time() == begun
        assert not patience.spent


async def test_caller_who_insists_waits_longer_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patience = Patience()
    waits = []
    for _ in range(5):
        patience.refused(1)
        begun = trio.current_time()
        await patience.wait()
        waits.append(trio.current_time() - begun)
        assert patience.spent
        # For having come too soon; then it may come at once, and is refused as things stand.
        patience.refused(1)
        await patience.wait()
        assert trio.current_time() - begun == waits[-1]
        assert not patience.spent
    assert waits == [4, 8, 16, WAIT_S_MAX, WAIT_S_MAX]


async def test_caller_who_was_served_begins_anew(autojump_clock: trio.testing.MockClock) -> None:
    patience = Patience()
    for _ in range(3):
        patience.refused(1)
        begun = trio.current_time()
        await patience.wait()
        assert trio.current_time() - begun == 4
        patience.refused(1)
        patience.served()


async def test_pieces_of_one_request_wait_once(autojump_clock: trio.testing.MockClock) -> None:
    patience = Patience()
    patience.refused(1)
    await patience.wait()
    begun = trio.current_time()
    await patience.wait()
    assert trio.current_time() == begun


async def test_what_nobody_has_signed_is_heard_later_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A few in a row are free; one that is signed, or needs not be, makes all forgotten."""
    patience = Patience()
    for _ in range(2):
        waits = []
        for _ in range(UNPROVEN_FREE + 10):
            begun = trio.current_time()
            await patience.pause()
            waits.append(trio.current_time() - begun)
            patience.answered(None, proven=False)
        free, rest = waits[: UNPROVEN_FREE + 1], waits[UNPROVEN_FREE + 1 :]
        assert free == [0] * (UNPROVEN_FREE + 1)
        assert rest == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4, 4, 4])
        assert patience.unheard
        patience.answered(None, proven=True)
        assert not patience.unheard
        assert not patience.spent


async def test_nothing_waits_longer_than_its_listener_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patience = Patience(0.5)
    for _ in range(UNPROVEN_FREE + 10):
        patience.answered(None, proven=False)
    begun = trio.current_time()
    await patience.pause()
    assert trio.current_time() - begun == 0.5


async def test_who_waits_by_itself_is_heard_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Like somebody who looks every few seconds whether the node is there."""
    patience = Patience()
    for _ in range(20):
        patience.answered(None, proven=False)
        await trio.sleep(UNPROVEN_S_MAX)
        assert not patience.unheard


@pytest.mark.parametrize("at_once", [True, False])
async def test_stranger_on_a_signed_node_is_slowed_down(
    at_once: bool, tmp_path: Path, door: Door
) -> None:
    """Whether it waits for its answers or not; each is answered."""
    keys = new_bank(tmp_path)
    async with serving(tmp_path / "bank", keys=keys, door=door) as running:
        request = addressed(running, GOOD)
        count = UNPROVEN_FREE + 3
        async with await connect(running) as stream:
            begun = trio.current_time()
            with trio.fail_after(20):
                received = b""
                for sent in range(1, count + 1):
                    if not at_once:
                        await stream.send_all(request)
                    elif sent == 1:
                        await stream.send_all(request * count)
                    while received.count(b"HTTP/1.1 401 ") < sent:
                        received += await stream.receive_some(1 << 16)
            assert trio.current_time() - begun >= 0.1 + 0.2


@asynccontextmanager
async def _nothing_is_answered(running: Serving) -> AsyncIterator[None]:
    """Commands wait for their commits as long as this lasts."""
    for shard in running.node.shards:
        shard.hold_commits()
    try:
        yield
    finally:
        for shard in running.node.shards:
            shard.let_commits()


def _merchant_on_each_shard() -> list[dict[str, str]]:
    """Return merchants to open, one a shard."""
    found: dict[int, str] = {}
    for n in count():
        found.setdefault(shard_of(f"merchant/M{n}", SHARDS), f"M{n}")
        if len(found) == SHARDS:
            return [
                {"command": "open_merchant", "merchant_no": number, "currency": "USD"}
                for number in found.values()
            ]
    raise AssertionError


async def _ask(running: Serving, stream: trio.SocketStream, request: bytes = GOOD) -> bytes:
    """Send a request, or the rest of one, and return the whole answer."""
    await stream.send_all(addressed(running, request))
    answer = b""
    with trio.fail_after(20):
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive_some()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        while len(body) < length:
            body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


@asynccontextmanager
async def _one_place_is_taken(running: Serving) -> AsyncIterator[None]:
    """A command has its place and waits for its commit as long as this lasts."""
    answers = []

    async def open_merchant() -> None:
        async with httpx2.AsyncClient() as client:
            path = f"{running.address}/v1/commands"
            answers.append(await client.post(path, json=_merchant_on_each_shard()[:1]))

    async with trio.open_nursery() as nursery, _nothing_is_answered(running):
        nursery.start_soon(open_merchant)
        await trio.testing.wait_all_tasks_blocked(0.05)
        yield
    assert answers[0].status_code == 200


async def test_request_beyond_the_last_place_is_refused_at_once(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, bounds=ONE_PLACE, door=door) as running:
        async with _one_place_is_taken(running), await connect(running) as stream:
            refusal = await _ask(running, stream)
            assert refusal.startswith(b"HTTP/1.1 503")
            assert b"\r\nretry-after: 1\r\n" in refusal
            assert b"application/problem+json" in refusal
            assert b'"code":"NODE_BUSY"' in refusal
        async with await connect(running) as stream:
            answer = await _ask(running, stream)
            assert answer.startswith(b"HTTP/1.1 200"), "its place is free again"


async def test_caller_who_insists_is_not_heard_before_its_time(tmp_path: Path, door: Door) -> None:
    """And is refused for that though there is room; then it is served."""
    async with (
        serving(tmp_path, bounds=ONE_PLACE, door=door) as running,
        await connect(running) as stream,
    ):
        async with _one_place_is_taken(running):
            assert (await _ask(running, stream)).startswith(b"HTTP/1.1 503")
        begun = trio.current_time()
        assert (await _ask(running, stream)).startswith(b"HTTP/1.1 503")
        assert trio.current_time() - begun > 3.5
        assert (await _ask(running, stream)).startswith(b"HTTP/1.1 200")


async def test_body_that_is_long_in_coming_takes_no_place(tmp_path: Path, door: Door) -> None:
    async with (
        serving(tmp_path, bounds=ONE_PLACE, door=door) as running,
        await connect(running) as slow,
    ):
        await slow.send_all(addressed(running, SLOW) + BODY[:10])
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with await connect(running) as stream:
            assert (await _ask(running, stream)).startswith(b"HTTP/1.1 200")
        await trio.testing.wait_all_tasks_blocked(0.05)  # its place is free again
        assert (await _ask(running, slow, BODY[10:])).startswith(b"HTTP/1.1 200")


async def test_body_that_is_too_long_takes_no_place_before_its_end(
    tmp_path: Path, door: Door
) -> None:
    """All places of a node would cost anybody a megabyte each, every ten seconds."""
    half = b" " * ((1 << 20) + 1)
    async with (
        serving(tmp_path, bounds=ONE_PLACE, door=door) as running,
        await connect(running) as slow,
    ):
        head = SLOW.replace(b"%d" % len(BODY), b"%d" % (2 * len(half)))
        await slow.send_all(addressed(running, head) + half)
        await trio.testing.wait_all_tasks_blocked(0.05)
        async with await connect(running) as stream:
            assert (await _ask(running, stream)).startswith(b"HTTP/1.1 200")
        answer = await _ask(running, slow, half)
        assert answer.startswith(b"HTTP/1.1 413")
        assert (await _ask(running, slow)).startswith(b"HTTP/1.1 200"), "it may go on"


async def test_body_that_does_not_come_is_answered_408(tmp_path: Path, door: Door) -> None:
    async with (
        serving(tmp_path, bounds=Bounds(body_s=0.1), door=door) as running,
        await connect(running) as slow,
    ):
        answer = await _ask(running, slow, SLOW + BODY[:10])
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"BODY_TIMEOUT"' in answer
        with trio.fail_after(20):
            assert await slow.receive_some() == b"", "what else comes is no new request"


async def test_full_node_refuses_commands_unread_and_hears_operators(
    tmp_path: Path, door: Door
) -> None:
    limits = Limits(unconfirmed_max=1)
    async with (
        serving(tmp_path, limits, door=door) as running,
        httpx2.AsyncClient(timeout=30) as client,
    ):
        answers = []

        async def open_merchant(body: dict[str, str]) -> None:
            answers.append(await client.post(f"{running.address}/v1/commands", json=[body]))

        async with trio.open_nursery() as nursery, _nothing_is_answered(running):
            for body in _merchant_on_each_shard():
                nursery.start_soon(open_merchant, body)
            await trio.testing.wait_all_tasks_blocked(0.05)
            path = f"{running.address}/v1/commands"
            answer = await client.post(path, content=b"this is not read", headers=JSON)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["code"] == "NODE_BUSY"
            if door == "main":
                path = f"{running.address}/v1/day-cuts"
                async with httpx2.AsyncClient() as operator:
                    answer = await operator.post(path, content=b"this is read", headers=JSON)
                assert answer.json()["code"] == "MALFORMED_JSON"
        assert {answer.status_code for answer in answers} == {200}
