"""A commit that fails ends the shard: every waiter is told once that nothing is known."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine import books
from engine.clock import DomainClock
from engine.control import ReleaseParked
from engine.dates import CutDay
from engine.fault import OUTCOME_UNKNOWN, STOPPING
from engine.limits import Limits
from engine.message import Envelope
from engine.shard import Shard, ShardFailedError
from engine.turn import ConservationError
from storage.errors import CorruptRowError
from storage.row import COMMITS, OUTBOX
from tests.engine.purses import (
    KINDS,
    GatedStore,
    Give,
    Given,
    Join,
    Look,
    Purse,
    Spin,
    Spun,
    balances,
    check_books,
    give_ok,
    memory_store,
    running,
    settled,
)


def told(shard: Shard, answers: list[tuple[str, Any]], name: str, to: str, body: Any) -> None:
    shard.submit(to, body, lambda answer: answers.append((name, answer)))


@pytest.mark.parametrize("kept", ["kept", "lost"])
async def test_failed_commit_tells_all_waiters_once(kept: str, autojump_clock: MockClock) -> None:
    """Queued, begun, joined, in the batch that failed or in the next one, and operators too."""
    store = GatedStore()
    answers: list[tuple[str, Any]] = []
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 7)
        before = store.last.sequence
        store.held = True
        told(shard, answers, "joined", "purse/j", Join())
        told(shard, answers, "committing", "purse/bank", Give("purse/a", 1))
        shard.submit_control(CutDay("2026-01-01"), lambda a: answers.append(("cut", a)))
        await settled()
        told(shard, answers, "next", "purse/bank", Give("purse/b", 1))
        shard.submit_control(ReleaseParked("purse/a"), lambda a: answers.append(("release", a)))
        await settled()
        told(shard, answers, "queued", "purse/bank", Give("purse/c", 1))
        assert answers == []
        begun = trio.current_time()
        store.fail_next = kept
        store.let()
        await settled()
        names = ["committing", "cut", "joined", "next", "queued", "release"]
        assert sorted(answers) == [(name, OUTCOME_UNKNOWN) for name in names]
        assert trio.current_time() - begun < 1
        assert shard.submit("purse/a", Look(), answers.append) is STOPPING
        assert await shard.ask_control(CutDay("2026-01-01")) is STOPPING
        await trio.sleep(60)
        assert len(answers) == 6, "nobody is told twice"
        assert isinstance(shard.failure, Exception)
    reopened = store.reopened()
    check_books(reopened)
    kept_minor = 1 if kept == "kept" else 0
    assert reopened.last.sequence == before + kept_minor
    assert balances(reopened) == {
        "bank": -7 - kept_minor,
        "a": 7 + kept_minor,
        **({"j": 0} if kept_minor else {}),
    }
    async with running(reopened) as shard:
        await give_ok(shard, "purse/a", "purse/b", 1)


async def test_failed_shard_raises_and_calls_back_once_after_its_waiters() -> None:
    store = memory_store()
    events: list[str] = []

    def fails(error: BaseException) -> None:
        events.append(f"failed: {error}")
        raise RuntimeError("and this fails too")

    shard = Shard(store, KINDS, DomainClock(store.last.now_ns), None, fails)
    shard.submit("purse/bank", Give("purse/a", 1), lambda _: events.append("told"))
    store.fail_next = "lost"
    with pytest.raises(ShardFailedError):
        await shard.run()
    assert events == ["told", "failed: asked to fail; nothing was kept"]


async def test_callback_that_raises_at_a_failure_keeps_nobody_from_being_told() -> None:
    store = memory_store()
    answers: list[Any] = []

    def raises(answer: Any) -> None:
        answers.append(answer)
        raise RuntimeError("the caller's own fault")

    async with running(store) as shard:
        store.fail_next = "lost"
        shard.submit("purse/bank", Give("purse/a", 1), raises)
        shard.submit_control(CutDay("2026-01-01"), raises)
        shard.submit("purse/bank", Give("purse/b", 1), raises)
        shard.submit_control(CutDay("2026-01-01"), raises)
        await settled()
    assert answers == [OUTCOME_UNKNOWN] * 4


async def test_action_that_fails_the_shard_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's action is told like everybody else when it is what went wrong."""

    def off(*_: object) -> dict[str, int]:
        raise ConservationError("as planned")

    monkeypatch.setattr(books.Books, "close", off)
    async with running(memory_store()) as shard:
        with trio.fail_after(5):
            assert await shard.ask_control(CutDay("2026-01-01")) is OUTCOME_UNKNOWN
        assert isinstance(shard.failure, ConservationError)


async def test_books_that_do_not_balance_are_never_committed() -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 1)
        before = store.last.sequence
        shard.stage.books.post("2026-01-01", "CNY", 1)
        assert await shard.ask("purse/bank", Give("purse/a", 1)) is OUTCOME_UNKNOWN
        assert store.last.sequence == before
    check_books(store)


async def test_commit_that_hangs_leaves_callers_with_their_deadlines(
    autojump_clock: MockClock,
) -> None:
    store = GatedStore()
    answers: list[tuple[float, Any]] = []

    def tell(answer: Any) -> None:
        answers.append((trio.current_time(), answer))

    async with running(store) as shard:
        store.held = True
        begun = trio.current_time()
        for seconds in (1, 2, 5):
            shard.submit("purse/bank", Give("purse/a", 1), tell, deadline=begun + seconds)
            await settled()
        assert await shard.ask_control(CutDay("2026-01-01"), timeout_s=3) is OUTCOME_UNKNOWN
        assert trio.current_time() == pytest.approx(begun + 3)
        await trio.sleep_until(begun + 10)
        assert [answer for _, answer in answers] == [OUTCOME_UNKNOWN] * 3
        late = [at - begun - due for (at, _), due in zip(answers, (1, 2, 5), strict=True)]
        assert all(0 <= each <= 0.11 for each in late)
        assert shard.admission.unconfirmed == 3, "their chains have not ended durably"
        store.let()
        await settled()
        assert len(answers) == 3
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
        assert await shard.ask("purse/a", Look()) == Purse(3, 6, 3), "the effects stand"


async def test_scheduler_that_fails_beside_a_commit_opens_no_gate() -> None:
    """The commit goes through, but its callers have been told: they get no second answer."""
    store = GatedStore()
    answers: list[Any] = []
    async with running(store) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 1), answers.append)
        shard.submit_control(CutDay("2026-01-01"), answers.append)
        await settled()
        shard.fail(RuntimeError("as planned"))
        store.let()
        await settled()
    assert answers == [OUTCOME_UNKNOWN, OUTCOME_UNKNOWN]


async def test_stop_answers_everything_first() -> None:
    store = GatedStore()
    answers: list[Any] = []
    async with running(store) as shard:
        store.held = True
        shard.submit("purse/bank", Give("purse/a", 1), answers.append)
        await settled()
        shard.submit("purse/bank", Give("purse/a", 1), answers.append)
        shard.submit("purse/a", Join(), answers.append)
        shard.submit_control(CutDay("2026-01-01"), answers.append)
        shard.stop()
        assert shard.submit("purse/a", Look(), answers.append) is STOPPING
        await settled()
        assert not answers
        store.let()
    assert answers[:2] == [Given(1), Given(2)]
    assert answers[2].business_date == "2026-01-01"
    assert answers[3] is OUTCOME_UNKNOWN, "nobody will ever settle: told at the end"
    assert balances(store) == {"bank": -2, "a": 2}
    assert sum(1 for _ in store.snapshot().raw(COMMITS)) == 3


async def test_stop_while_the_shard_is_at_rest_ends_it() -> None:
    async with running(memory_store()) as shard:
        shard.stop()
    assert shard.failure is None


async def test_message_of_the_turn_that_failed_the_shard_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row could not be read: the batch with the message taken out is never committed."""
    store = memory_store()
    async with running(store, Limits(slice_s=0, batch_s=0)) as shard:
        shard.submit("purse/spinning", Spin(), lambda _: None)
        while not store.snapshot().count(OUTBOX):
            await give_ok(shard, "purse/bank", "purse/a", 1)

        def cannot_read(envelope: Envelope) -> None:
            if type(envelope.body) is Spun:
                raise CorruptRowError("actors", b"spinning", "as planned")

        monkeypatch.setattr(shard.stage, "take_turn", cannot_read)
        shard._staged.set()
    assert isinstance(shard.failure, CorruptRowError)
    await shard.commit_batch()  # the committer may have been on its way
    assert store.snapshot().count(OUTBOX) == 1
