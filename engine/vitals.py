"""A shard's vital signs: what its commits held and how long they took.

Counters and distributions since the start, for whoever looks now and then and compares; the last
thousand commits one by one, for whoever looks now; and since when a commit is being waited for.
All of it costs less than 1 µs a commit and nothing a turn.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from engine.batch import Batch
from storage.store import CommitTimes

_MS: Final = 1_000_000
COMMIT_NS: Final = tuple(
    round(ms * _MS)
    for ms in (0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
)
"""Bounds for a commit: from half a millisecond on a quiet disk to what no caller waits for."""
BATCH_TURNS: Final = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000)


class CommitTaken(NamedTuple):
    """One commit as operators see it; times in nanoseconds."""

    sequence: int
    turns: int
    answers: int
    total_ns: int
    sync_ns: int


class Distribution:
    """How many figures fell between fixed bounds, and their sum: small however many there are.

    Args:
        bounds: ascending; a figure counts for the first that it does not exceed.
    """

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: Sequence[int]) -> None:
        self.bounds = bounds
        self.total = 0
        self._counts = [0] * (len(bounds) + 1)

    def count(self, figure: int) -> None:
        """Count one figure."""
        self._counts[bisect_left(self.bounds, figure)] += 1
        self.total += figure

    def up_to(self) -> list[int]:
        """Return how many figures did not exceed each bound, and last how many there were."""
        return list(accumulate(self._counts))


class Vitals:
    """Counters since the start, and the last thousand commits.

    Attributes:
        committing_since: when the commit began that is not durable yet, on Trio's clock in
            seconds; None while there is none. One that waits for others to take a view counts.
        commit_ns, sync_ns, batch_turns: of all commits.
    """

    def __init__(self) -> None:
        self.commits = 0
        self.turns = 0
        self.answers = 0
        self.recent: deque[CommitTaken] = deque(maxlen=1_000)
        self.committing_since: float | None = None
        self.commit_ns = Distribution(COMMIT_NS)
        self.sync_ns = Distribution(COMMIT_NS)
        self.batch_turns = Distribution(BATCH_TURNS)

    def committed(self, batch: Batch, times: CommitTimes) -> None:
        """Count one commit."""
        self.commits += 1
        self.turns += batch.turns
        self.answers += len(batch.answers)
        self.commit_ns.count(times.total_ns)
        self.sync_ns.count(times.sync_ns)
        self.batch_turns.count(batch.turns)
        self.recent.append(
            CommitTaken(
                batch.sequence, batch.turns, len(batch.answers), times.total_ns, times.sync_ns
            )
        )
