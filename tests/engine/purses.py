"""A toy domain for the runtime's own tests: purses that give money to each other.

`purse/bank` may be negative, the others may not. A purse whose number begins with `broken`
raises when it receives, as long as `Mending.mended` is false; one that begins with `deadly` takes
the whole process with it.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from engine.clock import Clock, DomainClock
from engine.kind import ActorKind, Kinds, RecordKind
from engine.limits import Limits
from engine.marks import Marks
from engine.message import Token
from engine.parking import decode_stored
from engine.shard import Shard, ShardFailedError
from engine.turn import Turn
from storage.journal import Posting, open_page
from storage.memory import MemoryStore
from storage.row import ACTORS, JOURNAL, OUTBOX, PARKED
from storage.store import CommitTimes, Format, Store, Writes
from storage.verify import Verification

MIDNIGHT_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
SECOND_NS = 1_000_000_000
FORMAT = Format(
    version=1,
    incarnation="00",
    shard=0,
    shards=1,
    slots=1024,
    slot_map_version=1,
    created_ns=MIDNIGHT_NS,
)


class Purse(Struct, frozen=True, array_like=True):
    balance_minor: int = 0
    posted_last: int = 0
    gifts: int = 0
    log: tuple[str, ...] = ()
    joined: tuple[Token, ...] = ()


class Gift(Struct, frozen=True, array_like=True):
    amount_minor: int


class Give(Struct, frozen=True, tag=True):
    """Command: give, then answer `Given`."""

    to: str
    amount_minor: int
    gift_no: str = ""


class Receive(Struct, frozen=True, array_like=True, tag=True):
    gift_no: str


class Send(Struct, frozen=True, tag=True):
    """Command: send money on a way through `stops`, then answer `Given`."""

    stops: tuple[str, ...]
    amount_minor: int


class Pass(Struct, frozen=True, array_like=True, tag=True):
    """Keep one unit of the money and pass the rest on; the last stop keeps it all."""

    stops: tuple[str, ...]


class Spin(Struct, frozen=True, tag=True):
    """Command: tell oneself for ever."""


class Spun(Struct, frozen=True, array_like=True, tag=True):
    pass


class Remind(Struct, frozen=True, tag=True):
    """Command: give `amount_minor` to `to` at `due_ns`; cancelled when it is 0."""

    due_ns: int
    to: str
    amount_minor: int


class Due(Struct, frozen=True, array_like=True, tag=True):
    to: str
    amount_minor: int


class SetAlarms(Struct, frozen=True, tag=True):
    """Command: set timers (due_ns, name, what it does) and cancel others (due_ns, name)."""

    put: tuple[tuple[int, str, str], ...] = ()
    cancel: tuple[tuple[int, str], ...] = ()


class Alarm(Struct, frozen=True, array_like=True, tag=True):
    """Timer: write `name@seconds` into the log; some texts do more (see `ring`)."""

    text: str


class Misbehave(Struct, frozen=True, tag=True):
    """Command: break a rule of the runtime on purpose, after having changed everything."""

    how: str


class Look(Struct, frozen=True, tag=True):
    """Command: answer with the state, change nothing."""


class Ignore(Struct, frozen=True, tag=True):
    """Command: never answer."""


class Join(Struct, frozen=True, tag=True):
    """Command: wait until somebody settles."""


class Settle(Struct, frozen=True, tag=True):
    """Command: answer all who wait, then the caller."""


class Write(Struct, frozen=True, tag=True):
    """Command: write a record of a kind, and raise afterwards when `fail` is set."""

    tag: str
    name: str
    value: int
    fail: bool = False


class Drop(Struct, frozen=True, tag=True):
    """Command: take a record of a kind away, and raise afterwards when `fail` is set."""

    tag: str
    name: str
    fail: bool = False


class Read(Struct, frozen=True, tag=True):
    """Command: answer with a record."""

    tag: str
    name: str


class Given(Struct, frozen=True):
    balance_minor: int


class Refused(Struct, frozen=True):
    reason: str


class Found(Struct, frozen=True):
    value: int | None


class Mending:
    """Whether the broken purses work again."""

    mended = False


class Death(BaseException):
    """What a process that dies looks like from inside: nobody handles it."""


GIFTS = RecordKind("g", Gift)
PLAIN = RecordKind("p", Gift)
KEPT = RecordKind("k", Gift, kept=True)
ASCENDING = RecordKind("a", Gift, ascending=True)
BOTH = RecordKind("b", Gift, kept=True, ascending=True)
BY_TAG = {kind.tag.decode(): kind for kind in (PLAIN, KEPT, ASCENDING, BOTH)}


def post(turn: Turn[Purse], amount_minor: int) -> None:
    purse = turn.state or Purse()
    balance_minor = purse.balance_minor + amount_minor
    sequence = turn.post(turn.number, amount_minor, "CNY", balance_minor, purse.posted_last, "gift")
    turn.become(replace(purse, balance_minor=balance_minor, posted_last=sequence))


def give(turn: Turn[Purse], command: Give) -> None:
    purse = turn.state or Purse()
    if command.gift_no and turn.get(GIFTS, command.gift_no) is not None:
        turn.answer(Given(purse.balance_minor))
        return
    if turn.number != "bank" and purse.balance_minor < command.amount_minor:
        turn.answer(Refused("too poor"))
        return
    if command.gift_no:
        turn.put(GIFTS, command.gift_no, Gift(command.amount_minor))
    post(turn, -command.amount_minor)
    turn.tell(
        command.to,
        Receive(command.gift_no),
        amount_minor=command.amount_minor,
        currency="CNY",
    )


def take(turn: Turn[Purse], amount_minor: int) -> None:
    """Take money that came with a message, or fail as this purse does."""
    post(turn, amount_minor)
    assert turn.state is not None
    turn.become(replace(turn.state, gifts=turn.state.gifts + 1))
    if not Mending.mended:
        if turn.number.startswith("broken"):
            raise RuntimeError("this purse has a hole \ud800")
        if turn.number.startswith("deadly"):
            raise Death


def receive(turn: Turn[Purse], message: Receive) -> None:
    take(turn, turn.amount_minor)
    assert turn.state is not None
    if message.gift_no:
        turn.become(replace(turn.state, log=(*turn.state.log, message.gift_no)))
    turn.answer(Given(turn.state.balance_minor))


def send(turn: Turn[Purse], command: Send) -> None:
    purse = turn.state or Purse()
    if turn.number != "bank" and purse.balance_minor < command.amount_minor:
        turn.answer(Refused("too poor"))
        return
    post(turn, -command.amount_minor)
    pass_on(turn, command.stops, command.amount_minor)


def pass_on(turn: Turn[Purse], stops: tuple[str, ...], amount_minor: int) -> None:
    turn.tell(stops[0], Pass(stops[1:]), amount_minor=amount_minor, currency="CNY")


def pass_(turn: Turn[Purse], message: Pass) -> None:
    take(turn, 1 if message.stops else turn.amount_minor)
    assert turn.state is not None
    if message.stops:
        pass_on(turn, message.stops, turn.amount_minor - 1)
    else:
        turn.answer(Given(turn.state.balance_minor))


def give_up(turn: Turn[Purse], message: Receive | Pass) -> str | None:
    """Have a purse beside all others take the money of a message that somebody gives up."""
    if turn.amount_minor < 2:
        return "less than two units are not worth it"
    origin = f"{turn.sender}->{turn.address}"
    suspense = f"purse/suspense-{turn.currency}"
    turn.tell(suspense, Receive(origin), amount_minor=turn.amount_minor, currency=turn.currency)
    return None


def spin(turn: Turn[Purse], message: Spin | Spun) -> None:
    del message
    turn.tell(turn.address, Spun())


def remind(turn: Turn[Purse], command: Remind) -> None:
    if command.amount_minor:
        turn.set_timer(command.due_ns, "gift", Due(command.to, command.amount_minor))
    else:
        turn.cancel_timer(command.due_ns, "gift")
    turn.answer(Given(0))


def due(turn: Turn[Purse], message: Due) -> None:
    if message.to == "purse/raise":
        raise RuntimeError("a timer that fails")
    give(turn, Give(message.to, message.amount_minor))


def set_alarms(turn: Turn[Purse], command: SetAlarms) -> None:
    for due_ns, name, text in command.put:
        turn.set_timer(due_ns, name, Alarm(text))
    for due_ns, name in command.cancel:
        turn.cancel_timer(due_ns, name)
    turn.answer(Given(0))


def ring(turn: Turn[Purse], message: Alarm) -> None:
    """`cancel NAME`, `again NAME TEXT` act on another timer of the same due time; `always` sets
    itself anew for ever."""
    if message.text == "always":
        turn.set_timer(turn.now_ns, "always", message)
        return
    purse = turn.state or Purse()
    seconds = (turn.now_ns - MIDNIGHT_NS) / SECOND_NS
    turn.become(replace(purse, log=(*purse.log, f"{message.text}@{seconds:g}")))
    match message.text.split():
        case ["cancel", name]:
            turn.cancel_timer(turn.now_ns, name)
        case ["again", name, text]:
            turn.set_timer(turn.now_ns, name, Alarm(text))
        case ["raise"] if not Mending.mended:
            raise RuntimeError("a timer that fails")
        case ["die"] if not Mending.mended:
            raise Death


def misbehave(turn: Turn[Purse], command: Misbehave) -> None:
    purse = turn.state or Purse()
    turn.put(GIFTS, "misbehaved", Gift(1))
    turn.set_timer(turn.now_ns + 1, "misbehaved", Due("purse/bank", 1))
    turn.answer(Given(0))
    turn.become(replace(purse, gifts=99))
    match command.how:
        case "raise":
            raise ValueError("on purpose")
        case "invent":
            post(turn, 5)
        case "lose":
            post(turn, -5)
        case "mix":
            turn.post("x", -5, "CNY", 0, 0, "mix")
            turn.tell("purse/bank", Receive(""), amount_minor=5, currency="USD")
        case "huge":
            turn.become(replace(purse, balance_minor=2**64))
        case "surrogate":
            turn.become(replace(purse, balance_minor="\ud800"))
        case "type":
            turn.become(replace(purse, balance_minor="five"))
        case "key":
            turn.put(GIFTS, "k" * 600, Gift(1))
        case "flood":
            for _ in range(101):
                turn.tell("purse/bank", Receive(""))
        case "early":
            turn.set_timer(-1, "early", Due("purse/bank", 1))
        case "long timer":
            turn.set_timer(turn.now_ns + 1, "t" * 600, Due("purse/bank", 1))
        case "foreign timer":
            turn.set_timer(turn.now_ns + 1, "foreign", Look())
        case "nobody":
            turn.tell("purse/", Receive(""))
        case "no kind":
            turn.tell("wallet/a", Receive(""))
        case "no ascii":
            turn.tell("purse/\u00e9", Receive(""))
        case "long number":
            turn.tell("purse/" + "n" * 600, Receive(""))
        case "command":
            turn.tell("purse/bank", Look())
        case "fraction":
            half: Any = 0.5
            turn.post("x", half, "CNY", 0, 0, "half")
            turn.post("y", -half, "CNY", 0, 0, "half")
        case "float money":
            five: Any = 5.0
            turn.post("x", -5, "CNY", 0, 0, "float")
            turn.tell("purse/bank", Receive(""), amount_minor=five, currency="CNY")
        case "much money":
            for _ in range(3):
                turn.post("x", -(2**63 - 1), "CNY", 0, 0, "much")
            turn.tell("purse/bank", Receive(""), amount_minor=3 * (2**63 - 1), currency="CNY")
        case "vast posting":
            turn.post("x", 2**64 - 1, "CNY", 0, 0, "vast")
            turn.post("x", -(2**63 - 1), "CNY", 0, 0, "vast")
            turn.post("x", -(2**63), "CNY", 0, 0, "vast")
        case "negative money":
            turn.post("x", 5, "CNY", 0, 0, "negative")
            turn.tell("purse/bank", Receive(""), amount_minor=-5, currency="CNY")
        case "no currency":
            turn.post("x", -5, "", 0, 0, "none")
            turn.tell("purse/bank", Receive(""), amount_minor=5)
        case "idle currency":
            turn.tell("purse/bank", Receive(""), currency="\ud800")


def look(turn: Turn[Purse], command: Look) -> None:
    del command
    turn.answer(turn.state or Purse())


def ignore(turn: Turn[Purse], command: Ignore) -> None:
    del turn, command


def join(turn: Turn[Purse], command: Join) -> None:
    del command
    purse = turn.state or Purse()
    assert turn.token is not None
    turn.become(replace(purse, joined=(*purse.joined, turn.token)))


def settle(turn: Turn[Purse], command: Settle) -> None:
    del command
    purse = turn.state or Purse()
    for token in purse.joined:
        turn.answer(Given(len(purse.joined)), token)
    turn.become(replace(purse, joined=()))
    turn.answer(Given(0))


def write(turn: Turn[Purse], command: Write) -> None:
    turn.put(BY_TAG[command.tag], command.name, Gift(command.value))
    if command.fail:
        raise ValueError("on purpose")
    turn.answer(Found(command.value))


def drop(turn: Turn[Purse], command: Drop) -> None:
    turn.drop(BY_TAG[command.tag], command.name)
    gone = turn.get(BY_TAG[command.tag], command.name) is None
    if command.fail:
        raise ValueError("on purpose")
    turn.answer(Found(None if gone else 0))


def read(turn: Turn[Purse], command: Read) -> None:
    record = turn.get(BY_TAG[command.tag], command.name)
    turn.answer(Found(None if record is None else record.amount_minor))


PURSE = ActorKind(
    "purse",
    Purse,
    (GIFTS, PLAIN, KEPT, ASCENDING, BOTH),
    {
        Give: give,
        Send: send,
        Spin: spin,
        Remind: remind,
        SetAlarms: set_alarms,
        Misbehave: misbehave,
        Look: look,
        Ignore: ignore,
        Join: join,
        Settle: settle,
        Write: write,
        Drop: drop,
        Read: read,
    },
    {Receive: receive, Pass: pass_, Spun: spin, Due: due, Alarm: ring},
    discards={Receive: give_up, Pass: give_up},
    unhindered=(Write,),
    newest_postings=lambda purse: (purse.posted_last,),
)
KINDS = Kinds((PURSE,))


class GatedStore(MemoryStore):
    """A store in memory whose commits wait while `held` is set, as on a disk that hangs.

    `begun` counts the commits that were begun.
    """

    def __init__(self) -> None:
        super().__init__(FORMAT, "2026-01-01")
        self.begun = 0
        self.held = False
        self._changed = trio.Event()

    def let(self) -> None:
        """Let the commits through again."""
        self.held = False
        self._changed.set()
        self._changed = trio.Event()

    async def commit(self, writes: Writes) -> CommitTimes:
        """See `Store.commit`."""
        self.begun += 1
        while self.held:
            await self._changed.wait()
        return await super().commit(writes)


class RecordingStore(MemoryStore):
    """A store in memory that remembers what a crash after each commit would leave."""

    def __init__(self) -> None:
        super().__init__(FORMAT, "2026-01-01")
        self.left: list[MemoryStore] = [self.reopened()]

    def commit_now(self, writes: Writes) -> CommitTimes:
        """See `Store.commit_now`."""
        times = super().commit_now(writes)
        self.left.append(self.reopened())
        return times


def memory_store() -> MemoryStore:
    return MemoryStore(FORMAT, "2026-01-01")


@asynccontextmanager
async def running(
    store: Store,
    limits: Limits | None = None,
    clock: Clock | None = None,
    marks: Marks | None = None,
) -> AsyncIterator[Shard]:
    """Run a shard on `store`; on the way out it drains, unless it has failed."""
    clock = clock or DomainClock(store.last.now_ns)
    shard = Shard(store, KINDS, clock, limits, marks=marks)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await shard.run(task_status=task_status)
        except ShardFailedError:
            assert shard.failure is not None

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield shard
        shard.stop()


@asynccontextmanager
async def killed(
    store: Store,
    limits: Limits | None = None,
    clock: Clock | None = None,
    marks: Marks | None = None,
) -> AsyncIterator[Shard]:
    """Run a shard on `store`, and kill it on the way out; a `Death` in a turn ends it too."""
    clock = clock or DomainClock(store.last.now_ns)
    shard = Shard(store, KINDS, clock, limits, marks=marks)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(shard.run)
            yield shard
            nursery.cancel_scope.cancel()
    except* Death:
        pass


async def give_ok(shard: Shard, giver: str, to: str, amount_minor: int, gift_no: str = "") -> Any:
    answer = await shard.ask(giver, Give(to, amount_minor, gift_no))
    assert isinstance(answer, Given), answer
    return answer


async def settled() -> None:
    """Wait until every task is blocked: what can happen without time or disk has happened."""
    await wait_all_tasks_blocked()


def purses(store: Store) -> dict[str, Purse]:
    """Return the durable state of every purse by its number."""
    snapshot = store.snapshot()
    rows = snapshot.scan(ACTORS)
    found = {key[8:].decode(): PURSE.decode_state(payload) for key, payload in rows}
    snapshot.close()
    return found


def balances(store: Store) -> dict[str, int]:
    return {number: purse.balance_minor for number, purse in purses(store).items()}


def postings(store: Store) -> list[tuple[int, Posting]]:
    snapshot = store.snapshot()
    return [each for row in snapshot.scan(JOURNAL) for each in open_page(*row)]


def check_books(store: Store) -> None:
    """Check from outside that the store's bytes are whole and that no money came or went."""
    snapshot = store.snapshot()
    verification = Verification(snapshot)
    verification.rows()
    posted: Counter[tuple[str, str]] = Counter()
    by_purse: Counter[str] = Counter()
    for _, posting in verification.postings():
        posted[posting.business_date, posting.currency] += posting.amount_minor
        by_purse[posting.account] += posting.amount_minor
    assert not verification.damages
    for table in (OUTBOX, PARKED):
        for _, payload in snapshot.scan(table):
            row = decode_stored(payload)
            posted[row.business_date, row.currency] += row.amount_minor
    assert not +posted, "money was made"
    assert not -posted, "money was lost"
    held = {number: minor for number, minor in balances(store).items() if minor}
    assert held == {number: minor for number, minor in by_purse.items() if minor}
    assert all(by_purse[number] == purse.balance_minor for number, purse in purses(store).items())
    assert all(balance >= 0 for number, balance in balances(store).items() if number != "bank"), (
        "somebody is overdrawn"
    )
