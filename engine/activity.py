"""Activity: which actors of a shard have something waiting, have had turns, or are stuck.

It is gathered when somebody asks, in one pass over what is in memory: commands and messages before
their turn, the ring of the last turns, quarantined actors. All of these are bounded, whatever the
number of actors, so a pass takes a few milliseconds at most; idle actors are not in it.
"""

import trio
from msgspec import Struct

from engine.inspection import waiting_messages
from engine.shard import Shard


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


def activity(shard: Shard) -> dict[str, Activity]:
    """Return what goes on at a shard's actors, by address; in the event loop."""
    stage = shard.stage
    now = trio.current_time()
    found: dict[str, Activity] = {}

    def of(address: str) -> Activity:
        there = found.get(address)
        if there is None:
            there = found[address] = Activity()
        return there

    for ask in shard.waiting():
        waiting = of(ask.to)
        waiting.depth += 1
        waiting.head_age_s = max(waiting.head_age_s, now - ask.since)
    for message in waiting_messages(shard):
        waiting = of(message.to)
        waiting.depth += 1
        behind = stage.ask_of(message.token)
        if behind is not None:
            waiting.head_age_s = max(waiting.head_age_s, now - behind.since)
    for turn in stage.history:
        taken = of(turn[2])
        taken.turns += 1
        taken.turn_ns_max = max(taken.turn_ns_max, turn[1])
        taken.failures += turn[4] != "ok"
    for address, count in stage.parking.by_actor.items():
        if count:
            of(address).parked = count
    return found
