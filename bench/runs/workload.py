"""Which workload a run has, by its settings."""

from collections.abc import Callable

from bench.bulk import OPENING_MINOR
from bench.load.client import AnyWorkload
from bench.runs.settings import Settings
from bench.workloads.errand import Source
from bench.workloads.lifecycle import Lifecycle
from bench.workloads.payments import Payments
from bench.workloads.smallbank import SmallBank
from bench.workloads.tpcb import BRANCH_TELLERS, Tpcb, branches


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


def _bank_of(settings: Settings) -> SmallBank | Tpcb | None:
    """Return the workload that moves money from account to account; None for the others."""
    if settings.workload == "smallbank":
        return SmallBank(
            settings.accounts, settings.payers == "zipf", settings.seed, settings.order_numbers
        )
    if settings.workload == "tpcb":
        return Tpcb(settings.accounts, settings.seed, settings.order_numbers)
    return None


def source_of(settings: Settings) -> Callable[[int, str], Source]:
    """Return what makes the source of a number with a prefix."""
    return (_bank_of(settings) or workload_of(settings)).source


def opening_of(settings: Settings) -> Callable[[int], int]:
    """Return what the n-th account of a store made for this workload begins with."""
    bank = _bank_of(settings)
    return bank.opening_minor if isinstance(bank, SmallBank) else lambda _: OPENING_MINOR


def accounts_in_store(settings: Settings) -> int:
    """Return how many accounts a store has for `--accounts` of this workload."""
    if settings.workload == "smallbank":
        return 2 * settings.accounts
    if settings.workload == "tpcb":
        return settings.accounts + branches(settings.accounts) * (BRANCH_TELLERS + 1)
    return settings.accounts


def accounts_of_store(settings: Settings, there: int) -> int:
    """Return the `--accounts` for which a store with so many accounts has enough."""
    if settings.workload == "smallbank":
        return there // 2
    if settings.workload == "tpcb":
        return there - branches(there) * (BRANCH_TELLERS + 1)
    return there
