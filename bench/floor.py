"""The floor: what a payment costs when nothing but the work itself is done.

A bare actor loop under the same driver: the same three turns a payment (merchant, payer,
merchant) as messages to addresses, the same reads (is the order number taken?) and rows (payment
record, order key, two postings, both states), one LMDB commit a batch in a worker thread while
the next batch is formed, the caller told after the commit. No checksums, no hash chain, no
rollback, no content digest, no agreement, no fee, no admission, no deadline, no history, no
recovery. It cancels the machine's noise: the engine's cost is given as a multiple of the floor's
in the same run.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import lmdb
import msgspec
import trio
from msgspec import Struct

from actors.commands import CreatePayment
from engine.address import row_key

_TABLES: Final = ("states", "payments", "orders", "postings")
_SLICE_S: Final = 0.005
_encode = msgspec.msgpack.Encoder().encode

Rows = list[tuple[bytes, bytes]]


class FloorActor(Struct):
    """A ledger account's state: balance in minor units, sequence of its last posting."""

    key: bytes
    balance_minor: int
    last: int = 0


class FloorPayment(Struct, array_like=True):
    """A payment's record, and what its caller is told."""

    order_no: str
    payer: str
    amount_minor: int
    currency: str
    state: str
    sequence: int


class FloorMessage(Struct):
    """A message; `body` is a command, or a payment that is to be debited or was."""

    to: str
    turn: Callable[[FloorActor, Any], None]
    body: Any
    reply: Callable[[Any], None]


class Floor:
    """A store of payers and merchants in the new folder `path`, driven like a shard."""

    def __init__(self, path: Path, account_nos: list[str], merchant_nos: list[str]) -> None:
        path.mkdir(parents=True)
        self._env = lmdb.open(str(path), map_size=1 << 40, max_dbs=len(_TABLES), readahead=False)
        self._tables = [self._env.open_db(name.encode()) for name in _TABLES]
        addresses = [f"account/{number}" for number in account_nos]
        addresses += [f"merchant/{number}" for number in merchant_nos]
        self._actors = {each: FloorActor(row_key(each), 10**12) for each in addresses}
        self._payments = self._postings = 0
        self._mailbox: deque[FloorMessage] = deque()
        self._begin_batch()
        with self._env.begin(write=True) as txn:
            for actor in sorted(self._actors.values(), key=lambda each: each.key):
                txn.put(actor.key, _encode(actor), db=self._tables[0])

    def close(self) -> None:
        """Close the store."""
        self._env.close()

    def submit(
        self,
        to: str,
        body: CreatePayment,
        reply: Callable[[Any], None],
        *,
        deadline: float = 0.0,
        mark: object = None,
    ) -> None:
        """Take a payment, as `Shard.submit` does; deadline and mark are not looked at."""
        del deadline, mark
        self._mailbox.append(FloorMessage(to, self._pay, body, reply))
        self._wake.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Give turns and commit until cancelled."""
        self._wake, self._staged = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._commit_for_ever)
            task_status.started()
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._mailbox:
                    self._slice()
                    await trio.lowlevel.checkpoint()
                self._staged.set()

    def _slice(self) -> None:
        until = time.perf_counter() + _SLICE_S
        mailbox, actors = self._mailbox, self._actors
        with self._env.begin(db=self._tables[2]) as self._txn:
            while mailbox and time.perf_counter() < until:
                message = mailbox.popleft()
                message.turn(actors[message.to], message)

    def _pay(self, merchant: FloorActor, message: FloorMessage) -> None:
        command: CreatePayment = message.body
        key = merchant.key + command.order_no.encode()
        if self._txn.get(key) is not None:
            return
        self._payments += 1
        payment = FloorPayment(
            command.order_no,
            command.payer,
            command.amount_minor,
            command.currency,
            "PROCESSING",
            self._payments,
        )
        self._order_rows.append((key, self._payments.to_bytes(8, "big")))
        body = (message.to, payment)
        payer = f"account/{command.payer}"
        self._mailbox.appendleft(FloorMessage(payer, self._debit, body, message.reply))

    def _debit(self, payer: FloorActor, message: FloorMessage) -> None:
        merchant, payment = message.body
        if payer.balance_minor < payment.amount_minor:
            return
        self._post(message.to, payer, -payment.amount_minor, payment)
        self._mailbox.appendleft(FloorMessage(merchant, self._debited, payment, message.reply))

    def _debited(self, merchant: FloorActor, message: FloorMessage) -> None:
        payment: FloorPayment = message.body
        self._post(message.to, merchant, payment.amount_minor, payment)
        payment.state = "SUCCEEDED"
        self._payment_rows.append((payment.sequence.to_bytes(8, "big"), _encode(payment)))
        self._told.append((message.reply, payment))

    def _post(
        self, address: str, actor: FloorActor, amount_minor: int, payment: FloorPayment
    ) -> None:
        self._postings += 1
        actor.balance_minor += amount_minor
        row = _encode((address, amount_minor, actor.balance_minor, actor.last, payment.order_no))
        actor.last = self._postings
        self._posting_rows.append((self._postings.to_bytes(8, "big"), row))
        self._touched[address] = actor

    def _begin_batch(self) -> None:
        self._told: list[tuple[Callable[[Any], None], FloorPayment]] = []
        self._touched: dict[str, FloorActor] = {}
        self._payment_rows: Rows = []
        self._order_rows: Rows = []
        self._posting_rows: Rows = []

    async def _commit_for_ever(self) -> None:
        while True:
            await self._staged.wait()
            self._staged = trio.Event()
            while told := self._told:
                states = [(actor.key, _encode(actor)) for actor in self._touched.values()]
                rows = [states, self._payment_rows, self._order_rows, self._posting_rows]
                self._begin_batch()
                await trio.to_thread.run_sync(self._commit, rows)
                for reply, payment in told:
                    reply(payment)

    def _commit(self, tables: list[Rows]) -> None:
        with self._env.begin(write=True) as txn:
            for table, rows in zip(self._tables, tables, strict=True):
                txn.cursor(table).putmulti(rows)
