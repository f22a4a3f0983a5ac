"""A client's tally: what it was told, so that it can be held against the store.

Figures count what was answered within the measured window. Sums count everything, from the first
request to the last: at the end the store must hold what was told, and what nobody was told of
only if its outcome was said to be unknown.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from bench.load.latencies import Latencies

UNKNOWN: Final = frozenset({"OUTCOME_UNKNOWN", "CONNECTION_LOST"})
"""Codes after which a payment may be in the store or not."""


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


class Counted(Struct, frozen=True, tag_field="event", tag="counted"):
    """What a round came to; times in nanoseconds.

    Attributes:
        payments: that succeeded, answered within the window.
        payments_all: that succeeded, of the whole round.
        requests: answered within the window, whatever the answer; messages of a stream.
        latencies: see `bench.load.latencies`.
        refused: code → payments, of the whole round.
        unexplained: refusals for too much to do that did not say when to come again.
        told_minor: merchant → sum of all payments that were told to have succeeded.
        unknown_minor: merchant → sum of those whose outcome is not known.
        verified: answers whose signature was verified.
        each_tenth: payments by tenths of a second of the window.
    """

    payments: int
    payments_all: int
    requests: int
    latencies: dict[int, int]
    refused: dict[str, int]
    unexplained: int
    told_minor: dict[str, int]
    unknown_minor: dict[str, int]
    verified: int
    each_tenth: list[int]


class Tally:
    """Counts the answers of one round.

    Args:
        begin_ns, end_ns: the window, on the monotonic clock, which all processes share.
    """

    def __init__(self, begin_ns: int, end_ns: int) -> None:
        self._begin_ns = begin_ns
        self._end_ns = end_ns
        self._latencies = Latencies()
        self._payments = self._payments_all = self._requests = self._unexplained = 0
        self._refused: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._each_tenth = [0] * max(1, -(-(end_ns - begin_ns) // TENTH_NS))
        self.verified = 0

    def answered(self, merchant_no: str, since_ns: int, done: int, told_minor: int) -> None:
        """Count an answer by which so many payments succeeded.

        Args:
            since_ns: when they were sent, or should have been.
            done: how many; a refused request counts as one that did nothing.
            told_minor: their sum.
        """
        now_ns = time.monotonic_ns()
        self._told[merchant_no] += told_minor
        self._payments_all += done
        if self._begin_ns <= now_ns < self._end_ns:
            self._requests += 1
            self._payments += done
            self._each_tenth[(now_ns - self._begin_ns) // TENTH_NS] += done
            if done:
                self._latencies.record(now_ns - since_ns, done)

    def results(
        self, merchant_no: str, since_ns: int, items: Iterable[tuple[int, Told, int]]
    ) -> float:
        """Count what payments that were sent together came to, and are answered together.

        Args:
            items: of each its status, its body, and what it was to pay.

        Returns seconds after which some of them may come again, 0 where none was told to.
        """
        done = told_minor = 0
        wait_s = 0.0
        for status, body, amount_minor in items:
            if status == 201 and body.state == "SUCCEEDED":
                done += 1
                told_minor += body.amount_minor
                continue
            retry_s = body.retry_after_s
            self.refused(merchant_no, status, str(body.code), (amount_minor,), retry_s)
            wait_s = max(wait_s, retry_s or 0)
        self.answered(merchant_no, since_ns, done, told_minor)
        return wait_s

    def refused(
        self,
        merchant_no: str,
        status: int,
        code: str,
        amounts: Sequence[int],
        retry_s: float | None,
    ) -> None:
        """Count payments that were refused.

        Args:
            amounts: of the payments.
            retry_s: after how many seconds they may come again; None where that was not said.
        """
        self._refused[code] += len(amounts)
        self._unexplained += len(amounts) if status in BUSY and retry_s is None else 0
        if code in UNKNOWN:
            self._unknown[merchant_no] += sum(amounts)

    def counted(self) -> Counted:
        """Return what it came to."""
        return Counted(
            self._payments,
            self._payments_all,
            self._requests,
            dict(self._latencies.counts),
            dict(self._refused),
            self._unexplained,
            dict(self._told),
            dict(self._unknown),
            self.verified,
            self._each_tenth,
        )
