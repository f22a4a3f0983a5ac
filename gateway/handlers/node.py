"""The node itself: that it answers, where it stands, and the codes that it speaks."""

from typing import Final, Literal

from msgspec import Struct

from actors.answers import instant
from gateway.answer import JSON, Answer, encode, kept
from gateway.desk import Caller, ClockKind, Desk
from gateway.endpoint import read
from gateway.errors import CODES
from storage.row import ACTORS, HUBS, PARKED, RECORDS


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing to say."""


class HealthView(Struct, frozen=True, tag_field="object", tag="health"):
    """The node answers; this is all that strangers are told of it."""

    state: Literal["UP"] = "UP"


class Counts(Struct, frozen=True):
    """How many there are of what.

    Attributes:
        unconfirmed: commands that were admitted and whose chains have not ended.
        actors_live: actors in memory.
        actors, records, parked: rows that are durable.
        commits, turns, answers: since the process started.
    """

    unconfirmed: int
    actors_live: int
    actors: int
    records: int
    parked: int
    commits: int
    turns: int
    answers: int


class NodeView(Struct, frozen=True, tag_field="object", tag="node"):
    """Where the node stands.

    Attributes:
        now: the clock that turns get their time from.
        durable_seq: the newest durable commit of each shard.
        incarnation: drawn anew when a store is created or restored.
    """

    version: str
    business_date: str
    now: str
    clock: ClockKind
    durable_seq: list[int]
    incarnation: str
    counts: Counts


class ErrorView(Struct, frozen=True):
    """One code: its status, what it means and what to do."""

    code: str
    status: int
    title: str
    advice: str


_HEALTH: Final = Answer(200, HealthView())
_ERRORS: Final = kept(
    encode(
        [
            ErrorView(str(code), meaning.status, meaning.title, meaning.advice)
            for code, meaning in CODES.items()
        ]
    ),
    JSON,
)


async def get_health(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
    """Return that the node answers, and nothing else about it."""
    return _HEALTH


async def get_node(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
    """Return where the node stands."""
    shards = desk.node.shards
    rows = dict.fromkeys((ACTORS, HUBS, RECORDS, PARKED), 0)
    for shard in shards:
        snapshot = shard.store.snapshot()
        try:
            for table in rows:
                rows[table] += snapshot.count(table)
        finally:
            snapshot.close()
    view = NodeView(
        version=desk.version,
        business_date=desk.business_date(),
        now=instant(desk.node.clock.now_ns()),
        clock=desk.clock_kind,
        durable_seq=[shard.stage.durable_seq for shard in shards],
        incarnation=shards[0].store.format.incarnation,
        counts=Counts(
            unconfirmed=sum(shard.admission.unconfirmed for shard in shards),
            actors_live=sum(len(shard.stage.actors) for shard in shards),
            actors=rows[ACTORS] + rows[HUBS],
            records=rows[RECORDS],
            parked=rows[PARKED],
            commits=sum(shard.vitals.commits for shard in shards),
            turns=sum(shard.vitals.turns for shard in shards),
            answers=sum(shard.vitals.answers for shard in shards),
        ),
    )
    return Answer(200, view)


async def list_errors(desk: Desk, caller: Caller, asked: Nothing) -> Answer:
    """Return the table of codes."""
    return _ERRORS


ENDPOINTS: Final = (
    read("/v1/health", Nothing, get_health, "anyone", HealthView),
    read("/v1/node", Nothing, get_node, "bank", NodeView),
    read("/v1/errors", Nothing, list_errors, "anyone", list[ErrorView], stays=True),
)
