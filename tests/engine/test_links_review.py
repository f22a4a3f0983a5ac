"""What shards must not do to each other: overtake time, starve, leave somebody waiting."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from msgspec import Struct
from msgspec.structs import replace
from trio.testing import MockClock

from engine.clock import DomainClock, WallClock
from engine.control import ClockMoved
from engine.dates import CutDay, open_date
from engine.fault import STOPPING, Fault
from engine.inspection import inspect, vital_signs
from engine.limits import Limits
from engine.message import Envelope
from engine.node import Node
from engine.shard import ShardFailedError
from gateway.link_verification import LinkVerification
from storage.errors import StorageError
from storage.folder import Folder, release
from storage.row import DATES, seal
from storage.store import CommitTimes, Writes
from storage.verify import Verification
from tests.engine.purses import (
    KINDS,
    MIDNIGHT_NS,
    SECOND_NS,
    Give,
    Given,
    Ignore,
    Look,
    Mending,
    Purse,
    Receive,
    Remind,
    SetAlarms,
    Spin,
    purses,
    settled,
)
from tests.engine.shards import (
    SHARDS,
    LoggedStore,
    check_all_books,
    new_stores,
    on,
    reopened,
    running_node,
    way_of,
)

A, B, C = (on(shard) for shard in range(SHARDS))


def at(seconds: float) -> int:
    return MIDNIGHT_NS + int(seconds * SECOND_NS)


@pytest.fixture(autouse=True)
def _broken_purses() -> None:
    Mending.mended = False


class SlowStore(LoggedStore):
    """A store whose commits take a while, as on a disk."""

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`."""
        await trio.sleep(0.01)
        return await super().commit(writes)


# Time.


async def test_command_waits_for_what_an_earlier_timer_of_another_shard_sends(
    autojump_clock: MockClock,
) -> None:
    """The money that the timer sends at 70 s is there when it is to be spent at 100 s."""
    for _ in range(10):
        stores = [SlowStore(shard) for shard in range(SHARDS)]
        async with running_node(stores, Limits(slice_s=0.0, batch_s=0.0)) as node:
            await node.ask("purse/bank", Give(C, 10))
            await node.ask(C, Remind(at(70), A, 10))
            assert await node.ask(A, Give(B, 10), at_ns=at(100)) == Given(10)
        check_all_books(stores)


async def test_timer_set_late_on_another_shard_fires_at_its_own_time() -> None:
    """Its shard's clock was moved on by a command while the message that sets it was held up."""
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask(B, Look(), at_ns=at(100))
        await node.ask(B, SetAlarms(((at(70), "n", "ring"),)))
        await settled()
        assert purses(stores[1])[B.removeprefix("purse/")].log == ("ring@70",)


async def test_timer_set_late_on_a_shard_that_is_behind_fires_without_another_command(
    autojump_clock: MockClock,
) -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask(C, Look(), at_ns=at(100))
        await node.shards[1].ask(B, SetAlarms(((at(70), "n", "ring"),)))
        await trio.sleep(1)
        assert purses(stores[1])[B.removeprefix("purse/")].log == ("ring@70",)


async def test_time_passes_though_a_caller_still_waits(autojump_clock: MockClock) -> None:
    """The chain of its command is over: nothing of it is under way, the answer may need time."""
    stores = new_stores()
    async with running_node(stores) as node:
        begun = trio.current_time()
        node.submit(A, Ignore(), lambda _: None, deadline=begun + 1_000)
        await node.ask(B, SetAlarms(((at(1), "n", "ring"),)))
        assert isinstance(await node.ask(C, Look(), at_ns=at(2)), Struct)
        assert not isinstance(await node.ask(C, Look(), at_ns=at(2)), Fault)
        moved: list[Any] = []
        node.advance(at(3), moved.append)
        await trio.sleep(1)
        assert moved == [ClockMoved(at(3))]
        assert trio.current_time() < begun + 10


async def test_timer_without_end_does_not_shut_out_commands_of_the_present(
    mock_clock: MockClock,
) -> None:
    mock_clock.rate = 20
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask(A, SetAlarms(((at(0), "always", "always"),)))
        assert not isinstance(await node.ask(B, Look()), Fault)
        assert await node.ask("purse/bank", Give(A, 5)) == Given(5)
        node.fail(RuntimeError("it would never come to rest"))


async def test_commands_that_wait_for_their_time_are_told_when_the_node_stops() -> None:
    stores = new_stores()
    answers: list[Any] = []
    async with running_node(stores) as node:
        await node.ask(A, SetAlarms(((at(1), "n", "ring"),)))
        node.submit(B, Look(), answers.append, at_ns=at(2))
        node.submit(C, Look(), answers.append, at_ns=at(3))
        node.advance(at(4), answers.append)
        node.stop()
        assert node.submit(B, Look(), answers.append, at_ns=at(5)) == STOPPING
    assert answers == [STOPPING] * 3


async def test_commands_that_wait_for_their_time_are_told_when_a_shard_fails() -> None:
    stores = new_stores()
    answers: list[Any] = []
    async with running_node(stores) as node:
        await node.ask(A, SetAlarms(((at(1), "n", "ring"),)))
        stores[0].held = True
        node.submit(B, Look(), answers.append, at_ns=at(2))
        await settled()
        assert answers == []
        node.fail(RuntimeError("on purpose"))
        await settled()
        assert answers == [STOPPING]
        stores[0].let()


async def test_callback_that_raises_while_it_waits_for_its_time_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    stores = new_stores()

    def raises(answer: Any) -> None:
        raise RuntimeError("the caller's own fault")

    async with running_node(stores) as node:
        await node.ask(A, SetAlarms(((at(1), "n", "ring"),)))
        stores[1].held = True
        node.submit(B, Look(), raises, at_ns=at(2), deadline=trio.current_time() + 1)
        node.advance(at(1), raises, deadline=trio.current_time() + 1)
        await trio.sleep(2)
        stores[1].let()
        node.advance(at(2), raises)
        await trio.sleep(2)
        assert not isinstance(await node.ask(B, Look()), Fault)


# Fairness.


@pytest.mark.parametrize("endless", [Spin(), SetAlarms(((0, "always", "always"),))])
async def test_chain_without_end_does_not_shut_out_messages_of_other_shards(
    endless: Struct,
) -> None:
    stores = new_stores()
    async with running_node(stores, clock=WallClock()) as node:
        node.submit(A, endless, lambda _: None)
        for number in range(5):
            assert isinstance(await node.ask(B, Look()), Purse)
            given = await node.ask("purse/bank", Give(on(0, "x"), 5, str(number)))
            assert isinstance(given, Given)
        node.fail(RuntimeError("it would never come to rest"))


# Failures.


async def test_commit_that_waited_for_views_is_not_begun_once_the_shard_has_failed() -> None:
    """The turn that failed it had taken its message: the cursor alone must not become durable."""
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(A, 5))
        await settled()
        shard = node.shards[0]
        shard.hold_commits()
        answers: list[Any] = []
        node.submit(A, SetAlarms(((at(9), "n", "ring"),)), answers.append)
        await settled()
        before = stores[0].last.sequence
        node.fail(RuntimeError("on purpose"))
        shard.let_commits()
        await settled()
        assert stores[0].last.sequence == before
    assert len(answers) == 1


async def test_views_asked_of_a_node_that_fails_are_refused() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        stores[1].held = True
        node.submit(B, SetAlarms(((at(9), "n", "ring"),)), lambda _: None)
        await settled()
        refused: list[str] = []

        async def open_views() -> None:
            try:
                await node.snapshots()
            except ShardFailedError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_views)
            await settled()
            node.fail(RuntimeError("on purpose"))
            await settled()
            assert len(refused) == 1
            nursery.cancel_scope.cancel()
        stores[1].let()


# Recovery.


async def test_recovery_gives_timers_their_turn_before_later_messages() -> None:
    """Found after a crash: a timer due at 70 s, and a message of 100 s from another shard."""
    stores = new_stores()
    async with running_node(stores, kill=True) as node:
        await node.ask("purse/bank", Give(A, 10))
        await node.ask(B, SetAlarms(((at(70), "n", "ring"),)))
        stores[1].held = True
        # It had begun on its shard before the timer was set on the other.
        node.shards[0].submit(A, Give(B, 10, "gift"), lambda _: None, at_ns=at(100))
        await settled()
        assert node.shards[1].stage.actors[B].state.log == ("ring@70", "gift")
    again = reopened(stores)
    async with running_node(again):
        assert purses(again[1])[B.removeprefix("purse/")].log == ("ring@70", "gift")
    check_all_books(again)


async def test_shards_apart_that_are_stopped_at_once_come_to_an_end() -> None:
    stores = new_stores()
    async with running_node(stores, kill=True) as node:
        await node.shards[0].ask_control(CutDay("2026-01-01"))
    again = Node(reopened(stores), KINDS, DomainClock(MIDNIGHT_NS))
    again.stop()
    with trio.fail_after(2):
        await again.run()


# The end of a business date.


async def test_cuts_of_two_dates_at_once_leave_the_shards_on_one_date() -> None:
    for _ in range(20):
        stores = new_stores()
        async with running_node(stores) as node:
            async with trio.open_nursery() as nursery:
                for day in ("2026-01-01", "2026-01-02"):
                    nursery.start_soon(node.ask_control, CutDay(day))
            assert len({shard.stage.business_date for shard in node.shards}) == 1


async def test_closed_date_that_is_not_what_the_journal_says_is_found() -> None:
    """Also where two shards are wrong by the same, so that all of them still come to zero."""
    stores = new_stores()
    async with running_node(stores) as node:
        for to in (A, B, C):
            await node.ask("purse/bank", Give(to, 5))
        await node.ask_control(CutDay("2026-01-01"))

    def found() -> list[str]:
        verifications = [Verification(store.snapshot()) for store in stores]
        for each in verifications:
            assert list(each.postings())
        links = LinkVerification([store.snapshot() for store in stores])
        links.compare([each.sums for each in verifications])
        return [damage.invariant for damage in links.damages]

    assert found() == []
    for shard, off in ((0, 1), (1, -1)):
        (row,) = stores[shard].snapshot().scan(DATES)
        date = open_date(*row)
        wrong = replace(date, sums={"CNY": date.sums["CNY"] + off})
        payload = msgspec.msgpack.encode(wrong)
        stores[shard]._tables[DATES] = {row[0]: seal(DATES, row[0], payload)}
    assert found() == ["closed-date"] * 2


# Folders.


def test_creation_does_not_wipe_the_shards_of_a_store_that_has_lost_its_first(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path)
    folder.create("2026-01-01", MIDNIGHT_NS, shards=3)
    (tmp_path / "shard-0").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="shard-1"):
        folder.create("2026-01-01", MIDNIGHT_NS)
    (tmp_path / "elsewhere").rename(tmp_path / "shard-0")
    stores = folder.open()
    assert len(stores) == 3
    release(stores)
    folder.close()


# Inspection.


async def test_messages_of_other_shards_are_seen_in_the_mailbox() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        way = way_of(node)
        way.carry(0, 1, 1, [Envelope(B, A, Receive(""), "2026-01-01")])
        seen = inspect(node.shards[1], B)
        assert (seen.mailbox.depth, seen.mailbox.head) == (1, "Receive")
        assert vital_signs(node.shards[1]).messages_under_way == 1
        node.fail(RuntimeError("nobody has sent it"))
