"""`piaohao backup`: write a consistent copy of a store, while it is in use or not."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="piaohao backup", version_flags=())


@app.default
def backup(*, data: Path, out: Path, json: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Write a consistent copy of a store; a running node writes it and goes on serving.

    Example: piaohao backup --data bank --out bank-backup

    Parameters
    ----------
    data:
        Folder of the store.
    out:
        New folder for the copy.
    json:
        Print one JSON object.
    """
    from gateway.commands.printing import give, give_json, shown
    from gateway.operations import Backup
    from gateway.operator import perform

    result = perform(data, Backup(str(out.absolute())))
    if json:
        give_json(result)
    else:
        give(f"wrote a backup to {out}, commit {shown(result['durable_seq'])} and all before it")
