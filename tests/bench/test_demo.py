"""What the demo says at its end: counts from the store, complaints, and the summary."""

from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from bench.demo import complaints
from bench.demo_display import Bar, dollars, summary
from bench.demo_report import Finished, Planned, Progressed
from bench.tally import Purchase, Tally, count
from gateway.verification import Report, Violation
from tests.gateway.desk_client import capture, hold, open_desk, payment

PLANNED = Planned("2017-01-01", "2017-01-08", 11, 0, 7, 3, 1, 5_000)
FINISHED = Finished(2.0, 10, 0, {}, 12.0, 34.0)
HOLDS = Report(True, [], 1, 40, ["00"], {})


def _tally(**changes: Any) -> Tally:
    whole = Tally(
        payments=7,
        holds=3,
        captures=3,
        amount_minor=5_000,
        accounts=2,
        merchants=1,
        day_cuts=7,
        business_date="2017-01-08",
        commits=9,
        postings=40,
        accounts_minor=1_000,
        merchants_minor=5_000,
        clearing_minor=-6_000,
    )
    return replace(whole, **changes)


async def test_tally_counts_what_succeeded_and_what_failed_for_good() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(
            payment("P1", 1_000),
            payment("P2", 2_000_000),
            payment("P3", 3_000, payer="nobody"),
            hold("H1", 2_500),
            hold("H2", 5_000_000),
            hold("H3", 2_500),
            capture("H1", "C1", 2_100),
            capture("H1", "C2", 9_999),
        )
        await client.post("/v1/day-cuts", {"business_date": "2026-01-05"})
        await client.commands(payment("P1", 1_000), payment("P1", 1_001), payment("P4", 300))
        tally = count([store.snapshot() for store in client.stores])
        assert tally.commits == sum(store.last.sequence for store in client.stores)
    assert (tally.payments, tally.holds, tally.captures) == (2, 2, 1)
    assert tally.refused == {
        "INSUFFICIENT_FUNDS": 2,
        "ACCOUNT_NOT_FOUND": 1,
        "CAPTURE_EXCEEDS_HOLD": 1,
    }
    assert tally.amount_minor == 1_000 + 2_100 + 300
    assert (tally.accounts, tally.merchants) == (1, 1)
    assert (tally.day_cuts, tally.business_date) == (1, "2026-01-06")
    assert tally.accounts_minor == 10_000 - 3_400
    assert tally.fees_minor == 10 + 21 + 3
    assert tally.merchants_minor == 3_400 - 34
    assert (tally.clearing_minor, tally.messages_minor, tally.total_minor) == (-10_000, 0, 0)
    # Funding, three purchases, and a fee on each: two entries apiece.
    assert tally.postings == 2 + 3 * 2 + 3 * 2
    assert tally.by_merchant == {"M1": 3}
    assert tally.biggest == Purchase(2_100, "2026-01-05", "M1", "A1")


def test_run_that_is_as_it_should_be_has_no_complaints() -> None:
    assert list(complaints(PLANNED, {}, _tally(), HOLDS)) == []
    more = _tally(payments=8, amount_minor=5_100)
    assert list(complaints(PLANNED, {}, more, HOLDS)) == [], "an earlier run went further"


@pytest.mark.parametrize(
    ("refused", "changes", "report", "complaint"),
    [
        ({}, {"payments": 6}, HOLDS, "payments, holds, captures, amount are (6, 3, 3, 5000)"),
        ({}, {"holds": 2}, HOLDS, "(7, 2, 3, 5000)"),
        ({}, {"captures": 2}, HOLDS, "(7, 3, 2, 5000)"),
        ({}, {"amount_minor": 4_999}, HOLDS, "(7, 3, 3, 4999); the data set says (7, 3, 3, 5000)"),
        ({"NUMBER_USED": 2}, {}, HOLDS, "2 refused with NUMBER_USED"),
        ({}, {"messages_minor": -1}, HOLDS, "the books are off by -1 minor units"),
        ({}, {}, replace(HOLDS, ok=False), "verify found 0 violations"),
    ],
)
def test_whatever_is_wrong_is_complained_of(
    refused: dict[str, int], changes: dict[str, Any], report: Report, complaint: str
) -> None:
    (said,) = complaints(PLANNED, refused, _tally(**changes), report)
    assert complaint in said


def test_first_violation_is_named() -> None:
    violations = [Violation("balance", "actors", "A1", "off by 1")] * 2
    report = replace(HOLDS, ok=False, violations=violations)
    assert list(complaints(PLANNED, {}, _tally(), report)) == [
        "verify found 2 violations",
        "the first is balance: actors A1: off by 1",
    ]


def _shown(what: RenderableType) -> str:
    """What there is to read, without lines and columns."""
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        console.print(what)
    return " ".join(captured.get().replace("│", " ").split())


def test_summary_proves_that_the_money_is_all_there() -> None:
    biggest = Purchase(96_149, "2017-01-03", "store-2", "household-9")
    tally = _tally(biggest=biggest)
    tally.by_merchant.update({"store-2": 6, "store-1": 4})
    shown = _shown(summary(tally, PLANNED, FINISHED, {}, []))
    for line in (
        "Baskets 11, 2017-01-01 to 2017-01-08",
        "Refused nothing",
        "Settled $50.00",
        "Busiest store store-2, 6 purchases",
        "Biggest basket $961.49 by household-9 at store-2 on 2017-01-03",
        "clearing -$60.00",
        "all together $0.00 not a cent lost or invented",
        "10 purchases in 2.0 s: 5 a second",
        "p50 12 ms, p99 34 ms",
        "✓ 40 postings verified",
    ):
        assert line in shown


def test_summary_of_a_bad_run_says_so() -> None:
    """Nothing green, each complaint, the codes; and a run with nothing left to do has no speed."""
    idle = Finished(0.1, 0, 0, {}, None, None)
    shown = _shown(summary(_tally(messages_minor=7), PLANNED, idle, {"B": 1, "A": 2}, ["oh no"]))
    assert "✓" not in shown
    assert "✗ oh no" in shown
    assert "money was lost or invented" in shown
    assert "Refused A 2, B 1" in shown
    assert "Everything was there already; 9 commits." in shown


def test_bar_counts_purchases_from_where_the_store_stands() -> None:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured, Bar(console) as bar:
        bar.planned(replace(PLANNED, purchases_before=4))
        bar.progressed(Progressed("2017-01-01", 0, 500, 1.0, 0))
        bar.progressed(Progressed("2017-01-05", 3, 4, 1.0, 2))
    last = captured.get().splitlines()[-1]
    assert last.startswith("2017-01-05 ")
    assert " 7/10 " in last
    assert "2 refused" in last


@pytest.mark.parametrize(
    ("amount_minor", "shown"),
    [(0, "$0.00"), (5, "$0.05"), (-205, "-$2.05"), (459_603_958, "$4,596,039.58")],
)
def test_dollars_are_exact(amount_minor: int, shown: str) -> None:
    assert dollars(amount_minor) == shown
