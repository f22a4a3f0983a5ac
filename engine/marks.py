"""Marks: which requests have come already, so that none comes a second time.

A mark stands for a request's nonce. `Marks` is the node's memory of all that came within the
window; it asks and notes in one step. A command's mark is also a row of its shard, in the batch of
the command's first turn (`MarkRows`): after a crash, of whatever survived the mark did too, and the
next process recalls it before it takes anything in (docs/decisions/021).
"""

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from engine.batch import Batch
from storage.errors import CorruptRowError
from storage.row import MARK_KEY_BYTES, MARKS
from storage.store import Snapshot, Store

WINDOW_S: Final = 300
"""How far a request's time may be from the node's, either way, in seconds."""
MARGIN_S: Final = 300
"""How much longer than the window rows are kept, in seconds: so far may the clock be set back
across a restart."""
MARKS_MAX: Final = 1_500_000
"""Marks in memory, 5,000 a second for as long as the window is; each takes 120 to 160 bytes."""
KEY_BYTES: Final = MARK_KEY_BYTES - 4
_FORGOTTEN_AT_ONCE: Final = 256
"""Rows that are over and go with one commit, beside as many as it adds."""
_NEVER_S: Final = 2**32 - 1
"""Seconds are four bytes in a row's key: until 2106."""


class Mark(Struct, eq=False):
    """What a request leaves behind.

    All commands of one request carry the same object, and each shard stores it with the first of
    them that has its first turn there. Where that batch is not durable, no later one is.

    Attributes:
        created_s: when the request says that it was made, seconds since 1970-01-01 UTC.
        key: stands for who made it and for its nonce, 16 bytes.
        staged: shards that have it in a batch, as bits.
    """

    created_s: int
    key: bytes
    staged: int = 0


class Marks:
    """The memory of a node: marks of requests that were made within the window.

    Whatever the clock does, no mark is taken twice in one process: a second that was forgotten is
    refused as a whole. So a clock that is far ahead for a while and then set back has requests
    refused until it is there again, or the node starts anew.

    Args:
        started_s: when this process began, seconds since 1970-01-01 UTC; by default now.
        window_s: how far `created_s` may be from `now_s`.
        margin_s: how much longer rows are kept.
        most: marks that are kept. Beyond them the oldest second is forgotten, and refused.

    Attributes:
        floor_s: requests that were made before this second are refused.
    """

    def __init__(
        self,
        started_s: int | None = None,
        *,
        window_s: int = WINDOW_S,
        margin_s: int = MARGIN_S,
        most: int = MARKS_MAX,
    ) -> None:
        self.started_s = int(time.time()) if started_s is None else started_s
        self.floor_s = self.started_s - window_s
        self._window_s = window_s
        self._margin_s = margin_s
        self._most = most
        self._count = 0
        self._by_second: dict[int, set[bytes]] = {}

    def __len__(self) -> int:
        return self._count

    def take(self, created_s: int, key: bytes, now_s: int) -> bool:
        """Note a request's mark, unless it is to be refused; asking and noting are one step.

        Only requests whose signature has verified come here: nobody else may use a nonce up.

        Returns:
            False where the mark was taken before, or could have been and is forgotten, or
            `created_s` is not within the window around `now_s`.
        """
        if now_s - self._window_s > self.floor_s:
            self._raise_floor(now_s - self._window_s)
        if not self.floor_s <= created_s <= now_s + self._window_s:
            return False
        keys = self._by_second.get(created_s)
        if keys is None:
            keys = self._by_second[created_s] = set()
        elif key in keys:
            return False
        keys.add(key)
        self._count += 1
        if self._count > self._most:
            self._raise_floor(min(self._by_second) + 1)
        return True

    def seen(self, created_s: int, key: bytes) -> bool:
        """Return whether a mark was taken, or could have been and is forgotten."""
        return created_s < self.floor_s or key in self._by_second.get(created_s, ())

    def remembers(self, created_s: int) -> bool:
        """Return whether no earlier process can have taken a request that was made then.

        For requests whose marks are not stored (reads). A client's second has begun before the
        request comes, so an earlier process took seconds up to the one in which this process
        began, that one included: only later ones are new. The rest is up to clocks: where a
        client's is d seconds ahead, an earlier process may have taken up to d seconds more.
        """
        return created_s > self.started_s

    def recall(self, keys: Iterable[bytes]) -> None:
        """Take marks from the keys of their rows: an earlier process has taken them."""
        by_second = self._by_second
        for key in keys:
            created_s = int.from_bytes(key[:4], "big")
            if created_s >= self.floor_s:
                by_second.setdefault(created_s, set()).add(key[4:])
        self._count = sum(map(len, by_second.values()))
        while self._count > self._most:
            self._raise_floor(min(by_second) + 1)

    def rows_from_s(self) -> int:
        """Return the second from which on rows have to be kept; earlier ones are over."""
        return max(0, self.floor_s - self._margin_s)

    def _raise_floor(self, floor_s: int) -> None:
        """Forget the seconds before `floor_s`; a request that was made then is refused."""
        self.floor_s = floor_s
        for second in [each for each in self._by_second if each < floor_s]:
            self._count -= len(self._by_second.pop(second))


class MarkRows:
    """The marks that one shard stores.

    They lie in order of the seconds in which requests were made, so new ones come nearly at the
    end, and those that are over are the first. These go with batches that are written anyway, some
    with each: an idle node writes nothing for them.

    Args:
        snapshot: of the shard's store; what has to be remembered of it is recalled.
        marks: the node's memory.
        shard: whose.

    Raises:
        CorruptRowError: a row is no mark.
    """

    def __init__(self, snapshot: Snapshot, marks: Marks, shard: int) -> None:
        self._marks = marks
        self._bit = 1 << shard
        self._oldest_s = next(
            (int.from_bytes(key[:4], "big") for key, _ in snapshot.scan(MARKS)), _NEVER_S
        )
        marks.recall(_stored_keys(snapshot, marks.floor_s))

    def put(self, batch: Batch, mark: Mark) -> None:
        """Have a mark become durable with a batch, unless an earlier one on this shard has it."""
        if not mark.staged & self._bit:
            mark.staged |= self._bit
            batch.marks[mark.created_s.to_bytes(4, "big") + mark.key] = b""
            self._oldest_s = min(self._oldest_s, mark.created_s)

    def forget(self, batch: Batch, store: Store) -> None:
        """Have rows that are over go with a batch, the oldest first."""
        from_s = self._marks.rows_from_s()
        if self._oldest_s >= from_s:
            return
        most = len(batch.marks) + _FORGOTTEN_AT_ONCE
        snapshot = store.snapshot()
        try:
            rows = snapshot.scan(MARKS, stop=_second(from_s))
            over = [key for key, _ in islice(rows, most + 1)]
        finally:
            snapshot.close()
        more = over[most:]
        self._oldest_s = int.from_bytes(more[0][:4], "big") if more else from_s
        batch.marks |= dict.fromkeys(over[:most])


def _second(second: int) -> bytes:
    return min(max(second, 0), _NEVER_S).to_bytes(4, "big")


def _stored_keys(snapshot: Snapshot, from_s: int) -> Iterator[bytes]:
    for key, _ in snapshot.scan(MARKS, _second(from_s)):
        if len(key) != MARK_KEY_BYTES:
            raise CorruptRowError(MARKS, key, f"a mark has {MARK_KEY_BYTES} bytes")
        yield key
