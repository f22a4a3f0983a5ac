"""Calls say what the gateway expects: its table, its types, its words."""

from typing import Any

import httpx2
import msgspec
import pytest

from actors import commands
from actors.commands import Command
from gateway.client import views
from gateway.client.bank_calls import BankCalls
from gateway.client.call import ROUTES, at
from gateway.client.merchant_calls import MerchantCalls
from gateway.endpoint import Router
from gateway.handlers import day_cuts, node
from gateway.handlers.refunds import CreateRefund
from gateway.statement import PostingView
from gateway.table import ENDPOINTS

pytestmark = pytest.mark.one_shard

NUMBER = "A.z_0:9@x+-"
"""Every kind of character that a number may have."""
ROUTER = Router(ENDPOINTS)


def test_every_command_has_a_route() -> None:
    every = {*commands.AccountCommand.__args__, *commands.MerchantCommand.__args__}
    assert set(ROUTES) == every | {commands.FundAccount}


@pytest.mark.parametrize("command", ROUTES, ids=lambda each: each.__name__)
def test_route_is_the_gateways(command: type[Command]) -> None:
    """It is posted where the gateway takes it, and looked up where the gateway has it."""
    route = ROUTES[command]
    numbers = {field.name: NUMBER for field in msgspec.structs.fields(command)}
    endpoint, _ = ROUTER.find("POST", at(route.path, **numbers))
    refunds = {commands.RefundPayment, commands.RefundAuthorization}
    assert endpoint.request is (CreateRefund if command in refunds else command)
    assert endpoint.path == route.path
    if route.own:
        found, _ = ROUTER.find("GET", at(f"{route.path}/{route.own}", **numbers))
        assert found.path == f"{route.path}/{route.own}"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (views.NodeView, node.NodeView),
        (views.CodeView, node.ErrorView),
        (views.DayCutView, day_cuts.DayCutView),
        (views.PostingView, PostingView),
    ],
)
def test_view_knows_no_more_than_the_gateway_says(ours: type, theirs: type) -> None:
    said = {field.name for field in msgspec.structs.fields(theirs)}
    assert {field.name for field in msgspec.structs.fields(ours)} <= said


@pytest.mark.parametrize("number", ["", ".", "..", "a/b", "a b", "a?b", "ä", "a" * 65, "a\n", 5])
def test_number_that_is_none_never_becomes_a_path(number: Any) -> None:
    with pytest.raises(ValueError, match="a number has 1 to 64 characters"):
        MerchantCalls("M1").get_payment(number)
    with pytest.raises(ValueError, match="a number has 1 to 64 characters"):
        BankCalls().fund(number, "F1", amount_minor=1, currency="USD")


def test_target_is_sent_as_it_is_signed() -> None:
    """httpx2 changes nothing about it."""
    calls = MerchantCalls(NUMBER)
    targets = [
        calls.get_capture(NUMBER, NUMBER).target,
        calls.payments(since="2026-01-05T08:00:00+00:00", until="2026-01-05T09:00:00Z")(
            "c-_1"
        ).target,
        calls.events(after=7)(None).target,
    ]
    for target in targets:
        assert httpx2.URL("https://bank.example:8443" + target).raw_path == target.encode()


def test_body_has_what_was_given_and_no_more() -> None:
    """What the path says is not repeated, and what was not given is left out."""
    calls = MerchantCalls("M1")
    paid = calls.pay("O1", payer="A1", amount_minor=5, currency="USD", metadata={"a": "b"})
    assert msgspec.json.decode(paid.body) == {
        "merchant_no": "M1",
        "order_no": "O1",
        "payer": "A1",
        "amount_minor": 5,
        "currency": "USD",
        "metadata": {"a": "b"},
    }
    captured = calls.capture("H1", "C1", amount_minor=5)
    assert captured.target == "/v1/authorizations/M1/H1/captures"
    assert captured.lookup == "/v1/authorizations/M1/H1/captures/C1"
    assert msgspec.json.decode(captured.body) == {
        "capture_no": "C1",
        "amount_minor": 5,
        "final": False,
    }


@pytest.mark.parametrize("originals", [{}, {"order_no": "O1", "hold_no": "H1"}])
def test_refund_is_of_one_thing(originals: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        MerchantCalls("M1").refund("R1", amount_minor=1, **originals)  # type: ignore[arg-type]
