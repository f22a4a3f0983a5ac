"""What a client is told that does not keep to HTTP, to the node's names, or to its time."""

import re
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing

from gateway.errors import CODES, RequestCode
from gateway.listener.bounds import Bounds
from gateway.server import Serving
from tests.gateway.serving import (
    GOOD,
    OPEN_MERCHANT,
    Door,
    RawAnswer,
    addressed,
    connect,
    host_of,
    read_answer,
    serving,
    until_closed,
)

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

POST = b"POST /v1/commands HTTP/1.1\r\nHost: x\r\n"
LOOKUP = b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def _refusal(running: Serving, raw: bytes) -> RawAnswer:
    """Send something, return what it is answered, and see the connection closed."""
    async with await connect(running) as stream:
        await stream.send_all(addressed(running, raw))
        answer = await read_answer(stream)
        assert answer.headers["connection"] == "close"
        assert answer.status == CODES[RequestCode(answer.code)].status
        assert await until_closed(stream) == b""
    return answer


async def test_fault_of_framing_is_a_problem_and_the_end(tmp_path: Path, door: Door) -> None:
    """One of each kind; `test_framing.py` has them all."""
    async with serving(tmp_path, door=door) as running:
        for raw, code in [
            (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n[]", 400),
            (b"GET /v1/node HTTP/1.1\nHost: x\n\n", 400),
            (b"GET /v1/node HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400),
            (b"GET /v1/node HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
            (b"GET /v1/node HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n", 400),
            (b"GET /v1/node\r\n", 400),
            (b"GET /v1/node HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n", 431),
            (b"GET /v1/node HTTP/1.1\r\nHost: x\r\n" + b"A: a\r\n" * 101 + b"\r\n", 431),
            (b"GET /" + b"a" * 10_000, 414),
            (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (CHUNKED + b"2\r\n[]\n0\r\n\r\n", 400),
            (CHUNKED + b"2\r\n[]\r\n0\r\nA: " + b"a" * 20_000, 431),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        ]:
            assert (await _refusal(running, raw)).status == code, raw[-60:]


async def test_old_client_is_answered_once(tmp_path: Path, door: Door) -> None:
    """HTTP/1.0: it has to name the node like others, and its connection is closed."""
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        old = b" HTTP/1.0\r\nConnection: keep-alive\r\n"
        await stream.send_all(addressed(running, GOOD.replace(b" HTTP/1.1\r\n", old)))
        assert (await read_answer(stream)).status == 200
        assert await until_closed(stream) == b""
        assert (await _refusal(running, b"GET /v1/node HTTP/1.0\r\n\r\n")).status == 400


async def test_what_came_before_a_fault_is_answered(tmp_path: Path, door: Door) -> None:
    """The fault comes at once with it, and is told after its answer."""
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        await stream.send_all(addressed(running, GOOD * 2) + b"BAD\r\n\r\n" + GOOD)
        received = await until_closed(stream)
        assert re.findall(rb"HTTP/1.1 ([0-9]+) \r", received) == [b"200", b"200", b"400"]


async def test_refused_client_reads_its_refusal_though_it_sends_on(
    tmp_path: Path, door: Door
) -> None:
    """Unread bytes would reset the connection, and the answer would be lost on the way."""
    async with serving(tmp_path, door=door) as running:
        for _ in range(20):
            async with await connect(running) as stream:
                length = b"Content-Length: 500000\r\n"
                head = b"POST /v1/commands HTTP/1.1\r\nHost: elsewhere\r\n" + length + b"\r\n"
                await stream.send_all(head + b"a" * 500_000)
                assert (await read_answer(stream)).code == "MISDIRECTED_REQUEST"
                assert await stream.receive_some() == b"", "closed, not reset"


async def test_head_is_refused_without_a_body(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        await stream.send_all(b"HEAD / HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        answer = await read_answer(stream, bodiless=True)
        assert (answer.status, int(answer.headers["content-length"]) > 0) == (421, True)
        assert await until_closed(stream) == b""


async def test_fault_behind_head_is_told_with_its_body(tmp_path: Path, door: Door) -> None:
    """It answers no HEAD: a client would wait for the body that its length promises."""
    async with serving(tmp_path, door=door) as running, await connect(running) as stream:
        await stream.send_all(addressed(running, LOOKUP.replace(b"GET", b"HEAD")))
        assert (await read_answer(stream, bodiless=True)).status == 404
        await stream.send_all(b"BAD\r\n\r\n")
        assert (await read_answer(stream)).code == "MALFORMED_REQUEST"
        assert await until_closed(stream) == b""


async def test_empty_lines_do_not_keep_a_connection(tmp_path: Path, door: Door) -> None:
    """RFC 9112, section 2.2 has them ignored; they are no request that it would be kept for."""
    bounds = Bounds(hello_s=0.2, head_s=0.2, keep_alive_s=0.2)
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        await connect(running) as stream,
        trio.open_nursery() as nursery,
    ):

        async def say_nothing() -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    await stream.send_all(b"\r\n")
                    await trio.sleep(0.02)

        nursery.start_soon(say_nothing)
        with trio.fail_after(10):
            assert await until_closed(stream) == b""
        nursery.cancel_scope.cancel()


async def test_client_that_reads_nothing_keeps_no_place_from_others(
    tmp_path: Path, door: Door
) -> None:
    """Its answers wait for it, one after the other, and it may be anybody."""
    bounds = Bounds(requests_max=1, express_requests_max=1)
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        await connect(running) as deaf,
        trio.open_nursery() as nursery,
    ):
        # More answers than sockets hold; at the express door each of them before a command.
        long = LOOKUP.replace(b"/v1/payments/M1/O1", b"/openapi.json")
        ask = long * 200 if door == "main" else (LOOKUP + GOOD) * 10_000
        nursery.start_soon(deaf.send_all, addressed(running, ask))
        await trio.testing.wait_all_tasks_blocked(0.03)
        async with await connect(running) as stream:
            await stream.send_all(addressed(running, GOOD))
            assert (await read_answer(stream)).status == 200
        nursery.cancel_scope.cancel()


async def test_node_answers_to_its_names_alone(tmp_path: Path, door: Door) -> None:
    """At the express door they have its own port, which is why that stands for 8443 here."""
    names = ("Bank.Example", "bank.example:8443", "[::1]:80")
    async with serving(tmp_path, names=names, door=door) as running:
        port = b"8443" if door == "main" else host_of(running).rpartition(b":")[2]
        own = b"/v1/payments/M1/O1"
        at_main = door == "main"
        for host, target, status in [
            (b"bank.example:8443", own, 404),
            (b"BANK.example:8443", own + b"?", 404),
            (b"bank.example", own, 404 if at_main else 421),
            (b"BANK.example:80", own, 404 if at_main else 421),
            (b"[::1]", own, 404 if at_main else 421),
            (b"[::1]:8443", own, 421 if at_main else 404),
            (b"127.0.0.1:8443", own, 421),
            (b"bank.example:443", own, 421),
            (b"bank.example.org:8443", own, 421),
            (b"a.bank.example:8443", own, 421),
            (b"bank.example.:8443", own, 400),
            (b"bank.example:", own, 400),
            (b"bank.example:65536", own, 400),
            (b"bank.example:8443, bank.example:8443", own, 400),
            (b"user@bank.example:8443", own, 400),
            (b"bank.example:8443/", own, 400),
            (b"b\xe4nk.example:8443", own, 400),
            (b"", own, 400),
            # RFC 9112, section 3.2.2: the target's own host, which has to be Host's.
            (b"bank.example:8443", b"http://bank.example:8443" + own, 404),
            (b"bank.example:8443", b"HTTP://BANK.example:8443" + own, 404),
            (b"bank.example:8443", b"http://bank.example:8443", 404 if at_main else 421),
            (b"bank.example:8443", b"http://bank.example" + own, 400),
            (b"elsewhere", b"http://bank.example:8443" + own, 400),
            (b"elsewhere", b"http://elsewhere" + own, 421),
            (b"bank.example:8443", b"https://bank.example:8443" + own, 421),
            (b"bank.example:8443", b"ftp://bank.example:8443" + own, 400),
            (b"bank.example:8443", b"http://user@bank.example:8443" + own, 400),
            # Other forms; what is in a path is not for the listener.
            (b"bank.example:8443", b"bank.example:80", 400),
            (b"bank.example:8443", b"*", 400),
            (b"bank.example:8443", own + b"#part", 400),
            (b"bank.example:8443", b"/v1/payments/M1/%zz", 400),
            (b"bank.example:8443", b"/v1/payments/M1/{one}", 422),
            (b"bank.example:8443", b"//bank.example" + own, 404 if at_main else 421),
        ]:
            async with await connect(running) as stream:
                request = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
                await stream.send_all(request.replace(b"8443", port))
                answer = await read_answer(stream)
                assert answer.status == status, (host, target)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_loopback_is_localhost_too(tmp_path: Path, door: Door) -> None:
    async with serving(tmp_path, door=door) as running, httpx2.AsyncClient() as client:
        port = host_of(running).rpartition(b":")[2].decode()
        path = f"{running.address}/v1/commands"
        for host in (f"localhost:{port}", f"127.0.0.1:{port}"):
            answer = await client.post(path, json=[], headers={"host": host})
            assert answer.status_code == 200
        answer = await client.post(path, json=[], headers={"host": "localhost"})
        assert (answer.status_code, answer.json()["code"]) == (421, "MISDIRECTED_REQUEST")


# Time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [Bounds(hello_s=0.05), Bounds(keep_alive_s=0.05)])
async def test_silent_connection_is_closed_without_a_word(
    bounds: Bounds, tmp_path: Path, door: Door
) -> None:
    """Whether it never said anything, or has nothing more to say."""
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        await connect(running) as stream,
    ):
        if bounds.hello_s > 1:
            await stream.send_all(addressed(running, GOOD))
            await read_answer(stream)
        assert await until_closed(stream) == b""


@pytest.mark.parametrize("before", [b"", GOOD])
async def test_header_that_is_long_in_coming_is_answered_408(
    before: bytes, tmp_path: Path, door: Door
) -> None:
    """However steadily it comes: what counts is from its first byte to its last."""
    bounds = Bounds(head_s=0.2)
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        await connect(running) as stream,
    ):
        if before:
            await stream.send_all(addressed(running, before))
            await read_answer(stream)
        begun = trio.current_time()
        answers = []

        async def listen() -> None:
            answers.append(await read_answer(stream))
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for byte in GOOD + b"A: " + b"a" * 1_000:
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.02)
        assert answers[0].code == "HEADERS_TIMEOUT"
        assert 0.15 < trio.current_time() - begun < 5
        assert await until_closed(stream) == b""


@pytest.mark.parametrize("behind", [b"", b"\r\n"], ids=["nothing", "an empty line"])
async def test_request_under_way_is_not_timed_by_its_connection(
    behind: bytes, tmp_path: Path, door: Door
) -> None:
    """The time-outs are for what is to come in, not for what is being answered."""
    bounds = Bounds(hello_s=0.05, head_s=0.05, keep_alive_s=0.05)
    async with (
        serving(tmp_path, bounds=bounds, door=door) as running,
        await connect(running) as stream,
    ):
        for shard in running.node.shards:
            shard.hold_commits()
        await stream.send_all(addressed(running, OPEN_MERCHANT))
        for byte in behind:  # old clients' (RFC 9112, section 2.2), in two segments
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(bytes([byte]))
        await trio.sleep(0.3)
        for shard in running.node.shards:
            shard.let_commits()
        assert (await read_answer(stream)).status == 200


async def test_answer_under_way_comes_before_a_refusal_of_what_follows(
    tmp_path: Path, door: Door
) -> None:
    """A second header that is late, or has a fault, is no answer to the first request."""
    async with serving(tmp_path, bounds=Bounds(head_s=0.05), door=door) as running:
        for more, code in [(b"GET ", "HEADERS_TIMEOUT"), (b"GET /\r\n", "MALFORMED_REQUEST")]:
            async with await connect(running) as stream:
                for shard in running.node.shards:
                    shard.hold_commits()
                await stream.send_all(addressed(running, OPEN_MERCHANT))
                await trio.testing.wait_all_tasks_blocked(0.02)
                await stream.send_all(more)
                await trio.sleep(0.2)
                for shard in running.node.shards:
                    shard.let_commits()
                with trio.fail_after(20):
                    received = await until_closed(stream)
                first, _, second = received[1:].partition(b"HTTP/1.1 ")
                assert first.startswith(b"TTP/1.1 200"), received
                assert code.encode() in second


async def test_client_that_sends_on_is_told_that_its_time_is_over(
    tmp_path: Path, door: Door
) -> None:
    """It sends steadily, and more than it may; what it is told is not lost on the way."""
    async with serving(tmp_path, bounds=Bounds(body_s=0.1), door=door) as running:
        for _ in range(5):
            async with await connect(running) as stream, trio.open_nursery() as nursery:
                head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
                await stream.send_all(addressed(running, head))

                async def send_on(stream: trio.SocketStream = stream) -> None:
                    with suppress(trio.BrokenResourceError):
                        for _ in range(1_000):
                            await stream.send_all(b" " * 100)
                            await trio.sleep(0.001)

                nursery.start_soon(send_on)
                assert (await read_answer(stream)).code == "BODY_TIMEOUT"
                assert await stream.receive_some() == b"", "closed, not reset"
                nursery.cancel_scope.cancel()


async def test_client_that_does_not_read_is_hung_up_on(tmp_path: Path, door: Door) -> None:
    """It asks for ever, takes no answer, and is gone once one has waited too long for it."""
    async with serving(tmp_path, bounds=Bounds(send_s=0.2), door=door) as running:
        async with await connect(running) as stream:
            ask = addressed(running, b"GET /v1/payments/M1/O1 HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
            with trio.fail_after(20), suppress(trio.BrokenResourceError):
                while True:
                    await stream.send_all(ask)
        async with httpx2.AsyncClient() as client:
            assert (await client.post(f"{running.address}/v1/commands", json=[])).status_code == 200
