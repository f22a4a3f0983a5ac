"""Rows of the audit log: its entries, newest first, whether its chain holds, and who there is."""

from typing import Annotated, Final

import trio
from msgspec import Meta, Struct

from actors.answers import instant
from gateway.answer import Answer
from gateway.handlers.node import Nothing
from gateway.ops import audit_log
from gateway.ops.audit_log import Audited, Entry
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.office import ListOperators, OperatorList
from gateway.ops.operators import Name, Right
from gateway.ops.row import read

READ_MAX: Final = 500
"""Entries that are looked through for a page: a millisecond or so of the event loop."""
_BEYOND: Final = (1 << 63) - 1


class ListEntries(Struct, frozen=True, forbid_unknown_fields=True):
    """Which entries.

    Attributes:
        operator: those of one operator alone.
        cursor: the number before which to go on: `next_cursor` of the page before.
    """

    operator: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1, le=_BEYOND)] | None = None


class EntryView(Struct, frozen=True, tag_field="object", tag="audit_entry"):
    """An entry of the audit log (`gateway.ops.audit_log.Entry`)."""

    sequence: int
    at: str
    operator: str
    role: str
    action: str
    subject: str
    reason: str
    outcome: str
    certificate: str


class EntryPage(Struct, frozen=True):
    """A page of entries, newest first.

    Attributes:
        next_cursor: where the next page begins; null on the last one. A page may be short, or
            empty, and not the last.
    """

    items: list[EntryView]
    next_cursor: int | None


async def list_audit_entries(desk: OpsDesk, visitor: Visitor, asked: ListEntries) -> Answer:
    """Return what operators have seen and done, newest first."""
    items: list[EntryView] = []
    next_cursor = None
    with desk.office.cabinet.reading() as snapshot:
        below = _BEYOND if asked.cursor is None else asked.cursor
        for number, entry in enumerate(audit_log.entries(snapshot, below), 1):
            if len(items) == asked.limit or number > READ_MAX:
                next_cursor = entry.sequence + 1
                break
            if asked.operator is None or entry.operator == asked.operator:
                items.append(_view(entry))
    return Answer(200, EntryPage(items, next_cursor))


async def verify_audit_log(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Check every entry of the audit log and the chain over them."""
    return Answer(200, await desk.office.verify())


async def list_operators(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return all operators, by name."""
    found = await trio.to_thread.run_sync(desk.office.administer, ListOperators(), "")
    return Answer(200, found)


def _view(entry: Entry) -> EntryView:
    return EntryView(
        entry.sequence,
        instant(entry.at_ns),
        entry.operator,
        entry.role,
        entry.action,
        entry.subject,
        entry.reason,
        entry.outcome,
        entry.certificate,
    )


ROWS: Final = (
    read("/ops/audit", ListEntries, list_audit_entries, Right.AUDIT, EntryPage),
    read("/ops/audit/verification", Nothing, verify_audit_log, Right.AUDIT, Audited),
    read("/ops/operators", Nothing, list_operators, Right.ADMINISTER, OperatorList),
)
