"""What shards must not do to each other: overtake time, starve, leave somebody waiting."""

from typing import Any

import pytest
import trio
from msgspec import Struct

from engine.clock import WallClock
from engine.shard import ShardFailedError
from storage.store import CommitTimes, Writes
from tests.engine.purses import (
    MIDNIGHT_NS,
    SECOND_NS,
    Give,
    Given,
    Look,
    Mending,
    Purse,
    SetAlarms,
    Spin,
    settled,
)
from tests.engine.shards import (
    SHARDS,
    LoggedStore,
    new_stores,
    on,
    running_node,
)

A, B, C = (on(shard) for shard in range(SHARDS))


def at(seconds: float) -> int:
    return MIDNIGHT_NS + int(seconds * SECOND_NS)


@pytest.fixture(autouse=True)
def _broken_purses() -> None:
    Mending.mended = False


class SlowStore(LoggedStore):
    """A store whose commits take a while, as on a disk."""

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`."""
        await trio.sleep(0.01)
        return await super().commit(writes)


# Fairness.


@pytest.mark.parametrize("endless", [Spin(), SetAlarms(((0, "always", "always"),))])
async def test_chain_without_end_does_not_shut_out_messages_of_other_shards(
    endless: Struct,
) -> None:
    stores = new_stores()
    async with running_node(stores, clock=WallClock()) as node:
        node.submit(A, endless, lambda _: None)
        for number in range(5):
            assert isinstance(await node.ask(B, Look()), Purse)
            given = await node.ask("purse/bank", Give(on(0, "x"), 5, str(number)))
            assert isinstance(given, Given)
        node.fail(RuntimeError("it would never come to rest"))


# Failures.


async def test_commit_that_waited_for_views_is_not_begun_once_the_shard_has_failed() -> None:
    """The turn that failed it had taken its message: the cursor alone must not become durable."""
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(A, 5))
        await settled()
        shard = node.shards[0]
        shard.hold_commits()
        answers: list[Any] = []
        node.submit(A, SetAlarms(((at(9), "n", "ring"),)), answers.append)
        await settled()
        before = stores[0].last.sequence
        node.fail(RuntimeError("on purpose"))
        shard.let_commits()
        await settled()
        assert stores[0].last.sequence == before
    assert len(answers) == 1


async def test_views_asked_of_a_node_that_fails_are_refused() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        stores[1].held = True
        node.submit(B, SetAlarms(((at(9), "n", "ring"),)), lambda _: None)
        await settled()
        refused: list[str] = []

        async def open_views() -> None:
            try:
                await node.snapshots()
            except ShardFailedError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_views)
            await settled()
            node.fail(RuntimeError("on purpose"))
            await settled()
            assert len(refused) == 1
            nursery.cancel_scope.cancel()
        stores[1].let()
