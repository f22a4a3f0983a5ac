"""Recovery: what was committed goes on, and what may have killed the process goes with caution."""

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import pytest
import trio
import trio.testing

from engine.clock import DomainClock
from engine.control import DiscardParked, ReleaseParked
from engine.fault import ACTOR_QUARANTINED
from engine.limits import Limits
from engine.message import StoredEnvelope
from engine.parking import decode_stored, encode
from engine.shard import Shard
from engine.timers import Timer, open_timer
from storage.errors import CorruptRowError
from storage.journal import Commit, Sum, sequence_key
from storage.memory import MemoryStore
from storage.row import OUTBOX, PARKED, TIMERS, seal
from storage.store import Store, Writes
from tests.engine.purses import (
    KINDS,
    MIDNIGHT_NS,
    SECOND_NS,
    Death,
    Give,
    Look,
    Mending,
    SetAlarms,
    balances,
    check_books,
    give_ok,
    killed,
    memory_store,
    purses,
    running,
)


def outbox(store: Store) -> list[StoredEnvelope]:
    return [decode_stored(payload) for _, payload in store.snapshot().scan(OUTBOX)]


def parked(store: Store) -> list[StoredEnvelope]:
    return [decode_stored(payload) for _, payload in store.snapshot().scan(PARKED)]


async def on_its_way(number: str) -> MemoryStore:
    """Return what is left of a shard that died with a gift of 5 in its outbox."""
    store = memory_store()
    shard = Shard(store, KINDS, DomainClock(MIDNIGHT_NS), Limits(slice_s=0))
    shard.submit("purse/bank", Give(f"purse/{number}", 5), lambda _: None)
    shard.schedule.run_slice(trio.current_time())
    await shard.commit_batch()
    assert [row.to for row in outbox(store)] == [f"purse/{number}"]
    check_books(store)
    return store.reopened()


async def dies(store: MemoryStore, at_ns: int = 0) -> MemoryStore:
    """Start a shard that dies while it recovers; return what is left."""
    with pytest.raises(Death):
        await Shard(store, KINDS, DomainClock(max(store.last.now_ns, at_ns))).run()
    return store.reopened()


async def test_message_that_kills_is_tried_twice_then_parked() -> None:
    """Each attempt is counted durably before it begins."""
    store = await on_its_way("deadly")
    for attempt in (1, 2):
        store = await dies(store)
        assert [row.attempts for row in outbox(store)] == [attempt]
        assert balances(store) == {"bank": -5}
        check_books(store)
    async with running(store) as shard:
        assert outbox(store) == []
        (row,) = parked(store)
        assert (row.to, row.amount_minor, row.attempts) == ("purse/deadly", 5, 2)
        assert row.error == "2 turns with it ended in an abnormal exit"
        assert shard.submit("purse/deadly", Look(), print) is ACTOR_QUARANTINED
        await give_ok(shard, "purse/bank", "purse/a", 1)
        Mending.mended = True
        await shard.ask_control(ReleaseParked("purse/deadly"))
    assert balances(store) == {"bank": -6, "a": 1, "deadly": 5}
    check_books(store)


async def test_timer_that_kills_is_tried_twice_then_parked() -> None:
    store = memory_store()
    due_ns = MIDNIGHT_NS + SECOND_NS
    async with killed(store) as shard:
        put = ((due_ns, "deadly", "die"), (due_ns + 1, "good", "ring"))
        await shard.ask("purse/a", SetAlarms(put))
    for attempt in (1, 2):
        store = await dies(store.reopened(), due_ns + 1)
        rows = list(store.snapshot().scan(TIMERS))
        assert [open_timer(*row).attempts for row in rows] == [attempt, 0]
        assert purses(store) == {}
    async with running(store.reopened(), clock=DomainClock(due_ns + 1)) as shard:
        assert shard.submit("purse/a", Look(), print) is ACTOR_QUARANTINED
        errors = [row.error for row in parked(shard.store)]
        died = "2 turns with it ended in an abnormal exit"
        assert errors == [died, "behind an earlier parked message"]
        Mending.mended = True
        await shard.ask_control(ReleaseParked("purse/a"))
        assert (await shard.ask("purse/a", Look())).log == ("die@1", "ring@1")


async def test_messages_go_one_a_commit_after_an_abnormal_exit() -> None:
    left = await on_its_way("a")
    for clean, commits in ((False, 2), (True, 1)):
        left.close(clean=clean)
        store = left.reopened()
        before = store.last.sequence
        async with running(store):
            pass
        assert balances(store) == {"bank": -5, "a": 5}
        assert store.last.sequence == before + commits
        check_books(store)


async def many_on_their_way(numbers: Sequence[str]) -> MemoryStore:
    """Return what is left of a shard that died with a gift of 5 for each in its outbox."""
    store = memory_store()
    shard = Shard(store, KINDS, DomainClock(MIDNIGHT_NS))
    for number in numbers:
        shard.submit("purse/bank", Give(f"purse/{number}", 5), lambda _: None)
        ask = shard.admission.next()
        assert ask is not None
        shard.schedule._first_turn(ask)
    await shard.commit_batch()
    assert len(outbox(store)) == len(numbers)
    return store.reopened()


async def test_many_messages_go_together_after_an_abnormal_exit() -> None:
    """One per commit would keep everybody waiting for thousands of commits."""
    store = await many_on_their_way([f"a{n}" for n in range(500)])
    before = store.last.sequence
    async with running(store, Limits(slice_s=60.0)):
        pass
    assert balances(store) == {"bank": -2_500, **{f"a{n}": 5 for n in range(500)}}
    assert store.last.sequence == before + 2
    check_books(store)


async def test_message_that_kills_is_found_among_many() -> None:
    """Once all of them together, then one by one: no other is parked, and none has two turns."""
    numbers = [f"a{n}" for n in range(150)]
    store = await many_on_their_way([*numbers[:120], "deadly", *numbers[120:]])
    attempts = []
    while not parked(store):
        with suppress(Death, BaseExceptionGroup):
            async with running(store, Limits(slice_s=60.0)):
                break
        store = store.reopened()
        attempts.append([row.attempts for row in outbox(store)])
        check_books(store)
    assert attempts == [[1] + [0] * 150, [1] + [0] * 30, [2] + [0] * 30]
    (row,) = parked(store)
    assert (row.to, row.attempts) == ("purse/deadly", 2)
    assert balances(store) == {"bank": -755, **dict.fromkeys(numbers, 5)}


async def test_timers_that_are_many_fire_together_after_an_abnormal_exit() -> None:
    store = memory_store()
    due_ns = MIDNIGHT_NS + SECOND_NS
    async with killed(store) as shard:
        for n in range(0, 400, 50):
            put = tuple((due_ns + n + m, f"t{n + m}", "ring") for m in range(50))
            await shard.ask(f"purse/a{n}", SetAlarms(put))
    store = store.reopened()
    before = store.last.sequence
    unhurried = Limits(slice_s=60.0, batch_s=60.0)
    async with running(store, unhurried, DomainClock(due_ns + 400)):
        await (
            trio.testing.wait_all_tasks_blocked()
        )  # who stops at once leaves them to the next start
    assert list(store.snapshot().scan(TIMERS)) == []
    assert store.last.sequence <= before + 8
    check_books(store)


async def test_outbox_after_a_clean_stop_is_delivered_without_counting() -> None:
    left = await on_its_way("deadly")
    left.close(clean=True)
    store = left.reopened()
    with pytest.raises(BaseExceptionGroup):
        await Shard(store, KINDS, DomainClock(MIDNIGHT_NS)).run()
    assert [row.attempts for row in outbox(store)] == [0]


async def test_message_that_fails_in_recovery_is_parked() -> None:
    store = await on_its_way("broken")
    async with running(store):
        assert [row.error for row in parked(store)] == ["RuntimeError: this purse has a hole ?"]
    check_books(store)


def changed(store: MemoryStore, table: str, key: bytes, payload: bytes) -> MemoryStore:
    """Return the store as another version of the program would have left it."""
    store = store.reopened()
    store._tables[table][key] = seal(table, key, payload)
    return store


class Gone(msgspec.Struct, array_like=True, tag=True):
    """A message that an earlier version knew."""


GONE = encode(Gone())


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("to", ["purse/a", "wallet/a"], ids=["body", "kind"])
async def test_message_that_nobody_can_read_is_parked_with_its_money(clean: bool, to: str) -> None:
    """It must not keep the node from starting, nor be lost."""
    left = await on_its_way("a")
    ((key, payload),) = left.snapshot().scan(OUTBOX)
    row = msgspec.structs.replace(decode_stored(payload), to=to, body=GONE)
    left.close(clean=clean)
    store = changed(left, OUTBOX, key, encode(row))
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/b", 1)
        (kept,) = parked(store)
        assert (kept.to, kept.body, kept.amount_minor) == (to, GONE, 5)
        answer = await shard.ask_control(ReleaseParked(to))
        assert (answer.taken, answer.left) == (0, 1)
        assert "Gone" in answer.error or "no actors of this kind" in answer.error
        answer = await shard.ask_control(DiscardParked(to))
        assert (answer.taken, answer.left, answer.code) == (0, 1, "UNREADABLE")
    assert balances(store) == {"bank": -6, "b": 1}
    assert len(parked(store)) == 1
    check_books(store)


@pytest.mark.parametrize("clean", [True, False])
async def test_timer_that_nobody_can_read_is_parked(clean: bool) -> None:
    store = memory_store()
    async with running(store) as shard:
        await shard.ask("purse/a", SetAlarms(((MIDNIGHT_NS + 1, "n", "ring"),)))
    ((key, _),) = store.snapshot().scan(TIMERS)
    store.close(clean=clean)
    store = changed(store, TIMERS, key, encode(Timer(GONE)))
    async with running(store, clock=DomainClock(MIDNIGHT_NS + 1)) as shard:
        await give_ok(shard, "purse/bank", "purse/b", 1)
        assert [row.body for row in parked(store)] == [GONE]
        assert store.snapshot().count(TIMERS) == 0
        answer = await shard.ask_control(DiscardParked("purse/a"))
        assert (answer.taken, answer.left, answer.code) == (0, 1, "UNREADABLE")


async def test_outbox_beyond_the_newest_commit_refuses_to_start() -> None:
    left = await on_its_way("a")
    ((_, payload),) = left.snapshot().scan(OUTBOX)
    store = changed(left, OUTBOX, sequence_key(99), payload)
    with pytest.raises(CorruptRowError, match="corrupt row in outbox"):
        Shard(store, KINDS, DomainClock(MIDNIGHT_NS))


@pytest.mark.parametrize("table", [OUTBOX, PARKED])
async def test_money_in_messages_that_is_not_what_it_was_refuses_to_start(table: str) -> None:
    """A row was dropped: its checksum went with it, the sums of the newest commit did not."""
    left = await on_its_way("broken")
    if table == PARKED:
        async with running(left):
            pass
        left = left.reopened()
    left._tables[table].clear()
    with pytest.raises(CorruptRowError, match="off by -5 CNY"):
        Shard(left, KINDS, DomainClock(MIDNIGHT_NS))


@pytest.mark.parametrize("table", [OUTBOX, PARKED, TIMERS])
async def test_row_of_another_form_is_named(table: str) -> None:
    """Its checksum fits, and yet it is nothing that we wrote."""
    store = memory_store()
    row: dict[bytes, bytes | None] = {sequence_key(1): b"\xc0"}
    commit = Commit(1, 1, MIDNIGHT_NS, "2026-01-01", 1, 0, 0, 1, (Sum("2026-01-01", "CNY", 0, 0),))
    store.commit_now(Writes(commit, [], {table: row}))
    with pytest.raises(CorruptRowError, match=f"corrupt row in {table}"):
        Shard(store.reopened(), KINDS, DomainClock(2**62))


async def test_clock_begins_where_the_store_is() -> None:
    """Recovered messages have their turns at the time that it is, not when the shard was made."""
    left = await on_its_way("a")
    clock = DomainClock(MIDNIGHT_NS - SECOND_NS)
    async with running(left, clock=clock):
        assert clock.now_ns() == left.last.now_ns == MIDNIGHT_NS
