"""Notes: what a caller writes beside a command comes back with it, and binds like the rest."""

import hashlib
from typing import Any

import msgspec
import pytest

from actors import commands
from actors.payment import PAYMENTS
from engine.address import row_key
from gateway.answer import encode
from gateway.errors import CODES, RequestCode
from storage.row import RECORDS
from tests.gateway.desk_client import Client, capture, hold, open_desk, payment

NOTE: dict[str, Any] = {
    "description": "two cups of 茶, no sugar",
    "metadata": {"till": "7", "clerk": "Amélie", "empty": ""},
}
REFUND: dict[str, Any] = {
    "command": "refund_payment",
    "merchant_no": "M1",
    "refund_no": "R1",
    "order_no": "O0",
    "amount_minor": 5,
}
NOTED: list[tuple[str, str, dict[str, Any]]] = [
    ("/v1/payments", "/v1/payments/M1/O1", payment("O1")),
    ("/v1/authorizations", "/v1/authorizations/M1/H1", hold("H1")),
    ("/v1/authorizations/M1/H0/captures", "/v1/authorizations/M1/H0/captures/C1",
     capture("H0", "C1", 5)),
    ("/v1/refunds", "/v1/refunds/M1/R1", REFUND),
    ("/v1/refunds", "/v1/refunds/M1/R1",
     {**REFUND, "command": "refund_authorization", "order_no": None, "hold_no": "H9"}),
    ("/v1/accounts/A1/fundings", "/v1/accounts/A1/fundings/F9",
     {"command": "fund_account", "account_no": "A1", "funding_no": "F9", "amount_minor": 5,
      "currency": "USD"}),
    ("/v1/accounts/A1/withdrawals", "/v1/accounts/A1/withdrawals/W9",
     {"command": "withdraw_funds", "account_no": "A1", "withdrawal_no": "W9", "amount_minor": 5,
      "currency": "USD"}),
    ("/v1/transfers", "/v1/transfers/A1/T9",
     {"command": "create_transfer", "account_no": "A1", "transfer_no": "T9", "to": "A2",
      "amount_minor": 5, "currency": "USD"}),
]  # fmt: skip


async def _prepare(client: Client) -> None:
    await client.shop()
    other = {"command": "open_account", "account_no": "A2", "currency": "USD"}
    items = (payment("O0"), hold("H0"), hold("H9"), capture("H9", "C9", 50), other)
    assert [each["status"] for each in await client.commands(*items)] == [201] * 5


def _item(item: dict[str, Any], **note: Any) -> dict[str, Any]:
    return {name: value for name, value in item.items() if value is not None} | note


def _body(path: str, item: dict[str, Any], **note: Any) -> dict[str, Any]:
    """Return the body of an item's own endpoint: without what stands in its path."""
    in_path = {"command", *(["account_no"] if "accounts" in path else [])}
    if "captures" in path:
        in_path |= {"merchant_no", "hold_no"}
    return {name: value for name, value in _item(item, **note).items() if name not in in_path}


@pytest.mark.parametrize(("path", "found_at", "item"), NOTED)
@pytest.mark.parametrize("given", [("description",), ("metadata",), ("description", "metadata")])
async def test_note_comes_back_at_first_when_repeated_and_when_looked_up(
    path: str, found_at: str, item: dict[str, Any], given: tuple[str, ...]
) -> None:
    note = {name: NOTE[name] for name in given}
    async with open_desk() as client:
        await _prepare(client)
        body = _body(path, item, **note)
        status, first = await client.post(path, body)
        assert status == 201, first
        assert {name: first[name] for name in ("description", "metadata") if name in first} == note
        again = await client.call("POST", path, msgspec.json.encode(body))
        assert (again.status, again.replayed) == (201, True)
        assert msgspec.json.decode(encode(again.body)) == first
        assert await client.get(found_at) == (200, first)
        (as_item,) = await client.commands(_item(item, **note))
        assert (as_item["replayed"], as_item["body"]) == (True, first)


@pytest.mark.parametrize(("path", "found_at", "item"), NOTED)
async def test_note_is_part_of_the_content(path: str, found_at: str, item: dict[str, Any]) -> None:
    async with open_desk() as client:
        await _prepare(client)
        await client.commands(_item(item, **NOTE))
        for other in (
            {},
            {"description": NOTE["description"]},
            {"metadata": NOTE["metadata"]},
            {**NOTE, "description": "three cups"},
            {**NOTE, "metadata": {**NOTE["metadata"], "till": "8"}},
            {**NOTE, "metadata": {}},
        ):
            (answer,) = await client.commands(_item(item, **other))
            assert answer["body"]["code"] == "NUMBER_USED", other
        assert (await client.get(found_at))[1]["description"] == NOTE["description"]


async def test_order_of_metadata_is_not_content() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1", metadata={"a": "1", "b": "2"}))
        (again,) = await client.commands(payment("O1", metadata={"b": "2", "a": "1"}))
        assert again["replayed"]


@pytest.mark.parametrize(("path", "found_at", "item"), NOTED)
async def test_answer_without_a_note_says_nothing_of_it(
    path: str, found_at: str, item: dict[str, Any]
) -> None:
    async with open_desk() as client:
        await _prepare(client)
        await client.commands(_item(item))
        status, found = await client.get(found_at)
        assert status == 200
        assert not {"description", "metadata"} & set(found)


async def test_note_of_a_declined_payment_is_kept() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1", 10**6, **NOTE))
        found = (await client.get("/v1/payments/M1/O1"))[1]
        assert (found["state"], found["metadata"]) == ("FAILED", NOTE["metadata"])


async def test_note_survives_whatever_is_done_to_its_thing() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(hold("H1", **NOTE), payment("O1", **NOTE))
        await client.commands(
            capture("H1", "C1", 10),
            {"command": "refund_payment", "merchant_no": "M1", "refund_no": "R1", "order_no": "O1",
             "amount_minor": 5},
        )  # fmt: skip
        for path in ("/v1/payments/M1/O1", "/v1/authorizations/M1/H1"):
            found = (await client.get(path))[1]
            assert {name: found[name] for name in NOTE} == NOTE


FITTING: list[dict[str, Any]] = [
    {"description": ""},
    {"description": "é" * 256},
    {"description": "👛" * 256},
    {"metadata": {}},
    {"metadata": {f"k{n:02d}": "v" * 256 for n in range(16)}},
    {"metadata": {"k" * 40: "v"}},
]


@pytest.mark.parametrize("note", FITTING)
async def test_note_that_just_fits_is_taken(note: dict[str, Any]) -> None:
    async with open_desk() as client:
        await client.shop()
        (answer,) = await client.commands(payment("O1", **note))
        assert answer["status"] == 201
        assert {name: answer["body"][name] for name in note} == note


@pytest.mark.parametrize(
    "note",
    [
        b'{"description": null}',
        b'{"description": 5}',
        b'{"description": "%b"}' % (b"x" * 257),
        b'{"description": "a\\nb"}',
        b'{"description": "end\\n"}',
        b'{"description": "\\u0000"}',
        b'{"description": "\\u007f"}',
        b'{"description": "\\u0085"}',
        b'{"description": "\\ud83d"}',
        b'{"description": "\\udc5b\\ud83d"}',
        b'{"description": "\xff"}',
        b'{"metadata": null}',
        b'{"metadata": []}',
        b'{"metadata": "x"}',
        b'{"metadata": {"k": 1}}',
        b'{"metadata": {"k": null}}',
        b'{"metadata": {"k": {"deep": "v"}}}',
        b'{"metadata": {"": "v"}}',
        b'{"metadata": {"%b": "v"}}' % (b"k" * 41),
        b'{"metadata": {"k": "%b"}}' % (b"v" * 257),
        b'{"metadata": {"k\\u0007": "v"}}',
        b'{"metadata": {"k": "v\\r"}}',
        b'{"metadata": {"k": "\\udfff"}}',
        b'{"metadata": {%b}}' % b",".join(b'"k%d": ""' % n for n in range(17)),
        b'{"note": "x"}',
    ],
)
async def test_note_that_does_not_fit_is_refused_and_binds_nothing(note: bytes) -> None:
    async with open_desk() as client:
        await client.shop()
        plain = {name: value for name, value in payment("O1").items() if name != "command"}
        body = msgspec.json.encode(plain)[:-1] + b", " + note[1:]
        answer = await client.call("POST", "/v1/payments", body)
        code = answer.body.code
        assert (answer.status, code) == (CODES[RequestCode(code)].status, code)
        item = b'[{"command": "create_payment", ' + body[1:] + b"]"
        answer = await client.call("POST", "/v1/commands", item)
        # What is not even JSON spoils the array, what does not fit spoils its item.
        if code == "INVALID_UTF8":
            assert (answer.status, answer.body.code) == (400, code)
        else:
            assert (answer.status, answer.body[0].body.code) == (200, code)
        (fresh,) = await client.commands(payment("O1"))
        assert (fresh["status"], fresh.get("replayed")) == (201, None)


async def test_payment_without_a_note_is_no_byte_longer() -> None:
    """It has a digest where one with a note has the digest and the note behind it."""
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1"), payment("O2", description="tea"))
        rows = []
        for name in (b"O1", b"O2"):
            row = client.node.snapshot("merchant/M1").get(
                RECORDS, row_key("merchant/M1") + PAYMENTS.prefix + name
            )
            assert row is not None
            rows.append(msgspec.msgpack.decode(row))
    assert [len(row) for row in rows] == [15, 15]
    assert len(rows[0][0]) == 32
    assert rows[1][0][32:] == msgspec.msgpack.encode(["tea", None])


def test_digest_of_a_command_without_a_note_is_what_it_was_before_there_were_notes() -> None:
    """So numbers that stores have bound stay bound to the same content."""
    plain = {
        "command": "create_payment",
        "merchant_no": "M1",
        "order_no": "O1",
        "payer": "A1",
        "amount_minor": 5,
        "currency": "USD",
    }
    command = commands.CreatePayment("M1", "O1", "A1", 5, "USD")
    expected = hashlib.sha256(msgspec.msgpack.encode(plain)).digest()
    assert commands.digest(command) == expected
