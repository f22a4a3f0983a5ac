"""Operators on a running node; it is in this process, so that its turns can be made to fail."""

import io
import json
import stat
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

from actors import payment as payments
from actors.kinds import MERCHANT
from actors.messages import PaymentDebited
from gateway.ca.csr import new_csr, new_key
from gateway.cli import run
from gateway.exits import CommandError
from gateway.operations import Discard, ListParked, Release, ShowVitals, Verify
from gateway.operator import act, ask, perform
from gateway.server import Serving, serve
from storage.folder import Folder
from tests.gateway.desk_client import MORNING, payment
from tests.shards import SHARDS

ADDRESS = "merchant/M1"
OPENING = [
    {"command": "open_merchant", "merchant_no": "M1", "currency": "USD"},
    {"command": "open_account", "account_no": "A1", "currency": "USD"},
    {"command": "fund_account", "account_no": "A1", "funding_no": "F1", "amount_minor": 10_000,
     "currency": "USD"},
    {"command": "sign_agreement", "account_no": "A1", "agreement_no": "M1", "merchant_no": "M1"},
]  # fmt: skip


class Node:
    """A node in this process, its folder, and a client."""

    def __init__(self, data: Path, serving: Serving, client: httpx2.AsyncClient) -> None:
        self.data = data
        self._serving = serving
        self._client = client

    async def commands(self, *items: Any) -> list[Any]:
        answer = await self._client.post(f"{self._serving.address}/v1/commands", json=items)
        return list(answer.json())

    async def payment(self, order_no: str) -> Any:
        path = f"{self._serving.address}/v1/payments/M1/{order_no}"
        return (await self._client.get(path)).json()

    async def act(self, asked: Release | Discard) -> Any:
        """Perform an operation as the command line does: from a thread, with blocking calls."""
        return await trio.to_thread.run_sync(act, self.data, asked)

    async def vitals(self) -> list[dict[str, Any]]:
        return list(await trio.to_thread.run_sync(ask, self.data, ShowVitals()))

    async def perform(self, asked: Verify | ListParked) -> Any:
        return await trio.to_thread.run_sync(perform, self.data, asked)


@pytest.fixture
async def node(tmp_path: Path, nursery: trio.Nursery) -> Any:
    """A node with a shop, stopped in good order after the test."""
    folder = Folder(tmp_path, create=True)
    folder.create("2026-01-05", MORNING, shards=SHARDS)
    with closing(folder):
        async with trio.open_nursery() as serving_nursery, httpx2.AsyncClient() as client:
            serving = await serving_nursery.start(partial(serve, folder, listen="127.0.0.1:0"))
            node = Node(tmp_path, serving, client)
            assert {each["status"] for each in await node.commands(*OPENING)} == {201}
            yield node
            serving.stop()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """The merchants' handlers, in which the one that takes a payment's money is missing."""
    handlers: dict[Any, Any] = MERCHANT.handlers
    monkeypatch.delitem(handlers, PaymentDebited)
    return handlers


async def test_parked_message_is_listed_and_released(node: Node, broken: dict[Any, Any]) -> None:
    answers = await node.commands(payment("O1", 700), payment("O2", 1))
    assert answers[0]["body"]["code"] == "OUTCOME_UNKNOWN"
    (again,) = await node.commands(payment("O3"))
    assert (again["status"], again["body"]["code"]) == (503, "ACTOR_QUARANTINED")

    parked = (await node.perform(ListParked()))["parked"]
    assert parked[0]["address"] == ADDRESS
    assert (parked[0]["amount_minor"], parked[0]["currency"]) == (700, "USD")
    assert "PaymentDebited" in parked[0]["error"]
    report = await node.perform(Verify())
    assert report["ok"], report["violations"]
    in_messages = sum(each["amount_minor"] for each in parked)
    assert report["sums"]["USD"] == {
        "accounts": -in_messages, "messages": in_messages, "difference": 0,
    }  # fmt: skip

    left = await node.act(Release(ADDRESS))
    assert (left["taken"], left["left"]) == (0, len(parked))
    assert "PaymentDebited" in left["error"]

    broken[PaymentDebited] = payments.payment_debited
    left = await node.act(Release(ADDRESS))
    assert (left["taken"], left["left"], left["error"]) == (len(parked), 0, "")
    assert (await node.payment("O1"))["state"] == "SUCCEEDED"
    assert (await node.commands(payment("O3")))[0]["status"] == 201
    assert (await node.perform(ListParked())) == {"parked": []}


async def test_discarded_message_comes_to_nothing_and_its_money_is_back(
    node: Node, broken: dict[Any, Any]
) -> None:
    await node.commands(payment("O1", 700))
    left = await node.act(Discard(ADDRESS))
    assert (left["taken"], left["left"], left["code"]) == (1, 0, "")
    (again,) = await node.commands(payment("O1", 700))
    assert (again["status"], again["body"]["code"]) == (422, "MESSAGE_DISCARDED")
    assert (await node.payment("O1"))["state"] == "FAILED"
    report = await node.perform(Verify())
    assert report["ok"], report["violations"]
    assert report["sums"]["USD"] == {"accounts": 0, "messages": 0, "difference": 0}


async def test_vital_signs_of_every_shard_are_shown(node: Node) -> None:
    before = await node.vitals()
    assert [signs["shard"] for signs in before] == list(range(SHARDS))
    (answer,) = await node.commands(payment("O1", 100))
    assert answer["status"] == 201
    after = await node.vitals()
    assert sum(signs["commits"] for signs in after) > sum(signs["commits"] for signs in before)
    assert max(signs["commit_ns_p99"] for signs in after) > 0
    newest = tuple(signs["durable_seq"] for signs in after)
    later = await trio.to_thread.run_sync(ask, node.data, ShowVitals(newest))
    assert all(signs["commit_ns_p99"] == 0 for signs in later)


async def test_release_of_nothing_takes_nothing(node: Node) -> None:
    assert (await node.act(Release("account/none")))["taken"] == 0


class Terminal:
    """Where `piaohao ask` is typed, about one node."""

    def __init__(self, node: Node, capsys: pytest.CaptureFixture[str]) -> None:
        self._node = node
        self._capsys = capsys

    async def ask(self, *asked: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        arguments = ["ask", *asked, "--data", str(self._node.data)]
        code = await trio.to_thread.run_sync(run, arguments)
        return code, *self._capsys.readouterr()

    async def answer(self, *asked: str) -> Any:
        """Return what the API answers, which is one line."""
        code, out, err = await self.ask(*asked)
        assert (code, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)


@pytest.fixture
def terminal(node: Node, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(node, capsys)


async def test_asked_body_comes_as_it_stands_from_a_file_or_from_standard_input(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"account_no": "B1", "currency": "USD"}
    opened = await terminal.answer("POST", "/v1/accounts", json.dumps(account))
    assert opened["account_no"] == "B1"
    file = tmp_path / "account.json"
    await trio.Path(file).write_text(json.dumps(account))
    assert await terminal.answer("POST", "/v1/accounts", f"@{file}") == opened
    piped = io.BytesIO(json.dumps(account).encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
    assert await terminal.answer("POST", "/v1/accounts", "-") == opened
    assert len((await terminal.answer("GET", "/v1/accounts?limit=1"))["items"]) == 1


async def test_asked_array_may_be_as_long_as_the_api_takes(
    terminal: Terminal, tmp_path: Path
) -> None:
    """Most of it is what JSON wants escaped when it is passed on."""
    array = json.dumps(OPENING)
    file = tmp_path / "array.json"
    await trio.Path(file).write_text(array + "\n" * ((1 << 20) - len(array)))
    answers = await terminal.answer("POST", "/v1/commands", f"@{file}")
    assert [each["status"] for each in answers] == [201] * len(OPENING)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("GET", "/v1/accounts/A9"), "ACCOUNT_NOT_FOUND: No account has this number. "),
        (("GET", "/v1/nothing"), "NOT_FOUND: "),
        (("GET", "/v1/accounts?limit=x"), "INVALID_REQUEST: "),
        (("GET", "/v1/node", "{}"), "INVALID_REQUEST: "),
        (("POST", "/v1/node", "{}"), "METHOD_NOT_ALLOWED: "),
        (("POST", "/v1/accounts", "{"), "MALFORMED_JSON: "),
        (("POST", "/v1/accounts", "\udcff"), "what is asked for is not UTF-8"),
        (("GET", "/v1/\udcff"), "what is asked for is not UTF-8"),
        (("POST", "/v1/accounts", "@gone.json"), "gone.json: No such file or directory"),
        (("POST", "/v1/accounts", " " * (65 << 10)), "BODY_TOO_LARGE: "),
        (("POST", "/v1/commands", " " * (1025 << 10)), "no path takes a body of more than 1 MiB"),
        (("GET", "/docs"), "/docs is not answered in JSON"),
        (("PUT", "/v1/accounts"), "Invalid value "),
        (("GET",), "Parameter PATH requires an argument."),
    ],
    ids=lambda each: ascii(each)[:40],
)
async def test_wrong_question_ends_in_one_line(
    asked: tuple[str, ...], said: str, terminal: Terminal
) -> None:
    code, out, err = await terminal.ask(*asked)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith(f"piaohao: {said}")


async def test_certificate_is_asked_for_once_it_can_be_written(
    node: Node, terminal: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And where it is refused, as by a node without keys, no file is left."""
    csr, out = tmp_path / "m1.csr", tmp_path / "m1.pem"
    await trio.Path(csr).write_bytes(new_csr(new_key(), "M1"))

    async def certify(merchant_no: str, to: Path) -> str:
        arguments = ["certificate", merchant_no, "--csr", str(csr), "--out", str(to)]
        arguments = ["merchant", *arguments, "--data", str(node.data)]
        assert await trio.to_thread.run_sync(run, arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    gone = tmp_path / "gone" / "m1.pem"
    assert f"{gone}: No such file" in await certify("M1", gone)
    assert f"{csr}: it is there already" in await certify("M1", csr)
    assert "NO_CERTIFICATE_AUTHORITY: " in await certify("M1", out)
    assert not out.exists()


async def test_only_the_owner_may_ask(node: Node) -> None:
    """Who may open the socket acts for the bank."""
    socket = await trio.Path(node.data / "control.sock").stat()
    assert (stat.S_ISSOCK(socket.st_mode), stat.S_IMODE(socket.st_mode)) == (True, 0o600)


async def test_node_without_a_socket_is_unreachable(node: Node) -> None:
    await trio.Path(node.data / "control.sock").unlink()
    with pytest.raises(CommandError, match="does not answer"):
        await node.act(Release(ADDRESS))
    with pytest.raises(CommandError, match="in use"):
        await node.perform(Verify())
