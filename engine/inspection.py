"""Inspection: what an actor and its shard are doing, seen without disturbing them.

Everything is read where it lies: nothing is activated, no lock is taken, and what could be long
is bounded. Both functions run in the event loop, between two slices, so that what they return
fits together. States are shown as they are: whoever shows them to people masks what is secret.
"""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Any, Final

import trio
from msgspec import Struct

from engine import parking, timers
from engine.address import row_key
from engine.admission import Ask
from engine.gauges import LinkSigns, link_signs
from engine.history import TurnTaken
from engine.message import Envelope
from engine.shard import Shard
from storage.journal import Posting, open_commit, posting_at
from storage.row import COMMITS
from storage.store import Snapshot

TURNS_MAX: Final = 50
TIMERS_MAX: Final = 50
TIMERS_READ_MAX: Final = 2_000
"""Timers lie in the order of their due time, not by actor: so many are looked through, in 4 ms."""
PARKED_MAX: Final = 20
POSTINGS_MAX: Final = 20


class Mailbox(Struct, frozen=True):
    """What waits for its turn at an actor.

    Attributes:
        depth: commands and messages, without what is parked.
        head: type of the one that is next, empty where there is none.
        head_age_s: how long ago the command behind it was admitted; None where that is not
            known: nobody waits for it, or it comes from before a restart.
    """

    depth: int
    head: str
    head_age_s: float | None


class WaitsFor(Struct, frozen=True):
    """What an actor waits for.

    Attributes:
        commit: the commit that makes its newest change durable, 0 when it is.
        chains: commands that began with it and whose messages are not through.
        messages: to whom messages of its own are under way, oldest first, at most 50.
        operator: it is quarantined.
    """

    commit: int
    chains: int
    messages: list[str]
    operator: bool


class TimerSet(Struct, frozen=True):
    """A timer as of the last turn; `message` is the type of what it delivers."""

    due_ns: int
    name: str
    message: str


class ParkedMessage(Struct, frozen=True):
    """A message that waits for an operator, and why."""

    sender: str
    message: str
    business_date: str
    amount_minor: int
    currency: str
    attempts: int
    error: str


class Posted(Struct, frozen=True):
    """A durable posting and its sequence in the shard's journal."""

    sequence: int
    posting: Posting


class Inspection(Struct, frozen=True):
    """One actor.

    Attributes:
        live: it is in memory.
        confirmed, speculative: its state as of the last commit and as of its last turn; None
            while it does not exist there.
        staged_seq: the commit that holds its newest change since it was activated, 0 for none.
        durable_seq: the newest commit.
        turns: its last turns, newest first.
        timers: the next ones; `timers_complete` says whether these are all.
        parked: the first ones of `parked_count`, first in, first out.
        postings: its newest durable ones, newest first.
    """

    address: str
    live: bool
    confirmed: Any
    speculative: Any
    staged_seq: int
    durable_seq: int
    mailbox: Mailbox
    waits_for: WaitsFor
    turns: list[TurnTaken]
    timers: list[TimerSet]
    timers_complete: bool
    parked: list[ParkedMessage]
    parked_count: int
    postings: list[Posted]


class VitalSigns(Struct, frozen=True):
    """One shard; latencies in nanoseconds, over the last thousand commits.

    Attributes:
        actors_live: actors in memory.
        actors_ready: those with something in their mailbox.
        actors_quarantined: those that wait for an operator.
        waiting, unconfirmed: commands before their first turn, and all that hold a slot.
        dates_closing: business dates that were cut and are not closed yet.
        batch_turns_p50, batch_turns_max: turns a commit.
        commit_ns_p50 to sync_ns_p99: a commit, and the part of it in the store's own commit.
        links: with each other shard.
    """

    shard: int
    failed: bool
    durable_seq: int
    actors_live: int
    actors_ready: int
    actors_quarantined: int
    waiting: int
    unconfirmed: int
    messages_under_way: int
    dates_closing: list[str]
    commits: int
    turns: int
    answers: int
    batch_turns_p50: int
    batch_turns_max: int
    commit_ns_p50: int
    commit_ns_p99: int
    sync_ns_p50: int
    sync_ns_p99: int
    links: list[LinkSigns]


def inspect(shard: Shard, address: str) -> Inspection:
    """Look at one actor of a shard, in the event loop.

    Raises:
        AddressError: it is not an address, or there are no actors of its kind.
        StorageError: a row could not be read.
    """
    stage = shard.stage
    kind = stage.kinds.of(address)
    actor = stage.actors.get(address)
    snapshot = shard.store.snapshot()
    try:
        payload = snapshot.get(kind.table, row_key(address))
        confirmed = None if payload is None else kind.decode_state(payload)
        newest = next(snapshot.scan(COMMITS, reverse=True))
        durable_seq = open_commit(*newest).sequence
        due, complete = _timers(shard, snapshot, address)
        batches = [batch for batch in (stage.committing, stage.batch) if batch]
        parked = [
            ParkedMessage(
                row.sender,
                type(stage.kinds.opened(row).body).__name__,
                row.business_date,
                row.amount_minor,
                row.currency,
                row.attempts,
                row.error,
            )
            for _, row in islice(
                parking.parked(snapshot, [batch.parked for batch in batches], address), PARKED_MAX
            )
        ]
        starts = () if confirmed is None else kind.newest_postings(confirmed)
        postings = list(_postings(snapshot, starts))
    finally:
        snapshot.close()
    staged_seq = 0 if actor is None else actor.staged_seq
    return Inspection(
        address=address,
        live=actor is not None,
        confirmed=confirmed,
        speculative=confirmed if actor is None else actor.state,
        staged_seq=staged_seq,
        durable_seq=durable_seq,
        mailbox=_mailbox(shard, address),
        waits_for=WaitsFor(
            commit=staged_seq if staged_seq > durable_seq else 0,
            chains=sum(ask.to == address and _under_way(ask) for ask in stage.asks.values()),
            messages=[each.to for each in waiting_messages(shard) if each.sender == address][:50],
            operator=address in stage.parking.by_actor,
        ),
        turns=stage.history.of(address, TURNS_MAX),
        timers=due,
        timers_complete=complete,
        parked=parked,
        parked_count=stage.parking.by_actor[address],
        postings=postings,
    )


def vital_signs(shard: Shard, after: int = 0) -> VitalSigns:
    """Look at a shard as a whole, in the event loop.

    Args:
        after: percentiles are of those of its last thousand commits that came after this one.
    """
    stage, vitals = shard.stage, shard.vitals
    recent = [commit for commit in vitals.recent if commit.sequence > after]
    ready = {ask.to for ask in shard.schedule.waiting()}
    ready |= {each.to for each in waiting_messages(shard)}
    turns = sorted(commit.turns for commit in recent)
    commit_ns = sorted(commit.total_ns for commit in recent)
    sync_ns = sorted(commit.sync_ns for commit in recent)
    return VitalSigns(
        shard=stage.number,
        failed=shard.failure is not None,
        durable_seq=stage.durable_seq,
        actors_live=len(stage.actors),
        actors_ready=len(ready),
        actors_quarantined=len(stage.parking.by_actor),
        waiting=shard.admission.waiting,
        unconfirmed=shard.admission.unconfirmed,
        messages_under_way=sum(1 for _ in waiting_messages(shard)),
        dates_closing=sorted(stage.closing),
        commits=vitals.commits,
        turns=vitals.turns,
        answers=vitals.answers,
        batch_turns_p50=_percentile(turns, 50),
        batch_turns_max=_percentile(turns, 100),
        commit_ns_p50=_percentile(commit_ns, 50),
        commit_ns_p99=_percentile(commit_ns, 99),
        sync_ns_p50=_percentile(sync_ns, 50),
        sync_ns_p99=_percentile(sync_ns, 99),
        links=link_signs(shard),
    )


def waiting_messages(shard: Shard) -> Iterator[Envelope]:
    """Yield the messages that wait for their turn, those that come first first."""
    yield from (envelope for _, envelope in shard.stage.carried)
    yield from shard.stage.internal
    yield from (envelope for _, _, envelope in shard.stage.inbox if envelope.to)


def _under_way(ask: Ask) -> bool:
    return ask.started and ask.pending > 0


def _mailbox(shard: Shard, address: str) -> Mailbox:
    messages = [each for each in waiting_messages(shard) if each.to == address]
    commands = [ask for ask in shard.schedule.waiting() if ask.to == address]
    ask: Ask | None = None
    body: Any = None
    if messages:  # they come before commands
        body, token = messages[0].body, messages[0].token
        if token is not None and token[:2] == (shard.store.epoch, shard.stage.number):
            ask = shard.stage.asks.get(token[2])
    elif commands:
        ask = min(commands, key=lambda each: each.n)
        body = ask.body
    return Mailbox(
        len(messages) + len(commands),
        "" if body is None else type(body).__name__,
        None if ask is None else trio.current_time() - ask.since,
    )


def _timers(shard: Shard, snapshot: Snapshot, address: str) -> tuple[list[TimerSet], bool]:
    stage = shard.stage
    overlays = [batch.timers for batch in (stage.committing, stage.batch) if batch]
    found: list[TimerSet] = []
    for number, (key, payload) in enumerate(timers.scan(snapshot, overlays, timers.NEVER)):
        if number == TIMERS_READ_MAX or len(found) == TIMERS_MAX:
            return found, False
        due_ns, owner, name = timers.split_timer_key(key)
        if owner == address:
            body = stage.kinds.read_body(address, timers.open_timer(key, payload).body)
            found.append(TimerSet(due_ns, name, type(body).__name__))
    return found, True


def _postings(snapshot: Snapshot, starts: tuple[int, ...]) -> Iterator[Posted]:
    """Yield an actor's newest postings, walking back from the newest of each ledger account."""
    accounts = [_back_from(snapshot, start) for start in starts]
    newest_first = merge(*accounts, key=lambda each: each.sequence, reverse=True)
    return islice(newest_first, POSTINGS_MAX)


def _back_from(snapshot: Snapshot, sequence: int) -> Iterator[Posted]:
    while sequence:
        posting = posting_at(snapshot, sequence)
        if posting is None:
            return
        yield Posted(sequence, posting)
        sequence = posting.prev


def _percentile(ascending: list[int], percent: int) -> int:
    """Return the smallest figure that `percent` of all do not exceed, 0 where there are none."""
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)] if ascending else 0
