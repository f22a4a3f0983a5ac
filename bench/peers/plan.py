"""What is compared: rows of measures with their targets, and the settings of a run.

A target belongs to one size and mix; the other rows are there to be seen. Rows that this command
does not measure are named, with the reason: none is ever made up.
"""

from typing import Final

from msgspec import Struct

from bench.engine_bench import MIXES, Mix

ACCOUNTS_QUICK: Final = 10_000
ACCOUNTS: Final = (10_000, 100_000, 1_000_000)
ACCOUNTS_TARGET: Final = 100_000
"""The size that targets are about; `--quick` holds its 10,000 accounts against them."""
IN_FLIGHT: Final = 1_024
BATCH: Final = 500
PEER_BATCH: Final = 1_000
MERCHANTS: Final = 1_000
LARGE_ACCOUNTS: Final = 10_000_000
"""Of the store to be cold on; each has paid once."""


class Target(Struct, frozen=True):
    """How many times as fast ours has to be at least, and is meant to be."""

    at_least: float
    aim: float


FUNCTION: Final = {"uniform": Target(2, 4), "hot": Target(6, 12)}
"""Mix → target of the engine against the function at its better number of clients."""
SETS: Final = Target(1.3, 2.5)
"""Of the engine in batches against sets."""
SINGLE: Final = Target(3, 8)
"""Of single signed payments on the express listener against a web service."""
FRAMES: Final = Target(10, 30)
"""Of WebSocket batches against a web service."""


COLD: Final = Target(0.4, 0.7)
"""Of the engine on the large store, cold, against a fresh store and warm."""


class Bound(Struct, frozen=True):
    """What a figure may be at the most, and is meant to be."""

    bound: float
    aim: float


MEMORY: Final = Bound(512, 256)
"""MiB of a node on the large store."""
LATENCY_MS: Final = Bound(25, 10)
"""p99 of the open loop, beside so many times raw fdatasync's p99:"""
LATENCY_SYNCS: Final = Bound(3, 2)


class Settings(Struct, frozen=True):
    """How a run goes.

    Attributes:
        sizes: accounts of the stores.
        pairs: how many rounds each side has.
        seconds: of a round: whole ones, as pgbench wants it.
        sweep_seconds: of a round that only picks the peer's pool.
        repeats: how many rounds may be measured again because others disturbed them.
        clients: connections of the peer; against its function the better of these counts.
        connections: of the clients that call over HTTP.
        gateway: whether the gateway is measured too.
        alone: whether what has no peer is: the open loop, and what takes the large store.
        large: accounts of the large store; 0 to leave out what takes it.
    """

    quick: bool
    sizes: tuple[int, ...]
    pairs: int
    seconds: int
    sweep_seconds: float
    seed: int
    repeats: int = 0
    mixes: tuple[Mix, ...] = MIXES
    merchants: int = MERCHANTS
    clients: tuple[int, ...] = (8, 32)
    connections: int = 64
    gateway: bool = True
    alone: bool = True
    large: int = 0

    def payees(self, mix: Mix) -> int:
        """Return how many merchants are paid."""
        return 1 if mix == "hot" else self.merchants

    def target_size(self) -> int:
        """Return the size whose rows are held against targets."""
        return ACCOUNTS_TARGET if ACCOUNTS_TARGET in self.sizes else self.sizes[-1]


def settings(*, quick: bool, seed: int, pairs: int | None = None) -> Settings:
    """Return a full run's settings, or a quick one's.

    Args:
        pairs: rounds of each side; None for as many as is usual.
    """
    if quick:
        return Settings(True, (ACCOUNTS_QUICK,), pairs or 4, 1, 1.5, seed, repeats=8)
    return Settings(False, ACCOUNTS, pairs or 10, 3, 4.0, seed, repeats=60, large=LARGE_ACCOUNTS)


def left_out(settings: Settings) -> list[str]:
    """Return what the table of targets has and such a run does not measure, with the reasons."""
    lines = []
    if not settings.large:
        lines.append(
            f"cold, and memory: they take a store of {LARGE_ACCOUNTS:,} accounts, which only a "
            "full run makes"
        )
    if settings.quick:
        lines.append(
            f"--quick: {ACCOUNTS_QUICK:,} accounts instead of {ACCOUNTS_TARGET:,}, and no other "
            f"sizes; {settings.pairs} pairs of {settings.seconds} s: wide intervals"
        )
    return lines
