"""Activity: what goes on at a shard's actors, counted without keeping others waiting."""

from collections.abc import Iterable

import pytest
import trio
import trio.testing

from engine import activity as activities
from engine.activity import Activities, Activity, Measure
from engine.shard import Shard
from tests.engine.purses import GatedStore, Give, Look, Misbehave, give_ok, running, settled

MEASURES: Iterable[Measure] = ("depth", "head_age", "turn_time", "failures", "dead_letters")


async def _all(shard: Shard) -> tuple[dict[str, Activity], list[dict[str, float]]]:
    """Return what goes on at all of a shard's actors, and each measure of them."""
    found = Activities(shard)
    most = [await found.most(each) for each in MEASURES]
    return await found.at({address for measure in most for address in measure}), most


async def test_what_goes_on_is_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tens of thousands may wait at a hot actor, and each takes a microsecond to count."""
    async with running(GatedStore()) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        await shard.ask("purse/b", Misbehave("raise"))
        for _ in range(30):
            await shard.ask("purse/c", Look())
        whole = await _all(shard)
        assert (whole[0]["purse/c"].turns, whole[0]["purse/b"].failures) == (30, 1)
        monkeypatch.setattr(activities, "AT_ONCE", 4)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            assert await _all(shard) == whole
            nursery.cancel_scope.cancel()
        assert turns >= 3 * 30 // 4


async def test_a_measure_is_that_of_each_actor_and_leaves_out_those_with_none() -> None:
    async with running(GatedStore()) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        for _ in range(3):
            await shard.ask("purse/b", Misbehave("raise"))
        at, (_, _, turn_time, failures, dead_letters) = await _all(shard)
        assert turn_time == {address: each.turn_ns_max for address, each in at.items()}
        assert turn_time.keys() == {"purse/bank", "purse/a", "purse/b"}
        assert (failures, dead_letters) == ({"purse/b": 3.0}, {})
        assert await Activities(shard).at({"purse/none"}) == {"purse/none": Activity()}


async def test_what_waits_is_counted_with_the_age_of_its_oldest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running(GatedStore()) as shard:
        # Submitted in one go of the event loop: the shard has had no turn since.
        for _ in range(3):
            shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        found = Activities(shard)
        assert await found.most("depth") == {"purse/bank": 3.0}
        assert (await found.at({"purse/bank"}))["purse/bank"].depth == 3
        await settled()
        assert await Activities(shard).most("depth") == {}
