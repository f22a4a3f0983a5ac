"""Faults: what may go wrong in a run, and how often.

As in the simulators of FoundationDB and TigerBeetle each fault is active or not for a whole run,
and an active one fires at a rate that is drawn for the run, a small one more often than a large
one: some runs are calm but for one fault that comes all the time, others have a little of
everything. Every fault draws from a source of its own, so that leaving one out does not change what
the others do.
"""

from collections import Counter
from typing import Final

from msgspec import Struct

from bench.simulator.chance import Chance


class Kind(Struct, frozen=True):
    """One kind of fault.

    Attributes:
        active: how likely it is that a run has it at all.
        rate: bounds of its rate: chance per opportunity, or seconds between two of them.
        timed: whether the rate is seconds between two occurrences.
    """

    active: float
    rate: tuple[float, float]
    timed: bool = False


KINDS: Final = {
    # The process and its disk.
    "crash": Kind(0.6, (0.5, 20.0), timed=True),
    "restart": Kind(0.2, (3.0, 30.0), timed=True),
    "commit_lost": Kind(0.3, (0.001, 0.02)),
    "commit_kept": Kind(0.3, (0.001, 0.02)),
    "map_full": Kind(0.1, (0.001, 0.01)),
    "disk_full": Kind(0.2, (2.0, 20.0), timed=True),
    "disk_slow": Kind(0.3, (1.0, 10.0), timed=True),
    # The links between shards.
    "link_lost": Kind(0.4, (0.01, 0.3)),
    "link_doubled": Kind(0.4, (0.01, 0.4)),
    "link_late": Kind(0.4, (0.01, 0.5)),
    "acknowledgement_lost": Kind(0.4, (0.01, 0.5)),
    "partition": Kind(0.2, (2.0, 15.0), timed=True),
    # Clients and their network.
    "request_lost": Kind(0.4, (0.01, 0.1)),
    "request_late": Kind(0.4, (0.01, 0.1)),
    "request_doubled": Kind(0.3, (0.01, 0.1)),
    "answer_lost": Kind(0.5, (0.01, 0.2)),
    "client_leaves": Kind(0.4, (0.05, 0.5)),
    "number_reused": Kind(0.5, (0.01, 0.1)),
    "overload": Kind(0.3, (1.0, 10.0), timed=True),
    "request_replayed": Kind(0.5, (0.2, 4.0), timed=True),
    "flurry": Kind(0.6, (0.3, 5.0), timed=True),
    # Time and code.
    "clock_forward": Kind(0.7, (0.5, 10.0), timed=True),
    "clock_back": Kind(0.2, (3.0, 30.0), timed=True),
    "turn_raises": Kind(0.3, (0.0005, 0.02)),
}


class Faults:
    """The faults of one run.

    Args:
        seed: of the run.

    Attributes:
        fired: how often each has happened.
        healed: none happens any more.
    """

    def __init__(self, seed: int) -> None:
        self.fired: Counter[str] = Counter()
        self.healed = False
        self._rates: dict[str, float] = {}
        self._chances: dict[str, Chance] = {}
        for name, kind in KINDS.items():
            chance = Chance(f"{seed}/{name}")
            self._chances[name] = chance
            if chance.random() < kind.active:
                low, high = kind.rate
                part = chance.random()
                self._rates[name] = low + (high - low) * part * part * part

    def active(self) -> dict[str, float]:
        """Return the active faults with their rates."""
        return dict(self._rates)

    def fires(self, name: str) -> bool:
        """Return whether a fault happens at this opportunity, and count it."""
        rate = self._rates.get(name)
        if rate is None or self.healed or self._chances[name].random() >= rate:
            return False
        self.fired[name] += 1
        return True

    def pause_s(self, name: str) -> float | None:
        """Return the seconds until a timed fault happens next; None if the run has none."""
        mean = self._rates.get(name)
        return None if mean is None else self._chances[name].expovariate(1 / mean)

    def happened(self, name: str) -> None:
        """Count a timed fault."""
        self.fired[name] += 1

    def draw(self, name: str) -> Chance:
        """Return the fault's own source of chance, for how it happens."""
        return self._chances[name]
