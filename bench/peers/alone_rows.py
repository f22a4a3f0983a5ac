"""What has no peer: the open loop, and what takes the large store, cold and memory.

The large store is used by one after the other. In the end it must verify, and hold what its
callers were told, no more and no less.
"""

from collections.abc import Callable
from pathlib import Path

from bench.peers.cold_rows import cold_rows
from bench.peers.gateway_rows import made
from bench.peers.large_store import large_store, total_minor
from bench.peers.memory_rows import memory_rows
from bench.peers.observer import Observer
from bench.peers.open_rows import open_rows
from bench.peers.plan import MERCHANTS, Settings
from bench.peers.result import Row
from bench.peers.rounds import AMOUNT_MINOR
from gateway import exits
from gateway.exits import CommandError
from gateway.operations import Verify
from gateway.operator import perform


async def alone_rows(
    parent: Path,
    store: Path,
    settings: Settings,
    observer: Observer,
    told: Callable[[list[Row]], None],
    *,
    keep: bool,
) -> None:
    """Measure them.

    Args:
        parent: where the large store is, or is to be.
        store: a folder for all others.
        told: called with rows as soon as there are some.
        keep: leave the large store there.

    Raises:
        CommandError: money was lost or made.
    """
    told(await open_rows(made(store / "open"), settings, observer))
    if not settings.large:
        return
    with large_store(parent, settings.large, MERCHANTS, keep=keep, say=observer.note) as large:
        if large is None:
            observer.leave_out(
                f"cold, and memory: the disk has no room for {settings.large:,} accounts"
            )
            return
        before = total_minor(large, MERCHANTS)
        cold, paid = await cold_rows(large, store, settings, observer)
        told(cold)
        memory, minor, unknown = await memory_rows(large, made(store / "keys"), settings, observer)
        told(memory)
        observer.note("everything is measured; the large store is verified now")
        more = total_minor(large, MERCHANTS) - before - paid * AMOUNT_MINOR - minor
        if not 0 <= more <= unknown or not perform(large, Verify())["ok"]:
            detail = f"the large store holds {more} minor units that nobody was told of, or lacks "
            raise CommandError(exits.CHECK_FAILED, f"{detail}them, or does not verify")
