"""Commands: what the gateway may decode, and what makes two of them the same."""

import json

import msgspec
import pytest

from actors import commands
from actors.commands import (
    AnyCommand,
    CreatePayment,
    FundAccount,
    OpenAccount,
    RefundPayment,
    content,
    digest,
    first_actor,
    request_digest,
)
from actors.kinds import KINDS
from tests.actors.driver import registering

_decode = msgspec.json.Decoder(AnyCommand).decode

# Programs of the bench have one of their own, which no actor is given.
_COMMANDS = {
    each for each in commands.Command.__subclasses__() if each.__module__ == commands.__name__
}
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
    assert first_actor(registering("C1", "ab")) == "merchant/M1"
    assert first_actor(commands.EnableWebhook("M1")) == "webhook/M1"
    assert first_actor(commands.RevokeBankCertificate("ab")) == commands.BANK


def test_every_command_has_a_handler() -> None:
    handled = {type_ for kind in KINDS.by_name.values() for type_ in kind.handlers}
    for type_ in _COMMANDS:
        assert type_ in handled


def test_every_command_is_a_caller_s_or_the_bank_s_alone() -> None:
    """What the CA's word is needed for, or the gateway's, can be decoded from no array."""
    callers, bank = set(AnyCommand.__args__), set(commands.GatewayCommand.__args__)
    assert callers.isdisjoint(bank)
    assert callers | bank == _COMMANDS
    for type_ in bank:
        with pytest.raises(msgspec.ValidationError, match="Invalid value"):
            _decode(msgspec.json.encode({"command": type_.__struct_config__.tag}))


def test_what_the_ca_made_is_not_the_content_of_a_registration() -> None:
    command = registering("C1", "ab")
    assert request_digest(command) == request_digest(registering("C1", "cd", 20))
    assert request_digest(command) == content(command) != digest(command)
    for other in (
        registering("C2", "ab", request="C1"),
        registering("C1", "ab", request="other"),
        registering("C1", "ab", renews="cd"),
        registering("C1", "ab", merchant_no="M2"),
    ):
        assert request_digest(other) != request_digest(command)


@pytest.mark.parametrize(
    ("field", "value"),
    [("legal_name", ""), ("legal_name", "x" * 257), ("contact", "a\nb"), ("contact", "\ud800")],
)
def test_application_with_bad_text_is_refused(field: str, value: str) -> None:
    body = {"command": "apply_merchant", "merchant_no": "M1", "currency": "USD"}
    body |= {"legal_name": "Shop", "contact": "Somebody"}
    _decode(msgspec.json.encode(body))
    body[field] = value
    with pytest.raises(msgspec.DecodeError):
        _decode(json.dumps(body).encode())
