"""`piaohao verify`: check that everything holds that must hold."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="piaohao verify", version_flags=())


@app.default
def verify(*, data: Path, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check every row, the journal's hash chain, every balance and every invariant.

    A running node is asked and goes on serving. Exit code 1 says that something does not hold.

    Example: piaohao verify --data bank --json

    Parameters
    ----------
    data:
        Folder of the store.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json
    from gateway.exits import CHECK_FAILED, OK
    from gateway.operations import Verify
    from gateway.operator import perform

    report = perform(data, Verify())
    if json:
        give_json(report)
    else:
        for each in report["violations"]:
            give("{invariant}: {table} {key}: {detail}".format(**each))
        for currency, sums in report["sums"].items():
            give(
                f"{currency}: accounts {sums['accounts']}, messages {sums['messages']}, "
                f"difference {sums['difference']}"
            )
        found = "all holds" if report["ok"] else f"{len(report['violations'])} violations"
        shards = "1 shard" if report["shards"] == 1 else f"{report['shards']} shards"
        give(f"{report['journal_rows']} postings, {shards}: {found}")
    return OK if report["ok"] else CHECK_FAILED
