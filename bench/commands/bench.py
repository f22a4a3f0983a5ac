"""`piaohao bench`: measure engine, gateway or signatures, compare, and report what was measured."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from bench.commands import compare, reports, run
from gateway.commands.whole import Count, Shards, Whole

app = App(name="piaohao bench", help_format="plaintext", version_flags=())
app.command(compare.app)
app.command(run.app)
app.command(reports.report_app)
app.command(reports.diff_app)


@app.command
def engine(
    *,
    mix: Literal["uniform", "zipf", "hot"] = "uniform",
    accounts: Count = 100_000,
    merchants: Count = 1_000,
    in_flight: Count = 1_024,
    batch: Count = 1,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 10.0,
    rounds: Count = 5,
    seed: Whole = 1,
    never_idle: Annotated[bool, Parameter(negative=())] = False,
    shards: Shards = 1,
    actors_max: Count = 200_000,
    skip_verify: Annotated[bool, Parameter(negative=())] = False,
    marks: Whole = 0,
    data: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Drive the engine in-process with agreement payments, durable before they are answered.

    Rounds of the engine alternate with rounds of a bare loop (the floor) on the same disk.

    Example: piaohao bench engine --mix hot --in-flight 1024 --json

    Parameters
    ----------
    mix:
        Who pays: `uniform`, `zipf` (s = 0.99), or `hot`: uniform payers, one merchant.
    accounts:
        Payers in the store.
    merchants:
        Merchants; payer n pays merchant n modulo this.
    in_flight:
        Payments under way at once.
    batch:
        How many of them are submitted together.
    seconds:
        Measured time of the engine, all rounds together.
    rounds:
        Into how many rounds the time is divided.
    seed:
        Seeds the choice of payers.
    never_idle:
        After each round another one beside a Trio task that is always runnable.
    shards:
        Shards of the store that is made; a store in --data has its own.
    actors_max:
        Actors that each shard keeps in memory while they are idle.
    skip_verify:
        Do not verify the store at the end: ten million accounts take minutes.
    marks:
        After each round another one whose commands have marks, kept for so many seconds.
    data:
        Folder of a store filled by `piaohao bench fill`; without it one is made and removed.
    json:
        Print one JSON object.
    """
    from bench import engine_run
    from bench.engine_bench import Settings

    settings = Settings(
        mix=mix,
        accounts=accounts,
        merchants=merchants,
        in_flight=in_flight,
        batch=batch,
        seconds=seconds,
        rounds=rounds,
        seed=seed,
        never_idle=never_idle,
        shards=shards,
        actors_max=actors_max,
        skip_verify=skip_verify,
        marks_s=marks,
    )
    return engine_run.run(settings, data, as_json=json)


@app.command
def gateway(
    *,
    transport: tuple[str, ...] = ("express",),
    batch: Count = 1,
    connections: Count = 32,
    depth: Count = 1,
    clients: Count = 1,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 10.0,
    rounds: Count = 5,
    warm_up: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 2.0,
    mix: Literal["uniform", "zipf", "hot"] = "uniform",
    accounts: Count = 100_000,
    merchants: Count = 100,
    shards: Shards = 1,
    seed: Whole = 1,
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    no_engine: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Drive a node over sockets with signed payments, durable before they are answered.

    The node is a process of its own with keys and a store made for the run; clients are others.
    Rounds of the engine in-process and of each transport take turns. Exit code 1 if the store does
    not hold what the clients were told.

    Example: piaohao bench gateway --transport express,hypercorn --connections 32 --json

    Parameters
    ----------
    transport:
        `express`, `hypercorn` or `websocket`; several with commas between them, or as often.
    batch:
        Payments in a request, or in a frame of a stream; 1 for requests of one payment each.
    connections:
        How many there are; each pays one merchant, and pays again when it was answered.
    depth:
        Frames of a stream that may be unanswered.
    clients:
        Client processes.
    seconds:
        Measured time of each transport, all rounds together.
    rounds:
        Into how many rounds the time is divided.
    warm_up:
        Seconds of a first round that is not counted.
    mix:
        Which of a merchant's customers pay: `uniform` or `zipf` (s = 0.99); or `hot`: one merchant.
    accounts:
        Payers in the store.
    merchants:
        Merchants; connection n signs as merchant n modulo this.
    shards:
        Shards of the store.
    seed:
        Seeds the choice of payers.
    unsigned:
        Sign nothing, on either side.
    no_engine:
        Leave out the engine in-process.
    json:
        Print one JSON object a line, one for each transport.
    """
    from bench import gateway_bench

    settings = gateway_bench.Settings(
        gateway_bench.transports(transport),
        batch=batch,
        connections=connections,
        depth=depth,
        clients=clients,
        seconds=seconds,
        rounds=rounds,
        warm_up_s=warm_up,
        mix=mix,
        accounts=accounts,
        merchants=merchants,
        shards=shards,
        seed=seed,
        signed=not unsigned,
        engine=not no_engine,
    )
    return gateway_bench.run(settings, as_json=json)


@app.command
def fill(
    *,
    data: Path,
    accounts: Count,
    merchants: Count = 1_000,
    paid: Annotated[bool, Parameter(negative=())] = False,
    shards: Shards = 1,
) -> int:
    """Fill a new store with funded accounts and their agreements, in bulk.

    Example: piaohao bench fill --data aged --accounts 10000000 --paid

    Parameters
    ----------
    data:
        Folder for the new store.
    accounts:
        How many accounts, each with an agreement with one merchant.
    merchants:
        How many merchants.
    paid:
        Every account has paid once already.
    shards:
        How many shards the store has.
    """
    from bench import engine_run

    return engine_run.fill(data, accounts, merchants, paid=paid, shards=shards)


@app.command
def soak(
    *,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 3_600.0,
    accounts: Count = 100_000,
    merchants: Count = 1_000,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Drive the engine for a long time and see whether its memory stays flat.

    Example: piaohao bench soak --seconds 3600

    Parameters
    ----------
    seconds:
        How long.
    accounts:
        Payers in the store; the engine keeps 10,000 actors in memory.
    merchants:
        Merchants in the store.
    json:
        Print one JSON object.
    """
    from bench import engine_run

    return engine_run.soak(accounts, merchants, seconds, as_json=json)


@app.command
def overload(
    *,
    transport: Literal["express", "hypercorn", "websocket"] = "express",
    batch: Count = 100,
    times: Count = 10,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 60.0,
    full_seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 20.0,
    accounts: Count = 5_000,
    merchants: Count = 100,
    shards: Shards = 1,
    clients: Count = 1,
    unsigned: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Have ten times as many callers call a node as it can serve, and see what becomes of it.

    The node is a process of its own, called over sockets by callers who do not heed Retry-After.
    Exit code 1 if memory grows, if a refusal does not say when to come again, if a wrong signature
    keeps the node from saying 503, if the accepted wait more than twice as long as at full load
    (p99), if full speed is not back within 2 s, or if the store and what the callers were told
    differ.

    Example: piaohao bench overload --transport express --batch 100 --times 3 --json

    Parameters
    ----------
    transport:
        `express`, `hypercorn` or `websocket`.
    batch:
        Payments in a request, or in a frame of a stream; 1 for requests of one payment each.
    times:
        How many times as many callers as the node takes on.
    seconds:
        How long the overload lasts.
    full_seconds:
        How long the full load lasts before it, and after it.
    accounts:
        Payers in the store: few enough to be all in memory before the overload begins.
    merchants:
        Merchants in the store.
    shards:
        How many shards the store has.
    clients:
        Client processes.
    unsigned:
        Sign nothing, on either side.
    json:
        Print one JSON object.
    """
    from bench.overload import Settings, run

    settings = Settings(
        transport,
        batch=batch,
        times=times,
        seconds=seconds,
        full_seconds=full_seconds,
        accounts=accounts,
        merchants=merchants,
        shards=shards,
        clients=clients,
        signed=not unsigned,
    )
    return run(settings, as_json=json)


@app.command
def look(
    *,
    pages: tuple[str, ...] = ("actor",),
    transport: Literal["express", "hypercorn", "websocket"] = "express",
    batch: Count = 100,
    connections: Count = 32,
    clients: Count = 1,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 4.0,
    pairs: Count = 12,
    accounts: Count = 100_000,
    seed: Whole = 1,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure what it costs the callers of a hot merchant that an operator's console is open.

    Rounds with and without somebody who looks take turns. Exit code 1 if more than a twentieth of
    the payments a second is shown to be lost, or the store does not hold what callers were told.

    Example: piaohao bench look --pages actor,overview --batch 1

    Parameters
    ----------
    pages:
        `actor` (the hot merchant's), `overview`, `actors`, `shards`, `dead-letters`; several with
        commas between them.
    transport:
        `express`, `hypercorn` or `websocket`.
    batch:
        Payments in a request, or in a frame of a stream; 1 for requests of one payment each.
    connections:
        How many there are; each pays again when it was answered.
    clients:
        Client processes.
    seconds:
        Measured time of a round.
    pairs:
        Of rounds; another one before them is not counted.
    accounts:
        Payers in the store.
    seed:
        Seeds the choice of payers.
    json:
        Print one JSON object.
    """
    from bench import looking

    settings = looking.Settings(
        looking.pages(pages),
        transport,
        batch=batch,
        connections=connections,
        clients=clients,
        seconds=seconds,
        pairs=pairs,
        accounts=accounts,
        seed=seed,
    )
    return looking.run(settings, as_json=json)


@app.command
def signatures(
    *,
    seconds: Annotated[float, Parameter(validator=validators.Number(gt=0))] = 6.0,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Measure what signing and verifying cost above the bare primitive, in µs of CPU.

    A request with a body of 300 bytes, for each algorithm; the gate's whole cost, on a store with
    10,000 certificates; http-message-signatures beside it where that is installed.

    Example: piaohao bench signatures --seconds 30

    Parameters
    ----------
    seconds:
        How long, all algorithms together.
    json:
        Print one JSON object.
    """
    from bench import signatures_bench

    return signatures_bench.run(seconds, as_json=json)
