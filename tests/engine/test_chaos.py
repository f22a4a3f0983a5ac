"""Whatever comes together, nothing leaks and no money moves on its own (property tests)."""

from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.control import DiscardParked, ReleaseParked
from engine.dates import CutDay
from engine.limits import Limits
from tests.engine.purses import (
    GatedStore,
    Give,
    Ignore,
    Join,
    Look,
    Mending,
    Misbehave,
    Read,
    Send,
    SetAlarms,
    Settle,
    Write,
    check_books,
    running,
    settled,
)

ADDRESSES = [f"purse/{name}" for name in ("bank", "a", "b", "broken", "broken2")]
addresses = st.sampled_from(ADDRESSES)
commands = st.one_of(
    st.builds(Give, addresses, st.integers(1, 9), st.sampled_from(["", "1", "2"])),
    st.builds(Send, st.lists(addresses, min_size=1, max_size=5).map(tuple), st.integers(6, 9)),
    st.sampled_from([Look(), Ignore(), Join(), Settle(), Misbehave("raise"), Misbehave("flood")]),
    st.builds(Write, st.sampled_from("pkab"), st.sampled_from("123"), st.integers(0, 9)),
    st.builds(Read, st.sampled_from("pkab"), st.sampled_from("123")),
    st.builds(
        lambda name, text: SetAlarms(((0, name, text),)),
        st.sampled_from("xy"),
        st.sampled_from(["ring", "raise", "cancel x", "again y ring"]),
    ),
)
steps = st.one_of(
    st.tuples(st.just("submit"), addresses, commands, st.sampled_from([0.0, 0.5, 5.0])),
    st.tuples(st.just("hold")),
    st.tuples(st.just("let")),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.2, 1.0])),
    st.tuples(st.just("rest")),
    st.tuples(st.just("release"), addresses),
    st.tuples(st.just("discard"), addresses),
    st.tuples(st.just("mend"), st.booleans()),
    st.tuples(st.just("cut")),
    st.tuples(st.just("room"), st.booleans()),
)
limits = st.builds(
    Limits,
    unconfirmed_max=st.sampled_from([2, 5, 100]),
    actor_unconfirmed_max=st.sampled_from([1, 3, 100]),
    actors_max=st.sampled_from([1, 3, 100]),
    slice_s=st.sampled_from([0.0, 0.005]),
    batch_s=st.sampled_from([0.0, 0.02]),
)


@settings(max_examples=150)
@given(limits, st.lists(steps, max_size=30), st.sampled_from(["rest", "stop", "kept", "lost"]))
def test_nothing_leaks_whatever_comes_together(
    limits: Limits, schedule: list[Any], end: str
) -> None:
    """Every caller is told exactly once, every slot is freed, the books balance at every end."""
    trio.run(play, limits, schedule, end, clock=MockClock(autojump_threshold=0))


async def play(limits: Limits, schedule: list[Any], end: str) -> None:
    store = GatedStore()
    told: list[list[Any]] = []
    Mending.mended = False
    date = 1

    def reply() -> Any:
        told.append([])
        return told[-1].append

    async with running(store, limits) as shard:
        for step in schedule:
            match step:
                case ("submit", to, command, seconds):
                    deadline = trio.current_time() + seconds
                    callback = reply()
                    fault = shard.submit(to, command, callback, deadline=deadline)
                    if fault is not None:
                        callback(fault)
                case ("hold",):
                    store.held = True
                case ("let",):
                    store.let()
                case ("sleep", seconds):
                    await trio.sleep(seconds)
                case ("rest",):
                    await settled()
                case ("release", address):
                    shard.submit_control(ReleaseParked(address), reply())
                case ("discard", address):
                    shard.submit_control(DiscardParked(address), reply())
                case ("mend", mended):
                    Mending.mended = mended
                case ("cut",):
                    shard.submit_control(CutDay(f"2026-01-{date:02d}"), reply())
                    date += 1
                case ("room", room):
                    store.room = room
        if end in ("kept", "lost"):
            store.fail_next = end
            shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        store.let()
        if end == "stop":
            shard.stop()
        else:
            await settled()
            await trio.sleep(10)
            await settled()
    assert [len(answers) for answers in told] == [1] * len(told)
    if end in ("rest", "stop"):
        assert (shard.admission.unconfirmed, shard.admission.waiting) == (0, 0)
        assert shard.stage.asks == {}
        assert shard.failure is None
    check_books(store)
    Mending.mended = False
    reopened = store.reopened()
    async with running(reopened, limits) as shard:
        await settled()
        assert shard.failure is None
    check_books(reopened)
