"""A shard: it owns a set of actors, gives them turns and makes their effects durable.

Three tasks run it. The scheduler gives turns in slices of at most 5 ms; the committer cuts the
batch whenever the last commit is done and writes it in one transaction with one fsync; the
ticker looks after deadlines, timers and disk space. Whatever rests on a turn leaves the shard
only once the batch that holds the turn is durable (the output gate). If a commit fails, every
waiter is told OUTCOME_UNKNOWN and the shard is over: it never tries the same store again.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
import trio
from msgspec import Struct

from engine import parking, recovery, timers
from engine.actor import Actor
from engine.address import row_key
from engine.admission import Admission, Ask, Reply
from engine.batch import Batch
from engine.books import Books
from engine.clock import Clock
from engine.control import Control, run_control
from engine.fault import (
    ACTOR_QUARANTINED,
    DISK_NEARLY_FULL,
    INTERNAL,
    OUTCOME_UNKNOWN,
    STOPPING,
    TIMEOUT,
    Fault,
)
from engine.history import History
from engine.kind import Kinds, R, RecordKind
from engine.message import Envelope, Token
from engine.turn import (
    KEY_BYTES_MAX,
    MESSAGES_MAX,
    MINOR_MAX,
    ConservationError,
    Turn,
    TurnError,
)
from engine.vitals import Vitals
from storage.errors import CorruptRowError, StorageError
from storage.journal import Commit, sequence_key
from storage.row import ACTORS, DATES, OUTBOX, PARKED, RECORDS, TIMERS
from storage.store import Snapshot, Store, Writes

log = logging.getLogger("piaohao.engine")

_encode = msgspec.msgpack.Encoder().encode
_TICK_S = 0.1
_TIMERS_AT_ONCE = 100


class ShardFailedError(Exception):
    """The shard has stopped for good; what was not acknowledged may or may not have happened."""


class Limits(Struct, frozen=True):
    """Bounds of a shard: commands unconfirmed at once, actors in memory, seconds of a slice."""

    unconfirmed_max: int = 8_192
    actor_unconfirmed_max: int = 4_096
    actors_max: int = 200_000
    slice_s: float = 0.005


class Shard:
    """One shard on one store.

    Args:
        store: opened for writing.
        kinds: the domain.
        clock: where turns get their time from.
        limits: bounds.
        on_failure: called once when the shard fails, after every waiter has been told.
    """

    def __init__(
        self,
        store: Store,
        kinds: Kinds,
        clock: Clock,
        limits: Limits | None = None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.store = store
        self.kinds = kinds
        self.clock = clock
        self.limits = Limits() if limits is None else limits
        self.number = store.format.shard
        last = store.last
        self.business_date = last.business_date
        self.posting_next = last.posting_first + last.postings
        self.durable_seq = last.sequence
        self.books = Books(last.sums)
        self.admission = Admission(self.limits.unconfirmed_max, self.limits.actor_unconfirmed_max)
        self.history = History()
        self.vitals = Vitals()
        self.failure: BaseException | None = None
        self.batch = Batch(last.sequence + 1)
        self.committing: Batch | None = None
        self.actors: dict[str, Actor] = {}
        self.internal: deque[Envelope] = deque()
        """Messages that exist in memory only; a cut turns what is left into outbox rows."""
        self.carried: deque[tuple[int, Envelope]] = deque()
        """Messages that are outbox rows to this shard itself, with their sequence."""
        self.control: deque[tuple[Control, Reply]] = deque()
        self._on_failure = on_failure
        self._outbox_last = last.outbox_last
        self._asks: dict[int, Ask] = {}
        self._ask_last = 0
        self._held: Ask | None = None
        self._refusal: Fault | None = None
        self._stopping = False
        self._turn: Turn[Any] = Turn.__new__(Turn)
        self._turn._shard = self
        self._clear_turn()
        self._snapshot: Snapshot | None = None
        self._wake = trio.Event()
        self._staged = trio.Event()
        self._over = trio.Event()
        snapshot = store.snapshot()
        self.parking = parking.Parking(snapshot)
        snapshot.close()
        self._next_due = 0

    # Commands in, answers out.

    def submit(
        self,
        to: str,
        body: Struct,
        reply: Reply,
        *,
        deadline: float = float("inf"),
        at_ns: int = 0,
        lane: object = None,
    ) -> Fault | None:
        """Admit one external command, or say at once why not.

        Args:
            to: the first actor's address.
            reply: called once with the actor's answer or a `Fault`, when it is durable.
            deadline: on Trio's clock, seconds.
            at_ns: moves a domain clock at least there before the first turn.
            lane: commands of one lane start in order; by default one lane an actor.

        Returns:
            None when admitted; else STOPPING, DISK_NEARLY_FULL, NODE_BUSY, ACTOR_BUSY or
            ACTOR_QUARANTINED, and nothing happened.
        """
        if self._refusal is not None:
            return self._refusal
        if to in self.parking.by_actor:
            return ACTOR_QUARANTINED
        fault = self.admission.admit(to)
        if fault is not None:
            return fault
        self._ask_last = n = self._ask_last + 1
        ask = Ask(n, to, body, reply, deadline, at_ns)
        self._asks[n] = ask
        self.admission.enqueue(to if lane is None else lane, ask)
        self._wake.set()
        return None

    def submit_control(self, control: Control, reply: Reply) -> None:
        """Run an operator's action between two chains; it has a lane of its own."""
        if self.failure is not None or self._stopping:
            reply(STOPPING)
            return
        self.control.append((control, reply))
        self._wake.set()

    async def ask(self, to: str, body: Struct, *, timeout_s: float = 10.0, at_ns: int = 0) -> Any:
        """Submit a command and wait for its answer (a Struct or a `Fault`).

        Cancelling the wait leaves the command alone.
        """
        send, receive = trio.open_memory_channel[Any](1)
        deadline = trio.current_time() + timeout_s
        fault = self.submit(to, body, send.send_nowait, deadline=deadline, at_ns=at_ns)
        return fault if fault is not None else await receive.receive()

    async def ask_control(self, control: Control) -> Any:
        """Run an operator's action and wait until it is durable."""
        send, receive = trio.open_memory_channel[Any](1)
        self.submit_control(control, send.send_nowait)
        return await receive.receive()

    # The three tasks.

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Recover, then serve until `stop`; reports itself started once it has recovered.

        Raises:
            ShardFailedError: a commit failed, or the shard's own code did.
        """
        try:
            self._next_due = self._earliest_timer()
            await recovery.recover(self)
            self.end_read()
        except Exception as error:
            self._fail(error)
            raise ShardFailedError(str(error)) from error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._guard, self._schedule)
            nursery.start_soon(self._guard, self._commit)
            nursery.start_soon(self._guard, self._tick)
            task_status.started()
            await self._over.wait()
            nursery.cancel_scope.cancel()
        if self.failure is not None:
            raise ShardFailedError(str(self.failure)) from self.failure

    def stop(self) -> None:
        """Refuse new commands; `run` returns when everything admitted has been answered."""
        self._stopping = True
        self._refusal = STOPPING
        self._end_if_at_rest()

    def _end_if_at_rest(self) -> None:
        if self._stopping and self._at_rest():
            self._over.set()

    def _at_rest(self) -> bool:
        return not (
            self.admission.unconfirmed
            or self.batch.pending()
            or self.committing
            or self._has_work()
        )

    async def _guard(self, task: Callable[[], Any]) -> None:
        try:
            await task()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Fail-stop: tell every waiter that the outcome is unknown, take nothing more."""
        if self.failure is not None:
            return
        self.failure = error
        self._refusal = STOPPING
        log.critical("shard %d stops for good: %s", self.number, error, exc_info=error)
        for ask in list(self._asks.values()):
            self._tell(ask, OUTCOME_UNKNOWN)
        for _, reply in self.control:
            reply(OUTCOME_UNKNOWN)
        for batch in (self.committing, self.batch):
            for to, _ in batch.answers if batch else ():
                if not isinstance(to, Token):
                    to(OUTCOME_UNKNOWN)
        self._over.set()
        if self._on_failure is not None:
            self._on_failure(error)

    async def _schedule(self) -> None:
        while self.failure is None:
            self._slice()
            if self.batch.pending() or self.internal:
                self._staged.set()
            if len(self.actors) > self.limits.actors_max:
                self._passivate()
            if self._has_work():
                await trio.lowlevel.checkpoint()
            else:
                self._wake = trio.Event()
                await self._wake.wait()

    async def _commit(self) -> None:
        while self.failure is None:
            await self._staged.wait()
            self._staged = trio.Event()
            await self.commit_batch()
            if self.batch.pending():
                self._staged.set()
            self._end_if_at_rest()

    async def _tick(self) -> None:
        while True:
            await trio.sleep(_TICK_S)
            self._expire(trio.current_time())
            self._check_headroom()
            if self._next_due <= self.clock.now_ns() or self._has_work():
                self._wake.set()
            self._end_if_at_rest()

    def _check_headroom(self) -> None:
        if not self._stopping and self.failure is None:
            self._refusal = None if self.store.has_headroom() else DISK_NEARLY_FULL

    def _expire(self, now: float) -> None:
        expired = [ask for ask in self._asks.values() if ask.deadline <= now and not ask.done]
        for ask in expired:
            if ask.started:
                self._tell(ask, OUTCOME_UNKNOWN)
            else:
                # Still in its lane: `done` makes the scheduler pass it over.
                self.admission.release(ask.to)
                del self._asks[ask.n]
                self._tell(ask, TIMEOUT)

    # Turns.

    def _has_work(self) -> bool:
        return bool(
            self.internal or self.carried or self.control or self._held or self.admission.waiting
        )

    def _slice(self) -> None:
        """Give turns until nothing waits or the slice is over.

        The last fifth of a slice begins no new chain, so that normally no message is left in
        memory at a cut: each that is costs an outbox row.
        """
        until = time.perf_counter() + self.limits.slice_s
        begin_until = until - self.limits.slice_s / 5
        try:
            while self._step():
                now = time.perf_counter()
                if now >= begin_until and (now >= until or not self.internal):
                    break
        finally:
            self.end_read()

    def _step(self) -> bool:
        """Do the next thing: chains that have begun come first, so that they end soonest."""
        if self.carried:
            self.deliver_carried()
        elif self.internal:
            self._deliver(self.internal.popleft())
        elif self.control:
            control, reply = self.control.popleft()
            self.batch.answers.append((reply, run_control(self, control)))
        elif self._next_due <= (now_ns := self.clock.now_ns()):
            self.fire_timers(now_ns)
        else:
            ask = self._held or self.admission.next()
            if ask is None:
                return False
            self._held = None
            if ask.at_ns > now_ns:
                if self._next_due <= ask.at_ns:
                    # Timers that are due before the command come first, each at its own time.
                    self.clock.advance_to(self._next_due)
                    self._held = ask
                    return True
                self.clock.advance_to(ask.at_ns)
            if not ask.done:
                self._first_turn(ask)
        return True

    def _first_turn(self, ask: Ask) -> None:
        if ask.deadline <= trio.current_time():
            self.admission.release(ask.to)
            del self._asks[ask.n]
            self._tell(ask, TIMEOUT)
            return
        if ask.to in self.parking.by_actor:
            self.batch.answers.append(
                (Token(self.store.epoch, self.number, ask.n), ACTOR_QUARANTINED)
            )
            self._chain_moved(ask, 0)
            return
        ask.started = True
        token = Token(self.store.epoch, self.number, ask.n)
        try:
            sent = self.take_turn(ask.to, ask.body, "", self.business_date, token, 0, "")
        except StorageError:
            raise
        except Exception:
            log.exception("the first turn of %s at %s failed", type(ask.body).__name__, ask.to)
            self.batch.answers.append((token, INTERNAL))
            sent = 0
        self._chain_moved(ask, sent)

    def _deliver(self, envelope: Envelope) -> None:
        """Give one internal message its turn, or park it."""
        if envelope.to in self.parking.by_actor:
            self.park(envelope, "behind an earlier parked message")
            self.books.keep(envelope)
        elif (error := self.try_turn(envelope)) is not None:
            self.park(envelope, error)
            self.books.keep(envelope)

    def deliver_carried(self) -> None:
        """Give the oldest message of the outbox to itself its turn; its row goes with it."""
        sequence, envelope = self.carried.popleft()
        self.batch.outbox[sequence_key(sequence)] = None
        if envelope.to in self.parking.by_actor:
            self.park(envelope, "behind an earlier parked message")
        elif (error := self.try_turn(envelope)) is None:
            self.books.take(envelope)
        else:
            self.park(envelope, error)

    def try_turn(self, envelope: Envelope) -> str | None:
        """Give an internal message its turn; returns None, or what undid it."""
        token = envelope.token
        try:
            sent = self.take_turn(
                envelope.to,
                envelope.body,
                envelope.sender,
                envelope.business_date,
                token,
                envelope.amount_minor,
                envelope.currency,
            )
        except StorageError:
            raise
        except Exception as error:
            log.exception("a turn of %s at %s failed", type(envelope.body).__name__, envelope.to)
            return f"{type(error).__name__}: {error}"
        if token is not None and token[0] == self.store.epoch:
            ask = self._asks.get(token[2])
            if ask is not None:
                self._chain_moved(ask, sent)
        return None

    def park(self, envelope: Envelope, error: str) -> None:
        """Move a message to its receiver's parked rows; the caller is told OUTCOME_UNKNOWN."""
        key = self.parking.add(row_key(envelope.to), envelope)
        self.batch.parked[key] = parking.stored(envelope, error=error)
        token = envelope.token
        if token is not None:
            self.batch.answers.append((token, OUTCOME_UNKNOWN))
            ask = self._asks.get(token[2]) if token[0] == self.store.epoch else None
            if ask is not None:
                self._chain_moved(ask, 0)

    def fire_timers(self, now_ns: int, limit: int = _TIMERS_AT_ONCE) -> None:
        """Fire up to `limit` due timers; each row goes in its turn's batch."""
        overlays = [batch.timers for batch in (self.committing, self.batch) if batch]
        due = list(islice(timers.scan(self.snapshot(), overlays, now_ns), limit))
        for key, payload in due:
            if self.batch.timers.get(key, payload) is None:
                continue  # cancelled by one that fired before it
            self.fire_timer(key, timers.decode_timer(payload))
        self._next_due = self._earliest_timer()

    def fire_timer(self, key: bytes, timer: timers.Timer) -> None:
        """Deliver one timer's message; the timer's row goes with it."""
        self.batch.timers[key] = None
        self._deliver(self._timer_envelope(key, timer))

    def park_timer(self, key: bytes, timer: timers.Timer, error: str) -> None:
        """Park a timer's message instead of delivering it."""
        self.batch.timers[key] = None
        self.park(self._timer_envelope(key, timer), error)

    def _timer_envelope(self, key: bytes, timer: timers.Timer) -> Envelope:
        address = timers.split_timer_key(key)[1]
        body = self.kinds.of(address).decode_body(timer.body)
        return Envelope(address, address, body, self.business_date)

    def _earliest_timer(self) -> int:
        overlays = [batch.timers for batch in (self.committing, self.batch) if batch]
        first = next(timers.scan(self.snapshot(), overlays, timers.NEVER), None)
        return timers.NEVER if first is None else timers.split_timer_key(first[0])[0]

    def take_turn(
        self,
        to: str,
        body: Struct,
        sender: str,
        business_date: str,
        token: Token | None,
        amount_minor: int,
        currency: str,
    ) -> int:
        """Run one turn and merge its effects; returns how many messages it sent.

        Raises:
            Exception: whatever the handler raised, or what was wrong with its effects
                (`TurnError`, an encoding error); then nothing of the turn remains.
            StorageError: a row could not be read; the shard has to stop.
        """
        begun = time.perf_counter_ns()
        actor = self.actors.get(to)
        if actor is None:
            actor = self._activate(to)
        actor.recent = True
        turn = self._turn
        turn._actor = actor
        turn.address = to
        turn.number = actor.number
        turn.state = actor.state
        turn.now_ns = self.clock.now_ns()
        turn.business_date = business_date
        turn.sender = sender
        turn.token = token
        turn.amount_minor = amount_minor
        turn.currency = currency
        outcome = "ok"
        try:
            actor.kind.handlers[type(body)](turn, body)
            return self._merge(actor, turn)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            self._clear_turn()
            ended = time.perf_counter_ns()
            self.history.add((begun, ended - begun, to, type(body), outcome, self.batch.sequence))

    def _merge(self, actor: Actor, turn: Turn[Any]) -> int:
        """Check everything the turn did, then make it the shard's: the one place of no return.

        Encoding here, not at the cut, is the check that text and integers are valid; it costs
        about 1 µs a payment and means that a commit can only fail for the store's reasons.
        """
        batch = self.batch
        payload = b""
        if turn._changed:
            payload = _encode(turn.state)
            actor.kind.decode_state(payload)
        records = []
        for key, (kind, record) in turn._records.items():
            row = _encode(record)
            kind.decode(row)
            if len(key) > KEY_BYTES_MAX:
                raise TurnError(f"key of {len(key)} bytes")
            records.append((key, kind, record, row))
        messages = turn._messages
        postings = turn._postings
        posted = 0
        currency = turn.currency
        encoded: list[bytes] = []
        if postings or messages or turn.amount_minor:
            moved = -turn.amount_minor
            for posting in postings:
                if not -MINOR_MAX <= posting[3] <= MINOR_MAX:
                    raise TurnError(f"balance of {posting[0]} out of range")
                currency = currency or posting[2]
                if posting[2] != currency:
                    raise ConservationError(f"{posting[2]} beside {currency} in one turn")
                posted += posting[1]
                encoded.append(_encode(posting))
            for message in messages:
                _encode(message.body)
                if message.amount_minor:
                    currency = currency or message.currency
                    if message.currency != currency or message.amount_minor < 0:
                        raise ConservationError(f"{message.currency} {message.amount_minor} told")
                    moved += message.amount_minor
            if posted + moved:
                raise ConservationError(f"a turn of {actor.address} is off by {posted + moved}")
            if len(messages) > MESSAGES_MAX:
                raise TurnError(f"{len(messages)} messages in one turn")
        timer_rows = [
            (
                due,
                timers.timer_key(due, actor.address, name),
                None if body is None else timers.timer_row(body),
            )
            for (due, name), body in turn._timers.items()
        ]
        # Nothing below can fail.
        if turn._changed:
            actor.state = turn.state
            actor.staged_seq = batch.sequence
            batch.actors[actor.key] = payload
        for key, kind, record, row in records:
            batch.records[key] = row
            batch.objects[key] = record
            actor.staged_seq = batch.sequence
            if kind.kept:
                self._keep(actor, key, record)
        if encoded:
            batch.postings += encoded
            self.posting_next += len(encoded)
            self.books.post(turn.business_date, currency, posted)
        for due, key, row_or_none in timer_rows:
            batch.timers[key] = row_or_none
            if row_or_none is not None and due < self._next_due:
                self._next_due = due
        self.internal += messages
        batch.answers += turn._answers
        batch.turns += 1
        return len(messages)

    def _clear_turn(self) -> None:
        turn = self._turn
        turn._changed = False
        turn._records = {}
        turn._postings = []
        turn._messages = []
        turn._answers = []
        turn._timers = {}

    def _chain_moved(self, ask: Ask, sent: int) -> None:
        ask.pending += sent - 1
        if not ask.pending:
            self.batch.ended.append(ask)

    # What actors read.

    def snapshot(self) -> Snapshot:
        """Return the slice's read transaction, opened on its first read."""
        if self._snapshot is None:
            self._snapshot = self.store.snapshot()
        return self._snapshot

    def end_read(self) -> None:
        """Close the slice's read transaction, so that the next one sees newer commits."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    def record(self, actor: Actor, kind: RecordKind[R], key: bytes) -> R | None:
        """Return a record as of the turns merged so far."""
        found = self.batch.objects.get(key)
        if found is None and self.committing is not None:
            found = self.committing.objects.get(key)
        if found is None and kind.kept and actor.kept is not None:
            found = actor.kept.get(key)
        if found is not None:
            return found  # type: ignore[return-value]
        payload = self.snapshot().get(RECORDS, key)
        if payload is None:
            return None
        record = _decoded(RECORDS, key, payload, kind.decode)
        if kind.kept:
            self._keep(actor, key, record)
        return record

    def _keep(self, actor: Actor, key: bytes, record: Struct) -> None:
        if actor.kept is None or len(actor.kept) >= 32:
            actor.kept = {}
        actor.kept[key] = record

    def _activate(self, address: str) -> Actor:
        """Bring an actor into memory; one that has no row has no state yet."""
        actor = Actor(address, self.kinds.of(address), None)
        payload = self.snapshot().get(ACTORS, actor.key)
        if payload is not None:
            actor.state = _decoded(ACTORS, actor.key, payload, actor.kind.decode_state)
        self.actors[address] = actor
        return actor

    def _passivate(self) -> None:
        """Let idle clean actors go until a tenth of the bound is free, oldest first.

        One with changes that are not durable stays: its newest state exists nowhere else. One
        touched since the last look gets a second chance.
        """
        keep = self.limits.actors_max - self.limits.actors_max // 10
        for address in list(islice(self.actors, len(self.actors))):
            if len(self.actors) <= keep:
                return
            actor = self.actors[address]
            if actor.staged_seq > self.durable_seq:
                continue
            del self.actors[address]
            if actor.recent:
                actor.recent = False
                self.actors[address] = actor

    # Commits.

    async def commit_batch(self) -> None:
        """Cut the batch, make it durable, then open the gate for what rests on it."""
        batch = self.batch
        writes = self._cut()
        if writes is not None:
            self.committing = batch
            times = await self.store.commit(writes)
            self.committing = None
            self.durable_seq = batch.sequence
            self.vitals.committed(batch, times)
            if not self._stopping:
                self._check_headroom()
        self._open_gate(batch)

    def _cut(self) -> Writes | None:
        """Turn the batch into one commit's writes, and begin the next one; None for no writes."""
        batch = self.batch
        for envelope in self.internal:
            self._outbox_last += 1
            batch.outbox[sequence_key(self._outbox_last)] = parking.stored(envelope)
            self.books.keep(envelope)
            self.carried.append((self._outbox_last, envelope))
        self.internal.clear()
        if not batch.writes():
            self.batch = Batch(batch.sequence)
            return None
        count = len(batch.postings)
        commit = Commit(
            batch.sequence,
            self.store.epoch,
            self.clock.now_ns(),
            self.business_date,
            self.posting_next - count,
            count,
            batch.turns,
            self._outbox_last,
            self.books.sums(),
        )
        tables = {
            ACTORS: batch.actors,
            RECORDS: batch.records,
            TIMERS: batch.timers,
            OUTBOX: batch.outbox,
            PARKED: batch.parked,
            DATES: batch.dates,
        }
        self.batch = Batch(batch.sequence + 1)
        rows = {table: rows for table, rows in tables.items() if rows}
        return Writes(commit, batch.postings, rows)

    def _open_gate(self, batch: Batch) -> None:
        for ask in batch.ended:
            self.admission.release(ask.to)
            if ask.done:
                self._asks.pop(ask.n, None)
        for to, body in batch.answers:
            if not isinstance(to, Token):
                to(body)
            elif to[0] == self.store.epoch:
                ask_or_none = self._asks.get(to[2])
                if ask_or_none is not None:
                    self._tell(ask_or_none, body)

    def _tell(self, ask: Ask, outcome: Any) -> None:
        """Tell a caller once; forget the ask when its chain has ended too."""
        if not ask.done:
            ask.done = True
            ask.reply(outcome)
        if not ask.pending:
            self._asks.pop(ask.n, None)


def _decoded(table: str, key: bytes, payload: bytes, decode: Callable[[bytes], R]) -> R:
    try:
        return decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRowError(table, key, str(error)) from error
