"""Challenges: which servers prove that they want a merchant's events, and what others come to."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from actors.answers import WebhookChallenge
from gateway.errors import Problem
from gateway.webhooks import challenge
from tests.gateway.webhooks.receiver import Behave, Taken, answer, receiving
from tests.gateway.webhooks.shop import HOOK, Shop, open_shop

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


def asked(taken: Taken) -> WebhookChallenge:
    """Return the challenge that a request is."""
    return msgspec.json.decode(taken.body, type=WebhookChallenge)


async def agree(taken: Taken, stream: trio.abc.Stream) -> bool:
    """Answer challenges with what they ask for, and events with 200."""
    is_challenge = b"webhook_challenge" in taken.body
    text = asked(taken).challenge.encode() + b"\n" if is_challenge else b""
    return await answer(200, "Content-Type: text/plain", body=text)(taken, stream)


async def _set(shop: Shop, url: str, **more: Any) -> tuple[int, Any]:
    return await shop.client.post(HOOK, {"url": url, **more})


async def test_server_that_answers_its_challenge_is_sent_events(tmp_path: Path) -> None:
    """Once for a URL: to set the same again asks nothing, another one does."""
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        receiver.behave = agree
        status, view = await _set(shop, receiver.url())
        assert (status, view["status"]) == (201, "ENABLED")
        (first,) = receiver.taken
        assert asked(first).merchant_no == "M1"
        assert len(asked(first).challenge) == 32
        assert "signature" in first.headers
        await shop.pay("O1")
        await shop.until(delivered=1)
        for path, challenges in (("/hook", 1), ("/other", 2)):
            assert (await _set(shop, receiver.url(path)))[0] == 201
            assert sum(b"webhook_challenge" in each.body for each in receiver.taken) == challenges
        sent = [asked(each).challenge for each in receiver.taken if b"challenge" in each.body]
        assert len(set(sent)) == 2, "each is drawn anew"


async def _echo(taken: Taken, stream: trio.abc.Stream) -> bool:
    return await answer(200, body=taken.body)(taken, stream)


async def _right_words_wrong_status(taken: Taken, stream: trio.abc.Stream) -> bool:
    return await answer(404, body=asked(taken).challenge.encode())(taken, stream)


async def _never(taken: Taken, stream: trio.abc.Stream) -> bool:
    await trio.sleep_forever()
    return False


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (answer(200), "another text"),
        (answer(204), "another text"),
        (answer(200, body=b"ok"), "another text"),
        (_echo, "another text"),
        (_right_words_wrong_status, "404"),
        (answer(302, "Location: https://localhost/"), "302"),
        (_never, "in time"),
    ],
)
async def test_server_that_does_not_is_sent_nothing_more(
    behave: Behave, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is noted of it."""
    monkeypatch.setattr(challenge, "CHALLENGE_S", 0.5)
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        receiver.behave = behave
        status, problem = await _set(shop, receiver.url())
        assert (status, problem["code"]) == (422, "WEBHOOK_UNPROVED")
        assert why in problem["detail"]
        await shop.pay("O1")
        assert (await shop.client.get(HOOK))[0] == 404
        assert len(receiver.taken) == 1


async def test_other_url_that_is_not_proved_leaves_the_webhook_where_it_was(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        before = await shop.set(receiver.url())
        status, problem = await _set(shop, "https://localhost:9/")
        assert (status, problem["code"]) == (422, "WEBHOOK_UNPROVED")
        assert problem["detail"].endswith("UNREACHABLE")
        assert await shop.state() == before


async def test_challenges_at_a_time_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One a merchant, and some of all: each is a request that waits for somebody's server."""
    monkeypatch.setattr(challenge, "CHALLENGES_MAX", 2)
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        for number in ("M2", "M3"):
            opened = {"command": "open_merchant", "merchant_no": number, "currency": "USD"}
            await shop.do(opened)
        receiver.behave = _never
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set, shop, receiver.url())
            await receiver.until(lambda: len(receiver.taken) == 1)
            status, problem = await _set(shop, receiver.url())
            assert (status, problem["code"]) == (503, "NODE_BUSY")
            other = {"url": receiver.url()}
            nursery.start_soon(shop.client.post, "/v1/merchants/M2/webhook", other)
            await receiver.until(lambda: len(receiver.taken) == 2)
            status, problem = await shop.client.post("/v1/merchants/M3/webhook", other)
            assert (status, problem["code"]) == (503, "NODE_BUSY")
            nursery.cancel_scope.cancel()
        receiver.behave = agree
        assert (await _set(shop, receiver.url()))[0] == 201


async def _as_merchant(shop: Shop, body: dict[str, Any]) -> str:
    """Ask as M1 itself, signed; returns the code of the refusal."""
    client = shop.client
    endpoint, numbers = client.router.find("POST", HOOK)
    sent = msgspec.json.encode(body)
    answer = await client.router.answer(client.desk, endpoint, numbers, b"", sent, None, "M1")
    assert isinstance(answer.body, Problem)
    return answer.body.code


async def test_merchant_can_spare_itself_no_challenge_and_have_only_so_many(
    tmp_path: Path,
) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        spared = {"url": receiver.url(), "challenge": False}
        assert await _as_merchant(shop, spared) == "NOT_FOR_MERCHANTS"
        found = [await _as_merchant(shop, {"url": receiver.url(f"/{n}")}) for n in range(11)]
        assert found == ["WEBHOOK_UNPROVED"] * 10 + ["RATE_LIMITED"]
        assert len(receiver.taken) == 10
