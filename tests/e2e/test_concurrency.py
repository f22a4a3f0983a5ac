"""Many at once on the same money, over real sockets: refunds never exceed, payments never overdraw.

Half of the commands come in arrays, half one by one, from connections of their own.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import trio

from gateway.operations import Verify
from gateway.operator import perform
from tests.e2e.process import LIMIT_S, make_store, node
from tests.shards import SHARDS

OPENING = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD"},
    {"command": "open_merchant", "merchant_no": "M2", "currency": "USD"},
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": 1_000,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M2", "merchant_no": "M2"},
]  # fmt: skip


async def post(address: str, path: str, body: Any) -> Any:
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        return (await client.post(f"{address}{path}", json=body)).json()


async def at_once(
    address: str, path: str, bodies: list[dict[str, Any]], command: str
) -> Counter[str]:
    """Send all bodies at once, half of them in arrays; returns how often which outcome came."""
    outcomes: Counter[str] = Counter()

    async def single(body: dict[str, Any]) -> None:
        answer = await post(address, path, body)
        outcomes[answer.get("code") or answer["state"]] += 1

    async def several(part: list[dict[str, Any]]) -> None:
        items = [{"command": command, **body} for body in part]
        for item in await post(address, "/v1/commands", items):
            outcomes[item["body"].get("code") or item["body"]["state"]] += 1

    half = len(bodies) // 2
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for body in bodies[:half]:
                nursery.start_soon(single, body)
            for start in range(half, len(bodies), 10):
                nursery.start_soon(several, bodies[start : start + 10])
    return outcomes


async def test_concurrent_payments_and_refunds_stay_within_what_there_is(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running:
        address = running.address
        opened = await post(address, "/v1/commands", OPENING)
        assert all(item["status"] < 300 for item in opened), opened

        payments = [
            {"merchant_no": f"M{1 + n % 2}", "order_no": f"O{n}", "payer": "A1",
             "amount_minor": 70, "currency": "USD"}
            for n in range(60)
        ]  # fmt: skip
        outcomes = await at_once(address, "/v1/payments", payments, "create_payment")
        assert outcomes == {"SUCCEEDED": 14, "INSUFFICIENT_FUNDS": 46}  # 14 · 70 = 980

        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            paths = [f"{address}/v1/payments/{p['merchant_no']}/{p['order_no']}" for p in payments]
            views = [(await client.get(path)).json() for path in paths]
        paid = next(view for view in views if view["state"] == "SUCCEEDED")
        merchant_no, order_no = paid["merchant_no"], paid["order_no"]

        refunds = [
            {"merchant_no": merchant_no, "refund_no": f"R{n}", "order_no": order_no,
             "amount_minor": 30}
            for n in range(40)
        ]  # fmt: skip
        outcomes = await at_once(address, "/v1/refunds", refunds, "refund_payment")
        assert outcomes == {"SUCCEEDED": 2, "REFUND_EXCEEDS_REMAINING": 38}

        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            account = (await client.get(f"{address}/v1/accounts/A1")).json()
            payment = (await client.get(f"{address}/v1/payments/{merchant_no}/{order_no}")).json()
        assert payment["refunded_minor"] == 60
        assert account["posted_minor"] == 1_000 - 14 * 70 + 60
        assert await running.end() == 0
    report = perform(tmp_path, Verify())
    assert report["ok"], report["violations"]


async def test_one_number_sent_many_times_at_once_pays_once(tmp_path: Path) -> None:
    await make_store(tmp_path)
    async with node(tmp_path) as running:
        await post(running.address, "/v1/commands", OPENING)
        payment = {
            "merchant_no": "M1",
            "order_no": "O1",
            "payer": "A1",
            "amount_minor": 70,
            "currency": "USD",
        }
        outcomes = await at_once(running.address, "/v1/payments", [payment] * 40, "create_payment")
        # It takes longer across shards, and no more than sixteen wait for the first.
        assert outcomes.keys() <= ({"SUCCEEDED"} if SHARDS == 1 else {"SUCCEEDED", "IN_FLIGHT"})
        assert outcomes["SUCCEEDED"] >= 17
        outcomes = await at_once(running.address, "/v1/payments", [payment] * 16, "create_payment")
        assert outcomes == {"SUCCEEDED": 16}
        async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
            account = (await client.get(f"{running.address}/v1/accounts/A1")).json()
        assert account["posted_minor"] == 930


async def test_refunds_wait_for_payments_that_come_at_once_with_transfers(tmp_path: Path) -> None:
    """Half of what M3 takes is its fee; forty refunds wait for what twenty payments bring."""
    await make_store(tmp_path)
    async with node(tmp_path) as running:
        address = running.address
        paid = {"merchant_no": "M3", "order_no": "O", "payer": "A1", "amount_minor": 400}
        back = {"merchant_no": "M3", "refund_no": "R", "order_no": "O", "amount_minor": 200}
        opened = await post(address, "/v1/commands", [
            *OPENING,
            {"command": "open_account", "account_no": "A2", "currency": "USD"},
            {"command": "open_merchant", "merchant_no": "M3", "currency": "USD", "fee_bps": 5_000},
            {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M3",
             "merchant_no": "M3"},
            {"command": "create_payment", "currency": "USD", **paid},
            {"command": "refund_payment", **back},
        ])  # fmt: skip
        assert all(item["status"] < 300 for item in opened), opened

        refunds = [
            {**back, "refund_no": f"R{n}", "amount_minor": 5, "wait_for_funds": True}
            for n in range(40)
        ]
        outcomes = await at_once(address, "/v1/refunds", refunds, "refund_payment")
        assert outcomes == {"PENDING_FUNDS": 40}

        payments = [
            {**paid, "order_no": f"O{n}", "amount_minor": 20, "currency": "USD"} for n in range(20)
        ]
        transfers = [
            {"account_no": "A1", "transfer_no": f"T{n}", "to": "A2", "amount_minor": 10,
             "currency": "USD"}
            for n in range(20)
        ]  # fmt: skip
        told: list[Counter[str]] = []

        async def run(*asked: Any) -> None:
            told.append(await at_once(address, *asked))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "/v1/payments", payments, "create_payment")
            nursery.start_soon(run, "/v1/transfers", transfers, "create_transfer")
        assert told == [{"SUCCEEDED": 20}, {"SUCCEEDED": 20}]

        listed = f"{address}/v1/refunds?merchant_no=M3&limit=100"
        states: Counter[str] = Counter()
        with trio.fail_after(LIMIT_S):
            async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
                while states != {"SUCCEEDED": 41}:
                    items = (await client.get(listed)).json()["items"]
                    states = Counter(each["state"] for each in items)
                balances = [
                    (await client.get(f"{address}/v1/{path}")).json()["posted_minor"]
                    for path in ("accounts/A1", "accounts/A2", "merchants/M3")
                ]
        assert balances == [1_000 - 400 + 200 + 200 - 400 - 200, 200, 0]
        assert await running.end() == 0
    report = perform(tmp_path, Verify())
    assert report["ok"], report["violations"]
