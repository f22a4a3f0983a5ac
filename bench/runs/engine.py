"""The engine as a target: in this process, with the driver beside it.

Commands go straight to their first actor; what is looked up is read from the last commit, as the
gateway does it. An operation of several steps takes them one after the other, and its latency is
that of all of them.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, Final

import trio

from actors.commands import first_actor
from actors.kinds import ACCOUNT, KINDS
from actors.payment import PAYMENTS
from bench.engine_bench import anonymous_mib
from bench.load.arrivals import arrivals
from bench.load.inprocess import InProcess
from bench.load.latencies import Latencies
from bench.load.tally import UNKNOWN, Tally
from bench.runs.measured import Drive, Driven, Loop, Measured
from bench.runs.sampler import Sample, ShardSigns, Watched, sample
from bench.workloads.errand import AccountLookup, Errand, PaymentLookup, Source
from engine.clock import WallClock
from engine.inspection import vital_signs
from engine.limits import Limits
from engine.node import Node
from gateway.lookup import record_of, state_of
from storage.folder import Folder

PATIENCE_S: Final = 30.0
_AGAIN_S: Final = 0.01
"""How long what was refused in a closed loop keeps its place."""
_NOT_FOUND: Final = "NOT_FOUND"


class Engine(InProcess[Errand]):
    """Has errands done by a node in this process.

    Args:
        closed_loop: what is refused is followed by something else a little later, and not at once.
    """

    def __init__(
        self,
        node: Node,
        source: Source,
        tally: Tally,
        nursery: trio.Nursery,
        *,
        closed_loop: bool,
    ) -> None:
        super().__init__()
        self._node = node
        self._source = source
        self._tally = tally
        self._nursery = nursery
        self._closed_loop = closed_loop

    def take(self, count: int) -> list[Errand]:
        """Return the next errands."""
        return self._source.take(count)

    def submit(self, each: Errand, since_ns: int, ended: Callable[[], None]) -> None:
        """Submit an errand, or look up what it asks for."""
        ask = each.ask
        if isinstance(ask, PaymentLookup | AccountLookup):
            self.answered(each, since_ns, ended, self._look(ask))
            return
        reply = _Reply(self, each, since_ns, ended).answered
        deadline = trio.current_time() + PATIENCE_S
        fault = self._node.submit(first_actor(ask), ask, reply, deadline=deadline)
        if fault is None:
            return
        self._tally.engine_told(each, since_ns, fault.code)
        if self._closed_loop:
            self._nursery.start_soon(_later, ended)
        else:
            ended()

    def _look(self, ask: PaymentLookup | AccountLookup) -> Any:
        if isinstance(ask, PaymentLookup):
            return record_of(self._node, f"merchant/{ask.merchant_no}", PAYMENTS, ask.order_no)
        return state_of(self._node, ACCOUNT, ask.account_no)

    def answered(
        self, errand: Errand, since_ns: int, ended: Callable[[], None], answer: Any
    ) -> None:
        """Count an answer, or take the step that follows it."""
        if answer is None:
            code: str | None = _NOT_FOUND
        elif isinstance(errand.ask, PaymentLookup | AccountLookup):
            code = None
        else:
            code = answer.code
        if code is None:
            self._tally.moved.carried_out(errand, getattr(answer, "amount_minor", 0))
            following = None if errand.then is None else errand.then(answer)
            if following is not None:
                self.submit(following, since_ns, ended)
                return
        elif code in UNKNOWN:
            self._tally.moved.unknown(errand)
        self._source.learn(errand, done=code is None)
        self._tally.engine_told(errand, since_ns, None if code is None else str(code))
        ended()


class _Reply:
    """Where one answer goes."""

    __slots__ = ("_ended", "_engine", "_errand", "_since_ns")

    def __init__(
        self, engine: Engine, errand: Errand, since_ns: int, ended: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._errand = errand
        self._since_ns = since_ns
        self._ended = ended

    def answered(self, answer: Any) -> None:
        self._engine.answered(self._errand, self._since_ns, self._ended, answer)


async def _later(ended: Callable[[], None]) -> None:
    await trio.sleep(_AGAIN_S)
    ended()


class OwnProcess(Watched):
    """The engine's process, which is the driver's too."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def cpu_s(self) -> tuple[float, float | None]:
        """Return the CPU of this process."""
        return time.process_time(), None

    def memory_mib(self) -> float:
        """Return the anonymous memory of this process."""
        return anonymous_mib()

    def signs(self, after: Sequence[int]) -> list[ShardSigns]:
        """Return each shard's signs."""
        shards = self._node.shards
        afters = [*after, *(0 for _ in shards)]
        seen = [vital_signs(*each) for each in zip(shards, afters, strict=False)]
        return [
            ShardSigns(
                each.durable_seq,
                each.commits,
                each.answers,
                each.commit_ns_p50,
                each.commit_ns_p99,
            )
            for each in seen
        ]


@asynccontextmanager
async def engine_target(driven: Driven) -> AsyncIterator[Drive]:
    """Have an engine on the run's store while the block runs: what drives it."""
    settings = driven.settings
    with closing(Folder(driven.store.path)) as folder:
        stores = folder.open()
        for store in stores:
            store.begin_epoch()
        node = Node(stores, KINDS, WallClock(), Limits(actors_max=settings.actors_max))
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            yield partial(_drive, node, driven)
            node.stop()
        for store in stores:
            store.close(clean=True)


async def _drive(node: Node, driven: Driven, loop: Loop) -> Measured:
    settings = driven.settings
    start_ns = time.monotonic_ns()
    begin_ns = start_ns + int(loop.warm_up_s * 1e9)
    end_ns = begin_ns + int(loop.seconds * 1e9)
    closed_loop = loop.phases is None
    tally = Tally(begin_ns, end_ns, loop.every_ns, arriving=not closed_loop)
    samples: list[Sample] = []
    cpu_s, loop_cpu_s = time.process_time(), time.thread_time()
    async with trio.open_nursery() as nursery:
        watched = OwnProcess(node)
        nursery.start_soon(
            sample, watched, driven.scratch, begin_ns, end_ns, loop.every_ns, samples
        )
        source = driven.source(0, loop.prefix)
        engine = Engine(node, source, tally, nursery, closed_loop=closed_loop)
        if loop.phases is None:
            await engine.closed(settings.in_flight, settings.batch, end_ns)
        else:
            offsets = arrivals(loop.phases, settings.seed, together=settings.batch)
            times = (start_ns + offset for offset in offsets)
            await engine.arriving(times, settings.batch, end_ns, tally.sent_late, tally.never_sent)
    counted = tally.counted()
    return Measured(
        kinds=counted.kinds,
        intervals=counted.intervals,
        late=Latencies(counted.late),
        not_sent=counted.not_sent,
        refused=counted.refused,
        unexplained=counted.unexplained,
        moved=counted.moved,
        signatures=0,
        done_all=counted.payments_all,
        cpu_server_s=time.process_time() - cpu_s,
        cpu_clients_s=None,
        busiest_client_s=None,
        loop_cpu_s=time.thread_time() - loop_cpu_s,
        took_s=(time.monotonic_ns() - start_ns) / 1e9,
        samples=samples,
    )
