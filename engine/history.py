"""A shard's last turns: a ring that costs a tuple a turn and answers "what happened here?"."""

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


class History:
    """The last `size` turns of a shard (a power of two)."""

    def __init__(self, size: int = 4096) -> None:
        assert size & (size - 1) == 0, "the ring's size must be a power of two"
        self._ring: list[tuple[int, int, str, type, str, int] | None] = [None] * size
        self._mask = size - 1
        self._next = 0

    def add(self, turn: tuple[int, int, str, type, str, int]) -> None:
        """Remember a turn; the oldest is forgotten."""
        self._ring[self._next & self._mask] = turn
        self._next += 1

    def of(self, address: str, limit: int = 50) -> list[TurnTaken]:
        """Return the newest turns of one actor, newest first."""
        found: list[TurnTaken] = []
        for index in range(self._next - 1, max(-1, self._next - 1 - len(self._ring)), -1):
            turn = self._ring[index & self._mask]
            if turn is not None and turn[2] == address:
                begun, duration, _, type_, outcome, sequence = turn
                found.append(TurnTaken(begun, duration, address, type_.__name__, outcome, sequence))
                if len(found) == limit:
                    break
        return found
