"""Cold: on ten million accounts that all have a past, against a fresh store with all in memory.

Both engines run in processes of their own, and their rounds alternate. On the large store no
account pays twice, so that each payment activates one that was not in memory. It is measured
twice: with the store's pages in the kernel's page cache, which is what the target is about, and
with the page cache dropped before each round, when they come from the disk.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from bench.engine_run import filled
from bench.load.processes import started
from bench.peers.engine_worker import Done, End, Ended, Pay, Plan, Ready, WarmUp
from bench.peers.large_store import drop_pages, read_pages
from bench.peers.observer import Measured, Observer
from bench.peers.plan import COLD, IN_FLIGHT, MERCHANTS, Settings
from bench.peers.result import Row, row
from gateway import exits
from gateway.exits import CommandError
from storage.folder import Folder

S = TypeVar("S", Ready, Done, Ended)

_WORKER: Final = (sys.executable, "-P", "-m", "bench.peers.engine_worker")
_CACHED: Final = 0.99
"""Share of the large store from which on all of it is in the page cache."""
_decode = msgspec.json.Decoder(Ready | Done | Ended).decode


class Worker:
    """An engine in a process of its own; made by `worker`.

    Attributes:
        paid: how many payments have succeeded.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.paid = 0

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    async def say(self, line: Struct, kind: type[S]) -> S:
        """Tell it something, and return what it answers.

        Raises:
            CommandError: it has ended.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        try:
            await process.stdin.send_all(msgspec.json.encode(line) + b"\n")
            while not said.endswith(b"\n"):
                chunk = await process.stdout.receive_some()
                if not chunk:
                    break
                said += chunk
        except trio.BrokenResourceError:
            said = b""
        if not said:
            raise CommandError(exits.CHECK_FAILED, "an engine in a process of its own has ended")
        answer = _decode(said)
        assert isinstance(answer, kind)
        return answer

    async def measured(self, seconds: float) -> Measured:
        """Have it pay for so long.

        Raises:
            CommandError: it has ended, or has refused a payment.
        """
        done = await self.say(Pay(IN_FLIGHT, 1, seconds), Done)
        self.paid += done.paid
        if done.refused:
            raise CommandError(exits.CHECK_FAILED, f"our engine refused {done.refused} payments")
        more = {
            "cpu_us": done.cpu_us,
            "loop_us": done.loop_us,
            "anonymous_mib": done.anonymous_mib,
        }
        return Measured(done.rate, more)


@asynccontextmanager
async def worker(data: Path, accounts: int, merchants: int, seed: int) -> AsyncIterator[Worker]:
    """Have an engine on a store while the block runs; then it is closed in good order."""
    async with started(_WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        running = Worker(process)
        await running.say(Plan(str(data), accounts, merchants, seed), Ready)
        yield running
        await running.say(End(), Ended)
        await process.wait()


async def cold_rows(
    large: Path,
    store: Path,
    settings: Settings,
    observer: Observer,
) -> tuple[list[Row], int]:
    """Measure the large store beside a fresh one.

    Args:
        large: data folder of the large store.
        store: a folder for the fresh one, on the same disk.

    Returns the rows, and how many payments were made on the large store.
    """
    fresh = store / "fresh"
    accounts = settings.target_size()
    with closing(Folder(fresh, create=True)) as folder:
        for each in filled(folder, accounts, MERCHANTS, paid=False, shards=1):
            each.close(clean=True)
    rows = []
    paid = 0
    async with worker(fresh, accounts, MERCHANTS, settings.seed) as warm:
        await warm.say(WarmUp(IN_FLIGHT), Ready)
        share = await trio.to_thread.run_sync(read_pages, large)
        if share is None or share > _CACHED:
            async with worker(large, settings.large, MERCHANTS, settings.seed) as cold:
                await cold.measured(0.5)

                async def touched_never(_: int) -> Measured:
                    return await cold.measured(settings.seconds)

                where = "its pages in the page cache"
                found = await _pairs(warm, touched_never, where, settings, observer)
                profile = await observer.profile("cold", cold.pid, touched_never)
                rows.append(replace(found, profile=profile))
                paid += cold.paid
        else:
            observer.leave_out(
                f"cold, pages in the page cache: only {share:.0%} of the store found room there"
            )

        async def dropped(number: list[int], _: int) -> Measured:
            nonlocal paid
            number[0] += 1
            left = await trio.to_thread.run_sync(drop_pages, large)
            seed = settings.seed + number[0]
            async with worker(large, settings.large, MERCHANTS, seed) as cold:
                measured = await cold.measured(settings.seconds)
                paid += cold.paid
            more = {} if left is None else {"cached_share": left}
            return Measured(measured.value, measured.more | more)

        where = "the page cache dropped before each round"
        rows.append(await _pairs(warm, partial(dropped, [0]), where, settings, observer))
    return rows, paid


async def _pairs(
    warm: Worker,
    cold: Callable[[int], Awaitable[Measured]],
    where: str,
    settings: Settings,
    observer: Observer,
) -> Row:
    group = f"cold, {where}"

    async def warmed(_: int) -> Measured:
        return await warm.measured(settings.seconds)

    ours, peers, syncs = [], [], []
    for pair in range(settings.pairs):
        syncs.append(observer.fdatasync_ms())
        ours.append(await observer.round(group, "ours", pair, cold))
        peers.append(await observer.round(group, "fresh and warm", pair, warmed))
        sys.stderr.write(
            f"{group}, pair {pair + 1}: {ours[-1]:,.0f}, fresh and warm {peers[-1]:,.0f} "
            "payments/s\n"
        )
    measure = (
        f"engine, cold: {settings.large:,} accounts and payments, uniform, payers never touched, "
        f"{where}, {IN_FLIGHT:,} in flight, against a fresh store of "
        f"{settings.target_size():,} accounts, all in memory"
    )
    target = None if "dropped" in where else COLD
    disturbed = observer.disturbed(group, "ours", "fresh and warm")
    return row(measure, ours, peers, syncs, target, disturbed=disturbed)
