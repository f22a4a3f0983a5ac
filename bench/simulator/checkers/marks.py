"""Marks: a mark is durable with what its command did, once, and until it is over.

The checker `marks`, as far as commits show it; what answers show is the requests' own
(`bench.simulator.requests`).
"""

from collections import Counter

from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.marks import MARGIN_S, WINDOW_S
from storage.row import MARKS

Content = tuple[str, str, str, bytes]
"""A command, as a record is bound to it: address, tag and name of the record, and the digest."""


class Marks:
    """All marks that are durable.

    Args:
        shards: how many there are.
        fail: told what is wrong.
        effects: counts what is worth knowing of.

    Attributes:
        unsigned: commands that came without a mark.
        now_s: the newest time that a request came at since the process began.
    """

    def __init__(self, shards: int, fail: Fail, effects: Counter[str]) -> None:
        self._effects = effects
        self._fail = fail
        self._shards: list[set[bytes]] = [set() for _ in range(shards)]
        self._signed: dict[Content, set[bytes]] = {}
        self._sent: set[bytes] = set()
        self.unsigned: set[Content] = set()
        self.now_s = 0

    def let_in(self, content: Content, row: bytes) -> None:
        """Hear that a request with a mark was let in."""
        self._signed.setdefault(content, set()).add(row)
        self._sent.add(row)

    def has(self, row: bytes, shard: int | None = None) -> bool:
        """Return whether a mark is durable, on any shard or on one."""
        shards = self._shards if shard is None else [self._shards[shard]]
        return any(row in each for each in shards)

    def bound(self, durable: Durable, content: Content) -> None:
        """See that what a command has bound came with its mark."""
        if content in self.unsigned or content not in self._signed:
            return
        if self._signed[content].isdisjoint(durable.writes.rows.get(MARKS, {})):
            self._fail("marks", f"{content[:3]} has become durable without its mark")

    def committed(self, durable: Durable) -> None:
        """Check the marks that a commit stores and forgets."""
        marks = self._shards[durable.shard]
        for key, payload in durable.writes.rows.get(MARKS, {}).items():
            if payload is None:
                if int.from_bytes(key[:4], "big") >= self.now_s - WINDOW_S - MARGIN_S:
                    self._fail("marks", f"{key!r} is forgotten at {self.now_s}")
                self._effects["marks forgotten"] += key in marks
                marks.discard(key)
                continue
            if payload or key not in self._sent:
                self._fail("marks", f"{key!r} is of no request: {payload!r}")
            if key in marks:
                self._fail("marks", f"{key!r} is stored a second time")
            marks.add(key)
