"""Each endpoint on a real engine: what it answers, and that every command can be looked up."""

from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from gateway.answer import encode
from tests.gateway.desk_client import Client, hold, open_desk, payment


def _untagged(item: dict[str, Any], *dropped: str) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key not in {"command", *dropped}}


async def test_payment_is_created_found_and_replayed() -> None:
    async with open_desk() as client:
        await client.shop()
        status, created = await client.post("/v1/payments", _untagged(payment("O1", 700)))
        assert (status, created["state"], created["fee_minor"]) == (201, "SUCCEEDED", 7)
        assert await client.get("/v1/payments/M1/O1") == (200, created)
        body = msgspec.json.encode(_untagged(payment("O1", 700)))
        again = await client.call("POST", "/v1/payments", body)
        assert again.headers()["idempotent-replayed"] == "true"
        assert msgspec.json.decode(encode(again.body)) == created
        status, other = await client.post("/v1/payments", _untagged(payment("O1", 701)))
        assert (status, other["code"], other["number"]) == (409, "NUMBER_USED", "O1")


async def test_refusal_is_replayed_for_ever() -> None:
    async with open_desk() as client:
        await client.shop()
        body = msgspec.json.encode(_untagged(payment("O1", 10_001)))
        first = await client.call("POST", "/v1/payments", body)
        again = await client.call("POST", "/v1/payments", body)
        assert (first.status, first.replayed) == (422, False)
        assert (again.status, again.replayed) == (422, True)
        assert again.body == first.body
        found = (await client.get("/v1/payments/M1/O1"))[1]
        assert (found["state"], found["code"]) == ("FAILED", "INSUFFICIENT_FUNDS")


async def test_payer_is_only_named_by_a_payment() -> None:
    async with open_desk() as client:
        await client.shop()
        missing = _untagged(payment("O1", payer="A9"))
        status, problem = await client.post("/v1/payments", missing)
        assert (status, problem["code"]) == (422, "ACCOUNT_NOT_FOUND")
        status, problem = await client.get("/v1/accounts/A9")
        assert (status, problem["code"]) == (404, "ACCOUNT_NOT_FOUND")
        status, problem = await client.post("/v1/accounts/A9/freeze")
        assert (status, problem["code"]) == (404, "ACCOUNT_NOT_FOUND")


async def test_reversal_is_carried_out_and_found_under_its_payment_only() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1"), payment("O2"))
        path = "/v1/payments/M1/O1/reversals"
        status, reversal = await client.post(path, {"reversal_no": "V1"})
        assert (status, reversal["operation"], reversal["state"]) == (201, "reversal", "SUCCEEDED")
        assert await client.get(f"{path}/V1") == (200, reversal)
        status, problem = await client.get("/v1/payments/M1/O2/reversals/V1")
        assert (status, problem["code"]) == (404, "NO_SUCH_OPERATION")


@pytest.mark.parametrize(
    ("before", "name", "number", "body"),
    [
        ([], "increments", "increment_no", {"amount_minor": 50}),
        ([], "captures", "capture_no", {"amount_minor": 50, "final": True}),
        ([], "voids", "void_no", {}),
        ([("captures", {"capture_no": "C0", "amount_minor": 1})], "releases", "release_no", {}),
    ],
)
async def test_operation_on_authorization_is_found_by_its_number(
    before: list[tuple[str, dict[str, Any]]], name: str, number: str, body: dict[str, Any]
) -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(hold("H1"), hold("H2"))
        for each, earlier in before:
            assert (await client.post(f"/v1/authorizations/M1/H1/{each}", earlier))[0] == 201
        path = f"/v1/authorizations/M1/H1/{name}"
        status, operation = await client.post(path, {number: "X1", **body})
        assert (status, operation["state"]) == (201, "SUCCEEDED"), operation
        assert f"{operation['operation']}s" == name
        assert await client.get(f"{path}/X1") == (200, operation)
        assert (await client.get(f"/v1/authorizations/M1/H2/{name}/X1"))[0] == 404
        assert (await client.get(f"{path}/X2"))[0] == 404


async def test_illegal_transition_names_current_and_allowed_states() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(hold("H1"))
        path = "/v1/authorizations/M1/H1"
        assert (await client.post(f"{path}/voids", {"void_no": "V1"}))[0] == 201
        body = {"capture_no": "C1", "amount_minor": 1}
        status, problem = await client.post(f"{path}/captures", body)
        assert (status, problem["code"]) == (409, "HOLD_ALREADY_VOIDED")
        assert problem["current"] == "VOIDED"
        assert problem["allowed"] == ["HELD", "PARTIALLY_CAPTURED"]


@pytest.mark.parametrize("original", ["order_no", "hold_no"])
async def test_refund_goes_by_the_original_that_is_given(original: str) -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("X1"), hold("X1"))
        capture = {"capture_no": "C1", "amount_minor": 100}
        await client.post("/v1/authorizations/M1/X1/captures", capture)
        refund = {"merchant_no": "M1", "refund_no": "R1", "amount_minor": 40, original: "X1"}
        status, created = await client.post("/v1/refunds", refund)
        assert (status, created["state"]) == (201, "SUCCEEDED")
        kind = "payment" if original == "order_no" else "authorization"
        assert created["original_kind"] == kind
        assert await client.get("/v1/refunds/M1/R1") == (200, created)
        assert (await client.get("/v1/refunds?merchant_no=M1"))[1]["items"] == [created]


async def test_refund_waits_for_funds_and_goes_on() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1", 1_000))
        refund = {"merchant_no": "M1", "refund_no": "R1", "order_no": "O1", "amount_minor": 1_000}
        status, problem = await client.post("/v1/refunds", refund)
        assert (status, problem["code"]) == (422, "MERCHANT_BALANCE_INSUFFICIENT")
        refund |= {"refund_no": "R2", "wait_for_funds": True}
        status, first = await client.post("/v1/refunds", refund)
        assert (status, first["state"], first["settled_at"]) == (201, "PENDING_FUNDS", None)
        await client.commands(payment("O2", 100))
        with trio.fail_after(10):  # the payer may be on another shard
            while (await client.get("/v1/refunds/M1/R2"))[1]["state"] == "PROCESSING":  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (await client.get("/v1/refunds/M1/R2"))[1]["state"] == "SUCCEEDED"
        again = await client.call("POST", "/v1/refunds", msgspec.json.encode(refund))
        assert again.replayed
        assert msgspec.json.decode(encode(again.body)) == first


async def test_refund_that_goes_astray_is_redirected_or_closed() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1", 10_000))
        await client.commands(
            {"command": "close_account", "account_no": "A1"},
            {"command": "open_account", "account_no": "A2", "currency": "USD"},
        )
        await client.commands({"command": "close_account", "account_no": "A1"})
        for number in ("R1", "R2"):
            refund = {"merchant_no": "M1", "refund_no": number, "order_no": "O1"}
            status, view = await client.post("/v1/refunds", refund | {"amount_minor": 40})
            assert (status, view["state"], view["code"]) == (201, "ABNORMAL", "ACCOUNT_CLOSED")
        redirects, closings = "/v1/refunds/M1/R1/redirects", "/v1/refunds/M1/R2/closings"
        missing = {"redirect_no": "D1", "account_no": "A9"}
        status, problem = await client.post(redirects, missing)
        assert (status, problem["code"]) == (422, "ACCOUNT_NOT_FOUND")
        found = (await client.get(f"{redirects}/D1"))[1]
        assert (found["state"], found["code"]) == ("FAILED", "ACCOUNT_NOT_FOUND")
        status, done = await client.post(redirects, {"redirect_no": "D2", "account_no": "A2"})
        assert (status, done["remedy"], done["state"]) == (201, "redirect", "SUCCEEDED")
        assert await client.get(f"{redirects}/D2") == (200, done)
        assert (await client.get("/v1/refunds/M1/R1"))[1]["redirected_to"] == "A2"
        status, problem = await client.post(redirects, {"redirect_no": "D3", "account_no": "A2"})
        assert (status, problem["current"], problem["allowed"]) == (409, "SUCCEEDED", ["ABNORMAL"])
        status, done = await client.post(closings, {"close_no": "X1"})
        assert (status, done["remedy"], done["state"]) == (201, "closing", "SUCCEEDED")
        assert await client.get(f"{closings}/X1") == (200, done)
        assert (await client.get("/v1/refunds/M1/R2"))[1]["state"] == "CLOSED"
        for path in (f"{closings}/X2", "/v1/refunds/M1/R1/closings/X1", f"{redirects}/X1"):
            status, problem = await client.get(path)
            assert (status, problem["code"]) == (404, "NO_SUCH_OPERATION")
        status, problem = await client.post("/v1/refunds/M1/R9/closings", {"close_no": "X9"})
        assert (status, problem["code"]) == (404, "NO_SUCH_REFUND")


@pytest.mark.parametrize("originals", [{}, {"order_no": "O1", "hold_no": "H1"}, {"order_no": None}])
async def test_refund_needs_exactly_one_original(originals: dict[str, Any]) -> None:
    async with open_desk() as client:
        refund = {"merchant_no": "M1", "refund_no": "R1", "amount_minor": 40, **originals}
        status, problem = await client.post("/v1/refunds", refund)
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_account_lives_its_life() -> None:
    async with open_desk() as client:
        account = {"account_no": "A1", "currency": "USD"}
        status, opened = await client.post("/v1/accounts", account)
        assert (status, opened["status"]) == (201, "OPEN")
        funding = {"funding_no": "F1", "amount_minor": 900, "currency": "USD"}
        path = "/v1/accounts/A1"
        status, funded = await client.post(f"{path}/fundings", funding)
        assert (status, funded["state"]) == (201, "SUCCEEDED")
        assert await client.get(f"{path}/fundings/F1") == (200, funded)
        assert await client.get(f"{path}/fundings/F1?currency=USD") == (200, funded)
        assert (await client.get(f"{path}/fundings/F1?currency=EUR"))[0] == 404
        assert (await client.get("/v1/accounts/A9/fundings/F1"))[0] == 404
        status, frozen = await client.post(f"{path}/freeze")
        assert (status, frozen["status"]) == (200, "FROZEN")
        withdrawal = {"withdrawal_no": "W1", "amount_minor": 900, "currency": "USD"}
        status, problem = await client.post(f"{path}/withdrawals", withdrawal)
        assert (status, problem["code"]) == (409, "ACCOUNT_FROZEN")
        assert (await client.post(f"{path}/unfreeze", {}))[0] == 200
        status, problem = await client.post(f"{path}/close")
        assert (status, problem["code"]) == (409, "ACCOUNT_NOT_EMPTY")
        status, withdrawn = await client.post(f"{path}/withdrawals", withdrawal)
        assert status == 201
        assert await client.get(f"{path}/withdrawals/W1") == (200, withdrawn)
        status, closed = await client.post(f"{path}/close")
        assert (status, closed["status"]) == (200, "CLOSED")
        assert await client.get(path) == (200, closed)


async def test_funding_that_was_refused_is_found_with_its_currency() -> None:
    """It was bound before there was an account, so the account cannot say the currency."""
    async with open_desk() as client:
        funding = {"funding_no": "F1", "amount_minor": 900, "currency": "USD"}
        status, problem = await client.post("/v1/accounts/A1/fundings", funding)
        assert (status, problem["code"]) == (404, "ACCOUNT_NOT_FOUND")
        assert (await client.get("/v1/accounts/A1/fundings/F1"))[0] == 404
        status, found = await client.get("/v1/accounts/A1/fundings/F1?currency=USD")
        assert (status, found["state"], found["code"]) == (200, "FAILED", "ACCOUNT_NOT_FOUND")


async def test_transfer_is_made_found_and_listed_beside_withdrawals() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.post("/v1/accounts", {"account_no": "A2", "currency": "USD"})
        made = []
        for number in ("T1", "T2", "T3"):
            transfer = {"account_no": "A1", "transfer_no": number, "to": "A2", "amount_minor": 9}
            status, view = await client.post("/v1/transfers", transfer | {"currency": "USD"})
            assert (status, view["state"], view["direction"]) == (201, "SUCCEEDED", "transfer")
            assert await client.get(f"/v1/transfers/A1/{number}") == (200, view)
            made.append(view)
        withdrawal = {"withdrawal_no": "T4", "amount_minor": 9, "currency": "USD"}
        assert (await client.post("/v1/accounts/A1/withdrawals", withdrawal))[0] == 201
        for missing in ("A1/T4", "A2/T1"):
            status, problem = await client.get(f"/v1/transfers/{missing}")
            assert (status, problem["code"]) == (404, "NO_SUCH_TRANSFER")
        assert await _pages(client, "/v1/transfers?account_no=A1&", 2) == made
        assert await _pages(client, "/v1/transfers?account_no=A2&", 2) == []


async def test_agreement_is_signed_changed_cancelled_and_found() -> None:
    async with open_desk() as client:
        await client.shop()
        path = "/v1/accounts/A1/agreements"
        asked = {"agreement_no": "G2", "merchant_no": "M2", "payment_limit_minor": 5}
        status, signed = await client.post(path, asked)
        assert (status, signed["payment_limit_minor"]) == (201, 5)
        assert await client.get(f"{path}/G2") == (200, signed)
        changing = {"change_no": "C1", "daily_limit_minor": 7}
        status, change = await client.post(f"{path}/G2/changes", changing)
        assert (status, change["state"]) == (201, "SUCCEEDED")
        assert await client.get(f"{path}/G2/changes/C1") == (200, change)
        status, problem = await client.get(f"{path}/M1/changes/C1")
        assert (status, problem["code"]) == (404, "NO_SUCH_OPERATION")
        status, cancel = await client.post(f"{path}/G2/cancellations", {"cancel_no": "E1"})
        assert (status, cancel["change"]) == (201, "cancel")
        assert await client.get(f"{path}/G2/cancellations/E1") == (200, cancel)
        status, problem = await client.post(f"{path}/G9/changes", {"change_no": "C2"})
        assert (status, problem["code"]) == (404, "NO_SUCH_AGREEMENT")
        found = (await client.get(f"{path}/G2"))[1]
        assert (found["state"], found["payment_limit_minor"]) == ("CANCELLED", None)
        assert found["daily_limit_minor"] == 7
        status, page = await client.get(path)
        assert [(each["agreement_no"], each["state"]) for each in page["items"]] == [
            ("G2", "CANCELLED"),
            ("M1", "SIGNED"),
        ]
        status, problem = await client.get(f"{path}/G3")
        assert (status, problem["code"]) == (404, "NO_SUCH_AGREEMENT")


async def test_agreement_in_force_shows_its_use_of_the_date_that_is_open() -> None:
    async with open_desk() as client:
        await client.shop()
        path = "/v1/accounts/A1/agreements/M1"
        assert (await client.get(path))[1]["used_minor"] is None
        await client.post(f"{path}/changes", {"change_no": "C1", "daily_limit_minor": 900})
        await client.commands(payment("O1", 700))
        assert (await client.get(path))[1]["used_minor"] == 700
        status, problem = await client.post("/v1/payments", _untagged(payment("O2", 201)))
        assert (status, problem["code"]) == (422, "DAILY_LIMIT_EXCEEDED")
        await client.post("/v1/day-cuts", {"business_date": "2026-01-05"})
        assert (await client.get(path))[1]["used_minor"] == 0


async def test_payment_under_a_cancelled_agreement_is_refused() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.post("/v1/accounts/A1/agreements/M1/cancellations", {"cancel_no": "E1"})
        status, problem = await client.post("/v1/payments", _untagged(payment("O1")))
        assert (status, problem["code"]) == (409, "AGREEMENT_CANCELLED")


async def test_limits_of_an_account_are_set_used_and_found() -> None:
    async with open_desk() as client:
        await client.shop()
        path = "/v1/accounts/A1/limits"
        asked = {"limits_no": "L1", "method": "agreement", "daily_limit_minor": 900}
        status, change = await client.post(path, asked)
        assert (status, change["method"]) == (201, "agreement")
        assert await client.get(f"{path}/L1") == (200, change)
        await client.commands(payment("O1", 700))
        status, problem = await client.post("/v1/payments", _untagged(payment("O2", 201)))
        assert (status, problem["code"]) == (422, "METHOD_LIMIT_EXCEEDED")
        status, limits = await client.get(path)
        assert (status, limits["business_date"]) == (200, "2026-01-05")
        assert limits["methods"][0] == {
            "method": "agreement",
            "payment_limit_minor": None,
            "daily_limit_minor": 900,
            "used_minor": 700,
        }
        assert (await client.get(f"{path}/L2"))[1]["code"] == "NO_SUCH_OPERATION"
        assert (await client.get("/v1/accounts/A9/limits"))[1]["code"] == "ACCOUNT_NOT_FOUND"
        status, problem = await client.post(path, {"limits_no": "L3", "method": "cash"})
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_amount_is_frozen_unfrozen_and_found() -> None:
    async with open_desk() as client:
        await client.shop()
        path = "/v1/accounts/A1/freezes"
        status, frozen = await client.post(path, {"freeze_no": "Z1", "amount_minor": 9_000})
        assert (status, frozen["state"]) == (201, "FROZEN")
        assert await client.get(f"{path}/Z1") == (200, frozen)
        account = (await client.get("/v1/accounts/A1"))[1]
        assert (account["frozen_minor"], account["available_minor"]) == (9_000, 1_000)
        status, problem = await client.post("/v1/accounts/A1/close")
        assert (status, problem["code"]) == (409, "OPEN_LIABILITIES")
        status, unfrozen = await client.post(f"{path}/Z1/unfreezes", {"unfreeze_no": "U1"})
        assert (status, unfrozen["amount_minor"]) == (201, 9_000)
        assert await client.get(f"{path}/Z1/unfreezes/U1") == (200, unfrozen)
        assert (await client.get(f"{path}/Z2/unfreezes/U1"))[1]["code"] == "NO_SUCH_OPERATION"
        status, problem = await client.post(f"{path}/Z1/unfreezes", {"unfreeze_no": "U2"})
        assert (status, problem["code"]) == (409, "STATE_CONFLICT")
        assert (problem["current"], problem["allowed"]) == ("RELEASED", ["FROZEN"])
        page = (await client.get(path))[1]
        assert [each["state"] for each in page["items"]] == ["RELEASED"]
        assert (await client.get(f"{path}/Z2"))[1]["code"] == "NO_SUCH_FREEZE"


async def test_merchant_is_suspended_activated_and_closed() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(payment("O1"))
        assert (await client.post("/v1/merchants/M1/suspend"))[1]["status"] == "SUSPENDED"
        status, problem = await client.post("/v1/payments", _untagged(payment("O2")))
        assert (status, problem["code"]) == (409, "MERCHANT_SUSPENDED")
        assert (await client.post("/v1/merchants/M1/activate"))[1]["status"] == "ACTIVE"
        status, closing = await client.post("/v1/merchants/M1/close")
        assert (status, closing["status"]) == (200, "CLOSING")
        status, problem = await client.post("/v1/payments", _untagged(payment("O2")))
        assert (status, problem["code"]) == (409, "MERCHANT_CLOSING")
        await client.post("/v1/payments/M1/O1/reversals", {"reversal_no": "V1"})
        status, closed = await client.post("/v1/merchants/M1/close")
        assert (status, closed["status"]) == (200, "CLOSED")
        assert await client.get("/v1/merchants/M1") == (200, closed)
        status, problem = await client.post("/v1/merchants/M9/close")
        assert (status, problem["code"]) == (404, "MERCHANT_NOT_FOUND")


async def _pages(client: Client, path: str, limit: int) -> list[Any]:
    items, cursor = [], ""
    while True:
        status, page = await client.get(f"{path}limit={limit}{cursor}")
        assert status == 200, page
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.parametrize("limit", [1, 7, 25, 100])
async def test_pages_give_every_row_once_in_order(limit: int) -> None:
    async with open_desk() as client:
        await client.shop()
        numbers = [f"O{number:02}" for number in range(25)]
        await client.commands(
            *(payment(number, 1) for number in reversed(numbers)),
            *(hold(number, 1) for number in numbers),
        )
        for path, name in (("payments", "order_no"), ("authorizations", "hold_no")):
            found = await _pages(client, f"/v1/{path}?merchant_no=M1&", limit)
            assert [each[name] for each in found] == numbers


async def test_page_holds_ten_rows_by_default_and_none_of_another_merchant() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(*(payment(str(number), 1) for number in range(11)))
        page = (await client.get("/v1/payments?merchant_no=M1"))[1]
        assert (len(page["items"]), page["object"]) == (10, "page")
        assert (await client.get("/v1/payments?merchant_no=M"))[1]["items"] == []
        assert (await client.get("/v1/payments?merchant_no=M2"))[1]["items"] == []


async def test_page_is_not_shifted_by_rows_that_are_added() -> None:
    async with open_desk() as client:
        await client.shop()
        await client.commands(*(payment(f"O{number}", 1) for number in (2, 4, 6, 8)))
        page = (await client.get("/v1/payments?merchant_no=M1&limit=2"))[1]
        await client.commands(*(payment(f"O{number}", 1) for number in (1, 3, 5, 7)))
        rest = f"/v1/payments?merchant_no=M1&cursor={page['next_cursor']}"
        found = (await client.get(rest))[1]["items"]
        assert [each["order_no"] for each in found] == ["O5", "O6", "O7", "O8"]


@pytest.mark.parametrize("kind", ["account", "merchant"])
async def test_pages_of_actors_give_each_once(kind: str) -> None:
    async with open_desk() as client:
        numbers = {f"{kind}-{number}" for number in range(30)}
        await client.commands(
            *({"command": f"open_{kind}", f"{kind}_no": each, "currency": "USD"}
              for each in numbers)
        )  # fmt: skip
        found = await _pages(client, f"/v1/{kind}s?", 4)
        assert len(found) == 30
        assert {each[f"{kind}_no"] for each in found} == numbers


@pytest.mark.parametrize("cursor", ["%20", "!", "A", "%C3%A9", "T1+"])
async def test_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    async with open_desk() as client:
        for path in ("/v1/payments?merchant_no=M1&", "/v1/accounts?"):
            status, problem = await client.get(f"{path}cursor={cursor}")
            assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_any_cursor_that_decodes_is_harmless() -> None:
    async with open_desk() as client:
        await client.shop()
        for cursor in ("AAAA", "____", "AA" * 60):
            for path in ("/v1/payments?merchant_no=M1&", "/v1/accounts?", "/v1/merchants?"):
                assert (await client.get(f"{path}cursor={cursor}"))[0] == 200


async def test_day_is_cut_once() -> None:
    async with open_desk() as client:
        await client.shop()
        status, cut = await client.post("/v1/day-cuts", {"business_date": "2026-01-05"})
        assert (status, cut["state"], cut["next_date"]) == (201, "CLOSED", "2026-01-06")
        assert cut["sums"] == {"USD": 0}
        assert await client.get("/v1/day-cuts/2026-01-05") == (200, cut)
        again = await client.call("POST", "/v1/day-cuts", b'{"business_date":"2026-01-05"}')
        assert (again.status, again.replayed) == (201, True)
        assert (await client.get("/v1/node"))[1]["business_date"] == "2026-01-06"
        status, problem = await client.post("/v1/day-cuts", {"business_date": "2026-01-07"})
        assert (status, problem["code"]) == (409, "DATE_NOT_OPEN")
        status, problem = await client.get("/v1/day-cuts/2026-01-06")
        assert (status, problem["code"]) == (404, "NO_SUCH_DAY_CUT")


@pytest.mark.parametrize("date", ["", "2026-1-5", "05.01.2026", "2026-01-05 ", "٢٠٢٦-01-05"])
async def test_business_date_that_is_none_is_refused(date: str) -> None:
    async with open_desk() as client:
        status, problem = await client.post("/v1/day-cuts", {"business_date": date})
        assert (status, problem["code"]) == (422, "INVALID_REQUEST")


async def test_node_says_where_it_stands() -> None:
    async with open_desk() as client:
        await client.shop()
        status, node = await client.get("/v1/node")
        assert (status, node["object"], node["clock"]) == (200, "node", "domain")
        assert node["now"] == "2026-01-05T08:00:00.000Z"
        assert node["durable_seq"] == [store.last.sequence for store in client.stores]
        assert node["counts"]["unconfirmed"] == 0
        assert node["counts"]["actors"] == 3  # A1, M1 and clearing-USD


async def test_errors_are_listed() -> None:
    async with open_desk() as client:
        status, errors = await client.get("/v1/errors")
        assert status == 200
        assert {"code", "status", "title", "advice"} == set(errors[0])


@pytest.mark.parametrize("wait", ["0", "-1", "61", "nan", "inf", "", "soon", "٣", "1_0"])
async def test_request_timeout_out_of_range_is_refused(wait: str) -> None:
    async with open_desk() as client:
        answer = await client.call("GET", "/v1/node", wait=wait)
        assert answer.body.code == "INVALID_REQUEST"


async def test_deadline_that_has_passed_is_timeout_and_nothing_happened() -> None:
    async with open_desk() as client:
        await client.shop()
        body = msgspec.json.encode(_untagged(payment("O1")))
        answer = await client.call("POST", "/v1/payments", body, wait="1e-9")
        assert (answer.status, answer.body.code) == (504, "TIMEOUT")
        assert (await client.get("/v1/payments/M1/O1"))[0] == 404


async def test_stopping_node_refuses_commands_and_answers_reads() -> None:
    async with open_desk() as client:
        await client.shop()
        client.node.stop()
        status, problem = await client.post("/v1/payments", _untagged(payment("O1")))
        assert (status, problem["code"], problem["retry_after_s"]) == (503, "STOPPING", 5)
        assert (await client.post("/v1/day-cuts", {"business_date": "2026-01-05"}))[0] == 503
        assert (await client.get("/v1/accounts/A1"))[0] == 200
