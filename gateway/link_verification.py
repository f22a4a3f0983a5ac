"""Verification of the links between shards: what one end says of a link, the other must bear out.

For each pair of shards: both ends belong together, nothing was taken that was never sent, what
was not taken lies in the outbox without a gap, and the money sent less the money received is the
money in those messages. For each date that is closed: the postings' sums come to zero over all
shards, each is what the journal says, and what has crossed makes up for it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from engine.dates import ClosedDate, DateState, open_date
from engine.links import decode_page
from engine.message import StoredEnvelope
from storage import link
from storage.errors import CorruptRowError, readable
from storage.journal import newest_commit
from storage.link import Incoming, Outgoing
from storage.row import COMMITS, DATES, LINKS, OUTBOX
from storage.store import Snapshot
from storage.verify import Damage


class LinkVerification:
    """One verification of all links of a store.

    Args:
        snapshots: of all shards, in order.

    Attributes:
        damages: what is wrong; `invariant` is `link` or `closed-date`.
    """

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self.damages: list[Damage] = []
        self._snapshots = snapshots
        self._outgoing: list[dict[int, Outgoing]] = []
        self._incoming: list[dict[int, Incoming]] = []
        for snapshot in snapshots:
            outgoing: dict[int, Outgoing] = {}
            incoming: dict[int, Incoming] = {}
            try:
                outgoing, incoming = link.ends(snapshot)
            except CorruptRowError as error:
                self._note(error)
            self._outgoing.append(outgoing)
            self._incoming.append(incoming)
        shards = range(len(snapshots))
        for sender in shards:
            for receiver in shards:
                if sender != receiver:
                    self._pair(sender, receiver)
            self._sums(sender)
        self._dates()

    def cursors(self, sender: int) -> Mapping[int, int]:
        """Return how far each other shard has taken the messages of one."""
        return {
            receiver: ends[sender].cursor
            for receiver, ends in enumerate(self._incoming)
            if sender in ends
        }

    def compare(self, sums: Sequence[Mapping[tuple[str, str], int]]) -> None:
        """Compare what each shard says of its closed dates with its journal.

        Args:
            sums: of each shard's postings, by business date and currency.
        """
        for shard, (snapshot, posted) in enumerate(zip(self._snapshots, sums, strict=True)):
            try:
                for key, payload in snapshot.scan(DATES):
                    date = open_date(key, payload)
                    if date.state is DateState.CLOSED:
                        self._closed(shard, date, posted)
            except CorruptRowError:
                continue  # it has been named

    def _closed(self, shard: int, date: ClosedDate, posted: Mapping[tuple[str, str], int]) -> None:
        currencies = {currency for day, currency in posted if day == date.business_date}
        for currency in sorted(currencies | date.sums.keys() | date.crossed.keys()):
            said, crossed = date.sums.get(currency, 0), date.crossed.get(currency, 0)
            found = posted.get((date.business_date, currency), 0)
            if said != found or said + crossed:
                detail = (
                    f"shard {shard}: closed with {said} {currency}, {crossed} crossed; "
                    f"the journal says {found}"
                )
                self.damages.append(Damage("closed-date", DATES, date.business_date, detail))

    def _pair(self, sender: int, receiver: int) -> None:
        out = self._outgoing[sender].get(receiver)
        into = self._incoming[receiver].get(sender)
        try:
            link.check_pair(sender, out, receiver, into)
            assert out is not None
            assert into is not None
            self._outbox(sender, receiver, out, into)
        except CorruptRowError as error:
            self._note(error)

    def _outbox(self, sender: int, receiver: int, out: Outgoing, into: Incoming) -> None:
        name = f"shard {sender} to shard {receiver}"
        expected: int | None = None
        on_its_way: Counter[str] = Counter()
        start, stop = link.outbox_range(receiver)
        for key, page in self._snapshots[sender].scan(OUTBOX, start, stop):
            first = int.from_bytes(key[2:], "big")
            if expected is None and first > into.cursor + 1:
                detail = f"{name}: {into.cursor} was taken, and {first} is the next that is there"
                raise CorruptRowError(OUTBOX, key, detail)
            if expected is not None and first != expected:
                raise CorruptRowError(OUTBOX, key, f"{name}: message {expected} is missing")
            rows = _opened(key, page)
            for sequence, row in enumerate(rows, first):
                if sequence > into.cursor:
                    on_its_way[row.currency] += row.amount_minor
            expected = first + len(rows)
        there = out.last + 1 if expected is None else expected
        if there != out.last + 1 or (expected is None and into.cursor != out.last):
            detail = f"{name}: messages up to {out.last} were sent, {into.cursor} taken, and "
            detail += "the outbox does not hold the rest"
            raise CorruptRowError(LINKS, link.outgoing_key(receiver), detail)
        for currency in out.sent_minor.keys() | into.received_minor.keys() | on_its_way.keys():
            sent, received = out.sent_minor.get(currency, 0), into.received_minor.get(currency, 0)
            if sent - received != on_its_way[currency]:
                detail = (
                    f"{name}: {sent} {currency} sent, {received} received, "
                    f"{on_its_way[currency]} on its way"
                )
                raise CorruptRowError(LINKS, link.outgoing_key(receiver), detail)

    def _sums(self, shard: int) -> None:
        """Compare the newest commit's money across links, and the closed dates', with the ends."""
        crossed: Counter[str] = Counter()
        try:
            last = newest_commit(self._snapshots[shard])
            for each in last.sums:
                crossed[each.currency] += each.sent_minor - each.received_minor
            for key, payload in self._snapshots[shard].scan(DATES):
                crossed.update(open_date(key, payload).crossed)
        except CorruptRowError:
            return  # the bytes' verification has named it
        for end in self._outgoing[shard].values():
            crossed.subtract(end.sent_minor)
        for into in self._incoming[shard].values():
            crossed.update(into.received_minor)
        for currency, off in crossed.items():
            if off:
                detail = f"shard {shard}: its books and its links differ by {off} {currency}"
                self.damages.append(Damage("link", COMMITS, str(last.sequence), detail))

    def _dates(self) -> None:
        """Each date that is closed everywhere balances by itself, over all shards."""
        sums: dict[str, Counter[str]] = {}
        closed: Counter[str] = Counter()
        try:
            for snapshot in self._snapshots:
                for key, payload in snapshot.scan(DATES):
                    date = open_date(key, payload)
                    if date.state is DateState.CLOSED:
                        closed[date.business_date] += 1
                        sums.setdefault(date.business_date, Counter()).update(date.sums)
        except CorruptRowError as error:
            self._note(error)
        for business_date, total in sums.items():
            if closed[business_date] == len(self._snapshots):
                for currency, minor in total.items():
                    if minor:
                        detail = f"closed with {minor} {currency}"
                        self.damages.append(Damage("closed-date", DATES, business_date, detail))

    def _note(self, error: CorruptRowError) -> None:
        # A checksum that does not fit has been noted with the rows.
        if error.detail != "checksum does not fit":
            self.damages.append(Damage("link", error.table, readable(error.key), error.detail))


def _opened(key: bytes, page: bytes) -> list[StoredEnvelope]:
    try:
        return decode_page(page)
    except msgspec.DecodeError as error:
        raise CorruptRowError(OUTBOX, key, str(error)) from error
