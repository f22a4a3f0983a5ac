"""The table of the console: every page that there is."""

from typing import Final

from gateway.console import (
    actors,
    approvals,
    audit,
    bank,
    dead_letters,
    merchants,
    overview,
    payments,
    sessions,
    shards,
)

PAGES: Final = (
    *sessions.PAGES,
    *overview.PAGES,
    *actors.PAGES,
    *payments.PAGES,
    *shards.PAGES,
    *dead_letters.PAGES,
    *approvals.PAGES,
    *merchants.PAGES,
    *bank.PAGES,
    *audit.PAGES,
)
