"""Pages of approvals: what operators have proposed, what others decide, and what came of it.

A form on a page says what is to be done by the type of an action and its members, as
`gateway.ops.actions` names them; whether that is one, the row says. An approval brings the digest
of what its page has shown.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.console.page import Page, redirected, rendered
from gateway.console.visit import HOME, Visit, path_of
from gateway.counter import Response

STATUSES: Final = ("PENDING", "APPROVED", "DONE", "FAILED", "UNKNOWN", "REJECTED", "WITHDRAWN",
                   "EXPIRED")  # fmt: skip
_PREFIX: Final = "action."
"""Members of an action in a form; `reason`, say, may be one, and is the proposal's too."""
_INTEGERS: Final = frozenset({"first", "last"})
_DIGITS_MAX: Final = 18


async def approvals(visit: Visit) -> Response:
    """List proposals, those that wait first asked for."""
    status = visit.given.get("status", "")
    page = await visit.ask("/ops/proposals", status=status, cursor=visit.given.get("cursor", ""))
    return rendered(visit, "approvals", page=page, wanted=status, statuses=STATUSES)


async def proposal(visit: Visit) -> Response:
    """Show a proposal, and what its visitor may do with it."""
    seen = await visit.ask(path_of("ops", "proposals", visit.named["proposal_id"]))
    own = visit.session is not None and seen["proposed_by"] == visit.session.operator
    return rendered(visit, "proposal", seen=seen, own=own)


async def propose(visit: Visit) -> Response:
    """Propose what a form says, and show the proposal."""
    reason = visit.given.get("reason", "").strip()
    made = await visit.act("/ops/proposals", action=action_of(visit.given), reason=reason)
    return redirected(path_of("console", "approvals", made["proposal_id"]))


async def approve(visit: Visit) -> Response:
    """Approve what the page has shown; it is carried out at once."""
    return await _decide(visit, "approve", digest=visit.given.get("digest", ""))


async def reject(visit: Visit) -> Response:
    """Reject a proposal, for a reason."""
    return await _decide(visit, "reject", reason=visit.given.get("reason", "").strip())


async def withdraw(visit: Visit) -> Response:
    """Take back a proposal of one's own."""
    return await _decide(visit, "withdraw")


async def _decide(visit: Visit, what: str, **members: str) -> Response:
    number = visit.named["proposal_id"]
    await visit.act(path_of("ops", "proposals", number, what), **members)
    return redirected(path_of("console", "approvals", number))


def action_of(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the action that a form says, its members typed as JSON has them."""
    members: dict[str, Any] = {"type": given.get("type", "")}
    for name, value in given.items():
        if not name.startswith(_PREFIX):
            continue
        member = name.removeprefix(_PREFIX)
        whole = member in _INTEGERS and value.isascii() and value.isdigit()
        members[member] = int(value) if whole and len(value) <= _DIGITS_MAX else value
    return members


_ONE: Final = f"{HOME}/approvals/{{proposal_id}}"

PAGES: Final = (
    Page("GET", f"{HOME}/approvals", approvals),
    Page("POST", f"{HOME}/approvals", propose),
    Page("GET", _ONE, proposal),
    Page("POST", f"{_ONE}/approve", approve),
    Page("POST", f"{_ONE}/reject", reject),
    Page("POST", f"{_ONE}/withdraw", withdraw),
)
