"""The world of one run: machines, disks, the node on them, and whoever asks it for something.

Everything that moves draws from the seed. The node is the real one; its process can be killed at
any point at which it waits, and comes up again on what its disks hold.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import trio

from actors.answers import Refused, Replayed
from actors.commands import content
from actors.kinds import KINDS
from actors.outcome import Bound
from actors.refusal import Refusal
from bench.simulator.chance import Chance
from bench.simulator.checkers.durable_state import Checkers
from bench.simulator.client import NOTHING_HAPPENED, Asked
from bench.simulator.disk import SIMULATED, Disk
from bench.simulator.failure import Failure
from bench.simulator.faults import Faults
from bench.simulator.network import Network
from bench.simulator.requests import Request, Requests
from bench.simulator.trace import Trace
from bench.simulator.weather import raising
from engine.address import shard_of
from engine.clock import WallClock
from engine.fault import ACTOR_BUSY, OUTCOME_UNKNOWN, STOPPING, Fault, FaultCode
from engine.limits import Limits
from engine.node import Node
from storage.store import Format

START_NS: Final = 1_767_600_000 * 10**9
START_DATE: Final = "2026-01-05"
CAREFUL_MAX: Final = 1_000
"""More messages than this never wait at the start of a simulated node."""
_SLOTS: Final = 1_024
_encode = msgspec.json.encode


class Told:
    """The callback of one attempt; it belongs to the process that took the command."""

    def __init__(
        self, world: "World", asked: Asked, boot: int, request: Request | None = None
    ) -> None:
        self._world = world
        self._asked = asked
        self._request = request
        self._boot = boot
        self.outcome: Any = None
        self.event = trio.Event()

    def __call__(self, outcome: Any) -> None:
        world = self._world
        if self.event.is_set():
            world.fail("told-once", f"{self._asked.name} was told twice")
            return
        world.waiting.discard(self)
        if isinstance(outcome, Replayed):
            outcome = outcome.outcome
        world.trace.note("told", self._asked.step, _encode(outcome).decode())
        world.gate(self._asked, outcome)
        if self._request is not None:
            world.requests.answered(self._request, outcome)
        self.settle(outcome)

    def settle(self, outcome: Any) -> None:
        """Let whoever waits know."""
        self.outcome = outcome
        self.event.set()


class Spell(msgspec.Struct, eq=False):
    """A time in which an account is frozen, or a merchant suspended; virtual seconds.

    Attributes:
        began, sure: when that was asked for, and when it was answered; inf where it was not.
        ending, over: the same of its end.
    """

    number: str
    began: float
    sure: float = inf
    ending: float = inf
    over: float = inf


class World:
    """One run's world.

    Args:
        seed: of the run.
        shards: how many.
        trace: where everything is noted.

    Attributes:
        step: how many steps of the clients have begun.
        node: the running node, None while there is none.
        failure: the first thing that was found wrong.
        over: set with it.
        waiting: callbacks of the running process that have not been called.
        everything: all commands that were ever asked.
        requests: those that carry marks.
        effects: what faults and clients brought about, and how often.
        spells: when accounts were frozen and merchants suspended.
        revoked: serials of the certificates whose revocation was answered.
    """

    def __init__(self, seed: int, shards: int, faults: Faults, trace: Trace) -> None:
        self.seed = seed
        self.faults = faults
        self.trace = trace
        self.step = 0
        self.node: Node | None = None
        self.failure: Failure | None = None
        self.over = trio.Event()
        self.waiting: set[Told] = set()
        self.everything: list[Asked] = []
        self.effects: Counter[str] = Counter()
        self.spells: list[Spell] = []
        self.revoked: list[str] = []
        self.boots = 0
        self.commits = 0
        self.offset_ns = 0
        self.ending = False
        self.undecided = 0
        self.broken: str | None = None
        self.network: Network | None = None
        self._first: dict[tuple[str, str, str], bytes] = {}
        self._owner: dict[tuple[str, str, str], bytes] = {}
        self._scope: trio.CancelScope | None = None
        self._later_nursery: trio.Nursery | None = None
        self._stopping = False
        self._ticks_s = 0.0
        self._chance = self.source("world")
        self._network_chance = self.source("network")
        self._limits = _limits(self.source("limits"))
        self._kinds = raising(KINDS, faults, self.broken_turn)
        self.disks = [
            Disk(
                Format(1, "cafe", shard, shards, _SLOTS, 1, START_NS),
                START_DATE,
                faults,
                trace,
                self._committed,
                f"{seed}/disk/{shard}",
            )
            for shard in range(shards)
        ]
        self.checkers = Checkers(
            [(disk.last.chain, START_NS) for disk in self.disks],
            self.fail,
            trio.current_time,
            self.effects,
        )
        self.requests = Requests(self.source("marks"), self.checkers.marks, self.fail, self.effects)

    def source(self, name: str) -> Chance:
        """Return a source of chance of its own."""
        return Chance(f"{self.seed}/{name}")

    def fail(self, checker: str, detail: str) -> None:
        """Note what a checker has found; the first ends the run."""
        self.trace.note("failure", checker, detail)
        if self.failure is None:
            self.failure = Failure(self.step, checker, detail)
            self.over.set()

    def broken_turn(self, what: str, error: BaseException) -> None:
        """Note a turn that raised by itself; that is told at the end, if nothing else is found."""
        self.trace.note("turn", what, type(error).__name__)
        if self.broken is None:
            self.broken = f"{what}: {type(error).__name__}: {error}"

    # Time.

    def machine_ns(self) -> int:
        """Return what the machine's clock says."""
        return START_NS + int(trio.current_time() * 1e9) + self.offset_ns

    def _machine_s(self) -> int:
        return self.machine_ns() // 10**9

    def newest_ns(self) -> int:
        """Return the newest time that is durable anywhere."""
        return max(disk.last.now_ns for disk in self.disks)

    def _ticks(self) -> float:
        """Monotonic time: each look at it takes up to a millisecond, or slices would never end."""
        self._ticks_s += self._chance.random() * 0.001
        return trio.current_time() + self._ticks_s

    # The process.

    async def live(self) -> None:
        """Run the node, again and again, until it is to stop for good."""
        async with trio.open_nursery() as nursery:
            self._later_nursery = nursery
            while not self.ending:
                await self._one_life()
                await trio.sleep(self._chance.uniform(0.01, 1.0))
            nursery.cancel_scope.cancel()

    async def _one_life(self) -> None:
        self.boots += 1
        self._stopping = False
        failed: list[BaseException] = []
        self.disks = [disk.reboot() for disk in self.disks] if self.boots > 1 else self.disks
        self.trace.note("boot", self.boots)
        for shard, disk in enumerate(self.disks):
            few = self._limits.careful_max == CAREFUL_MAX
            self.checkers.booted(shard, crashed=not disk.was_clean, few=few)
        clock = WallClock(self.machine_ns, self._ticks)
        marks = self.requests.booted(self._machine_s())
        networks: list[Network] = []

        def make_network(rested: Callable[[], None], committed: Callable[[], None]) -> Network:
            networks.append(
                Network(
                    rested,
                    committed,
                    faults=self.faults,
                    chance=self._network_chance,
                    later=partial(self._later, self.boots),
                    effects=self.effects,
                )
            )
            return networks[0]

        with trio.CancelScope() as self._scope:
            try:
                node = Node(
                    self.disks, self._kinds, clock, self._limits, failed.append, make_network, marks
                )
                self.network = networks[0]
                await node.run(task_status=_Started(self, node))
                for disk in self.disks:
                    disk.close(clean=True)
                self.trace.note("stopped")
                if self.waiting:
                    self.fail("told-once", f"{len(self.waiting)} were not told before the stop")
            except* Exception as errors:
                self._judge([*failed, *_leaves(errors)])
        self.node = None
        self.waiting.clear()

    def _judge(self, errors: list[BaseException]) -> None:
        """See whether what ended the node is what the simulator did to it."""
        cause = errors[0]
        self.trace.note("failed", type(cause).__name__)
        if not str(cause).startswith(SIMULATED):
            self.fail("engine", f"{type(cause).__name__}: {cause}")

    def _later(self, boot: int, delay_s: float, call: Callable[[], None]) -> None:
        async def wait() -> None:
            await trio.sleep(delay_s)
            if boot == self.boots and self.node is not None:
                call()

        if self._later_nursery is not None:
            self._later_nursery.start_soon(wait)

    def kill(self) -> None:
        """End the process at once."""
        if self._scope is not None:
            self.trace.note("kill")
            if self.node is None:
                self.effects["killed in recovery"] += 1
            elif any(shard.stage.committing for shard in self.node.shards):
                self.effects["killed in a commit"] += 1
            self.node = None
            self._scope.cancel()

    def stop(self) -> None:
        """Ask the process to end in order."""
        if self.node is not None and not self._stopping:
            self.trace.note("stop")
            self._stopping = True
            self.node.stop()

    # Clients.

    async def attempt(self, asked: Asked, timeout_s: float) -> Any:
        """Send a command once; returns its outcome, a `Fault`, or OUTCOME_UNKNOWN."""
        if asked.began < 0:
            asked.began = trio.current_time()
            self.everything.append(asked)
            self.trace.note("ask", asked.step, _encode(asked.command).decode())
        patience = trio.current_time() + timeout_s
        shard = shard_of(asked.address, len(self.disks))
        request = self.requests.draw(asked, shard, self._machine_s())
        if self.faults.fires("request_lost"):
            await trio.sleep_until(patience)
            return OUTCOME_UNKNOWN
        if self.faults.fires("request_late"):
            chance = self.faults.draw("request_late")
            await trio.sleep(chance.uniform(0, 1.2) * timeout_s)
        told = self._submit(asked, patience, request)
        if self.faults.fires("request_doubled"):
            self._submit(asked, patience, request)
            asked.unsure = True
        if self.faults.fires("answer_lost"):
            asked.unsure = True
            await trio.sleep_until(patience)
            return OUTCOME_UNKNOWN
        with trio.move_on_at(patience + 0.05):
            await told.event.wait()
        outcome = told.outcome
        if outcome is None or outcome == OUTCOME_UNKNOWN:
            asked.unsure = True
            return OUTCOME_UNKNOWN
        if self.not_bound(asked, outcome):
            # Not an outcome: one is to come again, unless that is of no use.
            return CLOSED if outcome.code in FOR_EVER else ACTOR_BUSY
        if not isinstance(outcome, Fault) and asked.outcome is None:
            asked.outcome = outcome
            asked.ended = trio.current_time()
        return outcome

    def replay(self, chance: Chance) -> None:
        """Have somebody send a request again who has seen it on its way."""
        request = self.requests.seen(chance)
        if request is not None:
            request.asked.unsure = True
            self._submit(request.asked, trio.current_time() + 5, request)

    def _submit(self, asked: Asked, deadline: float, request: Request | None) -> Told:
        told = Told(self, asked, self.boots, request)
        node = self.node
        mark = None
        if node is None:
            told.settle(STOPPING)
            return told
        if request is not None:
            if not self.requests.comes(request, node.marks, self._machine_s()):
                self.trace.note("repeated", asked.step)
                told.settle(STOPPING)
                return told
            mark = request.mark()
        fault = node.submit(asked.address, asked.command, told, deadline=deadline, mark=mark)
        if fault is None:
            asked.sent += 1
            self.waiting.add(told)
        else:
            self.trace.note("refused", asked.step, fault.code)
            self.effects[f"told {fault.code}"] += 1
            told.settle(fault)
        return told

    def gate(self, asked: Asked, outcome: Any) -> None:
        """Check an answer as it leaves: what it rests on is durable, and it is the one outcome."""
        key = (asked.address, asked.tag, asked.name)
        record = self.checkers.records.get(key)
        mine = record is not None and record.digest == content(asked.command)
        if isinstance(outcome, Fault | Refused):
            self.effects[f"told {outcome.code}"] += 1
        else:
            self.effects[f"told {getattr(outcome, 'state', 'an answer')}"] += 1
        if isinstance(outcome, Fault):
            if outcome.code in NOTHING_HAPPENED and mine and self._only(asked):
                self.fail("nothing-happened", f"{outcome.code}, and {asked.name} is {record}")
            return
        if isinstance(outcome, Refused) and (
            outcome.code in UNBOUND or self.not_bound(asked, outcome)
        ):
            if outcome.code is Refusal.NUMBER_USED and (record is None or mine):
                self.fail("one-outcome", f"{asked.name} is refused as used, and is {record}")
            return
        if not mine or not isinstance(record, Bound) or not _has_outcome(record):
            self.fail("reply-gate", f"{asked.name} was told {outcome}, durable is {record}")
        self._answers(asked, outcome)
        body = _encode(outcome)
        first = self._first.setdefault(key, body)
        if first != body:
            self.fail("one-outcome", f"{asked.name}: first {first.decode()}, then {body.decode()}")

    def not_bound(self, asked: Asked, outcome: Any) -> bool:
        """Whether a refusal says that for now nothing is decided of a command."""
        if not isinstance(outcome, Refused) or outcome.code not in FOR_NOW:
            return False
        record = self.checkers.records.get((asked.address, asked.tag, asked.name))
        return outcome.code is Refusal.IN_FLIGHT or record is None

    def _answers(self, asked: Asked, outcome: Any) -> None:
        """See that an answer is about what was asked, field by field."""
        if isinstance(outcome, Refused):
            return
        for field in asked.command.__struct_fields__:
            wanted = getattr(asked.command, field)
            told = getattr(outcome, field, wanted)
            if told != wanted and not (wanted is msgspec.UNSET and told is None):
                self.fail("answers", f"{field} of {asked.command} is {told!r} in {outcome}")

    def _only(self, asked: Asked) -> bool:
        """Whether no other attempt at the command can have happened, nor the same one that
        somebody else thought of."""
        key = (asked.address, asked.tag, asked.name)
        return (
            not asked.unsure
            and sum(
                each.sent
                for each in self.everything
                if (each.address, each.tag, each.name) == key and each.command == asked.command
            )
            == 1
        )

    def _committed(self, durable: Any) -> None:
        self.commits += 1
        self.checkers.committed(durable)


UNBOUND: Final = frozenset(
    {
        Refusal.NUMBER_USED,
        Refusal.IN_FLIGHT,
        Refusal.ACCOUNT_NOT_FOUND,
        Refusal.MERCHANT_NOT_FOUND,
    }
)
"""Refusals that bind nothing to a number, of those that the simulated clients can meet."""


CLOSED: Final = Fault(FaultCode.INTERNAL, 0)
"""Stands for a refusal that is not bound and that nothing will change."""
FOR_EVER: Final = (
    Refusal.ACCOUNT_CLOSED,
    Refusal.MERCHANT_CLOSED,
    Refusal.MERCHANT_CLOSING,
)
FOR_NOW: Final = frozenset(
    {
        Refusal.IN_FLIGHT,
        Refusal.ACCOUNT_FROZEN,
        Refusal.ACCOUNT_CLOSED,
        Refusal.MERCHANT_SUSPENDED,
        Refusal.MERCHANT_CLOSED,
        Refusal.MERCHANT_CLOSING,
    }
)
"""Refusals that, where they are not bound to a number, leave it free for another try."""


def _has_outcome(record: Bound) -> bool:
    return not record.undecided()


class _Started:
    """Told when the node has recovered: from now on it can be asked."""

    def __init__(self, world: World, node: Node) -> None:
        self._world = world
        self._node = node

    def started(self, value: Any = None) -> None:
        """See `trio.TaskStatus`."""
        self._world.trace.note("serves")
        self._world.node = self._node


def _limits(chance: Chance) -> Limits:
    return Limits(
        unconfirmed_max=chance.choice((12, 64, 8_192)),
        actor_unconfirmed_max=chance.choice((6, 24, 4_096)),
        actors_max=chance.choice((2, 8, 200_000)),
        slice_s=chance.choice((0.0, 0.002, 0.005, 0.05)),
        batch_s=chance.choice((0.0, 0.01, 0.05)),
        careful_max=chance.choice((0, 2, CAREFUL_MAX)),
    )


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
