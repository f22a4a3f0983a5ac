"""The settings of a run: what may be asked for together, and what is meant where nothing is said.

Whatever cannot be run is refused before anything is made, in one line that says what would do.
"""

import math
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from bench.load.arrivals import Phase
from bench.runs.result import Target, WorkloadName
from bench.workloads.errand import OrderNumbers
from bench.workloads.payments import Payees, Payers
from engine.limits import Limits
from gateway.exits import INPUT, CommandError
from gateway.listener.bounds import EXPRESS_REQUESTS_MAX, REQUESTS_MAX, Bounds

Keep = Literal["auto", "copy", "in place"]
PAYMENTS: Final = ("payments", "burst", "cold", "overload")
"""Workloads that pay, and nothing else."""
ENGINE_ONLY: Final = ("smallbank", "tpcb")
WAVE: Final = 20
"""How many times the quiet rate a burst's wave has."""
OVERLOAD: Final = 10
"""How many times its capacity an overload asks of a target."""
BATCH_MAX: Final = 1_000
"""Commands in an array or a frame: what the gateway takes."""
SECONDS_MAX: Final = 86_400.0
RATE_MAX: Final = 10_000_000.0
_QUIET: Final = {"engine": 500.0, "express": 50.0, "hypercorn": 15.0, "websocket": 50.0}
"""Operations a second before and after a burst: its wave is near what this machine can do."""
_REQUESTS: Final = {"express": EXPRESS_REQUESTS_MAX, "hypercorn": REQUESTS_MAX}


class Settings(Struct, frozen=True):
    """What to run: see `piaohao bench run --help`; 0 and None are for what was not said."""

    workload: WorkloadName
    target: Target = "engine"
    payers: Payers = "uniform"
    payees: Payees = "uniform"
    accounts: int = 0
    merchants: int = 0
    shards: int = 0
    data: Path | None = None
    keep: Keep = "auto"
    seconds: float = 30.0
    warm_up_s: float = 3.0
    seed: int = 1
    rate: float = 0.0
    in_flight: int = 0
    connections: int = 0
    depth: int = 1
    batch: int = 0
    clients: int = 1
    order_numbers: OrderNumbers = "sequential"
    signed: bool = True
    verify: bool = True
    actors_max: int = 0

    @property
    def open(self) -> bool:
        """Whether operations come by themselves."""
        return self.rate > 0 or self.workload in ("burst", "overload")

    def phases(self, rate: float) -> list[Phase]:
        """Return the rates of an open loop, the warm-up first."""
        warm = [Phase(self.warm_up_s, rate)]
        if self.workload == "overload":
            return [*warm, Phase(self.seconds, rate * OVERLOAD)]
        if self.workload == "burst":
            quiet, wave = self.seconds * 0.4, self.seconds * 0.2
            return [*warm, Phase(quiet, rate), Phase(wave, rate * WAVE), Phase(quiet, rate)]
        return [*warm, Phase(self.seconds, rate)]


def kept(*, copy: bool, in_place: bool) -> Keep:
    """Return what becomes of a given store.

    Raises:
        CommandError: INPUT: both.
    """
    if copy and in_place:
        _refuse("--copy and --in-place: one or the other")
    return "copy" if copy else "in place" if in_place else "auto"


def resolved(settings: Settings) -> Settings:
    """Return settings in which everything is said.

    Raises:
        CommandError: INPUT: they cannot be run.
    """
    for check in (_numbers, _store, _target, _loop):
        check(settings)
    engine = settings.target == "engine"
    crowd = settings.workload == "overload" and not engine
    batch = settings.batch or (100 if crowd else 1)
    connections = 0
    if not engine:
        connections = settings.connections or (128 if settings.open else 32)
        if crowd and not settings.connections:
            connections = _crowd(settings.target, batch)
    few = settings.payees == "one" or settings.workload in ENGINE_ONLY
    merchants = 1 if few else (1_000 if engine else 100)
    full = replace(
        settings,
        accounts=settings.accounts or 100_000,
        merchants=settings.merchants or merchants,
        shards=settings.shards or 1,
        in_flight=settings.in_flight or 1_024,
        connections=connections,
        batch=batch,
        rate=settings.rate or (_QUIET[settings.target] if settings.workload == "burst" else 0.0),
        actors_max=settings.actors_max or Limits().actors_max,
    )
    if full.workload == "cold":
        full = replace(full, payers="once")
    _fits(full)
    return full


def _crowd(target: Target, batch: int) -> int:
    """Return ten times as many callers as the target takes on at a time."""
    slots = Limits().unconfirmed_max
    places = _REQUESTS.get(target, slots)
    return OVERLOAD * max(1, min(places, slots // batch))


def _numbers(settings: Settings) -> None:
    for option, seconds in (("seconds", settings.seconds), ("warm-up", settings.warm_up_s)):
        if not seconds <= SECONDS_MAX:  # which is so of no number, too
            _refuse(f"--{option} {seconds:g}: at most {SECONDS_MAX:g}")
    if not settings.rate <= RATE_MAX or math.isnan(settings.rate):
        _refuse(f"--rate {settings.rate:g}: at most {RATE_MAX:g}")
    if settings.batch > BATCH_MAX:
        _refuse(f"--batch {settings.batch}: at most {BATCH_MAX}")


def _store(settings: Settings) -> None:
    if settings.data is None:
        if settings.workload == "cold":
            _refuse("cold wants a large store in --data; make one with: piaohao bench fill")
        if settings.keep != "auto":
            _refuse("--copy and --in-place are about the store in --data")
        return
    given = {"accounts": settings.accounts, "merchants": settings.merchants}
    for option, value in {**given, "shards": settings.shards}.items():
        if value:
            _refuse(f"--{option}: the store in --data has its own")


def _target(settings: Settings) -> None:
    workload, target = settings.workload, settings.target
    if target == "engine":
        for option, given in (
            ("connections", settings.connections > 0),
            ("depth", settings.depth > 1),
            ("clients", settings.clients > 1),
            ("unsigned", not settings.signed),
        ):
            if given:
                _refuse(f"--{option}: the engine is driven in its own process; see --in-flight")
        return
    if settings.in_flight:
        _refuse("--in-flight is the engine's; here --connections, --depth and --batch say it")
    if settings.actors_max:
        _refuse("--actors-max is the engine's; a node that serves has its own limit")
    if workload in ENGINE_ONLY:
        detail = "moves money between accounts, for which merchants, who call here, cannot sign"
        _refuse(f"{workload} {detail}; it runs with --target engine")
    if workload == "lifecycle" and target == "websocket":
        _refuse("lifecycle looks payments up, and a stream takes commands alone: not websocket")
    if workload == "lifecycle" and settings.batch > 1:
        _refuse("lifecycle looks payments up, and an array takes commands alone: --batch 1")
    if settings.depth > 1 and target != "websocket":
        _refuse("--depth: only a stream takes several frames at a time")
    if target == "websocket" and settings.payees == "zipf":
        _refuse("a stream is one merchant's: --payees zipf is not for websocket")


def _loop(settings: Settings) -> None:
    workload = settings.workload
    if workload == "overload" and settings.rate:
        _refuse(f"--rate: an overload has {OVERLOAD} times the capacity that it measures first")
    if settings.open and settings.in_flight and workload != "overload":
        _refuse("--in-flight is of a closed loop, and --rate of an open one")
    if settings.workload not in (*PAYMENTS, "lifecycle"):
        if settings.payees != "uniform":
            _refuse(f"--payees: {workload} has no merchants")
        if workload == "tpcb" and settings.payers != "uniform":
            _refuse("--payers: tpcb draws its accounts uniformly, as pgbench does")
    if workload == "cold" and settings.payers != "uniform":
        _refuse("--payers: with cold nobody pays twice before everybody has paid")


def _fits(settings: Settings) -> None:
    """Refuse what is too many or too few of what goes together."""
    if settings.accounts < settings.merchants:
        _refuse(f"--accounts {settings.accounts}: fewer than --merchants {settings.merchants}")
    if settings.target == "engine":
        limits = Limits()
        one = settings.payees == "one" or settings.workload in ENGINE_ONLY
        most = limits.actor_unconfirmed_max if one else limits.unconfirmed_max * settings.shards
        if settings.in_flight > most:
            _refuse(f"--in-flight {settings.in_flight}: the engine takes {most}")
        if settings.batch > settings.in_flight:
            _refuse(f"--batch {settings.batch}: more than are in flight")
        return
    most = Bounds().connections()
    if settings.connections > most:
        _refuse(f"--connections {settings.connections}: a node takes {most} of them here")
    if settings.clients > settings.connections:
        _refuse(f"--clients {settings.clients}: more than there are connections")


def _refuse(detail: str) -> None:
    raise CommandError(INPUT, detail)
