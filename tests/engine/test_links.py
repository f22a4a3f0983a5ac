"""Messages between shards are processed exactly once, and no money comes or goes on the way.

The purses of a gift live on different shards, so that nearly every chain crosses; a crash may come
after any commit of any shard, between send, apply, acknowledge and trim.
"""

import random
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from engine.address import shard_of
from engine.batch import Batch
from engine.books import Books
from engine.clock import DomainClock
from engine.control import DiscardParked, ReleaseParked
from engine.dates import ClosedDate, CutDay, DateNotOpen, DateState, durable_date
from engine.fault import OUTCOME_UNKNOWN
from engine.inspection import inspect, vital_signs
from engine.limits import Limits
from engine.links import RESEND_S, Links
from engine.message import Envelope
from engine.node import Node
from engine.shard import Shard
from gateway.link_verification import LinkVerification
from storage import link
from storage.errors import CorruptRowError, StorageError
from storage.link import Marker
from storage.memory import MemorySnapshot, MemoryStore
from storage.row import LINKS, OUTBOX, PARKED, seal, unseal
from tests.effort import effort
from tests.engine.purses import (
    KINDS,
    MIDNIGHT_NS,
    Give,
    Given,
    Look,
    Mending,
    Receive,
    Send,
    SetAlarms,
    purses,
    settled,
)
from tests.engine.shards import (
    BANK_SHARD,
    SHARDS,
    Log,
    LossyWay,
    all_balances,
    all_gifts,
    check_all_books,
    new_stores,
    on,
    reopened,
    running_node,
    under_way,
)

OTHERS = [shard for shard in range(SHARDS) if shard != BANK_SHARD]
NEAR = on(BANK_SHARD, "near")
FAR = on(OTHERS[0], "far")
FARTHER = on(OTHERS[1], "farther")


async def test_gift_across_shards_is_answered_when_both_sides_are_durable() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        assert await node.ask("purse/bank", Give(FAR, 5)) == Given(5)
        # The far side's answer rests on its batch, and this one on the batch before it.
        assert all_balances(stores)["bank"] == -5
        assert all_balances(stores)[FAR.removeprefix("purse/")] == 5
        assert await node.ask(FAR, Give(FARTHER, 3)) == Given(3)
    check_all_books(stores)
    assert under_way(stores) == []


async def test_answer_waits_for_the_commit_of_the_other_shard() -> None:
    stores = new_stores()
    stores[OTHERS[0]].held = True
    answers: list[Any] = []
    async with running_node(stores) as node:
        node.submit("purse/bank", Give(FAR, 5), answers.append)
        await settled()
        assert answers == []
        assert [row.amount_minor for row in under_way(stores)] == [5]
        check_all_books(stores)
        stores[OTHERS[0]].let()
        await settled()
        assert answers == [Given(5)]


async def test_slots_of_chains_that_end_elsewhere_are_freed() -> None:
    """The chain is answered by another shard, or passed through all of them and back."""
    stores = new_stores()
    async with running_node(stores) as node:
        for _ in range(3):
            await node.ask("purse/bank", Give(FAR, 5))
            way = (FAR, FARTHER, NEAR, FAR, "purse/bank", FARTHER)
            assert isinstance(await node.ask("purse/bank", Send(way, 50)), Given)
        await settled()
        assert [shard.admission.unconfirmed for shard in node.shards] == [0] * SHARDS
        assert not any(shard.stage.asks for shard in node.shards)
    check_all_books(stores)


async def test_acknowledged_messages_leave_the_outbox(autojump_clock: MockClock) -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        for number in range(20):
            await node.ask("purse/bank", Give((FAR, FARTHER)[number % 2], 1, str(number)))
        await trio.sleep(1)
        for store in stores:
            assert list(store.snapshot().scan(OUTBOX)) == []
        ends = link.ends(stores[BANK_SHARD].snapshot())[0]
        assert {shard: end.last for shard, end in ends.items()} == dict.fromkeys(OTHERS, 10)
    check_all_books(stores)


async def _gifts(node: Node, told: dict[str, Any], rounds: int) -> None:
    """Have gifts go to and fro between all shards, several at once."""
    ways = [
        (NEAR, FAR, FARTHER),
        (FAR, NEAR),
        (FARTHER, FAR, FARTHER, NEAR, FAR),
        (FAR, FARTHER),
    ]

    async def give(number: str, to: str) -> None:
        told[number] = await node.ask("purse/bank", Give(to, 7, number))

    for turn in range(rounds):
        async with trio.open_nursery() as nursery:
            for n, to in enumerate((FAR, FARTHER, NEAR)):
                nursery.start_soon(give, f"{turn}/{n}", to)
            for way in ways:
                nursery.start_soon(node.ask, "purse/bank", Send(way, 20))


def _passed_on(stores: list[MemoryStore]) -> int:
    """Return how much is with everybody but the bank, on the way or there."""
    return sum(minor for number, minor in all_balances(stores).items() if number != "bank") + sum(
        row.amount_minor for row in under_way(stores)
    )


async def test_crash_after_any_commit_loses_and_doubles_nothing() -> None:
    """Every commit of every shard is a place to crash: between send, apply, acknowledge, trim."""
    log = Log()
    stores = new_stores(log)
    told: dict[str, Any] = {}
    async with running_node(stores, kill=True) as node:
        await _gifts(node, told, 3)
        await settled()
    assert len(log.left) > 25
    for left in log.left:
        check_all_books(left)
        gone_out = -all_balances(left).get("bank", 0)
        again = reopened(left)
        # Some must be found with messages on their way, or nothing was tested.
        async with running_node(again):
            await settled()
        check_all_books(again)
        assert under_way(again) == []
        assert _passed_on(list(again)) == gone_out
        assert set(all_gifts(again).values()) <= {1}
    assert any(under_way(left) for left in log.left)
    assert set(all_gifts(log.left[-1])) == set(told), "an acknowledged gift is missing"


async def test_crash_during_recovery_after_a_crash_loses_and_doubles_nothing() -> None:
    log = Log()
    stores = new_stores(log)
    told: dict[str, Any] = {}
    async with running_node(stores, kill=True) as node:
        await _gifts(node, told, 1)
    busy = [left for left in log.left if len(under_way(left)) >= 2]
    assert busy
    for left in busy[:6]:
        gone_out = -all_balances(left).get("bank", 0)
        again = Log()
        copies = new_stores(again)
        for copy, store in zip(copies, left, strict=True):
            copy._tables = {table: dict(rows) for table, rows in store._tables.items()}
            copy.last, copy.was_clean, copy.epoch = store.last, False, store.epoch + 1
        async with running_node(copies, kill=True):
            await settled()
        for twice in again.left[1:]:
            check_all_books(twice)
            last = reopened(twice)
            async with running_node(last):
                await settled()
            check_all_books(last)
            assert _passed_on(list(last)) == gone_out
            assert set(all_gifts(last).values()) <= {1}


async def test_clean_stop_leaves_nothing_to_recover() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        await _gifts(node, {}, 2)
        node.submit("purse/bank", Send((FAR, FARTHER, NEAR, FAR), 30), lambda _: None)
    assert under_way(stores) == []
    again = [store.reopened() for store in stores]
    assert all(store.was_clean for store in again)
    async with running_node(again) as node:
        assert isinstance(await node.ask("purse/bank", Give(FAR, 1)), Given)
    check_all_books(again)


async def test_lossy_way_delivers_everything_exactly_once(autojump_clock: MockClock) -> None:
    """Lost, doubled, late and reordered: each end counts, and the sender sends again."""
    for seed in range(effort(6, 15)):
        stores = new_stores()
        told: dict[str, Any] = {}
        async with running_node(stores) as node:
            LossyWay(node, random.Random(seed))
            async with trio.open_nursery() as nursery:
                for n in range(12):
                    to = (FAR, FARTHER, NEAR)[n % 3]
                    nursery.start_soon(_ask_for_long, node, told, str(n), to)
            await trio.sleep(60 * RESEND_S)
            assert set(told) == {str(n) for n in range(12)}
            assert all(isinstance(answer, Given) for answer in told.values()), seed
            # Acknowledgements were lost too: in the end the senders have heard of everything.
            assert all(not list(store.snapshot().scan(OUTBOX)) for store in stores), seed
        check_all_books(stores)
        assert under_way(stores) == []
        assert all_gifts(stores) == {str(n): 1 for n in range(12)}


async def _ask_for_long(node: Node, told: dict[str, Any], number: str, to: str) -> None:
    told[number] = await node.ask("purse/bank", Give(to, 2, number), timeout_s=3_600)


async def test_failed_commit_of_one_shard_is_the_end_of_all() -> None:
    """What the others hold in memory may rest on it: nobody is told that something failed."""
    for how in ("kept", "lost"):
        stores = new_stores()
        answers: list[Any] = []
        failures: list[BaseException] = []
        async with running_node(stores) as node:
            node._on_failure = failures.append
            stores[OTHERS[1]].held = True
            node.submit("purse/bank", Give(FARTHER, 1), answers.append)
            await settled()
            stores[OTHERS[0]].fail_next = how
            node.submit("purse/bank", Give(FAR, 5), answers.append)
            await settled()
            assert answers == [OUTCOME_UNKNOWN] * 2
            assert len(failures) == 1
            refused = node.submit("purse/bank", Give(NEAR, 1), answers.append)
            assert refused is not None
            stores[OTHERS[1]].let()
        again = reopened(stores)
        async with running_node(again):
            await settled()
        check_all_books(again)
        assert -all_balances(again)["bank"] == 6


async def test_poison_message_of_another_shard_is_parked_at_the_third_attempt() -> None:
    deadly = on(OTHERS[0], "deadly")
    stores: list[Any] = list(new_stores())
    async with running_node(stores, kill=True) as node:
        node.submit("purse/bank", Give(deadly, 5), lambda _: None)
        await settled()
    for attempts in (0, 1):
        stores = reopened(stores)
        end = link.ends(stores[OTHERS[0]].snapshot())[1][BANK_SHARD]
        assert (end.cursor, end.attempts) == (0, attempts)
        async with running_node(stores, kill=True):
            await settled()
    stores = reopened(stores)
    async with running_node(stores) as node:
        await settled()
        (row,) = [row for row in under_way(stores) if row.amount_minor]
        assert row.to == deadly
        assert "abnormal exit" in row.error
        assert isinstance(await node.ask("purse/bank", Give(FAR, 1)), Given)
    check_all_books(stores)


async def test_turn_that_fails_on_another_shard_parks_and_tells_the_caller() -> None:
    broken = on(OTHERS[0], "broken")
    stores = new_stores()
    async with running_node(stores) as node:
        assert await node.ask("purse/bank", Give(broken, 5)) == OUTCOME_UNKNOWN
        assert len(list(stores[OTHERS[0]].snapshot().scan(PARKED))) == 1
        check_all_books(stores)
        await settled()
        assert [shard.admission.unconfirmed for shard in node.shards] == [0] * SHARDS
        Mending.mended = True
        await node.ask_control(ReleaseParked(broken))
        assert all_balances(stores)[broken.removeprefix("purse/")] == 5
    check_all_books(stores)


async def test_discarded_money_reaches_a_suspense_purse_on_another_shard() -> None:
    suspense = "purse/suspense-CNY"
    away = next(shard for shard in range(SHARDS) if shard != shard_of(suspense, SHARDS))
    broken = on(away, "broken")
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(broken, 5))
        left = await node.ask_control(DiscardParked(broken))
        assert (left.taken, left.left) == (1, 0)
        await settled()
        assert all_balances(stores)["suspense-CNY"] == 5
    check_all_books(stores)


# Stores that do not belong together.


def _rewritten(store: MemoryStore, key: bytes, **changes: Any) -> MemoryStore:
    outgoing, incoming = link.ends(store.snapshot())
    other = int.from_bytes(key[1:], "big")
    end: Any = outgoing[other] if key[:1] == b">" else incoming[other]
    payload = link.encode(msgspec.structs.replace(end, **changes))
    copy = store.reopened()
    copy._tables[LINKS] = {**copy._tables[LINKS], key: seal(LINKS, key, payload)}
    return copy


async def _used() -> list[MemoryStore]:
    stores = new_stores()
    async with running_node(stores) as node:
        await _gifts(node, {}, 1)
        stores[OTHERS[0]].held = True
        node.submit("purse/bank", Give(FAR, 5), lambda _: None)
        await settled()
        left = reopened(stores)
        stores[OTHERS[0]].let()
    return left


def _opens(stores: list[MemoryStore]) -> None:
    Node(stores, KINDS, DomainClock(MIDNIGHT_NS))


async def test_ends_that_do_not_belong_together_refuse_to_open() -> None:
    left = await _used()
    here, there = BANK_SHARD, OTHERS[0]
    _opens(reopened(left))
    into, out = link.incoming_key(here), link.outgoing_key(there)
    sent = link.ends(left[here].snapshot())[0][there]
    wrong: list[tuple[int, bytes, dict[str, Any]]] = [
        (there, into, {"cursor": sent.last + 1}),
        (there, into, {"incarnation": "other"}),
        (there, into, {"cursor": 0}),
        (there, into, {"received_minor": {"CNY": 1}}),
        (here, out, {"sent_minor": {}}),
        (here, out, {"last": sent.last + 1}),
        (here, out, {"incarnation": "other"}),
    ]
    for shard, key, changes in wrong:
        stores = reopened(left)
        stores[shard] = _rewritten(left[shard], key, **changes)
        with pytest.raises(CorruptRowError):
            _opens(stores)
        with pytest.raises(AssertionError):
            check_all_books(stores)


async def test_one_shard_of_an_older_state_refuses_to_open() -> None:
    """A backup of one shard alone: it would take again what it had taken, or miss it for good."""
    log = Log()
    stores = new_stores(log)
    async with running_node(stores, kill=True) as node:
        await _gifts(node, {}, 2)
        await settled()
    first, last = log.left[1], log.left[-1]
    for shard in range(SHARDS):
        mixed = reopened(last)
        mixed[shard] = first[shard].reopened()
        with pytest.raises(CorruptRowError):
            _opens(mixed)


async def test_outbox_row_that_is_missing_refuses_to_open() -> None:
    left = await _used()
    rows = left[BANK_SHARD]._tables[OUTBOX]
    key = max(key for key in rows if key[:2] == OTHERS[0].to_bytes(2, "big"))
    left[BANK_SHARD]._tables[OUTBOX] = {k: row for k, row in rows.items() if k != key}
    with pytest.raises(CorruptRowError):
        _opens(left)
    assert unseal(OUTBOX, key, rows[key])


# The end of a business date.


async def test_date_closes_once_nothing_of_it_is_under_way_on_any_shard() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(FAR, 5))
        stores[OTHERS[0]].held = True
        answers: list[Any] = []
        node.submit("purse/bank", Send((FAR, FARTHER, NEAR), 9), answers.append)
        await settled()
        cut: list[Any] = []
        async with trio.open_nursery() as nursery:

            async def cut_day() -> None:
                cut.append(await node.ask_control(CutDay("2026-01-01")))

            nursery.start_soon(cut_day)
            await settled()
            for shard in node.shards:
                assert "2026-01-01" in shard.stage.closing
            # New commands carry the next date meanwhile, on shards that were cut.
            stores[OTHERS[0]].let()
            await settled()
        assert answers == [Given(7)]
    (date,) = cut
    assert isinstance(date, ClosedDate)
    check_all_books(stores)
    closed = [_date(store) for store in stores]
    assert {each.state for each in closed} == {DateState.CLOSED}
    assert sum(each.sums.get("CNY", 0) for each in closed) == 0
    assert all(each.sums.get("CNY", 0) + each.crossed.get("CNY", 0) == 0 for each in closed)
    assert all(each.sums.get("CNY", 0) for each in closed), "nothing crossed on that date"


def _date(store: MemoryStore, business_date: str = "2026-01-01") -> ClosedDate:
    date = durable_date(store.snapshot(), business_date)
    assert date is not None
    return date


async def test_date_with_something_parked_elsewhere_stays_open_until_it_is_dealt_with(
    autojump_clock: MockClock,
) -> None:
    broken = on(OTHERS[0], "broken")
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(broken, 5))
        date = await node.ask_control(CutDay("2026-01-01"))
        assert date.state is DateState.CLOSING
        assert await node.ask("purse/bank", Give(FAR, 5)) == Given(5)
        assert node.business_date() == "2026-01-02"
        await trio.sleep(1)
        assert {_date(store).state for store in stores} == {DateState.CLOSING}
        Mending.mended = True
        await node.ask_control(ReleaseParked(broken))
        await trio.sleep(1)
        assert {_date(store).state for store in stores} == {DateState.CLOSED}
        again = await node.ask_control(CutDay("2026-01-01"))
        assert again.state is DateState.CLOSED
        assert again.sums == {"CNY": 0}
        assert await node.ask_control(CutDay("2026-02-01")) == DateNotOpen(
            "2026-02-01", "2026-01-02"
        )
    check_all_books(stores)


async def test_crash_anywhere_in_a_day_cut_ends_with_the_date_closed() -> None:
    """Shards are cut one after the other: what a crash leaves half done is finished."""
    log = Log()
    stores = new_stores(log)
    async with running_node(stores, kill=True) as node, trio.open_nursery() as nursery:
        nursery.start_soon(_gifts, node, {}, 2)
        nursery.start_soon(node.ask_control, CutDay("2026-01-01"))
    begun = [left for left in log.left if any(s.last.business_date > "2026-01-01" for s in left)]
    assert begun
    for left in begun:
        again = reopened(left)
        async with running_node(again) as node:
            await settled()
            assert node.business_date() == "2026-01-02"
        assert {_date(store).state for store in again} == {DateState.CLOSED}
        check_all_books(again)


async def test_day_cut_that_reaches_some_shards_alone_is_of_no_known_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node is told to stop in between: it must not say that nothing happened."""
    stores = new_stores()
    submit = Shard.submit_control
    async with running_node(stores) as node:

        def then_stop(shard: Shard, *arguments: Any) -> None:
            submit(shard, *arguments)
            node.stop()

        monkeypatch.setattr(Shard, "submit_control", then_stop)
        assert await node.ask_control(CutDay("2026-01-01")) == OUTCOME_UNKNOWN
    monkeypatch.undo()
    async with running_node(stores) as node:
        assert node.business_date() == "2026-01-02"
        await settled()
    assert {_date(store).state for store in stores} == {DateState.CLOSED}


async def test_date_is_not_quiet_while_a_batch_sends_something_of_it() -> None:
    """Its count joins the link's at the cut: a marker made before would deny the message."""
    stores = new_stores()
    links = Links(stores[0].snapshot(), stores[0].format)
    batch = Batch(1)
    batch.depart(1, Envelope("purse/a", "", Receive(""), "2026-01-01"))
    assert not links.quiet(batch, "2026-01-01")
    assert len(batch.departures[1]) == 1
    assert 2 not in batch.departures
    links.depart(batch, Books(()), 0.0)
    later = Batch(2)
    assert not links.quiet(later, "2026-01-01"), "the others have said nothing yet"
    ((envelope, _),) = later.departures[1]
    assert envelope.body == Marker({1: 1, 2: 0}, {1: 0, 2: 0})
    assert not links.quiet(Batch(3), "2026-01-01")
    links.mark(1, "2026-01-01", Marker({0: 0, 2: 0}, {0: 1, 2: 0}))
    links.mark(2, "2026-01-01", Marker({0: 0, 1: 0}, {0: 0, 1: 1}))
    assert not links.quiet(Batch(3), "2026-01-01"), "shard 2 has taken what 1 has not sent yet"
    links.mark(1, "2026-01-01", Marker({0: 0, 2: 1}, {0: 1, 2: 0}))
    assert links.quiet(Batch(3), "2026-01-01")


# Fairness.


async def test_stream_of_messages_does_not_shut_out_commands() -> None:
    stores = new_stores()
    async with running_node(stores, Limits(slice_s=0.0, batch_s=0.0)) as node:
        await node.ask("purse/bank", Give(FAR, 10_000))
        await node.ask("purse/bank", Give(NEAR, 10_000))
        answers: list[Any] = []

        def again(answer: Any) -> None:
            answers.append(answer)
            if len(answers) < 300:
                node.submit(FAR, Give(NEAR, 1), again)

        for _ in range(10):
            node.submit(FAR, Give(NEAR, 1), again)
        assert isinstance(await node.ask(NEAR, Give(FARTHER, 1)), Given)
        assert len(answers) < 150
    check_all_books(stores)
    assert purses(stores[BANK_SHARD])[NEAR.removeprefix("purse/")].balance_minor > 0


# Views of all shards.


async def test_views_of_all_shards_fit_together_whenever_they_are_opened() -> None:
    """Nothing is taken in one that another has not sent; turns go on while they are opened."""
    stores = new_stores()
    views: list[list[MemorySnapshot]] = []
    async with (
        running_node(stores, Limits(batch_s=0.0)) as node,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(_gifts, node, {}, 4)
        for _ in range(40):
            opened: Any = await node.snapshots()
            views.append(opened)
            await trio.lowlevel.checkpoint()
    on_their_way = 0
    for view in views:
        assert LinkVerification(view).damages == []
        on_their_way += sum(snapshot.count(OUTBOX) for snapshot in view)
    assert on_their_way, "nothing was ever under way"


async def test_commit_that_hangs_refuses_views_and_holds_up_no_other_shard(
    autojump_clock: MockClock,
) -> None:
    """While somebody waits for a view of the whole, the shards whose disks work go on."""
    stores = new_stores()
    refused: list[StorageError] = []
    alarms = SetAlarms(((2**62, "x", "ring"),))
    async with running_node(stores) as node:
        stores[0].held = True
        node.submit(on(0), alarms, lambda _: None)
        await settled()

        async def open_views() -> None:
            try:
                await node.snapshots()
            except StorageError as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_views)
            await settled()
            node.submit(on(1), alarms, lambda _: None)
            await settled()
            assert stores[1].last.sequence == 1, "its commit had to wait"
            await trio.sleep(60)
        assert len(refused) == 1
        node.submit(on(2), alarms, lambda _: None)
        await settled()
        assert stores[2].last.sequence == 1
        stores[0].let()
        await settled()
        assert len(await node.snapshots()) == SHARDS


async def test_opening_views_waits_for_commits_and_not_for_turns() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        stores[0].held = True
        answers: list[Any] = []
        node.submit(on(0), Look(), answers.append)
        node.submit(on(0), SetAlarms(((2**62, "x", "ring"),)), answers.append)
        await settled()
        opened: list[Any] = []

        async def open_views() -> None:
            opened.extend(await node.snapshots())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_views)
            await settled()
            assert opened == []
            before = len(node.shards[1].stage.history)
            node.submit(on(1), SetAlarms(((2**62, "x", "ring"),)), answers.append)
            await settled()
            assert len(node.shards[1].stage.history) == before + 1, "its turn had to wait"
            stores[0].let()
        await settled()
        assert len(opened) == SHARDS
        assert len(answers) == 3


async def test_links_and_what_waits_at_them_are_seen() -> None:
    stores = new_stores()
    async with running_node(stores) as node:
        await node.ask("purse/bank", Give(FAR, 5))
        stores[OTHERS[0]].held = True
        node.submit("purse/bank", Give(FAR, 1), lambda _: None)
        await settled()
        here, there = node.shards[BANK_SHARD], node.shards[OTHERS[0]]
        (sign,) = [each for each in vital_signs(here).links if each.shard == OTHERS[0]]
        assert (sign.sent, sign.acknowledged) == (2, 1)
        (sign,) = [each for each in vital_signs(there).links if each.shard == BANK_SHARD]
        assert (sign.taken, sign.arrived) == (2, 2)
        assert inspect(there, FAR).waits_for.commit == vital_signs(there).durable_seq + 1
        stores[OTHERS[0]].let()
