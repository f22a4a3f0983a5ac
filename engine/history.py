"""A shard's last turns: a ring that costs one tuple a turn and answers "what happened here?".

An entry holds the message itself, so that whoever looks can tell what it was about, and the token
of the command that began its chain, so that all turns of a chain are found, on whichever shards.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

from engine.message import Token


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


Taken = tuple[int, int, str, Any, str, int, Token | None]
"""Begun, duration, address, message, outcome, commit, token of the chain: as the turn leaves it."""


class History(deque[Taken]):
    """The last turns of a shard as plain tuples: a bounded deque, appended to once a turn."""

    def __init__(self, size: int = 4096) -> None:
        super().__init__(maxlen=size)

    def of(self, address: str, limit: int = 50) -> list[TurnTaken]:
        """Return the newest turns of one actor, newest first."""
        found = (turn for turn in reversed(self) if turn[2] == address)
        return [shown(turn) for turn in islice(found, limit)]

    def tokens(self, address: str, about: Callable[[Any], bool]) -> set[Token]:
        """Return the chains of which a turn of an actor had a message that `about` knows."""
        return {
            turn[6]
            for turn in self
            if turn[2] == address and turn[6] is not None and about(turn[3])
        }

    def chains(self, tokens: Collection[Token]) -> Iterator[Taken]:
        """Yield the turns of these chains, oldest first."""
        return (turn for turn in self if turn[6] in tokens)


def shown(turn: Taken) -> TurnTaken:
    """Return a turn as operators see it."""
    begun, duration, to, body, outcome, sequence, _ = turn
    return TurnTaken(begun, duration, to, type(body).__name__, outcome, sequence)
