"""Arrays of commands: what starts when, what is answered what, and what one item does to others.

Where a moment has to be looked at, the engine is a stand-in that the test answers for by hand.
"""

import gc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio
from msgspec import Struct

from actors.answers import Refused, Replayed, View
from actors.commands import (
    CaptureAuthorization,
    CreateAuthorization,
    CreatePayment,
    CreateTransfer,
    FundAccount,
    OpenAccount,
    first_actor,
)
from actors.refusal import Refusal
from engine.address import shard_of
from engine.control import ClockMoved
from engine.fault import INTERNAL, NODE_BUSY, OUTCOME_UNKNOWN, STOPPING, TIMEOUT, Fault
from engine.limits import Limits
from engine.marks import Mark
from gateway.answer import Item
from gateway.desk import Caller
from gateway.errors import Problem, RequestCode, problem
from gateway.handlers.commands import COMMANDS_MAX
from gateway.series import AdvanceClock, Entry, Series, nanoseconds
from storage.row import MARKS
from tests.gateway.desk_client import (
    MORNING,
    SECOND,
    Client,
    capture,
    hold,
    open_desk,
    payment,
    wall,
)


class Done(View, frozen=True, tag="done"):
    """An outcome that the stand-in gives."""


class Engine:
    """Stands in for a node: notes what it is given, and answers when the test says so."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.at_ns: list[int] = []
        self.marks: list[Mark | None] = []
        self.replies: list[Callable[[Any], None]] = []
        self.refusal: Fault | None = None

    def submit(
        self,
        to: str,
        body: Struct,
        reply: Callable[[Any], None],
        *,
        deadline: float,
        at_ns: int,
        lane: object,
        mark: Mark | None,
    ) -> Fault | None:
        if self.refusal is not None:
            return self.refusal
        self.begun.append(body)
        self.marks.append(mark)
        self.at_ns.append(at_ns)
        self.replies.append(reply)
        return None

    def advance(self, at_ns: int, reply: Callable[[Any], None], *, deadline: float) -> None:
        self.at_ns.append(at_ns)
        self.replies.append(reply)

    def series(self, *entries: Entry | Problem) -> Series:
        series = Series(self, entries, 0.0, movable=True)  # type: ignore[arg-type]
        series._go_on()
        return series


def _payment(order_no: str) -> CreatePayment:
    return CreatePayment("M1", order_no, "A1", 100, "USD")


def _hold(hold_no: str) -> CreateAuthorization:
    return CreateAuthorization("M1", hold_no, "A1", 100, "USD")


def _capture(hold_no: str, capture_no: str) -> CaptureAuthorization:
    return CaptureAuthorization("M1", hold_no, capture_no, 10)


def _clock(second: int) -> AdvanceClock:
    return AdvanceClock(datetime.fromtimestamp(second, UTC))


def _codes(series: Series) -> list[str]:
    return [each.body.code for each in series.items if each is not None]


def test_items_that_wait_for_nothing_start_at_once_in_array_order() -> None:
    engine = Engine()
    commands = [_payment(str(number)) for number in range(5)]
    engine.series(*commands)
    assert engine.begun == commands


def test_item_that_refers_to_an_earlier_one_starts_when_that_is_answered() -> None:
    engine = Engine()
    first, second, other = _hold("H1"), _capture("H1", "C1"), _payment("O1")
    engine.series(first, second, other)
    assert engine.begun == [first, other]
    engine.replies[1](Done())
    assert engine.begun == [first, other]
    engine.replies[0](Done())
    assert engine.begun == [first, other, second]


def test_refused_item_lets_what_refers_to_it_start() -> None:
    engine = Engine()
    engine.series(_hold("H1"), _capture("H1", "C1"))
    engine.replies[0](Refused(Refusal.INSUFFICIENT_FUNDS, "H1"))
    assert engine.begun == [_hold("H1"), _capture("H1", "C1")]


@pytest.mark.parametrize("fault", [NODE_BUSY, STOPPING, TIMEOUT, INTERNAL])
def test_item_that_never_began_holds_back_what_refers_to_it(fault: Fault) -> None:
    """Else the capture would be bound to NO_SUCH_HOLD, and a repetition of the array with it."""
    engine = Engine()
    series = engine.series(_hold("H1"), _capture("H1", "C1"), _capture("H1", "C2"), _payment("O"))
    engine.replies[0](fault)
    assert engine.begun == [_hold("H1"), _payment("O")]
    assert _codes(series) == [fault.code] * 3


def test_unknown_outcome_lets_what_refers_to_it_start() -> None:
    engine = Engine()
    engine.series(_hold("H1"), _capture("H1", "C1"))
    engine.replies[0](OUTCOME_UNKNOWN)
    assert len(engine.begun) == 2


def test_long_chain_that_is_refused_at_the_door_ends_without_recursion() -> None:
    engine = Engine()
    engine.refusal = NODE_BUSY
    captures = [_capture("H1", str(number)) for number in range(5_000)]
    series = engine.series(_hold("H1"), *captures)
    assert _codes(series) == ["NODE_BUSY"] * 5_001


def test_clock_moves_for_the_items_behind_it() -> None:
    engine = Engine()
    engine.series(_payment("O1"), _clock(50), _payment("O2"), _clock(70), _payment("O3"))
    assert engine.at_ns == [0, 50 * SECOND, 70 * SECOND]


def test_clock_waits_until_everything_before_it_has_begun() -> None:
    """Else a capture that waits for its hold would run after the hold has expired."""
    engine = Engine()
    engine.series(_hold("H1"), _capture("H1", "C1"), _clock(50), _payment("O1"))
    assert engine.begun == [_hold("H1")]
    engine.replies[0](Done())
    assert engine.begun == [_hold("H1"), _capture("H1", "C1"), _payment("O1")]
    assert engine.at_ns == [0, 0, 50 * SECOND]


def test_clock_at_the_end_takes_effect_and_is_answered_then() -> None:
    engine = Engine()
    series = engine.series(_payment("O1"), _clock(50))
    assert engine.at_ns == [0, 50 * SECOND]
    engine.replies[0](Done())
    assert not series._done.is_set()
    engine.replies[1](ClockMoved(50 * SECOND))
    assert series._done.is_set()
    assert series.items[1] is not None
    assert series.items[1].status == 200


def test_clock_never_goes_back_within_an_array() -> None:
    engine = Engine()
    engine.series(_clock(70), _clock(50), _payment("O1"))
    assert engine.at_ns == [70 * SECOND]


def test_replayed_outcome_is_marked() -> None:
    engine = Engine()
    series = engine.series(_payment("O1"), _payment("O2"))
    engine.replies[0](Replayed(Done()))  # type: ignore[arg-type]
    engine.replies[1](Done())
    assert series.items == [Item(201, Done(), True), Item(201, Done())]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2017-01-01T11:53:26.000001+01:00", 1_483_268_006_000_001_000),
    ],
)
def test_instant_is_exact_in_nanoseconds(text: str, ns: int) -> None:
    assert nanoseconds(datetime.fromisoformat(text)) == ns


# On a real engine


async def test_array_of_everything_in_order() -> None:
    async with open_desk() as client:
        await client.shop()
        answers = await client.commands(
            payment("O1", 300),
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R1",
             "order_no": "O1", "amount_minor": 100},
            hold("H1", 500),
            capture("H1", "C1", 200),
            capture("H1", "C2", 301),
            payment("O2", 10**9),
        )  # fmt: skip
        assert [each["status"] for each in answers] == [201, 201, 201, 201, 422, 422]
        assert answers[3]["body"]["hold_captured_minor"] == 200
        assert answers[4]["body"]["code"] == "CAPTURE_EXCEEDS_HOLD"
        assert answers[5]["body"]["code"] == "INSUFFICIENT_FUNDS"


async def test_bad_item_spoils_no_other() -> None:
    async with open_desk() as client:
        await client.shop()
        answers = await client.commands(
            payment("O1"),
            {"command": "no_such"},
            7,
            payment("O2", 0),
            payment("O3", extra=1),
            payment("O4"),
        )
        assert [each["status"] for each in answers] == [201, 422, 422, 422, 422, 201]
        assert answers[3]["body"]["code"] == "INVALID_REQUEST"
        assert "amount_minor" in answers[3]["body"]["detail"]


async def test_repeated_array_is_replayed_item_by_item() -> None:
    async with open_desk() as client:
        await client.shop()
        array = [payment("O1"), hold("H1"), capture("H1", "C1")]
        first = await client.commands(*array)
        again = await client.commands(*array)
        assert [each.pop("replayed") for each in again] == [True] * 3
        assert again == first


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[", b"[1", b'"x"', b"[" * 100_000])
async def test_what_is_no_array_is_refused_whole(body: bytes) -> None:
    async with open_desk() as client:
        answer = await client.call("POST", "/v1/commands", body)
        assert answer.status in {400, 422}


async def test_array_too_long_is_refused_whole() -> None:
    async with open_desk() as client:
        await client.shop()
        array = [payment(str(number), 1) for number in range(COMMANDS_MAX + 1)]
        status, problem = await client.post("/v1/commands", array)
        assert (status, problem["code"]) == (413, "ARRAY_TOO_LONG")
        assert (await client.get("/v1/payments/M1/0"))[0] == 404
        answers = await client.commands(*array[:COMMANDS_MAX])
        assert {each["status"] for each in answers} == {201}


async def test_empty_array_is_answered_with_one() -> None:
    async with open_desk() as client:
        assert await client.post("/v1/commands", []) == (200, [])


async def test_caller_that_leaves_stops_nothing() -> None:
    """Not even what had not begun when it left: the capture waits for the hold."""
    async with open_desk() as client:
        await client.shop()
        body = msgspec.json.encode([hold("H1"), capture("H1", "C1"), payment("O1")])
        with trio.CancelScope() as left:
            left.cancel()
            await client.call("POST", "/v1/commands", body)
        assert left.cancelled_caught
        # Any later answer comes after theirs: one lane each, served in turn.
        while (await client.get("/v1/authorizations/M1/H1/captures/C1"))[0] != 200:
            await trio.lowlevel.checkpoint()
        assert (await client.get("/v1/payments/M1/O1"))[0] == 200


async def test_array_that_was_answered_is_gone_at_once() -> None:
    """The collector runs seldom where a node serves: what it alone frees would be megabytes."""
    async with open_desk() as client:
        await client.shop()
        await client.commands(hold("H1"), capture("H1", "C1"), {"command": "fly"})
        gc.disable()
        try:
            await client.commands(payment("O1"), hold("H2"), capture("H2", "C2"))
            assert not [each for each in gc.get_objects() if type(each) is Series]
        finally:
            gc.enable()


async def test_clock_that_stands_on_the_wall_cannot_be_moved() -> None:
    async with open_desk(wall()) as client:
        await client.shop()
        clock = {"command": "advance_clock", "to": "2030-01-01T00:00:00Z"}
        answers = await client.commands(clock, payment("O1"))
        assert [each["status"] for each in answers] == [409, 201]
        assert answers[0]["body"]["code"] == "CLOCK_NOT_MOVABLE"


@pytest.mark.parametrize(
    "to", ["2026-01-05", "2026-01-05T00:00:00", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", 7]
)
async def test_clock_takes_only_instants_in_range(to: Any) -> None:
    async with open_desk() as client:
        answers = await client.commands({"command": "advance_clock", "to": to})
        assert answers[0]["body"]["code"] == "INVALID_REQUEST"


async def test_clock_at_the_end_fires_timers_on_its_way() -> None:
    """The hold expires at its own time, not at the time the clock was moved to."""
    async with open_desk() as client:
        await client.shop()
        answers = await client.commands(
            hold("H1", valid_s=60), {"command": "advance_clock", "to": "2026-02-01T00:00:00Z"}
        )
        assert [each["status"] for each in answers] == [201, 200]
        assert (await client.get("/v1/node"))[1]["now"] == "2026-02-01T00:00:00.000Z"
        expired = (await client.get("/v1/authorizations/M1/H1"))[1]
        assert expired["state"] == "EXPIRED"
        assert expired["expires_at"] == "2026-01-05T08:01:00.000Z"


async def test_array_of_an_earlier_time_has_that_time_and_the_clock_stays() -> None:
    """What a kill has undone is sent again at its own time, though others were further."""
    async with open_desk() as client:
        await client.shop()
        hours = [
            {"command": "advance_clock", "to": f"2026-01-05T{hour}:00:00Z"} for hour in ("20", "09")
        ]
        await client.commands(hours[0], payment("O1", 1))
        answers = await client.commands(hours[1], hold("H1", valid_s=60), payment("O2", 1))
        assert answers[1]["body"]["created_at"] == "2026-01-05T09:00:00.000Z"
        assert answers[2]["body"]["settled_at"] == "2026-01-05T09:00:00.000Z"
        assert (await client.get("/v1/node"))[1]["now"] == "2026-01-05T20:00:00.000Z"
        # Its minute is over; the hold ends, at its own time.
        await client.commands(hours[0])
        expired = (await client.get("/v1/authorizations/M1/H1"))[1]
        assert (expired["state"], expired["expires_at"]) == ("EXPIRED", "2026-01-05T09:01:00.000Z")


async def test_overload_refuses_items_and_repeating_them_completes_the_array() -> None:
    async with open_desk(limits=Limits(unconfirmed_max=8)) as client:
        await client.shop()
        left = [payment(str(number), 1) for number in range(20)]
        answers = await client.commands(*left)
        busy = next(each["body"] for each in answers if each["status"] == 503)
        assert (busy["code"], busy["retry_after_s"]) == ("NODE_BUSY", 1)
        while left:
            answers = await client.commands(*left)
            done = {each["status"] for each in answers[:8]}
            assert done == {201}
            left = [item for item, each in zip(left, answers, strict=True) if each["status"] == 503]
        assert (await client.get("/v1/merchants/M1"))[1]["posted_minor"] == 20


def test_morning_is_what_the_tests_say() -> None:
    assert nanoseconds(datetime(2026, 1, 5, 8, tzinfo=UTC)) == MORNING


async def test_array_leaves_its_mark_on_each_shard_that_begins_something() -> None:
    """Whatever becomes of its first command, and also where a shard's only one had to wait."""
    accounts = {shard_of(f"account/{n}", 3): f"{n}" for n in range(1_000)}
    first, second, third = (accounts[shard] for shard in range(3))
    async with open_desk(shards=3) as client:
        mark = Mark(client.node.marks.started_s, b"m" * 16)
        commands: list[Entry] = [
            OpenAccount(first, "USD"),
            OpenAccount(second, "USD"),
            FundAccount(second, "F1", 500, "USD"),
            CreateTransfer(second, "T1", first, 100, "USD"),
        ]
        entries = [problem(RequestCode.INVALID_REQUEST, "no command"), *commands]
        deadline = trio.current_time() + 10
        series = Series(client.node, entries, deadline, movable=True, mark=mark)
        await series.run()
        assert [each and each.status for each in series.items] == [422, 201, 201, 201, 201]
        begun = {shard_of(first_actor(each), 3) for each in commands}  # type: ignore[arg-type]
        assert {shard for shard in range(3) if _marks(client, shard) == [mark.key]} == begun
        again = Mark(mark.created_s, b"n" * 16)
        answer = await client.desk.execute(Caller(10.0, again), OpenAccount(third, "USD"))
        assert answer.status == 201
        assert again.key in _marks(client, 2)
        assert again.key not in _marks(client, 0) + _marks(client, 1)


def _marks(client: Client, shard: int) -> list[bytes]:
    snapshot = client.stores[shard].snapshot()
    return [key[4:] for key, _ in snapshot.scan(MARKS)]
