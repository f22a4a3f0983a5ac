"""The payment in statements of its own, with row locks: what an application writes in Python.

It takes three round trips: what is to be decided on is read under the payer's row lock (SELECT …
FOR UPDATE); everything is written; it is committed. Locks are always taken in the same order, payer
before merchant, so nobody waits in a circle. Statements are prepared and sent in pipelines. The
payment is a generator that yields pipelines and is sent their answers, so threads and asyncio run
the same one.
"""

import hashlib
from collections.abc import Generator, Sequence
from datetime import date, datetime
from typing import Any, Final, NamedTuple

import psycopg

Statement = tuple[str, Sequence[Any]]
Steps = Generator[list[Statement], list[tuple[Any, ...] | None], "Outcome"]
"""Yields pipelines of statements and is sent the first row of each; COMMIT follows."""


class Asked(NamedTuple):
    """What a payment is asked for with."""

    merchant_no: str
    order_no: str
    payer: str
    amount_minor: int
    currency: str


class Outcome(NamedTuple):
    """What became of it: `answer` is paid, replayed or refused, `why` a code where it has one."""

    answer: str
    why: str | None
    fee_minor: int
    day: date | None
    at: datetime | None


_MERCHANT: Final = "SELECT status, currency, fee_bps FROM merchants WHERE merchant_no = %s"
_AGREEMENT: Final = (
    "SELECT status, payment_limit_minor, daily_limit_minor, CASE WHEN used_date = current_date"
    " THEN used_minor ELSE 0 END FROM agreements WHERE account_no = %s AND merchant_no = %s"
)
_ACCOUNT: Final = (
    "SELECT status, currency, kind, posted_minor - held_minor - frozen_minor, posted_minor,"
    " posted_last, CASE WHEN used_date = current_date THEN used_minor ELSE 0 END,"
    " payment_limit_minor, daily_limit_minor"
    " FROM accounts WHERE account_no = %s FOR UPDATE"
)
_BIND: Final = (
    "INSERT INTO payments VALUES"
    " (%s, %s, %s, %s, %s, %s, %s, %s, %s, 0, current_date, clock_timestamp(), clock_timestamp())"
    " ON CONFLICT DO NOTHING RETURNING business_date, settled_at"
)
_FIRST: Final = (
    "SELECT digest, code, fee_minor, business_date, settled_at FROM payments"
    " WHERE merchant_no = %s AND order_no = %s"
)
_DEBIT: Final = (
    "WITH posted AS (INSERT INTO postings VALUES"
    " (nextval('posting_ids'), %s, -%s::bigint, %s, %s, %s, %s, current_date)"
    " RETURNING posting_id) UPDATE accounts SET posted_minor = posted_minor - %s,"
    " posted_before = posted_last, posted_last = posting_id, used_date = current_date,"
    " used_minor = %s FROM posted WHERE account_no = %s"
)
_USE: Final = (
    "UPDATE agreements SET used_date = current_date, used_minor = %s"
    " WHERE account_no = %s AND merchant_no = %s"
)
_CREDIT: Final = (
    "WITH m AS (UPDATE merchants SET posted_minor = posted_minor + %s, posted_before = posted_last,"
    " posted_last = nextval('posting_ids'), events = events + 1"
    " WHERE merchant_no = %s RETURNING *), posted AS (INSERT INTO postings SELECT posted_last,"
    " merchant_no || '/receivable', %s, currency, posted_minor, posted_before, %s, current_date"
    " FROM m), told AS (INSERT INTO events SELECT merchant_no, events, 'payment.succeeded', %s,"
    " clock_timestamp(), current_date, %s, %s, NULL FROM m) SELECT status FROM m"
)
_FEE: Final = (
    "WITH m AS (UPDATE merchants SET posted_minor = posted_minor - %s, posted_before = posted_last,"
    " posted_last = nextval('posting_ids'), fees_minor = fees_minor + %s, fees_before = fees_last,"
    " fees_last = nextval('posting_ids') WHERE merchant_no = %s RETURNING *)"
    " INSERT INTO postings SELECT posted_last, merchant_no || '/receivable', -%s::bigint, currency,"
    " posted_minor, posted_before, %s, current_date FROM m UNION ALL SELECT fees_last,"
    " merchant_no || '/fees', %s, currency, fees_minor, fees_before, %s, current_date FROM m"
)
_FAILED: Final = (
    "WITH m AS (UPDATE merchants SET events = events + 1 WHERE merchant_no = %s RETURNING *)"
    " INSERT INTO events SELECT merchant_no, events, 'payment.failed', %s, clock_timestamp(),"
    " current_date, %s, 0, %s FROM m"
)
_ROLLBACK: Final[list[Statement]] = [("ROLLBACK", ())]


def content(asked: Asked) -> bytes:
    """Return the digest that tells a repetition from another payment under the same number."""
    return hashlib.sha256("\n".join(map(str, asked)).encode()).digest()


def payment(asked: Asked) -> Steps:
    """Make one payment; all that is left to do when it returns is to commit.

    Raises:
        SerializationFailure: the merchant has changed meanwhile: roll back and begin anew.
    """
    merchant_no, order_no, payer, amount, currency = asked
    account, agreement, merchant = yield [
        (_ACCOUNT, (payer,)),
        (_AGREEMENT, (payer, merchant_no)),
        (_MERCHANT, (merchant_no,)),
    ]
    if merchant is None:
        return Outcome("refused", "MERCHANT_NOT_FOUND", 0, None, None)
    if merchant[0] != "ACTIVE":
        first = yield from _first(asked)
        return first or Outcome("refused", f"MERCHANT_{merchant[0]}", 0, None, None)
    code = _declined(asked, account, agreement, merchant[1])
    fee = 0 if code else (amount * merchant[2] + 5_000) // 10_000
    state = "FAILED" if code else "SUCCEEDED"
    bound = (merchant_no, order_no, content(asked), state, code, payer, amount, currency, fee)
    statements: list[Statement] = [(_BIND, bound)]
    if code is not None:
        statements.append((_FAILED, (merchant_no, order_no, amount, code)))
    else:
        assert account is not None
        assert agreement is not None
        statements += _moved(asked, fee, account, agreement)
    bound_row, *_, last = yield statements
    if bound_row is None:
        yield _ROLLBACK
        first = yield from _first(asked)
        assert first is not None, "a number that conflicts is there"
        return first
    if code is not None:
        return Outcome("refused", code, 0, *bound_row)
    assert last is not None
    if last[0] != "ACTIVE":
        raise psycopg.errors.SerializationFailure("the merchant has just changed")
    return Outcome("paid", None, fee, *bound_row)


def _moved(
    asked: Asked, fee: int, account: tuple[Any, ...], agreement: tuple[Any, ...]
) -> list[Statement]:
    """Return what moves the money; the last statement tells the merchant's status."""
    merchant_no, order_no, payer, amount, currency = asked
    reference = f"payment/{merchant_no}/{order_no}"
    _, _, _, _, posted, last, used, *_ = account
    debit = (payer, amount, currency, posted - amount, last, reference)
    statements: list[Statement] = [(_DEBIT, (*debit, amount, used + amount, payer))]
    if agreement[2] is not None:
        statements.append((_USE, (agreement[3] + amount, payer, merchant_no)))
    if fee:
        # The fee leaves after the credit has come: it is taken from what was just credited.
        statements.append(
            (_CREDIT, (amount, merchant_no, amount, reference, order_no, amount, fee))
        )
        statements.append((_FEE, (fee, fee, merchant_no, fee, reference, fee, reference)))
        statements.append((_MERCHANT, (merchant_no,)))
    else:
        statements.append((_CREDIT, (amount, merchant_no, amount, reference, order_no, amount, 0)))
    return statements


def _first(
    asked: Asked,
) -> Generator[list[Statement], list[tuple[Any, ...] | None], Outcome | None]:
    """Return the first outcome of a number that was used before, None where it was not."""
    (row,) = yield [(_FIRST, (asked.merchant_no, asked.order_no))]
    if row is None:
        return None
    if bytes(row[0]) != content(asked):
        return Outcome("refused", "NUMBER_USED", 0, None, None)
    return Outcome("replayed", *row[1:])


def _declined(
    asked: Asked,
    account: tuple[Any, ...] | None,
    agreement: tuple[Any, ...] | None,
    merchant_currency: str,
) -> str | None:
    """Return why a payment is declined, in our order of precedence."""
    amount = asked.amount_minor
    if merchant_currency != asked.currency:
        return "CURRENCY_MISMATCH"
    if account is None:
        return "ACCOUNT_NOT_FOUND"
    status, currency, kind, available, _, _, used, at_once, a_day, *_ = account
    checks = [
        (status != "OPEN", f"ACCOUNT_{status}"),
        (currency != asked.currency, "CURRENCY_MISMATCH"),
        (kind != "customer", "ACCOUNT_INTERNAL"),
        (agreement is None, "AGREEMENT_NOT_FOUND"),
    ]
    if agreement is not None:
        signed, most, daily, used_under = agreement
        checks += [
            (signed != "SIGNED", "AGREEMENT_CANCELLED"),
            (most is not None and amount > most, "PAYMENT_LIMIT_EXCEEDED"),
            (daily is not None and used_under + amount > daily, "DAILY_LIMIT_EXCEEDED"),
            (at_once is not None and amount > at_once, "METHOD_LIMIT_EXCEEDED"),
            (a_day is not None and used + amount > a_day, "METHOD_LIMIT_EXCEEDED"),
            (available < amount, "INSUFFICIENT_FUNDS"),
        ]
    return next((code for fails, code in checks if fails), None)


def pay(connection: psycopg.Connection[tuple[Any, ...]], asked: Asked) -> Outcome:
    """Make one payment on a connection and commit it; tried again where others were in the way."""
    while True:
        steps = payment(asked)
        rows: list[tuple[Any, ...] | None] | None = None
        try:
            while True:
                statements = steps.send(rows) if rows is not None else next(steps)
                with connection.pipeline():
                    cursors = [connection.execute(*each, prepare=True) for each in statements]
                rows = [each.fetchone() if each.description else None for each in cursors]
        except StopIteration as end:
            connection.commit()
            outcome: Outcome = end.value
            return outcome
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            connection.rollback()


async def pay_async(connection: psycopg.AsyncConnection[tuple[Any, ...]], asked: Asked) -> Outcome:
    """Make one payment as `pay` does, on asyncio."""
    while True:
        steps = payment(asked)
        rows: list[tuple[Any, ...] | None] | None = None
        try:
            while True:
                statements = steps.send(rows) if rows is not None else next(steps)
                async with connection.pipeline():
                    cursors = [await connection.execute(*each, prepare=True) for each in statements]
                rows = [await each.fetchone() if each.description else None for each in cursors]
        except StopIteration as end:
            await connection.commit()
            outcome: Outcome = end.value
            return outcome
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
            await connection.rollback()
