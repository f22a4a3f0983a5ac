"""Merchants and their certificates at the desk: taken on over HTTP, certified by the gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from actors import commands
from actors.commands import BANK, RegisterBankCertificate, RevokeBankCertificate
from gateway.answer import Answer, encode
from gateway.certificates import (
    certificate_of,
    certificates_page,
    registered_of,
    revoked_certificates,
)
from gateway.desk import Caller
from gateway.table import ENDPOINTS
from gateway.verification import verify
from tests.actors.driver import MORNING, issued, registering
from tests.gateway.desk_client import Client, open_desk, payment

APPLICATION = {"currency": "USD", "legal_name": "Shop Ltd", "contact": "shop@example.com"}
M1 = "/v1/merchants/M1"


async def _register(client: Client, command: commands.Registration) -> Any:
    """Do what the gateway does once its CA has signed; returns the body of the answer."""
    answer = await client.desk.execute(Caller(10.0), command)
    return msgspec.json.decode(encode(answer.body))


@asynccontextmanager
async def _shop(shards: int = 1) -> AsyncIterator[Client]:
    async with open_desk(shards=shards) as client:
        await client.shop()
        yield client
        assert verify(await client.node.snapshots()).ok


async def test_merchant_is_taken_on_from_its_application_to_its_first_payment() -> None:
    async with open_desk() as client:
        await client.shop()
        merchant = "/v1/merchants/P1"
        assert (await client.post(f"{merchant}/apply", APPLICATION))[0] == 201
        amended = {**APPLICATION, "legal_name": "Shop and Sons", "fee_bps": 10}
        status, seen = await client.post(f"{merchant}/amend", amended)
        assert (status, seen["status"], seen["fee_bps"]) == (200, "DRAFT", 10)
        for step, body, came_to in (
            ("submit", {"operator": "clerk"}, "AUDITING"),
            ("approve", {"operator": "auditor"}, "TO_BE_SIGNED"),
            ("sign", {"contract_no": "K-1"}, "PROVISIONING"),
        ):
            assert (await client.post(f"{merchant}/{step}", body))[1]["status"] == came_to
        code, problem = await client.post(f"{merchant}/activate")
        assert (code, problem["code"]) == (409, "CERTIFICATE_MISSING")
        paying = payment("O1", merchant_no="P1")
        assert (await client.commands(paying))[0]["body"]["code"] == "MERCHANT_NOT_ACTIVE"
        await _register(client, registering("C1", "ab", merchant_no="P1"))
        assert (await client.post(f"{merchant}/activate"))[1]["status"] == "ACTIVE"
        signing = {"agreement_no": "P1", "merchant_no": "P1"}
        await client.post("/v1/accounts/A1/agreements", signing)
        assert (await client.commands(paying))[0]["body"]["state"] == "SUCCEEDED"
        status, profile = await client.get(f"{merchant}/profile")
        assert (status, profile["legal_name"], profile["contract_no"]) == (
            200,
            "Shop and Sons",
            "K-1",
        )
        assert (profile["submitted_by"], profile["decided_by"]) == ("clerk", "auditor")


async def test_applicant_is_taken_on_within_one_array() -> None:
    async with open_desk() as client:
        one = {"merchant_no": "P1"}
        answers = await client.commands(
            {"command": "apply_merchant", **one, **APPLICATION},
            {"command": "submit_merchant", **one},
            {"command": "reject_merchant", **one, "reason": "no such shop"},
        )
        assert [each["status"] for each in answers] == [201, 200, 200]
        assert answers[-1]["body"]["status"] == "REJECTED"
        profile = (await client.get("/v1/merchants/P1/profile"))[1]
        assert (profile["status"], profile["reason"]) == ("REJECTED", "no such shop")


async def test_profile_is_only_of_merchants_that_have_applied() -> None:
    async with open_desk() as client:
        await client.shop()
        for merchant_no, code in (("M1", "NO_SUCH_PROFILE"), ("M9", "MERCHANT_NOT_FOUND")):
            status, problem = await client.get(f"/v1/merchants/{merchant_no}/profile")
            assert (status, problem["code"]) == (404, code)


@pytest.mark.parametrize("shards", [1, 3])
async def test_certificate_is_found_by_serial_and_by_number(shards: int) -> None:
    async with _shop(shards) as client:
        assert certificate_of(client.node, "ab") is None
        registered = await _register(client, registering("C1", "ab"))
        certificate = certificate_of(client.node, "ab")
        assert certificate is not None
        assert (certificate.holder, certificate.status) == ("merchant/M1", "ACTIVE")
        assert certificate.spki == b"key of ab"
        assert await client.get(f"{M1}/certificates/C1") == (200, registered)
        assert "BEGIN CERTIFICATE" in registered["pem"]
        status, problem = await client.get("/v1/merchants/M2/certificates/C1")
        assert (status, problem["code"]) == (404, "NO_SUCH_CERTIFICATE")


@pytest.mark.parametrize("shards", [1, 3])
async def test_revocation_counts_once_it_is_answered(shards: int) -> None:
    async with _shop(shards) as client:
        for n in range(8):  # on every shard, wherever the merchant is
            await _register(client, registering(f"C{n}", f"a{n}"))
        assert revoked_certificates(client.node) == []
        for n in range(8):
            path = f"{M1}/certificates/a{n}/revoke"
            status, revoked = await client.post(path, {"reason": "keyCompromise"})
            assert (status, revoked["state"], revoked["certificate_no"]) == (
                200,
                "REVOKED",
                f"C{n}",
            )
            certificate = certificate_of(client.node, f"a{n}")
            assert certificate is not None
            assert certificate.status == "REVOKED"
            assert await client.post(path, {"reason": "superseded"}) == (200, revoked)
        found = revoked_certificates(client.node)
        assert sorted(each.serial for each in found) == [f"a{n}" for n in range(8)]
        assert {each.reason for each in found} == {"keyCompromise"}
        assert {each.not_before_ns for each in found} == {MORNING}


async def test_certificate_of_another_is_not_revoked() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(
            {"command": "open_merchant", "merchant_no": "M2", "currency": "USD"},
        )
        await _register(client, registering("C1", "ab"))
        await _register(client, RegisterBankCertificate("C1", "0" * 64, issued("cd")))
        for path in (
            "/v1/merchants/M2/certificates/ab/revoke",
            f"{M1}/certificates/cd/revoke",
            f"{M1}/certificates/ef/revoke",
        ):
            status, problem = await client.post(path)
            assert (status, problem["code"]) == (404, "CERTIFICATE_NOT_FOUND")
        for serial in ("ab", "cd"):
            certificate = certificate_of(client.node, serial)
            assert certificate is not None
            assert certificate.status == "ACTIVE"


@pytest.mark.parametrize("reason", ["certificateHold", "removeFromCRL", "cACompromise", "", 1])
async def test_reason_that_would_not_be_for_ever_is_refused(reason: object) -> None:
    async with open_desk() as client:
        await client.shop()
        await _register(client, registering("C1", "ab"))
        status, problem = await client.post(f"{M1}/certificates/ab/revoke", {"reason": reason})
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_certificates_are_listed_without_themselves_unless_asked() -> None:
    async with open_desk() as client:
        await client.shop()
        for n in range(3):
            await _register(client, registering(f"C{n}", f"a{n}"))
        status, page = await client.get(f"{M1}/certificates?limit=2")
        assert status == 200
        assert [each["certificate_no"] for each in page["items"]] == ["C0", "C1"]
        assert all("pem" not in each for each in page["items"])
        path = f"{M1}/certificates?limit=2&include=pem&cursor={page['next_cursor']}"
        rest = (await client.get(path))[1]
        assert [each["certificate_no"] for each in rest["items"]] == ["C2"]
        assert rest["items"][0]["pem"].startswith("-----BEGIN CERTIFICATE-----\n")
        assert (await client.get("/v1/merchants/M9/certificates"))[1]["items"] == []


async def test_bank_s_own_certificates_are_listed_and_revoked() -> None:
    async with open_desk() as client:
        await _register(client, RegisterBankCertificate("C1", "0" * 64, issued("cd")))
        page = certificates_page(client.node, BANK, 10, None, pem=False).body
        (item,) = page.items
        assert (item.merchant_no, item.certificate_no, item.serial) == (None, "C1", "cd")
        registered = registered_of(client.node, BANK, "C1")
        assert registered is not None
        assert registered.certificate == b"certificate cd"
        answer: Answer = await client.desk.execute(Caller(10.0), RevokeBankCertificate("cd"))
        assert (answer.status, answer.body.state) == (200, "REVOKED")


async def test_registration_is_replayed_with_the_first_certificate() -> None:
    async with open_desk() as client:
        await client.shop()
        first = await client.desk.execute(Caller(10.0), registering("C1", "ab"))
        again = await client.desk.execute(Caller(10.0), registering("C1", "cd"))
        assert (first.status, first.replayed) == (201, False)
        assert (again.status, again.replayed) == (201, True)
        assert again.body == first.body
        assert certificate_of(client.node, "cd") is None


_CA_WORD = {
    "certificate_no": "C1",
    "request": "0" * 64,
    "issued": {
        "serial": "ab",
        "alg": "ed25519",
        "spki": "a2V5",
        "not_before_ns": 0,
        "not_after_ns": 2**62,
        "certificate": "",
    },
}


@pytest.mark.parametrize(
    "item",
    [
        {"command": "register_certificate", "merchant_no": "M1", **_CA_WORD},
        {"command": "register_bank_certificate", **_CA_WORD},
        {"command": "revoke_bank_certificate", "serial": "cd"},
        {"command": "set_webhook", "merchant_no": "M1", "url": "https://127.0.0.1/", "after": 0},
        {"command": "record_deliveries", "merchant_no": "M1", "cursor": 5},
    ],
    ids=lambda item: str(item["command"]),
)
async def test_nobody_can_speak_for_the_ca(item: dict[str, Any]) -> None:
    """Each is a command of the engine that its own decoder would take; no caller gets it there."""
    command = {type_.__struct_config__.tag: type_ for type_ in commands.GatewayCommand.__args__}
    assert msgspec.json.decode(msgspec.json.encode(item), type=command[item["command"]])
    async with open_desk() as client:
        await client.shop()
        await _register(client, RegisterBankCertificate("B1", "0" * 64, issued("cd")))
        bad = {"command": "no_such_command"}
        for array in ([item], [payment("O1"), item], [bad, item]):
            answers = await client.commands(*array)
            assert (answers[-1]["status"], answers[-1]["body"]["code"]) == (
                422,
                "INVALID_REQUEST",
            )
        body = {key: value for key, value in item.items() if key != "command"}
        for path in (M1, f"{M1}/certificates", "/v1/merchants", f"{M1}/certificates/cd/revoke"):
            status, _ = await client.post(path, body)
            assert status >= 400
        assert certificate_of(client.node, "ab") is None
        certificate = certificate_of(client.node, "cd")
        assert certificate is not None
        assert certificate.status == "ACTIVE"


def test_no_endpoint_takes_what_only_the_gateway_says() -> None:
    taken = {each.request: each.access for each in ENDPOINTS}
    assert commands.RegisterCertificate not in taken
    assert commands.RegisterBankCertificate not in taken
    assert commands.SetWebhook not in taken
    assert commands.RecordDeliveries not in taken
    # All that is left of what no array takes.
    assert {*commands.BankCommand.__args__} & {*taken} == {commands.RevokeBankCertificate}
    assert taken[commands.RevokeBankCertificate] == "bank"
