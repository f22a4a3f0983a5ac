"""A run from its beginning to its end: the store, the target, the loop, the check, the file."""

import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct

from bench.engine_bench import fdatasync_times_ms
from bench.load.machine import this_machine
from bench.load.processes import machine_cpu_s
from bench.runs import books, summary
from bench.runs.bottleneck import judge
from bench.runs.engine import engine_target
from bench.runs.gateway import gateway_target
from bench.runs.measured import Drive, Driven, Loop, Measured
from bench.runs.result import FORMAT, Closed, Open, Result, encode
from bench.runs.settings import ENGINE_ONLY, OVERLOAD, Settings, resolved
from bench.runs.store import Prepared, copied, prepared
from bench.runs.table import table
from bench.runs.workload import source_of
from gateway import exits
from gateway.exits import CommandError

CAPACITY_S: Final = 5.0
"""How long the closed loop lasts in which an overload finds a target's capacity, at the most."""
_PACKAGES: Final = ("httptools", "wsproto", "hdrhistogram")
_ORDER_NUMBERS: Final = {"sequential": "dated and sequential", "random": "random"}


class _Seen(Struct):
    """What a target was seen to do.

    Attributes:
        loops: all that were driven; the last is the one that is reported.
        plan: of the last one.
        capacity: what a closed loop did before it, operations a second.
    """

    loops: list[Measured]
    plan: Loop
    capacity: float | None
    began_at: str


def run(settings: Settings, out: Path | None, *, as_json: bool) -> int:
    """Run, write the result, print it; returns the exit code, 1 if something does not hold.

    Args:
        out: the file that is written; None for a name by time and workload in this folder.

    Raises:
        CommandError: it cannot be run.
        StorageError: the given store cannot be used.
    """
    settings = resolved(settings)
    out = _free(settings, out)
    # A store that is used in place has its disk measured, and not the temporary folder's.
    beside = None if settings.data is None or copied(settings) else settings.data.parent
    with tempfile.TemporaryDirectory(prefix="piaohao-bench-", dir=beside) as scratch:
        result = _result(settings, Path(scratch))
    out.write_bytes(encode(result))
    if as_json:
        sys.stdout.write(msgspec.json.encode(result).decode() + "\n")
    else:
        sys.stdout.write(f"{table(result)}  written to    {out}\n")
    return exits.OK if result.checked.ok else exits.CHECK_FAILED


def _free(settings: Settings, out: Path | None) -> Path:
    """Return where the result goes, before anything takes minutes."""
    if out is None:
        now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        return Path(f"{now}-{settings.workload}-{settings.target}.json")
    if out.exists():
        raise CommandError(exits.INPUT, f"--out {out}: there is such a file already")
    if not out.parent.is_dir():
        raise CommandError(exits.INPUT, f"--out {out}: there is no folder {out.parent}")
    return out


def _result(settings: Settings, scratch: Path) -> Result:
    store, settings = prepared(settings, scratch / "store")
    before = fdatasync_times_ms(scratch)
    seen = trio.run(_drive, settings, store, scratch)
    after = fdatasync_times_ms(scratch)
    measured = seen.loops[-1]
    moved = seen.loops[0].moved
    for each in seen.loops[1:]:
        moved.add(each.moved)
    checked = books.check(
        store.path,
        store.firsts,
        moved,
        accounts=settings.workload in ENGINE_ONLY,
        verified=settings.verify,
        signatures=sum(each.signatures for each in seen.loops),
    )
    cpu, machine = summary.cpu(measured), this_machine(*_PACKAGES)
    every_s = seen.plan.every_ns / 1e9
    series = summary.series(measured, settings.seconds, every_s)
    asked = None
    if settings.open:
        asked = measured.intended / settings.seconds
    together = summary.together(measured, settings.seconds)
    commits = [(each.commit_ms_p50, each.batch, each.done) for each in series.points]
    busy_ms = sum(ms * done / batch for ms, batch, done in commits if ms and batch)
    return Result(
        format=FORMAT,
        workload=settings.workload,
        target=settings.target,
        loop=_loop(settings, seen, measured),
        settings=_said(settings),
        seed=settings.seed,
        order_numbers=_ORDER_NUMBERS[settings.order_numbers],  # type: ignore[arg-type]
        store=store.about,
        began_at=seen.began_at,
        seconds=settings.seconds,
        warm_up_s=settings.warm_up_s,
        machine=machine,
        operations=summary.operations(measured, settings.seconds),
        together=together,
        series=series,
        fdatasync=summary.fdatasync(before, measured.samples, after),
        cpu=cpu,
        anonymous_mib=measured.samples[-1].anonymous_mib,
        bottleneck=judge(
            cpu,
            machine.cores,
            asked=asked,
            done=together.per_second,
            late_ms=measured.late.percentile_ms(0.99),
            commit_share=busy_ms / 1e3 / settings.seconds,
        ),
        unexplained=measured.unexplained,
        checked=checked,
    )


def _said(settings: Settings) -> dict[str, Any]:
    """Return the settings as they are written down: no path of this machine's among them."""
    said: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(settings, data=None), str_keys=True
    )
    return {**said, "data": settings.data is not None}


def _loop(settings: Settings, seen: _Seen, measured: Measured) -> Closed | Open:
    plan, batch = seen.plan, settings.batch
    if plan.phases is None:
        connections = plan.connections
        in_flight = connections * settings.depth * batch or settings.in_flight
        return Closed(in_flight, connections, settings.depth, batch)
    window = [each for each in plan.phases[1:] if each.seconds]
    came = sum(each.seconds * each.rate for each in window)
    return Open(
        rate=came / settings.seconds,
        phases=plan.phases,
        connections=plan.connections,
        batch=batch,
        capacity=seen.capacity,
        intended=measured.intended,
        late_ms_p99=measured.late.percentile_ms(0.99),
        late_ms_max=measured.late.percentile_ms(1.0),
    )


_TARGETS: Final[dict[str, Callable[[Driven], AbstractAsyncContextManager[Drive]]]] = {
    "engine": engine_target,
    "express": gateway_target,
    "hypercorn": gateway_target,
    "websocket": gateway_target,
}


async def _drive(settings: Settings, store: Prepared, scratch: Path) -> _Seen:
    now = datetime.now(UTC)
    # Numbers that grow with time, and that no run before has used on this store.
    prefix = f"{now:%Y%m%d%H%M%S}{store.about.commits:x}"
    driven = Driven(settings, store, scratch, source_of(settings))
    loops: list[Measured] = []
    capacity = None
    rate = settings.rate
    async with _TARGETS[settings.target](driven) as drive:
        if settings.workload == "overload":
            seconds = min(CAPACITY_S, settings.seconds)
            connections = max(1, settings.connections // OVERLOAD)
            if settings.target == "engine":
                connections = 0
            every_ns = int(seconds * 1e9)
            plan = Loop(f"{prefix}a", seconds, settings.warm_up_s, None, every_ns, connections)
            loops.append(await _observed(drive, plan))
            rate = capacity = loops[0].done / seconds
            _say(f"capacity: {capacity:,.0f} a second")
            if not capacity:
                raise CommandError(exits.CHECK_FAILED, "nothing was done in a closed loop")
        plan = Loop(
            f"{prefix}b",
            settings.seconds,
            settings.warm_up_s,
            settings.phases(rate) if settings.open else None,
            _every_ns(settings.seconds),
            settings.connections,
        )
        loops.append(await _observed(drive, plan))
    if not loops[-1].done:
        codes = ", ".join(f"{code} {n}" for code, n in loops[-1].refused.items())
        detail = f"nothing was done in {settings.seconds:g} s; refused: {codes or 'nothing'}"
        raise CommandError(exits.CHECK_FAILED, detail)
    return _Seen(loops, plan, capacity, now.isoformat(timespec="seconds"))


async def _observed(drive: Drive, plan: Loop) -> Measured:
    """Drive a target, and see what others took of the machine."""
    before_s = machine_cpu_s()
    measured = await drive(plan)
    ours_s = measured.cpu_server_s + (measured.cpu_clients_s or 0.0)
    measured.others_s = max(0.0, machine_cpu_s() - before_s - ours_s)
    return measured


def _every_ns(seconds: float) -> int:
    """Return the length of an interval: a second, in short runs a tenth of the window."""
    return max(1, int(min(1.0, seconds / 10) * 1e9))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
