"""Events and lists by time, as callers get them: nothing missed, nothing twice, whatever comes."""

import base64
from typing import Any

import msgspec
import pytest
import trio.testing
from msgspec.structs import replace

from actors.event import PAGE_EVENTS
from actors.kinds import MERCHANT
from engine.address import row_key
from gateway import feed
from gateway.verification import verify
from storage.row import seal
from tests.gateway.desk_client import Client, capture, hold, open_desk, payment

EVENTS = "/v1/merchants/M1/events"


def _at(second: int) -> str:
    """Return a time of that morning."""
    return f"2026-01-05T08:{second // 60:02d}:{second % 60:02d}Z"


def _clock(second: int) -> dict[str, Any]:
    return {"command": "advance_clock", "to": _at(second)}


async def _pay_every_second(client: Client, count: int, first: int = 0) -> None:
    """Pay O0000 in the second 0, O0001 in the second 1, …"""
    for n in range(first, first + count):
        await client.commands(_clock(n), payment(f"O{n:04d}", 1))


async def _walk(client: Client, path: str) -> list[Any]:
    """Return all items of a list, page by page."""
    items: list[Any] = []
    joint = "&" if "?" in path else "?"
    status, page = await client.get(path)
    while True:
        assert status == 200, page
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        status, page = await client.get(f"{path}{joint}cursor={page['next_cursor']}")


async def test_events_are_answered_in_sequence_with_the_newest() -> None:
    async with open_desk() as client:
        await client.shop()
        assert await client.get(EVENTS) == (200, {"object": "events", "items": [], "newest": 0})
        await client.commands(payment("O1", 700), payment("O2", 10**6), hold("H1"))
        status, found = await client.get(EVENTS)
        assert status == 200
        assert found["newest"] == 3
        assert [(each["sequence"], each["type"]) for each in found["items"]] == [
            (1, "payment.succeeded"),
            (2, "payment.failed"),
            (3, "authorization.held"),
        ]
        assert found["items"][0] == {
            "object": "event",
            "sequence": 1,
            "type": "payment.succeeded",
            "number": "O1",
            "original_kind": None,
            "original": None,
            "amount_minor": 700,
            "currency": "USD",
            "fee_minor": 7,
            "state": "SUCCEEDED",
            "code": None,
            "hold_amount_minor": None,
            "hold_captured_minor": None,
            "expires_at": None,
            "business_date": "2026-01-05",
            "occurred_at": "2026-01-05T08:00:00.000Z",
        }


@pytest.mark.parametrize("limit", [1, 3, PAGE_EVENTS, 1_000])
async def test_merchant_that_keeps_after_misses_nothing_and_meets_nothing_twice(limit: int) -> None:
    """More come in while it reads."""
    async with open_desk() as client:
        await client.shop()
        seen: list[str] = []
        after = sent = 0
        while sent < 60 or len(seen) < sent:
            if sent < 60:
                numbers = range(sent, sent + 4)
                await client.commands(*(payment(f"O{n:04d}", 1) for n in numbers))
                sent += 4
            status, found = await client.get(f"{EVENTS}?after={after}&limit={limit}")
            assert status == 200
            assert found["newest"] == sent
            assert [each["sequence"] for each in found["items"]] == list(
                range(after + 1, min(after + limit, sent) + 1)
            )
            seen += [each["number"] for each in found["items"]]
            after += len(found["items"])
        assert seen == [f"O{n:04d}" for n in range(sent)]


async def test_repetition_adds_no_event() -> None:
    async with open_desk() as client:
        await client.shop()
        for _ in range(3):
            await client.commands(payment("O1"), payment("O2", 10**6), payment("O2", 5))
        assert (await client.get(EVENTS))[1]["newest"] == 2


async def test_events_survive_a_restart_and_go_on() -> None:
    """Also when a hold expires while the node is down."""
    async with open_desk(shards=1) as client:
        await client.shop()
        await client.commands(
            *(payment(f"O{n}", 1) for n in range(PAGE_EVENTS)), hold("H1", valid_s=60)
        )
        before = (await client.get(EVENTS))[1]
        (store,) = client.stores
    async with open_desk(store=store.reopened()) as client:
        assert (await client.get(EVENTS))[1] == before
        await client.commands(_clock(60), payment("after", 1))
        events = (await client.get(EVENTS))[1]["items"]
        assert [(each["sequence"], each["type"], each["number"]) for each in events[-2:]] == [
            (PAGE_EVENTS + 2, "authorization.expired", "H1"),
            (PAGE_EVENTS + 3, "payment.succeeded", "after"),
        ]


async def test_turn_that_fails_leaves_no_event_and_no_gap() -> None:
    """The merchant's balance is made such that the credit, after its event, overflows."""
    async with open_desk(shards=1) as client:
        await client.shop()
        await client.commands(payment("O1"))
        (store,) = client.stores
    key = row_key("merchant/M1")
    payload = store.snapshot().get(MERCHANT.table, key)
    assert payload is not None
    state = replace(MERCHANT.decode_state(payload), posted_minor=2**63 - 50)
    row = seal(MERCHANT.table, key, msgspec.msgpack.encode(state))
    store._tables[MERCHANT.table][key] = row
    async with open_desk(store=store.reopened()) as client:
        (answer,) = await client.commands(payment("O2"))
        assert answer["body"]["code"] == "OUTCOME_UNKNOWN"
        assert (await client.get("/v1/node"))[1]["counts"]["parked"] == 1
        events = (await client.get(EVENTS))[1]
        assert [each["number"] for each in events["items"]] == ["O1"]
        assert events["newest"] == 1
        found = {each.invariant for each in verify(await client.node.snapshots()).violations}
        assert not {"events", "events-gapless"} & found


async def test_events_of_nobody_are_not_found() -> None:
    async with open_desk() as client:
        status, problem = await client.get("/v1/merchants/M9/events")
        assert (status, problem["code"]) == (404, "MERCHANT_NOT_FOUND")


@pytest.mark.parametrize("after", [1, 5, 16, 17, 10**9, 2**63 - 1])
async def test_after_the_newest_there_is_nothing(after: int) -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1"))
        found = (await client.get(f"{EVENTS}?after={after}"))[1]
        assert (found["items"], found["newest"]) == ([], 1)


@pytest.mark.parametrize(
    "query",
    [
        "after=-1",
        "after=1.0",
        "after=x",
        "after=",
        f"after={2**63}",
        "after=99999999999999999999999999",
        "limit=0",
        "limit=1001",
        "limit=-5",
        "cursor=MQ",
    ],
)
async def test_malformed_question_for_events_is_refused(query: str) -> None:
    async with open_desk() as client:
        await client.shop()
        status, problem = await client.get(f"{EVENTS}?{query}")
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")


# Lists by time


async def test_list_by_time_is_in_the_order_of_outcomes() -> None:
    """Numbers descend while time goes on; failed ones are in it too."""
    async with open_desk() as client:
        await client.shop()
        for n in range(20):
            await client.commands(_clock(n), payment(f"O{99 - n}", 10**6 if n % 5 == 0 else 1))
        found = await _walk(client, "/v1/payments?merchant_no=M1&order=time&limit=3")
        assert [each["order_no"] for each in found] == [f"O{99 - n}" for n in range(20)]
        assert {each["state"] for each in found} == {"SUCCEEDED", "FAILED"}
        by_number = await _walk(client, "/v1/payments?merchant_no=M1&limit=3")
        assert by_number == sorted(found, key=lambda each: str(each["order_no"]))
        explicit = await _walk(client, "/v1/payments?merchant_no=M1&limit=3&order=number")
        assert explicit == by_number


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40])
async def test_every_span_of_time_holds_what_had_its_outcome_in_it(count: int) -> None:
    """From is included and to is not; also between two seconds, and before the first."""
    async with open_desk() as client:
        await client.shop()
        await _pay_every_second(client, count)
        for begin, end in [(0, count), (0, 1), (3, 9), (15, 18), (16, 16), (count, 59), (5, 4)]:
            path = f"/v1/payments?merchant_no=M1&order=time&from={_at(begin)}&to={_at(end)}"
            found = await _walk(client, path)
            expected = [f"O{n:04d}" for n in range(begin, min(end, count))]
            assert [each["order_no"] for each in found] == expected
        half = "/v1/payments?merchant_no=M1&order=time&limit=100&from=2026-01-05T08:00:00.5Z"
        assert len(await _walk(client, half)) == max(count - 1, 0)
        ever = "/v1/payments?merchant_no=M1&order=time&limit=100&from=0001-01-01T00:00:00Z"
        assert len(await _walk(client, ever)) == count
        zone = "/v1/payments?merchant_no=M1&order=time&limit=100&from=2026-01-05T10:00:01%2B02:00"
        assert len(await _walk(client, zone)) == max(count - 1, 0)


async def test_lists_by_time_hold_their_own_kind() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(
            hold("H1"),
            payment("O1"),
            capture("H1", "C1", 60),
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R2", "order_no": "O1",
             "amount_minor": 5},
            {"command": "refund_authorization", "merchant_no": "M1", "refund_no": "R1",
             "hold_no": "H1", "amount_minor": 6},
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R0", "order_no": "O9",
             "amount_minor": 5},
            hold("H0", 10**6),
        )  # fmt: skip
        by_time = "merchant_no=M1&order=time&limit=1"
        refunds = await _walk(client, f"/v1/refunds?{by_time}")
        assert sorted(each["refund_no"] for each in refunds) == ["R0", "R1", "R2"]
        holds = await _walk(client, f"/v1/authorizations?{by_time}")
        assert {each["hold_no"]: each["state"] for each in holds} == {
            "H1": "PARTIALLY_CAPTURED",  # as it stands now
            "H0": "FAILED",
        }
        payments = await _walk(client, f"/v1/payments?{by_time}")
        assert [(each["order_no"], each["refunded_minor"]) for each in payments] == [("O1", 5)]


async def test_cursor_by_time_is_stable_while_rows_are_added() -> None:
    async with open_desk() as client:
        await client.shop()
        await _pay_every_second(client, 10)
        path = "/v1/payments?merchant_no=M1&order=time&limit=4"
        first = (await client.get(path))[1]
        await client.commands(_clock(20), payment("A-first-by-number", 1))
        second = (await client.get(f"{path}&cursor={first['next_cursor']}"))[1]
        again = (await client.get(path))[1]
        assert again == first
        rest = await _walk(client, f"{path}&cursor={second['next_cursor']}".replace("&limit=4", ""))
        numbers = [each["order_no"] for each in (*first["items"], *second["items"], *rest)]
        assert numbers == [*(f"O{n:04d}" for n in range(10)), "A-first-by-number"]


async def test_page_by_time_looks_at_a_bounded_number_of_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A refund behind many payments is found after pages without items, each with a cursor."""
    monkeypatch.setattr(feed, "SCAN_MAX", 7)
    async with open_desk() as client:
        await client.shop()
        await _pay_every_second(client, 30)
        await client.commands(
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R1",
             "order_no": "O0001", "amount_minor": 1},
        )  # fmt: skip
        path = "/v1/refunds?merchant_no=M1&order=time"
        status, page = await client.get(path)
        assert (status, page["items"]) == (200, [])
        assert page["next_cursor"] is not None
        assert [each["refund_no"] for each in await _walk(client, path)] == ["R1"]


async def test_list_of_unknown_merchant_by_time_is_empty() -> None:
    async with open_desk() as client:
        assert await _walk(client, "/v1/payments?merchant_no=M9&order=time") == []


BY_TIME, STATEMENT = b"\0t", b"\0p"
"""How the cursors of the two kinds of list begin."""


def _cursor(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "query",
    [
        "order=newest",
        "order=time&from=yesterday",
        "order=time&from=2026-01-05",
        "order=time&from=2026-01-05T08:00:00",  # no time zone
        "order=time&to=2026-02-30T08:00:00Z",
        "order=time&from=1767600000",
        "from=2026-01-05T08:00:00Z",
        "order=number&to=2026-01-05T08:00:00Z",
        "order=time&cursor=MQ",
        "order=time&cursor=%20",
        f"order=time&cursor={_cursor(b'O0001')}",
        f"order=time&cursor={_cursor(bytes(2))}",
        f"order=time&cursor={_cursor(BY_TIME + bytes(7))}",
        f"order=time&cursor={_cursor(BY_TIME + bytes(9))}",
        f"order=time&cursor={_cursor(STATEMENT + bytes(8))}",
        f"order=number&cursor={_cursor(BY_TIME + bytes(8))}",
        "order=time&limit=101",
    ],
)
async def test_malformed_question_by_time_is_refused(query: str) -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O0001"))
        for name in ("payments", "authorizations", "refunds"):
            status, problem = await client.get(f"/v1/{name}?merchant_no=M1&{query}")
            assert (status, problem["code"]) == (422, "INVALID_REQUEST"), name


async def test_any_sequence_in_a_cursor_is_harmless() -> None:
    async with open_desk() as client:
        await client.shop()
        await _pay_every_second(client, 3)
        for sequence in (0, 1, 2, 3, 4, 16, 2**32, 2**64 - 1):
            cursor = _cursor(b"\0t" + sequence.to_bytes(8, "big"))
            path = f"/v1/payments?merchant_no=M1&order=time&cursor={cursor}"
            assert len(await _walk(client, path)) == max(3 - sequence, 0)


async def test_events_of_commands_that_came_together_are_all_there() -> None:
    """A thousand commands of one merchant in one array: some thousand events in a row."""
    async with open_desk() as client:
        await client.shop()
        await client.commands(*(payment(f"O{n:04d}", 1) for n in range(1_000)))
        found = (await client.get(f"{EVENTS}?limit=1000"))[1]
        assert [each["sequence"] for each in found["items"]] == list(range(1, 1_001))
        assert {each["number"] for each in found["items"]} == {f"O{n:04d}" for n in range(1_000)}
        assert verify(await client.node.snapshots()).ok


async def test_refund_is_in_a_list_by_time_once_it_has_ended_and_only_once() -> None:
    """Though it has an event for each state on its way there."""
    path = "/v1/refunds?merchant_no=M1&order=time"
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1", 1_000))
        refund = {"command": "refund_payment", "merchant_no": "M1", "order_no": "O1"}
        waiting = {**refund, "wait_for_funds": True}
        await client.commands({**refund, "refund_no": "R1", "amount_minor": 600})
        await client.commands({**waiting, "refund_no": "R2", "amount_minor": 395})
        await client.commands({**waiting, "refund_no": "R3", "amount_minor": 5})
        assert [each["refund_no"] for each in await _walk(client, path)] == ["R1"]
        await client.commands(
            {"command": "close_refund", "merchant_no": "M1", "refund_no": "R3", "close_no": "X1"}
        )
        await client.commands(payment("O2", 1_000))
        await trio.testing.wait_all_tasks_blocked(0.005)  # nobody waits for R2
        found = await _walk(client, path)
        assert [(each["refund_no"], each["state"]) for each in found] == [
            ("R1", "SUCCEEDED"),
            ("R3", "CLOSED"),
            ("R2", "SUCCEEDED"),
        ]
