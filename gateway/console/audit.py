"""The page of the audit log: what operators have seen and done, and whether the log is whole."""

from typing import Final

from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit
from gateway.counter import Response


async def audit(visit: Visit) -> Response:
    """Show entries of the audit log, newest first."""
    operator = visit.given.get("operator", "").strip()
    cursor = visit.given.get("cursor", "")
    page = await visit.ask("/ops/audit", operator=operator, cursor=cursor)
    found = None
    if visit.given.get("verify"):
        found = await visit.ask("/ops/audit/verification")
    return rendered(visit, "audit", page=page, operator=operator, found=found)


async def operators(visit: Visit) -> Response:
    """List operators."""
    found = (await visit.ask("/ops/operators"))["operators"]
    return rendered(visit, "operators", operators=found)


PAGES: Final = (
    Page("GET", f"{HOME}/audit", audit),
    Page("GET", f"{HOME}/operators", operators),
)
