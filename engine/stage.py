"""The stage: where a shard's actors take their turns and the effects gather until the cut.

It holds the actors in memory, the batch that is being filled and the one that is being
committed, the messages on their way, and the books. Nothing here waits or knows of callers'
sockets: the shard (`engine.shard`) decides when turns are given and when the batch is cut.

The turn's path is written for speed: a payment takes three turns, and each microsecond here is
a tenth of what the engine costs. Hence the flat code in `take_turn` and `_merge`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import Struct

from engine import dates, parking, timers
from engine.actor import Actor
from engine.admission import Ask
from engine.batch import Batch, encode_stored
from engine.books import Books
from engine.clock import Clock
from engine.dates import DateState
from engine.fault import OUTCOME_UNKNOWN
from engine.history import Beginnings, History
from engine.kind import KeptError, Kinds, R, RecordKind
from engine.links import Links
from engine.marks import MarkRows, Marks
from engine.message import Envelope, StoredEnvelope, Token, stored
from engine.totals import Totals
from engine.turn import (
    KEY_BYTES_MAX,
    MESSAGES_MAX,
    MINOR_MAX,
    ConservationError,
    Turn,
    TurnError,
)
from storage.errors import CorruptRowError, StorageError
from storage.journal import Commit
from storage.link import outbox_key
from storage.row import ACTORS, DATES, HUBS, LINKS, MARKS, META, OUTBOX, PARKED, RECORDS, TIMERS
from storage.store import Snapshot, Store, Writes

log = logging.getLogger("piaohao.engine")

_encode = msgspec.msgpack.Encoder().encode
_KEPT_MAX: Final = 32
_TIMERS_AT_ONCE: Final = 100
GONE: Final = Struct()
"""Stands for a record that a turn has dropped, until that is durable."""
BEHIND: Final = "behind an earlier parked message"


class Stage:
    """The actors of one shard and everything of theirs that is not durable yet.

    Attributes:
        asks: commands whose callers wait or whose chains go on, by number.
        batch: what the turns since the last cut did.
        committing: the batch that is being committed, None between commits.
        internal: messages that exist in memory only; a cut makes outbox rows of what is left.
        carried: messages that are outbox rows to this shard itself, with their sequence.
        links: this shard's ends of the ways to the others, None where it is the only one.
        inbox: messages from other shards, `(shard, sequence, message)`, not taken yet.
        now_ns: the time of the turns, set before each chain.
        next_due: no timer is due before this, nanoseconds; it may be too early.
        closing: dates that were cut and are not closed yet.
        closable: one of them may be, once no message is under way.
        marks: of the requests whose commands had their first turns here.
        totals: sums over all actors of a kind.
    """

    def __init__(self, store: Store, kinds: Kinds, clock: Clock, marks: Marks) -> None:
        last = store.last
        self.store = store
        self.kinds = kinds
        self.clock = clock
        self.number = store.format.shard
        self.business_date = last.business_date
        self.posting_next = last.posting_first + last.postings
        self.durable_seq = last.sequence
        self.books = Books(last.sums)
        self.history = History()
        self.beginnings = Beginnings()
        self.asks: dict[int, Ask] = {}
        self.actors: dict[str, Actor] = {}
        self.batch = Batch(last.sequence + 1)
        self.committing: Batch | None = None
        self.internal: deque[Envelope] = deque()
        self.carried: deque[tuple[int, Envelope]] = deque()
        self.inbox: deque[tuple[int, int, Envelope]] = deque()
        self.now_ns = clock.now_ns()
        self.next_due = 0
        self._outbox_last = last.outbox_last
        self._turn: Turn[Any] = Turn(self)
        self._snapshot: Snapshot | None = None
        self.parking = parking.Parking(self.snapshot())
        alone = store.format.shards == 1
        self.links = None if alone else Links(self.snapshot(), store.format)
        self.closing = {
            date.business_date
            for key, payload in self.snapshot().scan(DATES)
            for date in (dates.open_date(key, payload),)
            if date.state is DateState.CLOSING
        }
        self.closable = bool(self.closing)
        self.marks = MarkRows(self.snapshot(), marks, self.number)
        self.totals = Totals(self.snapshot(), kinds, last)
        self.next_due = self._earliest_timer()
        self.end_read()

    # Messages get their turns.

    def under_way(self) -> bool:
        """Return whether any message that is this shard's own has still to get its turn."""
        return bool(self.internal or self.carried)

    def deliver(self, envelope: Envelope) -> None:
        """Give one internal message its turn, or park it."""
        if envelope.to in self.parking.by_actor:
            error: str | None = BEHIND
        else:
            error = self.try_turn(envelope)
        if error is not None:
            self.park(stored(envelope), error)
            self.books.keep(envelope)

    def deliver_carried(self) -> None:
        """Give the oldest message of the outbox to itself its turn; its row goes with it."""
        sequence, envelope = self.carried.popleft()
        self.batch.outbox[outbox_key(self.number, sequence)] = None
        error = BEHIND if envelope.to in self.parking.by_actor else self.try_turn(envelope)
        if error is None:
            self.books.take(envelope)
        else:
            self.park(stored(envelope), error)

    def deliver_arrival(self) -> None:
        """Take the oldest message of another shard: its turn, and the cursor past it."""
        links = self.links
        assert links is not None
        source, sequence, envelope = self.inbox.popleft()
        links.take(source, sequence, envelope)
        self.batch.taken[source] = sequence
        if envelope.to:
            self.books.receive(envelope)
            self.deliver(envelope)
        elif envelope.business_date >= self.business_date or envelope.business_date in self.closing:
            links.mark(source, envelope.business_date, envelope.body)
        if envelope.business_date in self.closing:
            self.closable = True

    def park_arrival(self, error: str) -> None:
        """Park the oldest message of another shard instead of giving it its turn."""
        links = self.links
        assert links is not None
        source, sequence, envelope = self.inbox.popleft()
        links.take(source, sequence, envelope)
        self.batch.taken[source] = sequence
        self.books.receive(envelope)
        self.park(stored(envelope), error)
        self.books.keep(envelope)

    def try_turn(self, envelope: Envelope) -> str | None:
        """Give an internal message its turn; returns None, or what undid it.

        Raises:
            KeptError: it is one that was to be given up, and is not.
            StorageError: a row could not be read; the shard has to stop.
        """
        try:
            self.take_turn(envelope)
        except (StorageError, KeptError):
            raise
        except Exception as error:
            log.exception("a turn of %s at %s failed", type(envelope.body).__name__, envelope.to)
            return f"{type(error).__name__}: {error}"
        return None

    def park(self, row: StoredEnvelope, error: str) -> None:
        """Move a message to its receiver's parked rows; the caller is told OUTCOME_UNKNOWN."""
        self.batch.parked[self.parking.add(row)] = parking.failed(row, error)
        token = row.token
        ask = self.ask_of(token)
        if ask is not None:
            self.batch.answers.append((ask, OUTCOME_UNKNOWN))
            self.chain_moved(ask, 0)
        elif token is not None and token[1] != self.number:
            self.batch.told.append((token, OUTCOME_UNKNOWN))
            self.batch.moved.append((token, -1))

    def fire_timers(self, now_ns: int) -> None:
        """Fire up to a hundred due timers; each row goes in its turn's batch."""
        overlays = [batch.timers for batch in (self.committing, self.batch) if batch]
        due = list(islice(timers.scan(self.snapshot(), overlays, now_ns), _TIMERS_AT_ONCE))
        for key, payload in due:
            # One before it may have cancelled it, or set it anew with another message.
            newest = self.batch.timers.get(key, payload)
            if newest is not None:
                self.fire_timer(key, timers.open_timer(key, newest))
        self.next_due = self._earliest_timer()

    def fire_timer(self, key: bytes, timer: timers.Timer) -> None:
        """Deliver one timer's message; the timer's row goes with it."""
        self.batch.timers[key] = None
        self.deliver(self._timer_envelope(key, timer))

    def park_timer(self, key: bytes, timer: timers.Timer, error: str) -> None:
        """Park a timer's message instead of delivering it."""
        self.batch.timers[key] = None
        self.park(stored(self._timer_envelope(key, timer)), error)

    def _timer_envelope(self, key: bytes, timer: timers.Timer) -> Envelope:
        due_ns, address, _ = timers.split_timer_key(key)
        body = self.kinds.read_body(address, timer.body)
        # A domain clock may be ahead of a timer that was set late; that fires at its own time.
        at_ns = due_ns if self.clock.movable else 0
        return Envelope(address, address, body, self.business_date, at_ns=at_ns)

    def _earliest_timer(self) -> int:
        overlays = [batch.timers for batch in (self.committing, self.batch) if batch]
        first = next(timers.scan(self.snapshot(), overlays, timers.NEVER), None)
        return timers.NEVER if first is None else timers.split_timer_key(first[0])[0]

    # One turn.

    def refuses(self, to: str, body: Struct) -> bool:
        """Return whether an actor is quarantined, and a command has to wait until it is not."""
        return to in self.parking.by_actor and type(body) not in self.kinds.unhindered

    def take_turn(self, envelope: Envelope) -> None:
        """Run one turn and merge its effects.

        Raises:
            Exception: whatever the handler raised, or what was wrong with its effects
                (`TurnError`, an encoding error); then nothing of the turn remains.
            StorageError: a row could not be read; the shard has to stop.
        """
        begun = time.perf_counter_ns()
        to = envelope.to
        body = envelope.body
        actor = self.actors.get(to)
        if actor is None:
            actor = self._activate(to)
        actor.recent = True
        turn = self._turn
        turn._actor = actor
        turn.address = to
        turn.number = actor.number
        turn.state = actor.state
        turn._at_ns = at_ns = envelope.at_ns
        turn.now_ns = at_ns or self.now_ns
        turn.business_date = envelope.business_date
        turn.sender = envelope.sender
        turn.token = envelope.token
        turn.amount_minor = envelope.amount_minor
        turn.currency = envelope.currency
        outcome = "ok"
        try:
            actor.kind.handlers[type(body)](turn, body)
            self._merge(actor, turn)
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            turn._changed = False
            turn._records.clear()
            turn._postings.clear()
            turn._messages.clear()
            turn._answers.clear()
            turn._timers.clear()
            ended = time.perf_counter_ns()
            self.history.append(
                (begun, ended - begun, to, type(body), outcome, self.batch.sequence, envelope.token)
            )

    def _merge(self, actor: Actor, turn: Turn[Any]) -> None:
        """Check everything the turn did, then make it the shard's: the one place of no return.

        Encoding here, not at the cut, is the check that text and integers are valid; it costs
        about 1 µs a payment and means that a commit can only fail for the store's reasons.
        """
        batch = self.batch
        kind = actor.kind
        payload = b""
        if turn._changed:
            payload = _encode(turn.state)
            kind.decode_state(payload)
        rows = []
        if turn._records:
            for key, (record_kind, record) in turn._records.items():
                row = None
                if record is not None:
                    row = _encode(record)
                    record_kind.decode(row)
                if len(key) > KEY_BYTES_MAX:
                    raise TurnError(f"key of {len(key)} bytes")
                if record_kind.ascending:
                    self._highest(actor, record_kind)
                rows.append((key, record_kind, record, row))
        postings = turn._postings
        messages = turn._messages
        currency = turn.currency
        moved = -turn.amount_minor
        posted = 0
        encoded: list[bytes] = []
        for posting in postings:
            amount = posting[1]
            balance = posting[3]
            if type(amount) is not int or not -MINOR_MAX <= amount <= MINOR_MAX:
                raise TurnError(f"posting of {amount!r} to {posting[0]}")
            if type(balance) is not int or not -MINOR_MAX <= balance <= MINOR_MAX:
                raise TurnError(f"balance of {posting[0]} out of range")
            if posting[2] != currency:
                if currency:
                    raise ConservationError(f"{posting[2]} beside {currency} in one turn")
                currency = posting[2]
            posted += amount
            encoded.append(_encode(posting))
        links = self.links
        departing: list[tuple[int, Envelope, bytes]] = []
        for message in messages:
            # Sent to nobody, or what its receiver never takes, it would be found out only after
            # this turn has become durable. The receiver is nearly always in memory: 0.1 us.
            receiver = self.actors.get(message.to)
            takes = self.kinds.of(message.to).takes if receiver is None else receiver.kind.takes
            if type(message.body) not in takes:
                raise TurnError(f"{type(message.body).__name__} told to {message.to}")
            shard = self.number
            if receiver is None and links is not None:
                shard = links.shard_of(message.to)
            if shard == self.number:
                _encode(message.body)
            else:
                departing.append((shard, message, encode_stored(stored(message))))
            amount = message.amount_minor
            if amount:
                if (
                    type(amount) is not int
                    or not 0 < amount <= MINOR_MAX
                    or message.currency != (currency or message.currency)
                ):
                    raise ConservationError(f"{amount} {message.currency} told")
                currency = message.currency
                moved += amount
            elif message.currency:
                raise ConservationError(f"{message.currency} told without an amount")
        if not currency and (encoded or moved):
            raise ConservationError("money without a currency")
        if posted + moved:
            raise ConservationError(f"a turn of {actor.address} is off by {posted + moved}")
        if len(messages) > MESSAGES_MAX:
            raise TurnError(f"{len(messages)} messages in one turn")
        timer_rows = self._timer_rows(actor, turn) if turn._timers else ()
        # Nothing below can fail.
        highest = actor.highest
        for key, record_kind, record, row in rows:
            if highest is not None and record_kind.ascending and key > highest[record_kind.tag]:
                highest[record_kind.tag] = key
            batch.records[key] = row
            batch.objects[key] = GONE if record is None else record
            actor.staged_seq = batch.sequence
            if record_kind.kept:
                _keep(actor, key, record)
        if turn._changed:
            if kind.table is HUBS:
                batch.hubs[actor.key] = payload
            else:
                batch.actors[actor.key] = payload
                summed = kind.summed
                if summed is not None:  # 0.1 µs a payment
                    before = actor.state
                    if before is None or summed(before) != summed(turn.state):
                        self.totals.move(actor, turn.state)
            actor.state = turn.state
            actor.staged_seq = batch.sequence
        if encoded:
            batch.postings += encoded
            self.posting_next += len(encoded)
            if posted:
                self.books.post(turn.business_date, currency, posted)
        for due, key, timer_row in timer_rows:
            batch.timers[key] = timer_row
            if timer_row is not None and due < self.next_due:
                self.next_due = due
        if not departing:
            self.internal += messages
        else:
            for shard, message, row in departing:
                batch.depart(shard, message, row)
            if len(departing) < len(messages):
                gone = {id(message) for _, message, _ in departing}
                self.internal += [each for each in messages if id(each) not in gone]
        batch.turns += 1
        token = turn.token
        ask = None if token is None else self.ask_of(token)
        for to, body in turn._answers:
            told = ask if to is token else self.ask_of(to)
            if told is not None:
                batch.answers.append((told, body))
            elif to[1] != self.number:
                batch.told.append((to, body))
        if ask is not None:
            ask.pending += len(messages) - 1
            if not ask.pending:
                batch.ended.append(ask)
        elif token is not None and token[1] != self.number and len(messages) != 1:
            batch.moved.append((token, len(messages) - 1))

    @staticmethod
    def _timer_rows(actor: Actor, turn: Turn[Any]) -> list[tuple[int, bytes, bytes | None]]:
        rows: list[tuple[int, bytes, bytes | None]] = []
        for (due_ns, name), body in turn._timers.items():
            if due_ns > timers.NEVER:
                raise TurnError(f"a timer due at {due_ns}")
            if body is not None and type(body) not in actor.kind.takes:
                raise TurnError(f"{type(body).__name__} in a timer of {actor.address}")
            key = timers.timer_key(due_ns, actor.address, name)
            if len(key) > KEY_BYTES_MAX:
                raise TurnError(f"key of {len(key)} bytes")
            rows.append((due_ns, key, None if body is None else timers.timer_row(body)))
        return rows

    def ask_of(self, token: Token | None) -> Ask | None:
        """Return the ask of a token, None if it is of an earlier boot or over."""
        if token is None or token[0] != self.store.epoch or token[1] != self.number:
            return None
        return self.asks.get(token[2])

    def chain_moved(self, ask: Ask, sent: int) -> None:
        """Count a turn of a chain that sent messages in its place."""
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
        found: Any = None
        if kind.kept and actor.kept is not None:
            found = actor.kept.get(key)
        if found is None:
            found = self.batch.objects.get(key)
        if found is None and self.committing is not None:
            found = self.committing.objects.get(key)
        if found is not None:
            return None if found is GONE else found
        if kind.ascending and key > self._highest(actor, kind):
            return None
        payload = self.snapshot().get(RECORDS, key)
        if payload is None:
            return None
        record = _decoded(RECORDS, key, payload, kind.decode)
        if kind.kept:
            _keep(actor, key, record)
        return record

    def _highest(self, actor: Actor, kind: RecordKind[Any]) -> bytes:
        """Return the highest key of an ascending kind under this actor, b"" if there is none.

        The store is asked once per activation; from then on `_merge` keeps it. What is not
        durable cannot be missed: an actor with such records stays in memory, and each record
        goes through here before it is put.
        """
        if actor.highest is None:
            actor.highest = {}
        highest = actor.highest.get(kind.tag)
        if highest is None:
            prefix = actor.key + kind.prefix
            rows = self.snapshot().scan(RECORDS, prefix, prefix + b"\xff", reverse=True)
            highest = next(rows, (b"", b""))[0]
            actor.highest[kind.tag] = highest
        return highest

    def _activate(self, address: str) -> Actor:
        """Bring an actor into memory; one that has no row has no state yet."""
        actor = Actor(address, self.kinds.of(address), None)
        payload = self.snapshot().get(actor.kind.table, actor.key)
        if payload is not None:
            actor.state = _decoded(actor.kind.table, actor.key, payload, actor.kind.decode_state)
        self.actors[address] = actor
        return actor

    def passivate(self, actors_max: int) -> None:
        """Let idle clean actors go until a tenth of the bound is free, oldest first.

        One with changes that are not durable stays: its newest state exists nowhere else. One
        touched since the last look gets a second chance.
        """
        keep = actors_max - actors_max // 10
        for address in list(self.actors):
            if len(self.actors) <= keep:
                return
            actor = self.actors[address]
            if actor.staged_seq > self.durable_seq:
                continue
            del self.actors[address]
            if actor.recent:
                actor.recent = False
                self.actors[address] = actor

    def add_up(self) -> None:
        """Add up the next of the actors whose totals are not known; all done, have it written."""
        overlays = [batch.actors for batch in (self.committing, self.batch) if batch]
        self.totals.add_up(self.snapshot(), overlays)
        self.end_read()
        if self.totals.complete:
            self.batch.forced = True

    # The cut.

    def cut(self, now: float) -> tuple[Batch, Writes | None]:
        """Close the batch and begin the next; returns it with its writes, if it has any.

        Args:
            now: on Trio's clock, seconds.

        Messages that are still in memory become outbox rows to this shard itself. What leaves for
        other shards is numbered, and what they have acknowledged is dropped; so are marks that
        are over.

        Raises:
            ConservationError: the books do not balance; the shard has to stop.
        """
        batch = self.batch
        for envelope in self.internal:
            self._outbox_last += 1
            key = outbox_key(self.number, self._outbox_last)
            batch.outbox[key] = parking.encode(stored(envelope))
            self.books.keep(envelope)
            self.carried.append((self._outbox_last, envelope))
        self.internal.clear()
        if self.links is not None:
            if batch.departures:
                self.links.depart(batch, self.books, now)
                self.closable = self.closable or bool(self.closing)
            self.links.write(batch)
            if batch.writes():
                self.links.trim(batch)
        if not batch.writes():
            self.batch = Batch(batch.sequence)
            return batch, None
        self.marks.forget(batch, self.store)
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
            HUBS: batch.hubs,
            RECORDS: batch.records,
            TIMERS: batch.timers,
            OUTBOX: batch.outbox,
            PARKED: batch.parked,
            DATES: batch.dates,
            LINKS: batch.links,
            MARKS: batch.marks,
        }
        if self.totals.changed:
            tables[META] = self.totals.rows(self.store.epoch)
        self.batch = Batch(batch.sequence + 1)
        rows = {table: rows for table, rows in tables.items() if rows}
        return batch, Writes(commit, batch.postings, rows)


def _keep(actor: Actor, key: bytes, record: Struct | None) -> None:
    if record is None:
        if actor.kept is not None:
            actor.kept.pop(key, None)
        return
    if actor.kept is None or len(actor.kept) >= _KEPT_MAX:
        actor.kept = {}
    actor.kept[key] = record


def _decoded(table: str, key: bytes, payload: bytes, decode: Callable[[bytes], R]) -> R:
    try:
        return decode(payload)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise CorruptRowError(table, key, str(error)) from error
