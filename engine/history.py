"""A shard's last turns: a ring that costs one tuple a turn and answers "what happened here?"."""

from collections import deque
from itertools import islice
from typing import NamedTuple


class TurnTaken(NamedTuple):
    """One turn as operators see it."""

    begun_ns: int
    """Monotonic nanoseconds at which it began."""
    duration_ns: int
    address: str
    message: str
    """The message's type."""
    outcome: str
    """`ok`, or the name of the exception that undid it."""
    sequence: int
    """The commit that holds its effects."""


class History(deque[tuple[int, int, str, type, str, int]]):
    """The last turns of a shard as plain tuples: a bounded deque, appended to once a turn."""

    def __init__(self, size: int = 4096) -> None:
        super().__init__(maxlen=size)

    def of(self, address: str, limit: int = 50) -> list[TurnTaken]:
        """Return the newest turns of one actor, newest first."""
        found = (turn for turn in reversed(self) if turn[2] == address)
        return [
            TurnTaken(begun, duration, to, type_.__name__, outcome, sequence)
            for begun, duration, to, type_, outcome, sequence in islice(found, limit)
        ]
