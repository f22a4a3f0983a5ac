"""The page of dead letters: messages whose turn failed, and what is in them."""

from typing import Final

from gateway.console.page import Page, rendered
from gateway.console.visit import HOME, Visit
from gateway.counter import Response


async def dead_letters(visit: Visit) -> Response:
    """List messages that wait for an operator."""
    reason = visit.given.get("reason", "").strip()
    cursor = visit.given.get("cursor", "")
    page = await visit.ask("/ops/dead-letters", cursor=cursor, reason=reason)
    return rendered(visit, "dead_letters", page=page, reason=reason)


PAGES: Final = (Page("GET", f"{HOME}/dead-letters", dead_letters),)
