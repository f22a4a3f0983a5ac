"""The journal: every posting of an account or a merchant, newest first, with whom and for what."""

import json
from typing import Any

import pytest

from gateway.ops.operators import Role
from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.test_look import OPENING, PAYER, WHY, pay

OTHER = "6217009876543210"
SEEN = WHY.replace("?", "&")


@pytest.fixture
async def shop(guarded: Guarded) -> Guarded:
    """A merchant with a fee of 1 %, and a payer who has done whatever there is to do."""
    merchant: dict[str, Any] = {"merchant_no": "M1"}
    money: dict[str, Any] = {"currency": "USD"}
    charging = {"open_merchant": {"fee_bps": 100}}
    opening = [{**each, **charging.get(each["command"], {})} for each in OPENING]
    commands = [
        *opening,
        {"command": "open_account", "account_no": OTHER, **money},
        pay("O1", 1_000),
        pay("O2", 500),
        {"command": "refund_payment", **merchant, "order_no": "O1", "refund_no": "R1",
         "amount_minor": 200},
        {"command": "reverse_payment", **merchant, "order_no": "O2", "reversal_no": "X1"},
        {"command": "create_authorization", **merchant, "hold_no": "H1", "payer": PAYER,
         "amount_minor": 300, **money},
        {"command": "capture_authorization", **merchant, "hold_no": "H1", "capture_no": "C1",
         "amount_minor": 300},
        {"command": "create_transfer", "account_no": PAYER, "transfer_no": "T1", "to": OTHER,
         "amount_minor": 40, **money},
        {"command": "withdraw_funds", "account_no": PAYER, "withdrawal_no": "W1",
         "amount_minor": 60, **money},
    ]  # fmt: skip
    for each in commands:  # of an array some would overtake others
        (answer,) = await guarded.commands(each)
        assert answer["status"] == 201, answer
    return guarded


async def pages(guarded: Guarded, query: str, limit: int) -> list[dict[str, Any]]:
    """Return a whole journal, read page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = await guarded.look(
            f"/ops/journal{query}&limit={limit}" + (cursor and f"&cursor={cursor}"), Role.AUDITOR
        )
        assert len(page["items"]) <= limit
        found += page["items"]
        cursor = page["next_cursor"]
    return found


def about(entry: dict[str, Any]) -> tuple[int, str, str]:
    """Return an entry's amount, with whom it was, and for what."""
    original = entry["original"]
    named = original and f"{original['kind']}/{original['merchant_no']}/{original['number']}"
    return entry["amount_minor"], entry["counterparty"], named or ""


async def test_account_shows_with_whom_and_for_what(shop: Guarded) -> None:
    entries = await pages(shop, f"?account={PAYER}{SEEN}", 100)
    merchant, clearing = "merchant/M1", "account/clearing-USD"
    assert [about(each) for each in entries] == [
        (-60, clearing, ""),
        (-40, f"account/{OTHER}", ""),
        (-300, merchant, "authorization/M1/H1"),
        (500, merchant, "payment/M1/O2"),
        (200, merchant, "payment/M1/O1"),
        (-500, merchant, "payment/M1/O2"),
        (-1_000, merchant, "payment/M1/O1"),
        (10_000, clearing, ""),
    ]
    assert entries[2]["reference"] == "capture/M1/H1/C1"
    assert {each["business_date"] for each in entries} == {"2026-01-05"}
    balance = 0
    for each in reversed(entries):
        balance += each["amount_minor"]
        assert each["balance_after_minor"] == balance
    assert [about(each) for each in await pages(shop, f"?account={OTHER}{SEEN}", 100)] == [
        (40, f"account/{PAYER}", "")
    ]
    assert [about(each)[:2] for each in await pages(shop, f"?account=clearing-USD{SEEN}", 100)] == [
        (60, f"account/{PAYER}"),
        (-10_000, f"account/{PAYER}"),
    ]


async def test_merchant_shows_both_its_ledger_accounts_as_one_list(shop: Guarded) -> None:
    entries = await pages(shop, f"?merchant=M1{SEEN}", 100)
    sequences = [each["sequence"] for each in entries]
    assert sequences == sorted(sequences, reverse=True)
    assert {each["counterparty"] for each in entries} == {f"account/{PAYER}"}
    state = (await shop.look("/ops/actors/merchant/M1"))["confirmed"]
    for ledger, balance in (("receivable", "posted_minor"), ("fees", "fees_minor")):
        of_ledger = [each for each in entries if each["account"] == f"merchant/M1/{ledger}"]
        assert of_ledger[0]["balance_after_minor"] == state[balance]
        assert sum(each["amount_minor"] for each in of_ledger) == state[balance]
    named = {about(each)[2] for each in entries}
    assert named == {"payment/M1/O1", "payment/M1/O2", "authorization/M1/H1"}


async def test_pages_come_to_the_whole_without_a_gap(shop: Guarded) -> None:
    for query in (f"?account={PAYER}", "?merchant=M1"):
        whole = await pages(shop, query, 100)
        assert len(whole) >= 8
        for limit in (1, 2, 3, len(whole)):
            assert await pages(shop, query, limit) == whole
        newest = await shop.look(f"/ops/journal{query}&limit=3")
        await shop.commands(pay(f"O9-{len(whole)}", 10))
        cursor = newest["next_cursor"]
        rest = await shop.look(f"/ops/journal{query}&limit=100&cursor={cursor}")
        assert [*newest["items"], *rest["items"]] == whole, "what comes later moves nothing"


async def test_masked_journal_says_nothing_of_whom_somebody_deals_with(shop: Guarded) -> None:
    account = await shop.look(f"/ops/journal?account={PAYER}")
    assert account["masked"] is True
    for secret in ("M1", "O1", "H1", OTHER):
        assert secret not in json.dumps(account["items"]), secret
    assert account["items"][1]["counterparty"] == "account/••••3210"
    merchant = await shop.look("/ops/journal?merchant=M1")
    assert PAYER not in json.dumps(merchant)
    assert merchant["items"][0]["original"]["number"] == "H1", "its own orders are no secret to it"
    assert (await shop.look(f"/ops/journal?account={PAYER}{SEEN}", status=403))["code"]


REFUSED = [
    ("", 422, "INVALID_REQUEST"),
    (f"?account={PAYER}&merchant=M1", 422, "INVALID_REQUEST"),
    ("?account=nobody", 404, "ACCOUNT_NOT_FOUND"),
    ("?merchant=nobody", 404, "MERCHANT_NOT_FOUND"),
    (f"?account={PAYER}&cursor=AAAA", 422, "INVALID_REQUEST"),
    (f"?account={PAYER}&limit=101", 422, "INVALID_REQUEST"),
]


async def test_what_is_no_journal_is_refused(shop: Guarded) -> None:
    for query, status, code in REFUSED:
        assert (await shop.look(f"/ops/journal{query}", status=status))["code"] == code


@pytest.mark.one_shard  # sequences are a shard's own: on several one may fit by chance
async def test_cursor_of_another_list_is_refused(shop: Guarded) -> None:
    cursors = {}
    for query in (f"?account={PAYER}", "?account=clearing-USD", "?merchant=M1"):
        cursors[query] = (await shop.look(f"/ops/journal{query}&limit=1"))["next_cursor"]
    for query in cursors:
        for other, cursor in cursors.items():
            status = 200 if other == query else 422
            await shop.look(f"/ops/journal{query}&cursor={cursor}", status=status)
