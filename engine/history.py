"""A shard's last turns: a ring that costs one tuple a turn and answers "what happened here?".

An entry holds the type of what was handled and not the message itself: messages are let go at once,
so that what is allocated next is in the processor's cache already. The token of the command that
began the chain leads to its other turns, on whichever shards.
"""

from collections import deque
from collections.abc import Collection, Iterator
from itertools import islice
from typing import NamedTuple

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


Taken = tuple[int, int, str, type, str, int, Token | None]
"""Begun, duration, address, type of the message, outcome, commit, token of the chain."""


class History(deque[Taken]):
    """The last turns of a shard as plain tuples: a bounded deque, appended to once a turn."""

    def __init__(self, size: int = 4096) -> None:
        super().__init__(maxlen=size)

    def of(self, address: str, limit: int = 50) -> list[TurnTaken]:
        """Return the newest turns of one actor, newest first."""
        found = (turn for turn in reversed(self) if turn[2] == address)
        return [shown(turn) for turn in islice(found, limit)]

    def chains(self, tokens: Collection[Token]) -> Iterator[TurnTaken]:
        """Yield the turns of these chains, oldest first."""
        return (shown(turn) for turn in self if turn[6] in tokens)


class Beginnings(deque[tuple[Token, str, str]]):
    """The last commands that began chains: `(token, first actor, subject)`, once a command."""

    def __init__(self, size: int = 2048) -> None:
        super().__init__(maxlen=size)

    def of(self, address: str, subject: str) -> set[Token]:
        """Return the chains that commands to an actor about a subject began."""
        return {token for token, to, about in self if about == subject and to == address}


def shown(turn: Taken) -> TurnTaken:
    """Return a turn as operators see it."""
    begun, duration, to, type_, outcome, sequence, _ = turn
    return TurnTaken(begun, duration, to, type_.__name__, outcome, sequence)
