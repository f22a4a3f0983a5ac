"""Merchants as operators see them: the API's own views, and their words masked."""

import json
from typing import Any

import pytest
import trio

from actors.kinds import MERCHANT
from actors.merchant import view_merchant
from engine.address import SLOTS
from gateway.lookup import SLOTS_AT_ONCE, actors_page
from gateway.ops.operators import Role
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.test_look import OPENING, WHY, pay

APPLICATION: dict[str, Any] = {
    "command": "apply_merchant",
    "merchant_no": "M2",
    "legal_name": "Corner Shop Ltd",
    "contact": "till@corner.example",
    "currency": "USD",
}


@pytest.fixture
async def market(guarded: Guarded) -> Guarded:
    """A merchant who has sold something, and one who has applied."""
    answers = await guarded.commands(*OPENING, pay(), APPLICATION)
    assert {each["status"] for each in answers} == {201}
    return guarded


async def test_merchants_are_listed_page_by_page(market: Guarded) -> None:
    seen: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = await market.look(f"/ops/merchants?limit=1{cursor and f'&cursor={cursor}'}")
        seen += page["items"]
        cursor = page["next_cursor"]
    merchants = {each["merchant_no"]: each for each in seen}
    assert len(seen) == len(merchants) == 2
    assert (merchants["M1"]["status"], merchants["M1"]["posted_minor"]) == ("ACTIVE", 700)
    assert merchants["M2"]["status"] == "DRAFT"


async def test_list_of_few_among_many_slots_lets_others_have_their_turn(market: Guarded) -> None:
    """All slots of all shards are looked into, which is 6 ms a thousand."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        while not turns:
            await trio.lowlevel.checkpoint()
        before = turns
        page = await actors_page(market.ops.running.node, MERCHANT, view_merchant, 50, None)
        assert turns - before >= SLOTS // SLOTS_AT_ONCE - 1
        nursery.cancel_scope.cancel()
    assert len(page.body.items) == 2


async def test_what_a_merchant_says_of_itself_is_masked(market: Guarded) -> None:
    seen = await market.look("/ops/merchants/M2")
    assert (seen["masked"], seen["webhook"], seen["merchant"]["status"]) == (True, None, "DRAFT")
    assert "corner" not in json.dumps(seen).lower()
    whole = await market.look(f"/ops/merchants/M2{WHY}", Role.AUDITOR)
    assert (whole["masked"], whole["profile"]["legal_name"]) == (False, "Corner Shop Ltd")
    assert whole["profile"]["contact"] == "till@corner.example"
    (entry,) = await market.entries("?limit=1")
    assert (entry["action"], entry["reason"]) == ("get_merchant", "ticket 4711")
    for path in ("/ops/merchants/M2", "/ops/merchants/M2/certificates", "/ops/webhooks",
                 "/ops/merchants/M2/deliveries", "/ops/merchants"):  # fmt: skip
        await market.look(f"{path}{WHY}", Role.OPERATOR, 403)


async def test_merchant_that_has_nothing_shows_nothing(market: Guarded) -> None:
    assert (await market.look("/ops/merchants/M1"))["profile"] is None
    for path in ("/ops/merchants/M1/certificates", "/ops/merchants/M1/deliveries", "/ops/webhooks"):
        page = await market.look(path)
        assert (page["items"], page["next_cursor"]) == ([], None)
    unknown = await market.look("/ops/merchants/M3", status=404)
    assert unknown["code"] == "MERCHANT_NOT_FOUND"
