"""The bank as operators see it: its day, as the last commits have it, and its own certificates."""

from tests.gateway.ops.guarded import Guarded
from tests.gateway.ops.test_look import OPENING, pay


async def test_bank_says_which_date_it_is_before_and_after_a_cut(guarded: Guarded) -> None:
    await guarded.commands(*OPENING, pay())
    first = await guarded.look("/ops/bank")
    assert first == {"object": "bank", "business_date": "2026-01-05", "dates_closing": []}
    cut = {"business_date": first["business_date"]}
    answer = await guarded.ops.client.post(f"{guarded.ops.running.address}/v1/day-cuts", json=cut)
    assert answer.json()["state"] == "CLOSED"
    second = await guarded.look("/ops/bank")
    assert (second["business_date"], second["dates_closing"]) == ("2026-01-06", [])
    assert (await guarded.look("/ops/bank/certificates"))["items"] == []
