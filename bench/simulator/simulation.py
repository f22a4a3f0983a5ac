"""A simulation: one run from its seed, from the first command to the last check.

A run sets its world up, lets clients take so many steps while the faults of the seed happen, then
heals everything and demands what must be true in the end: whoever asked can learn the outcome,
nothing is stuck, the store verifies, and what clients saw has an order.

Trio decides which task runs next by chance and by a set's order; here by the seed alone.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Final

import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace

import engine.node
from actors.answers import Refused
from actors.commands import (
    ActivateMerchant,
    CloseAccount,
    CloseMerchant,
    Command,
    CreatePayment,
    FreezeAccount,
    FundAccount,
    RevokeCertificate,
    SuspendMerchant,
    UnfreezeAccount,
    first_actor,
)
from bench.simulator.chance import Chance
from bench.simulator.client import (
    ACCOUNTS,
    CLOSING_ACCOUNTS,
    CLOSING_MERCHANT,
    CLOSING_MINOR,
    CURRENCY,
    MERCHANTS,
    OPENING_MINOR,
    TOO_MUCH_MINOR,
    Asked,
    Wishes,
    asked,
    setting_up,
    with_other_content,
)
from bench.simulator.completion import Completion
from bench.simulator.failure import Failure
from bench.simulator.faults import Faults
from bench.simulator.histories import Reading, check_histories
from bench.simulator.trace import Trace
from bench.simulator.weather import Weather
from bench.simulator.world import CLOSED, Spell, World
from engine.control import DiscardParked, ParkedLeft, ReleaseParked
from engine.dates import CutDay
from engine.fault import Fault
from engine.kind import Keeping
from engine.node import Node

SHARDS: Final = (1, 2, 3)
WAVE: Final = 60
DISCARDED: Final = 0.4
"""How likely it is that operators give up what they find parked first, and so on."""
_TRIES_MAX: Final = 5
_RESTING_S: Final = 600.0
_MONTHS_NS: Final = 40 * 86_400 * 10**9


class Settings(Struct, frozen=True):
    """What to run: see `piaohao simulate --help`. `shards` 0 is drawn from the seed."""

    seed: int
    steps: int = 300
    shards: int = 0


class Result(Struct, frozen=True):
    """What came of a run.

    Attributes:
        undecided: histories of which it is open whether they have an explanation.
        effects: what faults and clients brought about, and how often.
    """

    seed: int
    steps: int
    shards: int
    trace_hash: str
    commits: int
    boots: int
    faults: dict[str, int]
    failure: Failure | None
    undecided: int
    effects: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether everything held."""
        return self.failure is None


def simulate(settings: Settings, write: Callable[[str], object] | None = None) -> Result:
    """Run one simulation; its trace goes line by line to `write`."""
    with _deterministic(settings.seed):
        clock = trio.testing.MockClock(autojump_threshold=0)
        result: Result = trio.run(_run, settings, write, clock=clock)
    return result


def shortest(settings: Settings, failure: Failure) -> int:
    """Return the fewest steps after which the same checker fails, as far as halving finds them.

    A run that ends sooner heals sooner, so fewer steps may fail where more of them do not. What is
    returned has been seen to fail.
    """

    def fails(steps: int) -> bool:
        found = simulate(replace(settings, steps=steps)).failure
        return found is not None and found.checker == failure.checker

    low, high = 0, settings.steps
    if failure.step < high and fails(failure.step):
        high = failure.step
    while low < high:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _begin_spell(number: str) -> Command:
    return SuspendMerchant(number) if number in MERCHANTS else FreezeAccount(number)


def _end_spell(number: str) -> Command:
    return ActivateMerchant(number) if number in MERCHANTS else UnfreezeAccount(number)


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Have Trio schedule by the seed, and the engine keep its complaints to itself.

    Nor may a node tune the interpreter, as one does that has its process for itself: it keeps from
    the collector what exists when it starts, and here that would be every world there ever was.
    """
    run: Any = trio._core._run
    scheduling, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    disabled, thresholds = logging.root.manager.disable, gc.get_threshold()
    tune = engine.node.tune_interpreter
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    logging.disable(logging.CRITICAL)
    engine.node.tune_interpreter = _leave_alone
    gc.set_threshold(100_000, 10, 100)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = scheduling
        run._r.setstate(state)
        logging.disable(disabled)
        engine.node.tune_interpreter = tune
        gc.set_threshold(*thresholds)


def _leave_alone() -> None:
    pass


async def _run(settings: Settings, write: Callable[[str], object] | None) -> Result:
    seed = settings.seed
    shards = settings.shards or Chance(f"{seed}/shards").choice(SHARDS)
    trace = Trace(trio.current_time, write)
    faults = Faults(seed)
    world = World(seed, shards, faults, trace)
    trace.note("run", seed, shards, faults.active())
    simulation = _Simulation(world, settings.steps)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.live)
        nursery.start_soon(simulation.run)
        await world.over.wait()
        nursery.cancel_scope.cancel()
    trace.note("end", world.commits, world.failure)
    return Result(
        seed,
        world.step,
        shards,
        trace.digest(),
        world.commits,
        world.boots,
        dict(sorted(faults.fired.items())),
        world.failure,
        world.undecided,
        dict(sorted(world.effects.items())),
    )


class _Simulation:
    """Clients, operator and weather of one run.

    Args:
        steps: how many the clients take, all together.
    """

    def __init__(self, world: World, steps: int) -> None:
        self._world = world
        self._steps = steps
        self._numbers = 0
        self._chance = world.source("clients")
        self._wishes = Wishes(world.source("wishes"), self._number)
        self._discards = world.source("discards")
        self._readings: list[Reading] = []
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Live through the run, then end it."""
        world = self._world
        world.faults.healed = True
        await self._set_up()
        world.faults.healed = False
        async with trio.open_nursery() as around:
            around.start_soon(Weather(world, self._overload, self._flurry).blow)
            around.start_soon(self._operate)
            async with trio.open_nursery() as self._nursery:
                for _ in range(self._chance.randint(2, 10)):
                    self._nursery.start_soon(self._client)
            around.cancel_scope.cancel()
        await self._heal()
        world.over.set()

    def _number(self) -> str:
        self._numbers += 1
        return f"{self._numbers:06d}"

    async def _set_up(self) -> None:
        world = self._world
        await Completion(world).serving()
        if world.node is None:
            return
        for command in setting_up():
            await world.node.ask(first_actor(command), command)
        opening = dict.fromkeys(ACCOUNTS, OPENING_MINOR)
        opening |= dict.fromkeys(CLOSING_ACCOUNTS, CLOSING_MINOR)
        for account, minor in opening.items():
            funding = FundAccount(account, "opening", minor, CURRENCY)
            await world.attempt(asked(0, funding), 10)

    # Clients.

    async def _client(self) -> None:
        world, chance = self._world, self._chance
        while world.step < self._steps:
            world.step += 1
            await trio.sleep(chance.expovariate(20))
            if chance.random() < 0.1:
                self._read(chance.choice((*ACCOUNTS, "M0", "M1", "M2")))
                continue
            await self._pursue(self._next())

    def _next(self) -> Asked:
        world = self._world
        if world.everything and world.faults.fires("number_reused"):
            earlier = world.faults.draw("number_reused").choice(world.everything[-30:])
            other = with_other_content(earlier.command)
            if other is not None:
                return asked(world.step, other)
        return asked(world.step, self._wishes.next())

    async def _pursue(self, one: Asked) -> None:
        """Ask until the outcome is known, the client has had enough, or leaves."""
        world, chance = self._world, self._chance
        for _ in range(_TRIES_MAX):
            timeout_s = chance.choice((0.02, 0.2, 2.0, 10.0))
            if isinstance(await world.attempt(one, timeout_s), Fault):
                if world.faults.fires("client_leaves"):
                    break
                await trio.sleep(chance.expovariate(2))
            else:
                return

    def _overload(self) -> None:
        if self._nursery is None or self._world.step >= self._steps:
            return
        for _ in range(WAVE):
            self._nursery.start_soon(self._pursue, self._next())

    def _flurry(self) -> None:
        if self._nursery is None or self._world.step >= self._steps:
            return
        for command in self._wishes.flurry():
            self._nursery.start_soon(self._pursue, asked(self._world.step, command))

    def _read(self, number: str) -> None:
        node = self._world.node
        if node is not None:
            reading = Reading.of(node, number, trio.current_time())
            self._world.trace.note("read", reading)
            self._readings.append(reading)

    # The operator.

    async def _operate(self) -> None:
        world = self._world
        chance = world.source("operator")
        while True:
            await trio.sleep(chance.expovariate(0.5))
            happening = chance.choices(
                (self._cut, self._repair, self._spell, self._close, self._revoke),
                (6, 6, 3, 3, 2),
            )[0]
            await happening(chance)

    async def _spell(self, chance: Chance) -> None:
        """Freeze an account or suspend a merchant, for a while."""
        number = chance.choice((*ACCOUNTS, *MERCHANTS))
        spell = Spell(number, trio.current_time())
        self._world.spells.append(spell)
        if await self._order(_begin_spell(number)):
            spell.sure = trio.current_time()
        await trio.sleep(chance.expovariate(0.5))
        await self._end_spell(spell)

    async def _end_spell(self, spell: Spell) -> None:
        spell.ending = min(spell.ending, trio.current_time())
        if await self._order(_end_spell(spell.number)):
            spell.over = trio.current_time()

    async def _close(self, chance: Chance) -> None:
        """Close an account, if nothing speaks against it, or a merchant, while somebody tries to
        pay it what nobody has: it is closed when that has come to nothing."""
        number = chance.choice((*CLOSING_ACCOUNTS, CLOSING_MERCHANT))
        merchant = number == CLOSING_MERCHANT
        if merchant and self._nursery is not None and self._world.step < self._steps:
            payer = chance.choice(ACCOUNTS)
            paying = CreatePayment(number, self._number(), payer, TOO_MUCH_MINOR, CURRENCY)
            self._nursery.start_soon(self._pursue, asked(self._world.step, paying))
            await trio.sleep(chance.choice((0.001, 0.01, 0.1)))
        await self._order(CloseMerchant(number) if merchant else CloseAccount(number))

    async def _revoke(self, chance: Chance) -> None:
        """Revoke one of the newest certificates, if there is any."""
        known = self._wishes.certificates[-10:]
        if known:
            merchant, serial = chance.choice(known)
            if await self._order(RevokeCertificate(merchant, serial)):
                self._world.revoked.append(serial)

    async def _order(self, command: Command) -> bool:
        """Give an order that has no number; returns whether it was answered that it is done."""
        node = self._world.node
        if node is None:
            return False
        answer: Any = None
        with trio.move_on_after(5):
            answer = await node.ask(first_actor(command), command, timeout_s=4)
        self._world.trace.note("order", command, type(answer).__name__)
        return answer is not None and not isinstance(answer, Fault | Refused)

    async def _cut(self, _: Chance | None = None) -> None:
        node = self._world.node
        if node is None:
            return
        with trio.move_on_after(5):
            await node.ask_control(CutDay(node.business_date()), timeout_s=4)

    async def _repair(self, _: Chance | None = None) -> None:
        """Release what is parked, some of it after the first messages were given up."""
        node = self._world.node
        if node is None:
            return
        for shard in node.shards:
            for address in sorted(shard.stage.parking.by_actor):
                while self._discards.random() < DISCARDED:
                    await self._discard(node, address)
                with trio.move_on_after(5):
                    await node.ask_control(ReleaseParked(address), timeout_s=4)

    async def _discard(self, node: Node, address: str) -> None:
        left: Any = None
        with trio.move_on_after(5):
            left = await node.ask_control(DiscardParked(address), timeout_s=4)
        if isinstance(left, ParkedLeft):
            self._world.trace.note("discard", left)
            self._world.effects["messages discarded"] += left.taken
            self._world.effects["messages kept"] += left.code == Keeping.RELEASE_ONLY

    # The end.

    async def _heal(self) -> None:
        """Take every fault away and demand that all comes to an end."""
        world = self._world
        world.faults.healed = True
        world.trace.note("healed")
        for disk in world.disks:
            disk.slow, disk.room = False, True
        if world.network is not None:
            world.network.cut.clear()
        world.offset_ns = max(world.offset_ns, 0)
        completion = Completion(world)
        await completion.serving()
        for spell in world.spells:
            with trio.move_on_after(_RESTING_S):
                while spell.over == inf:
                    await self._repair()
                    await self._end_spell(spell)
                    await trio.sleep(0.2)
        for one in world.everything:
            # A clock that was set back refuses signed requests until it is there again.
            one.signed = False
            if one.outcome is None and one.unsure:
                await self._insist(one)
        with trio.move_on_after(_RESTING_S):
            while not completion.nothing_parked():
                await self._repair()
                await trio.sleep(0.1)
        await completion.at_rest()
        completion.nothing_happened()
        completion.spells_kept()
        completion.revocations_kept()
        await completion.verified()
        for number in (*ACCOUNTS, "M0", "M1", "M2"):
            self._read(number)
        # Every hold and every refund that waits has come to its end by then.
        world.offset_ns = max(world.offset_ns, world.newest_ns() - world.machine_ns()) + _MONTHS_NS
        await completion.at_rest()
        await self._cut()
        await completion.at_rest()
        await completion.check()
        if world.failure is None:
            check_histories(world, self._readings)
        world.ending = True
        world.stop()
        await completion.stopped()

    async def _insist(self, one: Asked) -> None:
        """Ask for an outcome until it is known: sent again, a command tells it."""
        with trio.move_on_after(_RESTING_S):
            while isinstance(answer := await self._world.attempt(one, 10), Fault):
                if answer is CLOSED:
                    one.unsure = False  # It was not done before, and now nobody can.
                    return
                await self._repair()
                await trio.sleep(0.2)
            return
        self._world.fail("completion", f"{one.name} has no outcome: {one.command}")
