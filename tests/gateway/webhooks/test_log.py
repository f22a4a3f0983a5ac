"""The log of deliveries: its pages, what it forgets, and what it never does."""

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from actors.commands import Attempt, RecordDeliveries, Result
from actors.webhook import RETRY_AFTER_S
from gateway.verification import verify
from gateway.webhooks import log
from tests.gateway.webhooks.receiver import answer, receiving
from tests.gateway.webhooks.shop import HOOK, Shop, open_shop


async def _all(shop: Shop, query: str = "") -> list[dict[str, Any]]:
    """Return what is on all pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        status, page = await shop.client.get(f"{HOOK}/deliveries?limit=7{query}{cursor}")
        assert status == 200, page
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_pages_go_through_the_log_from_the_newest_event_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_SCAN_MAX", 5)  # less than a page: some pages are short
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        await shop.pay(*(f"O{n}" for n in range(20)))
        await shop.until(delivered=20)
        receiver.behave = answer(500)
        await shop.pay("late")
        await shop.until(pending=1)
        assert [each["sequence"] for each in await _all(shop)] == list(range(21, 0, -1))
        assert [each["sequence"] for each in await _all(shop, "&state=PENDING")] == [21]
        delivered = await _all(shop, "&state=DELIVERED")
        assert [each["sequence"] for each in delivered] == list(range(20, 0, -1))
        assert await _all(shop, "&state=FAILED") == []


async def test_log_forgets_the_oldest_and_these_can_be_ordered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LOG_MAX", 20)
    monkeypatch.setattr(log, "DROPPED_MAX", 10)
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        for n in range(10):
            await shop.pay(*(f"O{n}-{each}" for each in range(10)))
            await shop.until(cursor=10 * (n + 1), pending=0)
        # The last of what is too old goes with the next report.
        await shop.pay("last")
        state = await shop.until(cursor=101, pending=0)
        kept = [each["sequence"] for each in await _all(shop)]
        assert len(kept) == state["delivered"] <= 40
        assert kept == list(range(101, 101 - len(kept), -1))
        status, problem = await shop.client.get(f"{HOOK}/deliveries/1")
        assert (status, problem["code"]) == (404, "NO_SUCH_DELIVERY")
        before = len(receiver.taken)
        await shop.client.post(f"{HOOK}/redeliver", {"first": 1, "last": 2})
        await shop.until(pending=0, cursor=101)
        assert sorted(receiver.sequences[before:]) == [1, 2]
        assert verify(await shop.client.node.snapshots()).ok


async def test_what_is_too_old_is_found_piece_by_piece_behind_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of one state may lie behind all of the other, and nobody waits for the whole walk."""
    monkeypatch.setattr(log, "LOG_MAX", 10)
    monkeypatch.setattr(log, "DROPPED_MAX", 200)
    async with open_shop(tmp_path) as shop:
        await shop.set("https://127.0.0.1:9/")
        await shop.client.post(f"{HOOK}/disable")
        good, bad = Attempt(1, 1, 200), Attempt(1, 1, 500)
        tries = len(RETRY_AFTER_S) + 1
        for first in range(1, 701, 100):
            results = [
                Result(sequence, 0, each)
                for sequence in range(first, first + 100)
                for each in ([good] if sequence > 450 or first == 1 else [bad] * tries)
            ]
            report = RecordDeliveries("M1", first + 99, (), tuple(results))
            await shop.client.node.ask("webhook/M1", report)
        webhook = log.webhook_of(shop.client.node, "M1")
        assert webhook is not None
        assert (webhook.delivered, webhook.failed) == (350, 350)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            found = await log.too_old(shop.client.node, "M1", webhook)
            nursery.cancel_scope.cancel()
        expected = [*range(1, 301), *range(451, 551)]
        assert sorted(found) == expected
        assert turns >= 3, "others had their turns in between"


@pytest.mark.parametrize("path", ["", "/deliveries", "/deliveries/1"])
async def test_merchant_without_a_webhook_has_nothing_to_look_at(path: str, tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        status, problem = await shop.client.get(f"{HOOK}{path}")
        assert (status, problem["code"]) == (404, "WEBHOOK_NOT_FOUND")


async def test_what_is_no_cursor_of_the_log_or_no_sequence_is_refused(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        for query in ("?cursor=abcd", "?cursor=AHcx", "?state=LOST", "?limit=0"):
            status, problem = await shop.client.get(f"{HOOK}/deliveries{query}")
            if query != "?cursor=AHcx":  # a cursor of ours, before the first event
                assert (status, problem["code"]) == (422, "INVALID_REQUEST"), query
        for sequence in ("0", "-1", "x", "1.0", "01", str(2**63)):
            status, _ = await shop.client.get(f"{HOOK}/deliveries/{sequence}")
            assert status in (400, 422), sequence
        status, problem = await shop.client.get(f"{HOOK}/deliveries/1")
        assert (status, problem["code"]) == (404, "NO_SUCH_DELIVERY")


async def test_webhook_of_nobody_and_to_nowhere_is_refused(tmp_path: Path) -> None:
    async with open_shop(tmp_path, allow=()) as shop:
        status, problem = await shop.client.post(HOOK, {"url": "https://127.0.0.1/"})
        assert (status, problem["code"]) == (422, "WEBHOOK_URL_REFUSED")
        assert "public" in problem["detail"]
        other = "/v1/merchants/M9/webhook"
        status, problem = await shop.client.post(other, {"url": "https://shop.example/"})
        assert (status, problem["code"]) == (404, "MERCHANT_NOT_FOUND")
        assert not [
            key for key, _ in shop.client.stores[0].snapshot().scan("hubs") if b"webh" in key
        ]


async def test_node_without_keys_sends_no_webhooks_and_says_so(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        shop.client.desk.webhooks = None
        status, problem = await shop.client.post(HOOK, {"url": "https://shop.example/"})
        assert (status, problem["code"]) == (409, "WEBHOOKS_OFF")
