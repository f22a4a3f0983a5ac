"""The peer's databases: made, filled with what our store is filled with, checked, and dropped.

Each mix and size has one of its own, in a cluster of ours or on a server that was named. At the end
no money may have come or gone: `check` says what does not hold.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.bulk import CURRENCY, OPENING_MINOR
from gateway import exits
from gateway.exits import CommandError

SHOWN: Final = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "effective_cache_size",
    "wal_buffers",
    "max_wal_size",
    "wal_compression",
    "wal_level",
    "checkpoint_timeout",
    "max_connections",
    "random_page_cost",
    "jit",
)
"""Settings that a report prints, as the server has them."""

DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
"""What has to be on: nothing is compared with a peer that may lose what it acknowledged."""

_CHECKS: Final = {
    "the sum of all balances is {}, and it was 0": """
        SELECT (SELECT sum(posted_minor) FROM accounts)
            + (SELECT sum(posted_minor + fees_minor) FROM merchants)""",
    "the sum of all postings is {}": "SELECT sum(amount_minor) FROM postings",
    "{} balances are not the sum of their postings": """
        SELECT count(*) FROM (
            SELECT account_no AS account, posted_minor FROM accounts
            UNION ALL SELECT merchant_no || '/receivable', posted_minor FROM merchants
            UNION ALL SELECT merchant_no || '/fees', fees_minor FROM merchants
        ) AS each LEFT JOIN (
            SELECT account, sum(amount_minor) AS posted FROM postings GROUP BY account
        ) AS sums USING (account) WHERE posted_minor <> coalesce(posted, 0)""",
    "{} postings do not continue the one that they name as their account's previous": """
        SELECT count(*) FROM postings p LEFT JOIN postings b ON b.posting_id = p.previous
        WHERE p.balance_minor <> p.amount_minor + coalesce(b.balance_minor, 0)
            OR b.account <> p.account""",
    "{} payments do not have their two postings, or have too many": """
        SELECT abs((SELECT count(*) FROM payments WHERE state = 'SUCCEEDED') * 2
            + (SELECT count(*) FROM payments WHERE state = 'SUCCEEDED' AND fee_minor > 0) * 2
            - (SELECT count(*) FROM postings WHERE reference LIKE 'payment/%'))""",
    "{} merchants have events that are missing, or too many": """
        SELECT count(*) FROM merchants m LEFT JOIN (
            SELECT merchant_no, count(*) AS many FROM events GROUP BY merchant_no
        ) AS e USING (merchant_no) WHERE m.events <> coalesce(e.many, 0)""",
}
"""What does not hold, in words → the figure that has to be 0."""


@contextmanager
def books(server: str, name: str, accounts: int, merchants: int) -> Iterator[str]:
    """Make a database and fill it; yields how libpq finds it, and drops it at the end.

    Args:
        server: how libpq finds a database of the server in which others may be made.
        name: a word that tells this one from the others.
    """
    name = f"piaohao_{name}_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as connection:
        identifier = sql.Identifier(name)
        options = sql.SQL("TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'")
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(identifier, options))
        try:
            database = make_conninfo(server, dbname=name)
            _fill(database, accounts, merchants)
            yield database
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def _fill(database: str, accounts: int, merchants: int) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(resources.files(__package__).joinpath("bank.sql").read_bytes())
        row = (accounts, merchants, OPENING_MINOR, CURRENCY)
        connection.execute("SELECT fill(%s, %s, %s, %s)", row)
        connection.execute("VACUUM ANALYZE")
        # What filling left to be written is written now, and not in the first round.
        connection.execute("CHECKPOINT")


def served(server: str) -> dict[str, str]:
    """Return the server's settings, those of `SHOWN`.

    Raises:
        CommandError: it cannot be reached, or is not durable.
    """
    try:
        with psycopg.connect(server, connect_timeout=10) as connection:
            rows = connection.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
                [list(SHOWN)],
            ).fetchall()
    except psycopg.Error as error:
        said = re.sub(r"\s+", " ", str(error)).strip()
        raise CommandError(exits.INPUT, f"the PostgreSQL at --url does not serve: {said}") from None
    has: dict[str, str] = dict(rows)
    for name in DURABLE:
        if has.get(name) != "on":
            detail = f"{name} is {has.get(name)}: nothing is compared with what may be lost"
            raise CommandError(exits.INPUT, detail)
    return {name: has[name] for name in SHOWN if name in has}


def check(
    database: str, paid: int | None = None, *, connection: psycopg.Connection | None = None
) -> list[str]:
    """Return what does not hold of the books, in words; nothing where all of it does.

    Args:
        paid: how many payments clients were told had succeeded, where that is known.
        connection: to look with, in its transaction; None for one of its own.
    """
    if connection is None:
        with psycopg.connect(database) as own:
            return check(database, paid, connection=own)
    failed = []
    for words, query in _CHECKS.items():
        figure = _figure(connection, query)
        if figure:
            failed.append(words.format(figure))
    if paid is not None:
        there = _figure(connection, "SELECT count(*) FROM payments WHERE state = 'SUCCEEDED'")
        if there != paid:
            failed.append(f"{there} payments are there, and clients were told of {paid}")
    return failed


def _figure(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
