"""The gateway as a target: a node in a process of its own, called over sockets by others.

It is the node and the clients of `bench.load`. An open loop's rate is shared out evenly to the
client processes, each with arrivals of its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec
import trio

from bench.engine_bench import anonymous_mib
from bench.load.arrivals import Phase
from bench.load.client import OpenLoop, Round, Transport
from bench.load.clients import Clients, clients
from bench.load.latencies import Latencies
from bench.load.node import Running, running, with_keys
from bench.runs.measured import Drive, Driven, Loop, Measured
from bench.runs.sampler import Sample, ShardSigns, Watched, sample
from bench.runs.workload import workload_of
from gateway import exits
from gateway.exits import CommandError


class TwoSides(Watched):
    """A node's process, and those of its clients."""

    def __init__(self, node: Running, callers: Clients) -> None:
        self._node = node
        self._callers = callers

    def cpu_s(self) -> tuple[float, float | None]:
        """Return the CPU of both sides."""
        return self._callers.cpu_s()

    def memory_mib(self) -> float:
        """Return the node's anonymous memory."""
        return anonymous_mib(self._node.pid)

    def signs(self, after: Sequence[int]) -> list[ShardSigns]:
        """Return each shard's signs, over the control socket."""
        try:
            return msgspec.convert(self._node.all_signs(after), list[ShardSigns])
        except ConnectionError as error:
            detail = f"the node does not say how it is: {error}"
            raise CommandError(exits.CHECK_FAILED, detail) from None


@asynccontextmanager
async def gateway_target(driven: Driven) -> AsyncIterator[Drive]:
    """Have a node on the run's store, and clients, while the block runs: what drives them."""
    settings = driven.settings
    place = with_keys(driven.scratch, driven.store.path, signed=settings.signed)
    async with running(place, express=settings.target == "express") as node:
        known = node.certify(workload_of(settings).payees_used())
        async with clients(settings.clients, known, node.pid) as callers:
            yield partial(_drive, node, callers, driven)


async def _drive(node: Running, callers: Clients, driven: Driven, loop: Loop) -> Measured:
    settings = driven.settings
    transport: Transport = settings.target  # type: ignore[assignment]
    samples: list[Sample] = []
    began: list[int] = []
    async with trio.open_nursery() as nursery:

        def make(own: list[int], start_ns: int, begin_ns: int, end_ns: int) -> Round:
            if not began:
                began.append(start_ns)
                watched = TwoSides(node, callers)
                nursery.start_soon(
                    sample, watched, driven.scratch, begin_ns, end_ns, loop.every_ns, samples
                )
            arriving = None
            if loop.phases is not None:
                share = [Phase(each.seconds, each.rate / settings.clients) for each in loop.phases]
                arriving = OpenLoop(share, settings.seed * 1_009 + own[0])
            return Round(
                transport,
                node.addresses[transport],
                workload_of(settings),
                own,
                settings.batch,
                settings.depth,
                loop.prefix,
                start_ns,
                0,
                begin_ns,
                end_ns,
                heeds=loop.phases is None,
                every_ns=loop.every_ns,
                arriving=arriving,
            )

        outcome = await callers.call(make, loop.connections, loop.seconds, warm_s=loop.warm_up_s)
    assert outcome.late is not None
    return Measured(
        kinds=outcome.kinds,
        intervals=outcome.intervals,
        late=Latencies(outcome.late.counts),
        not_sent=outcome.not_sent,
        refused=outcome.refused,
        unexplained=outcome.unexplained,
        moved=outcome.moved,
        signatures=outcome.verified,
        done_all=outcome.payments_all,
        cpu_server_s=outcome.server_cpu_s,
        cpu_clients_s=outcome.client_cpu_s,
        busiest_client_s=outcome.busiest_client_s,
        loop_cpu_s=None,
        took_s=outcome.took_s,
        samples=samples,
    )
