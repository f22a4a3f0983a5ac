"""Statements: an account's own postings, newest first, in bounded pages that nothing shifts."""

import base64
from itertools import pairwise
from typing import Any

import pytest

from gateway import statement
from tests.gateway.desk_client import Client, open_desk, payment

POSTINGS = "/v1/accounts/A1/postings"


async def _walk(client: Client, path: str) -> list[Any]:
    """Return all items of a list, page by page."""
    items: list[Any] = []
    joint = "&" if "?" in path else "?"
    status, page = await client.get(path)
    while True:
        assert status == 200, page
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        status, page = await client.get(f"{path}{joint}cursor={page['next_cursor']}")


async def _three_days(client: Client) -> None:
    """Fund with 10,000 and pay 1, 2 and 3 on each of 5, 6 and 7 January."""
    await client.shop()
    for day in (5, 6, 7):
        await client.commands(*(payment(f"{day}-{n}", n) for n in (1, 2, 3)))
        status, _ = await client.post("/v1/day-cuts", {"business_date": f"2026-01-0{day}"})
        assert status == 201


@pytest.mark.parametrize("limit", [1, 2, 4, 100])
async def test_statement_is_newest_first_and_each_balance_follows(limit: int) -> None:
    async with open_desk() as client:
        await _three_days(client)
        found = await _walk(client, f"{POSTINGS}?limit={limit}")
        assert [each["amount_minor"] for each in found] == [-3, -2, -1] * 3 + [10_000]
        for newer, older in pairwise(found):
            assert newer["sequence"] > older["sequence"]
            before = older["balance_after_minor"]
            assert newer["balance_after_minor"] == before + newer["amount_minor"]
        account = (await client.get("/v1/accounts/A1"))[1]
        assert found[0]["balance_after_minor"] == account["posted_minor"]
        assert found[0] == {
            "object": "posting",
            "sequence": found[0]["sequence"],
            "business_date": "2026-01-07",
            "amount_minor": -3,
            "currency": "USD",
            "balance_after_minor": 9_982,
            "reference": "payment/M1/7-3",
        }


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize(
    ("bounds", "days"),
    [
        ("from_date=2026-01-06", "776655"),
        ("from_date=2026-01-07", "77"),
        ("from_date=2026-01-08", ""),
        ("from_date=2026-01-01", "7766555"),
        ("to_date=2026-01-06", "66555"),
        ("to_date=2026-01-04", ""),
        ("from_date=2026-01-06&to_date=2026-01-06", "66"),
        ("from_date=2026-01-07&to_date=2026-01-05", ""),
    ],
)
async def test_statement_of_business_dates_holds_these_alone(
    bounds: str, days: str, limit: int
) -> None:
    """Both dates are included."""
    async with open_desk() as client:
        await _three_days(client)
        found = await _walk(client, f"{POSTINGS}?{bounds}&limit={limit}")
        everything = await _walk(client, POSTINGS)
        begin, _, end = bounds.partition("&")
        dates = dict(each.split("=") for each in (begin, end) if each)
        assert found == [
            each
            for each in everything
            if dates.get("from_date", "") <= each["business_date"] <= dates.get("to_date", "9")
        ]
        assert {each["business_date"][-1] for each in found} <= set(days)
        assert bool(found) == bool(days)


async def test_statement_ends_where_its_first_date_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not walk through the years before."""
    monkeypatch.setattr(statement, "LINKS_MAX", 4)
    async with open_desk() as client:
        await _three_days(client)
        status, page = await client.get(f"{POSTINGS}?from_date=2026-01-07")
        assert (status, len(page["items"]), page["next_cursor"]) == (200, 3, None)


async def test_page_follows_a_bounded_number_of_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "LINKS_MAX", 2)
    async with open_desk() as client:
        await _three_days(client)
        status, page = await client.get(f"{POSTINGS}?to_date=2026-01-05")
        assert (status, page["items"]) == (200, [])
        assert page["next_cursor"] is not None
        found = await _walk(client, f"{POSTINGS}?to_date=2026-01-05")
        assert [each["amount_minor"] for each in found] == [-3, -2, -1, 10_000]


async def test_cursor_is_stable_while_postings_are_added() -> None:
    async with open_desk() as client:
        await _three_days(client)
        first = (await client.get(f"{POSTINGS}?limit=4"))[1]
        await client.commands(payment("new", 50))
        rest = await _walk(client, f"{POSTINGS}?cursor={first['next_cursor']}")
        amounts = [each["amount_minor"] for each in (*first["items"], *rest)]
        assert amounts == [-3, -2, -1] * 3 + [10_000]


async def test_clearing_account_has_a_statement_too() -> None:
    async with open_desk() as client:
        await client.shop()
        found = await _walk(client, "/v1/accounts/clearing-USD/postings")
        assert [each["amount_minor"] for each in found] == [-10_000]


async def test_account_without_postings_has_an_empty_statement() -> None:
    async with open_desk() as client:
        await client.commands({"command": "open_account", "account_no": "A1", "currency": "USD"})
        assert await _walk(client, POSTINGS) == []
        assert await _walk(client, f"{POSTINGS}?from_date=2026-01-05") == []
        status, problem = await client.get("/v1/accounts/A9/postings")
        assert (status, problem["code"]) == (404, "ACCOUNT_NOT_FOUND")


def _cursor(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


MARK = b"\0p"


async def test_cursor_never_shows_another_account_s_postings() -> None:
    """Any sequence of the journal may be asked for; only the account's own are answered."""
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1"))
        own = {each["sequence"] for each in await _walk(client, POSTINGS)}
        for sequence in (*range(8), 2**40, 2**64 - 1):
            cursor = _cursor(MARK + sequence.to_bytes(8, "big"))
            status, page = await client.get(f"{POSTINGS}?cursor={cursor}")
            if sequence in own:
                assert {each["sequence"] for each in page["items"]} <= own
                assert page["items"][0]["sequence"] == sequence
            else:
                assert (status, page["code"]) == (422, "INVALID_REQUEST")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=MQ",
        "cursor=%21",
        f"cursor={_cursor(MARK)}",
        f"cursor={_cursor(MARK + bytes(7))}",
        f"cursor={_cursor(bytes(10))}",
        "from_date=2026-1-5",
        "from_date=today",
        "to_date=2026-01-05T00:00:00Z",
        "from_date=2026-01-05%20",
        "from=2026-01-05",
        "limit=0",
        "limit=101",
    ],
)
async def test_malformed_question_is_refused(query: str) -> None:
    async with open_desk() as client:
        await client.shop()
        status, problem = await client.get(f"{POSTINGS}?{query}")
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")
