"""Who watches an actor is woken by each commit that changes it, and by nothing else."""

import pytest
import trio

from tests.engine.purses import GatedStore, Give, Look, Misbehave, Purse, purses, running, settled
from tests.engine.shards import new_stores, on, running_node

BANK, PAYEE = "purse/bank", "purse/a"


class Woken(list[str]):
    """The addresses that were told, in order."""

    def __call__(self, address: str) -> None:
        self.append(address)


async def test_watcher_is_woken_once_the_change_is_durable() -> None:
    store, woken = GatedStore(), Woken()
    async with running(store) as shard:
        with shard.watches.watch(PAYEE, woken):
            store.held = True
            shard.submit(BANK, Give(PAYEE, 5), lambda _: None)
            await settled()
            assert woken == []
            store.let()
            await settled()
            assert woken == [PAYEE]
            assert purses(store)["a"] == Purse(5, 2, 1)


async def test_watcher_is_not_woken_by_what_changes_nothing_of_its_actor() -> None:
    woken = Woken()
    async with running(GatedStore()) as shard:
        with shard.watches.watch(PAYEE, woken):
            for to, body in (
                (BANK, Give("purse/b", 5)),
                (PAYEE, Look()),
                (PAYEE, Give("purse/b", 6)),
                (PAYEE, Misbehave("raise")),
            ):
                await shard.ask(to, body)
            assert woken == []


async def test_watcher_is_not_woken_by_a_commit_that_fails() -> None:
    store, woken = GatedStore(), Woken()
    async with running(store) as shard:
        with shard.watches.watch(PAYEE, woken):
            store.held = True
            shard.submit(BANK, Give(PAYEE, 5), lambda _: None)
            await settled()
            shard.fail(OSError("no disk"))
            store.let()
            await settled()
    assert woken == []


async def test_watcher_that_raises_keeps_nobody_from_being_woken() -> None:
    woken = Woken()

    def raising(address: str) -> None:
        raise ValueError(address)

    async with running(GatedStore()) as shard:
        with shard.watches.watch(PAYEE, raising), shard.watches.watch(PAYEE, woken):
            await shard.ask(BANK, Give(PAYEE, 5))
            await shard.ask(BANK, Give(PAYEE, 5))
    assert woken == [PAYEE, PAYEE]


async def test_watch_that_has_ended_is_not_woken() -> None:
    first, second = Woken(), Woken()
    async with running(GatedStore()) as shard:
        with shard.watches.watch(PAYEE, second):
            with shard.watches.watch(PAYEE, first):
                pass
            await shard.ask(BANK, Give(PAYEE, 5))
        await shard.ask(BANK, Give(PAYEE, 5))
    assert (first, second) == ([], [PAYEE])


@pytest.mark.parametrize("shard", range(3))
async def test_node_watches_an_actor_on_whatever_shard_it_is(shard: int) -> None:
    payee = on(shard)
    async with running_node(new_stores()) as node:
        changed = trio.Event()
        with node.hearing(payee, lambda _: changed.set()), trio.fail_after(5):
            await node.ask(BANK, Give(payee, 5))
            await changed.wait()


async def test_watcher_may_end_another_watch_of_the_same_commit() -> None:
    """Each ends the other's, so whichever is told first, the second is gone by its turn."""
    woken, other = Woken(), {PAYEE: "purse/b", "purse/b": PAYEE}
    async with running(GatedStore()) as shard:
        await shard.ask(BANK, Give(PAYEE, 5))

        def end_the_other(address: str) -> None:
            woken.append(address)
            watches[other[address]].__exit__(None, None, None)

        watches = {each: shard.watches.watch(each, end_the_other) for each in other}
        for watch in watches.values():
            watch.__enter__()
        await shard.ask(PAYEE, Give("purse/b", 3))
        await shard.ask(PAYEE, Give(BANK, 1))
        assert shard.failure is None
    assert woken, "nobody was told"
    assert len(set(woken)) == 1
