"""One PL/pgSQL function called by pgbench: PostgreSQL's best case, with next to no client at all.

pgbench is PostgreSQL's own load generator, in C; each payment is one round trip on a prepared
statement, committed by itself. Its first second brings connections, plans and caches up and is not
counted. It draws its payers itself, from the same distributions as our driver.
"""

import os
import re
import subprocess
import tempfile
from math import gcd
from pathlib import Path
from typing import Final
from zlib import crc32

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.bulk import CURRENCY
from bench.engine_bench import ZIPF_S, Mix
from gateway import exits
from gateway.exits import CommandError

_FIRST: Final = re.compile(r"^progress: ([\d.]+) s, ([\d.]+) tps", re.MULTILINE)
_ALL: Final = re.compile(r"^tps = ([\d.]+) \(without initial connection time\)", re.MULTILINE)
_PROCESSED: Final = re.compile(r"^number of transactions actually processed: (\d+)", re.MULTILINE)
_FAILED: Final = re.compile(r"^number of failed transactions: ([1-9]\d*)", re.MULTILINE)
_EXACT: Final = 2
"""So many of Zipf's ranks are drawn by their exact probability, the others by a continuous curve
through the middles between ranks, which is right to 2 % from there on."""


def script(mix: Mix, accounts: int, merchants: int) -> str:
    """Return what each client of pgbench does over and over: draw a payer, pay its merchant."""
    lines = [
        "\\set seq :seq + 1",
        *draw(mix, accounts),
        f"\\set merchant :payer % {merchants}",
        "SELECT answer FROM pay('M' || lpad(:merchant::text, 5, '0'), "
        ":prefix || '-' || lpad(:client_id::text, 3, '0') || '-' || lpad(:seq::text, 9, '0'), "
        f"'6217' || lpad(:payer::text, 12, '0'), 100, '{CURRENCY}');",
    ]
    return "\n".join(lines) + "\n"


def draw(mix: Mix, accounts: int) -> list[str]:
    """Return the lines that set `payer` to the index of an account."""
    if mix == "zipf":
        return _zipf(accounts)
    return [f"\\set payer random(0, {accounts - 1})"]


def _zipf(accounts: int) -> list[str]:
    """Return the lines that draw a rank by Zipf and take the account that has it.

    pgbench's own random_zipfian takes no s below 1.001. From rank 3 on the rank is the integral's
    inverse, x**(1-s); which account has a rank is a multiplication that hits each account once, as
    ours are shuffled.
    """
    exact = [rank**-ZIPF_S for rank in range(1, _EXACT + 1)]
    power = 1 - ZIPF_S
    low, high = (_EXACT + 0.5) ** power, (accounts + 0.5) ** power
    total = sum(exact) + (high - low) / power
    first, second = exact[0] / total, sum(exact) / total
    return [
        "\\set u random(0, 1000000000) / 1000000000.0",
        f"\\set v (:u - {second:.12f}) / {1 - second:.12f}",
        f"\\set x pow({low:.12f} + greatest(:v, 0.0) * {high - low:.12f}, {1 / power:.6f}) + 0.5",
        # Whether int() cuts or rounds depends on pgbench's version: this cuts.
        "\\set floor CASE WHEN int(:x) > :x THEN int(:x) - 1 ELSE int(:x) END",
        f"\\set rank CASE WHEN :u < {first:.12f} THEN 1 WHEN :u < {second:.12f} THEN 2 "
        "ELSE :floor END",
        f"\\set payer (least(:rank, {accounts}) - 1) * {_step(accounts)} % {accounts}",
    ]


def _step(accounts: int) -> int:
    """Return a number without a factor in common with `accounts`, about 0.6 times as large."""
    step = accounts * 61_803 // 100_000 | 1
    while gcd(step, accounts) > 1:
        step += 2
    return step


def run(
    pgbench: Path,
    database: str,
    mix: Mix,
    accounts: int,
    merchants: int,
    *,
    clients: int,
    seconds: int,
    prefix: str,
    seed: int,
) -> tuple[float, int]:
    """Pay for some whole seconds after one of warming up.

    Args:
        database: how libpq finds it.
        prefix: begins every order number, so that rounds never repeat one.
        seed: of the choice of payers, which differs from round to round.

    Returns:
        Payments a second, and how many were made in all.

    Raises:
        CommandError: pgbench failed, or a payment did.
    """
    # Arguments are for everyone to read; a password is not.
    parts = conninfo_to_dict(database)
    password = parts.pop("password", None)
    environment = os.environ | ({"PGPASSWORD": str(password)} if password else {})
    with tempfile.NamedTemporaryFile("w", prefix="piaohao-", suffix=".pgbench") as file:
        file.write(script(mix, accounts, merchants))
        file.flush()
        ended = subprocess.run(
            [
                *(str(pgbench), "--no-vacuum", "--protocol=prepared", f"--file={file.name}"),
                *(f"--client={clients}", f"--jobs={min(clients, os.cpu_count() or 1)}"),
                *(f"--time={seconds + 1}", "--progress=1"),
                f"--random-seed={crc32(prefix.encode()) ^ seed}",
                *("--define=seq=0", f"--define=prefix={prefix}"),
                make_conninfo("", **parts),
            ],
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to answer, once the round is over
            capture_output=True,
            text=True,
            check=False,
        )
    said = ended.stdout + ended.stderr
    processed, all_ = _PROCESSED.search(said), _ALL.search(said)
    if ended.returncode or processed is None or all_ is None or _FAILED.search(said):
        last = (said.strip() or "it says nothing").splitlines()[-1]
        raise CommandError(exits.CHECK_FAILED, f"pgbench: {last}")
    return _once_warm(int(processed[1]), float(all_[1]), _FIRST.search(said)), int(processed[1])


def _once_warm(processed: int, rate: float, first: re.Match[str] | None) -> float:
    """Return the rate since the first report of progress: all that was done, less that."""
    if first is None or not rate:
        return rate  # so late on a busy machine that there was none
    first_s = float(first[1])
    seconds = processed / rate - first_s
    return (processed - first_s * float(first[2])) / seconds if seconds > 0.1 else rate
