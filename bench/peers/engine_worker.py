"""The engine in a process of its own, where its memory and its caches are to be nobody else's.

`python -m bench.peers.engine_worker` opens a store that is there and pays in rounds, as its parent
says, one line for each (`bench.tether`). It ends in good order when it is told to.
"""

import gc
from array import array
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import msgspec
import trio
from msgspec import Struct

from actors.kinds import KINDS
from bench.engine_bench import anonymous_mib
from bench.peers.engine import Engine
from bench.tether import report, tie_to_parent
from bench.workloads.draws import Scatter
from engine.clock import WallClock
from engine.node import Node
from storage.folder import Folder

_PAYERS: Final = 1 << 20
"""Payers that are drawn, none of them twice, before they come round again."""


class Plan(Struct, frozen=True):
    """On what it works.

    Attributes:
        data: folder of the store, filled by `bench.bulk`.
        seed: of the order in which its accounts pay, each once before any pays again.
    """

    data: str
    accounts: int
    merchants: int
    seed: int


class Pay(Struct, frozen=True, tag_field="do", tag="pay"):
    """Pay for so long."""

    in_flight: int
    batch: int
    seconds: float


class WarmUp(Struct, frozen=True, tag_field="do", tag="warm_up"):
    """Have every account pay once."""

    in_flight: int


class End(Struct, frozen=True, tag_field="do", tag="end"):
    """Close the store, and end."""


class Ready(Struct, frozen=True, tag_field="event", tag="ready"):
    """It waits for what to do."""


class Done(Struct, frozen=True, tag_field="event", tag="done"):
    """What came of it.

    Attributes:
        rate: payments a second.
        cpu_us, loop_us: of the process, and of its event loop's thread, a payment.
        anonymous_mib: memory at the end.
        paid, refused: payments.
    """

    rate: float
    cpu_us: float
    loop_us: float
    anonymous_mib: float
    paid: int
    refused: int


class Ended(Struct, frozen=True, tag_field="event", tag="ended"):
    """It has closed the store."""


_decode = msgspec.json.Decoder(Pay | WarmUp | End).decode


async def _run(plan: Plan, lines: SimpleQueue[str]) -> None:
    with closing(Folder(Path(plan.data))) as folder:
        stores = folder.open()
        for store in stores:
            store.begin_epoch()
        begun = f"{max(store.last.sequence for store in stores):010d}"
        node = Node(stores, KINDS, WallClock())
        scatter = Scatter(plan.accounts, plan.seed)
        payers = array("I", map(scatter.at, range(min(_PAYERS, plan.accounts))))
        running = Engine(node, payers, plan.merchants, begun)
        gc.collect()
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            report(Ready())
            while True:
                asked = _decode(await trio.to_thread.run_sync(lines.get))
                if isinstance(asked, End):
                    break
                if isinstance(asked, WarmUp):
                    await running.everyone(asked.in_flight)
                    report(Ready())
                    continue
                round_ = await running.round_(asked.in_flight, asked.batch, asked.seconds)
                report(
                    Done(
                        round_.payments / round_.seconds,
                        round_.cpu_us,
                        round_.loop_cpu_us,
                        anonymous_mib(),
                        round_.payments - round_.refused,
                        round_.refused,
                    )
                )
            node.stop()
        for store in stores:
            store.close(clean=True)
    report(Ended())


def main() -> None:
    """Do what the parent says."""
    lines = tie_to_parent()
    trio.run(_run, msgspec.json.decode(lines.get(), type=Plan), lines)


if __name__ == "__main__":
    main()
