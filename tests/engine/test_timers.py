"""Timers: durable, fired once, each at its own time, seen before they are durable."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.clock import DomainClock, WallClock
from engine.limits import Limits
from storage.row import TIMERS
from storage.store import Store
from tests.engine.purses import (
    MIDNIGHT_NS,
    SECOND_NS,
    GatedStore,
    Look,
    Remind,
    SetAlarms,
    balances,
    check_books,
    give_ok,
    killed,
    memory_store,
    purses,
    running,
    settled,
)


def at(seconds: float) -> int:
    return MIDNIGHT_NS + int(seconds * SECOND_NS)


def log(store: Store, number: str = "a") -> list[str]:
    return list(purses(store)[number].log) if number in purses(store) else []


async def test_clock_that_jumps_fires_each_timer_at_its_own_time_before_the_command() -> None:
    store = memory_store()
    async with running(store) as shard:
        put = ((at(3), "n", "third"), (at(1), "n", "first"), (at(2), "n", "second"))
        await shard.ask("purse/a", SetAlarms((*put, (at(9), "n", "later"))))
        purse = await shard.ask("purse/a", Look(), at_ns=at(5))
        assert purse.log == ("first@1", "second@2", "third@3")
        assert shard.clock.now_ns() == at(5)
        assert shard.stage.next_due == at(9)
        assert store.snapshot().count(TIMERS) == 1
        assert (await shard.ask("purse/a", Look(), at_ns=at(9))).log[-1] == "later@9"


async def test_timers_chain_runs_before_the_next_timer() -> None:
    """What a timer sends has arrived before time goes on."""
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 10)
        await shard.ask("purse/a", Remind(at(1), "purse/b", 10))
        await shard.ask("purse/b", Remind(at(2), "purse/c", 10))
        await shard.ask("purse/z", Look(), at_ns=at(3))
        await settled()
    assert balances(store) == {"bank": -10, "a": 0, "b": 0, "c": 10}
    check_books(store)


async def test_command_of_that_instant_waits_for_all_of_a_timers_chain() -> None:
    """In slices too short for the chain, the command had waited when the timer fired: it must not
    begin beside what is left of the chain."""
    store = memory_store()
    async with running(store, Limits(slice_s=0.0)) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 10)
        await shard.ask("purse/a", Remind(at(1), "purse/b", 10))
        assert (await shard.ask("purse/b", Look(), at_ns=at(1))).balance_minor == 10


async def test_timer_set_and_cancelled_in_one_batch_leaves_nothing() -> None:
    store = GatedStore()
    async with running(store) as shard:
        store.held = True
        told: list[Any] = []
        shard.submit(
            "purse/a", SetAlarms(((at(1), "n", "ring"), (at(1), "m", "ring"))), told.append
        )
        await settled()
        shard.submit("purse/a", SetAlarms((), ((at(1), "n"), (at(7), "x"))), told.append)
        shard.submit("purse/a", SetAlarms(((at(2), "o", "ring"),), ((at(2), "o"),)), told.append)
        shard.submit("purse/a", Look(), told.append, at_ns=at(1))
        await settled()
        assert shard.stage.actors["purse/a"].state.log == ("ring@1",), "m, not durable yet"
        store.let()
        await settled()
        assert len(told) == 4
        assert store.snapshot().count(TIMERS) == 0


async def test_timer_cancelled_by_one_before_it_stays_silent() -> None:
    store = memory_store()
    async with running(store) as shard:
        put = ((at(1), "a", "cancel b"), (at(1), "b", "ring"), (at(1), "c", "ring"))
        await shard.ask("purse/a", SetAlarms(put))
        assert (await shard.ask("purse/a", Look(), at_ns=at(1))).log == ("cancel b@1", "ring@1")
    assert store.snapshot().count(TIMERS) == 0


async def test_timer_set_anew_by_one_before_it_says_the_new_thing() -> None:
    store = memory_store()
    async with running(store) as shard:
        put = ((at(1), "a", "again b new"), (at(1), "b", "old"))
        await shard.ask("purse/a", SetAlarms(put))
        assert (await shard.ask("purse/a", Look(), at_ns=at(1))).log == ("again b new@1", "new@1")
    assert store.snapshot().count(TIMERS) == 0


async def test_timer_that_sets_itself_anew_fires_again() -> None:
    store = memory_store()
    async with running(store) as shard:
        await shard.ask("purse/a", SetAlarms(((at(1), "a", "again a ring"),)))
        assert (await shard.ask("purse/a", Look(), at_ns=at(1))).log == ("again a ring@1", "ring@1")


@pytest.mark.parametrize("clean", [True, False])
async def test_timers_survive_a_restart(clean: bool) -> None:
    store = memory_store()
    async with killed(store) as shard:
        put = tuple((at(n), f"t{n:03d}", f"{n}") for n in range(1, 250))
        await shard.ask("purse/a", SetAlarms(put, ()))
        await shard.ask("purse/a", SetAlarms((), ((at(2), "t002"),)))
        assert (await shard.ask("purse/a", Look(), at_ns=at(3))).log == ("1@1", "3@3")
    store.close(clean=clean)
    reopened = store.reopened()
    async with running(reopened, clock=DomainClock(at(4))) as shard:
        assert (await shard.ask("purse/a", Look())).log[2:] == ("4@4",)
        await shard.ask("purse/a", Look(), at_ns=at(1000))
    assert log(reopened) == [f"{n}@{n}" for n in range(1, 250) if n != 2]
    assert reopened.snapshot().count(TIMERS) == 0


async def test_timer_crashed_before_its_commit_fires_again_with_one_effect() -> None:
    store = GatedStore()
    async with killed(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 10)
        await shard.ask("purse/a", Remind(at(1), "purse/b", 10))
        store.held = True
        shard.submit("purse/z", Look(), lambda _: None, at_ns=at(1))
        await settled()
        assert shard.stage.actors["purse/b"].state.balance_minor == 10
    reopened = store.reopened()
    assert balances(reopened) == {"bank": -10, "a": 10}
    async with running(reopened, clock=DomainClock(at(1))):
        pass
    assert balances(reopened) == {"bank": -10, "a": 0, "b": 10}


async def test_many_timers_due_at_once_fire_without_waiting_for_ticks() -> None:
    store = memory_store()
    async with running(store, Limits(slice_s=0)) as shard:
        for batch in range(10):
            put = tuple((at(1), f"{batch}-{n}", "x") for n in range(100))
            await shard.ask(f"purse/{batch}", SetAlarms(put))
        assert isinstance(shard.clock, DomainClock)
        shard.clock.advance_to(at(1))
        shard._wake.set()
        await settled()
        assert store.snapshot().count(TIMERS) == 0


async def test_shard_never_sees_time_go_back_over_a_restart() -> None:
    """The machine's clock was set back meanwhile: it stands still until it has caught up."""
    store = memory_store()
    async with running(store, clock=WallClock(lambda: at(100))) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
    assert store.last.now_ns == at(100)
    reopened = store.reopened()
    async with running(reopened, clock=WallClock(lambda: at(50))) as shard:
        await shard.ask("purse/a", SetAlarms(((at(100), "n", "due"),)))
        await give_ok(shard, "purse/bank", "purse/a", 1)
        await settled()
        assert log(reopened) == ["due@100"]
    assert reopened.last.now_ns == at(100)


moves = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 20), st.sampled_from("xyz")),
    st.tuples(st.just("cancel"), st.integers(0, 20), st.sampled_from("xyz")),
    st.tuples(st.just("move"), st.integers(0, 5)),
    st.tuples(st.just("crash")),
)


@given(st.lists(moves, max_size=40))
async def test_timers_fire_as_a_plain_list_says(schedule: list[Any]) -> None:
    """Random puts, cancels, jumps and restarts, against a dict of what is set."""
    store = memory_store()
    expected: list[str] = []
    model: dict[tuple[int, str], str] = {}
    now = 0
    while True:
        async with killed(store, Limits(slice_s=0), DomainClock(at(now))) as shard:
            while schedule:
                match schedule.pop(0):
                    case ("put", seconds, name):
                        text = f"{name}{len(schedule)}"
                        await shard.ask("purse/a", SetAlarms(((at(seconds), name, text),)))
                        model[seconds, name] = text
                    case ("cancel", seconds, name):
                        await shard.ask("purse/a", SetAlarms((), ((at(seconds), name),)))
                        model.pop((seconds, name), None)
                    case ("move", seconds):
                        await shard.ask("purse/z", Look(), at_ns=at(now + seconds))
                        now += seconds
                    case ("crash",):
                        break
                await settled()
                for due, name in sorted(each for each in model if each[0] <= now):
                    expected.append(model.pop((due, name)))
            done = not schedule
            assert [text.partition("@")[0] for text in log(store)] == expected
            assert store.snapshot().count(TIMERS) == len(model)
        if done:
            return
        store = store.reopened()
