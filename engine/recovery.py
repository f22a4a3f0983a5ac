"""Recovery: what a shard does with messages and timers it finds when it starts.

After a clean stop they are simply delivered. After an abnormal exit one of them may be what
brought the process down, so they run one per commit, each attempt counted durably before it
begins; the third attempt parks the message instead, so a poison message cannot loop.

Thousands, one per commit, would take longer than anybody wants to wait. So many are first tried
all together, as after a clean stop; that attempt is counted, durably and before it begins, at
the first message of each kind. If it brings the process down before any of them has come through,
the next start finds that count and takes them one by one; if some had come through, it is tried
again with those that are left, which are fewer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from engine import timers
from engine.message import stored
from engine.parking import encode, open_row
from storage.errors import CorruptRowError
from storage.journal import sequence_key
from storage.link import outbox_key, outbox_range
from storage.row import COMMITS, OUTBOX, PARKED, TIMERS

if TYPE_CHECKING:
    from engine.shard import Shard

ATTEMPTS_MAX: Final = 2
"""Turns begun with one message across crashes; the next one parks it."""


def load(shard: Shard) -> dict[int, int]:
    """Load the outbox and look at what is due, before anything is done with them.

    Returns:
        Turns begun with each message of the outbox to the shard itself, by sequence.

    Raises:
        CorruptRowError: the messages or timers are not what the newest commit left.
    """
    stage = shard.stage
    attempts: dict[int, int] = {}
    for key, payload in stage.snapshot().scan(OUTBOX, *outbox_range(stage.number)):
        sequence = int.from_bytes(key[2:], "big")
        if sequence > shard.store.last.outbox_last:
            raise CorruptRowError(OUTBOX, key, "beyond the newest commit's last message")
        row = open_row(OUTBOX, key, payload)
        attempts[sequence] = row.attempts
        stage.carried.append((sequence, stage.kinds.opened(row)))
    _check_sums(shard)
    for key, payload in timers.scan(stage.snapshot(), [], shard.clock.now_ns()):
        timers.open_timer(key, payload)
    stage.end_read()
    return attempts


async def recover(shard: Shard, attempts: dict[int, int]) -> None:
    """After an abnormal exit, work messages and due timers off with caution.

    What follows from them is left in the outbox for the scheduler: a chain without an end must
    not keep the shard from starting. Should it kill the process, it is found here next time.
    If they are more than `Limits.careful_max` they are left to the scheduler themselves.

    Args:
        attempts: what `load` has returned.
    """
    if shard.store.was_clean:
        return
    due = _first_due(shard)
    found = len(shard.stage.carried) + len(shard.stage.inbox) + len(due)
    if found > shard.limits.careful_max and not _tried_before(shard, attempts, due):
        await _announce(shard, due)
        return
    await _deliver_with_caution(shard, attempts)
    await _take_with_caution(shard)
    await _fire_due(shard, shard.clock.now_ns())


def _first_due(shard: Shard) -> list[tuple[bytes, bytes]]:
    """Return what is due, no further than it matters: whoever was tried is among the first."""
    rows = timers.scan(shard.stage.snapshot(), [], shard.clock.now_ns())
    due = list(islice(rows, shard.limits.careful_max + 1))
    shard.stage.end_read()
    return due


def _tried_before(
    shard: Shard, attempts: dict[int, int], due: Sequence[tuple[bytes, bytes]]
) -> bool:
    """Return whether an attempt at any of them has been counted: one may be poison."""
    links = shard.stage.links
    received = links.receiving.values() if links is not None else ()
    return (
        any(attempts.values())
        or any(receiver.end.attempts for receiver in received)
        or any(timers.open_timer(*row).attempts for row in due)
    )


async def _announce(shard: Shard, due: Sequence[tuple[bytes, bytes]]) -> None:
    """Count an attempt at all of them together, at the first of each kind."""
    stage = shard.stage
    if stage.carried:
        sequence, envelope = stage.carried[0]
        row = encode(stored(envelope, attempts=1))
        stage.batch.outbox[outbox_key(stage.number, sequence)] = row
    if stage.links is not None:
        for source in {source for source, _, _ in stage.inbox}:
            stage.links.begin_attempt(source)
    for key, payload in due[:1]:
        stage.batch.timers[key] = encode(replace(timers.open_timer(key, payload), attempts=1))
    await _commit(shard)


def _check_sums(shard: Shard) -> None:
    """Compare the money in messages with what the newest commit says of it."""
    stage, last = shard.stage, shard.store.last
    found = Counter(
        {(each.business_date, each.currency): -each.messages_minor for each in last.sums}
    )
    for _, envelope in stage.carried:
        found[envelope.business_date, envelope.currency] += envelope.amount_minor
    for key, payload in stage.snapshot().scan(PARKED):
        row = open_row(PARKED, key, payload)
        found[row.business_date, row.currency] += row.amount_minor
    for (business_date, currency), minor in sorted(found.items()):
        if minor:
            detail = f"its messages of {business_date} are off by {minor} {currency}"
            raise CorruptRowError(COMMITS, sequence_key(last.sequence), detail)


async def _deliver_with_caution(shard: Shard, attempts: dict[int, int]) -> None:
    """Deliver the messages that were found, one a commit."""
    while shard.stage.carried and shard.stage.carried[0][0] in attempts:
        sequence, envelope = shard.stage.carried[0]
        begun = attempts[sequence]
        if begun >= ATTEMPTS_MAX:
            shard.stage.carried.popleft()
            shard.stage.batch.outbox[outbox_key(shard.stage.number, sequence)] = None
            row = stored(envelope, attempts=begun)
            shard.stage.park(row, f"{begun} turns with it ended in an abnormal exit")
        else:
            payload = encode(stored(envelope, attempts=begun + 1))
            shard.stage.batch.outbox[outbox_key(shard.stage.number, sequence)] = payload
            await _commit(shard)
            shard.stage.now_ns = shard.clock.now_ns()
            shard.stage.deliver_carried()
        await _commit(shard)


async def _take_with_caution(shard: Shard) -> None:
    """Take what other shards had sent before, one a commit: each holds the effects of one message
    and counts the attempt at the next."""
    stage = shard.stage
    links = stage.links
    if links is None:
        return
    for _ in range(len(stage.inbox)):
        source, _, envelope = stage.inbox[0]
        if stage.next_due <= envelope.at_ns:
            # Time travels with messages: what was due before this one was sent comes first.
            await _commit(shard)
            await _fire_due(shard, envelope.at_ns)
        attempts = links.receiving[source].end.attempts
        if attempts >= ATTEMPTS_MAX and envelope.to:
            stage.park_arrival(f"{attempts} turns with it ended in an abnormal exit")
            continue
        links.begin_attempt(source)
        await _commit(shard)
        stage.now_ns = shard.clock.now_ns()
        stage.deliver_arrival()
    await _commit(shard)


async def _fire_due(shard: Shard, until_ns: int) -> None:
    """Fire what is due and durable, one a commit."""
    due = list(timers.scan(shard.stage.snapshot(), [], until_ns))
    shard.stage.end_read()
    for key, payload in due:
        await _fire_with_caution(shard, key, payload)


async def _fire_with_caution(shard: Shard, key: bytes, payload: bytes) -> None:
    # An earlier timer, or a message, may have cancelled this one or counted an attempt.
    if shard.stage.snapshot().get(TIMERS, key) != payload:
        return
    timer = timers.open_timer(key, payload)
    if timer.attempts >= ATTEMPTS_MAX:
        shard.stage.park_timer(
            key, timer, f"{timer.attempts} turns with it ended in an abnormal exit"
        )
    else:
        shard.stage.batch.timers[key] = encode(replace(timer, attempts=timer.attempts + 1))
        await _commit(shard)
        shard.stage.now_ns = shard.clock.now_ns()
        shard.stage.fire_timer(key, timer)
    await _commit(shard)


async def _commit(shard: Shard) -> None:
    shard.stage.end_read()
    await shard.commit_batch()
