"""Actors: each is found once, by address or by what goes on at it, however the pages are cut."""

from typing import Any

import pytest

from actors.kinds import KINDS, MERCHANT
from actors.messages import PaymentDebited
from engine.activity import Activities, Measure
from gateway.ops import actor_list
from gateway.ops.actor_list import ListActors, Sort
from tests.gateway.ops.guarded import Guarded

ACCOUNTS = [f"6217{number:04}" for number in range(40)]
MERCHANTS = ["M1", "M2", "M3"]


@pytest.fixture
async def town(guarded: Guarded) -> Guarded:
    """Forty accounts, and three merchants whom the first account may pay."""
    answers = await guarded.commands(
        *({"command": "open_account", "account_no": each, "currency": "USD"} for each in ACCOUNTS),
        *(
            {"command": "open_merchant", "merchant_no": each, "currency": "USD"}
            for each in MERCHANTS
        ),
        {"command": "fund_account", "account_no": ACCOUNTS[0], "funding_no": "F1",
         "amount_minor": 10_000, "currency": "USD"},
        *(
            {"command": "sign_agreement", "account_no": ACCOUNTS[0], "agreement_no": each,
             "merchant_no": each}
            for each in MERCHANTS
        ),
    )  # fmt: skip
    assert {each["status"] for each in answers} == {201}
    return guarded


async def pages(town: Guarded, query: str, limit: int) -> list[dict[str, Any]]:
    """Return all items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await town.look(f"/ops/actors?limit={limit}{query}{cursor}")
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        assert len(page["items"]) == limit
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("limit", [7, 11, 100])
async def test_all_actors_come_once_however_pages_are_cut(town: Guarded, limit: int) -> None:
    found = [each["address"] for each in await pages(town, "", limit)]
    assert sorted(found) == sorted(
        [f"account/{each}" for each in (*ACCOUNTS, "clearing-USD")]
        + [f"merchant/{each}" for each in MERCHANTS]
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("&kind=merchant", [f"merchant/{each}" for each in MERCHANTS]),
        ("&kind=account&prefix=62170", [f"account/{each}" for each in ACCOUNTS]),
        ("&prefix=6217003", [f"account/{each}" for each in ACCOUNTS[30:40]]),
        ("&prefix=M2", ["merchant/M2"]),
        ("&kind=account&prefix=M2", []),
        ("&kind=webhook", []),
        ("&prefix=~", None),
    ],
)
async def test_kind_and_prefix_find_those_and_no_others(
    town: Guarded, query: str, expected: list[str] | None
) -> None:
    if expected is None:
        await town.look(f"/ops/actors?limit=3{query}", status=422)
        return
    found = await pages(town, query, 3)
    assert sorted(each["address"] for each in found) == expected
    for each in found:
        assert each["status"] in {"OPEN", "ACTIVE"}
        assert each["shard"] == town.ops.running.node.shard_of(each["address"]).stage.number


async def test_actors_are_found_by_what_went_wrong_at_them(
    town: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(turn: Any, message: Any) -> None:
        if turn.number == "M2":
            raise RuntimeError("no")
        paid(turn, message)

    handlers: dict[Any, Any] = MERCHANT.handlers
    paid = handlers[PaymentDebited]
    monkeypatch.setitem(handlers, PaymentDebited, fails)
    for number in range(3):
        for merchant in MERCHANTS:
            payment = {"command": "create_payment", "merchant_no": merchant,
                       "order_no": f"O{number}", "payer": ACCOUNTS[0], "amount_minor": 5,
                       "currency": "USD"}  # fmt: skip
            await town.commands(payment)
    for query in ("&only=quarantined", "&only=failed", "&sort=dead_letters", "&sort=failures"):
        (found,) = await pages(town, query, 5)
        assert (found["address"], found["dead_letters"], found["failures"]) == ("merchant/M2", 1, 1)
    busiest = await pages(town, "&sort=turn_time", 5)
    measured = [each["turn_us_max"] for each in busiest]
    assert measured == sorted(measured, reverse=True)
    assert len({each["address"] for each in busiest}) == len(busiest) == 44
    assert await pages(town, "&only=waiting", 5) == []


class Given(Activities):
    """What goes on at actors, as a test says."""

    def __init__(self, depths: dict[str, float]) -> None:
        self._depths = depths

    async def most(self, measure: Measure) -> dict[str, float]:
        assert measure == "depth"
        return self._depths


@pytest.mark.one_shard
@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("depth", [*range(2, 30, 3), *range(1, 30, 3)]),
        ("address", [number for number in range(30) if number % 3]),
    ],
)
async def test_those_with_most_waiting_come_first_and_ties_by_address(
    sort: Sort, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mailbox is empty again before anybody could look: here the figures are given. Where there
    are many they are ranked in pieces, and who comes first may be in the last of them."""
    monkeypatch.setattr(actor_list, "AT_ONCE", 4)
    depths = {f"account/A{number:02}": number % 3 for number in reversed(range(30))}
    waiting: dict[str, float] = {each: depth for each, depth in depths.items() if depth}
    shards = [Given(waiting)]
    kinds = list(KINDS.by_name.values())
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        asked = ListActors(sort=sort, only="waiting", limit=4, cursor=cursor or None)
        page, cursor = await actor_list._by_activity(shards, kinds, asked)
        assert len(page) == 4
        found += page
    assert found == [f"account/A{number:02}" for number in expected]


@pytest.mark.parametrize(
    "query",
    ["kind=household", "sort=name", "limit=0", "limit=101", "cursor=%21", "sort=depth&cursor=QQ"],
)
async def test_what_is_no_question_is_refused(guarded: Guarded, query: str) -> None:
    problem = await guarded.look(f"/ops/actors?{query}", status=422)
    assert problem["code"] == "INVALID_REQUEST"
