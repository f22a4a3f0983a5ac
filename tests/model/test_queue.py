"""A long queue of refunds on a real shard that dies while it works it off."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from actors.refund import RESUMED_MAX, WAIT_NS
from engine.limits import Limits
from tests.model.world import START_NS, Plan, Sight, World

LENGTH = 2 * RESUMED_MAX + 20
EACH = 45
"""Refunds of one payment; fifty is the most."""
NUMBERS = [f"R{n:03}" for n in range(LENGTH)]
CHOICES = bytes(range(1, 250)) * 3
"""Messages overtake each other, and the batch is cut now and then."""


@contextmanager
def _world() -> Iterator[World]:
    """Yield a bank in which refunds of one minor unit each wait, the first of a closed account.

    Half of what the merchant takes is its fee, and the other half it has given back.
    """
    world = World(Limits())
    try:
        for account_no, amount in (("A1", 10_000), ("A2", 2)):
            _do(world, "open_account", account_no=account_no, currency="USD")
            _do(world, "sign_agreement", account_no=account_no, agreement_no="M1",
                merchant_no="M1")  # fmt: skip
            _do(world, "fund_account", account_no=account_no, funding_no="1",
                amount_minor=amount, currency="USD")  # fmt: skip
        _do(world, "open_merchant", merchant_no="M1", currency="USD", fee_bps=5_000)
        _do(world, **_payment("gone", 2, "A2"))
        for n in range(LENGTH // EACH + 1):
            _do(world, **_payment(f"O{n}", 100))
            _do(world, **_refund(f"back-{n}", f"O{n}", 50 + (not n), waits=False))
        _do(world, "close_account", account_no="A2")
        for n, number in enumerate(NUMBERS):
            order_no = f"O{n // EACH}" if n else "gone"
            told = _do(world, **_refund(number, order_no, 1, waits=True))
            assert told["state"] == "PENDING_FUNDS"
        world.look()
        yield world
    finally:
        world.close()


def _do(world: World, command: str, **fields: Any) -> dict[str, Any]:
    (told,) = world.submit([{"command": command, **fields}])
    assert isinstance(told, tuple)
    assert told[0]["object"] != "refused", told
    return told[0]


def _payment(order_no: str, amount: int, payer: str = "A1") -> dict[str, Any]:
    return {
        "command": "create_payment",
        "merchant_no": "M1",
        "order_no": order_no,
        "payer": payer,
        "amount_minor": amount,
        "currency": "USD",
    }


def _refund(number: str, order_no: str, amount: int, *, waits: bool) -> dict[str, Any]:
    return {
        "command": "refund_payment",
        "merchant_no": "M1",
        "refund_no": number,
        "order_no": order_no,
        "amount_minor": amount,
        "wait_for_funds": waits,
    }


def _states(sight: Sight) -> list[str]:
    return [sight.things[f"refund/M1/{number}"]["state"] for number in NUMBERS]


@pytest.mark.parametrize("crash_after", [-1, *range(8), *range(10, 330, 8)])
@pytest.mark.parametrize("choices", [b"", CHOICES], ids=["in-order", "mixed"])
def test_queue_is_worked_off_once_though_the_process_dies(choices: bytes, crash_after: int) -> None:
    with _world() as world:
        world.submit([_payment("big", 2 * LENGTH)], Plan(choices, crash_after))
        _do(world, **_payment("big", 2 * LENGTH))
        sight = world.look()
        assert _states(sight) == ["ABNORMAL"] + ["SUCCEEDED"] * (LENGTH - 1)
        merchant = sight.things["merchant/M1"]
        assert (merchant["posted_minor"], merchant["pending"]) == (1, ())
        left = [
            reference.rpartition("/")[2]
            for _, account, amount, _, _, _, reference, _ in world.postings
            if (account, amount) == ("merchant/M1/receivable", -1) and reference[0] == "r"
        ]
        assert left == NUMBERS


@pytest.mark.parametrize("clean", [True, False])
def test_queue_is_closed_though_nobody_was_there_when_its_time_came(clean: bool) -> None:
    with _world() as world:
        world.restart(START_NS + WAIT_NS, clean=clean)
        sight = world.look()
        assert _states(sight) == ["CLOSED"] * LENGTH
        merchant = sight.things["merchant/M1"]
        assert (merchant["posted_minor"], merchant["pending"]) == (0, ())
        assert not [name for name in sight.things if name.startswith("timer/")]
        assert sight.things["payment/M1/O0"]["refunding_minor"] == 0
