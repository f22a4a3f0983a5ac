"""Activity: what goes on at a shard's actors, counted without keeping others waiting."""

import pytest
import trio
import trio.testing

from engine import activity as activities
from engine.activity import Activity, activity
from tests.engine.purses import GatedStore, Give, Look, Misbehave, give_ok, running, settled


async def test_what_goes_on_is_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tens of thousands may wait at a hot actor, and each takes a microsecond to count."""
    async with running(GatedStore()) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        await shard.ask("purse/b", Misbehave("raise"))
        for _ in range(30):
            await shard.ask("purse/c", Look())
        whole = await activity(shard)
        assert (whole["purse/c"].turns, whole["purse/b"].failures) == (30, 1)
        monkeypatch.setattr(activities, "AT_ONCE", 4)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            assert await activity(shard) == whole
            nursery.cancel_scope.cancel()
        assert turns >= 30 // 4


async def test_what_waits_is_counted_with_the_age_of_its_oldest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(GatedStore()) as shard:
        # Submitted in one go of the event loop: the shard has had no turn since.
        for _ in range(3):
            shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        found = await activity(shard)
        assert found["purse/bank"].depth == 3
        await settled()
        assert (await activity(shard)).get("purse/bank", Activity()).depth == 0
