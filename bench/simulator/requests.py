"""Requests: the gateway's part of a world, which lets each signed request in once.

Some commands come in requests that carry marks, a new one with each attempt. What comes in asks the
node's memory first, as a gateway does; an attacker who has seen them all sends some again, at any
time, and also after a restart. A model of what must be refused stands beside it:

- `replays`: what was taken by this process, or is durable, is refused; nothing else is.
- `marks`: an answer leaves with its mark durable (what the checkers of commits say of marks has
  this name, too).
"""

from collections import Counter
from typing import Final

from msgspec import Struct

from actors.commands import digest
from bench.simulator.chance import Chance
from bench.simulator.checkers.marks import Content
from bench.simulator.checkers.marks import Marks as DurableMarks
from bench.simulator.client import NOTHING_HAPPENED, Asked
from bench.simulator.failure import Fail
from engine.fault import Fault
from engine.marks import KEY_BYTES, MARGIN_S, WINDOW_S, Mark, Marks

SIGNED: Final = 0.6
"""How many commands come in requests with marks."""
_SEEN_MAX: Final = 60


class Request(Struct, eq=False):
    """One attempt at a command, as it came over the network.

    Attributes:
        shard: that gives the command its first turn.
        created_s, key: of its mark.
    """

    asked: Asked
    shard: int
    created_s: int
    key: bytes

    @property
    def row(self) -> bytes:
        """The key of its mark's row."""
        return self.created_s.to_bytes(4, "big") + self.key

    def mark(self) -> Mark:
        """Return the mark that goes with it when it comes, again or for the first time."""
        return Mark(self.created_s, self.key)


class Requests:
    """All requests of a world that carry marks.

    Args:
        chance: the run's source for it.
        durable: the marks that are.
        fail: told what is wrong.
        effects: counts what is worth knowing of.
    """

    def __init__(
        self, chance: Chance, durable: DurableMarks, fail: Fail, effects: Counter[str]
    ) -> None:
        self._chance = chance
        self._durable = durable
        self._fail = fail
        self._effects = effects
        self._taken: set[bytes] = set()
        self._newest_s = 0
        self._seen: list[Request] = []

    def booted(self, now_s: int) -> Marks:
        """Return the memory of a process that begins now."""
        self._taken.clear()
        self._newest_s = self._durable.now_s = now_s
        return Marks(now_s)

    def draw(self, asked: Asked, shard: int, now_s: int) -> Request | None:
        """Return the next attempt at a command, None where its requests carry no marks.

        The caller's clock is a little off, or as far off as it may be.
        """
        if asked.signed is None:
            asked.signed = self._chance.random() < SIGNED
        if not asked.signed:
            self._durable.unsigned.add(_content(asked))
            return None
        off_s = self._chance.choice((0, 0, 1, -1, WINDOW_S, -WINDOW_S))
        key = self._chance.getrandbits(8 * KEY_BYTES).to_bytes(KEY_BYTES, "big")
        return Request(asked, shard, now_s + off_s, key)

    def comes(self, request: Request, marks: Marks, now_s: int) -> bool:
        """Have a request come in; returns whether it is let in."""
        self._newest_s = self._durable.now_s = max(self._newest_s, now_s)
        row = request.row
        before = row in self._taken or self._durable.has(row)
        within = self._newest_s - WINDOW_S <= request.created_s <= now_s + WINDOW_S
        taken = marks.take(request.created_s, request.key, now_s)
        if taken != (within and not before):
            detail = f"{request.asked.name} of {request.created_s} at {now_s}"
            self._fail("replays", f"{detail} is {'let in' if taken else 'refused'}")
        if taken:
            self._taken.add(row)
            self._durable.let_in(_content(request.asked), row)
            self._seen.append(request)
            del self._seen[:-_SEEN_MAX]
        elif within:
            self._effects["replays refused"] += 1
        return taken

    def seen(self, chance: Chance) -> Request | None:
        """Return one of the last requests that were let in, for somebody to send it again."""
        return chance.choice(self._seen) if self._seen else None

    def answered(self, request: Request, outcome: object) -> None:
        """See that a mark is durable where its command had a turn, and nowhere else."""
        durable = self._durable.has(request.row, request.shard)
        if isinstance(outcome, Fault):
            if outcome.code in NOTHING_HAPPENED and durable:
                self._fail("marks", f"{outcome.code}, and the mark of {request.asked.name} is kept")
        elif not durable and request.created_s >= self._newest_s - WINDOW_S - MARGIN_S:
            self._fail("marks", f"{request.asked.name} was answered, and its mark is not durable")


def _content(asked: Asked) -> Content:
    return (asked.address, asked.tag, asked.name, digest(asked.command))
