"""A turn is all or nothing, and nothing leaves the shard before it is durable."""

import pytest

from engine.fault import INTERNAL
from tests.engine.purses import (
    Drop,
    Found,
    Give,
    Given,
    Look,
    Misbehave,
    Purse,
    Read,
    Refused,
    Write,
    check_books,
    give_ok,
    memory_store,
    postings,
    running,
)


async def test_gift_moves_money_and_links_postings() -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 100)
        await give_ok(shard, "purse/a", "purse/b", 30)
        assert await shard.ask("purse/a", Look()) == Purse(70, 3, 1)
    entries = [
        (n, p.account, p.amount_minor, p.balance_after_minor, p.prev) for n, p in postings(store)
    ]
    assert entries == [
        (1, "bank", -100, -100, 0),
        (2, "a", 100, 100, 0),
        (3, "a", -30, 70, 2),
        (4, "b", 30, 30, 0),
    ]


async def test_rejection_waits_for_what_it_rests_on() -> None:
    """A refusal rests on a state; it may not be told before that state is durable."""
    store = memory_store()
    told: list[object] = []
    async with running(store) as shard:
        shard.submit("purse/bank", Give("purse/a", 1), told.append)
        shard.submit(
            "purse/a", Give("purse/b", 5), lambda answer: told.append((answer, store.last.sequence))
        )
        await give_ok(shard, "purse/bank", "purse/z", 1)
    assert told == [Given(1), (Refused("too poor"), 1)]


MISDEEDS = """
    raise
    invent
    lose
    mix
    huge
    surrogate
    type
    key
    flood
    early
    long timer
    foreign timer
    nobody
    no kind
    no ascii
    long number
    command
    fraction
    float money
    much money
    vast posting
    negative money
    no currency
    idle currency
"""


@pytest.mark.parametrize("how", [line.strip() for line in MISDEEDS.strip().splitlines()])
async def test_misbehaving_turn_leaves_no_trace(how: str) -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 100)
        before = store.last.sequence
        assert await shard.ask("purse/a", Misbehave(how)) is INTERNAL
        assert await shard.ask("purse/a", Look()) == Purse(100, 2, 1)
        assert store.last.sequence == before, "nothing was to be written"
        await give_ok(shard, "purse/a", "purse/b", 100)
    assert [p.amount_minor for _, p in postings(store)] == [-100, 100, -100, 100]
    check_books(store)
    assert not [row for row in store.snapshot().scan("timers")]
    assert not [row for row in store.snapshot().scan("records")]


async def test_record_put_is_seen_by_next_turn_before_it_is_durable() -> None:
    store = memory_store()
    async with running(store) as shard:
        await give_ok(shard, "purse/bank", "purse/a", 100)
        answers: list[object] = []
        shard.submit("purse/a", Give("purse/b", 60, "n1"), answers.append)
        shard.submit("purse/a", Give("purse/b", 60, "n1"), answers.append)
        await give_ok(shard, "purse/bank", "purse/z", 1)
        assert sorted(map(str, answers)) == ["Given(balance_minor=40)", "Given(balance_minor=60)"]
        assert await shard.ask("purse/a", Look()) == Purse(40, 3, 1)


async def test_misbehaving_turn_leaves_records_kept_in_memory_as_they_were() -> None:
    """What a failed turn had put is not found by the next one, in whatever way it is kept."""
    async with running(memory_store()) as shard:
        for tag in "pkab":
            await shard.ask("purse/a", Write(tag, "5", 1))
            assert await shard.ask("purse/a", Write(tag, "5", 2, fail=True)) is INTERNAL
            assert await shard.ask("purse/a", Write(tag, "7", 2, fail=True)) is INTERNAL
            assert await shard.ask("purse/a", Read(tag, "5")) == Found(1)
            assert await shard.ask("purse/a", Read(tag, "7")) == Found(None)


async def test_record_that_is_dropped_is_gone_before_and_after_it_is_durable() -> None:
    """However it is kept in memory, in the same batch, in a later one, and after a restart."""
    store = memory_store()
    async with running(store) as shard:
        for tag in "pkab":
            for name in ("5", "6"):
                await shard.ask("purse/a", Write(tag, name, 1))
            await shard.ask("purse/a", Read(tag, "5"))
            answers: list[object] = []
            for command in (Drop(tag, "5"), Read(tag, "5"), Write(tag, "7", 3), Drop(tag, "7")):
                shard.submit("purse/a", command, answers.append)
            assert await shard.ask("purse/a", Read(tag, "7")) == Found(None)
            assert answers == [Found(None), Found(None), Found(3), Found(None)]
            assert await shard.ask("purse/a", Read(tag, "5")) == Found(None)
            assert await shard.ask("purse/a", Drop(tag, "9")) == Found(None)
            await shard.ask("purse/a", Write(tag, "5", 2))
            assert await shard.ask("purse/a", Read(tag, "5")) == Found(2)
            await shard.ask("purse/a", Drop(tag, "5"))
    async with running(store.reopened()) as shard:
        for tag in "pkab":
            assert await shard.ask("purse/a", Read(tag, "5")) == Found(None)
            assert await shard.ask("purse/a", Read(tag, "6")) == Found(1)
    assert {key[-1:] for key, _ in store.snapshot().scan("records")} == {b"6"}


async def test_misbehaving_turn_drops_nothing() -> None:
    async with running(memory_store()) as shard:
        for tag in "pkab":
            await shard.ask("purse/a", Write(tag, "5", 1))
            assert await shard.ask("purse/a", Drop(tag, "5", fail=True)) is INTERNAL
            assert await shard.ask("purse/a", Read(tag, "5")) == Found(1)


async def test_command_to_no_address_is_internal() -> None:
    async with running(memory_store()) as shard:
        for to in ("purse/", "purse/\u00e9", "wallet/a", "purse/a\0gx", "purse/" + "n" * 65):
            assert await shard.ask(to, Look()) is INTERNAL
        await give_ok(shard, "purse/bank", "purse/a", 1)
