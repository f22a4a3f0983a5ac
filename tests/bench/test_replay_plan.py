"""The plan of a replay: what goes together, what waits, and that the outcome is the file's."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from actors.commands import FundAccount, OpenAccount, OpenMerchant, SignAgreement
from bench.connection import ARRAY_MAX, AdvanceClock
from bench.replay.file import Place, Read, ReplayFile
from bench.replay.floors import FLOORS_MAX, Floors
from bench.replay.logbook import Logbook
from bench.replay.plan import OPEN_MAX, Plan, Settings, Step
from bench.replay.row import Row, parse
from tests.bench.ledger_model import Account, Bank
from tests.bench.payment_files import COLUMNS, at_random, followed, mistaken, transfers, write

FUNDS = 1_000


def _reads(*lines: str) -> Iterator[Read]:
    """Rows as `kind reference payer merchant amount second original`, on one morning."""
    for number, line in enumerate(lines, 2):
        kind, reference, payer, merchant, amount, second, *original = line.split()
        at = f"2026-01-{5 + int(second) // 86_400:02d}T08:00:{int(second) % 60:02d}Z"
        text = ",".join(
            [kind, reference, payer, merchant, amount, "CNY", at, original[0] if original else ""]
        )
        row = parse(text.encode())
        assert isinstance(row, Row), row
        yield Read(row, Place(number, number, row.at_us))


def _steps(tmp_path: Path, *lines: str) -> list[list[str]]:
    """The steps' items by their number, or by the time that the clock moves to."""
    found = []
    with Logbook(tmp_path) as logbook:
        plan = Plan(_reads(*lines), logbook, Floors(), Settings(FUNDS, 0))
        while (step := plan.next()) is not None:
            found.append(
                [
                    task.reference if task is not None else cast(AdvanceClock, item).to[8:19]
                    for item, task in zip(step.items, step.tasks, strict=True)
                ]
            )
            for task in step.tasks:
                if task is not None:
                    plan.settle(task, None, False)
            assert len(found) < 100
    return found


def test_rows_that_do_not_depend_on_each_other_start_together_at_their_times(
    tmp_path: Path,
) -> None:
    assert _steps(
        tmp_path,
        "payment o1 P1 M1 10 0",
        "payment o2 P1 M1 10 0",
        "hold h1 P1 M1 10 1",
        "transfer t1 P1 P2 10 2",
    ) == [["05T08:00:00", "o1", "o2", "05T08:00:01", "h1", "05T08:00:02", "t1"]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("hold h1 P1 M1 10 0", "capture c1 P1 M1 5 1 h1"),
        ("hold h1 P1 M1 10 0", "void v1 P1 M1 0 1 h1"),
        ("payment o1 P1 M1 10 0", "refund r1 P1 M1 5 1 o1"),
        ("payment o1 P1 M1 10 0", "reversal x1 P1 M1 10 1 o1"),
        ("payment o1 P1 M1 10 0", "payment o1 P2 M1 10 1"),
        ("refund r1 P1 M1 10 0 o8", "refund r1 P1 M1 10 1 o9"),
        ("transfer t1 P1 P2 10 0", "transfer t1 P1 P2 10 1"),
    ],
)
def test_row_that_depends_on_another_waits_while_others_go_on(
    tmp_path: Path, first: str, second: str
) -> None:
    one, two = first.split()[1], second.split()[1]
    steps = _steps(tmp_path, first, second, "payment o5 P5 M5 10 2")
    assert steps == [["05T08:00:00", one, "05T08:00:02", "o5"], [two]]


def test_row_that_waits_does_not_start_before_its_time(tmp_path: Path) -> None:
    steps = _steps(tmp_path, "hold h1 P1 M1 10 0", "capture c1 P1 M1 5 7 h1")
    assert steps == [["05T08:00:00", "h1"], ["05T08:00:07", "c1"]]


def test_rows_that_wait_for_the_same_keep_their_order(tmp_path: Path) -> None:
    assert _steps(
        tmp_path,
        "hold h1 P1 M1 10 0",
        "capture c1 P1 M1 5 0 h1",
        "capture c2 P1 M1 5 0 h1",
        "refund r1 P1 M1 5 0 h1",
        "payment o1 P1 M2 1 0",
    ) == [["05T08:00:00", "h1", "o1"], ["c1"], ["c2"], ["r1"]]


@pytest.mark.parametrize(
    "second", ["payment o2 P1 M2 401 1", "hold o2 P1 M2 401 1", "transfer o2 P1 P2 401 1"]
)
def test_debit_that_may_be_refused_lets_nothing_pass(tmp_path: Path, second: str) -> None:
    """Funds may come free by themselves (a hold's end), so it has to start at its own time."""
    steps = _steps(tmp_path, "payment o1 P1 M1 600 0", second, "payment o3 P3 M3 1 2")
    assert steps == [["05T08:00:00", "o1"], ["05T08:00:01", "o2", "05T08:00:02", "o3"]]


def test_credit_waits_for_a_debit_that_may_be_refused(tmp_path: Path) -> None:
    assert _steps(
        tmp_path,
        "payment o1 P1 M1 600 0",
        "payment o2 P1 M2 500 0",
        "transfer t1 P2 P1 100 0",
        "payment o3 P3 M3 1 0",
    ) == [["05T08:00:00", "o1"], ["o2", "o3"], ["t1"]]


def test_refund_waits_for_its_merchants_money_unless_there_certainly_is_enough(
    tmp_path: Path,
) -> None:
    assert _steps(
        tmp_path,
        "payment o1 P1 M1 100 0",
        "payment o2 P2 M1 100 0",
        "refund r1 P1 M1 60 0 o0",
        "refund r2 P2 M1 60 0 o2",
        "payment o3 P1 M1 100 0",
        "payment o4 P1 M2 100 0",
        "refund r3 P1 M1 60 1 o1",
    ) == [["05T08:00:00", "o1", "o2", "r1", "o4"], ["r2", "o3", "05T08:00:01", "r3"]]


def test_hold_of_a_number_in_use_lets_nothing_pass(tmp_path: Path) -> None:
    """Its time begins when it is placed."""
    steps = _steps(tmp_path, "hold h1 P1 M1 1 0", "hold h1 P1 M1 2 1", "payment o1 P1 M1 1 2")
    assert steps == [["05T08:00:00", "h1"], ["05T08:00:01", "h1", "05T08:00:02", "o1"]]


def test_operation_on_the_day_that_its_hold_ends_lets_nothing_pass(tmp_path: Path) -> None:
    week = 7 * 86_400
    steps = _steps(
        tmp_path,
        "hold h1 P1 M1 10 9",
        f"capture c1 P1 M1 1 {week + 7} h1",
        f"capture c2 P1 M1 1 {week + 8} h1",
        f"capture c3 P1 M1 1 {week + 9} h1",
        f"payment o1 P1 M1 1 {week + 10}",
    )
    assert steps[1:] == [
        ["12T08:00:07", "c1"],
        ["12T08:00:08", "c2", "12T08:00:10", "o1"],
        ["c3"],
    ]


def test_date_is_over_when_nothing_of_it_waits(tmp_path: Path) -> None:
    day = 86_400
    steps = _steps(
        tmp_path, "hold h1 P1 M1 10 0", "void v1 P1 M1 0 0 h1", f"payment o1 P1 M1 1 {day}"
    )
    assert steps == [["05T08:00:00", "h1"], ["v1", "05T23:59:59"], ["06T08:00:00", "o1"]]


def test_first_sight_opens_whom_a_row_names_even_if_it_is_refused(tmp_path: Path) -> None:
    reads = _reads("payment o1 P1 M1 10 0", "refund r1 P2 M1 10 0 o1", "payment o2 P1 M1 10 0")
    with Logbook(tmp_path) as logbook:
        plan = Plan(reads, logbook, Floors(), Settings(FUNDS, 7))
        step = plan.next()
        assert step is not None
        assert step.opening == [
            OpenAccount("P1", "CNY"),
            FundAccount("P1", "opening", FUNDS, "CNY"),
            OpenMerchant("M1", "CNY", 7),
            SignAgreement("P1", "M1", "M1"),
            OpenAccount("P2", "CNY"),
            FundAccount("P2", "opening", FUNDS, "CNY"),
        ]
        assert [task.code for task in step.refused] == ["NO_SUCH_PAYMENT"]
        assert not plan.open[1].done, "it is done when its accounts are open"


def test_hot_hold_fills_neither_the_step_nor_the_memory(tmp_path: Path) -> None:
    """However many rows wait for one hold, what is read ahead is bounded."""
    captures = [f"capture c{n} P1 M1 1 0 h1" for n in range(3_000)]
    others = [f"payment o{n} P2 M2 0{n + 1} 0" for n in range(500)]
    reads = _reads("hold h1 P1 M1 900 0", *captures, *others)
    with Logbook(tmp_path) as logbook:
        plan = Plan(reads, logbook, Floors(), Settings(10**11, 0))
        sent = 0
        while (step := plan.next()) is not None:
            assert len(step.items) <= ARRAY_MAX >= len(step.opening)
            assert len(plan.open) <= OPEN_MAX
            sent += _carry_out(plan, step)
            while plan.open and plan.open[0].done:
                plan.open.popleft()
        assert sent == 3_501
        assert not plan.open


def _carry_out(plan: Plan, step: Step) -> int:
    tasks = [task for task in step.tasks if task is not None]
    for task in tasks:
        plan.settle(task, None, False)
    return len(tasks)


@pytest.mark.parametrize("seed", range(24))
def test_planned_rows_come_to_what_rows_one_by_one_come_to(tmp_path: Path, seed: int) -> None:
    """A whole file, transfers included, planned and given to a bank in the planned order."""
    chance = random.Random(seed)
    opening = chance.choice([500, 6_000, 20_000, 10**11])
    payers, merchants, step_s, later_s = chance.choice(
        [(5, 4, 20_000, 200_000), (40, 30, 600, 100_000), (300, 2, 5, 3_000), (3, 200, 2, 500)]
    )
    rows = transfers(chance, at_random(chance, 600, payers, merchants, step_s), 0.2)
    rows = mistaken(chance, followed(chance, rows, 0.3, later_s), 0.1)
    path = tmp_path / "file.csv"
    expected = write(path, rows, Bank(opening, 38), chance)
    bank = Bank(opening, 38)
    lines = path.read_text("utf-8").split("\n")
    codes: list[tuple[str, str, str]] = []
    now = ""
    with ReplayFile(path) as file, Logbook(tmp_path) as logbook:
        plan = Plan(file.rows(file.begin), logbook, Floors(), Settings(opening, 38))
        while (step := plan.next()) is not None:
            for each in step.opening:
                if isinstance(each, OpenAccount):
                    bank.accounts[each.account_no] = Account(each.currency, opening)
            for item, task in zip(step.items, step.tasks, strict=True):
                if task is None:
                    assert isinstance(item, AdvanceClock)
                    now = item.to
                    continue
                row = dict(zip(COLUMNS, lines[task.line - 1].split(","), strict=True))
                assert now[:10] == row["time"][:10]
                assert row["payer"] in {"", *bank.accounts}
                before = len(bank.numbers)
                code = bank.process(row | {"time": now})
                replayed = len(bank.numbers) == before
                plan.settle(task, None if code == "ok" else code, replayed)
            for task in step.refused:
                task.done = True
            while plan.open and plan.open[0].done:
                task = plan.open.popleft()
                if task.code is not None and not task.malformed:
                    codes.append((str(task.line), task.reference, task.code))
        assert not plan.open
    assert codes == expected.refusals
    assert bank.accounts == expected.bank.accounts
    assert {n: m for n, m in bank.merchants.items() if m.posted or m.fees} == {
        n: m for n, m in expected.bank.merchants.items() if m.posted or m.fees
    }


def test_floors_are_bounded_and_never_rise_by_being_forgotten() -> None:
    floors = Floors()
    floors.add("account/short", -5)
    floors.add("account/rich", 5)
    for n in range(FLOORS_MAX + 5):
        floors.begin(f"account/{n}", 7)
    assert floors.of("account/short") == -5
    assert floors.of("account/rich") == 0
    assert floors.of(f"account/{FLOORS_MAX}") == 7
    floors.begin("account/short", 100)
    assert floors.of("account/short") == -5
