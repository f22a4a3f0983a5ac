"""Pages of merchants: all of them, one with its certificates, webhooks and their deliveries."""

from typing import Final

from gateway.console.bank import REVOCATION_REASONS
from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit, path_of
from gateway.counter import Response

STATES: Final = ("PENDING", "DELIVERED", "FAILED")
"""In which a delivery can be."""


async def merchants(visit: Visit) -> Response:
    """List merchants."""
    page = await visit.ask("/ops/merchants", cursor=visit.given.get("cursor", ""))
    return rendered(visit, "merchants", page=page)


async def merchant(visit: Visit) -> Response:
    """Show a merchant and its certificates."""
    reason = visit.given.get("reason", "").strip()
    path = path_of("ops", "merchants", visit.named["merchant_no"])
    seen = await visit.ask(path, reason=reason)
    cursor = visit.given.get("cursor", "")
    certificates = await visit.ask(f"{path}/certificates", cursor=cursor, reason=reason)
    return rendered(
        visit,
        "merchant",
        seen=seen,
        certificates=certificates,
        reason=reason,
        revocation_reasons=REVOCATION_REASONS,
    )


async def webhooks(visit: Visit) -> Response:
    """List webhooks."""
    reason = visit.given.get("reason", "").strip()
    cursor = visit.given.get("cursor", "")
    page = await visit.ask("/ops/webhooks", cursor=cursor, reason=reason)
    return rendered(visit, "webhooks", page=page, reason=reason)


async def deliveries(visit: Visit) -> Response:
    """Show what has become of a merchant's events."""
    reason = visit.given.get("reason", "").strip()
    number, state = visit.named["merchant_no"], visit.given.get("state", "")
    page = await visit.ask(
        path_of("ops", "merchants", number, "deliveries"),
        state=state,
        cursor=visit.given.get("cursor", ""),
        reason=reason,
    )
    return rendered(
        visit, "deliveries", number=number, page=page, wanted=state, states=STATES, reason=reason
    )


PAGES: Final = (
    Page("GET", f"{HOME}/merchants", merchants),
    Page("GET", f"{HOME}/merchants/{{merchant_no}}", merchant),
    Page("GET", f"{HOME}/webhooks", webhooks),
    Page("GET", f"{HOME}/webhooks/{{merchant_no}}", deliveries),
)
