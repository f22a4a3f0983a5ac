"""Whatever comes together on three shards, nothing leaks and no money moves on its own."""

import random
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.control import DiscardParked, ReleaseParked
from engine.dates import CutDay
from engine.limits import Limits
from tests.effort import effort
from tests.engine.purses import (
    Give,
    Ignore,
    Join,
    Look,
    Mending,
    Misbehave,
    Send,
    SetAlarms,
    Settle,
    settled,
)
from tests.engine.shards import (
    SHARDS,
    LossyWay,
    check_all_books,
    new_stores,
    on,
    reopened,
    running_node,
    under_way,
)

ADDRESSES = [
    "purse/bank",
    *(on(shard) for shard in range(SHARDS)),
    on(0, "broken"),
    on(2, "broken"),
]
addresses = st.sampled_from(ADDRESSES)
shards = st.integers(0, SHARDS - 1)
commands = st.one_of(
    st.builds(Give, addresses, st.integers(1, 9), st.sampled_from(["", "1", "2"])),
    st.builds(Send, st.lists(addresses, min_size=1, max_size=6).map(tuple), st.integers(7, 20)),
    st.sampled_from([Look(), Ignore(), Join(), Settle(), Misbehave("raise"), Misbehave("flood")]),
    st.builds(
        lambda name, text: SetAlarms(((0, name, text),)),
        st.sampled_from("xy"),
        st.sampled_from(["ring", "raise", "cancel x", "again y ring"]),
    ),
)
steps = st.one_of(
    st.tuples(st.just("submit"), addresses, commands, st.sampled_from([0.0, 0.5, 50.0])),
    st.tuples(st.just("hold"), shards),
    st.tuples(st.just("let"), shards),
    st.tuples(st.just("sleep"), st.sampled_from([0.0, 0.2, 1.0])),
    st.tuples(st.just("rest")),
    st.tuples(st.just("release"), addresses),
    st.tuples(st.just("discard"), addresses),
    st.tuples(st.just("mend"), st.booleans()),
    st.tuples(st.just("cut")),
)
limits = st.builds(
    Limits,
    unconfirmed_max=st.sampled_from([2, 5, 100]),
    actor_unconfirmed_max=st.sampled_from([1, 3, 100]),
    actors_max=st.sampled_from([1, 3, 100]),
    slice_s=st.sampled_from([0.0, 0.005]),
    batch_s=st.sampled_from([0.0, 0.02]),
)


@settings(max_examples=effort(40, 150))
@given(
    limits,
    st.lists(steps, max_size=30),
    st.sampled_from(["rest", "stop", "kill", "kept", "lost"]),
    st.one_of(st.none(), st.integers(0, 99)),
)
def test_nothing_leaks_on_three_shards_whatever_comes_together(
    limits: Limits, schedule: list[Any], end: str, lossy: int | None
) -> None:
    """Callers are told exactly once, slots are freed, messages arrive once, the books balance."""
    trio.run(play, limits, schedule, end, lossy, clock=MockClock(autojump_threshold=0))


async def play(limits: Limits, schedule: list[Any], end: str, lossy: int | None) -> None:
    stores = new_stores()
    told: list[list[Any]] = []
    Mending.mended = False
    date = 1

    def reply() -> Any:
        told.append([])
        return told[-1].append

    async with running_node(stores, limits, kill=end == "kill") as node:
        if lossy is not None:
            LossyWay(node, random.Random(lossy))
        async with trio.open_nursery() as acting:
            for step in schedule:
                match step:
                    case ("submit", to, command, seconds):
                        deadline = trio.current_time() + seconds
                        callback = reply()
                        fault = node.submit(to, command, callback, deadline=deadline)
                        if fault is not None:
                            callback(fault)
                    case ("hold", shard):
                        stores[shard].held = True
                    case ("let", shard):
                        stores[shard].let()
                    case ("sleep", seconds):
                        await trio.sleep(seconds)
                    case ("rest",):
                        await settled()
                    case ("release", address):
                        acting.start_soon(node.ask_control, ReleaseParked(address))
                    case ("discard", address):
                        acting.start_soon(node.ask_control, DiscardParked(address))
                    case ("mend", mended):
                        Mending.mended = mended
                    case ("cut",):
                        acting.start_soon(node.ask_control, CutDay(f"2026-01-{date:02d}"))
                        date += 1
            if end in ("kept", "lost"):
                stores[1].fail_next = end
                node.submit("purse/bank", Give(on(1), 1), lambda _: None)
            for store in stores:
                store.let()
            if end == "stop":
                node.stop()
            elif end == "kill":
                acting.cancel_scope.cancel()
            else:
                await settled()
                await trio.sleep(200)
                await settled()
        failed = any(shard.failure is not None for shard in node.shards)
    if end != "kill":
        assert [len(answers) for answers in told] == [1] * len(told)
    if end in ("rest", "stop"):
        assert not failed
    # Stopped at once, a node does not wait for what a lossy way has lost: the next start sends it.
    if end == "rest" or (end == "stop" and lossy is None):
        for shard in node.shards:
            assert (shard.admission.unconfirmed, shard.admission.waiting) == (0, 0)
            assert shard.stage.asks == {}
        assert all(row.error for row in under_way(stores)), "a message is stuck"
    check_all_books(stores)
    Mending.mended = True
    again = reopened(stores)
    async with running_node(again, limits) as node:
        await settled()
        for row in [row for row in under_way(again) if row.error]:
            await node.ask_control(ReleaseParked(row.to))
        await trio.sleep(10)
        assert all(shard.failure is None for shard in node.shards)
        assert not any(shard.stage.closing for shard in node.shards), "a date stays open"
    Mending.mended = False
    assert under_way(again) == []
    check_all_books(again)
