"""`piaohao restore`: make a store from a backup, with an identity of its own."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="piaohao restore", version_flags=())


@app.default
def restore(
    *,
    backup: Path,
    data: Path,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a store from a backup; the folder must not hold one.

    Example: piaohao restore --backup bank-backup --data bank

    Parameters
    ----------
    backup:
        Folder of the backup; it is only read.
    data:
        Folder to make the store in; made if need be.
    json:
        Print one JSON object.
    """
    from contextlib import closing

    from gateway.commands.printing import give, give_json, shown
    from storage.folder import Folder, release

    with closing(Folder(data, create=True)) as folder:
        folder.restore(backup)
        stores = folder.open()
        durable_seq = [store.last.sequence for store in stores]
        business_date = min(store.last.business_date for store in stores)
        release(stores)
    if json:
        give_json(
            {
                "data": str(data),
                "durable_seq": durable_seq,
                "business_date": business_date,
            }
        )
    else:
        give(f"restored {data} from {backup}, as of commit {shown(durable_seq)}")
