"""Every event once and in order, whatever becomes of the client, its connection or the node."""

import random
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from engine.fault import FaultCode
from gateway import failstop
from gateway.server import Serving
from tests.e2e.process import make_store, node
from tests.gateway.desk_client import payment
from tests.gateway.serving import Door, reset
from tests.gateway.stream.stream_client import SHOP, Address, StreamClient, shop, streaming

RECONNECTS = 100
KILLS = 1


async def _pay_on_and_on(running: Serving, paid: list[str], enough: trio.Event) -> None:
    """Send payments, a few at a time, and note those that are acknowledged."""
    async with streaming(running) as client:
        number = 0
        while not enough.is_set():
            names = [f"O{number + n}" for n in range(8)]
            number += 8
            await client.send([{"id": name, "do": payment(name, 1)} for name in names])
            for name in names:
                assert (await client.answer(name))["status"] == 201
            paid += names


async def test_client_that_reconnects_a_hundred_times_sees_every_event_once(
    tmp_path: Path, door: Door
) -> None:
    """Under load, at random points, in every way that there is to leave."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    paid: list[str] = []
    seen: list[dict[str, Any]] = []
    enough = trio.Event()
    async with shop(tmp_path, door=door) as running:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pay_on_and_on, running, paid, enough)
            for _ in range(RECONNECTS):
                async with streaming(running) as client:
                    await client.send({"resume": len(seen)})
                    wanted = draw.randrange(12)
                    await client.until(lambda c=client, w=wanted: len(c.events) >= w)  # type: ignore[misc]
                    seen += client.events
                    if draw.random() < 0.3:
                        assert isinstance(client.stream, trio.SocketStream)
                        await reset(client.stream)
            enough.set()
        async with streaming(running) as client:
            await client.send({"resume": len(seen)})
            await client.until(lambda: len(seen) + len(client.events) >= len(paid))
            seen += client.events
    assert [event["sequence"] for event in seen] == list(range(1, len(paid) + 1))
    assert sorted(event["number"] for event in seen) == sorted(paid)


async def test_node_that_is_killed_leaves_no_gap_and_repeats_nothing(tmp_path: Path) -> None:
    """Events go on where they were, and what was acknowledged is among them."""
    data = tmp_path / "bank"
    await make_store(data)
    seen: list[dict[str, Any]] = []
    answered: set[str] = set()
    for round_ in range(KILLS):
        async with node(data) as process:
            async with streaming(Address(process.address), "/v1/stream") as client:
                await client.send([{"id": f"{n}", "do": each} for n, each in enumerate(SHOP)])
                await client.answer(f"{len(SHOP) - 1}")
            async with (
                streaming(Address(process.address)) as payer,
                streaming(Address(process.address)) as reader,
                trio.open_nursery() as nursery,
            ):
                await reader.send({"resume": len(seen)})
                nursery.start_soon(_pay_until_killed, payer, f"{round_}")
                await reader.until(lambda r=reader: len(r.events) >= 100)  # type: ignore[misc]
                process.process.kill()
                await reader.closed()
            assert reader.close == (1006, "")
            seen += reader.events
            answered |= {id_ for id_, each in payer.answers.items() if each["status"] == 201}
    async with node(data) as process, streaming(Address(process.address)) as client:
        await client.send({"resume": len(seen)})
        await client.errand("last", payment("last", 1))
        await client.until(lambda: client.events and client.events[-1]["number"] == "last")
        seen += client.events
    assert [event["sequence"] for event in seen] == list(range(1, len(seen) + 1))
    numbers = [event["number"] for event in seen]
    assert len(set(numbers)) == len(numbers)
    assert answered <= set(numbers)


async def _pay_until_killed(client: StreamClient, name: str) -> None:
    number = 0
    while client.close is None:
        names = [f"{name}-{number + n}" for n in range(20)]
        number += 20
        try:
            await client.send([{"id": each, "do": payment(each, 1)} for each in names])
            await client.until(lambda name=names[-1]: name in client.answers)  # type: ignore[misc]
        except trio.BrokenResourceError:
            return


async def test_node_that_stops_answers_what_it_has_taken_and_says_so(
    tmp_path: Path, door: Door
) -> None:
    async with shop(tmp_path, door=door) as running:
        async with streaming(running) as client, streaming(running) as idle:
            await client.send([{"id": f"{n}", "do": payment(f"O{n}", 1)} for n in range(300)])
            await client.until(lambda: client.answers)
            running.stop()
            assert await client.closed() == (1001, "the node stops")
            assert await idle.closed() == (1001, "the node stops")
        assert [each["status"] for each in client.answers.values()] == [201] * 300


@pytest.mark.one_shard  # whose commits are held
async def test_node_that_fails_says_that_the_outcome_is_unknown(
    tmp_path: Path, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = trio.Event()
    monkeypatch.setattr(failstop, "_exit", ended.set)
    monkeypatch.setattr(failstop, "end_soon", lambda: None)
    with trio.CancelScope() as scope:
        async with shop(tmp_path, door=door) as running, streaming(running) as client:
            (shard,) = running.node.shards
            shard.hold_commits()
            await shard.commits_held()
            await client.send([{"id": f"{n}", "do": payment(f"O{n}", 1)} for n in range(3)])
            with trio.fail_after(20):
                while shard.admission.unconfirmed < 3:
                    await trio.testing.wait_all_tasks_blocked(0.001)
            running.node.fail(OSError("the disk is gone"))
            assert (await client.closed())[0] == 1001
            codes = [each["body"]["code"] for each in client.answers.values()]
            assert codes == [FaultCode.OUTCOME_UNKNOWN] * 3
            await ended.wait()
            scope.cancel()
