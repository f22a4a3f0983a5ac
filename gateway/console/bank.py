"""The page of the bank itself: its day, its certificates, and what is proposed for all of it."""

from typing import Final, get_args

from actors.commands import RevocationReason
from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit
from gateway.counter import Response

REVOCATION_REASONS: Final[tuple[str, ...]] = get_args(RevocationReason)
"""Why a certificate may be taken back for ever (RFC 5280, section 5.3.1)."""


async def bank(visit: Visit) -> Response:
    """Show the business date and the bank's own certificates."""
    day = await visit.ask("/ops/bank")
    cursor = visit.given.get("cursor", "")
    certificates = await visit.ask("/ops/bank/certificates", cursor=cursor)
    return rendered(
        visit, "bank", day=day, certificates=certificates, revocation_reasons=REVOCATION_REASONS
    )


PAGES: Final = (Page("GET", f"{HOME}/bank", bank),)
