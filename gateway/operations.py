"""Operations: what operators ask of a store, whether a node is running on it or not.

Those that only read run on a snapshot, on a running node in a worker thread. Those that act need
the engine and therefore a running node. Each is a typed request with a typed result, the same
over the control socket and in the command's own process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Raw, Struct

from engine.control import Control, DiscardParked, ReleaseParked
from engine.dates import CutDay
from engine.parking import decode_stored
from gateway.exporting import What, export
from gateway.ops import audit_log
from gateway.ops.audit_log import Kept
from gateway.ops.office import Office
from gateway.verification import Report, verify
from storage.cabinet import CabinetView
from storage.errors import StorageError
from storage.folder import backup
from storage.journal import newest_commit
from storage.lmdb_store import LmdbStore
from storage.row import PARKED
from storage.store import Snapshot


class Operation(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do"):
    """Base of all requests."""


class Verify(Operation, frozen=True, tag="verify"):
    """Check everything that must hold."""


class Export(Operation, frozen=True, tag="export"):
    """Write one kind of thing as CSV to the absolute path `out`."""

    what: What
    out: str


class Backup(Operation, frozen=True, tag="backup"):
    """Write a consistent copy into the new folder `out`, an absolute path."""

    out: str


class ListParked(Operation, frozen=True, tag="list_parked"):
    """List what actors' failed turns have left behind."""


class Cut(Operation, frozen=True, tag="cut_day"):
    """Close a business date."""

    business_date: str


class Release(Operation, frozen=True, tag="release_parked"):
    """Give the parked messages of an actor their turns again."""

    address: str


class Discard(Operation, frozen=True, tag="discard_parked"):
    """Give up the first parked message of an actor: what waits for it comes to nothing."""

    address: str


class ShowVitals(Operation, frozen=True, tag="vital_signs"):
    """Show how each shard of the running node is (`engine.inspection.VitalSigns`).

    Attributes:
        after: by shard, the commit after which commits are looked at; none for the last thousand.
    """

    after: tuple[int, ...] = ()


class TakePulse(Operation, frozen=True, tag="take_pulse"):
    """Measure the running node (`gateway.ops.vitals.NodeVitals`) since this connection last asked.

    The first answer of a connection is null: nothing was measured before.
    """


class Call(Operation, frozen=True, tag="call"):
    """Ask the API for something, as the bank itself: whoever may open the socket is trusted.

    Attributes:
        path: with the query, if any.
        body: JSON, empty for none.
    """

    method: Literal["GET", "POST"]
    path: str
    body: str = ""


Reading = Verify | Export | Backup | ListParked
Acting = Cut | Release | Discard


class Exported(Struct, frozen=True):
    """An export that was written."""

    what: What
    out: str
    rows: int


class BackedUp(Struct, frozen=True):
    """A backup that was written.

    Attributes:
        durable_seq: the newest commit of each shard in it.
        audit: the newest entry of the audit log in it, and the head there; null where there are no
            operators, and so no log.
        fault: why operators or their log are not whole in it; empty where nothing is wrong.
    """

    out: str
    durable_seq: list[int]
    audit: Kept | None = None
    fault: str = ""


class Called(Struct, frozen=True):
    """What the API has answered: a status, and a body in JSON."""

    status: int
    body: Raw


class Parked(Struct, frozen=True):
    """One parked message."""

    address: str
    sender: str
    business_date: str
    amount_minor: int
    currency: str
    error: str


class ParkedList(Struct, frozen=True):
    """Everything that is parked, first in, first out for each actor."""

    parked: list[Parked]


def read(
    stores: Sequence[LmdbStore],
    snapshots: Sequence[Snapshot],
    asked: Reading,
    office: Office,
    check: Callable[[], None] = lambda: None,
) -> Report | Exported | BackedUp | ParkedList:
    """Perform an operation that only reads; may run in any thread.

    Args:
        stores: all shards, in order.
        snapshots: a view of each; they fit together.
        office: of the same folder; a backup holds its cabinet too.
        check: called every now and then; it may raise to break off.

    Raises:
        StorageError: the store, or the backup's folder.
        OSError: the file cannot be written.
    """
    if isinstance(asked, Backup):
        return _back_up(stores, snapshots, Path(asked.out), office)
    if isinstance(asked, Verify):
        return verify(snapshots, check)
    if isinstance(asked, Export):
        rows = export(snapshots, asked.what, Path(asked.out), check)
        return Exported(asked.what, asked.out, rows)
    return ParkedList(
        [_parked(payload) for snapshot in snapshots for _, payload in snapshot.scan(PARKED)]
    )


def _back_up(
    stores: Sequence[LmdbStore], snapshots: Sequence[Snapshot], out: Path, office: Office
) -> BackedUp:
    durable_seqs = [newest_commit(snapshot).sequence for snapshot in snapshots]
    with ExitStack() as stack:
        view: CabinetView | None = None
        audit: Kept | None = None
        fault = ""
        try:
            # After the shards' views: what an operator has had them do is in the log by then.
            if office.exists():
                view = stack.enter_context(office.cabinet.viewing())
                audit = audit_log.newest(view.snapshot)
        except StorageError as error:
            fault = str(error)
        left_out = backup(stores, snapshots, out, view)
    return BackedUp(str(out), durable_seqs, None if left_out else audit, left_out or fault)


@contextmanager
def closing_all(snapshots: list[Snapshot]) -> Iterator[list[Snapshot]]:
    """Close views when they are done with."""
    try:
        yield snapshots
    finally:
        for snapshot in snapshots:
            snapshot.close()


def _parked(payload: bytes) -> Parked:
    row = decode_stored(payload)
    return Parked(row.to, row.sender, row.business_date, row.amount_minor, row.currency, row.error)


def control_of(asked: Acting) -> Control:
    """Return what the engine is to do for an operation that acts."""
    if isinstance(asked, Cut):
        return CutDay(asked.business_date)
    if isinstance(asked, Release):
        return ReleaseParked(asked.address)
    return DiscardParked(asked.address)
