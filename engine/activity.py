"""Activity: which actors of a shard have something waiting, have had turns, or are stuck.

It is gathered when somebody asks, from what is in memory: commands and messages before their turn,
the ring of the last turns, quarantined actors. All of these are bounded, whatever the number of
actors, but there may be tens of thousands: they are copied in one go, 1 ms at most, and counted in
pieces. Idle actors are not in it.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import trio
from msgspec import Struct

from engine.inspection import waiting_messages
from engine.shard import Shard

AT_ONCE: Final = 1_000

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


async def activity(shard: Shard) -> dict[str, Activity]:
    """Return what goes on at a shard's actors, by address, as of the call's begin."""
    stage = shard.stage
    now = trio.current_time()
    asks, messages = list(shard.schedule.waiting()), list(waiting_messages(shard))
    turns, parked = [*stage.history], [*stage.parking.by_actor.items()]
    found: dict[str, Activity] = {}

    def of(address: str) -> Activity:
        there = found.get(address)
        if there is None:
            there = found[address] = Activity()
        return there

    for some_asks in _pieces(asks):
        for ask in some_asks:
            waiting = of(ask.to)
            waiting.depth += 1
            waiting.head_age_s = max(waiting.head_age_s, now - ask.since)
        await trio.lowlevel.checkpoint()
    for some_messages in _pieces(messages):
        for message in some_messages:
            waiting = of(message.to)
            waiting.depth += 1
            behind = stage.ask_of(message.token)
            if behind is not None:
                waiting.head_age_s = max(waiting.head_age_s, now - behind.since)
        await trio.lowlevel.checkpoint()
    for some_turns in _pieces(turns):
        for _, duration_ns, to, _, outcome, _, _ in some_turns:
            taken = of(to)
            taken.turns += 1
            taken.turn_ns_max = max(taken.turn_ns_max, duration_ns)
            taken.failures += outcome != "ok"
        await trio.lowlevel.checkpoint()
    for address, count in parked:
        of(address).parked = count
    return found


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield items by the thousand: a millisecond's work before others have their turn."""
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
