"""The table of state machines: whole, shared by the code, and what docs/STATES.md shows."""

from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import Struct

from actors import commands, messages
from actors.account import Account
from actors.authorization import Authorization
from actors.certificate import Certificate
from actors.freeze import Freeze, Unfreeze
from actors.hold import Hold
from actors.kinds import KINDS
from actors.limits import LimitsChange
from actors.merchant import Merchant
from actors.operation import Operation
from actors.outcome import Bound
from actors.payment import Payment
from actors.refund import Refund
from actors.registration import Registered
from actors.remedy import Remedy
from actors.signing import Agreement, AgreementChange
from actors.state_page import state_page
from actors.states import (
    ACCOUNT,
    AGREEMENT,
    AUTHORIZATION,
    BUSINESS_DATE,
    CERTIFICATE,
    CHANGE,
    DELIVERY,
    FREEZE,
    HOLD,
    MACHINES,
    MERCHANT,
    OPERATION,
    PAYMENT,
    REFUND,
    REGISTRATION,
    REMEDY,
    START,
    TRANSFER,
    WEBHOOK,
    Machine,
    allowed,
    move,
)
from actors.transfer import Transfer
from actors.webhook import Delivery, Webhook
from engine.dates import DateState

PAGE = Path(__file__).resolve().parents[2] / "docs/STATES.md"

KEPT: dict[type[Struct], tuple[str, Machine]] = {
    Payment: ("state", PAYMENT),
    Authorization: ("state", AUTHORIZATION),
    Hold: ("state", HOLD),
    Operation: ("state", OPERATION),
    Refund: ("state", REFUND),
    Remedy: ("state", REMEDY),
    Transfer: ("state", TRANSFER),
    Agreement: ("state", AGREEMENT),
    AgreementChange: ("state", CHANGE),
    LimitsChange: ("state", CHANGE),
    Freeze: ("state", FREEZE),
    Unfreeze: ("state", CHANGE),
    Account: ("status", ACCOUNT),
    Merchant: ("status", MERCHANT),
    Registered: ("state", REGISTRATION),
    Certificate: ("status", CERTIFICATE),
    Webhook: ("status", WEBHOOK),
    Delivery: ("state", DELIVERY),
}
"""What has a state, the field that it is kept in, and its machine."""

RUNTIME = {"CutDay", "the last message's turn"}
"""Causes of the one machine that is not the domain's own."""


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_machine_is_whole(machine: Machine) -> None:
    """No transition is there twice or leads out of the table; what is reached can be reached."""
    assert len(machine.legal) == len(machine.transitions)
    assert machine.initial
    reached: set[str] = set()
    ahead = {START}
    while ahead:
        reached |= ahead
        ahead = {each.target for each in machine.transitions if each.source in reached} - reached
    ends = {end for each in machine.transitions for end in (each.source, each.target)}
    assert ends <= reached
    assert reached - {START} <= set(machine.states)
    assert all(each.target != START for each in machine.transitions)


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.__name__)
def test_record_can_be_in_the_states_of_its_machine_and_no_other(kept: type[Struct]) -> None:
    field, machine = KEPT[kept]
    assert set(get_args(get_type_hints(kept)[field])) == set(machine.states)


def test_everything_with_a_state_has_a_machine() -> None:
    types: set[Any] = {kind.state for kind in KINDS.by_name.values()}
    types |= {record.type for kind in KINDS.by_name.values() for record in kind.records.values()}
    assert {each for each in types if {"state", "status"} & set(each.__struct_fields__)} == set(
        KEPT
    )


def test_business_date_is_documented_as_the_runtime_keeps_it() -> None:
    assert BUSINESS_DATE.states == tuple(DateState)


def test_what_binds_a_number_begins_under_way_or_refused() -> None:
    """`outcome.bind` knows no other states; what is otherwise at once is so by its own handler."""
    others = {
        Refund: {"PENDING_FUNDS", "PROCESSING"},
        Remedy: {"SUCCEEDED", "PROCESSING"},
        Agreement: {"SIGNED"},
        AgreementChange: {"SUCCEEDED"},
        LimitsChange: {"SUCCEEDED"},
        Freeze: {"FROZEN"},
        Unfreeze: {"SUCCEEDED"},
    }
    for kept, (_, machine) in KEPT.items():
        if issubclass(kept, Bound):
            assert set(machine.initial) == {"FAILED"} | others.get(kept, {"PROCESSING"})


def test_causes_are_commands_messages_and_timers() -> None:
    tags = {each.__struct_config__.tag for each in commands.Command.__subclasses__()}
    names = {each.__name__ for each in messages.Message.__subclasses__()}
    causes = {each.cause for machine in MACHINES for each in machine.transitions}
    assert causes <= tags | names | RUNTIME


def test_final_states_are_those_that_nothing_leaves() -> None:
    assert PAYMENT.final == ("FAILED", "REVERSED")
    assert AUTHORIZATION.final == ("CAPTURED", "VOIDED", "EXPIRED", "FAILED")
    assert ACCOUNT.final == ("CLOSED",)


def test_move_that_is_not_in_the_table_is_our_own_bug() -> None:
    assert move(PAYMENT, "PROCESSING", "PaymentDebited", "SUCCEEDED") == "SUCCEEDED"
    with pytest.raises(AssertionError, match="payment: PaymentDebited does not lead from FAILED"):
        move(PAYMENT, "FAILED", "PaymentDebited", "SUCCEEDED")


def test_allowed_states_are_in_the_table_s_order() -> None:
    assert allowed(AUTHORIZATION, "capture_authorization") == ("HELD", "PARTIALLY_CAPTURED")
    assert allowed(PAYMENT, "capture_authorization") == ()


def test_page_is_what_the_table_says() -> None:
    assert PAGE.read_text("utf-8") == state_page(), "stale: run `./just states`"
