"""Links: one shard's ends of the ways to all others, and exactly-once over them.

A message to another shard is written to the outbox in the batch of the turn that sent it, and
leaves once that batch is durable. Messages of a link are numbered without a gap; the receiver
stores the number of the newest one that it took in the same batch as its effects, so a message
that comes again is known by comparing one number. What the receiver has made durable it
acknowledges, and the sender drops those rows in a later batch. Nothing here trusts the way
between the two: messages may be lost, doubled or come late, and the sender sends again.

A business date ends with markers. A shard that was cut and in which nothing of the date is under
way tells all others how many messages of it it has sent to each and taken from each. Where the
newest markers of all shards agree pair by pair, all was passive and no message was on any link
when they were made (links keep their order), and nothing can begin a closed date anew.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

import msgspec

from engine.address import shard_of
from engine.batch import Batch
from engine.books import Books
from engine.kind import Kinds
from engine.message import Envelope, StoredEnvelope
from engine.way import Way
from storage import link
from storage.errors import CorruptRowError
from storage.journal import pages
from storage.link import Incoming, Marker, Outgoing, outbox_key, outbox_range
from storage.row import LINKS, OUTBOX
from storage.store import Format, Snapshot, Store

RESEND_S: Final = 5.0
"""What has not been acknowledged by then is sent again; a healthy link takes milliseconds."""
AGAIN_MAX: Final = 1_000
"""Messages of a link that are sent again at once."""

decode_page = msgspec.msgpack.Decoder(list[StoredEnvelope]).decode
_decode_marker = msgspec.msgpack.Decoder(Marker).decode


class SendingEnd:
    """What this shard has sent to another.

    Attributes:
        end: the row, as of the newest cut.
        unacknowledged: `(first, last)` of the outbox pages that are there, in order.
        acknowledged: the receiver's durable cursor, as far as it has been heard of.
        since: when the link last made progress, on Trio's clock, seconds.
    """

    __slots__ = ("acknowledged", "end", "since", "unacknowledged")

    def __init__(self, end: Outgoing) -> None:
        self.end = end
        self.unacknowledged: deque[tuple[int, int]] = deque()
        self.acknowledged = 0
        self.since = 0.0


class ReceivingEnd:
    """What this shard has taken from another.

    Attributes:
        end: the row, as of the newest turn.
        arrived: number of the newest message that waits here, or was taken.
        durable: number of the newest message that was taken in a batch that is durable.
        changed: the row has to be written at the cut.
    """

    __slots__ = ("arrived", "changed", "durable", "end")

    def __init__(self, end: Incoming) -> None:
        self.end = end
        self.arrived = end.cursor
        self.durable = end.cursor
        self.changed = False


class Links:
    """One shard's ends of its links.

    Args:
        snapshot: of the shard's store.
        format_: tells which shard it is, of how many.

    Raises:
        CorruptRowError: an end is missing, or the outbox is not what its end says.
    """

    def __init__(self, snapshot: Snapshot, format_: Format) -> None:
        self.own = format_.shard
        self.shards = format_.shards
        self.others = tuple(n for n in range(format_.shards) if n != format_.shard)
        outgoing, incoming = link.ends(snapshot)
        for other in self.others:
            for ends, key in (
                (outgoing, link.outgoing_key(other)),
                (incoming, link.incoming_key(other)),
            ):
                if other not in ends:
                    raise CorruptRowError(LINKS, key, "missing")
        self.sending = {other: SendingEnd(outgoing[other]) for other in self.others}
        self.receiving = {other: ReceivingEnd(incoming[other]) for other in self.others}
        self._told: dict[str, Marker] = {}
        for other, sender in self.sending.items():
            for first, rows in self._pages(snapshot, other):
                sender.unacknowledged.append((first, first + len(rows) - 1))
            _check_outbox(other, sender)

    def shard_of(self, address: str) -> int:
        """Return the shard that owns an address."""
        return shard_of(address, self.shards)

    # The sending end.

    def depart(self, batch: Batch, books: Books, now: float) -> None:
        """Number what the batch sends and put it into the outbox, as the batch is cut.

        Args:
            now: on Trio's clock, seconds.
        """
        for other, departures in batch.departures.items():
            sender = self.sending[other]
            end = sender.end
            sent_minor, dated = dict(end.sent_minor), dict(end.dated)
            for envelope, _ in departures:
                if envelope.amount_minor:
                    books.send(envelope)
                    currency = envelope.currency
                    sent_minor[currency] = sent_minor.get(currency, 0) + envelope.amount_minor
                if envelope.to:
                    dated[envelope.business_date] = dated.get(envelope.business_date, 0) + 1
            first = end.last + 1
            last = end.last + len(departures)
            starts = []
            for key, page in pages(first, [encoded for _, encoded in departures]):
                starts.append(int.from_bytes(key, "big"))
                batch.outbox[outbox_key(other, starts[-1])] = page
            if not sender.unacknowledged:
                sender.since = now
            sender.unacknowledged.extend(
                zip(starts, [start - 1 for start in starts[1:]] + [last], strict=True)
            )
            sender.end = Outgoing(end.incarnation, last, sent_minor, dated)
            batch.links[link.outgoing_key(other)] = link.encode(sender.end)
            batch.carried[other] = first

    def hand_over(self, batch: Batch, way: Way) -> None:
        """Hand over what other shards are to have of a batch that is durable now."""
        # A chain's count goes ahead of the messages that it counts: it must not end too soon.
        for token, messages in batch.moved:
            way.moved(token, messages)
        for other, first in batch.carried.items():
            way.carry(self.own, other, first, [envelope for envelope, _ in batch.departures[other]])
        for source, cursor in batch.taken.items():
            self.receiving[source].durable = cursor
            way.acknowledge(self.own, source, cursor)
        for token, outcome in batch.told:
            way.tell(token, outcome)

    def acknowledge(self, other: int, cursor: int, now: float) -> None:
        """Note that the receiver has made everything up to `cursor` durable."""
        sender = self.sending[other]
        if cursor > sender.acknowledged:
            sender.acknowledged = cursor
            sender.since = now

    def trim(self, batch: Batch) -> None:
        """Drop the outbox rows that have been acknowledged, in this batch."""
        for other, sender in self.sending.items():
            rows = sender.unacknowledged
            while rows and rows[0][1] <= sender.acknowledged:
                batch.outbox[outbox_key(other, rows.popleft()[0])] = None

    def trimmable(self) -> bool:
        """Return whether there is an outbox row to drop."""
        return any(
            sender.unacknowledged and sender.unacknowledged[0][1] <= sender.acknowledged
            for sender in self.sending.values()
        )

    def overdue(self, now: float) -> list[int]:
        """Return the shards that should have acknowledged something by now."""
        return [
            other
            for other, sender in self.sending.items()
            if sender.unacknowledged
            and sender.unacknowledged[-1][1] > sender.acknowledged
            and now - sender.since >= RESEND_S
        ]

    def send_again(self, store: Store, kinds: Kinds, way: Way, now: float) -> None:
        """Send again what has not been acknowledged for too long.

        Args:
            now: on Trio's clock, seconds.
        """
        for other in self.overdue(now):
            sender = self.sending[other]
            sender.since = now
            snapshot = store.snapshot()
            try:
                rows = self.outbox(snapshot, other, sender.acknowledged)
                again = [
                    (sequence, opened(kinds, row)) for sequence, row in islice(rows, AGAIN_MAX)
                ]
            finally:
                snapshot.close()
            if again:
                way.carry(self.own, other, again[0][0], [message for _, message in again])

    def outbox(
        self, snapshot: Snapshot, other: int, after: int
    ) -> Iterator[tuple[int, StoredEnvelope]]:
        """Yield `(sequence, message)` of the durable outbox to a shard, those beyond `after`."""
        for first, rows in self._pages(snapshot, other):
            for sequence, row in enumerate(rows, first):
                if sequence > after:
                    yield sequence, row

    def _pages(self, snapshot: Snapshot, other: int) -> Iterator[tuple[int, list[StoredEnvelope]]]:
        for key, page in snapshot.scan(OUTBOX, *outbox_range(other)):
            try:
                rows = decode_page(page)
            except msgspec.DecodeError as error:
                raise CorruptRowError(OUTBOX, key, str(error)) from error
            yield int.from_bytes(key[2:], "big"), rows

    # The receiving end.

    def arrives(self, other: int, sequence: int) -> bool:
        """Return whether this is the next message of a link, and count it as here if so.

        One that was here before is not; nor is one beyond a gap: it will be sent again.
        """
        receiver = self.receiving[other]
        if sequence != receiver.arrived + 1:
            return False
        receiver.arrived = sequence
        return True

    def take(self, other: int, sequence: int, envelope: Envelope) -> None:
        """Move the cursor past a message, in the batch with its effects."""
        receiver = self.receiving[other]
        end = receiver.end
        assert sequence == end.cursor + 1, f"{sequence} from shard {other} after {end.cursor}"
        received_minor, dated = end.received_minor, end.dated
        if envelope.amount_minor:
            currency = envelope.currency
            total = received_minor.get(currency, 0) + envelope.amount_minor
            received_minor = {**received_minor, currency: total}
        if envelope.to:
            date = envelope.business_date
            dated = {**dated, date: dated.get(date, 0) + 1}
        receiver.end = Incoming(end.incarnation, sequence, received_minor, dated, end.markers)
        receiver.changed = True

    def begin_attempt(self, other: int) -> None:
        """Count a turn that is to begin with the next message, in cautious recovery."""
        receiver = self.receiving[other]
        end = receiver.end
        receiver.end = msgspec.structs.replace(end, attempts=end.attempts + 1)
        receiver.changed = True

    def write(self, batch: Batch) -> None:
        """Put the receiving ends that have changed into the batch, as it is cut."""
        for other, receiver in self.receiving.items():
            if receiver.changed:
                receiver.changed = False
                batch.links[link.incoming_key(other)] = link.encode(receiver.end)

    # The end of a business date.

    def mark(self, other: int, business_date: str, marker: Marker) -> None:
        """Note another shard's marker of a date."""
        receiver = self.receiving[other]
        end = receiver.end
        markers = {**end.markers, business_date: marker}
        receiver.end = msgspec.structs.replace(end, markers=markers)
        receiver.changed = True

    def quiet(self, batch: Batch, business_date: str) -> bool:
        """Tell all others that nothing of a date that was cut is under way here, unless they
        know; return whether by all markers it is over everywhere."""
        marker = Marker(
            {other: end.end.dated.get(business_date, 0) for other, end in self.sending.items()},
            {other: end.end.dated.get(business_date, 0) for other, end in self.receiving.items()},
        )
        # What this batch sends is counted as it is cut: until then the date is not quiet.
        if any(
            envelope.to and envelope.business_date == business_date
            for departures in batch.departures.values()
            for envelope, _ in departures
        ):
            return False
        if self._told.get(business_date) != marker:
            self._told[business_date] = marker
            envelope = Envelope("", "", marker, business_date)
            for other in self.others:
                batch.depart(other, envelope)
        markers = {self.own: marker}
        for other, receiver in self.receiving.items():
            theirs = receiver.end.markers.get(business_date)
            if theirs is None:
                return False
            markers[other] = theirs
        return all(
            markers[one].sent.get(other) == markers[other].taken.get(one)
            for one in markers
            for other in markers
            if one != other
        )

    def close(self, batch: Batch, business_date: str) -> None:
        """Forget what was counted of a date that is over everywhere."""
        self._told.pop(business_date, None)
        for other, sender in self.sending.items():
            end = sender.end
            if business_date in end.dated:
                dated = {date: n for date, n in end.dated.items() if date != business_date}
                sender.end = msgspec.structs.replace(end, dated=dated)
                batch.links[link.outgoing_key(other)] = link.encode(sender.end)
        for receiver in self.receiving.values():
            ours = receiver.end
            receiver.end = msgspec.structs.replace(
                ours,
                dated={date: n for date, n in ours.dated.items() if date != business_date},
                markers={date: m for date, m in ours.markers.items() if date != business_date},
            )
            receiver.changed = True


def opened(kinds: Kinds, row: StoredEnvelope) -> Envelope:
    """Return a message of an outbox as it is carried to its shard.

    Raises:
        CorruptRowError: it is addressed to nobody and not a marker.
    """
    if row.to:
        return kinds.opened(row)
    try:
        marker = _decode_marker(row.body)
    except msgspec.DecodeError as error:
        raise CorruptRowError(OUTBOX, b"", f"an end-of-date marker: {error}") from error
    return Envelope("", "", marker, row.business_date)


def _check_outbox(other: int, sender: SendingEnd) -> None:
    rows = sender.unacknowledged
    for (first, _), (_, before) in zip(list(rows)[1:], rows, strict=False):
        if first != before + 1:
            raise CorruptRowError(OUTBOX, outbox_key(other, before + 1), "missing")
    if rows and rows[-1][1] != sender.end.last:
        key = outbox_key(other, rows[-1][0])
        detail = f"its link's newest message is {sender.end.last}, not {rows[-1][1]}"
        raise CorruptRowError(OUTBOX, key, detail)
