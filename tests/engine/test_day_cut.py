"""The day cut: stamps, repeats, dates that are none, and each date's books by themselves."""

from typing import Any

import pytest
import trio

from engine.control import Control
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState
from engine.limits import Limits
from engine.shard import Shard
from tests.engine.purses import (
    MIDNIGHT_NS,
    GatedStore,
    Give,
    Send,
    SetAlarms,
    check_books,
    give_ok,
    killed,
    memory_store,
    postings,
    purses,
    running,
    settled,
)


async def test_cut_stamps_what_begins_after_it() -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
        cut = await shard.ask_control(CutDay("2026-01-01"))
        assert cut == ClosedDate(
            "2026-01-01", DateState.CLOSED, "2026-01-02", MIDNIGHT_NS, MIDNIGHT_NS, {"CNY": 0}
        )
        assert store.last.business_date == "2026-01-02"
        await give_ok(shard, "purse/bank", "purse/a", 1)
        assert [each.business_date for each in store.last.sums] == ["2026-01-02"]
    assert [posting.business_date for _, posting in postings(store)] == [
        "2026-01-01",
        "2026-01-01",
        "2026-01-02",
        "2026-01-02",
    ]
    check_books(store)


async def test_cut_of_the_same_date_gives_the_first_outcome_for_ever() -> None:
    store = memory_store()
    async with running(store) as shard:
        first = await shard.ask_control(CutDay("2026-01-01"))
        await shard.ask("purse/a", SetAlarms(), at_ns=MIDNIGHT_NS + 5)
        before = store.last.sequence
        assert await shard.ask_control(CutDay("2026-01-01")) == first
        assert store.last.sequence == before
    async with running(store.reopened()) as shard:
        assert await shard.ask_control(CutDay("2026-01-01")) == first
        assert (await shard.ask_control(CutDay("2026-01-02"))).next_date == "2026-01-03"


@pytest.mark.parametrize(
    "date", ["2025-12-31", "2026-01-02", "", "today", "2026-1-1", "\u0662026-01-01", "9" * 600]
)
async def test_cut_of_a_date_that_is_not_open_is_refused(date: str) -> None:
    """Whatever it is: an operator's slip must not bring the node down."""
    store = memory_store()
    async with running(store) as shard:
        answer = await shard.ask_control(CutDay(date))
        assert answer == DateNotOpen(date, "2026-01-01")
        assert shard.failure is None
        assert store.last.sequence == 0


async def test_year_ends() -> None:
    store = memory_store()
    async with running(store) as shard:
        date = "2026-01-01"
        for _ in range(365):
            await give_ok(shard, "purse/bank", "purse/a", 1)
            cut = await shard.ask_control(CutDay(date))
            assert cut.state is DateState.CLOSED
            date = cut.next_date
        assert date == "2027-01-01"
        assert store.last.sums == ()
    check_books(store)


async def test_command_keeps_the_date_of_its_first_turn() -> None:
    """The cut comes in the middle of a chain: its later turns still post on the old date."""
    store = memory_store()
    async with running(store, Limits(slice_s=0, batch_s=0)) as shard:
        answers: list[Any] = []
        way = ("purse/a", "purse/b", "purse/c", "purse/d")
        shard.submit("purse/bank", Send(way, 9), lambda _: None)
        slow = _slices_until(shard, lambda: bool(shard.stage.internal))
        assert slow
        shard.submit_control(CutDay("2026-01-01"), answers.append)
        await settled()
        (cut,) = answers
        assert cut.state is DateState.CLOSING, "its chain was under way"
        assert (await shard.ask_control(CutDay("2026-01-01"))).state is DateState.CLOSED
        await give_ok(shard, "purse/bank", "purse/a", 1)
    dates = [posting.business_date for _, posting in postings(store)]
    assert dates == ["2026-01-01"] * 5 + ["2026-01-02"] * 2
    assert purses(store)["d"].balance_minor == 6
    check_books(store)


def _slices_until(shard: Shard, done: Any) -> bool:
    for _ in range(10):
        if done():
            return True
        shard.schedule.run_slice(trio.current_time())
    return False


@pytest.mark.parametrize("control", [CutDay("2026-01-01")])
async def test_cut_that_was_not_acknowledged_is_whole_or_absent(control: Control) -> None:
    store = GatedStore()
    async with killed(store) as shard:
        store.held = True
        shard.submit_control(control, lambda _: None)
        await settled()
        shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        await settled()
    assert store.reopened().last.business_date == "2026-01-01"
    async with running(store.reopened()) as shard:
        assert (await shard.ask_control(control)).state is DateState.CLOSED


async def test_timer_is_stamped_when_it_fires() -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 10)
        await shard.ask("purse/a", SetAlarms(((MIDNIGHT_NS + 9, "n", "raise"),)))
        await shard.ask_control(CutDay("2026-01-01"))
        await shard.ask("purse/z", SetAlarms(), at_ns=MIDNIGHT_NS + 9)
        assert dict(shard.stage.parking.by_date) == {"2026-01-02": 1}
