"""Both clients against a real node, signed through a front and unsigned without one."""

import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel

from actors.answers import OperationView, PaymentView, RefundView
from actors.commands import CreatePayment
from gateway.client import (
    AsyncBankClient,
    AsyncClient,
    BankClient,
    Client,
    Refusal,
    RefusedError,
)
from gateway.client.core import ARRAY_BYTES, ARRAY_MAX
from gateway.client.method import AsyncIterated, Awaited, Blocking, Iterated
from tests.gateway.client.bank import Bank
from tests.gateway.client.front import Front, fronting
from tests.gateway.client.hands import PAYMENT, Hand, hand, open_business
from tests.gateway.serving import serving

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

BANK = Bank()
IDENTITIES = {
    algorithm: BANK.certify("M1", algorithm)
    for algorithm in ("ed25519", "ecdsa-p256-sha256", "rsa-pss-sha512")
}


@asynccontextmanager
async def signed(
    tmp_path: Path, kind: str, algorithm: str = "ed25519"
) -> AsyncIterator[tuple[Hand, Front]]:
    identity = IDENTITIES[algorithm]
    async with serving(tmp_path) as node, fronting(node.address, BANK, identity) as front:
        await open_business(node.address)
        async with hand(kind, front.address, identity, BANK.root_pem) as one:
            yield one, front


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("blocking", "ed25519"),
        ("awaited", "ed25519"),
        ("awaited", "ecdsa-p256-sha256"),
        ("awaited", "rsa-pss-sha512"),
    ],
)
async def test_merchant_pays_captures_refunds_and_lists(
    tmp_path: Path, kind: str, algorithm: str
) -> None:
    """With each algorithm, everything signed and every answer verified."""
    async with signed(tmp_path, kind, algorithm) as (one, front):
        paid = await one.do("pay", "O1", **PAYMENT, description="two coffees")
        assert isinstance(paid, PaymentView)
        assert (paid.state, paid.merchant_no, paid.description) == (
            "SUCCEEDED",
            "M1",
            "two coffees",
        )
        await one.do("authorize", "H1", **PAYMENT, metadata={"pump": "3"})
        captured = await one.do("capture", "H1", "C1", amount_minor=2_000, final=True)
        assert isinstance(captured, OperationView)
        assert captured.hold_state == "CAPTURED"
        refunded = await one.do("refund", "R1", order_no="O1", amount_minor=599)
        assert isinstance(refunded, RefundView)
        await one.do("refund", "R2", hold_no="H1", amount_minor=1)
        assert (await one.do("get_payment", "O1")).refunded_minor == 599
        assert (await one.do("get_capture", "H1", "C1")) == captured
        assert [each.order_no for each in await one.do("payments")] == ["O1"]
        assert [each.hold_no for each in await one.do("authorizations")] == ["H1"]
        assert [each.refund_no for each in await one.do("refunds", by_time=True)] == ["R1", "R2"]
        types = [each.type for each in await one.do("events")]
        assert types == [
            "payment.succeeded",
            "authorization.held",
            "authorization.captured",
            "refund.succeeded",
            "refund.succeeded",
        ]
        assert (await one.do("balance")).posted_minor == 2_599 + 2_000 - 600 - 10 - 8
        assert len(set(front.nonces)) == len(front.nonces), "a nonce was used twice"


async def test_merchant_undoes_what_can_be_undone(tmp_path: Path) -> None:
    async with signed(tmp_path, "awaited") as (one, _):
        await one.do("pay", "O1", **PAYMENT)
        assert (await one.do("reverse", "O1", "V1")).state == "SUCCEEDED"
        assert (await one.do("get_reversal", "O1", "V1")).original == "O1"
        await one.do("authorize", "H1", **PAYMENT, valid_s=60)
        await one.do("increment", "H1", "I1", amount_minor=1)
        assert (await one.do("get_increment", "H1", "I1")).hold_amount_minor == 2_600
        assert (await one.do("void", "H1", "X1")).hold_state == "VOIDED"
        assert (await one.do("get_void", "H1", "X1")).number == "X1"
        await one.do("authorize", "H2", **PAYMENT)
        await one.do("capture", "H2", "C1", amount_minor=100)
        assert (await one.do("release", "H2", "L1")).hold_state == "CAPTURED"
        assert (await one.do("get_release", "H2", "L1")).number == "L1"
        waiting = await one.do("refund", "R1", hold_no="H2", amount_minor=100, wait_for_funds=True)
        assert waiting == await one.do("get_refund", "R1")
        with pytest.raises(RefusedError) as caught:
            await one.do("close_refund", "R1", "X1")
        assert caught.value.current == waiting.state


async def test_refusal_is_an_error_that_says_what_the_bank_says(tmp_path: Path) -> None:
    async with signed(tmp_path, "awaited") as (one, _):
        with pytest.raises(RefusedError) as caught:
            await one.do("pay", "O1", **PAYMENT | {"amount_minor": 10**9})
        refused = caught.value
        assert (refused.status, refused.code) == (422, Refusal.INSUFFICIENT_FUNDS)
        assert refused.number == "O1"
        assert "new number" in refused.detail
        await one.do("authorize", "H1", **PAYMENT)
        with pytest.raises(RefusedError) as caught:
            await one.do("release", "H1", "L1")
        assert (caught.value.current, caught.value.allowed) == ("HELD", ("PARTIALLY_CAPTURED",))
        with pytest.raises(RefusedError) as caught:
            await one.do("get_payment", "O9")
        assert caught.value.code == Refusal.NO_SUCH_PAYMENT


async def test_batch_keeps_order_across_arrays_and_gives_errors_as_values(tmp_path: Path) -> None:
    """A capture in the second array finds its hold in the first."""
    async with signed(tmp_path, "awaited") as (one, front):
        calls = one.client.calls
        commands: list[Any] = [calls.authorize("H1", **PAYMENT)]
        commands += [
            CreatePayment("M1", f"O{number}", "A1", 1 if number % 400 else 10**9, "USD")
            for number in range(1, ARRAY_MAX + 1)
        ]
        commands += [calls.capture("H1", "C1", amount_minor=1), calls.void("H9", "X1")]
        outcomes = await one.do("batch", commands)
        assert front.targets.count("POST /v1/commands") == 2
        assert len(outcomes) == len(commands)
        failed = [number for number, each in enumerate(outcomes) if isinstance(each, RefusedError)]
        assert failed == [400, 800, len(commands) - 1]
        assert outcomes[5].order_no == "O5"
        assert outcomes[-2].hold_captured_minor == 1
        assert outcomes[-1].code == Refusal.NO_SUCH_HOLD
        assert await one.do("batch", []) == []


async def test_batch_is_split_where_an_array_would_be_too_large(tmp_path: Path) -> None:
    note = {f"k{number}": "x" * 256 for number in range(16)}
    async with signed(tmp_path, "awaited") as (one, front):
        calls = [
            one.client.calls.pay(f"O{number}", **PAYMENT | {"amount_minor": 1}, metadata=note)
            for number in range(300)
        ]
        outcomes = await one.do("batch", calls)
        assert {each.state for each in outcomes} == {"SUCCEEDED"}
        assert front.targets.count("POST /v1/commands") == 2
    assert ARRAY_BYTES < 300 * 16 * 262


async def test_iterators_go_through_all_pages_and_ask_for_no_more_than_is_taken(
    tmp_path: Path,
) -> None:
    async with signed(tmp_path, "blocking") as (one, front):
        calls = [
            one.client.calls.pay(f"O{number:03}", **PAYMENT | {"amount_minor": 1})
            for number in range(250)
        ]
        await one.do("batch", calls)
        front.targets.clear()
        numbers = [each.order_no for each in await one.do("payments")]
        assert numbers == [f"O{number:03}" for number in range(250)]
        assert len(front.targets) == 3
        by_time = await one.do("payments", since="2026-01-01T00:00:00+00:00")
        assert len({each.order_no for each in by_time}) == 250
        assert await one.do("payments", until="2026-01-01T00:00:00Z") == []
        events = await one.do("events", after=100)
        assert [each.sequence for each in events] == list(range(101, 251))
    with pytest.raises(RuntimeError, match="closed"):
        await one.do("balance")


async def test_following_yields_what_is_yet_to_come(tmp_path: Path) -> None:
    """In both clients; it ends when the reader stops."""
    async with serving(tmp_path) as node, hand("awaited", node.address) as payer:
        await open_business(node.address)
        client = payer.client
        assert isinstance(client, AsyncClient)
        seen: list[int] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def follow() -> None:
                async for event in client.follow(every_s=0.01):
                    seen.append(event.sequence)
                    if len(seen) == 3:
                        return

            for number in range(3):
                await payer.do("pay", f"O{number}", **PAYMENT)
                with trio.fail_after(5):
                    while len(seen) <= number:
                        await trio.lowlevel.checkpoint()

        def first_three() -> list[int]:
            with Client(node.address, merchant_no="M1") as blocking:
                return [each.sequence for each in islice(blocking.follow(), 3)]

        assert seen == await trio.to_thread.run_sync(first_three) == [1, 2, 3]


async def test_array_is_carried_out_while_the_next_one_is_made(tmp_path: Path) -> None:
    """The fast lane: encoded commands in, undecoded bodies out, in order."""
    async with signed(tmp_path, "blocking") as (one, _):
        client = one.client
        assert isinstance(client, Client)
        bodies = [
            msgspec.json.encode([CreatePayment("M1", f"O{number}", "A1", 100, "USD")])
            for number in range(4)
        ]
        started = [client.start_array(body) for body in bodies]
        answers = await trio.to_thread.run_sync(lambda: [each.result() for each in started])
        assert [item.status for items in answers for item in items] == [201] * 4
        again = await one.do("send_array", bodies[2])
        assert again[0].replayed
        assert bytes(again[0].body) == bytes(answers[2][0].body)


async def test_bank_keeps_accounts_and_its_day(tmp_path: Path) -> None:
    """Each of the bank's methods, once."""
    async with serving(tmp_path) as node, AsyncBankClient(node.address) as bank:
        await open_business(node.address)
        await bank.open_account("A2", currency="USD")
        assert (await bank.get_account("A2")).status == "OPEN"
        await bank.transfer("A1", "T1", to="A2", amount_minor=50, currency="USD")
        assert (await bank.get_transfer("A1", "T1")).to == "A2"
        assert [each.number async for each in bank.transfers("A1")] == ["T1"]
        await bank.withdraw("A2", "W1", amount_minor=20, currency="USD")
        assert (await bank.get_withdrawal("A2", "W1")).amount_minor == 20
        assert (await bank.get_funding("A1", "F1")).amount_minor == 100_000
        assert [each.amount_minor async for each in bank.postings("A2")] == [-20, 50]
        await bank.change_agreement("A1", "G1", "C1", daily_limit_minor=100)
        assert (await bank.get_agreement("A1", "G1")).daily_limit_minor == 100
        await bank.cancel_agreement("A1", "G1", "X1")
        assert [each.state async for each in bank.agreements("A1")] == ["CANCELLED"]
        await bank.sign_agreement("A1", "G2", merchant_no="M1", payment_limit_minor=1)
        await bank.set_limits("A1", "L1", method="agreement", daily_limit_minor=7)
        limits = {each.method: each for each in (await bank.get_limits("A1")).methods}
        assert limits["agreement"].daily_limit_minor == 7
        await bank.freeze_amount("A1", "Z1", amount_minor=5)
        await bank.unfreeze_amount("A1", "Z1", "U1")
        assert (await bank.get_freeze("A1", "Z1")).state == "RELEASED"
        assert [each.freeze_no async for each in bank.freezes("A1")] == ["Z1"]
        await bank.freeze_account("A2")
        await bank.unfreeze_account("A2")
        await bank.withdraw("A2", "W2", amount_minor=30, currency="USD")
        assert (await bank.close_account("A2")).status == "CLOSED"
        accounts = {each.account_no async for each in bank.accounts()}
        assert {"A1", "A2", "clearing-USD"} <= accounts
        await bank.open_merchant("M2", currency="USD", over_capture=True)
        await bank.suspend_merchant("M2")
        await bank.activate_merchant("M2")
        assert (await bank.close_merchant("M2")).status == "CLOSED"
        assert (await bank.get_merchant("M2")).over_capture
        assert {each.merchant_no async for each in bank.merchants()} == {"M1", "M2"}
        terms: dict[str, Any] = {"currency": "USD", "legal_name": "Shop Ltd", "contact": "Ann"}
        await bank.apply_merchant("M3", **terms)
        await bank.amend_merchant("M3", **terms, fee_bps=30)
        await bank.submit_merchant("M3", operator="clerk")
        await bank.approve_merchant("M3")
        signed = await bank.sign_merchant("M3", contract_no="K-1")
        assert (signed.status, signed.fee_bps) == ("PROVISIONING", 30)
        assert (await bank.get_profile("M3")).contract_no == "K-1"
        await bank.apply_merchant("M4", **terms)
        await bank.submit_merchant("M4")
        rejected = await bank.reject_merchant("M4", reason="no such company")
        assert rejected.status == "REJECTED"
        with pytest.raises(RefusedError, match="CERTIFICATE_NOT_FOUND"):
            await bank.revoke_certificate("M1", "ab", reason="superseded")
        today = (await bank.node()).business_date
        cut = await bank.cut_day(today)
        assert (cut.state, cut.sums) == ("CLOSED", {"USD": 0})
        assert await bank.get_day_cut(today) == cut
        assert (await bank.node()).business_date == cut.next_date
        assert Refusal.NUMBER_USED in {each.code for each in await bank.codes()}


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(Client, AsyncClient), (BankClient, AsyncBankClient)]
)
def test_both_clients_have_the_same_methods(blocking: type, awaited: type) -> None:
    """Each made from the same description, and of the same name."""

    def described(client: type, kinds: tuple[type, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: each for name, each in vars(client).items() if isinstance(each, kinds)
        }
        assert all(name == each.__name__ for name, each in found.items())
        return {name: each._describe for name, each in found.items()}

    assert described(blocking, (Blocking, Iterated)) == described(awaited, (Awaited, AsyncIterated))


def test_method_looks_like_what_it_was_made_from() -> None:
    """Editors and `help` show arguments and words."""
    with Client("http://127.0.0.1:1", merchant_no="M1") as client:
        assert client.pay.__doc__ == Client.pay.__doc__
        assert list(inspect.signature(client.pay).parameters)[:2] == ["order_no", "payer"]
        assert client.pay.__name__ == "pay"
