"""Rows of shards: how each is, its links and commits, and whether the money is right."""

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Final

import trio
from msgspec import Meta, Struct

from actors.account import CLEARING, HELD
from actors.answers import instant
from actors.kinds import ACCOUNT
from engine.gauges import link_signs
from engine.inspection import VitalSigns, vital_signs
from engine.node import Node
from engine.shard import Shard
from engine.totals import Sums, durable_totals
from gateway.answer import Answer
from gateway.errors import RequestCode, RequestError
from gateway.handlers.node import Nothing
from gateway.lookup import state_of
from gateway.ops.desk import OpsDesk, Visitor
from gateway.ops.operators import Right
from gateway.ops.row import read
from storage.journal import Commit, newest_commit, open_commit, sequence_key
from storage.row import COMMITS


class ShardList(Struct, frozen=True):
    """All shards, in order."""

    items: list[VitalSigns]


class LinkView(Struct, frozen=True, tag_field="object", tag="link"):
    """A shard's ends of its links with another.

    Attributes:
        sent, acknowledged: numbers of the newest message to the other, and of the newest known to
            be durable there.
        under_way: messages between the two.
        taken, arrived: the newest from the other with its effects, and how many wait for a turn.
    """

    shard: int
    other: int
    sent: int
    acknowledged: int
    under_way: int
    taken: int
    arrived: int


class LinkList(Struct, frozen=True):
    """All links, both ends of each."""

    items: list[LinkView]


class ListCommits(Struct, frozen=True, forbid_unknown_fields=True):
    """Which commits: of one shard, those before `cursor`."""

    shard: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[int, Meta(ge=1)] | None = None


class CommitView(Struct, frozen=True, tag_field="object", tag="commit"):
    """A durable commit.

    Attributes:
        epoch: how often the store had been opened.
        answers, commit_ns, sync_ns: known of the last thousand since the start, else null.
        chain: over all postings up to here, in hexadecimal.
    """

    shard: int
    sequence: int
    at: str
    epoch: int
    business_date: str
    turns: int
    postings: int
    answers: int | None
    commit_ns: int | None
    sync_ns: int | None
    chain: str


class CommitPage(Struct, frozen=True):
    """A page of commits, newest first; `next_cursor` asks for what follows, null at the end."""

    items: list[CommitView]
    next_cursor: int | None


class CurrencyView(Struct, frozen=True, tag_field="object", tag="conserved"):
    """Where a currency's money is, in minor units.

    Attributes:
        accounts_minor: of all ledger accounts together, those of the bank itself among them.
        messages_minor: in messages that are durable on the shard of their receiver, parked or not.
        on_links_minor: sent by one shard and not taken by another.
        difference_minor: these three together: 0, or money has come or gone.
        issued_minor: what has come into the bank and not left it.
        held_minor: what accounts hold for merchants, a part of what is in them; null while it is
            being added up, which a store of an earlier version needs once.
    """

    currency: str
    accounts_minor: int
    messages_minor: int
    on_links_minor: int
    difference_minor: int
    issued_minor: int
    held_minor: int | None


class ConservationView(Struct, frozen=True, tag_field="object", tag="conservation"):
    """The money as of the newest commits, over all dates that are not closed: there it moves, and
    one that is closed has balanced by itself.

    Attributes:
        durable_seq: those commits, one a shard.
    """

    balanced: bool
    durable_seq: list[int]
    currencies: list[CurrencyView]


async def list_shards(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return how each shard is: actors, queues, batches, commits, links."""
    signs = []
    for shard in desk.node.shards:  # what waits there is counted: others have their turn between
        signs.append(vital_signs(shard))
        await trio.lowlevel.checkpoint()
    return Answer(200, ShardList(signs))


async def list_links(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return how the shards' links are; none where there is one shard."""
    return Answer(200, LinkList([each for shard in desk.node.shards for each in _links(shard)]))


def _links(shard: Shard) -> Iterator[LinkView]:
    for link in link_signs(shard):
        yield LinkView(
            shard.stage.number,
            link.shard,
            link.sent,
            link.acknowledged,
            link.sent - link.acknowledged,
            link.taken,
            link.arrived,
        )


async def list_commits(desk: OpsDesk, visitor: Visitor, asked: ListCommits) -> Answer:
    """Return a shard's durable commits, newest first."""
    if asked.shard >= len(desk.node.shards):
        detail = f"there are {len(desk.node.shards)} shards, from 0 on"
        raise RequestError(RequestCode.INVALID_REQUEST, detail)
    shard = desk.node.shards[asked.shard]
    stop = None if asked.cursor is None else sequence_key(asked.cursor)
    snapshot = shard.store.snapshot()
    try:
        rows = islice(snapshot.scan(COMMITS, stop=stop, reverse=True), asked.limit + 1)
        commits = [open_commit(*row) for row in rows]
    finally:
        snapshot.close()
    times = {each.sequence: each for each in shard.vitals.recent}
    items = []
    for commit in commits[: asked.limit]:
        taken = times.get(commit.sequence)
        items.append(
            CommitView(
                asked.shard,
                commit.sequence,
                instant(commit.now_ns),
                commit.epoch,
                commit.business_date,
                commit.turns,
                commit.postings,
                None if taken is None else taken.answers,
                None if taken is None else taken.total_ns,
                None if taken is None else taken.sync_ns,
                commit.chain.hex(),
            )
        )
    more = len(commits) > asked.limit
    return Answer(200, CommitPage(items, items[-1].sequence if more else None))


async def get_conservation(desk: OpsDesk, visitor: Visitor, asked: Nothing) -> Answer:
    """Return whether the money is right as of the newest commits, currency by currency."""
    # All in one go of the event loop: no shard can have taken what another has not sent by then.
    commits, totals = [], []
    for shard in desk.node.shards:
        snapshot = shard.store.snapshot()
        try:
            commits.append(newest_commit(snapshot))
            totals.append(durable_totals(snapshot, commits[-1]))
        finally:
            snapshot.close()
    names = {each.currency for commit in commits for each in commit.sums}
    names |= {currency for sums in totals if sums for currency in sums.get(HELD, {})}
    currencies = [_currency(desk.node, name, commits, totals) for name in sorted(names)]
    balanced = not any(each.difference_minor for each in currencies)
    durable = [commit.sequence for commit in commits]
    return Answer(200, ConservationView(balanced, durable, currencies))


def _currency(
    node: Node, currency: str, commits: list[Commit], totals: list[Sums | None]
) -> CurrencyView:
    sums = [each for commit in commits for each in commit.sums if each.currency == currency]
    accounts = sum(each.postings_minor for each in sums)
    messages = sum(each.messages_minor for each in sums)
    on_links = sum(each.sent_minor - each.received_minor for each in sums)
    clearing = state_of(node, ACCOUNT, f"{CLEARING}{currency}")
    return CurrencyView(
        currency,
        accounts,
        messages,
        on_links,
        accounts + messages + on_links,
        0 if clearing is None else -clearing.posted_minor,
        _held(currency, totals),
    )


def _held(currency: str, totals: list[Sums | None]) -> int | None:
    held = 0
    for sums in totals:
        if sums is None:
            return None
        held += sums.get(HELD, {}).get(currency, 0)
    return held


ROWS: Final = (
    read("/ops/shards", Nothing, list_shards, Right.LOOK, ShardList),
    read("/ops/links", Nothing, list_links, Right.LOOK, LinkList),
    read("/ops/commits", ListCommits, list_commits, Right.LOOK, CommitPage),
    read("/ops/conservation", Nothing, get_conservation, Right.LOOK, ConservationView),
)
