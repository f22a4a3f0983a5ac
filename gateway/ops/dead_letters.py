"""Rows of dead letters: messages whose turn failed, parked until an operator decides.

They are listed as of the last commit, shard by shard in the order of their keys, so those of one
actor stand together, first in, first out.
"""

from itertools import islice
from typing import Annotated, Final

from msgspec import Meta, Struct

from engine.parking import open_row
from gateway.answer import Answer
from gateway.lookup import opened_cursor, sealed_cursor
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.masking import Reason, eyes_of
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.row import PARKED


class ListDeadLetters(Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters.

    Attributes:
        reason: why personal data has to be seen; without, it is masked.
    """

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(min_length=1, max_length=140)] | None = None
    reason: Reason | None = None


class DeadLetterView(Struct, frozen=True, tag_field="object", tag="dead_letter"):
    """A message whose turn failed.

    Attributes:
        id: names it, for as long as it is parked.
        message: its type.
        attempts: turns that were begun with it by recovery.
        error: why the turn failed, or that it waits behind an earlier one.
    """

    id: str
    shard: int
    address: str
    sender: str
    message: str
    business_date: str
    amount_minor: int
    currency: str
    attempts: int
    error: str


class DeadLetterPage(Struct, frozen=True):
    """A page of dead letters; `next_cursor` asks for what follows, null at the end."""

    items: list[DeadLetterView]
    next_cursor: str | None


async def list_dead_letters(desk: OpsDesk, visitor: Visitor, asked: ListDeadLetters) -> Answer:
    """Return messages that wait for an operator because their turn failed."""
    eyes = eyes_of(visitor, asked.reason)
    after = b"\0" if asked.cursor is None else opened_cursor(asked.cursor)
    first = min(after[0], len(desk.node.shards))
    items: list[DeadLetterView] = []
    for shard in desk.node.shards[first:]:
        number = shard.stage.number
        start = after[1:] + b"\0" if number == after[0] and len(after) > 1 else b""
        snapshot = shard.store.snapshot()
        try:
            rows = list(islice(snapshot.scan(PARKED, start), asked.limit + 1 - len(items)))
        finally:
            snapshot.close()
        for key, payload in rows:
            row = open_row(PARKED, key, payload)
            items.append(
                DeadLetterView(
                    id=sealed_cursor(bytes([number]) + key),
                    shard=number,
                    address=row.to,
                    sender=eyes.address(row.sender, row.to),
                    message=type(desk.node.kinds.opened(row).body).__name__,
                    business_date=row.business_date,
                    amount_minor=row.amount_minor,
                    currency=row.currency,
                    attempts=row.attempts,
                    error=eyes.error(row.error),
                )
            )
    more = len(items) > asked.limit
    page = items[: asked.limit]
    return Answer(200, DeadLetterPage(page, page[-1].id if more else None))


ROWS: Final = (
    read("/ops/dead-letters", ListDeadLetters, list_dead_letters, Right.LOOK, DeadLetterPage),
)
