"""`piaohao bench compare`: the same payments on another system, in turn on the same machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from gateway.commands.whole import Whole, whole

Pairs = Annotated[int, Parameter(converter=whole, validator=validators.Number(gte=2))]

app = App(name="compare", help_format="plaintext", version_flags=())


@app.command
def postgres(
    *,
    quick: Annotated[bool, Parameter(negative=())] = False,
    strict: Annotated[bool, Parameter(negative=())] = False,
    url: str | None = None,
    data: Path | None = None,
    seed: Whole = 1,
    pairs: Pairs | None = None,
    out: Path | None = None,
    profile: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Compare with PostgreSQL: a function through pgbench, row locks, sets, and a web service.

    Rounds of ours and of PostgreSQL's alternate on the same disk; ratios are by pair, with a 95 %
    interval. It is durable as it is shipped, and tuned as its users would; what each side does
    stands in docs/BENCHMARKS.md. A cluster is made in a temporary folder and removed at the end.

    Example: piaohao bench compare postgres --quick

    Parameters
    ----------
    quick:
        10,000 accounts and short rounds: under five minutes, wider intervals, and without the
        rows that take 10,000,000 accounts.
    strict:
        Exit code 1 if ours is not as many times as fast as it has to be at least.
    url:
        Use this server (a libpq URL), in databases that are dropped at the end, and not one of
        our own; it should be on this machine and this disk.
    data:
        Folder in which both sides make their temporary folders, /var/tmp if not given. A full run
        leaves its store of 10,000,000 accounts there (9 GB) for the next one.
    seed:
        Seeds the choice of payers.
    pairs:
        Rounds of each side, at least 2: fewer take less time and give wider intervals. 10 if not
        given, 4 with --quick.
    out:
        Write everything to this file, as JSON: the rows, each round with what others took of the
        machine meanwhile, machine, versions, settings. It is written again after each part.
    profile:
        Keep a flame graph of ours for each row in this folder, from a round that does not count.
    json:
        Print a JSON array; what PostgreSQL has set goes to standard error.
    """
    from bench.peers.packages import check_packages

    check_packages()
    from bench.peers import compare
    from bench.peers.plan import settings

    chosen = settings(quick=quick, seed=seed, pairs=pairs)
    return compare.run(chosen, url, data, strict=strict, json=json, out=out, profiles=profile)
