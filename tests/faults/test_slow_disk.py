"""A disk that is slow, or does not answer at all: time passes, and nothing else goes wrong."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from engine.address import shard_of
from gateway.control import socket_name
from gateway.exits import FAIL_STOP, OK
from tests.crash.customers import ACCOUNTS, MERCHANTS
from tests.crash.judge import judging
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node
from tests.faults.disk import HANGS_S, Disk, Kind
from tests.faults.payers import Payers, payment

SLOW_S = 0.3
PAYERS = 12
HUNG = 1
"""The shard whose disk hangs."""


async def pay(
    client: httpx2.AsyncClient, address: str, payer: int, number: int, timeout_s: float = 10
) -> tuple[int, dict[str, Any]]:
    answer = await client.post(
        f"{address}/v1/payments",
        json=payment(payer, number),
        headers={"Request-Timeout-S": f"{timeout_s:f}"},
    )
    return answer.status_code, answer.json()


@pytest.mark.parametrize("shards", [pytest.param(1, marks=pytest.mark.long), 3])
async def test_slow_sync_delays_and_no_deadline_is_answered_with_a_guess(
    tmp_path: Path, shards: int
) -> None:
    """Who waits long enough is answered; who does not is told so, and finds the outcome by its
    number: the payment that had begun succeeds, the one that had not never happened."""
    data = tmp_path / "bank"
    await make_store(data, shards)
    disk = Disk(data, tmp_path / "disk")
    async with (
        node(data, command=disk.command()) as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
    ):
        payers = Payers(running.address, PAYERS)
        await payers.open()
        disk.delay(Kind.SYNC, SLOW_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(payers.pay)
            begun = trio.current_time()
            status, _ = await pay(client, running.address, 101, 1)
            assert status == 201
            assert trio.current_time() - begun >= SLOW_S
            status, body = await pay(client, running.address, 101, 4, 1e-6)
            assert (status, body["code"]) == (504, "TIMEOUT")
            began = 4
            while body["code"] == "TIMEOUT":  # again only where the whole machine is slow
                began += 3
                status, body = await pay(client, running.address, 101, began, SLOW_S / 3)
                assert status == 504
            assert body["code"] == "OUTCOME_UNKNOWN"
            never, unknown = payment(101, 4), payment(101, began)
            path = f"{running.address}/v1/payments/{unknown['merchant_no']}/{unknown['order_no']}"
            with trio.fail_after(LIMIT_S):
                while (answer := await client.get(path)).json().get("state") != "SUCCEEDED":
                    assert answer.status_code == 404 or answer.json()["state"] == "PROCESSING"
            # It is the first that succeeded, not another one.
            assert (await pay(client, running.address, 101, began))[1] == answer.json()
            path = f"{running.address}/v1/payments/{never['merchant_no']}/{never['order_no']}"
            assert (await client.get(path)).status_code == 404
            await payers.until(acknowledged=PAYERS)
            disk.heal()
            begun = len(payers.acknowledged())
            await payers.until(acknowledged=begun + 5 * PAYERS)
            assert await running.end() == OK
    with judging(tmp_path / "judge") as judge:
        assert judge.lost(data, payers.write(tmp_path / "acknowledged")) == ""


def one_to_each_merchant(first: int) -> Iterator[tuple[int, int]]:
    """Yield (payer, number) of payments from every account to every merchant."""
    for payer in range(first, first + len(ACCOUNTS)):
        for number in range(1, 3 * len(MERCHANTS), 3):
            yield payer, number


def needs_hung_shard(payer: int, number: int) -> bool:
    asked = payment(payer, number)
    actors = (f"account/{asked['payer']}", f"merchant/{asked['merchant_no']}")
    return HUNG in {shard_of(actor, 3) for actor in actors}


async def wait_for_hang(disk: Disk, payers: Payers) -> None:
    disk.delay(Kind.SYNC, HANGS_S, where=f"shard-{HUNG}/")
    await payers.until_all_wait()
    assert disk.calls(Kind.SYNC)[0] == 1, "the shard began another commit beside one that hangs"


async def read_everything(client: httpx2.AsyncClient, running: NodeProcess) -> None:
    for kind, numbers in (("accounts", ACCOUNTS), ("merchants", MERCHANTS)):
        for number in numbers:
            answer = await client.get(f"{running.address}/v1/{kind}/{number}")
            assert answer.status_code == 200


async def test_shard_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    """Everything can be read; who pays between actors of other shards is answered at once; who
    needs the one that hangs is told that the outcome is unknown, and is answered when it goes on.
    Whoever wants a view of the whole waits, and does not hold the others up either."""
    data = tmp_path / "bank"
    await make_store(data, 3)
    disk = Disk(data, tmp_path / "disk")
    async with (
        node(data, command=disk.command()) as running,
        httpx2.AsyncClient(timeout=LIMIT_S) as client,
    ):
        payers = Payers(running.address, PAYERS)
        await payers.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(payers.pay)
            await payers.until(acknowledged=PAYERS)
            await wait_for_hang(disk, payers)
            await read_everything(client, running)
            for payer, number in one_to_each_merchant(200):
                needs = needs_hung_shard(payer, number)
                wait_s = 0.1 if needs else LIMIT_S
                status, body = await pay(client, running.address, payer, number, wait_s)
                # TIMEOUT is the truth where a slow machine had not begun by then.
                told = {"OUTCOME_UNKNOWN", "TIMEOUT"} if needs else {None}
                assert (status, body.get("code")) in {
                    (504 if needs else 201, code) for code in told
                }
            with socket_name(data) as name:
                operator = await trio.open_unix_socket(name)
            await operator.send_all(b'{"do": "verify"}\n')
            for payer, number in one_to_each_merchant(300):
                if not needs_hung_shard(payer, number):
                    status, _ = await pay(client, running.address, payer, number)
                    assert status == 201, "a view of the whole holds up the others"
            disk.heal()
            with trio.fail_after(LIMIT_S):
                answer = await operator.receive_some()
            assert b'"ok":true' in answer or b"no view of the store" in answer
            await operator.aclose()
            await payers.until(acknowledged=len(payers.acknowledged()) + 5 * PAYERS)
            assert await running.end() == OK
    with judging(tmp_path / "judge") as judge:
        assert judge.lost(data, payers.write(tmp_path / "acknowledged")) == ""


@asynccontextmanager
async def hung(place: Path) -> AsyncIterator[tuple[NodeProcess, Disk, Payers]]:
    """Let payers pay at a node until one of its three disks hangs and they all wait; in the end
    the node is gone, everybody has heard of it, and nothing acknowledged is lost."""
    data = place / "bank"
    await make_store(data, 3)
    disk = Disk(data, place / "disk")
    async with node(data, command=disk.command()) as running:
        payers = Payers(running.address, PAYERS)
        await payers.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(payers.pay)
            await payers.until(acknowledged=PAYERS)
            await wait_for_hang(disk, payers)
            yield running, disk, payers
    with judging(place / "judge") as judge:
        assert judge.lost(data, payers.write(place / "acknowledged")) == ""


async def test_told_to_stop_a_node_waits_for_a_disk_that_hangs(tmp_path: Path) -> None:
    """What it had admitted is answered once the disk goes on; it takes nothing new meanwhile."""
    async with hung(tmp_path) as (running, disk, payers):
        before = len(payers.answers)
        running.process.send_signal(signal.SIGTERM)
        await until_it_refuses(running)
        assert running.process.poll() is None
        assert len(payers.answers) == before
        disk.heal()
        with trio.fail_after(LIMIT_S):
            assert await running.process.wait() == OK
    first: dict[int, int] = {}
    for told in payers.answers[before:]:
        first.setdefault(told.payer, told.status)
    assert first == dict.fromkeys(range(PAYERS), 201)


async def test_told_twice_a_node_ends_though_its_disk_hangs(tmp_path: Path) -> None:
    """A thread that is stuck in fsync holds up no end; the next start finds all there was."""
    async with hung(tmp_path) as (running, _, payers):
        running.process.send_signal(signal.SIGTERM)
        await until_it_refuses(running)
        running.process.send_signal(signal.SIGTERM)
        with trio.fail_after(LIMIT_S):
            assert await running.process.wait() == FAIL_STOP
    assert all(told.status in {0, 201, 504} for told in payers.answers)


async def until_it_refuses(running: NodeProcess) -> None:
    """Wait until a node that was told to stop takes no connection any more."""
    host, _, port = running.address.removeprefix("http://").partition(":")
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                stream = await trio.open_tcp_stream(host, int(port))
            except OSError:
                return
            await stream.aclose()
