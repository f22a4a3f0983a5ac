"""A shard's vital signs: what its last commits held and how long they took."""

from collections import deque
from typing import NamedTuple

from engine.batch import Batch
from storage.store import CommitTimes


class CommitTaken(NamedTuple):
    """One commit as operators see it; times in nanoseconds."""

    sequence: int
    turns: int
    answers: int
    total_ns: int
    sync_ns: int


class Vitals:
    """Counters since the start, and the last thousand commits."""

    def __init__(self) -> None:
        self.commits = 0
        self.turns = 0
        self.answers = 0
        self.recent: deque[CommitTaken] = deque(maxlen=1_000)

    def committed(self, batch: Batch, times: CommitTimes) -> None:
        """Count one commit."""
        self.commits += 1
        self.turns += batch.turns
        self.answers += len(batch.answers)
        self.recent.append(
            CommitTaken(
                batch.sequence, batch.turns, len(batch.answers), times.total_ns, times.sync_ns
            )
        )
