"""Rate: how many requests a merchant may send, a token bucket each.

A bucket holds one second's worth at most and fills up evenly, so a burst of that size passes and a
steady stream of the rate does. What stands in the `RateLimit` and `RateLimit-Policy` headers
(draft-ietf-httpapi-ratelimit-headers) is what this decides by. It guards merchants from each other;
what guards the node is admission (`engine.admission`).
"""

import math
from collections.abc import Callable
from typing import Final

from msgspec import Struct

BUCKETS_MAX: Final = 10_000
"""Past so many buckets those that have filled up are forgotten: they are as good as new ones."""


class Allowance(Struct, frozen=True):
    """What a merchant has left once a request was counted.

    Attributes:
        passed: whether the request may pass.
        left: whole requests that may follow at once.
        full_s: whole seconds until the bucket is full again.
        retry_after_s: whole seconds after which one more may pass; 0 where it has passed.
    """

    passed: bool
    left: int
    full_s: int
    retry_after_s: int


class Rates:
    """The buckets of all merchants.

    Args:
        rate_per_s: requests a second that each of them may send.
        clock: monotonic seconds.
        at_once: how many a bucket holds, where that is not one second's worth.
    """

    def __init__(
        self, rate_per_s: float, clock: Callable[[], float], at_once: int | None = None
    ) -> None:
        self.rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s) if at_once is None else float(at_once)
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        self.policy = f'"merchant";q={math.floor(self._size)};w=1'

    def take(self, who: str) -> Allowance:
        """Count one request of a merchant; one that may not pass costs nothing."""
        now = self._clock()
        tokens, at = self._buckets.get(who, (self._size, now))
        tokens = min(self._size, tokens + (now - at) * self.rate_per_s)
        passed = tokens >= 1
        if passed:
            tokens -= 1
        if who not in self._buckets and len(self._buckets) >= BUCKETS_MAX:
            self._forget_full(now)
        self._buckets[who] = (tokens, now)
        return Allowance(
            passed=passed,
            left=math.floor(tokens),
            full_s=math.ceil((self._size - tokens) / self.rate_per_s),
            retry_after_s=0 if passed else max(1, math.ceil((1 - tokens) / self.rate_per_s)),
        )

    def _forget_full(self, now: float) -> None:
        self._buckets = {
            who: (tokens, at)
            for who, (tokens, at) in self._buckets.items()
            if tokens + (now - at) * self.rate_per_s < self._size
        }
