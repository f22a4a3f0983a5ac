"""Bulk: a benchmark's store, written row by row without giving turns.

It holds what the same history would have left behind if commands had made it (one funding, one
agreement and, if asked for, one past payment an account), so that `verify` finds nothing wrong.
Over each link between shards one message stands for all. Rows are written in the order of their
keys: ten million accounts take minutes, not hours.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from actors.account import Account
from actors.agreement import Allowance
from actors.commands import CreatePayment, OpenAccount, OpenMerchant, SignAgreement, digest
from actors.event import EVENTS, PAGE_EVENTS, Event, EventPage, EventType, day_of, page_name
from actors.merchant import Merchant
from actors.method import UNUSED
from actors.payment import Payment
from actors.signing import Agreement
from engine.address import SLOTS, row_key, shard_of, slot
from engine.totals import totals_row
from storage import link
from storage.journal import Commit, Sum
from storage.link import Incoming, Outgoing
from storage.lmdb_store import LmdbStore
from storage.row import ACTORS, HUBS, LINKS, META, RECORDS
from storage.store import Writes

CURRENCY: Final = "CNY"
OPENING_MINOR: Final = 1_000_000_000
PAID_MINOR: Final = 100
_CHUNK: Final = 50_000
_CLEARING: Final = f"account/clearing-{CURRENCY}"
_encode = msgspec.msgpack.Encoder().encode


def account_no(n: int) -> str:
    """Return the number of the n-th account of a benchmark's store."""
    return f"6217{n:012d}"


def merchant_no(n: int) -> str:
    """Return the number of the n-th merchant of a benchmark's store."""
    return f"M{n:05d}"


def fill(
    stores: Sequence[LmdbStore],
    accounts: int,
    merchants: int,
    *,
    paid: bool = False,
    opening: Callable[[int], int] = lambda n: OPENING_MINOR,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Fill a new, open store; account n has an agreement with merchant n modulo `merchants`.

    Args:
        stores: all of its shards, in order.
        paid: each account has paid its merchant once, 100 minor units.
        opening: returns what the n-th account begins with, in minor units.
        progress: called with the number of accounts that are written.
    """
    chunks = [_Chunk(store) for store in stores]
    ledger = _Ledger(chunks)
    slots: list[list[int]] = [[] for _ in range(SLOTS)]
    for n in range(accounts):
        slots[slot(f"account/{account_no(n)}")].append(n)
    merchants_by_slot: dict[int, list[int]] = defaultdict(list)
    for m in range(merchants):
        merchants_by_slot[slot(f"merchant/{merchant_no(m)}")].append(m)
    tails: dict[int, tuple[int, bytes]] = {}
    done = 0
    for number, members in enumerate(slots):
        for n in members:
            _account(ledger, n, n % merchants, opening(n), paid=paid)
            done += 1
            if ledger.write_full():
                progress(done)
        for m in merchants_by_slot[number] if paid else ():
            tails[m] = _events(ledger, m, range(m, accounts, merchants))
            for n in range(m, accounts, merchants):
                _payment(ledger, n, m)
                ledger.write_full()
    for m in range(merchants):
        number_ = merchant_no(m)
        opened = OpenMerchant(number_, CURRENCY)
        posted, last = ledger.of(f"merchant/{number_}/receivable")
        chunk = ledger.chunk(f"merchant/{number_}")
        events, tail = tails.get(m, (0, b""))
        state = Merchant(
            currency=CURRENCY,
            fee_bps=0,
            over_capture=False,
            digest=digest(opened),
            opened_ns=chunk.now_ns,
            posted_minor=posted,
            posted_last=last,
            events=events,
            tail=tail,
        )
        chunk.rows[HUBS][row_key(f"merchant/{number_}")] = _encode(state)
    posted, last = ledger.of(f"clearing-{CURRENCY}")
    chunk = ledger.chunk(_CLEARING)
    clearing = Account("clearing", CURRENCY, b"", chunk.now_ns, "OPEN", posted, 0, last)
    chunk.rows[ACTORS][row_key(_CLEARING)] = _encode(clearing)
    ledger.finish()
    progress(done)


class _Chunk:
    """Rows and postings of one shard's next commit, and its books so far."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store
        self.now_ns = store.format.created_ns
        self.date = store.last.business_date
        self.posted_minor = 0
        self.sent: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        self._begin()

    def _begin(self) -> None:
        last = self._store.last
        self._first = last.posting_first + last.postings
        self.postings: list[bytes] = []
        self.rows: dict[str, dict[bytes, bytes | None]] = {
            ACTORS: {},
            HUBS: {},
            RECORDS: {},
            LINKS: {},
            META: totals_row(self._store.epoch, {}),
        }

    def next_posting(self) -> int:
        return self._first + len(self.postings)

    def full(self) -> bool:
        return len(self.postings) + len(self.rows[RECORDS]) >= _CHUNK

    def write(self) -> None:
        store = self._store
        sent, received = self.sent.total(), self.received.total()
        commit = Commit(
            store.last.sequence + 1,
            store.epoch,
            self.now_ns,
            self.date,
            self._first,
            len(self.postings),
            0,
            0,
            (Sum(self.date, CURRENCY, self.posted_minor, 0, sent, received),),
        )
        store.commit_now(Writes(commit, self.postings, self.rows))
        self._begin()

    def write_links(self) -> None:
        """Put both ends of each link into the last commit: one message for all its money."""
        incarnation = self._store.format.incarnation
        for other in range(self._store.format.shards):
            if other != self._store.format.shard:
                sent, received = self.sent[other], self.received[other]
                out = Outgoing(incarnation, 1, {CURRENCY: sent}, {self.date: 1})
                into = Incoming(incarnation, 1, {CURRENCY: received}, {self.date: 1}, {})
                self.rows[LINKS][link.outgoing_key(other)] = _encode(out)
                self.rows[LINKS][link.incoming_key(other)] = _encode(into)


class _Ledger:
    """The chunks of all shards, and the newest posting of every account that has many."""

    def __init__(self, chunks: list[_Chunk]) -> None:
        self._chunks = chunks
        self._heads: dict[str, tuple[int, int]] = {}

    def shard(self, address: str) -> int:
        return shard_of(address, len(self._chunks))

    def chunk(self, address: str) -> _Chunk:
        return self._chunks[self.shard(address)]

    def of(self, account: str) -> tuple[int, int]:
        return self._heads.get(account, (0, 0))

    def move(self, giver: str, taker: str, amount_minor: int) -> None:
        """Count money that goes from one actor to another, over a link where there is one."""
        here, there = self.shard(giver), self.shard(taker)
        if here != there:
            self._chunks[here].sent[there] += amount_minor
            self._chunks[there].received[here] += amount_minor

    def post(self, address: str, account: str, amount_minor: int, reference: str) -> None:
        balance, last = self.of(account)
        sequence = self.post_known(
            address, account, amount_minor, balance + amount_minor, last, reference
        )
        self._heads[account] = (balance + amount_minor, sequence)

    def post_known(
        self,
        address: str,
        account: str,
        amount_minor: int,
        balance: int,
        last: int,
        reference: str,
    ) -> int:
        chunk = self.chunk(address)
        sequence = chunk.next_posting()
        posting = (account, amount_minor, CURRENCY, balance, last, reference, chunk.date)
        chunk.postings.append(_encode(posting))
        chunk.posted_minor += amount_minor
        return sequence

    def write_full(self) -> bool:
        """Write the chunks that are full; returns whether any was."""
        full = [chunk for chunk in self._chunks if chunk.full()]
        for chunk in full:
            chunk.write()
        return bool(full)

    def finish(self) -> None:
        for chunk in self._chunks:
            chunk.write_links()
            chunk.write()


def _account(ledger: _Ledger, n: int, m: int, opening_minor: int, *, paid: bool) -> None:
    number, merchant = account_no(n), merchant_no(m)
    address = f"account/{number}"
    chunk = ledger.chunk(address)
    reference = f"funding/{number}/opening"
    ledger.post(_CLEARING, f"clearing-{CURRENCY}", -opening_minor, reference)
    ledger.move(_CLEARING, address, opening_minor)
    balance = opening_minor
    last = ledger.post_known(address, number, opening_minor, balance, 0, reference)
    used_date, used_minor = "", UNUSED
    if paid:
        payee = f"merchant/{merchant}"
        reference = f"payment/{merchant}/{_order_no(n)}"
        balance -= PAID_MINOR
        last = ledger.post_known(address, number, -PAID_MINOR, balance, last, reference)
        ledger.move(address, payee, PAID_MINOR)
        ledger.post(payee, f"{payee}/receivable", PAID_MINOR, reference)
        used_date, used_minor = chunk.date, (PAID_MINOR, *UNUSED[1:])
    state = Account(
        "customer",
        CURRENCY,
        digest(OpenAccount(number, CURRENCY)),
        chunk.now_ns,
        "OPEN",
        balance,
        0,
        last,
        0,
        used_date,
        used_minor,
    )
    key = row_key(address)
    chunk.rows[ACTORS][key] = _encode(state)
    chunk.rows[RECORDS][key + b"\0a" + merchant.encode()] = _encode(
        Allowance(merchant, None, None, counted=False)
    )
    signed = Agreement(
        digest(SignAgreement(number, merchant, merchant)),
        chunk.date,
        chunk.now_ns,
        "SIGNED",
        None,
        chunk.now_ns,
        (),
        merchant,
        None,
        None,
        None,
        None,
    )
    chunk.rows[RECORDS][key + b"\0g" + merchant.encode()] = _encode(signed)


def _events(ledger: _Ledger, m: int, payers: range) -> tuple[int, bytes]:
    """Write the merchant's pages of events; returns how many events there are, and the rest."""
    key = row_key(f"merchant/{merchant_no(m)}") + b"\0" + EVENTS.tag
    chunk = ledger.chunk(f"merchant/{merchant_no(m)}")
    day = day_of(chunk.date)
    tail = b""
    for sequence, n in enumerate(payers, 1):
        event = Event(EventType.PAYMENT_SUCCEEDED, _order_no(n), chunk.now_ns, day, PAID_MINOR)
        tail += _encode(event)
        if not sequence % PAGE_EVENTS:
            chunk.rows[RECORDS][key + page_name(sequence).encode()] = _encode(EventPage(tail))
            tail = b""
            ledger.write_full()
    return len(payers), tail


def _payment(ledger: _Ledger, n: int, m: int) -> None:
    order_no, merchant = _order_no(n), merchant_no(m)
    chunk = ledger.chunk(f"merchant/{merchant}")
    command = CreatePayment(merchant, order_no, account_no(n), PAID_MINOR, CURRENCY)
    payment = Payment(
        digest(command),
        chunk.date,
        chunk.now_ns,
        "SUCCEEDED",
        None,
        chunk.now_ns,
        (),
        account_no(n),
        PAID_MINOR,
        CURRENCY,
    )
    key = row_key(f"merchant/{merchant}") + b"\0p" + order_no.encode()
    chunk.rows[RECORDS][key] = _encode(payment)


def _order_no(n: int) -> str:
    return f"20251231-{n:09d}"
