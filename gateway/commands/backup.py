"""`piaohao backup`: write a consistent copy of a store, while it is in use or not."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="piaohao backup", version_flags=())


@app.default
def backup(*, data: Path, out: Path, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Write a consistent copy of a store; a running node writes it and goes on serving.

    Operators and their audit log are in it. Where they cannot be read the bank is written without
    them, and the exit code is 1.

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
    from gateway.exits import CHECK_FAILED, OK
    from gateway.operations import Backup
    from gateway.operator import perform

    result = perform(data, Backup(str(out.absolute())))
    if json:
        give_json(result)
    else:
        give(f"wrote a backup to {out}, commit {shown(result['durable_seq'])} and all before it")
        if result["audit"] is not None:
            rows, head = result["audit"]["rows"], result["audit"]["head"]
            give(f"with operators, and {rows} entries of their audit log; keep {rows}:{head}")
        if result["fault"]:
            give(f"operators or their audit log are not whole in it: {result['fault']}")
    return CHECK_FAILED if result["fault"] else OK
