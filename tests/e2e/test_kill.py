"""kill -9 at random moments under load: what was acknowledged is there, once, and nothing else is.

A client in another process sends through the gateway, logs every acknowledgement and repeats
whatever it was not told the outcome of. After each kill the store is verified; after the next
start every acknowledgement is read back over HTTP and compared, word for word.
"""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import trio

from gateway.operations import Verify
from gateway.operator import perform
from tests.e2e import shopper
from tests.e2e.process import LIMIT_S, make_store, node

ROUNDS = 20
WORKERS = 9
FUNDS = 10**12

OPENING: list[dict[str, Any]] = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD", "fee_bps": 1_000},
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": FUNDS,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
]  # fmt: skip


class Log:
    """The acknowledgements, as far as they have been read back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.views: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Read what is new; a line is there in full or not at all."""
        lines = self._path.read_text("ascii").splitlines()
        self.views += map(json.loads, lines[len(self.views) :])
        return self.views


def _number(view: dict[str, Any]) -> tuple[str, str]:
    name = {"payment": "order_no", "authorization": "hold_no", "operation": "number"}
    return view["object"], view[name[view["object"]]]


async def _everything(client: httpx2.AsyncClient, address: str) -> list[dict[str, Any]]:
    """Return all payments and authorizations, page by page."""
    found = []
    for kind in ("payments", "authorizations"):
        cursor = ""
        while cursor is not None:
            path = f"{address}/v1/{kind}?merchant_no=M1&limit=100{cursor}"
            page = (await client.get(path)).json()
            found += page["items"]
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return found


async def _check(address: str, acknowledged: list[dict[str, Any]]) -> None:
    """Nothing acknowledged is lost or changed, and the money is where the records say."""
    numbers = [_number(view) for view in acknowledged]
    assert len(set(numbers)) == len(numbers), "something was acknowledged twice"
    async with httpx2.AsyncClient(timeout=LIMIT_S) as client:
        found = {_number(view): view for view in await _everything(client, address)}
        for view in acknowledged:
            kind, number = _number(view)
            if kind == "payment":
                assert found[kind, number] == view, "lost or changed"
            elif kind == "authorization":
                assert found[kind, number]["created_at"] == view["created_at"], "lost"
            else:
                hold = found["authorization", view["original"]]
                assert (hold["state"], hold["captured_minor"]) == ("CAPTURED", 11), "lost"
        # The client's newest commands may have happened unacknowledged; each counts once.
        paid = sum(
            view["amount_minor"] if view["object"] == "payment" else view["captured_minor"]
            for view in found.values()
            if view["state"] in {"SUCCEEDED", "CAPTURED"}
        )
        account = (await client.get(f"{address}/v1/accounts/A1")).json()
        merchant = (await client.get(f"{address}/v1/merchants/M1")).json()
    assert account["posted_minor"] == FUNDS - paid
    assert merchant["posted_minor"] + merchant["fees_minor"] == paid


async def test_kill_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    data, log_path = tmp_path / "bank", tmp_path / "acknowledged"
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    await make_store(data)
    log = Log(log_path)
    client = await trio.lowlevel.open_process(
        [sys.executable, shopper.__file__, str(log_path), str(WORKERS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    try:
        for round_ in range(ROUNDS):
            async with node(data) as running:
                if round_ == 0:
                    async with httpx2.AsyncClient() as opener:
                        path = f"{running.address}/v1/commands"
                        answers = (await opener.post(path, json=OPENING)).json()
                    assert {each["status"] for each in answers} == {201}
                else:
                    await _check(running.address, log.read())
                await client.stdin.send_all(running.address.encode() + b"\n")
                # So many acknowledgements later it is killed, in the middle of the next ones.
                wanted = draw.randrange(1, 120)
                with trio.fail_after(LIMIT_S):
                    while wanted > 0:
                        wanted -= (await client.stdout.receive_some()).count(b"\n")
                await running.end(kill=True)
            report = perform(data, Verify())
            assert report["ok"], report["violations"]
        assert len(log.read()) > ROUNDS
    finally:
        client.kill()
        await client.wait()
        await client.stdin.aclose()
        await client.stdout.aclose()
