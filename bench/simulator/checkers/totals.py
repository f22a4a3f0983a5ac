"""Totals: what a shard says that its accounts hold is what they hold.

The checker `held-total`. It adds up what accounts' rows say; that each of them is right is the
business of `holds`.
"""

from collections import Counter
from typing import Any

import msgspec

from actors.account import HELD, Account
from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.totals import TOTALS_KEY
from storage.row import META


class Totals:
    """What is held on every shard, and what its row says.

    Args:
        states: every actor's durable state, by address.
        shards: how many there are.
        fail: told what is wrong.
    """

    def __init__(self, states: dict[str, Any], shards: int, fail: Fail) -> None:
        self._states = states
        self._fail = fail
        self._of: Counter[str] = Counter()
        self._held: list[Counter[str]] = [Counter() for _ in range(shards)]
        self._said: list[tuple[int, dict[str, dict[str, int]]]] = [(-1, {})] * shards

    def committed(self, durable: Durable, changed: set[str]) -> None:
        """Check one commit.

        Args:
            changed: the actors that it has changed.
        """
        shard = durable.shard
        for address in changed:
            state = self._states.get(address)
            if isinstance(state, Account):
                self._held[shard][state.currency] += state.held_minor - self._of[address]
                self._of[address] = state.held_minor
        row = durable.writes.rows.get(META, {}).get(TOTALS_KEY)
        if row is not None:
            self._said[shard] = msgspec.msgpack.decode(row)
        epoch, sums = self._said[shard]
        if epoch != durable.commit.epoch:
            self._fail("held-total", f"shard {shard}: of epoch {epoch} in {durable.commit.epoch}")
        off = Counter(sums.get(HELD, {}))
        off.subtract(self._held[shard])
        for currency, minor in off.items():
            if minor:
                self._fail("held-total", f"shard {shard} is off by {minor} {currency}")
