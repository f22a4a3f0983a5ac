"""Events reach a merchant's server: over real sockets and TLS, signed, in order, at least once."""

from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.webhooks import wire
from gateway.webhooks.rounds import AT_ONCE
from tests.gateway.desk_client import capture, hold, new_store, payment
from tests.gateway.signed_desk import new_bank
from tests.gateway.webhooks.receiver import Taken, answer, receiving
from tests.gateway.webhooks.shop import HOOK, open_shop


async def test_events_arrive_signed_and_are_logged(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.pay("O1")  # before there was a webhook
        view = await shop.set(receiver.url("/hook?shop=1"))
        assert (view["status"], view["cursor"]) == ("ENABLED", 1)
        await shop.pay("O2", "O3")
        await shop.until(delivered=2, cursor=3, pending=0)
        assert sorted(receiver.sequences) == [2, 3]
        first = receiver.taken[0]
        assert first.path == "/hook?shop=1"
        assert first.headers["piaohao-attempt"] == "1"
        assert first.event.event_id == f"M1/{first.sequence}"
        assert first.event.event.type == "payment.succeeded"
        delivery = await shop.delivery(2)
        assert (delivery["state"], delivery["attempts"]) == ("DELIVERED", 1)
        assert delivery["log"][0]["status"] == 200
        _, page = await shop.client.get(f"{HOOK}/deliveries")
        assert [each["sequence"] for each in page["items"]] == [3, 2]


async def test_events_of_one_payment_wait_for_the_one_before(tmp_path: Path) -> None:
    """The first is answered when the test lets it be; those of other payments go on meanwhile."""
    let = trio.Event()

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        if taken.event.event.number == "H1":
            await let.wait()
        return await answer(200)(taken, stream)

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        await shop.pay("O0")  # now it is known to answer
        await shop.until(delivered=1)
        receiver.behave = behave
        await shop.do(hold("H1"), capture("H1", "C1", 50), payment("O1"), payment("O2"))
        refund = {"merchant_no": "M1", "refund_no": "R1", "hold_no": "H1", "amount_minor": 10}
        await shop.do({"command": "refund_authorization", **refund})
        await receiver.until(lambda: len(receiver.taken) == 4)
        numbers = [each.event.event.number for each in receiver.taken]
        assert sorted(numbers[1:]) == ["H1", "O1", "O2"]
        let.set()
        await shop.until(delivered=6, pending=0)
        assert [each.event.event.number for each in receiver.taken[4:]] == ["C1", "R1"]


async def test_failure_is_tried_again_with_the_next_number(tmp_path: Path) -> None:
    """By the real clock: the first interval is 15 s, so the order is given by hand."""
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = answer(500)
        await shop.pay("O1")
        await shop.until(pending=1, cursor=1)
        delivery = await shop.delivery(1)
        assert (delivery["state"], delivery["log"][0]["status"]) == ("PENDING", 500)
        assert delivery["due_at"] is not None
        receiver.behave = answer(204)
        status, view = await shop.client.post(f"{HOOK}/redeliver", {"first": 1, "last": 1})
        assert (status, view["pending"]) == (200, 1)
        await shop.until(pending=0, delivered=1)
        assert [each.headers["piaohao-attempt"] for each in receiver.taken] == ["1", "2"]
        assert receiver.taken[0].body == receiver.taken[1].body


async def test_event_is_delivered_once_more_when_it_is_ordered(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.pay("O1", "O2")  # from before there was a webhook
        await shop.set(receiver.url())
        await shop.pay("O3")
        await shop.until(delivered=1)
        status, _ = await shop.client.post(f"{HOOK}/redeliver", {"first": 1, "last": 3})
        assert status == 200
        await shop.until(delivered=3, pending=0)
        assert sorted(receiver.sequences) == [1, 2, 3, 3]
        for body in ({"first": 2, "last": 1}, {"first": 1, "last": 201}):
            status, problem = await shop.client.post(f"{HOOK}/redeliver", body)
            assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_webhook_that_is_disabled_waits_and_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        await shop.pay("O1")
        await shop.until(delivered=1)
        assert (await shop.client.post(f"{HOOK}/disable"))[1]["reason"] == "asked"
        await shop.pay("O2", "O3")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert receiver.sequences == [1]
        delivery = await shop.delivery(3)
        assert (delivery["state"], delivery["attempts"]) == ("PENDING", 0)
        assert (await shop.client.post(f"{HOOK}/enable"))[1]["status"] == "ENABLED"
        await shop.until(delivered=3)
        assert sorted(receiver.sequences) == [1, 2, 3]


@pytest.mark.one_shard
async def test_endpoint_that_says_it_is_gone_is_disabled(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = answer(410)
        await shop.pay("O1", "O2")
        state = await shop.until(status="DISABLED", reason="gone")
        assert state["pending"] == 1
        receiver.behave = answer(200)
        await shop.set(receiver.url("/elsewhere"))
        await shop.until(delivered=1, status="ENABLED")  # the other has 15 s to wait
        assert receiver.taken[-1].path == "/elsewhere"


async def test_endpoint_that_is_enabled_as_it_is_found_gone_is_sent_events(tmp_path: Path) -> None:
    """Both become durable together, so nobody ever sees the webhook disabled."""
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        shards = shop.client.node.shards

        async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
            receiver.behave = answer(200)
            for shard in shards:
                shard.hold_commits()
            return await answer(410)(taken, stream)

        receiver.behave = behave
        await shop.pay("O1")
        async with trio.open_nursery() as nursery:
            await receiver.until(lambda: receiver.taken != [])
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.start_soon(shop.client.post, f"{HOOK}/enable")
            await trio.testing.wait_all_tasks_blocked(0.05)
            for shard in shards:
                shard.let_commits()
        assert (await shop.state())["status"] == "ENABLED"
        assert (await shop.delivery(1))["log"][0]["status"] == 410
        await shop.pay("O2")
        await shop.until(delivered=1)


@pytest.mark.one_shard
@pytest.mark.parametrize("status", [410, 200])
async def test_attempt_that_waited_for_its_place_is_not_made_when_it_may_not_be(
    status: int, tmp_path: Path
) -> None:
    """The endpoint is gone, or the webhook disabled, by the time there is a place; then enabled."""
    let = trio.Event()

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await let.wait()
        return await answer(status)(taken, stream)

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        await shop.pay("O1")
        await shop.until(delivered=1)
        receiver.behave = behave
        places, other = shop.dispatcher._bureau.quick, object()
        places.total_tokens = 1
        await shop.pay("O2")
        await receiver.until(lambda: receiver.sequences == [1, 2])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(places.acquire_on_behalf_of, other)
            await trio.testing.wait_all_tasks_blocked()
            await shop.pay("O3")
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert places.statistics().tasks_waiting == 2
            if status == 200:
                await shop.client.post(f"{HOOK}/disable")
            let.set()
        await shop.until(status="DISABLED", pending=int(status == 410))
        await trio.testing.wait_all_tasks_blocked(0.05)
        places.release_on_behalf_of(other)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert receiver.sequences == [1, 2]
        receiver.behave = answer(200)
        await shop.client.post(f"{HOOK}/enable")
        await shop.until(delivered=2 if status == 410 else 3)
        assert receiver.sequences == [1, 2, 3]


REDIRECTS = (301, 302, 303, 307, 308)


@pytest.mark.one_shard
@pytest.mark.parametrize("status", REDIRECTS)
async def test_redirect_is_a_failure_and_not_followed(status: int, tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = answer(status, f"Location: {receiver.url('/other')}")
        await shop.pay("O1")
        await shop.until(pending=1)
        assert (await shop.delivery(1))["log"][0]["status"] == status
        assert [each.path for each in receiver.taken] == ["/hook"]


@pytest.mark.one_shard
async def test_answer_without_end_is_taken_by_its_status_and_hung_up_on(tmp_path: Path) -> None:
    sent = 0

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send_all(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            sent += 0x1000

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(delivered=1)
        assert sent < 64 << 20, "the receiver was not hung up on"


@pytest.mark.one_shard
async def test_body_that_stalls_holds_nothing_up(tmp_path: Path) -> None:
    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
        await trio.sleep_forever()
        return False

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(delivered=1)


@pytest.mark.one_shard
async def test_interim_answers_without_end_are_hung_up_on_at_once(tmp_path: Path) -> None:
    """Each costs the node as much as a real one; in the time of an attempt there are many."""

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        while True:
            await stream.send_all(b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000)

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(pending=1)
        (attempt,) = (await shop.delivery(1))["log"]
        assert attempt["error"] == "PROTOCOL"
        assert attempt["duration_ms"] < wire.ATTEMPT_S * 500


@pytest.mark.one_shard
async def test_body_of_many_small_chunks_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted is not their bytes alone: a kilobyte of them costs a thousand reads."""
    monkeypatch.setattr(wire, "BODY_S", 60.0)

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.send_all(b"1\r\nx\r\n" * 1_000)
        await trio.sleep_forever()
        return False

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(delivered=1)


NONSENSE = (
    b"",
    b"HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"HTTP/1.1 999999 x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
)


@pytest.mark.one_shard
@pytest.mark.parametrize("said", NONSENSE, ids=lambda said: repr(said[:30]))
async def test_answer_that_is_none_is_a_failure(said: bytes, tmp_path: Path) -> None:
    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await stream.send_all(said)
        return False

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(pending=1)
        (attempt,) = (await shop.delivery(1))["log"]
        assert attempt["error"] in ("PROTOCOL", "UNREACHABLE") or attempt["status"] == 101


async def test_dead_and_slow_endpoints_do_not_slow_another(tmp_path: Path) -> None:
    """The live one gets all of its events while the others have not answered a single one."""
    stuck = trio.Event()

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await stuck.wait()
        return False

    async with (
        open_shop(tmp_path) as shop,
        receiving(shop.tls) as live,
        receiving(shop.tls) as slow,
    ):
        slow.behave = behave
        others = [f"M{n}" for n in range(2, 8)]
        for merchant_no in others:
            one = {"merchant_no": merchant_no}
            await shop.do(
                {"command": "open_merchant", "currency": "USD", **one},
                {"command": "sign_agreement", "account_no": "A1",
                 "agreement_no": merchant_no, **one},
            )  # fmt: skip
            url = slow.url() if merchant_no < "M5" else "https://127.0.0.1:1/"
            await shop.set(url, merchant_no)
        await shop.set(live.url())
        for n in range(10):
            orders = [payment(f"O{n}", 1, merchant_no=each) for each in ("M1", *others)]
            await shop.do(*orders)
        await shop.until(delivered=10, pending=0)
        await slow.until(lambda: len(slow.taken) >= 3)
        # One probe at a time each, whatever waits.
        assert (slow.most, len(slow.taken)) == (3, 3)
        assert (await shop.state("M5"))["delivered"] == 0


async def test_many_events_use_few_connections_and_arrive_side_by_side(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        await shop.pay(*(f"O{n}" for n in range(200)))
        await shop.until(delivered=200, pending=0, cursor=200)
        assert sorted(receiver.sequences) == list(range(1, 201))
        assert receiver.most <= AT_ONCE
        assert receiver.connections <= 2 * AT_ONCE


async def test_node_that_stops_lets_what_is_under_way_end_and_notes_it(tmp_path: Path) -> None:
    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        shop.dispatcher._bureau.stopping = True
        return await answer(200)(taken, stream)

    store = new_store()
    keys = new_bank(tmp_path / "keys")
    async with receiving() as receiver:
        async with open_shop(tmp_path, store=store, keys=keys) as shop:
            await shop.client.shop()
            await shop.set(receiver.url())
            receiver.behave = behave
            await shop.pay("O1", "O2")
            await receiver.until(lambda: len(receiver.taken) == 1)
            await shop.dispatcher.drain()
            assert (await shop.state())["delivered"] == 1
        receiver.behave = answer(200)
        async with open_shop(tmp_path, store=store.reopened(), keys=keys) as again:
            await again.until(delivered=2)
            assert receiver.sequences == [1, 2]


@pytest.mark.one_shard
async def test_answer_that_does_not_come_is_waited_for_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "ATTEMPT_S", 0.3)

    async def behave(taken: Taken, stream: trio.abc.Stream) -> bool:
        await trio.sleep_forever()
        return False

    async with open_shop(tmp_path) as shop, receiving(shop.tls) as receiver:
        await shop.set(receiver.url())
        receiver.behave = behave
        await shop.pay("O1")
        await shop.until(pending=1)
        (attempt,) = (await shop.delivery(1))["log"]
        assert (attempt["error"], attempt["status"]) == ("TIMEOUT", None)
        assert attempt["duration_ms"] >= 300
