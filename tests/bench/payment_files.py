"""Files of payments for replays: real baskets, or rows at random, and everything that follows them.

Payments and holds are followed by captures, voids, releases, refunds and reversals, soon, late
or never, and by mistakes of every kind that may be made. What must come of a file is worked out
while it is written: by the model for rows, and by whoever spoils a line for malformed ones.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from tests.bench.ledger_model import Bank
from tests.bench.receipts import Receipt

COLUMNS = ["kind", "reference", "payer", "merchant", "amount_minor", "currency", "time", "original"]
FOLLOW = ["capture", "void", "release", "refund", "reversal"]


@dataclass
class Expected:
    """What a file must come to."""

    bank: Bank
    rows: int = 0
    ok: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    malformed: list[dict[str, object]] = field(default_factory=list)


def from_receipts(among: tuple[Receipt, ...]) -> Iterator[dict[str, str]]:
    """Yield the baskets as payments, those at the pump as holds."""
    for each in among:
        if not each.amount_minor:
            continue
        hold = -(-each.amount_minor // 2_500) * 2_500
        yield {
            "kind": "hold" if each.fuel else "payment",
            "reference": str(each.basket_id),
            "payer": f"household-{each.household_id}",
            "merchant": f"store-{each.store_id}",
            "amount_minor": str(hold if each.fuel else each.amount_minor),
            "currency": "USD",
            "time": _text(datetime.fromtimestamp(each.seconds, UTC)),
            "original": "",
        }


def at_random(
    chance: random.Random, rows: int, payers: int, merchants: int, step_s: int
) -> Iterator[dict[str, str]]:
    """Yield payments and holds between random parties, `step_s` seconds apart at most."""
    now = datetime(2026, 1, 5, 8, tzinfo=UTC)
    for n in range(rows):
        now += timedelta(seconds=chance.randrange(step_s + 1))
        yield {
            "kind": "hold" if chance.random() < 0.3 else "payment",
            "reference": f"n{n}",
            "payer": f"P{chance.randrange(payers)}",
            "merchant": f"M{chance.randrange(merchants)}",
            "amount_minor": str(chance.randrange(1, 3_000)),
            "currency": "CNY",
            "time": _text(now),
            "original": "",
        }


def transfers(
    chance: random.Random, rows: Iterator[dict[str, str]], share: float
) -> Iterator[dict[str, str]]:
    """Yield the rows, and between them transfers among their payers."""
    payers: list[str] = []
    for n, row in enumerate(rows):
        yield row
        payers.append(row["payer"])
        if chance.random() < share:
            changed = {
                "payer": chance.choice(payers[-50:]),
                "merchant": chance.choice(payers[-50:]),
            }
            if changed["payer"] != changed["merchant"]:
                yield row | changed | {"kind": "transfer", "reference": f"t{n}"}


def followed(
    chance: random.Random, rows: Iterator[dict[str, str]], share: float, later_s: int
) -> Iterator[dict[str, str]]:
    """Yield the rows and what follows on them, in order of time.

    Args:
        share: of the rows that something follows on.
        later_s: most of it comes at most this many seconds later; some comes at once, and some
            around the end of a hold's days.
    """
    n = count()
    due: list[tuple[str, int, dict[str, str]]] = []
    for row in rows:
        while due and due[0][0] <= row["time"]:
            yield heapq.heappop(due)[2]
        yield row
        if row["kind"] == "transfer" or (row["kind"] == "payment" and chance.random() > share):
            continue
        for _ in range(chance.choice([1, 1, 1, 2, 3])):
            then = datetime.fromisoformat(row["time"]) + _later(chance, later_s)
            follower = _follower(chance, row, f"f{next(n)}") | {"time": _text(then)}
            heapq.heappush(due, (follower["time"], next(n), follower))
    while due:
        yield heapq.heappop(due)[2]


def _later(chance: random.Random, later_s: int) -> timedelta:
    pick = chance.random()
    if pick < 0.2:
        return timedelta(0)
    if pick < 0.3:
        return timedelta(days=7, seconds=chance.randrange(-2, 3))
    return timedelta(seconds=chance.randrange(later_s))


def _follower(chance: random.Random, row: dict[str, str], reference: str) -> dict[str, str]:
    held = row["kind"] == "hold"
    weights = [8, 2, 2, 3, 0.2] if held else [0.2, 0.2, 0.2, 6, 4]
    (kind,) = chance.choices(FOLLOW, weights)
    whole = int(row["amount_minor"])
    amount = chance.choice([whole, whole, max(1, whole // 2), chance.randrange(1, whole + 1)])
    return row | {
        "kind": kind,
        "reference": reference,
        "payer": chance.choice(["", row["payer"]]),
        "amount_minor": "" if kind in {"void", "release"} else str(amount),
        "original": row["reference"],
    }


def mistaken(
    chance: random.Random, rows: Iterator[dict[str, str]], share: float
) -> Iterator[dict[str, str]]:
    """Yield the rows, and after some of them one that cannot, or need not, be carried out."""
    before: list[dict[str, str]] = []
    for n, row in enumerate(rows):
        yield row
        before = [*before[-30:], row]
        if chance.random() > share:
            continue
        time = {"time": row["time"]}
        wrong = chance.choice(before) | time
        changes: list[dict[str, str]] = [
            {},  # the same again
            {"amount_minor": "7"} if wrong["amount_minor"] else {},
            {"currency": "EUR", "reference": f"e{n}"},
            {"payer": "clearing-EUR", "reference": f"r{n}"},
        ]
        if wrong["original"]:
            changes += [
                {"original": "nothing", "reference": f"u{n}"},
                {"payer": "somebody-else", "reference": f"s{n}"},
                {"merchant": chance.choice(before)["merchant"], "reference": f"m{n}"},
                {"kind": chance.choice(FOLLOW), "reference": f"k{n}", "amount_minor": "5"},
                {"payer": before[0]["payer"], "reference": f"p{n}"},
            ]
        yield wrong | chance.choice(changes)


SPOILED: list[tuple[Callable[[str], str], str]] = [
    (lambda line: line + ",", "WRONG_COLUMN_COUNT"),
    (lambda line: "sale" + line[line.index(",") :], "UNKNOWN_KIND"),
    (lambda line: line.replace(",", ", ", 1), "INVALID_REFERENCE"),
    (lambda line: line + "\0", "NOT_TEXT"),
    (lambda line: '"' + line, "BAD_QUOTES"),
    (lambda line: line + "x" * 5_000, "LINE_TOO_LONG"),
]


def write(
    path: Path, rows: Iterator[dict[str, str]], bank: Bank, chance: random.Random
) -> Expected:
    """Write a file, a spoiled line now and then, and return what must come of it."""
    expected = Expected(bank)
    number = 1
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(COLUMNS) + "\r\n")
        for row in rows:
            line = ",".join(row[column] for column in COLUMNS)
            if chance.random() < 0.002:
                spoil, code = chance.choice(SPOILED)
                file.write(spoil(line) + "\n")
                number += 1
                expected.rows += 1
                expected.malformed.append({"line": number, "code": code})
            if chance.random() < 0.002:
                file.write("\n")
                number += 1
            file.write(line + "\n")
            number += 1
            expected.rows += 1
            code = bank.process(row)
            if code == "ok":
                expected.ok += 1
            else:
                expected.refused[code] += 1
                expected.refusals.append((str(number), row["reference"], code))
    return expected


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
