"""What belongs to a merchant is its own: nobody else sees it, touches it, or learns that it is.

The whole handler table is walked, so that a new row cannot be forgotten.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import NODEFAULT, Struct

from gateway.ca.csr import body_of, new_csr, new_key
from gateway.desk import CERTIFICATIONS_AT_ONCE
from gateway.endpoint import Endpoint, numbers_in
from gateway.handlers.commands import OWN
from gateway.table import ENDPOINTS
from tests.gateway.desk_client import capture, hold, payment
from tests.gateway.signed_desk import SignedDesk, Signer, code_of, open_signed_desk

GIVEN: Mapping[str, Any] = {
    "merchant_no": "M1",
    "account_no": "A1",
    "payer": "A1",
    "to": "A2",
    "order_no": "O1",
    "hold_no": "H1",
    "refund_no": "R1",
    "capture_no": "C1",
    "amount_minor": 10,
    "currency": "USD",
    "business_date": "2026-01-05",
    "reason": "unspecified",
    "sequence": 1,
    "first": 1,
    "last": 1,
    "url": "https://shop.example/hook",
    "csr": body_of(new_csr(new_key(), "M1")),
}
"""What there is of M1's; other members are numbers that nobody has used."""


def _body(endpoint: Endpoint) -> bytes:
    if endpoint.method == "GET":
        return b""
    if endpoint.path == "/v1/commands":
        return msgspec.json.encode([payment("O9")])
    if endpoint.path == "/v1/refunds":
        return b'{"merchant_no":"M1","refund_no":"R9","order_no":"O1","amount_minor":1}'
    fields = msgspec.structs.fields(endpoint.request)
    in_path = numbers_in(endpoint.path)
    return msgspec.json.encode(
        {
            field.encode_name: GIVEN.get(field.encode_name, "X1")
            for field in fields
            if field.required and field.name not in in_path
        }
    )


def _path(endpoint: Endpoint) -> str:
    path = endpoint.path
    for name in numbers_in(path):
        path = path.replace(f"{{{name}}}", str(GIVEN.get(name, "abc1")))
    fields = {field.name: field for field in msgspec.structs.fields(endpoint.request)}
    in_path = numbers_in(endpoint.path)
    if endpoint.method == "GET" and "merchant_no" in fields and "merchant_no" not in in_path:
        path += "?merchant_no=M1"
    return path


ROWS = [each for each in ENDPOINTS if each.access != "anyone"]


async def _deal(desk: SignedDesk) -> tuple[Signer, Signer]:
    """Have M1 do a bit of everything, and M2 exist; returns the signers of both."""
    answers = await desk.client.commands(
        {"command": "open_merchant", "merchant_no": "M2", "currency": "USD", "fee_bps": 1},
        {"command": "open_account", "account_no": "A2", "currency": "USD"},
        payment("O1"),
        hold("H1"),
        capture("H1", "C1", 10),
        {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R1", "order_no": "O1",
         "amount_minor": 10},
    )  # fmt: skip
    assert {each["status"] for each in answers} == {201}
    return await desk.merchant("M1"), await desk.merchant("M2")


async def _durable(desk: SignedDesk) -> Any:
    """Return everything that is durable, but for what says when and how often."""
    snapshots = await desk.client.node.snapshots()
    try:
        return [
            (table, key, row)
            for snapshot in snapshots
            for table in ("actors", "hubs", "records", "journal", "timers")
            for key, row in snapshot.raw(table)
        ]
    finally:
        for snapshot in snapshots:
            snapshot.close()


async def test_merchant_with_anothers_identifiers_gets_404_everywhere(tmp_path: Path) -> None:
    """A row for the bank alone says 403 to every merchant, whatever it is asked about."""
    async with open_signed_desk(tmp_path) as desk:
        _, m2 = await _deal(desk)
        before = await _durable(desk)
        told = {}
        for endpoint in ROWS:
            body = _body(endpoint)
            request = desk.signed(m2, endpoint.method, _path(endpoint), body)
            response = await desk.send(request)
            answer: Any = msgspec.json.decode(response.body)
            if endpoint.path == "/v1/commands":
                told[endpoint.name] = (answer[0]["status"], answer[0]["body"]["code"])
            else:
                told[endpoint.name] = (response.status, answer["code"])
        assert told == {
            endpoint.name: (404, "MERCHANT_NOT_FOUND")
            if endpoint.access == "merchant"
            else (403, "NOT_FOR_MERCHANTS")
            for endpoint in ROWS
        }
        assert await _durable(desk) == before


async def test_merchant_itself_is_heard_on_every_row_of_its_own(tmp_path: Path) -> None:
    """The walk above would prove nothing if these requests were refused for what they say."""
    async with open_signed_desk(tmp_path) as desk:
        m1, _ = await _deal(desk)
        for endpoint in ROWS:
            if endpoint.access == "merchant":
                request = desk.signed(m1, endpoint.method, _path(endpoint), _body(endpoint))
                response = await desk.send(request)
                assert response.status not in (400, 401, 403), endpoint.name
                assert b"MERCHANT_NOT_FOUND" not in response.body, endpoint.name


async def test_bank_is_heard_on_every_row(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        await _deal(desk)
        core = await desk.bank()
        for endpoint in ROWS:
            request = desk.signed(core, endpoint.method, _path(endpoint), _body(endpoint))
            response = await desk.send(request)
            assert response.status not in (400, 401, 403), endpoint.name


@pytest.mark.parametrize("there", ["M1", "M99"])
async def test_merchant_cannot_tell_whether_another_exists(there: str, tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        _, m2 = await _deal(desk)
        status, body = await desk.ask(m2, "GET", f"/v1/merchants/{there}")
        assert (status, body["code"]) == (404, "MERCHANT_NOT_FOUND")
        assert there not in msgspec.json.encode(body).decode()


async def test_item_of_an_array_is_refused_by_itself(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        m1, _ = await _deal(desk)
        status, items = await desk.ask(
            m1,
            "POST",
            "/v1/commands",
            [
                payment("O2"),
                payment("O3", merchant_no="M2"),
                {"command": "fund_account", "account_no": "A1", "funding_no": "F9",
                 "amount_minor": 1, "currency": "USD"},
                {"command": "advance_clock", "to": "2030-01-01T00:00:00Z"},
                {"command": "no_such_command"},
                payment("O4"),
            ],
        )  # fmt: skip
        assert status == 200
        assert [(each["status"], each["body"].get("code")) for each in items] == [
            (201, None),
            (404, "MERCHANT_NOT_FOUND"),
            (403, "NOT_FOR_MERCHANTS"),
            (403, "NOT_FOR_MERCHANTS"),
            (422, "INVALID_REQUEST"),
            (201, None),
        ]


def test_items_that_merchants_may_send_are_rows_that_they_may_call() -> None:
    alone = {
        endpoint.request
        for endpoint in ENDPOINTS
        if endpoint.access == "merchant" and endpoint.method == "POST"
    }
    # A refund's row stands for two commands; a certificate is never asked for in an array.
    assert {command.__name__ for command in OWN} == {request.__name__ for request in alone} - {
        "CreateRefund",
        "CommandArray",
        "CertifyMerchant",
        "RevokeCertificate",
        "WebhookUrl",
        "EnableWebhook",
        "DisableWebhook",
        "RedeliverEvents",
    } | {
        "RefundPayment",
        "RefundAuthorization",
    }


def test_every_row_for_merchants_names_one() -> None:
    for endpoint in ENDPOINTS:
        if endpoint.access == "merchant" and endpoint.path != "/v1/commands":
            request: type[Struct] = endpoint.request
            named = {field.name: field for field in msgspec.structs.fields(request)}
            # Whoever asks for a stream and names nobody gets its own (`Counter.open_stream`).
            default = None if endpoint.name == "open_stream" else NODEFAULT
            assert named["merchant_no"].default is default, endpoint.name


async def test_merchant_that_has_certificates_made_all_day_is_held_up(tmp_path: Path) -> None:
    """What was made and revoked stays on the revocation list, which anybody may ask for."""
    async with open_signed_desk(tmp_path) as desk:
        m1, m2 = await _deal(desk)
        path = "/v1/merchants/M1/certificates"
        csr = body_of(new_csr(new_key(), "M1"))
        made: list[str] = []
        for n in range(CERTIFICATIONS_AT_ONCE):
            asked = {"certificate_no": f"C{n}", "csr": csr}
            status, view = await desk.ask(m1, "POST", path, asked)
            assert status == 201, view
            made.append(view["serial"])
            assert (await desk.ask(m1, "POST", f"{path}/{made[-1]}/revoke"))[0] == 200
        refused = await desk.send(
            desk.signed(m1, "POST", path, msgspec.json.encode({"certificate_no": "X", "csr": csr}))
        )
        assert code_of(refused) == (429, "CERTIFIED_TOO_OFTEN")
        assert 3_500 < int(refused.headers["retry-after"]) <= 3_600
        # Whoever hears of it need not wait with anything else.
        assert refused.busy_s is None
        assert (await desk.ask(m1, "GET", "/v1/merchants/M1"))[0] == 200
        # It is the merchant's own affair: another one, and the bank, go on.
        csr = body_of(new_csr(new_key(), "M2"))
        other = {"certificate_no": "C1", "csr": csr}
        assert (await desk.ask(m2, "POST", "/v1/merchants/M2/certificates", other))[0] == 201
        await desk.merchant("M1", "by-the-bank")


async def test_number_in_a_path_cannot_be_given_a_second_time_in_the_query(tmp_path: Path) -> None:
    async with open_signed_desk(tmp_path) as desk:
        _, m2 = await _deal(desk)
        for path in ("/v1/merchants/M2", "/v1/merchants/M2/events", "/v1/payments/M2/O1"):
            for named in ("M1", "M2"):
                request = desk.signed(m2, "GET", f"{path}?merchant_no={named}")
                assert code_of(await desk.send(request)) == (400, "DUPLICATE_PARAMETER")
