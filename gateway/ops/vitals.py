"""A node's pulse: what it does and how it is, measured between one look and the next.

Counters are compared with the look before; times come from what shards and the API's counter keep
of the last turns, commits and answers. Nothing is counted a payment for it: how many succeeded is
told from the ring of turns, and where more turns came than that holds, reckoned from their share.
A look takes 2 ms a shard, and others have their turn between two shards.
"""

import resource
import time
from collections import deque
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

import trio
from msgspec import Struct

from actors.answers import instant
from actors.messages import PaymentDebited
from engine.gauges import gauges
from engine.history import History
from engine.node import Node
from engine.shard import Shard
from gateway.counter import Counter

ANSWERS_MAX: Final = 4_096
"""Answers whose times are kept."""
_PAGE_BYTES: Final = resource.getpagesize()
_S: Final = 1e-9


class ShardVitals(Struct, frozen=True):
    """One shard since the look before; times in nanoseconds, null where nothing was timed.

    Attributes:
        payments_per_s: those that succeeded; reckoned where there were more than 4,096 turns.
        turns_per_s: of which a payment has three.
        answers_per_s: those that rested on a commit.
        batch_turns: turns a commit, on average.
        commit_ns_p50, commit_ns_p99: of the last thousand commits at most.
        turn_ns_p50, turn_ns_p99: of the last 4,096 turns at most.
        waiting: commands before their first turn.
        messages: those between actors, before their turn.
        unconfirmed, unconfirmed_max: commands in flight, and how many there may be.
        oldest_command_s: the age of the oldest of them, 0 for none.
        committing_s: for how long the commit has run that is not durable yet, 0 for none.
        actors_live, actors_quarantined: in memory, and waiting for an operator.
        parked: messages of those.
    """

    shard: int
    durable_seq: int
    payments_per_s: float
    turns_per_s: float
    commits_per_s: float
    answers_per_s: float
    batch_turns: float
    commit_ns_p50: int | None
    commit_ns_p99: int | None
    turn_ns_p50: int | None
    turn_ns_p99: int | None
    waiting: int
    messages: int
    unconfirmed: int
    unconfirmed_max: int
    oldest_command_s: float
    committing_s: float
    actors_live: int
    actors_quarantined: int
    parked: int


class CurrencyVitals(Struct, frozen=True):
    """Where a currency's money is, as of the newest commits, over all dates that are not closed.

    Attributes:
        accounts_minor: in ledger accounts, the bank's own among them.
        under_way_minor: in messages, parked or not, and between shards.
        difference_minor: these two together: 0, or money has come or gone.
    """

    currency: str
    accounts_minor: int
    under_way_minor: int
    difference_minor: int


class NodeVitals(Struct, frozen=True, tag_field="object", tag="vitals"):
    """The node since the look before; members that a shard has too are all shards together.

    Attributes:
        number: of the look, one a second while anybody follows; a jump shows what was left out.
        interval_s: for how long it was measured.
        answer_ns_p50, answer_ns_p99: from a whole request to its answer, of the last 4,096
            requests of the API at most; what goes over streams is not among them.
        oldest_command_s, committing_s: the longest of all shards.
        memory_bytes: resident.
        balanced: no currency has a difference.
    """

    number: int
    at: str
    interval_s: float
    payments_per_s: float
    turns_per_s: float
    commits_per_s: float
    answers_per_s: float
    batch_turns: float
    commit_ns_p50: int | None
    commit_ns_p99: int | None
    turn_ns_p50: int | None
    turn_ns_p99: int | None
    answer_ns_p50: int | None
    answer_ns_p99: int | None
    waiting: int
    messages: int
    unconfirmed: int
    unconfirmed_max: int
    oldest_command_s: float
    committing_s: float
    actors_live: int
    actors_quarantined: int
    parked: int
    memory_bytes: int
    balanced: bool
    currencies: list[CurrencyVitals]
    shards: list[ShardVitals]


class _Counted(NamedTuple):
    """What a shard has counted since its start."""

    sequence: int
    commits: int
    turns: int
    answers: int


class _Turns(NamedTuple):
    """The turns that a ring holds of a time: how long each took, and how many made a payment.

    `whole` says that these are all there were.
    """

    took_ns: list[int]
    payments: int
    whole: bool


class Pulse:
    """Measures one node, from now on.

    Args:
        node: the engine.
        counter: the API's; from the first pulse on it notes how long its answers take.
    """

    def __init__(self, node: Node, counter: Counter) -> None:
        if counter.timed is None:
            counter.timed = deque(maxlen=ANSWERS_MAX)
        self._timed = counter.timed
        self._node = node
        self._number = 0
        self._at_ns = time.perf_counter_ns()
        self._before = [_counted(shard) for shard in node.shards]

    async def take(self) -> NodeVitals:
        """Return what has been since the last time, or since the beginning."""
        since_ns, until_ns = self._at_ns, time.perf_counter_ns()
        self._at_ns = until_ns
        interval_s = round(max(until_ns - since_ns, 1_000) * _S, 6)
        self._number += 1
        number, at = self._number, instant(time.time_ns())
        # All in one go: no shard can have taken what another has not sent by then.
        currencies = _currencies(self._node)
        answer_ns = [
            round(elapsed_s / _S)
            for ended_s, elapsed_s in self._timed
            if since_ns < ended_s / _S <= until_ns
        ]
        shards: list[ShardVitals] = []
        all_commit_ns: list[int] = []
        all_turn_ns: list[int] = []
        for index, shard in enumerate(self._node.shards):
            before, now = self._before[index], _counted(shard)
            self._before[index] = now
            commit_ns = [
                each.total_ns for each in shard.vitals.recent if each.sequence > before.sequence
            ]
            turns = _turns(shard.stage.history, since_ns, until_ns)
            all_commit_ns += commit_ns
            all_turn_ns += turns.took_ns
            shards.append(_shard(shard, before, now, interval_s, turns, commit_ns))
            await trio.lowlevel.checkpoint()
        return NodeVitals(
            number,
            at,
            interval_s,
            round(sum(each.payments_per_s for each in shards), 3),
            round(sum(each.turns_per_s for each in shards), 3),
            round(sum(each.commits_per_s for each in shards), 3),
            round(sum(each.answers_per_s for each in shards), 3),
            _ratio(
                sum(each.turns_per_s for each in shards), sum(each.commits_per_s for each in shards)
            ),
            *_p50_p99(all_commit_ns),
            *_p50_p99(all_turn_ns),
            *_p50_p99(answer_ns),
            sum(each.waiting for each in shards),
            sum(each.messages for each in shards),
            sum(each.unconfirmed for each in shards),
            sum(each.unconfirmed_max for each in shards),
            max(each.oldest_command_s for each in shards),
            max(each.committing_s for each in shards),
            sum(each.actors_live for each in shards),
            sum(each.actors_quarantined for each in shards),
            sum(each.parked for each in shards),
            _memory_bytes(),
            not any(each.difference_minor for each in currencies),
            currencies,
            shards,
        )


def _counted(shard: Shard) -> _Counted:
    vitals = shard.vitals
    return _Counted(shard.stage.durable_seq, vitals.commits, vitals.turns, vitals.answers)


def _turns(ring: History, since_ns: int, until_ns: int) -> _Turns:
    later = list(takewhile(lambda turn: turn[0] > since_ns, reversed(ring)))
    # Other shards were looked at since then, and some may have come meanwhile.
    turns = [turn for turn in later if turn[0] <= until_ns]
    payments = sum(turn[3] is PaymentDebited and turn[4] == "ok" for turn in turns)
    return _Turns([turn[1] for turn in turns], payments, len(later) < (ring.maxlen or 0))


def _shard(
    shard: Shard,
    before: _Counted,
    now: _Counted,
    interval_s: float,
    turns: _Turns,
    commit_ns: list[int],
) -> ShardVitals:
    signs = gauges(shard)
    committed = now.turns - before.turns
    succeeded: float = turns.payments
    if not turns.whole and turns.took_ns:
        succeeded *= max(1.0, committed / len(turns.took_ns))
    commits = now.commits - before.commits
    return ShardVitals(
        signs.shard,
        signs.durable_seq,
        _ratio(succeeded, interval_s),
        _ratio(committed, interval_s),
        _ratio(commits, interval_s),
        _ratio(now.answers - before.answers, interval_s),
        _ratio(committed, commits),
        *_p50_p99(commit_ns),
        *_p50_p99(turns.took_ns),
        signs.waiting,
        signs.messages,
        signs.unconfirmed,
        signs.unconfirmed_max,
        signs.oldest_command_s,
        signs.committing_s,
        signs.actors_live,
        signs.actors_quarantined,
        signs.parked,
    )


def _currencies(node: Node) -> list[CurrencyVitals]:
    accounts: dict[str, int] = {}
    under_way: dict[str, int] = {}
    for shard in node.shards:
        for each in shard.store.last.sums:
            moving = each.messages_minor + each.sent_minor - each.received_minor
            accounts[each.currency] = accounts.get(each.currency, 0) + each.postings_minor
            under_way[each.currency] = under_way.get(each.currency, 0) + moving
    return [
        CurrencyVitals(
            currency,
            accounts[currency],
            under_way[currency],
            accounts[currency] + under_way[currency],
        )
        for currency in sorted(accounts)
    ]


def _p50_p99(figures: list[int]) -> tuple[int | None, int | None]:
    """Return the smallest figures that half and 99 % of all do not exceed."""
    if not figures:
        return None, None
    figures.sort()
    count = len(figures)
    return figures[-(-count * 50 // 100) - 1], figures[-(-count * 99 // 100) - 1]


def _ratio(figure: float, of: float) -> float:
    return round(figure / of, 3) if of else 0.0


def _memory_bytes() -> int:
    """Return what the process has in memory (proc_pid_statm(5))."""
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
