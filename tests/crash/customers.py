"""Customers in a process of their own: they pay, hold, capture, refund and transfer, all at once.

Every answer becomes a line in a log before the next command of the same customer is sent: the
time at which it came (CLOCK_MONOTONIC, the same for all processes of a machine) and the views that
were acknowledged. Payers, merchants and receivers are spread over all shards. They stop when
they are told to, and each of them when the node stops and at an outcome that is not known.

    python tests/crash/customers.py LOG ADDRESS CUSTOMERS
"""

import json
import sys
import time
from itertools import count
from typing import Any, Final, TextIO

import httpx2
import trio

# Of three shards each has two of the accounts, and one or two of the merchants.
ACCOUNTS: Final = ("A0", "A2", "A20", "A1", "A6", "A21")
MERCHANTS: Final = ("M0", "M1", "M10", "M4", "M11")
FUNDS_MINOR: Final = 10**9

OPENING: Final[list[dict[str, Any]]] = [
    *({"command": "open_merchant", "merchant_no": merchant, "currency": "USD", "fee_bps": 100}
      for merchant in MERCHANTS),
    *({"command": "open_account", "account_no": account, "currency": "USD"}
      for account in ACCOUNTS),
    *({"command": "fund_account", "account_no": account, "funding_no": "F1",
       "amount_minor": FUNDS_MINOR, "currency": "USD"}
      for account in ACCOUNTS),
    *({"command": "sign_agreement", "account_no": account, "agreement_no": merchant,
       "merchant_no": merchant}
      for account in ACCOUNTS for merchant in MERCHANTS),
]  # fmt: skip


def commands(customer: int, number: int) -> list[dict[str, Any]]:
    """Return what a customer sends next, in one request: one payment, or five commands."""
    name = f"{customer}-{number}"
    payer = ACCOUNTS[customer % len(ACCOUNTS)]
    merchant = MERCHANTS[(customer + number) % len(MERCHANTS)]
    to = ACCOUNTS[(customer + 1 + number % (len(ACCOUNTS) - 1)) % len(ACCOUNTS)]
    of_merchant = {"merchant_no": merchant, "payer": payer, "currency": "USD"}
    payment = {"command": "create_payment", "order_no": name, "amount_minor": 700, **of_merchant}
    if number % 3:
        return [payment]
    return [
        payment,
        {"command": "refund_payment", "merchant_no": merchant, "refund_no": name,
         "order_no": name, "amount_minor": 300},
        {"command": "create_authorization", "hold_no": name, "amount_minor": 5_000, **of_merchant},
        {"command": "capture_authorization", "merchant_no": merchant, "hold_no": name,
         "capture_no": name, "amount_minor": 1_100, "final": True},
        {"command": "create_transfer", "account_no": payer, "transfer_no": name, "to": to,
         "amount_minor": 90, "currency": "USD"},
    ]  # fmt: skip


async def live(log: TextIO, address: str, customer: int) -> None:
    """Be one customer until the node is gone."""
    async with httpx2.AsyncClient(timeout=30) as client:
        for number in count():
            body = commands(customer, number)
            try:
                answer = await client.post(f"{address}/v1/commands", json=body)
            except httpx2.TransportError:
                return
            at_ns = time.monotonic_ns()
            items = answer.json() if answer.status_code == 200 else []
            views = [item["body"] for item in items if item["status"] == 201]
            log.write(json.dumps({"at_ns": at_ns, "views": views}) + "\n")
            log.flush()
            print(len(views), flush=True)
            if len(views) < len(body):
                codes = {item["body"].get("code") for item in items} | {answer.status_code}
                assert codes & {"STOPPING", "OUTCOME_UNKNOWN"}, answer.text
                return


async def main(log: str, address: str, customers: int) -> None:
    """Open accounts and merchants, then let all customers loose until the input ends."""
    with open(log, "a", encoding="ascii") as file:  # noqa: ASYNC230, PTH123 -- before any work
        async with httpx2.AsyncClient(timeout=30) as client:
            answer = await client.post(f"{address}/v1/commands", json=OPENING)
            assert {each["status"] for each in answer.json()} == {201}
        async with trio.open_nursery() as nursery:
            for customer in range(customers):
                nursery.start_soon(live, file, address, customer)
            async with trio.lowlevel.FdStream(0) as stream:
                async for _ in stream:
                    pass
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
