"""Activity: which actors of a shard have something waiting, have had turns, or are stuck.

It is gathered when somebody asks, from what is in memory: commands and messages before their turn,
the ring of the last turns, quarantined actors. All of these are bounded, whatever the number of
actors, but there may be tens of thousands: they are copied in one go, 1 ms at most, and counted in
pieces. What is counted is one measure of all actors, or all measures of a few: both of everybody
took 3 ms a shard, every time that somebody looked at a list. Idle actors are not in it.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal, TypeVar

import trio
from msgspec import Struct

from engine.admission import Ask
from engine.inspection import waiting_messages
from engine.message import Envelope
from engine.shard import Shard

AT_ONCE: Final = 2_000

Measure = Literal["depth", "head_age", "turn_time", "failures", "dead_letters"]
"""What of an `Activity` actors are compared by."""

T = TypeVar("T")


class Activity(Struct):
    """What goes on at one actor.

    Attributes:
        depth: commands and messages before their turn.
        head_age_s: how long ago the oldest command behind them was admitted; 0 where nobody waits.
        turns, turn_ns_max, failures: of those in the ring: how many, the longest, those undone.
        parked: messages that wait for an operator.
    """

    depth: int = 0
    head_age_s: float = 0.0
    turns: int = 0
    turn_ns_max: int = 0
    failures: int = 0
    parked: int = 0


class Activities:
    """What goes on at a shard's actors, as of when this is made.

    Args:
        shard: what is copied from, in the event loop.
    """

    def __init__(self, shard: Shard) -> None:
        self._stage = shard.stage
        self._now = trio.current_time()
        self._waiting: list[Ask | Envelope] = [*shard.schedule.waiting(), *waiting_messages(shard)]
        self._turns = list(shard.stage.history)
        self._parked = dict(shard.stage.parking.by_actor)

    async def most(self, measure: Measure) -> dict[str, float]:
        """Return one measure of all actors, by address; those with none of it are left out.

        Others have their turn meanwhile: 0.1 µs goes to a turn in the ring.
        """
        if measure == "dead_letters":
            return {address: float(count) for address, count in self._parked.items()}
        found: dict[str, float] = {}
        if measure in {"depth", "head_age"}:
            for some in _pieces(self._waiting):
                for each in some:
                    before = found.get(each.to, 0.0)
                    found[each.to] = (
                        before + 1 if measure == "depth" else max(before, self._age_s(each))
                    )
                await trio.lowlevel.checkpoint()
            return {address: most for address, most in found.items() if most}
        for turns in _pieces(self._turns):
            if measure == "failures":
                for _, _, to, _, outcome, _, _ in turns:
                    if outcome != "ok":
                        found[to] = found.get(to, 0.0) + 1
            else:
                for _, duration_ns, to, _, _, _, _ in turns:
                    if duration_ns > found.get(to, 0.0):
                        found[to] = duration_ns
            await trio.lowlevel.checkpoint()
        return found

    async def at(self, addresses: Collection[str]) -> dict[str, Activity]:
        """Return what goes on at some actors, by address; others have their turn meanwhile."""
        found = {address: Activity(parked=self._parked.get(address, 0)) for address in addresses}
        for some in _pieces(self._waiting):
            for each in some:
                if each.to in found:
                    waiting = found[each.to]
                    waiting.depth += 1
                    waiting.head_age_s = max(waiting.head_age_s, self._age_s(each))
            await trio.lowlevel.checkpoint()
        for turns in _pieces(self._turns):
            for _, duration_ns, to, _, outcome, _, _ in turns:
                if to in found:
                    taken = found[to]
                    taken.turns += 1
                    taken.turn_ns_max = max(taken.turn_ns_max, duration_ns)
                    taken.failures += outcome != "ok"
            await trio.lowlevel.checkpoint()
        return found

    def _age_s(self, waiting: Ask | Envelope) -> float:
        """Return how long ago the command behind something was admitted, 0 where there is none."""
        behind = waiting if isinstance(waiting, Ask) else self._stage.ask_of(waiting.token)
        return 0.0 if behind is None else self._now - behind.since


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items in pieces: a millisecond's work at most before others have their turn."""
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
