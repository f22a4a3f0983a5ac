"""`piaohao demo`: replay a year of real shopping, and prove that no cent was lost."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gateway.commands.whole import Count, Shards

app = App(name="piaohao demo", version_flags=())


@app.default
def demo(
    *,
    data: Path | None = None,
    limit: Count | None = None,
    shards: Shards | None = None,
    exit_: Annotated[bool, Parameter(name="--exit", negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Replay a year of real shopping, and prove that no cent was lost.

    It starts a node here and a client in a process of its own, which opens an account for every
    household and a merchant for every store of Complete Journey, 155,848 baskets of the year
    2017, and pays them basket by basket through the gateway, 365 day cuts included. Killed at
    any moment and started again with the same --data, it goes on from what the store holds. The
    node stays up afterwards until Ctrl-C, and all the while there is a console to look into it:
    its address is printed, with the name and the password of somebody who may look.

    Example: piaohao demo --data bank --limit 3000 --exit

    Parameters
    ----------
    data:
        Folder of the store, made if need be; a fresh temporary one otherwise.
    limit:
        Replay the first N baskets only.
    shards:
        Shards of the store that is made, 1 if not given; one that is there has its own.
    exit_:
        End when everything is replayed and verified.
    json:
        Print one JSON object on stdout, and all else on stderr.
    """
    from bench.demo import Options, run

    return run(Options(data=data, limit=limit, stay=not exit_, json=json, shards=shards))
