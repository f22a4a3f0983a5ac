"""The ops listener's description: whole by itself, and what is answered is as it says."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from gateway.ops.openapi import document
from gateway.ops.operators import Role
from gateway.ops.table import ROWS
from tests.gateway.ops.guarded import WHOLE, Guarded, filled
from tests.gateway.ops.test_look import OPENING, ORDER, PAYER, pay
from tests.gateway.ops.two import Two

pytestmark = pytest.mark.one_shard

DOCUMENT: dict[str, Any] = json.loads(json.dumps(document(ROWS, "0"), default=str))
NAMED = {
    "kind": "account",
    "number": PAYER,
    "merchant_no": "M1",
    "order_no": ORDER,
    "hold_no": "H1",
    "refund_no": "R1",
}


def references(part: Any) -> Iterator[str]:
    """Yield all references in a part of the document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for each in part.values():
            yield from references(each)
    elif isinstance(part, list):
        for each in part:
            yield from references(each)


def test_description_has_each_row_once_and_no_loose_end() -> None:
    there = {
        (method.upper(), path): operation
        for path, operations in DOCUMENT["paths"].items()
        for method, operation in operations.items()
    }
    assert {(row.method, row.path) for row in ROWS} == {*there}
    assert len({each["operationId"] for each in there.values()}) == len(ROWS)
    for row in ROWS:
        operation = there[row.method, row.path]
        assert operation["summary"], row.name
        assert (operation["security"] == []) == (row.right is None)
        in_path = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert in_path == {each.strip("{}") for each in row.path.split("/") if "{" in each}
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert {*references(DOCUMENT)} <= known


async def test_answers_are_as_the_description_says(guarded: Guarded) -> None:
    hold = {"command": "create_authorization", "merchant_no": "M1", "hold_no": NAMED["hold_no"],
            "payer": PAYER, "amount_minor": 5, "currency": "USD"}  # fmt: skip
    refund = {"command": "refund_payment", "merchant_no": "M1", "order_no": ORDER,
              "refund_no": NAMED["refund_no"], "amount_minor": 5}  # fmt: skip
    answers = await guarded.commands(*OPENING, pay(), hold, refund)
    assert {each["status"] for each in answers} == {201}
    served = await guarded.ops.client.get(f"{guarded.address}/ops/openapi.json")
    assert json.loads(served.text)["paths"].keys() == DOCUMENT["paths"].keys()
    two = Two(guarded)
    made = await two.propose("freeze_account", account_no=PAYER)
    check(_content("/ops/proposals", "post", "201"), made)
    told = await two.approve(made)
    check(_content("/ops/proposals/{proposal_id}/approve", "post", "200"), told)
    named = {**NAMED, "proposal_id": made["proposal_id"]}
    headers = {"authorization": f"Bearer {guarded.tokens[Role.ADMIN]}"}
    for row in WHOLE:
        if row.method == "POST" or row.answers is None:
            continue
        path = row.path.format(**named)
        query = {"list_journal": f"?account={PAYER}"}.get(row.name, "")
        responses = DOCUMENT["paths"][row.path]["get"]["responses"]
        address = f"{guarded.address}{path}"
        answer = await guarded.ops.client.get(f"{address}{query}", headers=headers)
        assert answer.status_code == 200, row.name
        (content,) = responses["200"]["content"].values()
        check(content["schema"], answer.json())
        refused = await guarded.ops.client.get(f"{guarded.address}{filled(path)}?unknown=1")
        (content,) = responses["default"]["content"].values()
        check(content["schema"], refused.json())


def check(schema: dict[str, Any], body: Any) -> None:
    """Assert that a body is as a schema of the document says."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    assert [error.message for error in validator.iter_errors(body)] == []


def _content(path: str, method: str, status: str) -> dict[str, Any]:
    (content,) = DOCUMENT["paths"][path][method]["responses"][status]["content"].values()
    return dict(content["schema"])
