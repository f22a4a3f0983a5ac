"""A client at the desk: the handler table on a real engine and a store in memory, no sockets."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from actors.kinds import KINDS
from engine.clock import Clock, DomainClock, WallClock
from engine.limits import Limits
from engine.node import Node
from gateway.answer import Answer, failed
from gateway.desk import Desk
from gateway.endpoint import Router
from gateway.errors import RequestError
from gateway.table import ENDPOINTS
from storage.memory import MemoryStore
from storage.store import Format
from tests.gateway.description import assert_described, body_of
from tests.shards import SHARDS

SECOND = 1_000_000_000
MORNING = 1_767_600_000 * SECOND
"""2026-01-05T08:00:00Z, when every test begins."""


def new_store(shard: int = 0, shards: int = 1) -> MemoryStore:
    """Return an empty store, or one shard of it, that begins on that morning."""
    format_ = Format(1, "cafe", shard, shards, 1024, 1, MORNING)
    return MemoryStore(format_, "2026-01-05")


def new_stores(shards: int) -> list[MemoryStore]:
    """Return the shards of an empty store."""
    return [new_store(shard, shards) for shard in range(shards)]


class Client:
    """Calls endpoints as a listener would; bodies go through JSON both ways."""

    def __init__(self, node: Node, stores: Sequence[Any]) -> None:
        self.node = node
        self.stores = stores
        self.desk = Desk(node)
        self.router = Router(ENDPOINTS)

    async def call(
        self, method: str, path: str, body: bytes = b"", wait: str | None = None
    ) -> Answer:
        """Return the answer as the listener gets it; it must be as the API's description says."""
        path, _, query = path.partition("?")
        try:
            endpoint, numbers = self.router.find(method, path)
        except RequestError as error:
            return failed(error.problem, error.allow)
        answer = await self.router.answer(self.desk, endpoint, numbers, query.encode(), body, wait)
        assert_described(endpoint, answer)
        return answer

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and body of a GET."""
        answer = await self.call("GET", path)
        return answer.status, msgspec.json.decode(body_of(answer))

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and body of a POST."""
        sent = b"" if body is None else msgspec.json.encode(body)
        answer = await self.call("POST", path, sent)
        return answer.status, msgspec.json.decode(body_of(answer))

    async def commands(self, *items: Any) -> list[Any]:
        """Send an array of commands and return its items' answers."""
        status, answers = await self.post("/v1/commands", items)
        assert status == 200, answers
        assert len(answers) == len(items)
        return list(answers)

    async def shop(self) -> None:
        """Open account A1 with 100.00 in it and merchant M1, with an agreement between them."""
        answers = await self.commands(
            {"command": "open_account", "account_no": "A1", "currency": "USD"},
            {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 100},
            {
                "command": "fund_account",
                "account_no": "A1",
                "funding_no": "F1",
                "amount_minor": 10_000,
                "currency": "USD",
            },
            {
                "command": "sign_agreement",
                "account_no": "A1",
                "agreement_no": "M1",
                "merchant_no": "M1",
            },
        )
        assert [each["status"] for each in answers] == [201] * 4


@asynccontextmanager
async def open_desk(
    clock: Clock | None = None,
    limits: Limits | None = None,
    store: MemoryStore | None = None,
    shards: int = SHARDS,
) -> AsyncIterator[Client]:
    """Run a node for the length of a test; it is stopped in good order at the end.

    Args:
        store: the only shard; without, there are as many as the test run has, or `shards`.
    """
    stores = new_stores(shards) if store is None else [store]
    node = Node(stores, KINDS, clock or DomainClock(MORNING), limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run)
        yield Client(node, stores)
        node.stop()


def wall() -> WallClock:
    """Return a clock that commands cannot move."""
    return WallClock()


def payment(order_no: str, amount_minor: int = 100, **changes: Any) -> dict[str, Any]:
    """Return a create_payment item from A1 to M1."""
    return {
        "command": "create_payment",
        "merchant_no": "M1",
        "order_no": order_no,
        "payer": "A1",
        "amount_minor": amount_minor,
        "currency": "USD",
        **changes,
    }


def hold(hold_no: str, amount_minor: int = 100, **changes: Any) -> dict[str, Any]:
    """Return a create_authorization item from A1 to M1."""
    return {
        "command": "create_authorization",
        "merchant_no": "M1",
        "hold_no": hold_no,
        "payer": "A1",
        "amount_minor": amount_minor,
        "currency": "USD",
        **changes,
    }


def capture(hold_no: str, capture_no: str, amount_minor: int = 100) -> dict[str, Any]:
    """Return a capture_authorization item."""
    return {
        "command": "capture_authorization",
        "merchant_no": "M1",
        "hold_no": hold_no,
        "capture_no": capture_no,
        "amount_minor": amount_minor,
    }
