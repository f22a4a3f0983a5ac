"""The peer's payment is a payment: declined for our reasons, bound once, never overdrawn.

A peer that did less than ours would be no measure for it. All forms run against a real PostgreSQL.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from bench.bulk import CURRENCY, OPENING_MINOR, account_no, merchant_no
from bench.peers.books import books, check
from bench.peers.row_locks import Asked, Outcome, pay

Connection = psycopg.Connection[Any]
Pay = Callable[[Connection, Asked], Outcome]


def _by_function(connection: Connection, asked: Asked) -> Outcome:
    row = connection.execute("SELECT * FROM pay(%s, %s, %s, %s, %s)", asked).fetchone()
    connection.commit()
    assert row is not None
    return Outcome(*row)


def _by_sets(connection: Connection, asked: Asked) -> Outcome:
    columns = [[each] for each in asked]
    row = connection.execute("SELECT * FROM pay_many(%s, %s, %s, %s, %s)", columns).fetchone()
    connection.commit()
    assert row is not None
    _, others = row
    answer, *why = others[0].split()[1:] if others else ["paid"]
    return Outcome(answer, why[0] if why else None, 0, None, None)


FORMS = pytest.mark.parametrize("pay_", [pay, _by_function, _by_sets])


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[str]:
    with books(server, "test", 200, 5) as database:
        yield database


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """A connection; afterwards the books have to hold, whatever the test has done."""
    with psycopg.connect(database) as connection:
        yield connection
        connection.rollback()
    assert check(database) == []


_order = iter(range(1_000_000))


def _asked(n: int, amount_minor: int = 100, **other: Any) -> Asked:
    """A payment under a number of its own, to the merchant that the payer has an agreement with."""
    asked = Asked(merchant_no(n % 5), f"T{next(_order)}", account_no(n), amount_minor, CURRENCY)
    return asked._replace(**other)


@FORMS
def test_payment_that_was_made_is_bound_for_ever(connection: Connection, pay_: Pay) -> None:
    asked = _asked(1)
    assert pay_(connection, asked)[:2] == ("paid", None)
    assert pay_(connection, asked)[:2] == ("replayed", None)
    other = asked._replace(amount_minor=101)
    assert pay_(connection, other)[:2] == ("refused", "NUMBER_USED")


@FORMS
def test_payment_that_was_declined_is_bound_for_ever(connection: Connection, pay_: Pay) -> None:
    asked = _asked(2, OPENING_MINOR * 2)
    assert pay_(connection, asked)[:2] == ("refused", "INSUFFICIENT_FUNDS")
    connection.execute(
        "UPDATE merchants SET status = 'SUSPENDED' WHERE merchant_no = %s", [asked.merchant_no]
    )
    assert pay_(connection, asked)[:2] == ("replayed", "INSUFFICIENT_FUNDS")
    assert pay_(connection, _asked(2))[:2] == ("refused", "MERCHANT_SUSPENDED")
    connection.execute("UPDATE merchants SET status = 'ACTIVE'")
    connection.commit()


_AGREEMENT = "UPDATE agreements SET {} WHERE account_no = %s"
_ACCOUNT = "UPDATE accounts SET {} WHERE account_no = %s"
DECLINED: list[tuple[str, dict[str, Any], str | None]] = [
    ("MERCHANT_NOT_FOUND", {"merchant_no": "M9"}, None),
    ("CURRENCY_MISMATCH", {"currency": "USD"}, None),
    ("ACCOUNT_NOT_FOUND", {"payer": "nobody"}, None),
    ("ACCOUNT_INTERNAL", {"payer": f"clearing-{CURRENCY}"}, None),
    ("AGREEMENT_NOT_FOUND", {"merchant_no": merchant_no(4)}, None),
    ("ACCOUNT_FROZEN", {}, _ACCOUNT.format("status = 'FROZEN'")),
    ("ACCOUNT_CLOSED", {}, _ACCOUNT.format("status = 'CLOSED'")),
    ("AGREEMENT_CANCELLED", {}, _AGREEMENT.format("status = 'CANCELLED'")),
    ("PAYMENT_LIMIT_EXCEEDED", {}, _AGREEMENT.format("payment_limit_minor = 99")),
    ("DAILY_LIMIT_EXCEEDED", {}, _AGREEMENT.format("daily_limit_minor = 99")),
    ("METHOD_LIMIT_EXCEEDED", {}, _ACCOUNT.format("payment_limit_minor = 99")),
    ("METHOD_LIMIT_EXCEEDED", {}, _ACCOUNT.format("daily_limit_minor = 99")),
    ("INSUFFICIENT_FUNDS", {}, _ACCOUNT.format("held_minor = posted_minor - 99")),
    ("INSUFFICIENT_FUNDS", {}, _ACCOUNT.format("frozen_minor = posted_minor - 99")),
]


@FORMS
def test_payment_is_declined_for_our_reasons(connection: Connection, pay_: Pay) -> None:
    payer = 100 + next(_order) % 20 * 5  # of merchant 0, not of merchant 4
    for code, other, change in DECLINED:
        if change is not None:
            connection.execute(change, [account_no(payer)])
        assert pay_(connection, _asked(payer, **other))[:2] == ("refused", code), code
        connection.execute(
            _ACCOUNT.format(
                "status = 'OPEN', held_minor = 0, frozen_minor = 0,"
                " payment_limit_minor = NULL, daily_limit_minor = NULL"
            ),
            [account_no(payer)],
        )
        connection.execute(
            _AGREEMENT.format(
                "status = 'SIGNED', payment_limit_minor = NULL, daily_limit_minor = NULL"
            ),
            [account_no(payer)],
        )
        connection.commit()
    assert pay_(connection, _asked(payer)).answer == "paid"


@FORMS
def test_daily_limit_counts_what_was_paid_today(connection: Connection, pay_: Pay) -> None:
    payer = next(_order) % 50 + 50
    connection.execute(_AGREEMENT.format("daily_limit_minor = 250"), [account_no(payer)])
    connection.commit()
    outcomes = [pay_(connection, _asked(payer)).why for _ in range(3)]
    assert outcomes == [None, None, "DAILY_LIMIT_EXCEEDED"]


@FORMS
def test_fee_leaves_the_receivable_in_the_same_commit(connection: Connection, pay_: Pay) -> None:
    """1.5 % of 1,033 is 15.495, which is rounded to 15."""
    connection.execute("UPDATE merchants SET fee_bps = 150 WHERE merchant_no = %s", ["M00003"])
    connection.commit()
    before = _balances(connection, "M00003")
    for _ in range(2):
        assert pay_(connection, _asked(3, 1_033)).answer == "paid"
    after = _balances(connection, "M00003")
    assert (after[0] - before[0], after[1] - before[1]) == (2 * 1_018, 2 * 15)


def _balances(connection: Connection, merchant: str) -> tuple[int, int]:
    query = "SELECT posted_minor, fees_minor FROM merchants WHERE merchant_no = %s"
    row = connection.execute(query, [merchant]).fetchone()
    assert row is not None
    return row[0], row[1]


@FORMS
def test_payers_at_once_never_overdraw_an_account(
    database: str, connection: Connection, pay_: Pay
) -> None:
    """Eight at once have money for ten of their forty payments, and each number is used twice."""
    payer = next(_order) % 40 + 10
    connection.execute(_ACCOUNT.format("held_minor = posted_minor - 1050"), [account_no(payer)])
    connection.commit()
    numbers = [f"C{payer}-{n}" for n in range(40)]
    seen: Counter[tuple[str, str | None]] = Counter()

    def client(own: list[str]) -> None:
        with psycopg.connect(database) as mine:
            for number in own:
                seen[pay_(mine, _asked(payer, order_no=number))[:2]] += 1

    threads = [threading.Thread(target=client, args=(numbers[n % 4 :: 4],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen["paid", None] == 10
    assert seen["replayed", None] == 10
    assert seen["refused", "INSUFFICIENT_FUNDS"] == 30
    assert seen.total() == 80


def test_sets_take_many_payers_and_what_is_not_plain(connection: Connection) -> None:
    """Payers come several times, with a fee, a number used before, twice in it, and too dear."""
    connection.execute("UPDATE merchants SET fee_bps = 100 WHERE merchant_no = %s", ["M00002"])
    before = _asked(7)
    assert _by_function(connection, before).answer == "paid"
    twice = _asked(7)
    dear = _asked(8, OPENING_MINOR - 100)
    many = [_asked(n % 10) for n in range(90)]
    asked = [before, *many, twice, twice, twice._replace(amount_minor=5), dear]
    columns = [list(column) for column in zip(*asked, strict=True)]
    row = connection.execute("SELECT * FROM pay_many(%s, %s, %s, %s, %s)", columns).fetchone()
    connection.commit()
    assert row is not None
    assert row[0] == 91
    # A payer whose balance does not cover all is served one by one, and then most of it is paid.
    assert sorted(each for each in row[1] if not each.endswith(" paid")) == sorted(
        [
            f"{before.order_no} replayed",
            f"{twice.order_no} replayed",
            f"{twice.order_no} refused NUMBER_USED",
            f"{dear.order_no} refused INSUFFICIENT_FUNDS",
        ]
    )


BUGS = {
    "sum of all balances": "UPDATE accounts SET posted_minor = 1 WHERE account_no = %s",
    "sum of all postings": "UPDATE postings SET amount_minor = amount_minor + 1 WHERE account = %s",
    "do not continue": "UPDATE postings SET balance_minor = balance_minor + 1 WHERE account = %s",
    "two postings": "UPDATE payments SET state = 'FAILED' WHERE payer = %s",
    "missing, or too many": "DELETE FROM events WHERE number IN"
    " (SELECT order_no FROM payments WHERE payer = %s)",
}


@pytest.mark.parametrize("found", BUGS)
def test_check_finds_books_that_are_wrong(database: str, found: str) -> None:
    with psycopg.connect(database) as connection:
        _by_function(connection, _asked(9))
        connection.execute(BUGS[found], [account_no(9)])
        words = check(database, connection=connection)
        connection.rollback()
    assert any(found in each for each in words), words
    assert check(database) == []


def test_check_finds_a_payment_that_clients_were_told_of_and_is_not_there(database: str) -> None:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT count(*) FROM payments WHERE state = 'SUCCEEDED'")
        there = row.fetchone()
    assert there is not None
    assert check(database, there[0]) == []
    assert check(database, there[0] + 1) != []
