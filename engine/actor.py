"""An actor in memory: its state as of the last turn, and where that state stands.

Actors are activated by their first message and passivated when clean and idle, so this object
is small; millions exist as rows only.
"""

from typing import Any

from msgspec import Struct

from engine import address as addresses
from engine.kind import ActorKind


class Actor:
    """One activated actor.

    Attributes:
        address: `kind/number`.
        number: the part after the slash.
        kind: its handlers and types.
        key: the key of its own row; keys of its records begin with it.
        state: the state after its last turn, durable or not; None while it does not exist.
        staged_seq: the commit that makes its newest change durable, 0 if nothing changed.
        kept: clean records that stay with it (`RecordKind.kept`), None until there is one.
        highest: record tag → the highest key of an ascending record kind, as far as known.
        recent: touched since passivation last looked.
    """

    __slots__ = (
        "address",
        "highest",
        "kept",
        "key",
        "kind",
        "number",
        "recent",
        "staged_seq",
        "state",
    )

    def __init__(self, address: str, kind: ActorKind, state: Any) -> None:
        self.address = address
        self.number = address[len(kind.name) + 1 :]
        self.kind = kind
        self.key = addresses.row_key(address)
        self.state = state
        self.staged_seq = 0
        self.kept: dict[bytes, Struct] | None = None
        self.highest: dict[bytes, bytes] | None = None
        self.recent = True
