"""Rounds: which of a merchant's events is to be sent when; decides, and leaves I/O to its caller.

Events of one payment (or hold) are sent one after the other, in their sequence: the next when the
one before was delivered or given up. Others go side by side, as many as the endpoint takes: one at
a time unless its last attempt has succeeded. To an endpoint that has failed `DEAD` times in a row
nothing new goes but one event every few minutes, to see whether it is back; the rest waits where
it is durable anyway, in the merchant's sequence. What came of attempts is told to the engine in
reports; until one is durable its events are this one's to remember.
"""

import heapq
from bisect import insort
from collections import deque
from typing import Final

from msgspec import Struct

from actors.commands import Attempt, RecordDeliveries, Result
from actors.webhook import PENDING_MAX, RETRY_AFTER_S, Delivery, attempted, succeeded

AT_ONCE: Final = 8
"""Attempts at a time, to an endpoint that takes what it is sent."""
DEAD: Final = 3
"""So many failures in a row, and an endpoint is taken for dead."""
PROBE_NS: Final = 300 * 1_000_000_000
"""How long after its last attempt a dead endpoint is sent something new."""
AHEAD_NS: Final = 2 * RETRY_AFTER_S[-1] * 1_000_000_000
"""What is due later than any attempt is put off was noted by a clock that has been set back."""
REPORT_MAX: Final = 100
"""Results in one report: the turn that notes them is a few milliseconds long at most."""

SLOW_MS: Final = 2_000
"""What takes longer goes beside those that fail."""
GONE: Final = 410

Key = tuple[str, str]
"""What an event belongs to: `payment` or `authorization`, and its number."""


class Entry(Struct, eq=False):
    """An event that is under way.

    Attributes:
        delivery: as its record will be once all is reported; None where there is none yet.
        noted: it has a record.
        flying: an attempt is being made; of the round in `flying_round`.
    """

    sequence: int
    key: Key
    delivery: Delivery | None = None
    noted: bool = False
    flying: bool = False
    flying_round: int = 0

    @property
    def due_ns(self) -> int:
        return 0 if self.delivery is None else self.delivery.due_ns

    @property
    def rounds(self) -> int:
        return 0 if self.delivery is None else self.delivery.rounds


class Rounds:
    """One merchant's events that are under way, from the last start of its courier on.

    Args:
        merchant_no: whose.
        url: where they go.
        cursor: each event up to here has its record.

    Attributes:
        cursor: as it is durable.
        read: the last event that was taken on.
        flying: how many attempts are being made.
        failures: attempts that have failed since one succeeded.
        gone: the endpoint has answered 410: it is sent nothing more.
    """

    def __init__(self, merchant_no: str, url: str, cursor: int) -> None:
        self._merchant_no = merchant_no
        self._url = url
        self.cursor = self.read = cursor
        self.flying = 0
        self.failures = 0
        self.gone = False
        self._proven = False
        self._last_ns = 0
        self._took_ms = 0
        self._open: dict[int, Entry] = {}
        self._keys: dict[Key, list[int]] = {}
        self._due: list[tuple[int, int]] = []
        self._recorded: set[int] = set()
        self._results: deque[Result] = deque()
        self._unreported: dict[int, int] = {}
        self._reporting: RecordDeliveries | None = None
        self._said_gone = False

    def __len__(self) -> int:
        return len(self._open)

    @property
    def dead(self) -> bool:
        """Whether the endpoint is taken for dead."""
        return self.failures >= DEAD

    @property
    def slow(self) -> bool:
        """Whether the last attempt has failed or took long."""
        return self.failures > 0 or self._took_ms > SLOW_MS

    @property
    def _at_once(self) -> int:
        return AT_ONCE if self._proven else 1

    def idle(self) -> bool:
        """Return whether nothing is under way and nothing is left to be reported."""
        return not (self._open or self._results or self._reporting)

    # What comes in.

    def wants(self, now_ns: int) -> int:
        """Return how many more events may be taken on now.

        None while one is due again: those that are new would all go before it.
        """
        room = max(0, PENDING_MAX - len(self._open) - len(self._results))
        sendable = self._sendable(now_ns)
        if self.dead:
            waits = self.flying or sendable or abs(now_ns - self._last_ns) < PROBE_NS
            return 0 if waits else min(1, room)
        ready = [due_ns for due_ns, _ in self._due if _is_due(due_ns, now_ns)]
        return 0 if any(ready) else max(0, min(2 * AT_ONCE - len(ready), room))

    def take(self, sequence: int, key: Key) -> None:
        """Take the next event of the merchant's sequence on, unless it is over already."""
        assert sequence == self.read + 1, "events are taken on one after the other"
        self.read = sequence
        if not any(sequence in each for each in (self._recorded, self._open, self._unreported)):
            self._enter(Entry(sequence, key))

    def over(self, sequence: int) -> None:
        """Note that an event has its record, and is not to be sent."""
        if sequence > self.cursor and sequence not in self._open:
            self._recorded.add(sequence)

    def order(self, sequence: int, key: Key, delivery: Delivery) -> None:
        """Take an event on that is PENDING in the engine: from before, or ordered again.

        At a courier's start, one whose last attempt has failed tells of the endpoint: it would
        be tried in the places of those that are well, at each start anew.
        """
        assert delivery.state == "PENDING"
        if not self._last_ns and delivery.log and not succeeded(delivery.log[-1]):
            self.failures = 1
        entry = self._open.get(sequence)
        if entry is None:
            if self._unreported.get(sequence) != delivery.rounds:
                self._recorded.discard(sequence)
                self._enter(Entry(sequence, key, delivery, noted=True))
        elif entry.rounds < delivery.rounds:
            entry.delivery, entry.noted = delivery, True
            self._offer(entry)

    # What goes out.

    def next(self, now_ns: int) -> Entry | None:
        """Return an event to be sent now, if there is one; `done` has to follow."""
        if self.flying >= self._at_once or self.gone or not self._sendable(now_ns):
            return None
        _, sequence = heapq.heappop(self._due)
        entry = self._open[sequence]
        entry.flying, entry.flying_round = True, entry.rounds
        self.flying += 1
        return entry

    def due_ns(self, now_ns: int) -> int | None:
        """Return when something is to be done if nothing comes in before; None for never."""
        if self.gone or self.flying >= self._at_once:
            return None  # whatever comes of one of them comes in
        self._sendable(now_ns)
        due = [self._due[0][0]] if self._due else []
        if self.dead and self._last_ns + PROBE_NS > now_ns:
            due.append(self._last_ns + PROBE_NS)
        return min(due, default=None)

    def done(self, entry: Entry, attempt: Attempt) -> None:
        """Note what came of an attempt."""
        self._land(entry)
        good = succeeded(attempt)
        self._proven = good
        self.failures = 0 if good else self.failures + 1
        self._took_ms = attempt.duration_ms
        self._last_ns = attempt.at_ns + attempt.duration_ms * 1_000_000
        self.gone = self.gone or attempt.status == GONE
        result = Result(entry.sequence, entry.flying_round, attempt)
        entry.delivery = attempted(entry.delivery, result)
        self._results.append(result)
        self._unreported[entry.sequence] = entry.flying_round
        if entry.delivery.state == "PENDING":
            # An earlier one may have been ordered again meanwhile, and have waited for this.
            self._offer(self._open[self._keys[entry.key][0]])
        else:
            self._leave(entry)

    def abandon(self, entry: Entry) -> None:
        """Forget an attempt that was not made after all."""
        self._land(entry)
        self._offer(self._open[self._keys[entry.key][0]])

    # What is reported.

    def report(self, dropped: tuple[int, ...] = ()) -> RecordDeliveries | None:
        """Return what the engine is to note, None for nothing; `reported` or `report` follows."""
        if self._reporting is not None:
            return self._reporting
        results = [self._results.popleft() for _ in range(min(REPORT_MAX, len(self._results)))]
        cursor, taken = self._progress({each.sequence for each in results})
        if not (results or dropped or cursor > self.cursor):
            return None
        self._reporting = RecordDeliveries(
            self._merchant_no,
            cursor,
            tuple(taken),
            tuple(results),
            dropped,
            self._url if self.gone and not self._said_gone else "",
        )
        self._said_gone = self.gone
        return self._reporting

    def _progress(self, told: set[int]) -> tuple[int, list[int]]:
        """Return how far the cursor comes, and which events need a record for that.

        It comes as far as every event has a record with what is told. One that waits for another
        of its payment gets one for that; one that is being tried for the first time holds it.
        """
        taken: list[int] = []
        cursor = self.cursor
        while cursor < self.read and len(taken) < REPORT_MAX:
            sequence = cursor + 1
            entry = self._open.get(sequence)
            if not (sequence in told or sequence in self._recorded or (entry and entry.noted)):
                tried = entry is None or entry.flying or entry.delivery is not None
                if not told or tried or entry is None or self._leads(entry):
                    break
                taken.append(sequence)
            cursor = sequence
        return cursor, taken

    def reported(self) -> None:
        """Note that the report is durable."""
        report = self._reporting
        assert report is not None
        self._reporting = None
        for sequence in (*report.taken, *(each.sequence for each in report.results)):
            entry = self._open.get(sequence)
            if entry is not None:
                entry.noted = True
            self._recorded.add(sequence)
        left = {each.sequence for each in self._results}
        for result in report.results:
            if result.sequence not in left:
                self._unreported.pop(result.sequence, None)
        self.cursor = report.cursor
        self._recorded = {each for each in self._recorded if each > report.cursor}

    # The order of things.

    def _enter(self, entry: Entry) -> None:
        self._open[entry.sequence] = entry
        line = self._keys.setdefault(entry.key, [])
        insort(line, entry.sequence)
        self._offer(entry)

    def _leave(self, entry: Entry) -> None:
        del self._open[entry.sequence]
        line = self._keys[entry.key]
        line.remove(entry.sequence)
        if line:
            self._offer(self._open[line[0]])
        else:
            del self._keys[entry.key]

    def _leads(self, entry: Entry) -> bool:
        """Return whether no earlier event of the same payment is under way."""
        return self._keys[entry.key][0] == entry.sequence

    def _offer(self, entry: Entry) -> None:
        """Let an event be sent when it is due, if its turn has come; another time is void then."""
        if not entry.flying and self._leads(entry):
            heapq.heappush(self._due, (entry.due_ns, entry.sequence))

    def _land(self, entry: Entry) -> None:
        entry.flying = False
        self.flying -= 1

    def _sendable(self, now_ns: int) -> bool:
        """Return whether something is due; what stands in the heap in vain is thrown away."""
        while self._due:
            due_ns, sequence = self._due[0]
            entry = self._open.get(sequence)
            if entry and not entry.flying and entry.due_ns == due_ns and self._leads(entry):
                line = self._keys[entry.key]
                if not any(self._open[each].flying for each in line):
                    return _is_due(due_ns, now_ns)
            heapq.heappop(self._due)
        return False


def _is_due(due_ns: int, now_ns: int) -> bool:
    return due_ns <= now_ns or due_ns > now_ns + AHEAD_NS
