"""The simulated ways between shards: what is carried may be lost, doubled, late or cut off.

Only what links make good is disturbed: messages and their acknowledgements. How chains are counted
and callers told is a call within the process, and as sure as that.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from bench.simulator.chance import Chance
from bench.simulator.faults import Faults
from engine.exchange import Exchange
from engine.message import Envelope

LATE_S = 3.0


class Network(Exchange):
    """The ways of one node, see `engine.way.Way`.

    Args:
        effects: counts what came of it.
        later: calls a function after some seconds, if the node is still there.
    """

    def __init__(
        self,
        rested: Callable[[], None],
        committed: Callable[[], None],
        *,
        faults: Faults,
        chance: Chance,
        later: Callable[[float, Callable[[], None]], None],
        effects: Counter[str],
    ) -> None:
        super().__init__(rested, committed)
        self._faults = faults
        self._chance = chance
        self._later = later
        self._effects = effects
        self.cut: set[tuple[int, int]] = set()

    def carry(self, source: int, to: int, first: int, messages: Sequence[Envelope]) -> None:
        """See `Way.carry`."""
        faults = self._faults
        if self._severed(source, to) or faults.fires("link_lost"):
            return
        copies = 2 if faults.fires("link_doubled") else 1
        links = self.shards[to].stage.links
        assert links is not None
        arrived = links.receiving[source].arrived
        self._effects["messages sent again"] += max(0, min(arrived + 1 - first, len(messages)))
        self._effects["gaps"] += first > arrived + 1
        for _ in range(copies):
            if faults.fires("link_late"):
                self._later(
                    self._chance.uniform(0, LATE_S),
                    lambda: super(Network, self).carry(source, to, first, messages),
                )
            else:
                super().carry(source, to, first, messages)

    def acknowledge(self, source: int, to: int, cursor: int) -> None:
        """See `Way.acknowledge`."""
        if self._severed(source, to) or self._faults.fires("acknowledgement_lost"):
            return
        super().acknowledge(source, to, cursor)

    def _severed(self, one: int, other: int) -> bool:
        return (min(one, other), max(one, other)) in self.cut
