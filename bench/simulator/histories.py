"""Histories: what clients asked and saw, per account and merchant, for the serializability checker."""

from typing import Any

from msgspec import Struct

from actors.kinds import ACCOUNT, MERCHANT
from engine.node import Node
from gateway.lookup import state_of


class Reading(Struct, frozen=True):
    """What somebody read of an account or a merchant at one instant."""

    number: str
    at: float
    posted_minor: int
    held_minor: int

    @classmethod
    def of(cls, node: Node, number: str, at: float) -> "Reading":
        """Read, as the gateway does, what is durable."""
        kind = MERCHANT if number.startswith("M") else ACCOUNT
        state = state_of(node, kind, number)
        return cls(number, at, state.posted_minor, getattr(state, "held_minor", 0))


def check_histories(world: Any, readings: list[Reading]) -> None:
    """Check them all."""
