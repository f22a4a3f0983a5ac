"""The real bank in a test's hands: a shard in memory, its scheduler, and a look at all it stores.

The shard runs in a Trio loop of its own, in a thread, so that a synchronous test can give it
commands step by step. Left alone it schedules as it always does: one chain of messages after the
other. With a `Plan` it schedules as many shards together might: new commands begin while others
are under way, messages overtake each other (but never between the same two actors), the batch is
cut anywhere, and the process may die in the middle.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import trio
from msgspec import UNSET, Struct

from actors import commands
from actors.account import Account
from actors.agreement import Allowance
from actors.answers import Replayed
from actors.audit import StoreView, audit
from actors.authorization import Authorization
from actors.certificate import Certificate
from actors.event import PAGE_EVENTS, Event, EventPage, open_events, tail_of, view_event
from actors.freeze import Freeze, Unfreeze
from actors.hold import Hold
from actors.kinds import KINDS
from actors.ledger_audit import PostingRow
from actors.lifecycle import Profile
from actors.limits import LimitsChange
from actors.merchant import Merchant
from actors.method import METHODS, MethodLimit
from actors.note import description_of, metadata_of
from actors.operation import Operation
from actors.outcome import Bound
from actors.payment import Payment
from actors.refund import Refund
from actors.registration import Bank, Named, Registered, Roster
from actors.remedy import Remedy
from actors.signing import Agreement, AgreementChange
from actors.transfer import Transfer
from engine import timers
from engine.clock import DomainClock
from engine.dates import ClosedDate, CutDay, DateState
from engine.fault import Fault, FaultCode
from engine.kind import RecordKind
from engine.limits import Limits
from engine.schedule import Schedule
from engine.shard import Shard, ShardFailedError
from storage.errors import CommitError
from storage.journal import Posting, open_page, sequence_key
from storage.memory import MemoryStore
from storage.row import ACTORS, DATES, HUBS, JOURNAL, OUTBOX, PARKED, RECORDS, TIMERS
from storage.store import Format
from storage.verify import Verification

_REST_S = 60.0
T = TypeVar("T")
Thing = dict[str, Any]
Answer = tuple[dict[str, Any], bool]
"""(the answer as it leaves, whether it is a first outcome again)"""

START_NS = 1_767_600_000_000_000_000
"""2026-01-05T08:00:00Z."""
START_DATE = "2026-01-05"

FORMAT = Format(
    version=1,
    incarnation="00",
    shard=0,
    shards=1,
    slots=1024,
    slot_map_version=1,
    created_ns=START_NS,
)

COMMANDS: Mapping[str, type[commands.Command]] = {
    type_.__struct_config__.tag: type_  # type: ignore[misc]
    for type_ in commands.Command.__subclasses__()
}
"""Commands by their names on the wire."""

_OUTCOME = ("state", "code", "business_date", "created_ns", "settled_ns")
_HOLD = ("amount_minor", "captured_minor", "captures", "increments", "state", "expires_at_ns")
FIGURES: Mapping[type[Struct], tuple[str, ...]] = {
    Account: (
        "kind",
        "status",
        "currency",
        "posted_minor",
        "held_minor",
        "holds_open",
        "used_date",
        "used_minor",
        "frozen_minor",
        "limits",
        "opened_ns",
    ),
    Merchant: (
        "status",
        "currency",
        "fee_bps",
        "over_capture",
        "posted_minor",
        "fees_minor",
        "in_flight",
        "authorizations_open",
        "opened_ns",
    ),
    Allowance: (
        "agreement_no",
        "payment_limit_minor",
        "daily_limit_minor",
        "counted",
        "used_date",
        "used_minor",
        "uncounted_date",
    ),
    Agreement: (
        *_OUTCOME,
        "merchant_no",
        "payment_limit_minor",
        "daily_limit_minor",
        "changes",
        "changed_ns",
        "cancelled_ns",
    ),
    AgreementChange: (*_OUTCOME, "agreement_no", "payment_limit_minor", "daily_limit_minor"),
    LimitsChange: (*_OUTCOME, "method", "payment_limit_minor", "daily_limit_minor"),
    Freeze: (*_OUTCOME, "amount_minor", "released_ns"),
    Unfreeze: (*_OUTCOME, "freeze_no", "amount_minor"),
    Hold: (*_HOLD, "limit_bps"),
    Payment: (
        *_OUTCOME,
        "payer",
        "amount_minor",
        "currency",
        "fee_minor",
        "refunded_minor",
        "refunding_minor",
        "refunds",
        "reversing",
    ),
    Authorization: (
        *_OUTCOME,
        *_HOLD,
        "limit_bps",
        "payer",
        "currency",
        "refunded_minor",
        "refunding_minor",
        "refunds",
        "operation",
        "captured_ns",
    ),
    Operation: (*_OUTCOME, "original", "amount_minor", "final", "fee_minor"),
    Refund: (
        *_OUTCOME,
        "original_kind",
        "original",
        "payer",
        "redirected_to",
        "amount_minor",
        "currency",
        "redirect_no",
        "close_no",
    ),
    Remedy: (*_OUTCOME, "refund_no", "account_no", "amount_minor"),
    Transfer: (*_OUTCOME, "amount_minor", "currency"),
    Profile: (
        "legal_name",
        "contact",
        "reason",
        "contract_no",
        *(f"{done}_{what}" for done in ("submitted", "decided", "signed") for what in ("ns", "by")),
    ),
    Certificate: (
        "holder",
        "name",
        "alg",
        "not_before_ns",
        "ends_ns",
        "status",
        "revoked_ns",
        "reason",
    ),
    Bank: ("in_flight",),
    Registered: (*_OUTCOME, "serial", "ends_ns", "renews", "revoked_ns", "reason"),
    Named: ("certificate_no",),
}
"""What of a state or a record can be seen from outside, and is compared with the model."""

_log = logging.getLogger("piaohao.engine")


class ViolationError(AssertionError):
    """Something does not hold that must always hold, whatever the commands were."""


class CrashError(Exception):
    """Raised in the scheduler: what is not committed is gone."""


class Plan(Struct):
    """How a burst of commands is scheduled.

    Attributes:
        choices: one byte decides each step: who is next, or (a multiple of 7) cut the batch; when
            they are used up, everything begins first and then goes on oldest first.
        crash_after: steps after which the process dies, -1 for never.
        commit: "lost" or "kept" if the next commit fails, with that effect on the store.
    """

    choices: bytes = b""
    crash_after: int = -1
    commit: str | None = None
    steps: int = 0

    def next(self, options: int) -> int | None:
        """Return which of the options is next; None to cut the batch first."""
        if self.steps == self.crash_after:
            raise CrashError("as planned")
        choice = self.choices[self.steps] if self.steps < len(self.choices) else 0
        self.steps += 1
        return None if choice and choice % 7 == 0 else choice % options


class PlannedSchedule(Schedule):
    """A schedule that follows a plan while it has one.

    A step runs without a pause from the first command to the last message, and a store in memory
    commits at once; so a plan has the same effect each time it is played.
    """

    plan: Plan | None = None

    def __init__(self, shard: Shard) -> None:
        super().__init__(shard.stage, shard.admission, shard.callers, shard.clock, shard.limits)
        self._shard = shard

    def run_slice(self, now: float) -> None:
        if self.plan is None:
            super().run_slice(now)
            return
        try:
            while self._step(self.plan):
                pass
        finally:
            self._stage.end_read()

    def _step(self, plan: Plan) -> bool:
        stage = self._stage
        heads = self._heads()
        options = len(heads) + self._may_begin()
        choice = plan.next(max(options, 1))
        if options == 0:
            return False
        if choice is None:
            stage.end_read()
            _run_now(self._shard.commit_batch())
        elif choice < self._may_begin() or stage.carried:
            self.begin_something(0.0)
        else:
            index = heads[choice - self._may_begin()]
            envelope = stage.internal[index]
            del stage.internal[index]
            stage.deliver(envelope)
        return True

    def _may_begin(self) -> bool:
        stage = self._stage
        return bool(
            stage.carried or self._admission.waiting or stage.next_due <= self._clock.now_ns()
        )

    def _heads(self) -> list[int]:
        """Return where the oldest message of each sender to each receiver is."""
        seen: dict[tuple[str, str], int] = {}
        for index, envelope in enumerate(self._stage.internal):
            seen.setdefault((envelope.sender, envelope.to), index)
        return list(seen.values())


class PlannedShard(Shard):
    """A shard whose schedule follows a plan while it has one."""

    def __init__(self, store: MemoryStore, clock: DomainClock, limits: Limits) -> None:
        super().__init__(store, KINDS, clock, limits)
        self.schedule: PlannedSchedule = PlannedSchedule(self)

    def at_rest(self) -> bool:
        """Return whether nothing waits, nothing is under way and everything is durable."""
        stage = self.stage
        return self.failure is not None or not (
            self.schedule.has_work()
            or stage.batch.pending()
            or stage.committing
            or stage.next_due <= self.clock.now_ns()
        )

    def wake(self) -> None:
        """Have the scheduler look around, as the ticker does ten times a second."""
        self._wake.set()


def _run_now(coroutine: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class World:
    """A bank that lives, is looked at, and can be killed and started again.

    Args:
        limits: bounds of its shard.
    """

    def __init__(self, limits: Limits) -> None:
        self.clock = DomainClock(START_NS)
        self.store = MemoryStore(FORMAT, START_DATE)
        self.postings: list[PostingRow] = []
        self._limits = limits
        self._logged = _log.level
        _log.setLevel(logging.CRITICAL + 1)  # Whatever fails here fails on purpose.
        self._ledgers: dict[str, tuple[int, int]] = {}
        self._read: Counter[int] = Counter()
        self._sums: Counter[tuple[str, str]] = Counter()
        self._rows: dict[tuple[bytes, bytes], _Row] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: trio.run(self._live))
        self._thread.start()
        self._started.wait()
        self._call(self._start)

    # Its life

    async def _live(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._closed = trio.Event()
        async with trio.open_nursery() as self._nursery:
            self._started.set()
            await self._closed.wait()
            self._nursery.cancel_scope.cancel()

    def _call(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return trio.from_thread.run(function, *args, trio_token=self._token)

    async def _start(self) -> None:
        self.shard = PlannedShard(self.store, self.clock, self._limits)
        self._stopped = trio.Event()
        await self._nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        # Why it failed, if it did, is for `_rest` to judge.
        with trio.CancelScope() as self._scope, contextlib.suppress(ShardFailedError):
            await self.shard.run(task_status=task_status)
        self._stopped.set()

    def close(self) -> None:
        """End the thread, and verify the store's bytes."""
        self._call(self._close)
        self._thread.join()
        _log.setLevel(self._logged)
        for store in self._stores():
            verification = Verification(store.snapshot())
            verification.rows()
            for _ in verification.postings():
                pass
            if verification.damages:
                raise ViolationError(str(verification.damages))

    async def _close(self) -> None:
        self._closed.set()

    def restart(self, to_ns: int, *, clean: bool) -> None:
        """Stop, or die, and start again at a later time on what the store holds."""
        self._call(self._restart, clean, to_ns)

    async def _restart(self, clean: bool, to_ns: int) -> None:
        if clean:
            self.shard.stop()
        else:
            self._scope.cancel()
        await self._stopped.wait()
        if clean:
            self.store.close(clean=True)
        self.store = self.store.reopened()
        self.clock.advance_to(to_ns)
        await self._start()
        await self._rest()

    async def _rest(self) -> None:
        """Wait until all is quiet; only what a plan asks for may bring the shard down."""
        with trio.move_on_after(_REST_S) as patience:
            while not self.shard.at_rest():
                await trio.lowlevel.checkpoint()
        if patience.cancelled_caught:
            raise ViolationError(f"after {_REST_S} s something is still under way")
        failure = self.shard.failure
        if failure is not None and not isinstance(failure, CrashError | CommitError):
            raise ViolationError(f"the shard has failed: {failure!r}") from failure

    # What is done to it

    def advance(self, to_ns: int) -> None:
        """Let time pass, and let what is due happen."""
        self._call(self._advance, to_ns)

    async def _advance(self, to_ns: int) -> None:
        self.clock.advance_to(to_ns)
        self.shard.wake()
        await self._rest()

    def cut_day(self, business_date: str) -> str | None:
        """Cut the day; returns the date that is open then, None if this one was not open."""
        answer = self._call(self._cut_day, business_date)
        if not isinstance(answer, ClosedDate):
            return None
        if answer.state is not DateState.CLOSED or any(answer.sums.values()):
            raise ViolationError(f"{answer} although nothing is under way")
        return answer.next_date

    async def _cut_day(self, business_date: str) -> Any:
        await self.shard.ask_control(CutDay(business_date))
        await self._rest()
        return await self.shard.ask_control(CutDay(business_date))

    def submit(
        self,
        asked: Sequence[Mapping[str, Any]],
        plan: Plan | None = None,
        *,
        at_ns: int = 0,
        deadline: float = float("inf"),
    ) -> list[Answer | FaultCode | None]:
        """Submit commands together and wait until all is quiet.

        Without a plan they stand in one lane, so they begin in this order; with one each has a
        lane of its own. A shard that crashes is started again.

        Args:
            at_ns: when the commands come, if that is later than now.
            deadline: on Trio's clock.

        Returns:
            Each one's answer; a fault's code; None where nobody was ever told.
        """
        return self._call(self._submit, asked, plan, at_ns, deadline)

    async def _submit(
        self, asked: Sequence[Mapping[str, Any]], plan: Plan | None, at_ns: int, deadline: float
    ) -> list[Answer | FaultCode | None]:
        told: list[list[Any]] = [[] for _ in asked]
        self.shard.schedule.plan = plan
        self.store.fail_next = None if plan is None else plan.commit
        for number, each in enumerate(asked):
            command = typed(each)
            fault = self.shard.submit(
                commands.first_actor(command),
                command,
                told[number].append,
                at_ns=at_ns,
                deadline=deadline,
                lane="burst" if plan is None else number,
            )
            assert fault is None, fault
        await self._rest()
        self.shard.schedule.plan = None
        self.store.fail_next = None
        if self.shard.failure is not None:
            await self._restart(False, 0)
        return [_answer(each) for each in told]

    # What is seen of it

    def look(self) -> "Sight":
        """Look at all that is stored, and check what must hold now that nothing is under way.

        Raises:
            ViolationError: what does not hold.
        """
        self._check_messages()
        known = len(self.postings)
        self._read_journal()
        states = [self._state(*row) for table in (ACTORS, HUBS) for row in self._scan(table)]
        records = [self._record(*row) for row in self._scan(RECORDS)]
        view = StoreView(
            states=[(row.address, row.value) for row in states],
            records=[(row.address, row.kind, row.name, row.value) for row in records if row.kind],
            postings=self.postings,
            messages=(),
            closed_through=max((key.decode() for key, _ in self._scan(DATES)), default=""),
        )
        violations = list(audit(view))
        if violations:
            raise ViolationError("\n".join(map(str, violations)))
        for row in records:
            if getattr(row.value, "joined", ()):
                raise ViolationError(f"somebody still waits for {row.title}")
        self._check_books(states)
        things = {
            row.title: row.figures
            for row in (*states, *records)
            if not isinstance(row.value, EventPage | Roster)
        }
        things |= _events(states, records)
        for row in states:
            if isinstance(row.value, Merchant):
                queue = tuple(_queue(row, records))
                things[row.title] = {**row.figures, "pending": queue}
        for key, _ in self._scan(TIMERS):
            due_ns, address, name = timers.split_timer_key(key)
            things[f"timer/{address.partition('/')[2]}/{name}"] = {"due_ns": due_ns}
        posted = Counter(
            (account, amount, currency, reference, business_date)
            for _, account, amount, currency, _, _, reference, business_date in self.postings[
                known:
            ]
        )
        return Sight(things, posted)

    def _stores(self) -> list[MemoryStore]:
        """Return the shards' stores, in order."""
        return [self.store]

    def _scan(self, table: str) -> Iterator[tuple[bytes, bytes]]:
        for store in self._stores():
            yield from store.snapshot().scan(table)

    def _check_messages(self) -> None:
        """Check that no message is left over."""
        for table in (OUTBOX, PARKED):
            for key, _ in self._scan(table):
                raise ViolationError(f"{table}: a message is left over: {key!r}")

    def _read_journal(self) -> None:
        for shard, store in enumerate(self._stores()):
            start = sequence_key(self._read[shard] + 1)
            for key, payload in store.snapshot().scan(JOURNAL, start):
                for sequence, posting in open_page(key, payload):
                    if sequence != self._read[shard] + 1:
                        raise ViolationError(f"posting {sequence} after {self._read[shard]}")
                    self._read[shard] = sequence
                    self.postings.append((sequence, *posting))
                    self._check_posting(sequence, posting)

    def _check_posting(self, sequence: int, posting: Posting) -> None:
        """Check a posting by itself, without the audit: it goes on where its ledger stood."""
        last, balance = self._ledgers.get(posting.account, (0, 0))
        after = posting.balance_after_minor
        if (posting.prev, after) != (last, balance + posting.amount_minor):
            raise ViolationError(f"posting {sequence} does not follow {last}: {posting}")
        if after < 0 and not posting.account.startswith("clearing-"):
            raise ViolationError(f"posting {sequence} overdraws: {posting}")
        self._ledgers[posting.account] = (sequence, after)
        self._sums[posting.currency, posting.business_date] += posting.amount_minor

    def _check_books(self, states: list["_Row"]) -> None:
        """Check sums and balances, again without the audit."""
        if any(self._sums.values()):
            raise ViolationError(f"money was made or lost: {self._sums}")
        balances = {}
        for row in states:
            state: Any = row.value
            if not isinstance(state, Account | Merchant):
                continue
            newest = (state.posted_last, state.posted_minor)
            if isinstance(state, Merchant):
                balances[f"{row.address}/receivable"] = newest
                balances[f"{row.address}/fees"] = (state.fees_last, state.fees_minor)
            else:
                balances[row.address.partition("/")[2]] = newest
                bound = state.held_minor + state.frozen_minor
                if state.kind == "customer" and not 0 <= bound <= state.posted_minor:
                    raise ViolationError(f"{row.address} is overdrawn: {state}")
        ledgers = {account: self._ledgers.get(account, (0, 0)) for account in balances}
        if balances != ledgers or self._ledgers.keys() - balances.keys():
            raise ViolationError(f"the ledgers say {self._ledgers}, the actors {balances}")

    def _state(self, key: bytes, payload: bytes) -> "_Row":
        def read() -> _Row:
            address = key[2:].decode()
            state = KINDS.of(address).decode_state(payload)
            events = _happened(tail_of(state)[1]) if isinstance(state, Merchant) else ()
            return _Row(address, None, "", state, address, _figures(state), events)

        return self._once(key, payload, read)

    def _record(self, key: bytes, payload: bytes) -> "_Row":
        def read() -> _Row:
            owner, _, rest = key[2:].partition(b"\0")
            address, name = owner.decode(), rest[1:].decode()
            kind = KINDS.of(address).records[rest[:1]]
            record = kind.decode(payload)
            if isinstance(record, EventPage):
                events = _happened(open_events(record.events, PAGE_EVENTS))
                return _Row(address, kind, name, record, "", {}, events)
            if isinstance(record, Roster):  # for the audit; the model looks at the certificates
                return _Row(address, kind, name, record, "", {})
            title = _title(address.partition("/")[2], kind, name, record)
            return _Row(address, kind, name, record, title, _figures(record))

        return self._once(key, payload, read)

    def _once(self, key: bytes, payload: bytes, read: Callable[[], "_Row"]) -> "_Row":
        """Read a row once: most stay as they are from step to step."""
        row = self._rows.get((key, payload))
        if row is None:
            row = self._rows[key, payload] = read()
        return row


class Sight(NamedTuple):
    """What is stored, under the names that the model uses, and what was posted since the last
    look: (ledger account, amount, currency, reference, business date), in any order."""

    things: Mapping[str, Thing]
    posted: Counter[tuple[str, int, str, str, str]]


class _Row(NamedTuple):
    address: str
    kind: RecordKind[Any] | None
    name: str
    value: Struct
    title: str
    figures: Thing
    events: tuple[Thing, ...] = ()


def _events(states: Sequence[_Row], records: Sequence[_Row]) -> dict[str, Thing]:
    """Return each merchant's events: full pages in the order of their keys, then the state's."""
    pages: dict[str, list[_Row]] = {}
    for row in records:
        if isinstance(row.value, EventPage):
            pages.setdefault(row.address, []).append(row)
    things = {}
    for row in states:
        if not isinstance(row.value, Merchant):
            continue
        items: list[Thing] = []
        for each in (*pages.pop(row.address, ()), row):
            if each.name and int(each.name) != len(items) + 1:
                raise ViolationError(f"{row.address}: events {each.name} after {len(items)}")
            items += each.events
        if len(items) != row.value.events:
            raise ViolationError(f"{row.address}: {len(items)} events, not {row.value.events}")
        own = row.value.currency
        for item in items:
            item["currency"] = item["currency"] or own
        things[f"events/{row.address.partition('/')[2]}"] = {"items": tuple(items)}
    if pages:
        raise ViolationError(f"events of nobody: {list(pages)}")
    return things


def _happened(events: Sequence[Event]) -> tuple[Thing, ...]:
    """Return events as callers see them, but for their sequence, which is their place."""
    seen = []
    for event in events:
        item = msgspec.to_builtins(view_event(0, event, ""), builtin_types=())
        del item["sequence"]
        seen.append(item)
    return tuple(seen)


def typed(command: Mapping[str, Any]) -> commands.Command:
    """Return a command as its Struct; the bounds that the wire puts on amounts do not matter."""
    fields = {name: value for name, value in command.items() if name != "command"}
    if "issued" in fields:
        fields["issued"] = commands.Issued(**fields["issued"])
    return COMMANDS[command["command"]](**fields)


def _answer(told: list[Any]) -> Answer | FaultCode | None:
    if not told:
        return None
    if len(told) > 1:
        raise ViolationError(f"answered more than once: {told}")
    (answer,) = told
    if isinstance(answer, Fault):
        return answer.code
    replayed = isinstance(answer, Replayed)
    outcome = msgspec.to_builtins(answer.outcome if replayed else answer, builtin_types=())
    if "allowed" in outcome:
        outcome["allowed"] = list(outcome["allowed"])
    return outcome, replayed


def _figures(value: Struct) -> Thing:
    figures = {name: getattr(value, name) for name in FIGURES[type(value)]}
    if figures.get("code") is not None:
        figures["code"] = str(figures["code"])
    if isinstance(value, Account):
        figures["limits"] = {
            method: (limit.payment_limit_minor, limit.daily_limit_minor)
            for method, limit in zip(METHODS, value.limits, strict=False)
            if limit != MethodLimit()
        }
    if isinstance(value, Bound):
        given = {
            "description": description_of(value.digest),
            "metadata": metadata_of(value.digest),
        }
        figures |= {name: each for name, each in given.items() if each is not UNSET}
    return figures


def _queue(merchant: "_Row", records: list["_Row"]) -> Iterator[str]:
    """Yield the numbers of the refunds that wait for funds, from the first to the last."""
    refunds = {
        row.name: row.value.queued
        for row in records
        if row.address == merchant.address and isinstance(row.value, Refund)
    }
    assert isinstance(merchant.value, Merchant)
    pending = merchant.value.pending
    number = pending.first if pending else ""
    while number:
        yield number
        queued = refunds[number]
        if queued is None:
            raise ViolationError(f"{number} is in the queue of {merchant.title} and knows not")
        number = queued.after


def _title(owner: str, kind: RecordKind[Any], name: str, record: Any) -> str:
    if isinstance(record, Transfer):
        direction, _, rest = name.partition("/")
        where = owner.removeprefix("clearing-") if direction == "funding" else owner
        return f"{direction}/{where}/{rest}"
    numbered = isinstance(record, Operation | Remedy | AgreementChange)
    what = record.kind if numbered else kind.name.lower()
    return f"{what}/{owner}/{name}"
