"""One round of a peer that Python drives, in a process of its own: `python -m bench.peers.rounds`.

Our engine is driven in the process that compares; the peer's client must not share its interpreter.
Its plan comes over a pipe, not as an argument, which everyone may read: a URL may hold a password.
A round brings connections, prepared statements and caches up first, and counts from then on. It
prints one JSON object: payments a second, and how many payments succeeded in all.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec
import psycopg
from msgspec import Struct

from bench.bulk import CURRENCY, account_no, merchant_no
from bench.engine_bench import Mix, choose_payers
from bench.peers.row_locks import Asked, pay
from bench.tether import report, tie_to_parent

AMOUNT_MINOR: Final = 100
_WARM_S: Final = 0.5
_MANY: Final = {
    "calls": "SELECT count(*) FILTER (WHERE answer = 'paid') FROM unnest(%s::text[], %s::text[],"
    " %s::text[], %s::bigint[], %s::text[]) AS a (m, o, p, n, u), LATERAL pay(m, o, p, n, u)",
    "sets": "SELECT paid FROM pay_many(%s, %s, %s, %s, %s)",
}
"""Form → the statement that makes many payments, given their five columns."""


class Plan(Struct, frozen=True):
    """What to do.

    Attributes:
        form: `row_locks`: threads, a connection each. On one connection, `batch` payments a commit:
            `calls`: the function for each of them; `sets`: all of them in one statement.
        prefix: begins every order number, so that rounds never repeat one.
    """

    form: Literal["row_locks", "calls", "sets"]
    database: str
    mix: Mix
    accounts: int
    merchants: int
    seed: int
    seconds: float
    prefix: str
    clients: int = 1
    batch: int = 1


class Done(Struct, frozen=True):
    """What came of it: payments a second once warm, how many succeeded in all, and were refused."""

    rate: float
    paid: int
    refused: int


class _Counter:
    """Counts one client's payments; those before `begin` are warming up."""

    def __init__(self) -> None:
        self.paid = 0
        self.refused = 0
        self.measured = 0


def run(plan: Plan) -> Done:
    """Make one round."""
    payers = choose_payers(plan.mix, plan.accounts, plan.seed)
    counters = [_Counter() for _ in range(plan.clients)]
    client = _row_locks if plan.form == "row_locks" else _many
    ready = threading.Barrier(plan.clients)
    ended = [0.0] * plan.clients
    begun = [0.0] * plan.clients

    def live(number: int) -> None:
        try:
            pay_until_over(number)
        except BaseException:
            ready.abort()  # or the others would wait for it
            raise

    def pay_until_over(number: int) -> None:
        connection = psycopg.connect(plan.database, autocommit=plan.form != "row_locks")
        with connection:
            once = client(plan, connection, payers, number, counters[number])
            until = time.perf_counter() + _WARM_S
            while time.perf_counter() < until:
                once()
            ready.wait()
            begun[number] = time.perf_counter()
            before = counters[number].paid
            while time.perf_counter() < begun[number] + plan.seconds:
                once()
            ended[number] = time.perf_counter()
            counters[number].measured = counters[number].paid - before

    threads = [threading.Thread(target=live, args=(n,)) for n in range(plan.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not all(ended):
        raise SystemExit(1)  # a thread died, and said why
    measured = sum(each.measured for each in counters)
    return Done(
        measured / (max(ended) - min(begun)),
        sum(each.paid for each in counters),
        sum(each.refused for each in counters),
    )


def _row_locks(
    plan: Plan,
    connection: psycopg.Connection,
    payers: Sequence[int],
    number: int,
    counter: _Counter,
) -> Callable[[], None]:
    asked = _asked(plan, payers, number)

    def once() -> None:
        if pay(connection, asked()).answer == "paid":
            counter.paid += 1
        else:
            counter.refused += 1

    return once


def _many(
    plan: Plan,
    connection: psycopg.Connection,
    payers: Sequence[int],
    number: int,
    counter: _Counter,
) -> Callable[[], None]:
    asked = _asked(plan, payers, number)

    def once() -> None:
        columns = [
            list(column) for column in zip(*(asked() for _ in range(plan.batch)), strict=True)
        ]
        row = connection.execute(_MANY[plan.form], columns, prepare=True).fetchone()
        assert row is not None
        counter.paid += row[0]
        counter.refused += plan.batch - row[0]

    return once


def _asked(plan: Plan, payers: Sequence[int], number: int) -> Callable[[], Asked]:
    """Return what makes one client's next payment; clients begin at different payers."""
    at = len(payers) // plan.clients * number
    orders = 0

    def following() -> Asked:
        nonlocal orders
        orders += 1
        payer = payers[(at + orders) % len(payers)]
        return Asked(
            merchant_no(payer % plan.merchants),
            f"{plan.prefix}-{number:03d}-{orders:09d}",
            account_no(payer),
            AMOUNT_MINOR,
            CURRENCY,
        )

    return following


if __name__ == "__main__":
    report(run(msgspec.json.decode(tie_to_parent().get(), type=Plan)))
