"""Gauges: the figures of a shard that cost next to nothing to read, however large it is.

`engine.inspection` answers people who look at something; this is for whoever reads the same
figures every few seconds for ever. Nothing is scanned, sorted or copied but what is bounded by the
number of shards or of quarantined actors.
"""

import trio
from msgspec import Struct

from engine.shard import Shard


class LinkSigns(Struct, frozen=True):
    """A shard's ends of its links with another.

    Attributes:
        shard: the other one.
        sent, acknowledged: number of the newest message to it, and of the newest that is durable
            there, as far as it has been heard of since the start.
        taken, arrived: the same from it: with their effects, and waiting for their turns.
    """

    shard: int
    sent: int
    acknowledged: int
    taken: int
    arrived: int


class Gauges(Struct, frozen=True):
    """One shard now.

    Attributes:
        actors_live: actors in memory.
        actors_quarantined, parked: those that wait for an operator, and their parked messages.
        waiting, unconfirmed: commands before their first turn, and all that hold a slot.
        unconfirmed_max: slots that there are.
        messages: those in memory that wait for their turn.
        oldest_command_s: the age of the oldest command that holds a slot, 0 for none.
        committing_s: for how long the commit has run that is not durable yet, 0 for none.
        dates_closing: business dates that were cut and are not closed.
    """

    shard: int
    durable_seq: int
    actors_live: int
    actors_quarantined: int
    parked: int
    waiting: int
    unconfirmed: int
    unconfirmed_max: int
    messages: int
    oldest_command_s: float
    committing_s: float
    dates_closing: int
    links: list[LinkSigns]


def gauges(shard: Shard) -> Gauges:
    """Read a shard's gauges, in the event loop."""
    stage, admission = shard.stage, shard.admission
    now = trio.current_time()
    oldest = next(iter(stage.asks.values()), None)
    since = shard.vitals.committing_since
    return Gauges(
        shard=stage.number,
        durable_seq=stage.durable_seq,
        actors_live=len(stage.actors),
        actors_quarantined=len(stage.parking.by_actor),
        parked=sum(stage.parking.by_actor.values()),
        waiting=admission.waiting,
        unconfirmed=admission.unconfirmed,
        unconfirmed_max=admission.shard_max,
        messages=len(stage.carried) + len(stage.internal) + len(stage.inbox),
        oldest_command_s=0.0 if oldest is None else max(0.0, now - oldest.since),
        committing_s=0.0 if since is None else now - since,
        dates_closing=len(stage.closing),
        links=link_signs(shard),
    )


def link_signs(shard: Shard) -> list[LinkSigns]:
    """Return how a shard's links are, in the event loop; nothing where it is the only one."""
    links = shard.stage.links
    if links is None:
        return []
    return [
        LinkSigns(
            other,
            links.sending[other].end.last,
            links.sending[other].acknowledged,
            links.receiving[other].end.cursor,
            links.receiving[other].arrived,
        )
        for other in links.others
    ]
