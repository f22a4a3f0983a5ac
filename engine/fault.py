"""Faults: what the runtime itself tells a caller, as opposed to what an actor answers.

The codes are stable. They fall into two groups that a caller must tell apart: nothing happened
(the same number may be used again at once), and the outcome is unknown (ask for it by number).
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct


class FaultCode(StrEnum):
    """Stable codes of the runtime's own refusals and failures."""

    NODE_BUSY = "NODE_BUSY"
    """The node has as many unconfirmed commands as it takes. Nothing happened."""
    DISK_NEARLY_FULL = "DISK_NEARLY_FULL"
    """There is no room for new work. Nothing happened; reads go on."""
    STOPPING = "STOPPING"
    """The node is shutting down. Nothing happened."""
    ACTOR_BUSY = "ACTOR_BUSY"
    """This merchant or account has as many unconfirmed commands as it may. Nothing happened."""
    ACTOR_QUARANTINED = "ACTOR_QUARANTINED"
    """The actor waits for an operator. Nothing happened."""
    TIMEOUT = "TIMEOUT"
    """The deadline passed before the first turn. Nothing happened."""
    INTERNAL = "INTERNAL"
    """The first turn failed. Nothing happened."""
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    """The command began, and its outcome is not known here: query it by its number."""


class Fault(Struct, frozen=True):
    """One fault. `retry_after_s` is when to try again (seconds), None where that is pointless."""

    code: FaultCode
    retry_after_s: int | None = None


NODE_BUSY: Final = Fault(FaultCode.NODE_BUSY, 1)
DISK_NEARLY_FULL: Final = Fault(FaultCode.DISK_NEARLY_FULL, 10)
STOPPING: Final = Fault(FaultCode.STOPPING, 5)
ACTOR_BUSY: Final = Fault(FaultCode.ACTOR_BUSY, 1)
ACTOR_QUARANTINED: Final = Fault(FaultCode.ACTOR_QUARANTINED, 60)
TIMEOUT: Final = Fault(FaultCode.TIMEOUT)
INTERNAL: Final = Fault(FaultCode.INTERNAL)
OUTCOME_UNKNOWN: Final = Fault(FaultCode.OUTCOME_UNKNOWN)
