"""What comes out does not depend on the number of shards: answers, states and times are the same.

Rows come as a replay sends them: many at once in one array, each at its own time, those that share
a payer or a merchant in arrays of their own. Holds expire on the way, so timers of one shard must
fire between commands that run on others.
"""

from typing import Any

import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.address import shard_of
from engine.clock import DomainClock
from gateway.exporting import _ROWS, COLUMNS
from gateway.verification import verify
from tests.gateway.desk_client import MORNING, Client, open_desk

PARTIES = 6
_START = "2026-01-05T08:00:00Z"


def _at(seconds: int) -> dict[str, Any]:
    days, rest = divmod(8 * 3_600 + seconds, 86_400)
    clock = f"{rest // 3_600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return {"command": "advance_clock", "to": f"2026-01-{5 + days:02d}T{clock}Z"}


rows = st.tuples(
    st.integers(0, PARTIES - 1),
    st.sampled_from(["pay", "hold", "hold", "capture", "void", "release", "refund", "nothing"]),
    st.integers(1, 700),
    st.sampled_from([0, 1, 30, 59, 60, 61, 600, -30, -300]),
    st.sampled_from([1, 60, 3_600]),
)
"""(party, what, amount, seconds since the row before, validity of a hold); an array that is sent
late begins earlier than the one before it ended"""


def _item(number: int, row: tuple[int, str, int, int, int], newest: dict[int, str]) -> Any:
    party, what, amount, _, valid_s = row
    merchant = {"merchant_no": f"M{party}"}
    name = f"{party}-{number}"
    if what in ("pay", "hold"):
        item = {
            **merchant,
            "payer": f"A{party}",
            "amount_minor": amount,
            "currency": "USD",
        }
        if what == "pay":
            return {"command": "create_payment", "order_no": name, **item}
        newest[party] = name
        return {"command": "create_authorization", "hold_no": name, "valid_s": valid_s, **item}
    hold = {**merchant, "hold_no": newest.get(party, "none")}
    if what == "capture":
        item = {"command": "capture_authorization", "capture_no": name, "amount_minor": amount}
    elif what == "void":
        item = {"command": "void_authorization", "void_no": name}
    elif what == "release":
        item = {"command": "release_authorization", "release_no": name}
    elif what == "refund":
        item = {"command": "refund_authorization", "refund_no": name, "amount_minor": amount}
    else:
        return None
    return {**item, **hold}


def _arrays(schedule: list[tuple[int, str, int, int, int]]) -> list[list[Any]]:
    """Cut the rows into arrays so that no party comes twice in one."""
    arrays: list[list[Any]] = [[]]
    parties: set[int] = set()
    newest: dict[int, str] = {}
    seconds = 0
    for number, row in enumerate(schedule):
        if row[0] in parties:
            arrays.append([])
            parties = set()
        parties.add(row[0])
        seconds = max(0, seconds + row[3])
        arrays[-1].append(_at(seconds))
        item = _item(number, row, newest)
        if item is not None:
            arrays[-1].append(item)
    return arrays


async def _open(client: Client) -> None:
    items: list[Any] = []
    for n in range(PARTIES):
        items += [
            {"command": "open_account", "account_no": f"A{n}", "currency": "USD"},
            {"command": "open_merchant", "merchant_no": f"M{n}", "currency": "USD", "fee_bps": 90},
            {"command": "fund_account", "account_no": f"A{n}", "funding_no": "F",
             "amount_minor": 1_000, "currency": "USD"},
            {"command": "sign_agreement", "account_no": f"A{n}", "agreement_no": f"M{n}",
             "merchant_no": f"M{n}"},
        ]  # fmt: skip
    assert {each["status"] for each in await client.commands(*items)} == {201}


async def _play(schedule: list[tuple[int, str, int, int, int]], shards: int) -> Any:
    async with open_desk(clock=DomainClock(MORNING), shards=shards) as client:
        await _open(client)
        answers = [await client.commands(*array) for array in _arrays(schedule)]
        # What is due by the last row's time has happened: answers alone do not say so.
        await client.commands(_at(sum(max(0, row[3]) for row in schedule)))
        snapshots = await client.node.snapshots()
        report = verify(snapshots)
        assert report.violations == []
        things = {
            what: sorted(
                str(cells)
                for shard, snapshot in enumerate(snapshots)
                for cells in _ROWS[what](snapshot, shard)
            )
            for what in COLUMNS
            if what != "postings"
        }
        views = [
            (await client.get(f"/v1/{what}?merchant_no=M{n}"))[1]
            for n in range(PARTIES)
            for what in ("payments", "authorizations", "refunds")
        ]
        return answers, things, views, (await client.get("/v1/node"))[1]["now"]


LATE_HOLD = [
    *[(0, "pay", 1, 0, 1)] * 4,
    (1, "capture", 1, 1, 1),
    (0, "pay", 1, -30, 1),
    (0, "pay", 1, 0, 1),
    (1, "hold", 1, 0, 1),
    (1, "capture", 1, 0, 1),
]
"""A hold that is placed so late that its time is up already."""


@settings(max_examples=60)
@given(st.lists(rows, min_size=5, max_size=40))
@example(LATE_HOLD)
def test_outcomes_states_and_times_are_the_same_with_one_and_three_shards(
    schedule: list[tuple[int, str, int, int, int]],
) -> None:
    one = trio.run(_play, schedule, 1)
    three = trio.run(_play, schedule, 3)
    assert three == one


def test_most_of_these_parties_pay_across_shards() -> None:
    crossing = sum(
        shard_of(f"account/A{n}", 3) != shard_of(f"merchant/M{n}", 3) for n in range(PARTIES)
    )
    assert crossing > PARTIES / 2
