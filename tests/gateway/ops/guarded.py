"""A node with an operator of each role, logged in, and what they are answered."""

import re
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import trio

from gateway.ca.master_key import MasterKey
from gateway.operator import administer
from gateway.ops import passwords
from gateway.ops.event_stream import MEDIA_TYPE
from gateway.ops.office import AddOperator
from gateway.ops.operators import RIGHTS, Role
from gateway.ops.row import Row
from gateway.ops.table import ROWS
from tests.gateway.ops.house import PASSWORD, QUICK
from tests.gateway.ops.operators import Ops

QUERIES = {"list_journal": "?account=X1"}
"""Rows that want to be told more than their paths say."""
WHOLE = [row for row in ROWS if row.media_type != MEDIA_TYPE]
"""Rows whose answers come to an end."""


class Guarded:
    """A node with an operator of each role, of the same name.

    Attributes:
        tokens: name → token of a session.
    """

    def __init__(self, ops: Ops, data: Path, master_key: MasterKey) -> None:
        self.ops = ops
        self.data = data
        self.master_key = master_key
        self.tokens: dict[str, str] = {}

    async def shell(self, asked: Any) -> Any:
        """Do something as a shell does, over the control socket."""
        return await trio.to_thread.run_sync(administer, self.data, asked)

    async def take_on(self, role: Role, name: str = "") -> None:
        """Take an operator on, by the role's name unless there is another, and log in."""
        name, secret, sealed = name or str(role), passwords.new_secret(), b""
        if role is not Role.VIEWER:
            sealed = passwords.sealed(self.master_key, name, secret)
        await self.shell(AddOperator(name, role, QUICK.hash(PASSWORD), sealed))
        given = {"name": name, "password": PASSWORD}
        if sealed:
            given["code"] = pyotp.TOTP(secret).now()
        answer = await self.ops.client.post(f"{self.address}/ops/sessions", json=given)
        assert answer.status_code == 201, answer.text
        assert answer.json()["session"]["rights"] == sorted(RIGHTS[role])
        self.tokens[name] = answer.json()["token"]

    @property
    def address(self) -> str:
        """Where the ops listener is."""
        assert self.ops.running.ops_address is not None
        return self.ops.running.ops_address

    async def ask(self, row: Row, role: Role | None, query: str = "") -> httpx2.Response:
        """Ask for a row in a role, or in none."""
        headers = {} if role is None else {"authorization": f"Bearer {self.tokens[role]}"}
        address = f"{self.address}{filled(row.path)}{query}"
        return await self.ops.client.request(row.method, address, headers=headers)

    async def entries(self, query: str = "") -> list[dict[str, Any]]:
        """Return the audit log's newest entries, oldest of them first."""
        page = await self.ask(row_of("list_audit_entries"), Role.AUDITOR, query)
        items: list[dict[str, Any]] = page.json()["items"]
        return items[::-1]

    async def look(self, path: str, role: Role = Role.VIEWER, status: int = 200) -> Any:
        """Return what is answered to a GET."""
        headers = {"authorization": f"Bearer {self.tokens[role]}"}
        answer = await self.ops.client.get(f"{self.address}{path}", headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def commands(self, *items: Any) -> list[Any]:
        """Have the node do something, as a client of its API."""
        address = f"{self.ops.running.address}/v1/commands"
        return list((await self.ops.client.post(address, json=items)).json())


def filled(path: str) -> str:
    """Return a path's template with something for each of its names."""
    return re.sub(r"\{(\w+)\}", lambda found: "account" if found[1] == "kind" else "X1", path)


def row_of(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)
