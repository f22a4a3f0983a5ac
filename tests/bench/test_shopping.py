"""What the demo's client sends, and in which order: held against what the gateway needs."""

from collections import Counter, defaultdict
from itertools import chain

import pytest

from actors.commands import (
    CaptureAuthorization,
    Command,
    CreateAuthorization,
    CreatePayment,
    FundAccount,
    OpenAccount,
    OpenMerchant,
    SignAgreement,
)
from bench.connection import ARRAY_MAX, AdvanceClock
from bench.journey import Basket, find_data, read_baskets
from bench.shopping import Array, Cut, hold_minor, opening, replay


@pytest.fixture(scope="module")
def baskets() -> list[Basket]:
    return read_baskets(find_data())


def _commands(steps: list[Array | Cut]) -> list[Command]:
    arrays = [step.items for step in steps if isinstance(step, Array)]
    return list(chain.from_iterable(arrays))


def _basket(
    number: int, at: str, *, store: int = 1, cents: int = 100, fuel: bool = False
) -> Basket:
    return Basket(number, 7, store, at, cents, fuel)


@pytest.mark.parametrize(
    ("sum_minor", "held_minor"), [(1, 2_500), (2_500, 2_500), (2_501, 5_000), (5_000, 5_000)]
)
def test_pump_holds_in_steps_of_25_dollars(sum_minor: int, held_minor: int) -> None:
    assert hold_minor(sum_minor) == held_minor


def test_day_is_purchases_in_order_then_tomorrows_agreements_then_its_cut() -> None:
    """Captures end the array of their holds, and an agreement comes the evening before, once."""
    baskets = [
        _basket(1, "2017-01-01T08:00:00Z"),
        _basket(2, "2017-01-01T08:00:00Z", cents=2_600, fuel=True),
        _basket(5, "2017-01-01T08:30:00Z"),
        _basket(3, "2017-01-01T09:00:00Z", store=2, cents=0),
        _basket(4, "2017-01-03T09:00:00Z", store=2),
    ]
    assert list(replay(baskets, "2017-01-01")) == [
        Array("2017-01-01", [SignAgreement("household-7", "store-1", "store-1")]),
        Array(
            "2017-01-01",
            [
                AdvanceClock("2017-01-01T08:00:00Z"),
                CreatePayment("store-1", "1", "household-7", 100, "USD"),
                CreateAuthorization("store-1", "2", "household-7", 5_000, "USD"),
                AdvanceClock("2017-01-01T08:30:00Z"),
                CreatePayment("store-1", "5", "household-7", 100, "USD"),
                CaptureAuthorization("store-1", "2", "2", 2_600, final=True),
            ],
        ),
        Cut("2017-01-01"),
        Array("2017-01-02", [SignAgreement("household-7", "store-2", "store-2")]),
        Cut("2017-01-02"),
        Array(
            "2017-01-03",
            [
                AdvanceClock("2017-01-03T09:00:00Z"),
                CreatePayment("store-2", "4", "household-7", 100, "USD"),
            ],
        ),
    ]


def test_year_sends_each_number_once_in_arrays_that_the_gateway_takes(
    baskets: list[Basket],
) -> None:
    steps: list[Array | Cut] = [*opening(baskets), *replay(baskets, "2017-01-01")]
    assert max(len(step.items) for step in steps if isinstance(step, Array)) <= ARRAY_MAX
    commands = _commands(steps)
    assert Counter(type(command) for command in commands if type(command) is not AdvanceClock) == {
        OpenAccount: 2_469,
        OpenMerchant: 457,
        FundAccount: 2_469,
        SignAgreement: 10_426,
        CreatePayment: 142_376,
        CreateAuthorization: 12_994,
        CaptureAuthorization: 12_994,
    }
    assert [step.business_date for step in steps if isinstance(step, Cut)] == sorted(
        {basket.date for basket in baskets} - {"2018-01-01"} | {"2017-12-25"}
    )
    assert len(set(map(repr, commands))) == len(commands)


def test_household_has_signed_in_an_earlier_array_and_has_the_money(baskets: list[Basket]) -> None:
    """Whatever is held at one time, what is reserved in all never exceeds what was put in."""
    funds = {
        command.account_no: command.amount_minor
        for array in opening(baskets)
        for command in array.items
        if isinstance(command, FundAccount)
    }
    reserved: defaultdict[str, int] = defaultdict(int)
    signed = set()
    for step in replay(baskets, "2017-01-01"):
        if isinstance(step, Cut):
            continue
        signing = set()
        for command in step.items:
            if isinstance(command, SignAgreement):
                signing.add((command.account_no, command.merchant_no))
            elif isinstance(command, CreatePayment | CreateAuthorization):
                assert (command.payer, command.merchant_no) in signed
                reserved[command.payer] += command.amount_minor
        signed |= signing
    assert all(funds[payer] >= total for payer, total in reserved.items())


@pytest.mark.parametrize("start", ["2017-01-02", "2017-12-25", "2018-01-01"])
def test_resumed_replay_sends_what_a_whole_one_sends_from_that_date(
    baskets: list[Basket], start: str
) -> None:
    """But for the agreements of that morning, which were perhaps not all signed."""
    whole = [step for step in replay(baskets, "2017-01-01") if step.business_date >= start]
    resumed = list(replay(baskets, start))
    again = len(resumed) - len(whole)
    assert resumed[again:] == whole
    assert {type(command) for command in _commands(resumed[:again])} <= {SignAgreement}


def test_replay_beyond_the_last_basket_has_nothing_to_do(baskets: list[Basket]) -> None:
    assert list(replay(baskets[:10], "2017-02-01")) == []
    assert list(replay([], "2017-01-01")) == []
