"""Chains longer than a slice become durable messages to oneself: exactly once, whatever happens."""

from functools import partial
from typing import Any

import pytest
import trio

from engine.control import ReleaseParked
from engine.dates import CutDay, DateState
from engine.fault import OUTCOME_UNKNOWN
from engine.limits import Limits
from storage.row import OUTBOX
from tests.engine.purses import (
    MIDNIGHT_NS,
    GatedStore,
    Given,
    Look,
    Purse,
    RecordingStore,
    Send,
    SetAlarms,
    Spin,
    balances,
    check_books,
    give_ok,
    killed,
    purses,
    running,
)

TINY = Limits(slice_s=0, batch_s=0)
"""Each slice gives one turn, and each batch is cut as soon as it may be."""
WAY = tuple(f"purse/{name}" for name in "abcdefgh")
ARRIVED = {"bank": -40, **dict.fromkeys("abcdefg", 2), "h": 26}


async def test_chain_longer_than_a_slice_goes_on_from_the_outbox() -> None:
    store = RecordingStore()
    async with running(store, TINY) as shard:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(shard.ask, "purse/bank", Send(WAY, 20))
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
    assert any(left.snapshot().count(OUTBOX) for left in store.left), "nothing was carried over"
    assert balances(store) == ARRIVED
    for left in store.left:
        check_books(left)
    assert store.snapshot().count(OUTBOX) == 0
    assert sum(each.messages_minor for each in store.last.sums) == 0


@pytest.mark.parametrize("limits", [TINY, Limits()], ids=["tiny", "usual"])
async def test_crash_after_any_commit_has_each_effect_once(limits: Limits) -> None:
    """Also a second crash, at every commit of the recovery itself."""
    store = RecordingStore()
    async with running(store, TINY) as shard:
        shard.submit("purse/bank", Send(WAY, 20), lambda _: None)
        shard.submit("purse/bank", Send(WAY, 20), lambda _: None)
    begun = [purses(left).get("bank", Purse()).balance_minor for left in store.left]
    for left, bank_minor in zip(store.left, begun, strict=True):
        again = RecordingStore()
        for name in ("_tables", "last", "epoch", "was_clean"):
            setattr(again, name, getattr(left, name))
        async with running(again, limits):
            pass
        sent = -bank_minor // 20
        ways = {"bank": -20, **dict.fromkeys("abcdefg", 1), "h": 13}
        expected = {name: minor * sent for name, minor in ways.items() if sent}
        for crashed_again in (*again.left[1:], again):
            finished = crashed_again.reopened()
            async with running(finished, limits):
                pass
            assert balances(finished) == expected
            assert {name: purse.gifts for name, purse in purses(finished).items()} == {
                name: sent * (name != "bank") for name in expected
            }
            check_books(finished)


async def test_answer_of_an_earlier_boot_reaches_nobody() -> None:
    """A chain that goes on after a crash still has its token; numbers begin anew."""
    store = RecordingStore()
    async with killed(store, TINY) as shard:
        shard.submit("purse/bank", Send(WAY, 20), lambda _: None)
        while not store.snapshot().count(OUTBOX):
            await trio.lowlevel.checkpoint()
    answers: list[Any] = []
    async with running(store.reopened(), TINY) as shard:
        assert shard.submit("purse/z", Look(), answers.append) is None
        await give_ok(shard, "purse/bank", "purse/z", 3)
    assert answers in ([Purse()], [Purse(3, 10, 1)])
    assert len(answers) == 1


async def test_chain_that_never_ends_shuts_nobody_out() -> None:
    """Commands, operators, timers and commits all have their turn beside it."""
    store = RecordingStore()
    async with running(store) as shard:
        shard.submit("purse/spinning", Spin(), lambda _: None)
        with trio.fail_after(10):
            await shard.ask("purse/a", SetAlarms(((MIDNIGHT_NS, "n", "ring"),)))
            await give_ok(shard, "purse/bank", "purse/a", 1)
            await shard.ask_control(ReleaseParked("purse/a"))
            cut = await shard.ask_control(CutDay("2026-01-01"))
            assert cut.state is DateState.CLOSING, "the chain is of that date"
            assert await give_ok(shard, "purse/bank", "purse/a", 1) == Given(2)
        assert purses(store)["a"].log == ("ring@0",)
        assert shard.stage.business_date == "2026-01-02"
        shard.fail(RuntimeError("it would spin for ever"))


async def test_timer_that_always_sets_itself_anew_shuts_nobody_out() -> None:
    async with running(RecordingStore()) as shard:
        with trio.fail_after(10):
            await shard.ask("purse/a", SetAlarms(((MIDNIGHT_NS, "always", "always"),)))
            await give_ok(shard, "purse/bank", "purse/a", 1)
            cut = await shard.ask_control(CutDay("2026-01-01"))
            assert cut.state is DateState.CLOSED
            assert await give_ok(shard, "purse/bank", "purse/a", 1) == Given(2)


async def test_recovery_ends_beside_a_chain_that_never_does() -> None:
    """What follows from a recovered message is the scheduler's."""
    store = RecordingStore()
    async with killed(store, TINY) as shard:
        shard.submit("purse/spinning", Spin(), lambda _: None)
        while not store.snapshot().count(OUTBOX):
            await give_ok(shard, "purse/bank", "purse/a", 1)
    left = store.reopened()
    before = balances(left)["a"]
    with trio.fail_after(10):
        async with running(left, TINY) as shard:
            await give_ok(shard, "purse/bank", "purse/a", 1)
            shard.fail(RuntimeError("it would spin for ever"))
    assert balances(left)["a"] == before + 1
    check_books(left)


async def test_lane_keeps_its_order_beside_a_chain_that_never_ends() -> None:
    order: list[int] = []
    async with running(RecordingStore(), TINY) as shard:
        shard.submit("purse/spinning", Spin(), lambda _: None)
        with trio.fail_after(10):
            for n in range(10):
                reply = partial(lambda n, _: order.append(n), n)
                shard.submit(f"purse/{n}", Look(), reply, lane="x")
            await shard.ask("purse/last", Look())
            while len(order) < 10:
                await trio.lowlevel.checkpoint()
        assert order == list(range(10))
        shard.fail(RuntimeError("it would spin for ever"))


async def test_waiter_of_a_carried_chain_is_told_at_a_failure() -> None:
    store = GatedStore()
    answers: list[Any] = []
    async with running(store, TINY) as shard:
        shard.submit("purse/bank", Send(WAY, 20), answers.append)
        while not store.snapshot().count(OUTBOX):
            await trio.lowlevel.checkpoint()
        store.fail_next = "lost"
    assert answers == [OUTCOME_UNKNOWN]
    check_books(store)
