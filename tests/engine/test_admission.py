"""Admission: bounded, fair between lanes, in order within each."""

from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.admission import Admission, Ask, Lane
from engine.fault import ACTOR_BUSY, DISK_NEARLY_FULL, NODE_BUSY
from engine.limits import Limits
from tests.engine.purses import (
    GatedStore,
    Give,
    Given,
    Look,
    memory_store,
    running,
    settled,
)


def ask(n: int, to: str) -> Ask:
    return Ask(n, to, None, print, float("inf"), 0)


def test_admission_past_the_bounds_names_node_or_actor() -> None:
    admission = Admission(3, 2)
    assert [admission.admit("a") for _ in range(3)] == [None, None, ACTOR_BUSY]
    assert [admission.admit("b") for _ in range(2)] == [None, NODE_BUSY]
    assert admission.admit("a") is NODE_BUSY, "the node comes first: it is the cheaper answer"
    admission.release("a")
    assert admission.admit("a") is None
    for address in "aab":
        admission.release(address)
    assert (admission.unconfirmed, admission._by_actor) == (0, {})


def test_lanes_are_served_in_turns_and_each_in_order() -> None:
    admission = Admission(100, 100)
    for n in range(6):
        admission.enqueue("long", ask(n, "a"))
    admission.enqueue("short", ask(10, "b"))
    admission.enqueue("other", ask(20, "c"))
    served = [admission.next() for _ in range(9)]
    assert [each and each.n for each in served] == [0, 10, 20, 1, 2, 3, 4, 5, None]


def test_lanes_of_one_party_share_its_turn() -> None:
    """However many it has, and its own name is one of them."""
    for own_first in (False, True):
        admission = Admission(1_000, 1_000)
        if own_first:
            admission.enqueue("many", ask(90, "a"))
        for n in range(3):
            for name in range(4):
                admission.enqueue(Lane("many", name), ask(10 * name + n, "a"))
        if not own_first:
            admission.enqueue("many", ask(90, "a"))
        admission.enqueue("many", ask(91, "a"))
        for n in range(100, 104):
            admission.enqueue("one", ask(n, "b"))
        assert len(list(admission.queued())) == admission.waiting == 18
        served = [each.n for each in iter(admission.next, None)]
        assert served[1:8:2] == [100, 101, 102, 103]
        rounds = [served[:8:2], served[8:]]
        firsts = [90, 0, 10, 20, 30] if own_first else [0, 10, 20, 30, 90]
        seconds = [91, 1, 11, 21, 31] if own_first else [1, 11, 21, 31, 91]
        assert rounds[0] + rounds[1] == [*firsts, *seconds, 2, 12, 22, 32]
        assert (admission.waiting, list(admission.queued())) == (0, [])


@given(st.lists(st.one_of(st.none(), st.integers(0, 3))))
def test_lanes_lose_nothing_and_wait_their_turn(schedule: list[int | None]) -> None:
    """Against plain lists; between two commands of a lane every other waiting lane has its turn."""
    admission = Admission(1_000, 1_000)
    lanes: dict[int, list[int]] = {}
    passed_over: dict[int, int] = {}
    for n, step in enumerate(schedule):
        if step is not None:
            admission.enqueue(step, ask(n, "a"))
            lanes.setdefault(step, []).append(n)
            passed_over.setdefault(step, 0)
        elif (served := admission.next()) is None:
            assert not lanes
        else:
            lane = next(lane for lane, waiting in lanes.items() if waiting[0] == served.n)
            del lanes[lane][0]
            passed_over[lane] = -1
            if not lanes[lane]:
                del lanes[lane], passed_over[lane]
            passed_over = {other: times + 1 for other, times in passed_over.items()}
            assert all(times <= 3 for times in passed_over.values())
    assert admission.waiting == sum(map(len, lanes.values()))


async def test_slot_is_held_until_the_chain_is_durable() -> None:
    store = GatedStore()
    async with running(store, Limits(unconfirmed_max=3, actor_unconfirmed_max=2)) as shard:
        store.held = True
        answers: list[Any] = []
        for _ in range(2):
            assert shard.submit("purse/bank", Give("purse/a", 1), answers.append) is None
            await settled()
        assert shard.submit("purse/bank", Give("purse/a", 1), answers.append) is ACTOR_BUSY
        assert shard.submit("purse/b", Look(), answers.append) is None
        assert shard.submit("purse/c", Look(), answers.append) is NODE_BUSY
        store.let()
        await settled()
        assert len(answers) == 3
        assert shard.submit("purse/bank", Give("purse/a", 1), answers.append) is None
        await settled()
        assert shard.admission.unconfirmed == 0


async def test_lane_starts_its_commands_in_order() -> None:
    """One lane over several actors, as an array of commands is; another in between."""
    async with running(memory_store()) as shard:
        order: list[str] = []
        for n in range(5):
            for lane in "xy":
                to = f"{lane}{n}"
                reply = partial(lambda to, _: order.append(to), to)
                shard.submit("purse/bank", Give(f"purse/{to}", 1), reply, lane=lane)
        await settled()
        for lane in "xy":
            mine = [each for each in order if lane in each]
            assert mine == sorted(mine)
        assert len(order) == 10


async def test_new_work_is_refused_while_the_disk_is_nearly_full_and_resumes() -> None:
    store = memory_store()
    async with running(store) as shard:
        assert await shard.ask("purse/bank", Give("purse/a", 1)) == Given(1)
        store.room = False
        answers: list[Any] = []
        shard._check_headroom()
        assert shard.submit("purse/bank", Give("purse/a", 1), answers.append) is DISK_NEARLY_FULL
        assert store.snapshot().count("actors") == 2, "reads go on"
        store.room = True
        shard._check_headroom()
        assert await shard.ask("purse/bank", Give("purse/a", 1)) == Given(2)


async def test_shard_on_a_full_disk_refuses_from_the_start() -> None:
    store = memory_store()
    store.room = False
    async with running(store) as shard:
        assert shard.submit("purse/a", Look(), print) is DISK_NEARLY_FULL
