"""Sessions without I/O, on a real engine whose commits a test may hold up."""

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio
import trio.testing
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, TextMessage

from engine.limits import Limits
from gateway.counter import Counter, Opened, Request
from gateway.desk import Desk
from gateway.endpoint import Router
from gateway.stream.backlog import Backlog
from gateway.stream.bounds import StreamBounds
from gateway.stream.closing import Close, CloseCode
from gateway.stream.handshake import SUBPROTOCOL
from gateway.stream.pump import Pump
from gateway.stream.session import Session
from gateway.table import ENDPOINTS
from tests.gateway.desk_client import (
    MORNING,
    SECOND,
    Client,
    capture,
    hold,
    open_desk,
    payment,
)

HANDSHAKE = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
    "sec-websocket-protocol": SUBPROTOCOL,
}


class Talk:
    """A session and its client, with nothing between them.

    Args:
        backlog: that it shares with others, if it does.
        merchant_no: who has the stream; empty for nobody in particular.

    Attributes:
        sent: messages of the session so far.
    """

    def __init__(
        self, desk: Client, backlog: Backlog | None = None, merchant_no: str = "", **bounds: Any
    ) -> None:
        counter = Counter(Desk(desk.node), Router(ENDPOINTS))
        request = Request("GET", "/v1/stream", b"merchant_no=M1", HANDSHAKE, b"")
        opened = counter.open_stream(request, lambda _: None)
        assert isinstance(opened, Opened)
        opened = msgspec.structs.replace(opened, merchant_no=merchant_no)
        self.session = Session(opened, StreamBounds(**bounds), backlog or Backlog(math.inf))
        self.sent: list[Any] = []
        self.close: CloseCode | None = None
        self._client = Connection(ConnectionType.CLIENT)

    def say(self, *messages: Any) -> int:
        """Feed messages, and have them done as far as the session hears; returns how many were."""
        for message in messages:
            text = msgspec.json.encode(message).decode()
            self.session.feed(self._client.send(TextMessage(text)))
        return self.go_on()

    def go_on(self) -> int:
        """Have done what was fed, as far as the session hears."""
        done = 0
        while self.session.hears and self.session.step():
            done += 1
        return done

    def take(self) -> list[Any]:
        """Take what there is to take."""
        self._client.receive_data(self.session.take())
        self.session.taken()
        before = len(self.sent)
        for event in self._client.events():
            if isinstance(event, TextMessage):
                self.sent.append(msgspec.json.decode(event.data))
            elif isinstance(event, CloseConnection):
                self.close = CloseCode(event.code)
        return self.sent[before:]

    async def until_idle(self) -> None:
        """Take until everything is answered."""
        with trio.fail_after(20):
            while not self.session.idle:
                self.take()
                await trio.testing.wait_all_tasks_blocked(0.001)


@asynccontextmanager
async def held(**limits: int) -> AsyncIterator[tuple[Client, Any]]:
    """Run a node whose commits wait from now on until `release` is called."""
    async with open_desk(limits=Limits(**limits), shards=1) as desk:
        await desk.shop()
        (shard,) = desk.node.shards
        shard.hold_commits()
        await shard.commits_held()
        try:
            yield desk, shard.let_commits
        finally:
            shard.let_commits()


def _errands(numbers: Sequence[int]) -> list[Any]:
    return [{"id": f"{n}", "do": payment(f"O{n}", 1)} for n in numbers]


async def test_no_answer_leaves_before_its_commit_and_then_all_together() -> None:
    async with held() as (desk, release):
        talk = Talk(desk)
        assert talk.say(*_errands(range(5)), _errands(range(5, 10))) == 6
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert talk.take() == []
        release()
        await talk.until_idle()
        (message,) = talk.sent
        assert [each["id"] for each in message["answers"]] == [f"{n}" for n in range(10)]


async def test_nothing_is_heard_beyond_the_window_until_answers_are_taken() -> None:
    async with held() as (desk, release):
        talk = Talk(desk, window=10)
        assert talk.say(*_errands(range(25))) == 10
        assert talk.go_on() == 0
        release()
        with trio.fail_after(20):
            while not talk.session.take():
                await trio.testing.wait_all_tasks_blocked(0.001)
        # They are answered, but the client has not taken the answers.
        assert talk.go_on() == 0
        talk.session.taken()
        assert talk.go_on() == 10


async def test_long_commands_fill_the_window_by_their_bytes_until_answers_are_taken() -> None:
    """A few long ones are as much as many short ones, before and after they are answered."""
    async with open_desk() as desk:
        await desk.shop()
        note = {f"k{n}": "x" * 250 for n in range(16)}
        talk = Talk(desk, window_bytes=10_000)
        said = talk.say(
            *({"id": f"{n}", "do": payment(f"O{n}", 1, metadata=note)} for n in range(9))
        )
        assert said == 3, "some 4.9 kB each"
        with trio.fail_after(20):
            while not talk.session.take():
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert talk.go_on() == 0, "they are answered, and not taken"
        talk.session.taken()
        assert talk.go_on() > 0
        await talk.until_idle()
        assert talk.session.backlog.bytes_held == 0


async def test_streams_of_one_merchant_are_bounded_together_and_go_on_together() -> None:
    async with open_desk() as desk:
        await desk.shop()
        shared, stirred = Backlog(5_000), []
        shared.waiting.add(lambda: stirred.append("room"))
        slow, quick = Talk(desk, shared), Talk(desk, shared)
        assert slow.say(_errands(range(10))) == 1
        assert quick.say({"id": "q", "do": payment("Q", 1)}) == 0, "the other one holds it all"
        slow.session.lose()
        assert stirred == ["room"]
        assert quick.go_on() == 1
        await quick.until_idle()
        quick.session.lose()
        assert shared.bytes_held == 0


async def test_answers_of_several_messages_all_leave_before_the_end() -> None:
    """The end waits for what is ready, however many messages that takes."""
    async with open_desk() as desk:
        await desk.shop()
        note = {f"k{n}": "x" * 250 for n in range(16)}
        talk = Talk(desk, window_bytes=1 << 30)
        count = 300
        for n in range(count):
            talk.say({"id": f"{n}", "do": payment(f"O{n}", 1, metadata=note)})
        with trio.fail_after(20):
            while len(talk.session._answers) < count:
                await trio.testing.wait_all_tasks_blocked(0.001)
        talk.say({"id": "no command"}, "no message")
        while talk.close is None:
            assert talk.take() or talk.close
        assert talk.close is CloseCode.BAD_FRAME
        assert len(talk.sent) == 2, "each of a MiB at most"
        assert sum(len(each["answers"]) for each in talk.sent) == count + 1


async def test_client_that_is_turned_away_is_not_heard_before_its_time() -> None:
    async with held(unconfirmed_max=3) as (desk, release):
        talk = Talk(desk)
        assert talk.say(_errands(range(4)), _errands(range(4, 8)), _errands([8])) == 2
        busy = [each["status"] for each in talk.take()[0]["answers"]]
        assert busy == [503] * 5
        assert 0 < talk.session.deaf_until - trio.current_time() <= 1
        release()
        await talk.until_idle()


async def test_commands_start_in_the_order_of_their_messages() -> None:
    """Also one by one: of two under one number the first is done."""
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        for n in range(20):
            talk.say(
                {"id": f"{n}-1", "do": payment(f"O{n}", 1)},
                [{"id": f"{n}-2", "do": payment(f"O{n}", 2)}],
            )
        await talk.until_idle()
        answers = {each["id"]: each for sent in talk.sent for each in sent["answers"]}
        for n in range(20):
            assert answers[f"{n}-1"]["status"] == 201
            assert answers[f"{n}-2"]["body"]["code"] == "NUMBER_USED"


async def test_message_does_not_overtake_a_longer_one() -> None:
    """Arrays of several callers take turns; the messages of one stream do not."""
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        long = [*_errands(range(50)), {"id": "first", "do": payment("O", 1)}]
        talk.say(long, {"id": "second", "do": payment("O", 2)})
        await talk.until_idle()
        answers = {each["id"]: each for sent in talk.sent for each in sent["answers"]}
        assert (answers["first"]["status"], answers["second"]["status"]) == (201, 409)


async def test_merchant_with_many_streams_has_one_turn() -> None:
    """With eight it would be served eight commands for each one of a merchant with one."""
    async with open_desk(shards=1) as desk:
        await desk.shop()
        opened = {"command": "open_merchant", "merchant_no": "M2", "currency": "USD"}
        signed = {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M2"}
        await desk.commands(opened, {**signed, "merchant_no": "M2"})
        many = [Talk(desk, merchant_no="M1") for _ in range(8)]
        one = Talk(desk, merchant_no="M2")
        for n, talk in enumerate(many):
            talk.say([{"id": f"M1-{n}-{k}", "do": payment(f"O{n}-{k}", 1)} for k in range(10)])
        pays = [payment(f"O{k}", 1, merchant_no="M2") for k in range(10)]
        one.say([{"id": f"M2-{k}", "do": each} for k, each in enumerate(pays)])
        admission = desk.node.shards[0].admission
        order = list(iter(admission.next, None))
        for ask in order:
            admission.enqueue("in this order", ask)
        assert [ask.to for ask in order[:20]] == ["merchant/M1", "merchant/M2"] * 10
        streams = [ask.body.order_no.partition("-")[0] for ask in order[0:16:2]]
        assert streams == [f"O{n}" for n in range(8)], "its own streams take turns, too"
        for talk in (*many, one):
            await talk.until_idle()


async def test_item_that_refers_to_another_of_its_message_waits_for_it() -> None:
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        talk.say([{"id": "h", "do": hold("H1", 300)}, {"id": "c", "do": capture("H1", "C1", 200)}])
        await talk.until_idle()
        answers = [each for sent in talk.sent for each in sent["answers"]]
        assert [(each["id"], each["status"]) for each in answers] == [("h", 201), ("c", 201)]


async def test_clock_that_is_moved_is_told_of_once_it_has_moved() -> None:
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        move = {"command": "advance_clock", "to": "2026-01-06T08:00:00Z"}
        talk.say([{"id": "1", "do": move}, {"id": "2", "do": payment("O1")}])
        talk.say({"id": "3", "do": {**move, "to": "2026-01-07T08:00:00Z"}})
        await talk.until_idle()
        answers = {each["id"]: each["body"] for sent in talk.sent for each in sent["answers"]}
        assert answers["1"] == {"object": "clock", "now": "2026-01-06T08:00:00.000Z"}
        assert answers["2"]["created_at"] == "2026-01-06T08:00:00.000Z"
        assert answers["3"]["now"] == "2026-01-07T08:00:00.000Z"


async def test_clock_is_moved_though_what_follows_is_turned_away() -> None:
    """Usually a command takes the move along; one that nobody lets in takes nothing anywhere."""
    async with held(unconfirmed_max=3) as (desk, release):
        talk = Talk(desk)
        move = {"command": "advance_clock", "to": "2026-01-06T08:00:00Z"}
        talk.say(_errands(range(3)), [{"id": "m", "do": move}, {"id": "p", "do": payment("P")}])
        (message,) = talk.take()
        assert [(each["id"], each["status"]) for each in message["answers"]] == [("p", 503)]
        release()
        await talk.until_idle()
        answers = {each["id"]: each["body"] for sent in talk.sent for each in sent["answers"]}
        assert answers["m"]["now"] == "2026-01-06T08:00:00.000Z"
        assert desk.node.clock.now_ns() == MORNING + 24 * 60 * 60 * SECOND


async def test_message_does_not_overtake_one_whose_clock_has_to_wait() -> None:
    """A move of the clock waits for what was before it in its array, so what follows does too."""
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        move = {"command": "advance_clock", "to": "2026-01-06T08:00:00Z"}
        waiting = [hold("H1", 300), capture("H1", "C1", 200), move, payment("O", 1)]
        first = [{"id": f"{n}", "do": each} for n, each in enumerate(waiting)]
        talk.say(first, {"id": "last", "do": payment("O", 2)})
        await talk.until_idle()
        while talk.go_on():
            await talk.until_idle()
        answers = {each["id"]: each for sent in talk.sent for each in sent["answers"]}
        assert (answers["3"]["status"], answers["last"]["status"]) == (201, 409)
        assert answers["3"]["body"]["created_at"] == "2026-01-06T08:00:00.000Z"


async def test_node_that_stops_answers_what_it_has_begun_and_then_closes() -> None:
    async with held() as (desk, release):
        talk = Talk(desk)
        talk.say(_errands(range(3)))
        talk.session.shut(Close(CloseCode.GOING_AWAY))
        talk.say(_errands(range(3, 6)))
        assert (talk.take(), talk.close) == ([], None)
        release()
        await talk.until_idle()
        assert [each["id"] for each in talk.sent[0]["answers"]] == ["0", "1", "2"]
        assert talk.close is CloseCode.GOING_AWAY
        assert talk.session.take() == b""


async def test_answers_for_a_client_that_has_left_are_dropped() -> None:
    async with held() as (desk, release):
        talk = Talk(desk)
        talk.say(_errands(range(3)))
        talk.session.lose()
        release()
        answer = await desk.commands(payment("O0", 1))
        assert answer[0]["replayed"] is True
        assert talk.take() == []


async def test_events_come_page_by_page_as_they_are_taken() -> None:
    async with open_desk() as desk:
        await desk.shop()
        await desk.commands(*(payment(f"O{n}", 1) for n in range(100)))
        talk = Talk(desk, events_per_page=30)
        talk.say({"resume": 5})
        pages = [talk.take() for _ in range(5)]
        found = [[each["sequence"] for each in page[0]["events"]] for page in pages[:4]]
        assert found == [[*range(6, 36)], [*range(36, 66)], [*range(66, 96)], [*range(96, 101)]]
        assert {page[0]["newest"] for page in pages[:4]} == {100}
        assert pages[4] == []


async def test_no_page_of_events_begins_beyond_what_the_streams_of_a_merchant_may_hold() -> None:
    """Else each of 64 that read nothing would hold one on top of the bound."""
    async with open_desk() as desk:
        await desk.shop()
        await desk.commands(*(payment(f"O{n}", 1) for n in range(20)))
        shared, stirred = Backlog(5_000), []
        followers = [Talk(desk, shared) for _ in range(3)]
        for each in followers:
            each.say({"resume": 0})
            shared.waiting.add(lambda: stirred.append("room"))
        (first, *others) = followers
        assert len(first.session.take()) > 5_000, "a page of twenty"
        assert [each.take() for each in others] == [[], []]
        assert not stirred
        first.session.taken()
        assert stirred
        for each in others:
            (page,) = each.take()
            assert len(page["events"]) == 20
        assert shared.bytes_held == 0


async def test_events_that_waited_for_room_come_once_there_is_some() -> None:
    async with open_desk() as desk, trio.open_nursery() as nursery:
        await desk.shop()
        await desk.commands(payment("O1", 1))
        shared = Backlog(5_000)
        talk = Talk(desk, shared)
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(Pump(talk.session, ours, StreamBounds()).run)
        talk.say({"resume": 0})
        with trio.fail_after(5):
            assert b'"O1"' in await theirs.receive_some()
            await trio.testing.wait_all_tasks_blocked()
            shared.change(5_000)
            await desk.commands(payment("O2", 1))
            talk.session.changed("merchant/M1")
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.01):
                raise AssertionError(await theirs.receive_some())
            shared.change(-5_000)
            assert b'"O2"' in await theirs.receive_some()
        nursery.cancel_scope.cancel()


async def test_resume_beyond_what_there_is_is_refused() -> None:
    """So a client finds out that the store is older than it: one that was restored, say."""
    async with open_desk() as desk:
        await desk.shop()
        talk = Talk(desk)
        talk.say({"resume": 1})
        talk.take()
        assert talk.close is CloseCode.RESUME_CONFLICT


async def test_suspended_merchant_has_its_events() -> None:
    async with open_desk() as desk:
        await desk.shop()
        await desk.commands(payment("O1", 1))
        assert (await desk.post("/v1/merchants/M1/suspend"))[0] == 200
        talk = Talk(desk)
        talk.say({"resume": 0}, {"id": "1", "do": payment("O2", 1)})
        await talk.until_idle()
        talk.take()
        assert any("events" in each for each in talk.sent)
        (answers,) = (each["answers"] for each in talk.sent if "answers" in each)
        assert answers[0]["body"]["code"] == "MERCHANT_SUSPENDED"
