"""Targets: what an action acts on, as it stands in the last commit.

An approval is of an action in a certain situation. So a proposal remembers how its target was as it
was made, and the node looks again as the action is done: an account that was frozen, opened and
frozen again is not the one that somebody meant to open. Accounts and merchants count the changes
of their status; a quarantined actor is known by what its first dead letter says.
"""

from typing import Any, Final

from actors.kinds import ACCOUNT, MERCHANT
from engine.node import Node
from engine.parking import ParkedId, parked, parked_id
from gateway.lookup import state_of
from gateway.ops.actions import FreezeAccount, StatusAction, UnfreezeAccount

ABSENT: Final = "ABSENT/0"


def seen(node: Node, action: StatusAction) -> str:
    """Return the status of what an action is about and how often it has changed: `FROZEN/3`."""
    about: Any = action
    if isinstance(action, FreezeAccount | UnfreezeAccount):
        state = state_of(node, ACCOUNT, about.account_no)
    else:
        state = state_of(node, MERCHANT, about.merchant_no)
    return ABSENT if state is None else f"{state.status}/{state.status_changes}"


def first_parked(node: Node, address: str) -> ParkedId | None:
    """Return an actor's first dead letter, None where it has none."""
    snapshot = node.snapshot(address)
    try:
        first = next(parked(snapshot, (), address), None)
    finally:
        snapshot.close()
    return None if first is None else parked_id(*first)
