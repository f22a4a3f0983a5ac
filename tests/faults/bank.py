"""A small store of three shards with something of everything in it, for whoever damages stores.

Accounts, merchants, payments, refunds, holds with their timers, a reversal, a day cut, a merchant's
parked message, messages on their way between shards, and marks of requests. Pages of every kind are
there: branches and leaves, overflow pages and free ones. It is made by the real engine in the
caller's process.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from unittest import mock

import trio

from actors.commands import CreatePayment
from actors.kinds import KINDS, MERCHANT
from actors.messages import PaymentDebited
from engine.clock import DomainClock
from engine.marks import Mark, Marks
from engine.message import Envelope
from engine.node import Node
from gateway.desk import Caller
from storage.folder import Folder
from storage.lmdb_store import LmdbStore
from tests.engine.shards import way_of
from tests.gateway.desk_client import MORNING, SECOND, Client, capture, hold, payment

SHARDS: Final = 3
NUMBERS: Final = (10, 11, 20, 23)
"""Accounts and merchants have these numbers, which lie on all three shards."""
ORDERS: Final = 60
"""Payments of each account."""


async def make_bank(
    data: Path,
    at_noon: Callable[[list[LmdbStore]], None] = lambda stores: None,
    *,
    settled: bool = False,
) -> None:
    """Make the store and close it as a crash would.

    Args:
        at_noon: called when half of its history has happened.
        settled: leave nothing parked and nothing on its way.
    """
    with closing(Folder(data, create=True)) as folder:
        folder.create("2026-01-05", MORNING, shards=SHARDS)
        stores = folder.open()
        for store in stores:
            store.begin_epoch()
        marks = Marks(MORNING // SECOND)
        node = Node(stores, KINDS, DomainClock(MORNING), marks=marks)
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            client = Client(node, stores)
            await _open(client)
            await _trade(client, "1")
            at_noon(stores)
            status, _ = await client.post("/v1/day-cuts", {"business_date": "2026-01-05"})
            assert status < 300
            await _trade(client, "2")
            if not settled:
                await _park(client)
                await _leave_on_the_way(client)
            nursery.cancel_scope.cancel()
        for store in stores:
            store.close(clean=False)


async def _open(client: Client) -> None:
    opening: list[dict[str, Any]] = []
    for n in NUMBERS:
        opening += [
            {"command": "open_account", "account_no": f"A{n}", "currency": "USD"},
            {"command": "open_merchant", "merchant_no": f"M{n}", "currency": "USD", "fee_bps": 90},
            {"command": "fund_account", "account_no": f"A{n}", "funding_no": f"F{n}",
             "amount_minor": 1_000_000, "currency": "USD"},
        ]  # fmt: skip
    opening += [
        {"command": "sign_agreement", "account_no": f"A{n}", "agreement_no": f"G{n}-{m}",
         "merchant_no": f"M{m}"}
        for n in NUMBERS
        for m in NUMBERS
    ]  # fmt: skip
    await _all_done(client, opening)


async def _trade(client: Client, day: str) -> None:
    for n in NUMBERS:
        trade: list[dict[str, Any]] = []
        for number in range(ORDERS // 2):
            name, to = f"O{day}{n}-{number}", f"M{NUMBERS[number % 4]}"
            trade.append(payment(name, 100 + number, payer=f"A{n}", merchant_no=to))
        held, to = f"H{day}{n}", f"M{n}"
        trade += [
            {"command": "refund_payment", "merchant_no": f"M{NUMBERS[0]}",
             "refund_no": f"R{day}{n}", "order_no": f"O{day}{n}-0", "amount_minor": 40},
            hold(held, 500, payer=f"A{n}", merchant_no=to),
            hold("K" + held, 700, payer=f"A{n}", merchant_no=to),
            {**capture(held, "C" + held, 200), "merchant_no": to},
        ]  # fmt: skip
        if day == "2":
            trade += [
                {"command": "refund_payment", "merchant_no": f"M{NUMBERS[0]}",
                 "refund_no": f"S{n}", "order_no": f"O1{n}-0", "amount_minor": 1},
                {**capture(f"H1{n}", f"CC{n}", 100), "merchant_no": to},
                {"command": "void_authorization", "merchant_no": to, "hold_no": f"KH1{n}",
                 "void_no": f"V{n}"},
            ]  # fmt: skip
        await _all_done(client, trade)
        await _pay_signed(client, f"{day}{n}", n)


async def _pay_signed(client: Client, number: str, n: int) -> None:
    """Pay as a signed request does: it leaves its mark."""
    caller = Caller(10.0, Mark(MORNING // SECOND, number.rjust(16).encode()))
    order = CreatePayment(f"M{n}", f"S{number}", f"A{n}", 5, "USD")
    assert (await client.desk.execute(caller, order)).status == 201


async def _park(client: Client) -> None:
    # A handler that is gone makes the turn fail: the message is parked with its money.
    handlers: Any = MERCHANT.handlers
    with mock.patch.dict(handlers):
        del handlers[PaymentDebited]
        (answer,) = await client.commands(payment("PARKED", 77, payer="A20", merchant_no="M20"))
        assert answer["body"]["code"] == "OUTCOME_UNKNOWN"


async def _leave_on_the_way(client: Client) -> None:
    """Lose the money that shards send each other from now on: it stays in their outboxes."""
    way = way_of(client.node)
    carry, lost = way.carry, trio.Event()

    def lose(source: int, to: int, first: int, messages: Sequence[Envelope]) -> None:
        # What has been lost before this on the same link keeps it from being taken.
        if any(message.amount_minor for message in messages):
            lost.set()
        else:
            carry(source, to, first, messages)

    with mock.patch.object(way, "carry", lose):
        async with trio.open_nursery() as nursery:
            for n, to in itertools.permutations(NUMBERS, 2):
                order = payment(f"LOST{n}-{to}", 55, payer=f"A{n}", merchant_no=f"M{to}")
                nursery.start_soon(client.commands, order)
            with trio.fail_after(10):
                await lost.wait()
            nursery.cancel_scope.cancel()


async def _all_done(client: Client, commands: list[dict[str, Any]]) -> None:
    answers = await client.commands(*commands)
    assert {each["status"] for each in answers} == {201}, answers
