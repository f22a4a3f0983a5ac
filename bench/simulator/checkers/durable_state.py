"""The durable state: all its checkers, which are told of each commit, in one order.

What each of them checks is in the package's own words (`bench.simulator.checkers`).
"""

from collections import Counter
from typing import Any

from bench.simulator.checkers.journal import Journal
from bench.simulator.checkers.limits import Limits
from bench.simulator.checkers.marks import Marks
from bench.simulator.checkers.messages import Messages
from bench.simulator.checkers.records import HoldEnd, Records
from bench.simulator.checkers.totals import Totals
from bench.simulator.disk import Durable
from bench.simulator.failure import Fail
from engine.timers import open_timer
from storage.row import TIMERS


class Checkers:
    """All checkers of the durable state.

    Args:
        starts: of every shard the chain value and the time of its first commit.
        fail: told what is wrong.
        now: virtual time, seconds.
        effects: counts what is worth knowing of.

    Attributes:
        states: every actor's durable state, by address.
        records: every durable record, by (address, tag, name).
        hold_ends: when each hold came to its end.
        moments: when something became durable (`Journal.moments`).
        marks: those that are durable.
    """

    def __init__(
        self, starts: list[tuple[bytes, int]], fail: Fail, now: Any, effects: Counter[str]
    ) -> None:
        shards = len(starts)
        self._effects = effects
        self.marks = Marks(shards, fail, effects)
        self._journal = Journal(starts, fail, now, effects)
        self._records = Records(shards, self._journal, self.marks, fail, now)
        self._messages = Messages(shards, fail, effects)
        self._limits = Limits(self._records.states, self._records.records, fail)
        self._totals = Totals(self._records.states, shards, fail)
        self.states: dict[str, Any] = self._records.states
        self.records: dict[tuple[str, str, str], Any] = self._records.records
        self.hold_ends: list[HoldEnd] = self._records.hold_ends
        self.moments = self._journal.moments

    def booted(self, shard: int, *, crashed: bool, few: bool) -> None:
        """Hear that a shard begins again (see `Messages.booted`)."""
        self._messages.booted(shard, crashed=crashed, few=few)

    def committed(self, durable: Durable) -> None:
        """Check one commit; called when it has become durable."""
        touched = self._journal.committed(durable)
        for key, payload in durable.writes.rows.get(TIMERS, {}).items():
            if payload is not None and open_timer(key, payload).attempts:
                self._effects["timers due at a start"] += 1
        self._limits.before(durable)
        changed, signed = self._records.read(durable)
        self._limits.committed(signed)
        self._totals.committed(durable, changed)
        self._records.committed(durable, changed, touched)
        self._messages.committed(durable, self._journal.posted(durable.shard))
        self._journal.dates(durable)
        self.marks.committed(durable)
