"""What clients send are payments of their merchants' customers, and the same for the same seed."""

from itertools import islice
from typing import Any

import msgspec
import pytest

from bench.bulk import account_no, merchant_no
from bench.load.requests import Form, frame, request
from bench.load.workload import Workload


@pytest.mark.parametrize("mix", ["uniform", "zipf", "hot"])
def test_connection_pays_its_merchant_from_that_merchants_customers(mix: Any) -> None:
    workload = Workload(mix, accounts=103, merchants=7, seed=1)
    for connection in (0, 5, 9):
        payee = workload.payee(connection)
        assert payee == (0 if mix == "hot" else connection % 7)
        payers = list(islice(workload.payers(connection), 2_000))
        assert set(payers) <= set(range(payee, 103, workload.payees))
        assert len(set(payers)) > 10
        assert payers == list(islice(workload.payers(connection), 2_000))


def test_batches_in_turn_are_what_connections_send() -> None:
    workload = Workload("uniform", accounts=1_000, merchants=10, seed=3)
    in_turn = workload.in_batches(connections=4, batch=5)
    for connection in range(4):
        own = list(islice(workload.payers(connection), 10))
        first, second = 5 * connection, 5 * (connection + 4)
        assert list(in_turn[first : first + 5]) + list(in_turn[second : second + 5]) == own


@pytest.mark.parametrize(("form", "count"), [("single", 1), ("array", 3), ("frame", 3)])
def test_request_has_the_payments_of_its_connection(form: Form | str, count: int) -> None:
    workload = Workload("uniform", accounts=100, merchants=10, seed=1)
    source = workload.source(12, "P")
    seen: list[dict[str, Any]] = []
    for body_number in range(2):
        errands = source.take(count)
        if form == "frame":
            items = msgspec.json.decode(frame(errands, body_number))
            assert [item["id"] for item in items] == [f"{body_number}-{n}" for n in range(count)]
            items = [item["do"] for item in items]
        else:
            asked = request(errands, form)  # type: ignore[arg-type]
            items = msgspec.json.decode(asked.body)
            items = [items] if form == "single" else items
        if form != "single":
            assert {item["command"] for item in items} == {"create_payment"}
        assert [item["amount_minor"] for item in items] == [each.amount_minor for each in errands]
        assert {item["merchant_no"] for item in items} == {merchant_no(2)}
        seen += items
    assert [item["order_no"] for item in seen] == [f"P-{n:09d}" for n in range(2 * count)]
    payers = [account_no(n) for n in islice(workload.payers(12), 2 * count)]
    assert [item["payer"] for item in seen] == payers
