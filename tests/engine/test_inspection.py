"""Inspection: everything of an actor and its shard is seen, and nothing is disturbed."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine import inspection
from engine.address import AddressError
from engine.control import ReleaseParked
from engine.dates import CutDay
from engine.inspection import Mailbox, WaitsFor, inspect, vital_signs
from engine.limits import Limits
from tests.engine.purses import (
    MIDNIGHT_NS,
    GatedStore,
    Give,
    Look,
    Misbehave,
    Purse,
    Send,
    SetAlarms,
    give_ok,
    memory_store,
    running,
    settled,
)


async def test_confirmed_and_speculative_state_stand_side_by_side() -> None:
    store = GatedStore()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        await settled()
        shard.submit("purse/bank", Give("purse/a", 1), lambda _: None)
        await settled()
        seen = inspect(shard, "purse/a")
        assert (seen.confirmed, seen.speculative) == (Purse(7, 2, 1), Purse(9, 6, 3))
        assert (seen.staged_seq, seen.durable_seq) == (3, 1)
        assert seen.waits_for == WaitsFor(3, 0, [], False)
        assert inspect(shard, "purse/bank").waits_for.chains == 0, "their chains are through"
        store.let()
        await settled()
        seen = inspect(shard, "purse/a")
        assert seen.confirmed == seen.speculative == Purse(9, 6, 3)
        assert (seen.staged_seq, seen.durable_seq, seen.waits_for.commit) == (3, 3, 0)


async def test_turns_come_newest_first_with_outcome_and_latency() -> None:
    async with running(memory_store()) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        await shard.ask("purse/a", Misbehave("raise"))
        await shard.ask("purse/b", Look())
        turns = inspect(shard, "purse/a").turns
        taken = [(turn.message, turn.outcome, turn.sequence) for turn in turns]
        assert taken == [("Misbehave", "ValueError", 2), ("Receive", "ok", 1)]
        assert all(0 < turn.duration_ns < 10**9 for turn in turns)
        for _ in range(60):
            await shard.ask("purse/a", Look())
        assert len(inspect(shard, "purse/a").turns) == inspection.TURNS_MAX


async def test_mailbox_names_its_head_and_how_old_it_is(autojump_clock: MockClock) -> None:
    async with running(memory_store(), Limits(slice_s=0)) as shard:
        await trio.sleep(0.1)
        shard.submit("purse/a", Look(), lambda _: None, lane="one")
        shard.submit("purse/a", Misbehave("raise"), lambda _: None, lane="two")
        seen = inspect(shard, "purse/a").mailbox
        assert (seen.depth, seen.head) == (2, "Look")
        assert seen.head_age_s is not None
        assert 0 <= seen.head_age_s <= 0.1
        autojump_clock.jump(3)
        seen = inspect(shard, "purse/a").mailbox
        assert seen.head_age_s is not None
        assert 3 <= seen.head_age_s <= 3.1
        assert vital_signs(shard).actors_ready == 1
        await settled()
        assert inspect(shard, "purse/a").mailbox == Mailbox(0, "", None)


async def test_messages_under_way_are_seen_at_both_ends() -> None:
    async with running(memory_store(), Limits(slice_s=0)) as shard:
        shard.submit("purse/bank", Send(("purse/a", "purse/b"), 5), lambda _: None)
        shard.schedule.run_slice(trio.current_time())
        sender, receiver = inspect(shard, "purse/bank"), inspect(shard, "purse/a")
        assert sender.waits_for == WaitsFor(1, 1, ["purse/a"], False)
        assert (receiver.mailbox.depth, receiver.mailbox.head) == (1, "Pass")
        assert receiver.mailbox.head_age_s is not None
        assert not receiver.live
        assert receiver.speculative is None
        assert vital_signs(shard).messages_under_way == 1


async def test_timers_are_seen_with_what_is_not_durable_yet() -> None:
    store = GatedStore()
    async with running(store) as shard:
        put = ((MIDNIGHT_NS + 2, "y", "ring"), (MIDNIGHT_NS + 1, "x", "ring"))
        await shard.ask("purse/a", SetAlarms(put))
        await shard.ask("purse/b", SetAlarms(put))
        store.held = True
        shard.submit(
            "purse/a",
            SetAlarms(((MIDNIGHT_NS + 3, "z", "ring"),), ((MIDNIGHT_NS + 1, "x"),)),
            lambda _: None,
        )
        await settled()
        seen = inspect(shard, "purse/a")
        assert [
            (timer.due_ns - MIDNIGHT_NS, timer.name, timer.message) for timer in seen.timers
        ] == [
            (2, "y", "Alarm"),
            (3, "z", "Alarm"),
        ]
        assert seen.timers_complete
        store.let()


async def test_long_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "TIMERS_READ_MAX", 5)
    async with running(memory_store()) as shard:
        put = tuple((MIDNIGHT_NS + n, f"{n}", "ring") for n in range(1, 9))
        await shard.ask("purse/a", SetAlarms(put))
        for _ in range(30):
            await shard.ask("purse/bank", Give("purse/broken", 1))
        await settled()
        seen = inspect(shard, "purse/a")
        assert (len(seen.timers), seen.timers_complete) == (5, False)
        seen = inspect(shard, "purse/broken")
        assert (len(seen.parked), seen.parked_count) == (inspection.PARKED_MAX, 30)
        assert len(inspect(shard, "purse/bank").postings) == inspection.POSTINGS_MAX


async def test_parked_messages_say_what_and_why() -> None:
    async with running(memory_store()) as shard:
        await shard.ask("purse/bank", Give("purse/broken", 5))
        await shard.ask_control(ReleaseParked("purse/broken"))
        seen = inspect(shard, "purse/broken")
        (row,) = seen.parked
        assert (row.sender, row.message, row.amount_minor) == ("purse/bank", "Receive", 5)
        assert (row.attempts, row.error) == (1, "RuntimeError: this purse has a hole ?")
        assert seen.waits_for.operator
        assert seen.mailbox.depth == 0, "parked messages are counted by themselves"


async def test_postings_are_walked_back_along_their_links() -> None:
    async with running(memory_store()) as shard:
        for amount in (7, 8, 9):
            await give_ok(shard, "purse/bank", "purse/a", amount)
        seen = inspect(shard, "purse/a").postings
        assert [(each.sequence, each.posting.amount_minor) for each in seen] == [
            (6, 9),
            (4, 8),
            (2, 7),
        ]


@pytest.mark.parametrize("address", ["purse/unknown", "purse/a"])
async def test_inspection_disturbs_nothing(address: str) -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
    store.close(clean=True)
    reopened = store.reopened()
    async with running(reopened) as shard:
        seen = inspect(shard, address)
        assert not seen.live
        assert seen.confirmed == (Purse(7, 2, 1) if address == "purse/a" else None)
        vital_signs(shard)
        assert shard.stage.actors == {}
        assert shard.stage._snapshot is None
        assert not shard.stage.batch.pending()


async def test_address_that_is_none_is_an_error() -> None:
    async with running(memory_store()) as shard:
        for address in ("", "purse/", "wallet/a"):
            with pytest.raises(AddressError):
                inspect(shard, address)


async def test_vital_signs_count_what_there_is() -> None:
    """Commits are counted, so no slice may end amid a chain because the machine was busy."""
    store = GatedStore()
    async with running(store, Limits(slice_s=60.0)) as shard:
        told: list[Any] = []
        await shard.ask("purse/bank", Give("purse/broken", 5))
        await shard.ask_control(CutDay("2026-01-01"))
        for n in range(4):
            await give_ok(shard, "purse/bank", f"purse/{n}", 1)
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 1), told.append)
        await settled()
        shard.submit("purse/bank", Give("purse/a", 1), told.append)
        signs = vital_signs(shard)
        assert signs.actors_live == len(shard.stage.actors) == 7
        assert (signs.actors_ready, signs.waiting, signs.unconfirmed) == (1, 1, 2)
        assert signs.actors_quarantined == 1
        assert signs.dates_closing == ["2026-01-01"]
        assert signs.durable_seq == 6
        assert (signs.commits, signs.turns) == (6, 9)
        assert (signs.batch_turns_p50, signs.batch_turns_max) == (2, 2)
        assert 0 < signs.commit_ns_p50 <= signs.commit_ns_p99
        assert not signs.failed
        assert vital_signs(shard, after=5).batch_turns_p50 > 0
        assert vital_signs(shard, after=6).commit_ns_p99 == 0
        store.let()
        await settled()
        assert len(told) == 2
