"""The floor: what a payment costs when nothing but the work itself is done.

A bare actor loop: the same three turns a payment (merchant, payer, merchant) as messages to
addresses, the same reads (is the order number taken?) and rows (payment record, order key, two
postings, both states), one LMDB commit a batch in a worker thread while the next batch is
formed, the caller told after the commit, whereupon it pays again. No checksums, no hash chain,
no rollback, no content digest, no agreement, no admission, no deadlines. It cancels the machine's
noise: the engine's cost is given as a multiple of the floor's in the same run.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import lmdb
import msgspec
import trio
from msgspec import Struct

from engine.address import row_key

_TABLES: Final = ("states", "payments", "orders", "postings")
_SLICE_S: Final = 0.005
_encode = msgspec.msgpack.Encoder().encode


class FloorActor(Struct):
    """A ledger account's state: balance in minor units, sequence of its last posting."""

    key: bytes
    balance_minor: int
    last: int = 0


class FloorPayment(Struct, array_like=True):
    """A payment's record."""

    order_no: str
    payer: str
    amount_minor: int
    state: str
    sequence: int = 0


class FloorPay(Struct):
    """Caller to merchant."""

    to: str
    payer: str
    order_no: str
    amount_minor: int
    told: Callable[[], None]


class FloorDebit(Struct):
    """Merchant to payer."""

    to: str
    merchant: str
    payment: FloorPayment
    told: Callable[[], None]


class FloorDebited(Struct):
    """Payer to merchant."""

    to: str
    payment: FloorPayment
    told: Callable[[], None]


class FloorRun(NamedTuple):
    """What a run of the floor cost."""

    payments: int
    seconds: float
    cpu_s: float


class Floor:
    """A store of `accounts` payers and `merchants` merchants in the new folder `path`."""

    def __init__(self, path: Path, accounts: int, merchants: int) -> None:
        path.mkdir(parents=True)
        self._env = lmdb.open(str(path), map_size=1 << 40, max_dbs=len(_TABLES), readahead=False)
        self._tables = [self._env.open_db(name.encode()) for name in _TABLES]
        self._payers = [f"account/{n}" for n in range(accounts)]
        self._payees = [f"merchant/{n}" for n in range(merchants)]
        self._actors = {a: FloorActor(row_key(a), 10**12) for a in self._payers + self._payees}
        self._orders = self._payments = self._postings = 0
        self._mailbox: deque[FloorPay | FloorDebit | FloorDebited] = deque()
        self._turns = {FloorPay: self._pay, FloorDebit: self._debit, FloorDebited: self._debited}
        self._begin_batch()
        with self._env.begin(write=True) as txn:
            for actor in sorted(self._actors.values(), key=lambda each: each.key):
                txn.put(actor.key, _encode(actor), db=self._tables[0])

    def close(self) -> None:
        """Close the store."""
        self._env.close()

    async def run(self, payers: Sequence[int], in_flight: int, seconds: float) -> FloorRun:
        """Keep `in_flight` callers paying for `seconds`.

        Args:
            payers: indices of the payers in order, used round and round; payer n pays
                merchant n modulo the number of merchants.
        """
        begun, cpu, before = time.perf_counter(), time.process_time(), self._payments
        self._choices, self._until = payers, begun + seconds
        self._wake = trio.Event()
        for _ in range(in_flight):
            self._caller_pays()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit_for_ever)
            while time.perf_counter() < self._until or self._mailbox:
                self._slice()
                self._wake.set()
                await trio.lowlevel.checkpoint()
                if not self._mailbox:
                    self._idle = trio.Event()
                    await self._idle.wait()
            while self._told:
                await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        cpu_s = time.process_time() - cpu
        return FloorRun(self._payments - before, time.perf_counter() - begun, cpu_s)

    def _caller_pays(self) -> None:
        if time.perf_counter() >= self._until:
            return
        self._orders += 1
        payer = self._choices[self._orders % len(self._choices)]
        to = self._payees[payer % len(self._payees)]
        order_no = f"20260101-{self._orders:012d}"
        self._mailbox.append(
            FloorPay(to, self._payers[payer], order_no, 100, self._caller_pays)
        )

    def _slice(self) -> None:
        until = time.perf_counter() + _SLICE_S
        mailbox, turns = self._mailbox, self._turns
        with self._env.begin(db=self._tables[2]) as self._txn:
            while mailbox and time.perf_counter() < until:
                message = mailbox.popleft()
                turns[type(message)](self._actors[message.to], message)  # type: ignore[operator]

    def _pay(self, merchant: FloorActor, message: FloorPay) -> None:
        key = merchant.key + message.order_no.encode()
        if self._txn.get(key) is not None:
            return
        self._payments += 1
        payment = FloorPayment(
            message.order_no, message.payer, message.amount_minor, "CREATED", self._payments
        )
        self._order_rows.append((key, self._payments.to_bytes(8, "big")))
        self._mailbox.appendleft(FloorDebit(message.payer, message.to, payment, message.told))

    def _debit(self, payer: FloorActor, message: FloorDebit) -> None:
        if payer.balance_minor < message.payment.amount_minor:
            return
        self._post(message.to, payer, -message.payment.amount_minor)
        self._mailbox.appendleft(FloorDebited(message.merchant, message.payment, message.told))

    def _debited(self, merchant: FloorActor, message: FloorDebited) -> None:
        payment = message.payment
        self._post(message.to, merchant, payment.amount_minor)
        payment.state = "SUCCEEDED"
        self._payment_rows.append((payment.sequence.to_bytes(8, "big"), _encode(payment)))
        self._told.append(message.told)

    def _post(self, address: str, actor: FloorActor, amount_minor: int) -> None:
        self._postings += 1
        actor.balance_minor += amount_minor
        row = _encode((address, amount_minor, actor.balance_minor, actor.last))
        actor.last = self._postings
        self._posting_rows.append((self._postings.to_bytes(8, "big"), row))
        self._touched[address] = actor

    def _begin_batch(self) -> None:
        self._told: list[Callable[[], None]] = []
        self._touched: dict[str, FloorActor] = {}
        self._payment_rows: list[tuple[bytes, bytes]] = []
        self._order_rows: list[tuple[bytes, bytes]] = []
        self._posting_rows: list[tuple[bytes, bytes]] = []

    async def _commit_for_ever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            told = self._told
            states = [(actor.key, _encode(actor)) for actor in self._touched.values()]
            rows = [states, self._payment_rows, self._order_rows, self._posting_rows]
            if told:
                self._begin_batch()
                await trio.to_thread.run_sync(self._commit, rows)
                for tell in told:
                    tell()
                if self._told:
                    self._wake.set()
            self._idle.set()

    _idle = trio.Event()

    def _commit(self, tables: list[list[tuple[bytes, bytes]]]) -> None:
        with self._env.begin(write=True) as txn:
            for table, rows in zip(self._tables, tables, strict=True):
                txn.cursor(table).putmulti(rows)
