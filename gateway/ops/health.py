"""Health: whether a node can be used now, and what stands in the way where it cannot.

    RECOVERING ─► SERVING ─► STOPPING
         └───────────┴──────────┴─► FAILED (the process ends within a second)

It is ready while it is SERVING, there is room on its disks and its commits come to an end. Nothing
is remembered: each look sees the node as it is, so it is ready again as soon as nothing stands in
the way any more.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from msgspec import Struct

from engine.fault import DISK_NEARLY_FULL
from engine.gauges import gauges
from engine.node import Node

STALLED_S: Final = 3.0
"""A commit that has taken so long is stalled: it takes milliseconds, and callers wait for 10 s."""


class Phase(StrEnum):
    """Where a node is in its life."""

    RECOVERING = "RECOVERING"
    SERVING = "SERVING"
    STOPPING = "STOPPING"
    FAILED = "FAILED"


class Hindrance(StrEnum):
    """Why a node that serves is not ready."""

    DISK_NEARLY_FULL = "DISK_NEARLY_FULL"
    COMMITS_STALLED = "COMMITS_STALLED"


class Hindered(Struct, frozen=True):
    """One reason why a node is not ready.

    Attributes:
        code: what it is: RECOVERING, STOPPING, FAILED, DISK_NEARLY_FULL or COMMITS_STALLED.
        shard: where; null where it is the whole node.
        detail: the same in words.
    """

    code: str
    shard: int | None
    detail: str


class Health:
    """The health of one node.

    Args:
        node: the engine.
        failed: returns whether it has failed for good.
    """

    def __init__(self, node: Node, failed: Callable[[], bool]) -> None:
        self._node = node
        self._failed = failed
        self._phase = Phase.RECOVERING

    def begin(self) -> None:
        """Hear that the node has recovered, and takes in what it is asked."""
        self._phase = Phase.SERVING

    def end(self) -> None:
        """Hear that the node takes nothing new any more."""
        self._phase = Phase.STOPPING

    @property
    def phase(self) -> Phase:
        """Where the node is in its life."""
        return Phase.FAILED if self._failed() else self._phase

    def hindrances(self) -> list[Hindered]:
        """Return why the node is not ready, nothing where it is; in the event loop."""
        phase = self.phase
        found = []
        if phase is not Phase.SERVING:
            found.append(Hindered(phase, None, f"the node is {phase.lower()}"))
        for shard in self._node.shards:
            number, committing_s = shard.stage.number, gauges(shard).committing_s
            if shard.refusal is DISK_NEARLY_FULL:
                detail = "there is no room for new work; reads go on"
                found.append(Hindered(Hindrance.DISK_NEARLY_FULL, number, detail))
            if committing_s >= STALLED_S:
                detail = f"a commit has been under way for {committing_s:.1f} s"
                found.append(Hindered(Hindrance.COMMITS_STALLED, number, detail))
        return found
