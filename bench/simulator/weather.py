"""The weather: what happens to a running world by itself, as its faults say."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from bench.simulator.chance import Chance
from bench.simulator.disk import SIMULATED
from bench.simulator.faults import KINDS as FAULTS
from bench.simulator.faults import Faults
from engine.kind import ActorKind, Handler, KeptError, Kinds
from engine.turn import Turn

_DAY_NS: Final = 86_400 * 10**9


class SimulatedError(Exception):
    """An actor raised because its run wanted it to."""


def raising(kinds: Kinds, faults: Faults, broken: Callable[[str, BaseException], None]) -> Kinds:
    """Return the domain with handlers that may raise, before or after they did their work.

    Args:
        broken: told of a handler that raised by itself.
    """

    def wrapped(name: str, handler: Handler) -> Handler:
        def handle(turn: Turn[Any], body: Any) -> None:
            raises = faults.fires("turn_raises")
            if raises and faults.draw("turn_raises").random() < 0.5:
                raise SimulatedError(SIMULATED)
            try:
                handler(turn, body)
            except KeptError:
                raise
            except Exception as error:
                broken(name, error)
                raise
            if raises:
                raise SimulatedError(SIMULATED)

        return handle

    def copied(kind: ActorKind) -> ActorKind:
        own = copy.copy(kind)
        own.handlers = {
            type_: wrapped(type_.__name__, handler) for type_, handler in kind.handlers.items()
        }
        return own

    return Kinds(tuple(copied(kind) for kind in kinds.by_name.values()), kinds.subjects)


class Weather:
    """Lets timed faults happen.

    Args:
        world: whose.
        overload: sends a wave of commands.
        flurry: sends several about one payment or hold at once.
    """

    def __init__(
        self, world: Any, overload: Callable[[], None], flurry: Callable[[], None]
    ) -> None:
        self._world = world
        self._faults: Faults = world.faults
        self._overload = overload
        self._flurry = flurry

    async def blow(self) -> None:
        """Let all timed faults happen, each in its own time, until cancelled or healed."""
        happenings: dict[str, Callable[[Chance], Awaitable[None]]] = {
            "crash": self._crash,
            "restart": self._restart,
            "disk_full": self._disk_full,
            "disk_slow": self._disk_slow,
            "partition": self._partition,
            "overload": self._wave,
            "flurry": self._gust,
            "request_replayed": self._replay,
            "clock_forward": self._clock_forward,
            "clock_back": self._clock_back,
        }
        assert set(happenings) == {name for name, kind in FAULTS.items() if kind.timed}
        async with trio.open_nursery() as nursery:
            for name, happening in happenings.items():
                nursery.start_soon(self._repeat, name, happening)

    async def _repeat(self, name: str, happening: Callable[[Chance], Awaitable[None]]) -> None:
        while (pause_s := self._faults.pause_s(name)) is not None:
            await trio.sleep(pause_s)
            if self._faults.healed:
                return
            self._faults.happened(name)
            self._world.trace.note("fault", name)
            await happening(self._faults.draw(name))

    async def _crash(self, chance: Chance) -> None:
        self._world.kill()

    async def _restart(self, chance: Chance) -> None:
        self._world.stop()

    async def _disk_full(self, chance: Chance) -> None:
        for disk in self._world.disks:
            disk.room = False
        await trio.sleep(chance.expovariate(1))
        for disk in self._world.disks:
            disk.room = True

    async def _disk_slow(self, chance: Chance) -> None:
        disk = chance.choice(self._world.disks)
        disk.slow = True
        await trio.sleep(chance.expovariate(0.5))
        disk.slow = False

    async def _partition(self, chance: Chance) -> None:
        shards = len(self._world.disks)
        network = self._world.network
        if shards == 1 or network is None:
            return
        one, other = sorted(chance.sample(range(shards), 2))
        network.cut.add((one, other))
        await trio.sleep(chance.expovariate(0.3))
        network.cut.discard((one, other))

    async def _wave(self, chance: Chance) -> None:
        self._overload()

    async def _gust(self, chance: Chance) -> None:
        self._flurry()

    async def _replay(self, chance: Chance) -> None:
        self._world.replay(chance)

    async def _clock_forward(self, chance: Chance) -> None:
        self._world.offset_ns += chance.randrange(_DAY_NS)

    async def _clock_back(self, chance: Chance) -> None:
        self._world.offset_ns -= chance.randrange(_DAY_NS)
