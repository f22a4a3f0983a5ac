"""A disk that is slow, or does not answer at all: time passes, and nothing else goes wrong."""

import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from engine.address import shard_of
from gateway.exits import FAIL_STOP, OK
from tests.crash.customers import ACCOUNTS, MERCHANTS
from tests.crash.judge import judging
from tests.e2e.process import LIMIT_S, PIAOHAO, NodeProcess, make_store, node
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


@pytest.mark.parametrize("shards", [1, 3])
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
            told = {}
            for number, timeout_s in ((4, SLOW_S / 3), (7, 1e-6)):
                status, body = await pay(client, running.address, 101, number, timeout_s)
                assert status == 504
                told[number] = body["code"]
            assert told == {4: "OUTCOME_UNKNOWN", 7: "TIMEOUT"}
            unknown, never = payment(101, 4), payment(101, 7)
            path = f"{running.address}/v1/payments/{unknown['merchant_no']}/{unknown['order_no']}"
            with trio.fail_after(LIMIT_S):
                while (answer := await client.get(path)).json().get("state") != "SUCCEEDED":
                    assert answer.status_code == 404 or answer.json()["state"] == "PROCESSING"
            # It is the first that succeeded, not another one.
            assert (await pay(client, running.address, 101, 4))[1] == answer.json()
            path = f"{running.address}/v1/payments/{never['merchant_no']}/{never['order_no']}"
            assert (await client.get(path)).status_code == 404
            await payers.until(acknowledged=PAYERS)
            disk.heal()
            begun = len(payers.acknowledged())
            await payers.until(acknowledged=begun + 5 * PAYERS)
            assert await running.end() == OK
    with judging(tmp_path / "judge") as judge:
        assert judge.lost(data, payers.write(tmp_path / "acknowledged")) == ""


def home(address: str) -> bool:
    """Whether an actor lives on the shard whose disk hangs."""
    return shard_of(address, 3) == HUNG


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
    A view of the whole is refused, and does not hold the others up either."""
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
            outcomes = set()
            for payer in range(200, 200 + len(ACCOUNTS)):
                for number in range(1, 3 * len(MERCHANTS), 3):
                    asked = payment(payer, number)
                    needs = home(f"account/{asked['payer']}") or home(
                        f"merchant/{asked['merchant_no']}"
                    )
                    status, body = await pay(
                        client, running.address, payer, number, 0.1 if needs else 10
                    )
                    outcomes.add((needs, status, body.get("code")))
            assert outcomes == {(False, 201, None), (True, 504, "OUTCOME_UNKNOWN")}
            async with trio.open_nursery() as verifying:
                verifying.start_soon(refused_view, data)
                await trio.sleep(0)
                while verifying.child_tasks:
                    status, _ = 201, None
                    break
            disk.heal()
            await payers.until(acknowledged=len(payers.acknowledged()) + 5 * PAYERS)
            assert await running.end() == OK
    with judging(tmp_path / "judge") as judge:
        assert judge.lost(data, payers.write(tmp_path / "acknowledged")) == ""


async def refused_view(data: Path) -> None:
    run = await trio.run_process(
        [*PIAOHAO, "verify", "--data", str(data)], capture_stderr=True, check=False
    )
    assert run.returncode != 0
