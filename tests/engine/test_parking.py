"""Parking: what a failed turn leaves is durable, in order, counted, and for operators to free."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from engine import parking
from engine.address import row_key
from engine.control import (
    RELEASED_AT_ONCE,
    DiscardParked,
    ParkedLeft,
    ParkedNotFirst,
    ReleaseParked,
)
from engine.dates import CutDay, DateState, open_date
from engine.fault import ACTOR_QUARANTINED, INTERNAL, OUTCOME_UNKNOWN
from engine.limits import Limits
from engine.message import StoredEnvelope
from engine.parking import ParkedId, decode_stored, parked_id
from engine.turn import Turn
from storage.memory import MemoryStore
from storage.row import DATES, OUTBOX, PARKED, TIMERS
from storage.store import Store
from tests.engine.purses import (
    MIDNIGHT_NS,
    PURSE,
    Found,
    GatedStore,
    Give,
    Look,
    Mending,
    Purse,
    Receive,
    RecordingStore,
    Send,
    SetAlarms,
    Spun,
    Write,
    balances,
    check_books,
    give_ok,
    give_up,
    memory_store,
    purses,
    running,
    settled,
)

BEHIND = "behind an earlier parked message"
HOLE = "RuntimeError: this purse has a hole ?"


def parked(store: Store) -> list[StoredEnvelope]:
    return [decode_stored(payload) for _, payload in store.snapshot().scan(PARKED)]


async def quarantined(*gift_nos: str, store: MemoryStore | None = None) -> MemoryStore:
    """Return a store in which gifts of 5 wait for `purse/broken`, closed cleanly."""
    store = memory_store() if store is None else store
    async with running(store) as shard:
        for gift_no in gift_nos:
            answer = await shard.ask("purse/bank", Give("purse/broken", 5, gift_no))
            assert answer is OUTCOME_UNKNOWN
    store.close(clean=True)
    return store.reopened()


async def test_later_turn_that_fails_parks_and_quarantines() -> None:
    store = memory_store()
    async with running(store) as shard:
        assert await shard.ask("purse/bank", Give("purse/broken", 5)) is OUTCOME_UNKNOWN
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        assert (await shard.ask("purse/bank", Look())).balance_minor == -5, "the first turn stands"
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
        await give_ok(shard, "purse/bank", "purse/a", 1)
    (row,) = parked(store)
    assert (row.to, row.amount_minor, row.error) == ("purse/broken", 5, HOLE)
    assert row.token is None, "its caller has been told"
    assert [(each.postings_minor, each.messages_minor) for each in store.last.sums] == [(-5, 5)]
    check_books(store)


async def test_command_that_is_unhindered_has_its_turn_at_a_quarantined_actor() -> None:
    """Also one that was admitted before; what is parked stays where it is."""
    store = memory_store()
    async with running(store) as shard:
        gift = Give("purse/broken", 5)
        answers: list[Any] = []
        shard.submit("purse/bank", gift, answers.append)
        for each in (Write("p", "before", 1), Look()):
            shard.submit("purse/broken", each, answers.append)
        await give_ok(shard, "purse/bank", "purse/a", 1)
        assert await shard.ask("purse/broken", Write("p", "after", 2)) == Found(2)
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        assert answers == [OUTCOME_UNKNOWN, Found(1), ACTOR_QUARANTINED]
        assert await shard.ask("purse/broken", Write("p", "bad", 3, fail=True)) is INTERNAL
    assert [each.to for each in parked(store)] == ["purse/broken"]
    check_books(store)


async def test_quarantined_actors_are_listed_once_each_in_the_order_of_their_rows() -> None:
    """Also those whose number begins as another's does."""
    store = memory_store()
    numbers = ("broken", "broken1", "broken10", "broken2")
    async with running(store) as shard:
        for number in numbers:
            for gift_no in "123":
                await shard.ask("purse/bank", Give(f"purse/{number}", 5, number + gift_no))
    there = sorted((f"purse/{number}" for number in numbers), key=row_key)
    assert parking.quarantined(store.snapshot(), 10) == there
    assert parking.quarantined(store.snapshot(), 2) == there[:2]


async def test_messages_and_timers_queue_behind_and_are_released_in_order() -> None:
    store = memory_store()
    async with running(store) as shard:
        await shard.ask("purse/broken", SetAlarms(((MIDNIGHT_NS + 1, "n", "ring"),)))
        for gift_no in "12":
            await shard.ask("purse/bank", Give("purse/broken", 5, gift_no))
        await shard.ask("purse/a", Look(), at_ns=MIDNIGHT_NS + 1)
        await shard.ask("purse/bank", Give("purse/broken", 5, "3"))
        assert store.snapshot().count(TIMERS) == 0
    assert [row.error for row in parked(store)] == [HOLE, BEHIND, BEHIND, BEHIND]
    store.close(clean=True)
    reopened = store.reopened()
    async with running(reopened) as shard:
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        Mending.mended = True
        answer = await shard.ask_control(ReleaseParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 4, 0)
        assert (await shard.ask("purse/broken", Look())).log == ("1", "2", "ring@1e-09", "3")
    assert parked(reopened) == []
    assert balances(reopened) == {"bank": -15, "broken": 15}
    check_books(reopened)


async def test_release_that_fails_again_keeps_the_rest_in_order() -> None:
    store = await quarantined("1", "2", "3")
    async with running(store) as shard:
        answer = await shard.ask_control(ReleaseParked("purse/broken"))
        assert answer == ParkedLeft(
            "purse/broken", 0, 3, "RuntimeError: this purse has a hole \ud800"
        )
        assert [row.attempts for row in parked(store)] == [1, 0, 0]
        Mending.mended = True
        assert await shard.ask_control(ReleaseParked("purse/broken")) == ParkedLeft(
            "purse/broken", 3, 0
        )
        assert purses(store)["broken"].log == ("1", "2", "3")
    check_books(store)


async def test_release_before_the_park_is_durable_counts_the_chain_once() -> None:
    """The chain ended when it was parked: what is released belongs to no caller's slot."""
    store = GatedStore()
    async with running(store) as shard:
        store.held = True
        told: list[Any] = []
        shard.submit("purse/bank", Send(("purse/broken", "purse/a"), 5), told.append)
        await settled()
        Mending.mended = True
        shard.submit_control(ReleaseParked("purse/broken"), told.append)
        await settled()
        store.let()
        await settled()
        assert told == [OUTCOME_UNKNOWN, ParkedLeft("purse/broken", 1, 0)]
        assert (shard.admission.unconfirmed, shard.stage.asks) == (0, {})
        assert shard.failure is None
    assert balances(store) == {"bank": -5, "broken": 1, "a": 4}
    check_books(store)


async def test_release_of_much_goes_in_parts() -> None:
    """Other work goes on between them."""
    store = memory_store()
    many = RELEASED_AT_ONCE + 20
    async with running(store) as shard:
        for _ in range(many):
            shard.submit("purse/bank", Give("purse/broken", 1), lambda _: None)
        await settled()
        Mending.mended = True
        first = await shard.ask_control(ReleaseParked("purse/broken"))
        assert first == ParkedLeft("purse/broken", RELEASED_AT_ONCE, 20)
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        second = await shard.ask_control(ReleaseParked("purse/broken"))
        assert second == ParkedLeft("purse/broken", 20, 0)
        assert await shard.ask("purse/broken", Look()) == Purse(many, 2 * many, many)


async def test_discard_moves_the_money_to_suspense() -> None:
    store = await quarantined("1", "2")
    async with running(store) as shard:
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 1, 1)
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 1, 0)
        assert await shard.ask("purse/broken", Look()) == Purse()
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 0, 0)
    assert balances(store) == {"bank": -10, "suspense-CNY": 10}
    assert purses(store)["suspense-CNY"].log == ("purse/bank->purse/broken",) * 2
    check_books(store)


@pytest.mark.parametrize("address", ["", "purse/", "purse/\u00e9", "x" * 600, "purse/unknown"])
async def test_action_on_what_is_not_parked_changes_nothing(address: str) -> None:
    """An operator's slip must not bring the node down."""
    store = await quarantined("1")
    async with running(store) as shard:
        before = store.last.sequence
        for action in (ReleaseParked(address), DiscardParked(address)):
            assert await shard.ask_control(action) == ParkedLeft(address, 0, 0)
        assert store.last.sequence == before
        assert shard.failure is None


@pytest.mark.parametrize("slice_s", [0.0, 0.005])
async def test_date_with_something_parked_closes_when_the_last_of_it_is_through(
    slice_s: float,
) -> None:
    """Also when what is released goes on: its money is on its way while the date closes."""
    store = memory_store()
    async with running(store, Limits(slice_s=slice_s, batch_s=0)) as shard:
        for amount in (5, 6):
            await shard.ask("purse/bank", Send(("purse/broken", "purse/a", "purse/b"), amount))
        cut = await shard.ask_control(CutDay("2026-01-01"))
        assert (cut.state, cut.closed_ns) == (DateState.CLOSING, 0)
        await shard.ask("purse/bank", Give("purse/broken", 7))
        assert shard.stage.business_date == "2026-01-02"
        await shard.ask_control(DiscardParked("purse/broken"))
        again = await shard.ask_control(CutDay("2026-01-01"))
        assert again == cut, "one is left"
        Mending.mended = True
        answer = await shard.ask_control(ReleaseParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 2, 0)
        await settled()
        closed = await shard.ask_control(CutDay("2026-01-01"))
        assert closed == replace(
            cut, state=DateState.CLOSED, sums={"CNY": 0}, closed_ns=closed.closed_ns
        )
        assert closed.closed_ns >= cut.cut_ns
        assert shard.failure is None
        dates = {each.business_date for each in store.last.sums}
        assert dates == {"2026-01-02"}
    assert balances(store) == {"bank": -18, "suspense-CNY": 5, "broken": 8, "a": 1, "b": 4}
    check_books(store)


@pytest.mark.parametrize("clean", [True, False])
async def test_quarantine_dates_and_books_survive_a_restart(clean: bool) -> None:
    store = memory_store()
    async with running(store) as shard:
        await shard.ask("purse/bank", Send(("purse/broken", "purse/a"), 5))
        await shard.ask_control(CutDay("2026-01-01"))
    store.close(clean=clean)
    reopened = store.reopened()
    async with running(reopened) as shard:
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        assert (await shard.ask_control(CutDay("2026-01-01"))).state is DateState.CLOSING
        await shard.ask("purse/bank", Give("purse/broken", 7, "later"))
        assert [row.amount_minor for row in parked(reopened)] == [5, 7]
        Mending.mended = True
        await shard.ask_control(ReleaseParked("purse/broken"))
        await settled()
        assert (await shard.ask_control(CutDay("2026-01-01"))).state is DateState.CLOSED
        assert await shard.ask("purse/broken", Look()) == Purse(8, 4, 2, ("later",))
    check_books(reopened)


async def test_date_closes_after_a_crash_at_any_commit_of_its_end() -> None:
    """What was parked is through, and the process dies before the date is closed, or after."""
    store = RecordingStore()
    tiny = Limits(slice_s=0, batch_s=0)
    async with running(store, tiny) as shard:
        await shard.ask("purse/bank", Send(("purse/broken", "purse/a", "purse/b"), 5))
        await shard.ask_control(CutDay("2026-01-01"))
        begun = len(store.left)
        Mending.mended = True
        await shard.ask_control(ReleaseParked("purse/broken"))
        await settled()
    for left in store.left[begun:]:
        async with running(left, tiny) as shard:
            await settled()
            assert shard.stage.closing == set()
        ((key, payload),) = left.snapshot().scan(DATES)
        assert open_date(key, payload).state is DateState.CLOSED
        assert balances(left) == {"bank": -5, "broken": 1, "a": 1, "b": 3}
        check_books(left)


async def test_message_parked_from_the_outbox_is_counted_once() -> None:
    store = memory_store()
    async with running(store, Limits(slice_s=0, batch_s=0)) as shard:
        answer = await shard.ask("purse/bank", Send(("purse/a", "purse/b", "purse/broken"), 9))
        assert answer is OUTCOME_UNKNOWN
        check_books(store)
        assert await shard.ask_control(DiscardParked("purse/broken")) == ParkedLeft(
            "purse/broken", 1, 0
        )
    assert balances(store) == {"bank": -9, "a": 1, "b": 1, "suspense-CNY": 7}
    assert store.snapshot().count(OUTBOX) == 0
    check_books(store)


async def test_discard_that_fails_keeps_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(turn: Turn[Purse], message: Receive) -> str | None:
        give_up(turn, message)
        raise RuntimeError("nobody takes it")

    store = await quarantined("1")
    async with running(store) as shard:
        discards: dict[Any, Any] = PURSE.discards
        monkeypatch.setitem(discards, Receive, fails)
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 0, 1, "RuntimeError: nobody takes it")
        assert len(parked(store)) == 1
    assert balances(store) == {"bank": -5}
    check_books(store)


async def test_message_is_kept_where_its_receiver_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of its turn remains, and it can be released as ever."""
    store = await quarantined()
    async with running(store) as shard:
        await shard.ask("purse/bank", Give("purse/broken", 1))
        await shard.ask("purse/bank", Give("purse/broken", 5))
        before = parked(store)
        why = "RELEASE_ONLY: less than two units are not worth it"
        kept = ParkedLeft("purse/broken", 0, 2, why, "RELEASE_ONLY")
        assert await shard.ask_control(DiscardParked("purse/broken")) == kept
        discards: dict[Any, Any] = PURSE.discards
        monkeypatch.delitem(discards, Receive)
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert (answer.taken, answer.left, answer.code) == (0, 2, "RELEASE_ONLY")
        assert parked(store) == before
        assert shard.submit("purse/broken", Look(), print) is ACTOR_QUARANTINED
        Mending.mended = True
        answer = await shard.ask_control(ReleaseParked("purse/broken"))
        assert answer == ParkedLeft("purse/broken", 2, 0)
    assert balances(store) == {"bank": -6, "broken": 6}
    check_books(store)


async def test_message_that_nobody_can_read_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    store = await quarantined("1")
    async with running(store) as shard:
        with monkeypatch.context() as other_version:
            decoder = msgspec.msgpack.Decoder(Spun)
            other_version.setattr(PURSE, "decode_body", decoder.decode)
            answer = await shard.ask_control(DiscardParked("purse/broken"))
            assert (answer.taken, answer.left, answer.code) == (0, 1, "UNREADABLE")
        answer = await shard.ask_control(DiscardParked("purse/broken"))
        assert (answer.taken, answer.left, answer.code) == (1, 0, "")
    assert balances(store) == {"bank": -5, "suspense-CNY": 5}
    check_books(store)


def named(store: Store) -> list[ParkedId]:
    return [parked_id(key, decode_stored(row)) for key, row in store.snapshot().scan(PARKED)]


def both(only: ParkedId) -> tuple[ReleaseParked | DiscardParked, ...]:
    """Return all that can be asked for one message that is parked for `purse/broken`."""
    return ReleaseParked("purse/broken", only), DiscardParked("purse/broken", only)


async def test_message_that_is_named_is_the_only_one_that_is_touched() -> None:
    """Whoever says it twice, or of one that is not first, changes nothing."""
    store = await quarantined("1", "2")
    async with running(store) as shard:
        first, second = named(store)
        answer = await shard.ask_control(ReleaseParked("purse/broken", first))
        assert (answer.taken, answer.left) == (0, 2)
        assert named(store) == [first, second], "it goes by the same name though it was tried"
        for asked in both(second):
            assert await shard.ask_control(asked) == ParkedNotFirst("purse/broken", 2)
        Mending.mended = True
        answer = await shard.ask_control(ReleaseParked("purse/broken", first))
        assert answer == ParkedLeft("purse/broken", 1, 1)
        for asked in both(first):
            assert await shard.ask_control(asked) == ParkedNotFirst("purse/broken", 1)
        discard = DiscardParked("purse/broken", second)
        assert await shard.ask_control(discard) == ParkedLeft("purse/broken", 1, 0)
        assert await shard.ask_control(discard) == ParkedNotFirst("purse/broken", 0)
    assert balances(store) == {"bank": -10, "broken": 5, "suspense-CNY": 5}
    check_books(store)


async def test_message_is_not_the_one_that_has_its_key_after_a_restart() -> None:
    store = await quarantined("1")
    async with running(store) as shard:
        (gone,) = named(store)
        assert (await shard.ask_control(DiscardParked("purse/broken", gone))).taken == 1
    store.close(clean=True)
    again = await quarantined("2", store=store.reopened())
    async with running(again) as shard:
        (other,) = named(again)
        assert other.key == gone.key
        for asked in both(gone):
            assert await shard.ask_control(asked) == ParkedNotFirst("purse/broken", 1)
        assert named(again) == [other]
    check_books(again)
