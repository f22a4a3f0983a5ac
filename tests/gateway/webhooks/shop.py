"""A shop whose node sends webhooks: engine, desk and dispatcher, on loopback only."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from gateway.ca.bank_keys import BankKeys
from gateway.desk import Desk
from gateway.webhooks.dispatcher import Dispatcher
from gateway.webhooks.wire import Resolve
from tests.gateway.certificates import Signer
from tests.gateway.desk_client import Client, open_desk, payment
from tests.gateway.signed_desk import new_bank

HOOK = "/v1/merchants/M1/webhook"
LOOPBACK = ("127.0.0.0/8",)


async def on_loopback(host: str, port: int) -> list[str]:
    """Return where every name is, in these tests."""
    return ["127.0.0.1"]


class Shop:
    """Merchant M1, what is asked for it, and what sends its events.

    Attributes:
        client: calls endpoints.
        dispatcher: sends.
        tls: of a server that the node believes.
    """

    def __init__(self, client: Client, dispatcher: Dispatcher, tls: ssl.SSLContext) -> None:
        self.client = client
        self.dispatcher = dispatcher
        self.tls = tls
        self.client.desk = Desk(client.node, webhooks=dispatcher)

    async def set(self, url: str, merchant_no: str = "M1") -> dict[str, Any]:
        """Set a merchant's webhook."""
        path = f"/v1/merchants/{merchant_no}/webhook"
        status, view = await self.client.post(path, {"url": url, "challenge": False})
        assert status == 201, view
        return dict(view)

    async def pay(self, *orders: str, amount_minor: int = 1) -> None:
        """Have A1 pay for orders."""
        await self.do(*(payment(each, amount_minor) for each in orders))

    async def do(self, *commands: dict[str, Any]) -> None:
        """Have commands carried out that succeed."""
        answers = await self.client.commands(*commands)
        assert {each["status"] for each in answers} == {201}, answers

    async def delivery(self, sequence: int) -> dict[str, Any]:
        """Return what has become of an event."""
        return dict((await self.client.get(f"{HOOK}/deliveries/{sequence}"))[1])

    async def state(self, merchant_no: str = "M1") -> dict[str, Any]:
        """Return where its webhook stands."""
        return dict((await self.client.get(f"/v1/merchants/{merchant_no}/webhook"))[1])

    async def until(self, merchant_no: str = "M1", **wanted: object) -> dict[str, Any]:
        """Wait until the durable webhook has these figures."""
        changed = trio.Event()

        def note(address: str) -> None:
            changed.set()

        with trio.fail_after(20), self.client.node.hearing(f"webhook/{merchant_no}", note):
            while True:
                changed = trio.Event()
                state = await self.state(merchant_no)
                if {name: state.get(name) for name in wanted} == wanted:
                    return state
                await changed.wait()


@asynccontextmanager
async def open_shop(
    folder: Path,
    *,
    allow: Sequence[str] = LOOPBACK,
    resolve: Resolve = on_loopback,
    keys: BankKeys | None = None,
    **how: Any,
) -> AsyncIterator[Shop]:
    """Run a node with M1, whose webhooks may go to loopback."""
    bank = new_bank(folder / "keys") if keys is None else keys
    signer = Signer(folder)
    async with open_desk(**how) as client:
        if "store" not in how:
            await client.shop()
        dispatcher = Dispatcher(
            client.node, bank, allow=allow, tls=signer.client(), resolve=resolve
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(dispatcher.run)
            yield Shop(client, dispatcher, signer.server())
            await dispatcher.drain()
