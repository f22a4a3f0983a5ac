"""A node that takes signed requests only, end to end: real processes, sockets, TLS and `curl`.

What the client library, `curl` and an attacker with a copy of a request are answered, before and
after a crash, while keys are renewed, and while the node ends.
"""

import math
import shutil
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import pytest
import trio
from msgspec.structs import replace

from actors.commands import OpenAccount
from gateway.client import (
    AsyncBankClient,
    AsyncClient,
    Identity,
    NotAcceptedError,
    Outcome,
    Refusal,
    RefusedError,
    new_key,
)
from gateway.operations import Verify
from gateway.operator import perform
from gateway.signatures.digest import make_digest
from gateway.signatures.keys import PrivateKey
from tests.e2e.bank import NAME, Bank, Signed
from tests.e2e.process import LIMIT_S, NodeProcess, piaohao

PAYMENT: Final[dict[str, Any]] = {"payer": "A1", "amount_minor": 100, "currency": "USD"}
AT_NAME: Final = ("--name", NAME)


def _payment(order_no: str) -> dict[str, Any]:
    return {"merchant_no": "M1", "order_no": order_no, **PAYMENT}


async def _code(call: Awaitable[Any]) -> tuple[int, str]:
    """Return status and code of the refusal that a call comes to."""
    with pytest.raises((RefusedError, NotAcceptedError)) as caught:
        await call
    return caught.value.status, caught.value.code


async def test_bank_and_merchant_do_business_over_tls(tmp_path: Path) -> None:
    """From the first account to the day's end; a suspension and a revocation count at once."""
    bank = Bank(tmp_path)
    async with bank.serving() as running:
        assert running.address.startswith("https://")
        async with bank.own_client(running, await bank.system()) as own:
            await own.open_merchant("M1", currency="USD", fee_bps=100)
            await own.open_merchant("M2", currency="USD")
            opened = await own.batch(OpenAccount(f"A{number}", "USD") for number in range(1, 9))
            assert [each.account_no for each in _views(opened)] == [f"A{n}" for n in range(1, 9)]
            await own.fund("A1", "F1", amount_minor=10_000, currency="USD")
            await own.sign_agreement("A1", "G1", merchant_no="M1")
            first, other = await bank.merchant("M1"), await bank.merchant("M2")
            async with bank.client(running, first) as m1, bank.client(running, other) as m2:
                await _business(m1, m2)
                second = await m1.renew("K2")
                async with bank.client(running, second) as renewed:
                    await _stopped(own, m1, renewed, first)
            cut = await own.cut_day("2026-01-05")
            assert (cut.state, cut.next_date) == ("CLOSED", "2026-01-06")
        assert await running.end() == 0
    report = await trio.to_thread.run_sync(perform, bank.data, Verify())
    assert report["ok"], report


def _views(outcomes: list[Outcome]) -> list[Any]:
    for each in outcomes:
        assert not isinstance(each, Exception), each
    return outcomes


async def _business(m1: AsyncClient, m2: AsyncClient) -> None:
    paid = await m1.pay("O1", **PAYMENT)
    assert (paid.state, paid.fee_minor) == ("SUCCEEDED", 1)
    assert (await m1.refund("R1", order_no="O1", amount_minor=40)).state == "SUCCEEDED"
    calls = [m1.calls.pay(f"O{number}", **PAYMENT) for number in range(2, 30)]
    assert {each.state for each in _views(await m1.batch(calls))} == {"SUCCEEDED"}
    listed = [each.order_no async for each in m1.payments()]
    assert sorted(listed) == sorted(f"O{number}" for number in range(1, 30))
    assert (await m1.get_payment("O1")).refunded_minor == 40
    assert (await m1.balance()).posted_minor == 29 * 99 - 40
    # What is another's is not there, and what is the bank's is not for merchants.
    assert await _code(m2.get_payment("O1")) == (404, Refusal.NO_SUCH_PAYMENT)
    others = await m2.batch([m1.calls.pay("O30", **PAYMENT), OpenAccount("A9", "USD")])
    assert [each.code for each in others if isinstance(each, RefusedError)] == [
        Refusal.MERCHANT_NOT_FOUND,
        "NOT_FOR_MERCHANTS",
    ]


async def _stopped(
    own: AsyncBankClient, m1: AsyncClient, renewed: AsyncClient, first: Identity
) -> None:
    """A suspended merchant gives back, and takes nothing; a revoked certificate opens nothing."""
    await own.suspend_merchant("M1")
    assert (await _code(m1.pay("O31", **PAYMENT)))[1] == Refusal.MERCHANT_SUSPENDED
    assert (await m1.refund("R2", order_no="O2", amount_minor=1)).state == "SUCCEEDED"
    await own.activate_merchant("M1")
    assert (await m1.pay("O31", **PAYMENT)).state == "SUCCEEDED"
    await own.revoke_certificate("M1", first.keyid, reason="keyCompromise")
    assert await _code(m1.pay("O32", **PAYMENT)) == (401, "SIGNER_REVOKED")
    assert await _code(m1.get_payment("O1")) == (401, "SIGNER_REVOKED")
    assert (await renewed.pay("O32", **PAYMENT)).state == "SUCCEEDED"


# What curl is told.


def _pay(bank: Bank, m1: Identity, order_no: str = "O1", **changes: Any) -> Signed:
    return bank.signed(m1, "POST", "/v1/payments", _payment(order_no), **changes)


def _with(request: Signed, **changes: str | None) -> Signed:
    """Return a request with other headers, or without some."""
    given = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {**request.headers, **given}
    kept = {name: value for name, value in headers.items() if value is not None}
    return replace(request, headers=kept)


def _unsigned(request: Signed) -> Signed:
    return _with(request, signature=None, signature_input=None, content_digest=None)


_MORE: Final = msgspec.json.encode({**_payment("O1"), "amount_minor": 101})

WRONG: Final[dict[str, tuple[Callable[[Bank, Identity], Signed], str]]] = {
    "missing": (lambda bank, m1: _unsigned(_pay(bank, m1)), "SIGNATURE_MISSING"),
    "missing from a read": (
        lambda bank, m1: _unsigned(bank.signed(m1, "GET", "/v1/payments/M1/O1")),
        "SIGNATURE_MISSING",
    ),
    "without a digest": (
        lambda bank, m1: _with(_pay(bank, m1), content_digest=None),
        "SIGNATURE_MISSING",
    ),
    "another key's": (
        lambda bank, m1: _pay(bank, m1, key=PrivateKey(new_key())),
        "SIGNATURE_WRONG",
    ),
    "another algorithm": (
        lambda bank, m1: _pay(bank, m1, key=PrivateKey(new_key("ecdsa-p256-sha256"))),
        "SIGNATURE_WRONG",
    ),
    "for another path": (
        lambda bank, m1: _pay(bank, m1, path="/v1/refunds"),
        "SIGNATURE_WRONG",
    ),
    "without the query": (
        lambda bank, m1: replace(
            bank.signed(m1, "GET", "/v1/payments"), target="/v1/payments?merchant_no=M1"
        ),
        "SIGNATURE_WRONG",
    ),
    "for another host": (
        lambda bank, m1: _pay(bank, m1, authority="pay2.example"),
        "SIGNATURE_WRONG",
    ),
    "old": (
        lambda bank, m1: _pay(bank, m1, created=int(time.time()) - 301),
        "SIGNATURE_OLD",
    ),
    # In the second that has begun it is more than 301 s ahead, and not yet 300 a second later.
    "from the future": (
        lambda bank, m1: _pay(bank, m1, created=int(time.time()) + 302),
        "SIGNATURE_OLD",
    ),
    "malformed parameters": (
        lambda bank, m1: _with(_pay(bank, m1), signature_input='sig1=("@method");created=1'),
        "SIGNATURE_MALFORMED",
    ),
    "malformed": (
        lambda bank, m1: _with(_pay(bank, m1), signature="sig1=:AAA:"),
        "SIGNATURE_MALFORMED",
    ),
    "by an unknown certificate": (
        lambda bank, m1: _pay(bank, m1, keyid="abc123"),
        "SIGNER_UNKNOWN",
    ),
    "of another body": (
        lambda bank, m1: replace(_pay(bank, m1), body=_MORE),
        "DIGEST_MISMATCH",
    ),
    "of another body with its digest": (
        lambda bank, m1: replace(
            _with(_pay(bank, m1), content_digest=make_digest(_MORE)), body=_MORE
        ),
        "SIGNATURE_WRONG",
    ),
}


@pytest.mark.one_shard
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_is_told_what_is_wrong_with_its_signature(tmp_path: Path) -> None:
    """401 and its code each, signed by the bank, and nothing happens; then the right one passes."""
    bank = Bank(tmp_path)
    async with bank.serving(*AT_NAME) as running, httpx2.AsyncClient(verify=bank.tls()) as client:
        await bank.open_business()
        m1, lost = await bank.merchant(), await bank.merchant("M1", "K2")
        revocation = f"/v1/merchants/M1/certificates/{lost.keyid}/revoke"

        async def told(request: Signed) -> tuple[int, str]:
            status, headers, body = await _curl(bank, running, request)
            await bank.check(client, running, request, status, headers, body)
            assert ("accept-signature" in headers) == (status == 401)
            return status, msgspec.json.decode(body)["code"] or ""

        assert await told(_pay(bank, lost, "O2")) == (201, "")
        await bank.do(revocation, reason="keyCompromise")
        found = {case: await told(make(bank, m1)) for case, (make, _) in WRONG.items()}
        found["by a revoked certificate"] = await told(_pay(bank, lost))
        expected = {case: (401, code) for case, (_, code) in WRONG.items()}
        assert found == {**expected, "by a revoked certificate": (401, "SIGNER_REVOKED")}
        right = _pay(bank, m1)
        assert await told(right) == (201, "")
        assert await told(right) == (401, "NONCE_USED")
        # A clock may be 299 s off.
        assert await told(_pay(bank, m1, "O3", created=math.ceil(time.time()) - 299)) == (201, "")
        assert await told(_pay(bank, m1, "O4", created=int(time.time()) + 299)) == (201, "")
        paid = await bank.look("/v1/payments?merchant_no=M1")
        assert [each["order_no"] for each in paid["items"]] == ["O1", "O2", "O3", "O4"]


async def _curl(
    bank: Bank, running: NodeProcess, request: Signed
) -> tuple[int, dict[str, str], bytes]:
    """Send a request with curl; returns status, headers and body."""
    arguments = [*("--silent", "--show-error", "--include"), *("--cacert", str(bank.root))]
    arguments += ["--request", request.method]
    for name, value in request.headers.items():
        arguments += ["--header", f"{name}: {value}"]
    if request.body:
        arguments += ["--data-binary", request.body.decode()]
    with trio.fail_after(LIMIT_S):
        run = await trio.run_process(
            ["curl", *arguments, running.address + request.target], capture_stdout=True
        )
    head, _, body = run.stdout.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    fields = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in fields}, body


# What the next process knows of the one before it.


async def test_request_that_counted_is_refused_by_the_next_process(tmp_path: Path) -> None:
    """After kill -9, and after an orderly end; what was not sent before is taken, once."""
    bank = Bank(tmp_path)
    async with httpx2.AsyncClient(verify=bank.tls(), timeout=LIMIT_S) as client:
        async with bank.serving(*AT_NAME) as running:
            await bank.open_business()
            m1, core = await bank.merchant(), await bank.system()
            paid = _pay(bank, m1)
            assert (await bank.send(client, running, paid))[0] == 201
            accounts = bank.signed(core, "POST", "/v1/commands", _accounts("B", 60))
            status, items = await bank.send(client, running, accounts)
            assert (status, Counter(each["status"] for each in items)) == (200, {201: 60})
            read = await _read(bank, client, running, m1)
            unread = bank.signed(m1, "GET", "/v1/payments/M1/O1")
            unsent = _pay(bank, m1, "O2")
            cut_off = bank.signed(core, "POST", "/v1/commands", _accounts("C", 1_000))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_and_lose, bank, client, running, cut_off)
                await bank.until_there("/v1/accounts/C1")
                assert await running.end(kill=True) != 0
        counted = [paid, accounts, cut_off]
        async with bank.serving(*AT_NAME) as running:
            for request in counted:
                assert await _refused(bank, client, running, request) == "NONCE_USED"
            for request in (read, unread):
                assert await _refused(bank, client, running, request) == "SIGNED_BEFORE_START"
            assert (await bank.send(client, running, unsent))[0] == 201
            counted.append(unsent)
            assert await _refused(bank, client, running, unsent) == "NONCE_USED"
            # Signed anew, a command is told its first outcome.
            status, body = await bank.send(client, running, _pay(bank, m1))
            assert (status, body["state"]) == (201, "SUCCEEDED")
            assert await running.end() == 0
        async with bank.serving(*AT_NAME) as running:
            for request in counted:
                assert await _refused(bank, client, running, request) == "NONCE_USED"
            balance = await bank.look("/v1/merchants/M1")
            assert balance["posted_minor"] == 2 * PAYMENT["amount_minor"]


def _accounts(letter: str, count: int) -> list[dict[str, str]]:
    """Return an array that opens accounts, on whatever shards there are."""
    return [
        {"command": "open_account", "account_no": f"{letter}{number}", "currency": "USD"}
        for number in range(1, count + 1)
    ]


async def _read(
    bank: Bank, client: httpx2.AsyncClient, running: NodeProcess, m1: Identity
) -> Signed:
    """Return a read that was answered; in the second in which the node began it is not."""
    with trio.fail_after(LIMIT_S):
        while True:
            request = bank.signed(m1, "GET", "/v1/payments/M1/O1")
            status, body = await bank.send(client, running, request)
            if status == 200:
                return request
            assert (status, body["code"]) == (401, "SIGNED_BEFORE_START")


async def _send_and_lose(
    bank: Bank, client: httpx2.AsyncClient, running: NodeProcess, request: Signed
) -> None:
    """Send a request to a node that is about to be killed; it may have been quick."""
    with suppress(httpx2.TransportError):
        await bank.send(client, running, request)


async def _refused(
    bank: Bank, client: httpx2.AsyncClient, running: NodeProcess, request: Signed
) -> str:
    status, body = await bank.send(client, running, request)
    assert status == 401, body
    return str(body["code"])


# Keys that change, and a node that ends, under load.


@pytest.mark.one_shard
async def test_keys_are_renewed_while_requests_go_on(tmp_path: Path) -> None:
    """The merchant's under way, the bank's with a restart: every call goes well, once.

    The clients live on: they learn the bank's new key when they meet it.
    """
    bank = Bank(tmp_path)
    done: Counter[str] = Counter()
    at_work: set[str] = set()
    went, over = trio.Event(), False

    async def pay_on(client: AsyncClient, name: str) -> None:
        nonlocal went
        while not over:
            order_no = f"{name}-{done[name]}"
            assert (await client.pay(order_no, **PAYMENT | {"amount_minor": 1})).fee_minor == 0
            assert (await client.get_payment(order_no)).state == "SUCCEEDED"
            done[name] += 1
            if over:
                at_work.remove(name)
            went.set()
            went = trio.Event()

    async def until_all_go_on() -> None:
        wanted = {name: done[name] + 10 for name in at_work}
        with trio.fail_after(LIMIT_S):
            while any(done[name] < count for name, count in wanted.items()):
                await went.wait()

    async with AsyncExitStack() as clients, trio.open_nursery() as nursery:
        async with bank.serving() as running:
            await bank.open_business()
            m1 = await bank.merchant()
            listen = running.address.removeprefix("https://")
            old = await clients.enter_async_context(bank.client(running, m1))
            for name in ("a", "b"):
                at_work.add(name)
                nursery.start_soon(pay_on, old, name)
            await until_all_go_on()
            renewed = bank.client(running, await old.renew("K2"))
            new = await clients.enter_async_context(renewed)
            for name in ("c", "d"):
                at_work.add(name)
                nursery.start_soon(pay_on, new, name)
            await until_all_go_on()
            keys = ("--keys", bank.keys, "--master-key", bank.master_key)
            ceremony = await piaohao("ca", "renew", "signing", *keys, "--json")
            assert ceremony.returncode == 0, ceremony.stderr
            await until_all_go_on()
            assert await running.end() == 0
        async with bank.serving(listen=listen) as running:
            await until_all_go_on()
            over = True
            with trio.fail_after(LIMIT_S):
                while at_work:
                    await went.wait()
            listed = [each.order_no async for each in new.payments()]
            assert len(listed) == len(set(listed)) == done.total()
            keyid = msgspec.json.decode(ceremony.stdout)["keyid"]
            async with httpx2.AsyncClient(verify=bank.tls()) as client:
                answer = await client.get(f"{running.address}/v1/health")
                assert f'keyid="{keyid}"' in answer.headers["signature-input"]


@pytest.mark.one_shard
async def test_sigterm_answers_every_signed_request_under_way(tmp_path: Path) -> None:
    """Arrays whose items wait for one another are answered whole, each with its signature."""
    bank = Bank(tmp_path)
    answers: list[tuple[int, Any]] = []
    async with bank.serving(*AT_NAME) as running:
        await bank.open_business()
        m1 = await bank.merchant()
        async with httpx2.AsyncClient(verify=bank.tls(), timeout=LIMIT_S) as client:

            async def send(request: Signed) -> None:
                answers.append(await bank.send(client, running, request))

            first = _pay(bank, m1)  # with its answer the bank's key is learned
            assert (await bank.send(client, running, first))[0] == 201
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    array = _captures(f"H{number}")
                    nursery.start_soon(send, bank.signed(m1, "POST", "/v1/commands", array))
                for number in range(8):
                    await bank.until_there(f"/v1/authorizations/M1/H{number}")
                assert len(answers) < 8, "some are under way"
                running.process.terminate()
        with trio.fail_after(LIMIT_S):
            assert await running.process.wait() == 0
    assert running.errors == b""
    assert [status for status, _ in answers] == [200] * 8
    assert {item["status"] for _, items in answers for item in items} <= {201, 503}


def _captures(hold_no: str) -> list[dict[str, Any]]:
    own = {"merchant_no": "M1", "hold_no": hold_no}
    hold = {"command": "create_authorization", **own, **PAYMENT}
    one = {"amount_minor": 1}
    return [hold] + [
        {"command": "capture_authorization", **own, "capture_no": f"{hold_no}-{number}", **one}
        for number in range(40)
    ]
