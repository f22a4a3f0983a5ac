"""A client's tally: what it was told, so that it can be held against the store.

Figures count what belongs to the measured window: in a closed loop what was answered within it, in
an open one the latencies of what arrived within it, however late the answer. Sums count
everything, from the first request to the last: at the end the store must hold what was told, and
what nobody was told of only if its outcome was said to be unknown.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from bench.load.latencies import Latencies, bucket
from bench.workloads.errand import Errand, Moved, add_counts

UNKNOWN: Final = frozenset({"OUTCOME_UNKNOWN", "CONNECTION_LOST"})
"""Codes after which a command may have been carried out or not."""
DONE: Final = "DONE"
"""The outcome of what was carried out."""
NOT_SENT: Final = "NOT_SENT"
"""The outcome of what arrived and found nobody to send it until the loop was over."""


class Told(Struct):
    """A payment or a problem, as far as it is looked at."""

    state: str = ""
    amount_minor: int = 0
    code: str | None = None
    retry_after_s: int | None = None


class Item(Struct):
    """What an item of an array, or of a stream's frame, was answered."""

    status: int
    body: Told
    id: str = ""


class Message(Struct):
    """A message of a stream: answers; there are no events without a `resume`."""

    answers: list[Item] = []


BUSY: Final = frozenset({429, 503})
"""Statuses with which it has to be said when to come again."""
TENTH_NS: Final = 100_000_000

decode_one: Final = msgspec.json.Decoder(Told).decode
decode_items: Final = msgspec.json.Decoder(list[Item]).decode
decode_message: Final = msgspec.json.Decoder(Message).decode


class Kind(Struct):
    """One kind of operation, within the window.

    Attributes:
        done: answered within it, in an open loop too.
        outcomes: `DONE` or code → operations that belong to it.
        latencies: of those that were carried out; see `bench.load.latencies`.
    """

    done: int = 0
    outcomes: dict[str, int] = {}
    latencies: dict[int, int] = {}

    def add(self, other: "Kind") -> None:
        """Count all that another one has counted."""
        self.done += other.done
        add_counts(self.outcomes, other.outcomes)
        add_counts(self.latencies, other.latencies)


class Interval(Struct):
    """A part of the window: operations answered in it, latencies of those that belong to it."""

    done: int = 0
    refused: int = 0
    latencies: dict[int, int] = {}

    def add(self, other: "Interval") -> None:
        """Count all that another one has counted."""
        self.done += other.done
        self.refused += other.refused
        add_counts(self.latencies, other.latencies)


class Counted(Struct, frozen=True, tag_field="event", tag="counted"):
    """What a round came to; times in nanoseconds.

    Attributes:
        payments: operations carried out, and answered within the window.
        payments_all: of the whole round.
        requests: answered within the window, whatever the answer; messages of a stream.
        kinds: operation → what came of it.
        refused: code → operations, of the whole round.
        unexplained: refusals for too much to do that did not say when to come again.
        moved: see `bench.workloads.errand.Moved`.
        verified: answers whose signature was verified.
        intervals: the window, by parts of the length that was asked for.
        late: from an arrival to its sending, in an open loop.
        not_sent: arrivals in the window that were never sent.
    """

    payments: int
    payments_all: int
    requests: int
    kinds: dict[str, Kind]
    refused: dict[str, int]
    unexplained: int
    moved: Moved
    verified: int
    intervals: list[Interval]
    late: dict[int, int]
    not_sent: int


class Tally:
    """Counts the answers of one round.

    Args:
        begin_ns, end_ns: the window, on the monotonic clock, which all processes share.
        every_ns: how long an interval is.
        arriving: latencies belong to when an operation arrived, not to when it was answered.
    """

    def __init__(
        self, begin_ns: int, end_ns: int, every_ns: int = TENTH_NS, *, arriving: bool = False
    ) -> None:
        self._begin_ns = begin_ns
        self._end_ns = end_ns
        self._every_ns = every_ns
        self._arriving = arriving
        self._kinds: defaultdict[str, Kind] = defaultdict(Kind)
        self._payments = self._payments_all = self._requests = self._unexplained = 0
        self._refused: Counter[str] = Counter()
        self._intervals = [Interval() for _ in range(max(1, -(-(end_ns - begin_ns) // every_ns)))]
        self._late = Latencies()
        self._not_sent = 0
        self.moved = Moved()
        self.verified = 0

    def results(self, since_ns: int, items: Iterable[tuple[Errand, int, Told]]) -> float:
        """Count what errands that were sent together came to, and are answered together.

        Args:
            since_ns: when they were sent, or should have been.
            items: each errand, the status of its answer and its body.

        Returns seconds after which some of them may come again, 0 where none was told to.
        """
        outcomes: Counter[tuple[str, str]] = Counter()
        wait_s = 0.0
        for errand, status, told in items:
            if status < 300 and told.code is None:
                self.moved.carried_out(errand, told.amount_minor)
                outcomes[errand.operation, DONE] += 1
                continue
            outcomes[errand.operation, str(told.code)] += 1
            wait_s = max(wait_s, told.retry_after_s or 0)
            if status in BUSY and told.retry_after_s is None:
                self._unexplained += 1
            if told.code in UNKNOWN:
                self.moved.unknown(errand)
        self._settle(since_ns, outcomes)
        return wait_s

    def engine_told(self, errand: Errand, since_ns: int, code: str | None) -> None:
        """Count an operation of the engine's in-process, once it is over.

        Args:
            code: why it was not carried out, None where it was.
        """
        self._settle(since_ns, {(errand.operation, DONE if code is None else code): 1})

    def lost(self, since_ns: int, errands: Iterable[Errand]) -> None:
        """Count what nobody will answer any more: the connection is gone."""
        told = Told(code="CONNECTION_LOST")
        self.results(since_ns, ((errand, 0, told) for errand in errands))

    def trouble(self, code: str, status: int = 0, retry_s: float | None = None) -> None:
        """Count a connection that was refused, or closed."""
        self._refused[code] += 1
        self._unexplained += status in BUSY and retry_s is None

    def sent_late(self, since_ns: int) -> None:
        """Note that something is sent now that arrived then."""
        self._late.record(max(0, time.monotonic_ns() - since_ns))

    def never_sent(self, since_ns: int, count: int) -> None:
        """Count operations that arrived and will not be sent."""
        if self._begin_ns <= since_ns < self._end_ns:
            self._not_sent += count

    def _settle(
        self, since_ns: int, outcomes: "dict[tuple[str, str], int] | Counter[tuple[str, str]]"
    ) -> None:
        now_ns = time.monotonic_ns()
        interval = self._interval(now_ns)
        at = self._interval(since_ns) if self._arriving else interval
        latency = bucket(now_ns - since_ns)
        if interval is not None:
            self._requests += 1
        for (operation, outcome), count in outcomes.items():
            kind = self._kinds[operation]
            if outcome == DONE:
                self._payments_all += count
                if interval is not None:
                    self._payments += count
                    kind.done += count
                    interval.done += count
                if at is not None:
                    kind.latencies[latency] = kind.latencies.get(latency, 0) + count
                    at.latencies[latency] = at.latencies.get(latency, 0) + count
            else:
                self._refused[outcome] += count
                if interval is not None:
                    interval.refused += count
            if at is not None:
                kind.outcomes[outcome] = kind.outcomes.get(outcome, 0) + count

    def _interval(self, when_ns: int) -> Interval | None:
        """Return the part of the window in which something was; None for outside."""
        if self._begin_ns <= when_ns < self._end_ns:
            return self._intervals[(when_ns - self._begin_ns) // self._every_ns]
        return None

    def counted(self) -> Counted:
        """Return what it came to."""
        return Counted(
            self._payments,
            self._payments_all,
            self._requests,
            dict(self._kinds),
            dict(self._refused),
            self._unexplained,
            self.moved,
            self.verified,
            self._intervals,
            dict(self._late.counts),
            self._not_sent,
        )
