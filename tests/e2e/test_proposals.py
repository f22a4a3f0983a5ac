"""A node that is killed between an approval and what was approved: nobody does it in its stead."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import pyotp
import pytest
import trio

from gateway.ca.master_key import MasterKey, new_master_key
from gateway.operator import administer
from gateway.ops import passwords
from gateway.ops.office import AddOperator, VerifyAudit
from gateway.ops.operators import Role
from tests.e2e.process import LIMIT_S, NodeProcess, make_store, node
from tests.gateway.ops.house import PASSWORD, QUICK

pytestmark = pytest.mark.one_shard

KILLED: Final = """\
import os, signal
from gateway.ops.hands import Hands
async def do(hands, proposal):
    os.kill(os.getpid(), signal.SIGKILL)
Hands.do = do
from gateway.cli import main
main()
"""
"""`piaohao`, but that it dies where something approved would be done."""
ACCOUNT: Final = {"account_no": "A1", "currency": "USD"}


class Operators:
    """Three who log in at the nodes of one folder, each once.

    Args:
        data: no node runs on it yet.
    """

    def __init__(self, data: Path, master_key: MasterKey) -> None:
        self._data = data
        self._master_key = master_key
        self._codes: dict[str, pyotp.TOTP] = {}

    def take_on(self, name: str, role: Role) -> None:
        secret = passwords.new_secret()
        self._codes[name] = pyotp.TOTP(secret)
        sealed = passwords.sealed(self._master_key, name, secret)
        administer(self._data, AddOperator(name, role, QUICK.hash(PASSWORD), sealed))

    async def log_in(self, client: httpx2.AsyncClient, name: str) -> dict[str, str]:
        """Return the headers of a session."""
        given = {"name": name, "password": PASSWORD, "code": self._codes[name].now()}
        begun = await client.post("/ops/sessions", json=given)
        assert begun.status_code == 201, begun.text
        return {"authorization": f"Bearer {begun.json()['token']}"}


async def propose(
    client: httpx2.AsyncClient, headers: dict[str, str], **action: str
) -> dict[str, Any]:
    body = {"action": action, "reason": "ticket 4711"}
    made = await client.post("/ops/proposals", json=body, headers=headers)
    assert made.status_code == 201, made.text
    return dict(made.json())


async def approve(
    client: httpx2.AsyncClient, headers: dict[str, str], proposal: dict[str, Any]
) -> httpx2.Response:
    path = f"/ops/proposals/{proposal['proposal_id']}/approve"
    return await client.post(path, json={"digest": proposal["digest"]}, headers=headers)


async def status_of_account(client: httpx2.AsyncClient, running: NodeProcess) -> Any:
    return (await client.get(f"{running.address}/v1/accounts/A1")).json()["status"]


async def test_node_killed_between_approval_and_action_leaves_it_to_people(tmp_path: Path) -> None:
    """The approval is durable, so it is known that something was begun; the next node says that
    it does not know what came of it, does nothing, and does it when it is agreed upon anew."""
    data, key, copies = tmp_path / "bank", tmp_path / "master.key", tmp_path / "copies"
    await make_store(data)
    master_key = new_master_key()
    master_key.write(key)
    operators = Operators(data, master_key)
    for name in ("duty-1", "duty-2", "duty-3", "duty-4"):
        operators.take_on(name, Role.ADMIN)
    options = ("--ops-listen", "127.0.0.1:0", "--master-key", str(key), "--backups", str(copies))
    freeze = {"type": "freeze_account", "account_no": "A1"}
    async with (
        node(data, *options, command=(sys.executable, "-c", KILLED)) as running,
        httpx2.AsyncClient(timeout=LIMIT_S, base_url=running.ops_address) as client,
    ):
        await client.post(f"{running.address}/v1/accounts", json=ACCOUNT)
        begun = await propose(client, await operators.log_in(client, "duty-1"), **freeze)
        second = await operators.log_in(client, "duty-2")
        with suppress(httpx2.TransportError):
            answer = await approve(client, second, begun)
            pytest.fail(f"it was answered: {answer.text}")
        assert await running.process.wait() < 0
    async with (
        node(data, *options) as running,
        httpx2.AsyncClient(timeout=LIMIT_S, base_url=running.ops_address) as client,
    ):
        first = await operators.log_in(client, "duty-3")
        second = await operators.log_in(client, "duty-4")
        path = f"/ops/proposals/{begun['proposal_id']}"
        left = (await client.get(path, headers=first)).json()
        assert (left["status"], left["decided_by"]) == ("UNKNOWN", "duty-2")
        assert left["outcome"]["code"] == "NODE_ENDED"
        again = await approve(client, second, left)
        assert (again.status_code, again.json()["code"]) == (409, "PROPOSAL_DECIDED")
        assert await status_of_account(client, running) == "OPEN"
        told = await approve(client, second, await propose(client, first, **freeze))
        assert told.json()["status"] == "DONE"
        assert await status_of_account(client, running) == "FROZEN"
        told = await approve(client, first, await propose(client, second, type="take_backup"))
        copy = copies / told.json()["proposal_id"]
        assert told.json()["outcome"]["facts"]["folder"] == str(copy)
        assert await trio.Path(copy / "shard-0" / "data.mdb").exists()
        page = (await client.get("/ops/audit?limit=200", headers=first)).json()
        steps = [
            f"{each['operator']} {each['action'].removeprefix('proposal_')}"
            for each in page["items"][::-1]
            if each["action"].startswith("proposal_")
        ]
        assert steps == [
            *("duty-1 pending", "duty-2 approved", "node/itself unknown"),
            *("duty-3 pending", "duty-4 approved", "node/itself done"),
            *("duty-4 pending", "duty-3 approved", "node/itself done"),
        ]
        assert await running.end() == 0
    assert administer(data, VerifyAudit())["ok"] is True
