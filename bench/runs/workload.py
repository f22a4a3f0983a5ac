"""Which workload a run has, by its settings."""

from collections.abc import Callable

from bench.load.client import AnyWorkload
from bench.runs.settings import Settings
from bench.workloads.errand import Source
from bench.workloads.lifecycle import Lifecycle
from bench.workloads.payments import Payments


def workload_of(settings: Settings) -> AnyWorkload:
    """Return the workload that clients over sockets can have too."""
    sources = max(1, settings.connections)
    if settings.workload == "lifecycle":
        return Lifecycle(
            settings.accounts,
            settings.merchants,
            settings.payers,
            settings.payees,
            settings.seed,
            settings.order_numbers,
            sources,
        )
    return Payments(
        settings.accounts,
        settings.merchants,
        settings.payers,
        settings.payees,
        settings.seed,
        settings.order_numbers,
        sources,
        own=settings.target == "websocket",
    )


def source_of(settings: Settings) -> Callable[[int, str], Source]:
    """Return what makes the source of a number with a prefix."""
    return workload_of(settings).source


def opening_of(settings: Settings) -> Callable[[int], int] | None:
    """Return what the n-th account of a store made for this workload begins with; None for what
    `bench.bulk` gives."""
    return None
