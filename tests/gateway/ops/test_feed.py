"""Feeds: what they tell is durable, in time, and no more than is read; they end as they must."""

import itertools
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from actors import payment as payments
from actors.kinds import MERCHANT
from actors.messages import PaymentDebited
from gateway import front
from gateway.ca.master_key import MasterKey, new_master_key
from gateway.listener import address
from gateway.operations import Release
from gateway.operator import act
from gateway.ops import listener, sessions
from gateway.ops.desk import Visitor
from gateway.ops.feed import Feed
from gateway.ops.feeds import EndReason, FeedBounds, Feeds
from gateway.ops.masking import Eyes
from gateway.ops.office import DisableOperator
from gateway.ops.operators import RIGHTS, Operator, Right, Role
from gateway.ops.sessions import Sessions
from gateway.ops.topics import ACTORS_MAX, read_topics
from gateway.ops.vitals import Pulse
from gateway.server import serve
from storage.cabinet import Cabinet
from storage.errors import CabinetError
from storage.folder import Folder
from tests.gateway.ops.follower import QUICK_LOOKS, following
from tests.gateway.ops.guarded import Guarded, row_of
from tests.gateway.ops.house import PASSWORD
from tests.gateway.ops.operators import LIMIT_S, Ops, watched
from tests.gateway.ops.test_look import OPENING, PAYER, WHY, pay
from tests.gateway.ops.test_openapi import DOCUMENT, check
from tests.shards import SHARDS

ACCOUNT = f"account/{PAYER}"
ACTOR = f"actor:account:{PAYER}"


@asynccontextmanager
async def shop(
    data: Path, bounds: FeedBounds = QUICK_LOOKS, *roles: Role
) -> AsyncIterator[Guarded]:
    """Serve a merchant, and a payer with 100.00 who has spent nothing yet."""
    master_key = new_master_key()
    async with watched(data, master_key=master_key, feed_bounds=bounds) as ops:
        made = Guarded(ops, data, master_key)
        for role in roles or (Role.VIEWER,):
            await made.take_on(role)
        answers = await made.commands(*OPENING)
        assert {each["status"] for each in answers} == {201}
        yield made


async def room(guarded: Guarded) -> None:
    """Wait until one more feed may begin."""
    with trio.fail_after(LIMIT_S):
        while True:
            async with following(guarded, "vitals") as follower:
                if follower.status == 200:
                    return


@asynccontextmanager
async def served_again(data: Path, master_key: MasterKey) -> AsyncIterator[Ops]:
    """Serve a store that is there already."""
    with closing(Folder(data)) as folder:
        async with trio.open_nursery() as nursery, httpx2.AsyncClient(timeout=LIMIT_S) as client:
            options: dict[str, Any] = {"listen": "127.0.0.1:0", "ops_listen": "127.0.0.1:0"}
            options |= {"master_key": master_key, "feed_bounds": QUICK_LOOKS}
            running = await nursery.start(partial(serve, folder, **options))
            yield Ops(running, client)
            running.stop()


# What is told


async def test_vital_signs_of_a_second_count_its_payments(tmp_path: Path) -> None:
    async with shop(tmp_path) as guarded, following(guarded, "vitals") as follower:
        assert follower.head is not None
        headers = dict(follower.head.headers)
        assert headers[b"content-type"] == b"text/event-stream"
        assert headers[b"cache-control"] == b"no-store"
        await follower.until(lambda: follower.told)
        await guarded.commands(*(pay(f"O{number}", 10) for number in range(12)))

        def payments_told() -> float:
            signs = follower.of("vitals")
            return float(sum(each["payments_per_s"] * each["interval_s"] for each in signs))

        await follower.until(lambda: payments_told() > 11.9)
        at_rest = {"payments_per_s": 0.0, "unconfirmed": 0, "commit_ns_p50": None}
        await follower.until(lambda: at_rest.items() <= follower.of("vitals")[-1].items())
        assert payments_told() == pytest.approx(12, rel=1e-3)
        signs = follower.of("vitals")
        numbers = [each["number"] for each in signs]
        assert numbers == list(range(numbers[0], numbers[0] + len(signs)))
        busy = [each for each in signs if each["payments_per_s"]]
        timed = [each for each in signs if each["commit_ns_p99"]]
        assert timed
        assert all(each["commit_ns_p99"] >= each["commit_ns_p50"] > 0 for each in timed)
        assert all(each["turn_ns_p99"] >= each["turn_ns_p50"] > 0 for each in busy)
        assert any(each["answer_ns_p50"] for each in signs)
        assert all(each["balanced"] and each["memory_bytes"] > 1 << 20 for each in signs)
        assert len(signs[-1]["shards"]) == SHARDS
        (dollars,) = signs[-1]["currencies"]
        assert (dollars["currency"], dollars["difference_minor"]) == ("USD", 0)


@pytest.mark.one_shard  # on several messages arrive in other mixtures than three turns a payment
async def test_payments_beyond_the_ring_are_reckoned_from_their_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ring of 30 turns, in which ten payments fit, and sixty payments between two looks."""
    async with shop(tmp_path) as guarded:
        for shard in guarded.ops.running.node.shards:
            shard.stage.history = type(shard.stage.history)(30)
        pulse = Pulse(guarded.ops.running.node, guarded.ops.running.counter)
        await guarded.commands(*(pay(f"O{number}", 10) for number in range(60)))
        seen = await pulse.take()
        assert seen.payments_per_s * seen.interval_s == pytest.approx(60, rel=0.1)


@pytest.mark.one_shard
async def test_many_actors_are_told_in_turn_and_never_all_at_once(tmp_path: Path) -> None:
    """A look at 64 of them in one go kept others from the event loop for 7 ms."""
    async with shop(tmp_path) as guarded:
        running = guarded.ops.running
        operator = Operator("duty-1", Role.VIEWER, "", b"", created_ns=0)
        sessions = Sessions(lambda _: operator, lambda: 2)
        begun = sessions.begin(operator, 1)
        bounds = replace(QUICK_LOOKS, actors_s=0.01, actors_max=5)
        feeds = Feeds(running.node, running.counter, sessions, bounds)
        followed = ",".join(f"actor:account:A{number}" for number in range(ACTORS_MAX))
        topics = read_topics(followed, running.node.kinds)
        visitor = Visitor(begun.token, begun.session)
        feed = Feed(feeds, running.node, visitor, topics, Eyes(all=False))
        pieces: list[list[Any]] = []
        while sum(map(len, pieces)) < ACTORS_MAX:
            pieces.append(await feed.next())
        feed.leave()
        assert [each.address for piece in pieces for each in piece] == [*topics.actors]
        assert max(map(len, pieces)) == 5


@pytest.mark.one_shard
async def test_actor_is_told_once_its_change_is_durable_and_not_before(
    tmp_path: Path, disk: threading.Event
) -> None:
    async with (
        shop(tmp_path) as guarded,
        following(guarded, f"vitals,{ACTOR}") as follower,
        trio.open_nursery() as nursery,
    ):
        await follower.until(lambda: follower.states(ACCOUNT))
        (first,) = follower.states(ACCOUNT)
        assert (first["changes"], first["confirmed"]["posted_minor"]) == (0, 10_000)
        disk.clear()
        nursery.start_soon(guarded.commands, pay("O1", 700))
        try:
            stage = guarded.ops.running.node.shard_of(ACCOUNT).stage
            with trio.fail_after(LIMIT_S):
                while stage.actors[ACCOUNT].state.posted_minor == 10_000:
                    await trio.testing.wait_all_tasks_blocked()
            looks = len(follower.of("vitals"))
            await follower.until(lambda: len(follower.of("vitals")) >= looks + 5)
            assert follower.states(ACCOUNT) == [first]
        finally:
            disk.set()
        await follower.until(lambda: len(follower.states(ACCOUNT)) == 2)
        told = follower.states(ACCOUNT)[1]
        assert (told["changes"], told["confirmed"]["posted_minor"]) == (1, 9_300)
        assert told["durable_seq"] > first["durable_seq"]


async def test_many_changes_are_told_as_the_latest_and_the_last_one_is(tmp_path: Path) -> None:
    bounds = replace(QUICK_LOOKS, actors_s=0.3)
    async with shop(tmp_path, bounds) as guarded, following(guarded, ACTOR) as follower:
        await follower.until(lambda: follower.told)
        for number in range(30):  # a commit each
            await guarded.commands(pay(f"O{number}", 10))
        await follower.until(lambda: follower.states(ACCOUNT)[-1]["changes"] >= 30)
        states = follower.states(ACCOUNT)
        changes = [each["changes"] for each in states]
        assert changes == sorted({*changes})
        assert len(states) <= 15, "a gap shows in the count of changes"
        seen = await guarded.look(f"/ops/actors/{ACCOUNT}")
        assert states[-1]["confirmed"]["posted_minor"] == 9_700
        assert states[-1]["confirmed"] == seen["confirmed"]


async def test_actor_that_comes_to_be_is_told(tmp_path: Path) -> None:
    topics = "actor:account:A9,actor:merchant:M1,actor:account:A9"
    async with shop(tmp_path) as guarded, following(guarded, topics) as follower:
        await follower.until(lambda: len(follower.told) == 2)
        assert [each["confirmed"] is None for each in follower.of("actor")] == [True, False]
        opening = {"command": "open_account", "account_no": "A9", "currency": "USD"}
        await guarded.commands(opening)
        await follower.until(lambda: len(follower.states("account/A9")) == 2)
        assert follower.states("account/A9")[1]["confirmed"]["posted_minor"] == 0
        assert len(follower.states("merchant/M1")) == 1, "nothing happened to it"


async def test_state_is_masked_as_elsewhere_and_seen_for_a_reason(tmp_path: Path) -> None:
    topics = "actor:webhook:M1,actor:merchant:M1"
    async with shop(tmp_path, QUICK_LOOKS, Role.VIEWER, Role.AUDITOR) as guarded:
        for role, reason in ((Role.VIEWER, ""), (Role.AUDITOR, WHY.partition("=")[2])):
            async with following(guarded, topics, role, reason=reason) as follower:
                await follower.until(lambda: follower.states("merchant/M1"))
                (told,) = follower.states("merchant/M1")
                path = "/ops/actors/merchant/M1" + (reason and WHY)
                assert told["confirmed"] == (await guarded.look(path, role))["confirmed"]
                assert told["masked"] == (not reason)
        async with following(guarded, topics, Role.VIEWER, reason="curious") as follower:
            assert follower.status == 403


async def test_actor_that_is_quarantined_and_released_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(turn: Any, message: Any) -> None:
        raise RuntimeError

    handlers: dict[Any, Any] = MERCHANT.handlers
    async with shop(tmp_path) as guarded, following(guarded, "quarantines,vitals") as follower:
        await follower.until(lambda: follower.of("vitals"))
        monkeypatch.setitem(handlers, PaymentDebited, fails)
        await guarded.commands(pay("O1", 10), pay("O2", 20))
        await follower.until(lambda: follower.of("quarantine"))
        number = guarded.ops.running.node.shard_of("merchant/M1").stage.number
        parked = {"object": "quarantine", "address": "merchant/M1", "shard": number}
        assert follower.of("quarantine") == [{**parked, "quarantined": True}]
        await follower.until(lambda: follower.of("vitals")[-1]["actors_quarantined"] == 1)
        async with following(guarded, "quarantines") as later:
            await later.until(lambda: later.told)
            assert later.of("quarantine") == [{**parked, "quarantined": True}]
        monkeypatch.setitem(handlers, PaymentDebited, payments.payment_debited)
        await trio.to_thread.run_sync(act, guarded.data, Release("merchant/M1"))
        await follower.until(lambda: len(follower.of("quarantine")) == 2)
        assert follower.of("quarantine")[1] == {**parked, "quarantined": False}


async def test_all_that_is_told_is_as_the_description_says(tmp_path: Path) -> None:
    operation = DOCUMENT["paths"]["/ops/feed"]["get"]
    (content,) = operation["responses"]["200"]["content"].items()
    assert content[0] == "text/event-stream"
    async with shop(tmp_path) as guarded, following(guarded, f"vitals,{ACTOR}") as follower:
        await follower.until(lambda: follower.of("vitals") and follower.of("actor"))
        await guarded.ops.client.post(
            f"{guarded.address}/ops/session/end",
            headers={"authorization": f"Bearer {guarded.tokens[Role.VIEWER]}"},
        )
        await follower.ended()
        for _, data in follower.told:
            check(content[1]["schema"], data)


async def test_quiet_feed_says_that_it_is_there(tmp_path: Path) -> None:
    async with shop(tmp_path) as guarded, following(guarded, "quarantines") as follower:
        await follower.until(lambda: follower.comments >= 2)
        assert follower.told == []


# Who may, and how many


NO_TOPICS = [
    "",
    "vital",
    "vitals,",
    "actor:account",
    "actor:household:1",
    "actor:account:A%201",
    "actor:account:A/1",
    ",".join(f"actor:account:A{number}" for number in range(65)),
]


@pytest.mark.one_shard
async def test_topics_that_are_none_are_refused(guarded: Guarded) -> None:
    for topics in NO_TOPICS:
        await guarded.look(f"/ops/feed?topics={topics}", status=422)
        entry = (await guarded.entries("?limit=1"))[0]
        assert (entry["action"], entry["outcome"]) == ("follow_feed", "INVALID_REQUEST")


@pytest.mark.one_shard
async def test_feed_is_for_who_may_look_and_its_head_tells_no_length(guarded: Guarded) -> None:
    for role in Role:
        async with following(guarded, "quarantines", role) as follower:
            assert follower.status == (200 if Right.LOOK in RIGHTS[role] else 403)
    headers = {"authorization": f"Bearer {guarded.tokens[Role.VIEWER]}"}
    head = await guarded.ops.client.head(
        f"{guarded.address}/ops/feed?topics=vitals", headers=headers
    )
    assert (head.status_code, head.content) == (200, b"")
    assert "content-length" not in head.headers


@pytest.mark.one_shard
async def test_feed_has_one_entry_in_the_log_with_all_that_it_is_about(tmp_path: Path) -> None:
    """However long the list is, and however it was written."""
    numbers = [f"62170012345678{number:02}" for number in range(50)]
    topics = ",".join(["vitals", *(f"actor:account:{each}" for each in numbers)])
    odd = topics.replace("actor", "%61ctor").replace(":", "%3A")
    async with shop(tmp_path, QUICK_LOOKS, Role.VIEWER, Role.AUDITOR) as guarded:
        async with following(guarded, odd) as follower:
            await follower.until(lambda: len(follower.of("vitals")) >= 3)
            entries = await guarded.entries("?limit=50")
        followed = [each for each in entries if each["action"] == "follow_feed"]
        assert [each["subject"] for each in followed] == [f"/ops/feed?topics={topics}"]
        assert [each["outcome"] for each in followed] == ["200"]


@pytest.mark.one_shard
async def test_what_cannot_be_written_down_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise CabinetError("the disk is gone")

    async with shop(tmp_path) as guarded:
        monkeypatch.setattr(Cabinet, "write", fails)
        async with following(guarded, "vitals") as follower:
            assert follower.status == 503


@pytest.mark.one_shard
@pytest.mark.parametrize("bounds", [{"feeds_max": 2}, {"per_operator": 2}])
async def test_feeds_beyond_the_bound_are_refused_until_one_ends(
    tmp_path: Path, bounds: dict[str, int]
) -> None:
    async with shop(tmp_path, replace(QUICK_LOOKS, **bounds)) as guarded:
        async with AsyncExitStack() as stack:
            both = [following(guarded, "vitals") for _ in range(2)]
            one, other = [await stack.enter_async_context(each) for each in both]
            await one.until(lambda: one.told)
            await other.until(lambda: other.told)
            refused = await guarded.look("/ops/feed?topics=vitals", status=429)
            assert refused["code"] == "TOO_MANY_FEEDS"
            assert refused["retry_after_s"] > 0
        await room(guarded)


@pytest.mark.one_shard
async def test_node_is_looked_at_once_for_all_feeds_and_not_for_none(tmp_path: Path) -> None:
    async with shop(tmp_path) as guarded:
        async with following(guarded, "vitals") as one, following(guarded, "vitals") as other:
            await one.until(lambda: len(one.told) >= 5)
            await other.until(lambda: len(other.told) >= 5)
            at = {each["number"]: each["at"] for each in one.of("vitals")}
            common = [each for each in other.of("vitals") if each["number"] in at]
            assert common
            assert all(at[each["number"]] == each["at"] for each in common)
        # A pulse begins anew once nobody has followed for a moment.
        with trio.fail_after(LIMIT_S):
            first = 0
            while first != 1:
                await trio.sleep(4 * QUICK_LOOKS.look_s)
                async with following(guarded, "vitals") as again:
                    await again.until(lambda: again.told)
                    first = again.of("vitals")[0]["number"]


class Idle:
    """A follower that nothing is told."""

    operator = "duty-1"

    def look(self) -> None:
        """Hear nothing."""

    def shut(self, reason: EndReason) -> None:
        """Go on."""


@pytest.mark.one_shard
async def test_feed_that_never_began_leaves_the_others_as_they_were(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    """A client may have gone before the first piece was made."""
    async with shop(tmp_path) as guarded:
        running = guarded.ops.running
        nobody = Sessions(lambda _: None)
        feeds = Feeds(running.node, running.counter, nobody, QUICK_LOOKS)
        nursery.start_soon(feeds.run)
        await trio.testing.wait_all_tasks_blocked()
        feeds.leave(Idle())
        assert feeds.join(Idle()) is None
        with trio.fail_after(LIMIT_S):
            while feeds.vitals is None:
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


# Slow readers


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's side of the network takes little unread."""
    bound = address.bound

    def small(*arguments: Any, **options: Any) -> socket.socket:
        sock = bound(*arguments, **options)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return sock

    monkeypatch.setattr(front, "bound", small)


@pytest.mark.one_shard
@pytest.mark.usefixtures("little_room")
async def test_reader_that_does_not_read_holds_nobody_up_and_skips(tmp_path: Path) -> None:
    """It gets what its side of the network had taken, and then the latest."""
    bounds = replace(QUICK_LOOKS, look_s=0.01)
    async with (
        shop(tmp_path, bounds) as guarded,
        following(guarded, f"vitals,{ACTOR}", receive_bytes=2_048) as slow,
        following(guarded, f"vitals,{ACTOR}") as quick,
    ):
        await quick.until(lambda: len(quick.of("vitals")) >= 80)
        await guarded.commands(*(pay(f"O{number}", 10) for number in range(5)))
        await quick.until(
            lambda: quick.states(ACCOUNT)[-1]["confirmed"]["posted_minor"] == 10_000 - 50
        )
        reached = quick.of("vitals")[-1]["number"]
        await slow.until(lambda: slow.of("vitals") and slow.of("vitals")[-1]["number"] >= reached)
        numbers = [each["number"] for each in slow.of("vitals")]
        assert len(numbers) < len(quick.of("vitals")) / 2
        assert max(b - a for a, b in itertools.pairwise(numbers)) > 10
        await slow.until(
            lambda: slow.states(ACCOUNT)[-1]["confirmed"]["posted_minor"] == 10_000 - 50
        )


@pytest.mark.one_shard
@pytest.mark.usefixtures("little_room")
async def test_reader_that_never_reads_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BOUNDS", replace(listener.BOUNDS, send_s=0.3))
    bounds = replace(QUICK_LOOKS, look_s=0.01, feeds_max=1)
    async with (
        shop(tmp_path, bounds) as guarded,
        following(guarded, "vitals", receive_bytes=2_048) as follower,
    ):
        await room(guarded)
        with pytest.raises((trio.BrokenResourceError, AssertionError)):
            await follower.until(lambda: False)


# How it ends


async def log_out(guarded: Guarded, _: pytest.MonkeyPatch) -> None:
    await guarded.ask(row_of("log_out"), Role.VIEWER)


async def send_away(guarded: Guarded, _: pytest.MonkeyPatch) -> None:
    await guarded.shell(DisableOperator("viewer"))


async def wait_half_an_hour(_: Guarded, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "IDLE_NS", 0)


async def wait_twelve_hours(_: Guarded, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "LONGEST_NS", 0)


@pytest.mark.one_shard
@pytest.mark.parametrize("end", [log_out, send_away, wait_half_an_hour, wait_twelve_hours])
async def test_session_that_ends_ends_its_feeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[..., Any]
) -> None:
    async with (
        shop(tmp_path) as guarded,
        following(guarded, f"vitals,{ACTOR}") as follower,
        following(guarded, "quarantines") as quiet,
    ):
        await follower.until(lambda: follower.of("vitals"))
        await end(guarded, monkeypatch)
        before = len(follower.states(ACCOUNT))
        await guarded.commands(pay("O1", 10))
        assert await follower.ended() == "SESSION_OVER"
        assert len(follower.states(ACCOUNT)) == before, "nothing is told any more"
        assert await quiet.ended() == "SESSION_OVER"


@pytest.mark.one_shard
async def test_to_be_followed_keeps_no_session_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an hour is 300 ms here: the feed tells something every 50."""
    async with shop(tmp_path) as guarded, following(guarded, "vitals") as follower:
        await follower.until(lambda: follower.of("vitals"))
        monkeypatch.setattr(sessions, "IDLE_NS", 300_000_000)
        assert await follower.ended() == "SESSION_OVER"


@pytest.mark.one_shard
async def test_cabinet_that_cannot_be_read_ends_feeds_and_not_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Cabinet) -> None:
        raise CabinetError("cannot begin to read: MDB_READERS_FULL")

    async with shop(tmp_path) as guarded, following(guarded, "vitals") as follower:
        await follower.until(lambda: follower.told)
        monkeypatch.setattr(Cabinet, "snapshot", full)
        assert await follower.ended() == "UNAVAILABLE"
        assert (await guarded.ops.get("/readyz"))[0] == 200
        monkeypatch.undo()


@pytest.mark.one_shard
async def test_node_that_stops_says_so_to_who_follows(tmp_path: Path) -> None:
    async with shop(tmp_path) as guarded, following(guarded, "quarantines") as follower:
        guarded.ops.running.stop()
        assert await follower.ended() == "STOPPING"


@pytest.mark.one_shard
async def test_feed_after_a_restart_begins_with_what_is_durable(tmp_path: Path) -> None:
    """Whoever followed before has to log in again: sessions are in memory alone."""
    async with shop(tmp_path) as guarded, following(guarded, ACTOR) as follower:
        await guarded.commands(pay("O1", 700))
        await follower.until(
            lambda: (
                follower.told and follower.states(ACCOUNT)[-1]["confirmed"]["posted_minor"] == 9_300
            )
        )
        last = follower.states(ACCOUNT)[-1]
    async with served_again(tmp_path, guarded.master_key) as ops:
        again = Guarded(ops, tmp_path, guarded.master_key)
        again.tokens = dict(guarded.tokens)
        async with following(again, ACTOR) as refused:
            assert refused.status == 401
        given = {"name": "viewer", "password": PASSWORD}
        answer = await ops.client.post(f"{again.address}/ops/sessions", json=given)
        again.tokens[Role.VIEWER] = answer.json()["token"]
        async with following(again, ACTOR) as follower:
            await follower.until(lambda: follower.told)
            (told,) = follower.states(ACCOUNT)
            assert (told["changes"], told["confirmed"]) == (0, last["confirmed"])
