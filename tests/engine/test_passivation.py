"""Passivation: memory is bounded, and nothing that is not durable is ever let go."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.limits import Limits
from engine.shard import Shard
from storage.memory import MemoryStore
from tests.engine.purses import (
    BY_TAG,
    Found,
    GatedStore,
    Give,
    Look,
    Purse,
    Read,
    Write,
    give_ok,
    killed,
    memory_store,
    running,
    settled,
)


async def test_actors_in_memory_stay_within_the_bound() -> None:
    store = memory_store()
    async with running(store, Limits(actors_max=20)) as shard:
        for n in range(200):
            await give_ok(shard, "purse/bank", f"purse/{n}", n + 1)
            await settled()
            assert len(shard.stage.actors) <= 22, "one slice may bring two more"
        for n in range(200):
            assert await shard.ask(f"purse/{n}", Look()) == Purse(n + 1, 2 * n + 2, 1)


async def test_actor_with_changes_that_are_not_durable_stays() -> None:
    store = GatedStore()
    async with running(store, Limits(actors_max=5)) as shard:
        store.held = True
        for n in range(50):
            shard.submit("purse/bank", Give(f"purse/{n}", n + 1), lambda _: None)
            await settled()
        assert {f"purse/{n}" for n in range(50)} <= shard.stage.actors.keys()
        store.let()
        await settled()
        for _ in range(3):
            await shard.ask("purse/bank", Look())
        assert len(shard.stage.actors) <= 6
        assert await shard.ask("purse/7", Look()) == Purse(8, 16, 1)


async def test_actor_that_comes_back_beside_a_commit_is_what_it_was() -> None:
    """It was let go after one commit and comes back while the next one is under way."""
    store = GatedStore()
    async with running(store, Limits(actors_max=3)) as shard:
        await shard.ask("purse/a", Write("a", "5", 1))
        for n in range(9):
            await shard.ask(f"purse/{n}", Look())
        assert "purse/a" not in shard.stage.actors
        store.held = True
        told: list[Any] = []
        shard.submit("purse/a", Write("a", "7", 2), told.append)
        await settled()
        for n in range(9):
            shard.submit(f"purse/{n}", Look(), told.append)
            await settled()
        assert "purse/a" in shard.stage.actors
        for name in "567":
            shard.submit("purse/a", Read("a", name), told.append)
        await settled()
        store.let()
        await settled()
        assert [each for each in told if isinstance(each, Found)] == [
            Found(2),
            Found(1),
            Found(None),
            Found(2),
        ]


async def _ask(
    shard: Shard, told: list[tuple[Any, list[Any]]], number: str, command: Any, expected: Any
) -> None:
    answers: list[Any] = []
    shard.submit(f"purse/{number}", command, answers.append)
    told.append((expected, answers))
    await settled()


@pytest.mark.parametrize("tag", sorted(BY_TAG))
async def test_records_written_against_their_order_are_found(tag: str) -> None:
    """Also when the higher one comes from the store and the actor has only now come to life."""
    store = memory_store()
    async with running(store) as shard:
        for name in ("3", "5", "4"):
            assert await shard.ask("purse/a", Write(tag, name, int(name))) == Found(int(name))
        for name, value in (("3", 3), ("4", 4), ("5", 5), ("6", None)):
            assert await shard.ask("purse/a", Read(tag, name)) == Found(value)
    async with running(store.reopened()) as shard:
        assert await shard.ask("purse/a", Write(tag, "1", 1)) == Found(1)
        for name, value in (("1", 1), ("2", None), ("3", 3), ("5", 5)):
            assert await shard.ask("purse/a", Read(tag, name)) == Found(value)
        assert await shard.ask("purse/a", Write(tag, "5", 6)) == Found(6)
        assert await shard.ask("purse/a", Read(tag, "5")) == Found(6)


async def test_actor_with_many_kept_records_keeps_some() -> None:
    async with running(memory_store()) as shard:
        for n in range(100):
            await shard.ask("purse/a", Write("k", f"{n}", n))
        for n in range(100):
            assert await shard.ask("purse/a", Read("k", f"{n}")) == Found(n)
        kept = shard.stage.actors["purse/a"].kept
        assert kept is not None
        assert len(kept) <= 32


names = st.sampled_from(["1", "2", "20", "3"])
tags = st.sampled_from("aaabbkp")
numbers = st.sampled_from(["x", "xy"])
steps = st.one_of(
    st.tuples(st.just("write"), numbers, tags, names, st.booleans()),
    st.tuples(st.just("write"), numbers, tags, names, st.just(False)),
    st.tuples(st.just("read"), numbers, tags, names),
    st.tuples(st.just("evict")),
    st.tuples(st.just("hold")),
    st.tuples(st.just("let")),
    st.tuples(st.just("restart")),
)


@settings(max_examples=250)
@given(st.lists(steps, max_size=40))
async def test_records_are_what_a_dict_says(schedule: list[Any]) -> None:
    """Every record kind, kept or ascending or both, beside evictions, held commits and restarts:
    above all, a name above the highest is never taken for free when it is not."""
    store: MemoryStore = GatedStore()
    model: dict[tuple[str, str, str], int] = {}
    value = 0
    while True:
        async with killed(store, Limits(actors_max=2, slice_s=0)) as shard:
            told: list[tuple[Any, list[Any]]] = []
            ask = partial(_ask, shard, told)
            while schedule:
                match schedule.pop(0):
                    case ("write", number, tag, name, fail):
                        value += 1
                        answer = None if fail else Found(value)
                        await ask(number, Write(tag, name, value, fail), answer)
                        if not fail:
                            model[number, tag, name] = value
                    case ("read", number, tag, name):
                        await ask(number, Read(tag, name), Found(model.get((number, tag, name))))
                    case ("evict",):
                        for n in range(4):
                            await ask(f"other{n}", Look(), Purse())
                    case ("hold",) if isinstance(store, GatedStore):
                        store.held = True
                    case ("let",) if isinstance(store, GatedStore):
                        store.let()
                    case ("restart",):
                        break
            if isinstance(store, GatedStore):
                store.let()
            await settled()
            for (number, tag, name), written in model.items():
                await ask(number, Read(tag, name), Found(written))
            for expected, answers in told:
                assert len(answers) == 1
                assert expected is None or answers == [expected]
            done = not schedule
        if done:
            return
        store = store.reopened()
