"""Streams over real sockets: commands and answers, events and where they go on."""

from pathlib import Path

import msgspec
import trio
from wsproto.events import CloseConnection

from gateway.answer import encode
from gateway.stream.messages import Reply, answers_message
from tests.gateway.certificates import Signer
from tests.gateway.desk_client import payment
from tests.gateway.serving import Door, connect_tls, host_of
from tests.gateway.stream.stream_client import (
    StreamClient,
    shake_hands,
    shop,
    streaming,
    upgrade_request,
)


async def test_errand_is_answered_under_its_id(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, streaming(running) as client:
        answer = await client.errand("my own, <1>", payment("O1"))
        assert (answer["status"], answer["body"]["state"]) == (201, "SUCCEEDED")
        assert "replayed" not in answer
        again = await client.errand("2", payment("O1"))
        assert again["replayed"] is True
        assert again["body"] == answer["body"]


async def test_array_is_answered_item_by_item_the_bad_ones_too(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, streaming(running) as client:
        await client.send(
            [
                {"id": "a", "do": payment("O1")},
                {"id": "b", "do": {"command": "create_payment"}},
                {"id": "c", "do": {**payment("O2"), "amount_minor": "1"}},
                {"id": "d"},
                {"id": "e", "do": payment("O1"), "more": 1},
                {"id": "f", "do": payment("O3")},
            ]
        )
        found = [(await client.answer(id_))["status"] for id_ in "abcdef"]
        assert found == [201, 422, 422, 422, 422, 201]


async def test_events_flow_from_where_they_are_wanted(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running:
        async with streaming(running) as client:
            for number in range(40):
                await client.errand(f"{number}", payment(f"O{number}"))
            assert client.events == []
        async with streaming(running) as client:
            await client.send({"resume": 30})
            await client.until(lambda: len(client.events) == 10)
            await client.errand("more", payment("more"))
            await client.until(lambda: len(client.events) == 11)
            assert client.sequences == list(range(31, 42))
            assert client.events[-1]["number"] == "more"


async def test_what_is_no_message_closes_with_4400(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running:
        for text, code in {
            "": "MALFORMED_JSON",
            "{": "MALFORMED_JSON",
            "[]": "INVALID_REQUEST",
            "1": "INVALID_REQUEST",
            '{"do":{}}': "INVALID_REQUEST",
            '{"id":"a","id":"a","do":{}}': "DUPLICATE_MEMBER",
            '{"id":"","do":{}}': "INVALID_REQUEST",
            '{"id":"\\u00e9","do":{}}': "INVALID_REQUEST",
            '{"id":1,"do":{}}': "INVALID_REQUEST",
            '{"resume":-1}': "INVALID_REQUEST",
            '{"resume":1.0}': "NUMBER_NOT_INTEGER",
            '{"resume":0,"resume":0}': "DUPLICATE_MEMBER",
            "[" * 20 + "]" * 20: "NESTED_TOO_DEEPLY",
            str([{"id": "a"}] * 1_001).replace("'", '"'): "ARRAY_TOO_LONG",
        }.items():
            async with streaming(running) as client:
                await client.send(text)
                closed, reason = await client.closed()
                assert (closed, reason.partition(":")[0]) == (4400, code), text[:40]
                assert client.answers == {}


def test_answers_are_parted_where_a_message_would_be_too_long() -> None:
    replies = [encode(Reply(str(n), 201, {"text": "x" * 300_000})) for n in range(9)]
    found: list[str] = []
    while len(found) < len(replies):
        text, count = answers_message(replies[len(found) :])
        answers = msgspec.json.decode(text)["answers"]
        assert len(text) <= 1 << 20
        assert len(answers) == count == 3
        found += [each["id"] for each in answers]
    assert found == [str(n) for n in range(9)]


async def _pay(client: StreamClient, first: int, count: int) -> None:
    await client.send(
        [{"id": f"{n}", "do": payment(f"O{n}", 1)} for n in range(first, first + count)]
    )


async def test_frames_are_pipelined_beyond_the_window(tmp_path: Path, door: Door) -> None:
    async with shop(tmp_path, door=door) as running, streaming(running) as client:
        async with trio.open_nursery() as nursery:

            async def send_all() -> None:
                for first in range(0, 4_000, 500):
                    await _pay(client, first, 500)

            nursery.start_soon(send_all)
            await client.until(lambda: len(client.answers) == 4_000)
        busy = sum(each["status"] == 429 for each in client.answers.values())
        paid = sum(each["status"] == 201 for each in client.answers.values())
        assert busy + paid == 4_000
        assert paid >= 1_000


async def test_stream_goes_through_tls(tmp_path: Path, door: Door) -> None:
    """Both ways at once: TLS has one state for the two."""
    signer = Signer(tmp_path)
    async with shop(tmp_path / "bank", tls=signer.server(), door=door) as running:
        stream = await connect_tls(running, signer.client())
        request = upgrade_request(host_of(running), "/v1/stream?merchant_no=M1")
        head, rest = await shake_hands(stream, request)
        assert head.status == 101
        client = StreamClient(stream, head, rest)
        await client.send({"resume": 0})

        async def pay_all() -> None:
            for first in range(0, 600, 200):
                await _pay(client, first, 200)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay_all)
            await client.until(lambda: len(client.answers) == len(client.events) == 600)
        await client.send_event(CloseConnection(1000))
        assert (await client.closed())[0] == 1000
        await trio.aclose_forcefully(stream)
