"""`piaohao bench run`: drive a target with a workload, and write down what was seen."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from gateway.commands.whole import Count, Shards, Whole

app = App(name="run", help_format="plaintext", version_flags=())


@app.default
def run(
    workload: Literal["payments", "lifecycle", "smallbank", "tpcb", "burst", "cold", "overload"],
    /,
    *,
    target: Literal["engine", "express", "hypercorn", "websocket"] = "engine",
    payers: Literal["uniform", "zipf"] = "uniform",
    payees: Literal["uniform", "zipf", "one"] = "uniform",
    accounts: Count | None = None,
    merchants: Count | None = None,
    shards: Shards | None = None,
    data: Path | None = None,
    copy: Annotated[bool, Parameter(negative=())] = False,
    in_place: Annotated[bool, Parameter(negative=())] = False,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 30.0,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 3.0,
    seed: Whole = 1,
    rate: Annotated[float, Parameter(validator=validators.Number(gt=0))] | None = None,
    in_flight: Count | None = None,
    connections: Count | None = None,
    depth: Count = 1,
    batch: Count | None = None,
    clients: Count = 1,
    order_numbers: Literal["sequential", "random"] = "sequential",
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    skip_verify: Annotated[bool, Parameter(negative=())] = False,
    actors_max: Count | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Drive a target with a workload, and write down everything that a sceptic would ask for.

    A closed loop, or with --rate an open one: operations come by a Poisson process, and a latency
    counts from when one came, not from when somebody was free to send it. In the end the store is
    verified and held against what the clients were told; exit code 1 if they differ. What each
    workload does, and how the result is read, stands in docs/BENCHMARKS.md.

    Example: piaohao bench run payments --target express --rate 500 --seconds 60

    Parameters
    ----------
    workload:
        `payments`, `lifecycle`, `smallbank`, `tpcb`, `burst`, `cold` or `overload`.
    target:
        The `engine` in this process, or a node in one of its own, called over `express`,
        `hypercorn` or `websocket`.
    payers:
        Who pays: `uniform`, or `zipf` (s = 0.99).
    payees:
        Who is paid: `uniform`, `zipf`, or `one` for all.
    accounts:
        Accounts of the store that is made (100,000): payers, or customers of a bank.
    merchants:
        Its merchants (1,000 for the engine, 100 for others).
    shards:
        Its shards (1).
    data:
        A store of `piaohao bench fill` to begin with, in place of one that is made.
    copy:
        Run on a copy of it, whatever its size; by default up to 2 GiB.
    in_place:
        Run on it itself, which changes it; by default above 2 GiB.
    seconds:
        How long is measured.
    warm_up:
        Seconds before that, under the same load.
    seed:
        Seeds all choices, and arrivals.
    rate:
        Operations a second that come: an open loop. For `burst` the quiet rate.
    in_flight:
        Operations under way at once in the engine (1,024), in a closed loop.
    connections:
        Connections to a node (32; in an open loop 128).
    depth:
        Frames of a stream that may be unanswered.
    batch:
        Operations submitted, or sent in a request or frame, together (1).
    clients:
        Client processes.
    order_numbers:
        `sequential` ones, with the date, or `random` ones.
    unsigned:
        Sign nothing, on either side.
    skip_verify:
        Do not verify the store: ten million accounts take minutes. What was told is compared.
    actors_max:
        Actors that the engine keeps in memory while they are idle (200,000).
    out:
        The file to write; by default one named by time, workload and target, in this folder.
    json:
        Print the result on stdout, and not a table.
    """
    from bench.runs import run as running
    from bench.runs.settings import Settings, kept

    settings = Settings(
        workload=workload,
        target=target,
        payers=payers,
        payees=payees,
        accounts=accounts or 0,
        merchants=merchants or 0,
        shards=shards or 0,
        data=data,
        keep=kept(copy=copy, in_place=in_place),
        seconds=seconds,
        warm_up_s=warm_up,
        seed=seed,
        rate=rate or 0.0,
        in_flight=in_flight or 0,
        connections=connections or 0,
        depth=depth,
        batch=batch or 0,
        clients=clients,
        order_numbers=order_numbers,
        signed=not unsigned,
        verify=not skip_verify,
        actors_max=actors_max or 0,
    )
    return running.run(settings, out, as_json=json)
