"""Two operators of a node: one proposes, the other approves, and both are told what they asked."""

from typing import Any

import httpx2

from gateway.ops.operators import Role
from tests.gateway.ops.guarded import Guarded

WHY = "ticket 4711"


class Two:
    """The operator, who proposes here, and the admin, who approves.

    Attributes:
        guarded: the node, and everybody else.
    """

    def __init__(self, guarded: Guarded) -> None:
        self.guarded = guarded

    async def send(self, who: str, path: str, body: Any = None) -> httpx2.Response:
        """Have somebody post something; returns the answer."""
        headers = {"authorization": f"Bearer {self.guarded.tokens[who]}"}
        address = f"{self.guarded.address}/ops/proposals{path}"
        return await self.guarded.ops.client.post(address, json=body, headers=headers)

    async def post(
        self, path: str, body: Any, who: str = Role.ADMIN, status: int = 200
    ) -> dict[str, Any]:
        """Have somebody post something; returns what is answered, with that status."""
        answer = await self.send(who, path, body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    async def propose(self, type_: str, **action: Any) -> dict[str, Any]:
        """Return a proposal of the operator's."""
        body = {"action": {"type": type_, **action}, "reason": WHY}
        made = await self.post("", body, Role.OPERATOR, 201)
        assert (made["status"], made["proposed_by"]) == ("PENDING", "operator")
        return made

    async def approve(
        self, proposal: dict[str, Any], who: str = Role.ADMIN, status: int = 200
    ) -> dict[str, Any]:
        """Return what is answered to an approval."""
        path = f"/{proposal['proposal_id']}/approve"
        return await self.post(path, {"digest": proposal["digest"]}, who, status)

    async def agreed(self, type_: str, **action: Any) -> dict[str, Any]:
        """Have an action proposed and approved; returns the proposal as it is then."""
        told = await self.approve(await self.propose(type_, **action))
        assert told == await self.look(told)
        assert told["decided_by"] == "admin"
        return told

    async def done(self, type_: str, **action: Any) -> dict[str, Any]:
        """Have an action carried out; returns the facts of its outcome."""
        told = await self.agreed(type_, **action)
        assert (told["status"], told["outcome"]["code"]) == ("DONE", "OK"), told
        return dict(told["outcome"]["facts"])

    async def failed(self, type_: str, **action: Any) -> str:
        """Have an action tried that fails; returns the code of its outcome."""
        told = await self.agreed(type_, **action)
        assert told["status"] == "FAILED", told
        return str(told["outcome"]["code"])

    async def look(self, proposal: dict[str, Any]) -> dict[str, Any]:
        """Return a proposal as it is now."""
        return dict(await self.guarded.look(f"/ops/proposals/{proposal['proposal_id']}"))
