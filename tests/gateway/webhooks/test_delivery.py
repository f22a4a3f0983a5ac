"""Events reach a merchant's server: over real sockets and TLS, signed, in order, at least once."""

from pathlib import Path

from tests.gateway.webhooks.receiver import receiving
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
