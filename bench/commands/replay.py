"""`piaohao replay`: replay a file of payments, row by row, through the gateway."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from gateway.commands.whole import Shards, whole

app = App(name="piaohao replay", version_flags=())


@app.default
def replay(
    file: Path,
    /,
    *,
    data: Path | None = None,
    shards: Shards | None = None,
    refusals: Path | None = None,
    opening_balance_minor: Annotated[
        int, Parameter(converter=whole, validator=validators.Number(gte=0, lte=10**13))
    ] = 100_000_000_000,
    fee_bps: Annotated[
        int, Parameter(converter=whole, validator=validators.Number(gte=0, lte=10_000))
    ] = 0,
    exit_: Annotated[bool, Parameter(name="--exit", negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Replay a file of payments, row by row, through the gateway.

    The file has the columns kind,reference,payer,merchant,amount_minor,currency,time,original;
    kinds are payment, hold, capture, void, release, refund, reversal and transfer. It starts a
    node here and a client in a process of its own, and ends as if each row had been carried out
    by itself, in the order of the file and at the row's time. Rows that are refused or malformed
    are counted and stop nothing. Killed at any moment and started again with the same --data, it
    goes on. The node stays up afterwards until Ctrl-C. See docs/REPLAY.md.

    Example: piaohao replay payments.csv --data bank --refusals refused.csv --exit

    Parameters
    ----------
    file:
        The file, comma-separated values in UTF-8.
    data:
        Folder of the store, made if need be; a fresh temporary one otherwise.
    shards:
        Shards of the store that is made, 1 if not given; one that is there has its own.
    refusals:
        File to list the refused rows in: line,reference,code.
    opening_balance_minor:
        What an account has when it is opened, at the first sight of it.
    fee_bps:
        What merchants pay on payments and captures, in basis points.
    exit_:
        End when everything is replayed and verified.
    json:
        Print one JSON object on stdout, and all else on stderr.
    """
    from bench.replay.run import Options, run

    return run(
        Options(
            file=file,
            data=data,
            shards=shards,
            refusals=refusals,
            opening_balance_minor=opening_balance_minor,
            fee_bps=fee_bps,
            stay=not exit_,
            json=json,
        )
    )
