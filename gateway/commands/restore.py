"""`piaohao restore`: make a store from a backup, with an identity of its own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from gateway.ops.audit_log import Audited

app = App(name="piaohao restore", version_flags=())


@app.default
def restore(
    *,
    backup: Path,
    data: Path,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Make a store from a backup; the folder must not hold one.

    Operators are let in as they were then, what they had proposed expires, and their audit log is
    checked. Where it does not hold, or they cannot be used and are left out, the bank is restored
    all the same, and the exit code is 1.

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
    from gateway.exits import CHECK_FAILED, OK
    from storage.folder import Folder, release

    with closing(Folder(data, create=True)) as folder:
        fault = folder.restore(backup)
        stores = folder.open()
        durable_seq = [store.last.sequence for store in stores]
        business_date = min(store.last.business_date for store in stores)
        release(stores)
        audited = _audited(folder.path)
    if audited is not None and not audited.ok:
        fault = f"the audit log has {audited.rows} entries that are sound, then: {audited.fault}"
    kept = None if audited is None else {"rows": audited.rows, "head": audited.head}
    if json:
        give_json(
            {
                "data": str(data),
                "durable_seq": durable_seq,
                "business_date": business_date,
                "audit": kept,
                "fault": fault,
            }
        )
    else:
        give(f"restored {data} from {backup}, as of commit {shown(durable_seq)}")
        if audited is not None and audited.ok:
            log = f"{audited.rows} entries of their audit log, unbroken"
            give(f"with operators, and {log}; keep {audited.rows}:{audited.head}")
        if fault:
            give(f"operators or their audit log are not whole in it: {fault}")
    return CHECK_FAILED if fault else OK


def _audited(data: Path) -> "Audited | None":
    """Let proposals expire and check the audit log of a store that was just made; None where there
    are no operators."""
    import time
    from contextlib import closing, suppress

    from gateway.ops.audit_log import verify
    from gateway.ops.office import Office
    from gateway.ops.proposals import Proposals
    from storage.errors import StorageError

    with closing(Office(data, time.time_ns)) as office:
        if not office.exists():
            return None
        with suppress(StorageError):  # nobody approves anything either where nothing is written
            Proposals(office).lapse()
        with office.cabinet.reading() as snapshot:
            return verify(snapshot)
