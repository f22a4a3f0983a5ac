"""`piaohao simulate`: run the engine through years of trouble on virtual time, from a seed."""

import random
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from gateway.commands.whole import Shards, whole
from gateway.exits import INPUT, OK, CommandError

app = App(name="piaohao simulate", version_flags=())


@app.default
def simulate(
    *,
    seed: Annotated[
        int | None, Parameter(converter=whole, validator=validators.Number(gte=0))
    ] = None,
    steps: Annotated[
        int, Parameter(converter=whole, validator=validators.Number(gte=0, lte=1_000_000))
    ] = 300,
    shards: Shards | None = None,
    minutes: Annotated[float, Parameter(validator=validators.Number(gt=0))] | None = None,
    mutant: str | None = None,
    list_mutants: Annotated[bool, Parameter(negative=())] = False,
    trace: Path | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Run the engine through years of trouble on virtual time, from a seed.

    The real engine and the real actors, with a simulated store, links and clients: crashes, failed
    commits, full and slow disks, lost and late messages, clients that leave and come again,
    clocks that are set, actors that raise. What must hold is checked after every commit, and in
    the end everything has to finish. The same seed gives the same run, everywhere. A failing run
    prints the shortest prefix that fails and how to see it again. Exit code 1 if one failed.

    Example: piaohao simulate --seed 7 --trace trace.txt

    Parameters
    ----------
    seed:
        Where all chance comes from; a fresh one, which is printed, if not given.
    steps:
        How many steps the clients take, all together.
    shards:
        Shards of the node; 1 to 3, as the seed has it, if not given.
    minutes:
        Go on with the next seeds for so long, or until one fails.
    mutant:
        Put this deliberate bug in, and go on with the next seeds until it is found.
    list_mutants:
        Print the names of all deliberate bugs, one a line.
    trace:
        Write all that happens to this file.
    json:
        Print one JSON object for each seed.
    """
    from bench.simulator.hunt import Options, run
    from bench.simulator.mutants import MUTANTS

    if list_mutants:
        sys.stdout.writelines(f"{name}\n" for name in MUTANTS)
        return OK
    if mutant is not None and mutant not in MUTANTS:
        known = "`piaohao simulate --list-mutants` lists them"
        raise CommandError(INPUT, f"there is no mutant {mutant!r}; {known}")
    return run(
        Options(
            seed=random.SystemRandom().randrange(10**9) if seed is None else seed,
            steps=steps,
            shards=shards or 0,
            minutes=minutes or 0.0,
            mutant=None if mutant is None else MUTANTS[mutant],
            trace=trace,
            json=json,
        )
    )
