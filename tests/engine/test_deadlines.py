"""Deadlines: before its first turn a command has not happened, after it the effect stands."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.clock import DomainClock, WallClock
from engine.fault import ACTOR_BUSY, NODE_BUSY, OUTCOME_UNKNOWN, TIMEOUT
from engine.limits import Limits
from tests.engine.purses import (
    MIDNIGHT_NS,
    SECOND_NS,
    GatedStore,
    Give,
    Given,
    Ignore,
    Join,
    Look,
    Purse,
    SetAlarms,
    Settle,
    Spin,
    balances,
    give_ok,
    memory_store,
    purses,
    running,
    settled,
)


async def test_command_that_expired_before_its_first_turn_never_happens() -> None:
    store = memory_store()
    async with running(store) as shard:
        answers: list[Any] = []
        shard.submit("purse/bank", Give("purse/a", 1), answers.append, deadline=0)
        await settled()
        assert answers == [TIMEOUT]
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
    assert store.last.sequence == 0


async def test_command_that_expires_while_queued_frees_its_slot(autojump_clock: MockClock) -> None:
    """It waits behind one that is held; answer and slot come at its deadline, not later."""
    store = memory_store()
    async with running(store, Limits(unconfirmed_max=2, slice_s=0)) as shard:
        answers: list[Any] = []
        shard.submit("purse/a", Spin(), lambda _: None)
        await trio.lowlevel.checkpoint()
        deadline = trio.current_time() + 1
        shard.submit("purse/bank", Give("purse/a", 1), answers.append, deadline=deadline)
        shard.callers.expire(deadline - 0.5)
        assert not answers
        shard.callers.expire(deadline)
        assert answers == [TIMEOUT]
        assert (shard.admission.unconfirmed, len(shard.stage.asks)) == (1, 1)
        assert shard.submit("purse/bank", Give("purse/a", 2), answers.append) is None
        while len(answers) < 2:
            await trio.lowlevel.checkpoint()
        assert answers == [TIMEOUT, Given(2)]
        assert balances(store) == {"bank": -2, "a": 2}
        shard.fail(RuntimeError("the spinning purse would keep it from stopping"))


async def test_effect_stands_when_the_deadline_passes_after_the_first_turn(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    async with running(store) as shard:
        store.held = True
        assert await shard.ask("purse/bank", Give("purse/a", 5), timeout_s=1) is OUTCOME_UNKNOWN
        store.let()
        assert await shard.ask("purse/a", Look()) == Purse(5, 2, 1)


async def test_expired_command_leaves_the_clock_alone() -> None:
    """TIMEOUT means that nothing happened, not even time."""
    clock = DomainClock(MIDNIGHT_NS)
    async with running(memory_store(), clock=clock) as shard:
        answers: list[Any] = []
        later = MIDNIGHT_NS + 10 * SECOND_NS
        shard.submit("purse/a", Look(), answers.append, deadline=0, at_ns=later)
        await settled()
        assert answers == [TIMEOUT]
        assert clock.now_ns() == MIDNIGHT_NS


async def test_command_that_never_answers_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    async with running(memory_store()) as shard:
        assert await shard.ask("purse/a", Ignore(), timeout_s=1) is OUTCOME_UNKNOWN
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})


async def test_joined_command_holds_its_slot_until_it_is_told(autojump_clock: MockClock) -> None:
    """Its own chain is over at once; without a slot, callers that wait would not be bounded."""
    async with running(memory_store(), Limits(unconfirmed_max=3)) as shard:
        answers: list[Any] = []
        for _ in range(2):
            shard.submit("purse/a", Join(), answers.append)
        shard.submit("purse/a", Join(), answers.append, deadline=trio.current_time() + 1)
        await settled()
        assert shard.submit("purse/a", Settle(), answers.append) is NODE_BUSY
        await trio.sleep(2)
        assert answers == [OUTCOME_UNKNOWN]
        assert await shard.ask("purse/a", Settle()) == Given(0)
        assert answers == [OUTCOME_UNKNOWN, Given(3), Given(3)]
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})


async def test_quarantine_met_in_the_queue_is_told_once(autojump_clock: MockClock) -> None:
    """The deadline passes between the refusal and its commit: one answer, one slot freed."""
    store = GatedStore()
    async with running(store, Limits(slice_s=60.0)) as shard:
        answers: list[Any] = []
        shard.submit("purse/bank", Give("purse/broken", 1), answers.append)
        deadline = trio.current_time() + 1
        shard.submit("purse/broken", Look(), answers.append, deadline=deadline)
        store.held = True
        await trio.sleep(2)
        assert answers == [OUTCOME_UNKNOWN]
        store.let()
        await settled()
        assert answers == [OUTCOME_UNKNOWN, OUTCOME_UNKNOWN]
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
        await give_ok(shard, "purse/bank", "purse/a", 1)


async def test_wait_that_is_cancelled_leaves_the_command_alone() -> None:
    store = memory_store()
    async with running(store) as shard:
        with trio.CancelScope() as scope:
            scope.cancel()
            await shard.ask("purse/bank", Give("purse/a", 5))
        await settled()
        assert balances(store)["a"] == 5
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})


async def test_command_of_a_later_time_waits_for_no_clock_that_cannot_be_moved(
    autojump_clock: MockClock,
) -> None:
    """A node on wall time is asked to move its clock past a timer: it goes on without."""
    store = memory_store()
    clock = WallClock()
    soon = clock.now_ns() + 3_600 * SECOND_NS
    async with running(store, clock=clock) as shard:
        await shard.ask("purse/a", SetAlarms(((soon, "n", "ring"),)))
        with trio.fail_after(5):
            assert await shard.ask("purse/b", Look(), at_ns=soon + 1, timeout_s=1) == Purse()
            assert await shard.ask("purse/b", Look(), timeout_s=1) == Purse()
    assert purses(store) == {}


@pytest.mark.parametrize("limits", [Limits(unconfirmed_max=2), Limits(actor_unconfirmed_max=2)])
async def test_slot_is_free_again_when_its_answer_comes(limits: Limits) -> None:
    """A caller with as many under way as it may have can go on from inside its callback."""
    async with running(memory_store(), limits) as shard:
        faults: list[Any] = []

        def go_on(answer: Any) -> None:
            assert isinstance(answer, Given)
            if len(faults) < 20:
                faults.append(shard.submit("purse/bank", Give("purse/a", 1), go_on))

        for _ in range(2):
            shard.submit("purse/bank", Give("purse/a", 1), go_on)
        busy = shard.submit("purse/bank", Give("purse/a", 1), go_on)
        assert busy in (NODE_BUSY, ACTOR_BUSY)
        await settled()
        assert faults == [None] * 20
