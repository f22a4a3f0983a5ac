"""`piaohao export`: write accounts, merchants, payments, holds, refunds or postings as CSV."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

app = App(name="piaohao export", version_flags=())


@app.default
def export(
    what: Literal["accounts", "merchants", "payments", "holds", "refunds", "postings"],
    /,
    *,
    data: Path,
    out: Path,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write what a store holds as CSV, from one moment; a running node writes it itself.

    Example: piaohao export postings --data bank --out postings.csv

    Parameters
    ----------
    what:
        What to write.
    data:
        Folder of the store.
    out:
        File to write; it appears once it is whole, in place of any that is there.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json
    from gateway.operations import Export
    from gateway.operator import perform

    result = perform(data, Export(what, str(out.absolute())))
    if json:
        give_json(result)
    else:
        give(f"wrote {result['rows']} {what} to {out}")
