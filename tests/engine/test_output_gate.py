"""Nothing leaves the shard before the commit that holds what it rests on."""

from typing import Any

from engine.control import DiscardParked
from engine.dates import ClosedDate, CutDay, DateNotOpen
from engine.fault import ACTOR_QUARANTINED, INTERNAL, OUTCOME_UNKNOWN
from engine.shard import Shard
from storage.row import DATES
from tests.engine.purses import (
    GatedStore,
    Give,
    Given,
    Look,
    Misbehave,
    Purse,
    Refused,
    balances,
    check_books,
    give_ok,
    purses,
    running,
    settled,
)


class Answers(list[Any]):
    """What callers were told, in order, each with its name."""

    def of(self, name: str) -> Any:
        return lambda answer: self.append((name, answer))


async def test_answer_waits_for_its_commit() -> None:
    store, told = GatedStore(), Answers()
    async with running(store) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 5), told.of("give"))
        await settled()
        assert (told, store.begun) == ([], 1)
        store.let()
        await settled()
        assert told == [("give", Given(5))]


async def test_answer_without_effects_waits_for_the_commit_before_it() -> None:
    """A refusal, a look, a failure: each rests on states that are not durable yet."""
    store, told = GatedStore(), Answers()
    async with running(store) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 5), told.of("give"))
        await settled()
        shard.submit("purse/a", Look(), told.of("look"))
        shard.submit("purse/a", Give("purse/b", 6), told.of("refused"))
        shard.submit("purse/a", Misbehave("raise"), told.of("internal"))
        await settled()
        assert told == []
        store.let()
        await settled()
        assert dict(told) == {
            "give": Given(5),
            "look": Purse(5, 2, 1),
            "refused": Refused("too poor"),
            "internal": INTERNAL,
        }
        assert store.begun == 1, "the answers needed no commit of their own"


async def test_operators_action_waits_for_its_commit() -> None:
    store, told = GatedStore(), Answers()
    async with running(store) as shard:
        store.held = True
        shard.submit_control(CutDay("2026-01-01"), told.of("cut"))
        await settled()
        shard.submit_control(CutDay("2026-01-01"), told.of("again"))
        shard.submit_control(CutDay("2020-01-01"), told.of("wrong"))
        await settled()
        assert told == []
        assert not list(store.snapshot().scan(DATES))
        store.let()
        await settled()
        (_, first), (_, again), (_, wrong) = told
        assert isinstance(first, ClosedDate)
        assert first == again
        assert wrong == DateNotOpen("2020-01-01", "2026-01-02")


async def test_unknown_outcome_and_quarantine_wait_for_the_parked_row() -> None:
    store, told = GatedStore(), Answers()
    async with running(store) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/z", 1), told.of("other"))
        await settled()
        shard.submit("purse/bank", Give("purse/broken", 5), told.of("give"))
        shard.submit("purse/broken", Look(), told.of("look"))
        await settled()
        assert told == []
        store.let()
        await settled()
        answers = [("other", Given(1)), ("give", OUTCOME_UNKNOWN), ("look", ACTOR_QUARANTINED)]
        assert told == answers
        await shard.ask_control(DiscardParked("purse/broken"))
    check_books(store)


async def test_view_sees_all_that_was_acknowledged() -> None:
    """At the moment of each answer, from inside the callback, its effects can be read."""
    store, seen = GatedStore(), []

    def see(answer: Any) -> None:
        seen.append((answer.balance_minor, balances(store)["a"]))

    async with running(store) as shard:
        for _ in range(50):
            shard.submit("purse/bank", Give("purse/a", 1), see)
            await settled()
    assert seen == [(n, n) for n in range(1, 51)]


async def test_turns_beside_a_commit_go_into_the_next() -> None:
    store, told = GatedStore(), Answers()

    async def more(shard: Shard) -> None:
        shard.submit("purse/bank", Give("purse/a", 1), told.of("more"))
        await settled()

    async with running(store) as shard:
        store.held = True
        for _ in range(5):
            await more(shard)
        assert store.begun == 1
        assert shard.stage.actors["purse/a"].state.balance_minor == 5
        assert "a" not in purses(store)
        store.let()
        await settled()
        assert store.begun == 2
        assert len(told) == 5
        await give_ok(shard, "purse/a", "purse/b", 5)


async def test_callback_that_raises_keeps_nobody_from_being_told() -> None:
    store, told = GatedStore(), Answers()

    def raises(answer: Any) -> None:
        told.append(("raises", answer))
        raise RuntimeError("the caller's own fault")

    async with running(store) as shard:
        shard.submit("purse/bank", Give("purse/a", 1), raises)
        shard.submit_control(CutDay("2020-01-01"), raises)
        shard.submit("purse/bank", Give("purse/b", 1), told.of("other"))
        await settled()
        assert sorted(name for name, _ in told) == ["other", "raises", "raises"]
        assert shard.failure is None
        await give_ok(shard, "purse/bank", "purse/a", 1)
        assert shard.admission.unconfirmed == 0
