"""Commands: what the gateway may decode, and what makes two of them the same."""

import msgspec
import pytest

from actors import commands
from actors.commands import (
    AnyCommand,
    CreatePayment,
    FundAccount,
    OpenAccount,
    RefundPayment,
    digest,
    first_actor,
)
from actors.kinds import KINDS

_decode = msgspec.json.Decoder(AnyCommand).decode

_PAYMENT = {
    "command": "create_payment",
    "merchant_no": "M1",
    "order_no": "O1",
    "payer": "A1",
    "amount_minor": 100,
    "currency": "USD",
}


def test_command_of_json_is_decoded() -> None:
    assert _decode(msgspec.json.encode(_PAYMENT)) == CreatePayment("M1", "O1", "A1", 100, "USD")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount_minor", 0),
        ("amount_minor", -1),
        ("amount_minor", 10**13 + 1),
        ("amount_minor", 1.0),
        ("amount_minor", "100"),
        ("amount_minor", True),
        ("currency", "usd"),
        ("currency", "USDX"),
        ("currency", "USD\n"),
        ("order_no", ""),
        ("order_no", "a/b"),
        ("order_no", "O1\n"),
        ("order_no", "-1"),
        ("order_no", "x" * 65),
        ("order_no", "订单"),
        ("payer", "A1\n"),
        ("state", "SUCCEEDED"),
    ],
)
def test_command_with_bad_field_is_refused(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        _decode(msgspec.json.encode(_PAYMENT | {field: value}))


def test_digest_tells_contents_apart() -> None:
    """Also two commands of different kinds that have the same values in the same places."""
    payment = CreatePayment("M1", "O1", "A1", 100, "USD")
    assert digest(payment) == digest(CreatePayment("M1", "O1", "A1", 100, "USD"))
    assert digest(payment) != digest(CreatePayment("M1", "O1", "A1", 101, "USD"))
    assert digest(RefundPayment("M1", "R1", "O1", 5)) != digest(
        commands.RefundAuthorization("M1", "R1", "O1", 5)
    )


def test_first_actor_owns_the_number() -> None:
    assert first_actor(CreatePayment("M1", "O1", "A1", 100, "USD")) == "merchant/M1"
    assert first_actor(OpenAccount("A1", "USD")) == "account/A1"
    assert first_actor(FundAccount("A1", "F1", 5, "USD")) == "account/clearing-USD"


def test_every_command_has_a_handler() -> None:
    handled = {type_ for kind in KINDS.by_name.values() for type_ in kind.handlers}
    for type_ in AnyCommand.__args__:
        assert type_ in handled
