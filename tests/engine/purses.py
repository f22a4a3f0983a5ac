"""A toy domain for the runtime's own tests: purses that give money to each other.

`purse/bank` may be negative, the others may not. A purse whose number begins with `broken`
raises when it receives, as long as `MENDED` is false.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct
from msgspec.structs import replace

from engine.clock import DomainClock
from engine.kind import ActorKind, Kinds, RecordKind
from engine.shard import Limits, Shard, ShardFailedError
from engine.turn import Turn
from storage.memory import MemoryStore
from storage.store import Format, Store

MIDNIGHT_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z."""
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


class Gift(Struct, frozen=True, array_like=True):
    amount_minor: int


class Give(Struct, frozen=True, tag=True):
    """Command: give, then answer `Given`."""

    to: str
    amount_minor: int
    gift_no: str = ""


class Receive(Struct, frozen=True, array_like=True, tag=True):
    gift_no: str


class Remind(Struct, frozen=True, tag=True):
    """Command: give `amount_minor` to `to` at `due_ns`; cancelled when it is 0."""

    due_ns: int
    to: str
    amount_minor: int


class Due(Struct, frozen=True, array_like=True, tag=True):
    to: str
    amount_minor: int


class Misbehave(Struct, frozen=True, tag=True):
    """Command: break a rule of the runtime on purpose, after having changed everything."""

    how: str


class Look(Struct, frozen=True, tag=True):
    """Command: answer with the state, change nothing."""


class Given(Struct, frozen=True):
    balance_minor: int


class Refused(Struct, frozen=True):
    reason: str


class Mending:
    """Whether the broken purses work again."""

    mended = False


GIFTS = RecordKind("g", Gift)


def post(turn: Turn[Purse], amount_minor: int) -> None:
    purse = turn.state or Purse()
    balance_minor = purse.balance_minor + amount_minor
    sequence = turn.post(
        turn.number, amount_minor, "CNY", balance_minor, purse.posted_last, "gift"
    )
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


def receive(turn: Turn[Purse], message: Receive) -> None:
    del message
    post(turn, turn.amount_minor)
    if turn.number.startswith("broken") and not Mending.mended:
        raise RuntimeError("this purse has a hole")
    assert turn.state is not None
    turn.become(replace(turn.state, gifts=turn.state.gifts + 1))
    turn.answer(Given(turn.state.balance_minor))


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


def look(turn: Turn[Purse], command: Look) -> None:
    del command
    turn.answer(turn.state or Purse())


PURSE = ActorKind(
    "purse",
    Purse,
    (GIFTS,),
    {Give: give, Remind: remind, Misbehave: misbehave, Look: look},
    {Receive: receive, Due: due},
)
KINDS = Kinds((PURSE,), lambda currency, origin: (f"purse/suspense-{currency}", Receive(origin)))


def memory_store() -> MemoryStore:
    return MemoryStore(FORMAT, "2026-01-01")


@asynccontextmanager
async def running(
    store: Store, limits: Limits | None = None, clock: DomainClock | None = None
) -> AsyncIterator[Shard]:
    """Run a shard on `store`; on the way out it drains, unless it has failed."""
    shard = Shard(store, KINDS, clock or DomainClock(store.last.now_ns), limits)

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await shard.run(task_status=task_status)
        except ShardFailedError:
            assert shard.failure is not None

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield shard
        shard.stop()


async def give_ok(shard: Shard, giver: str, to: str, amount_minor: int, gift_no: str = "") -> Any:
    answer = await shard.ask(giver, Give(to, amount_minor, gift_no))
    assert isinstance(answer, Given), answer
    return answer
