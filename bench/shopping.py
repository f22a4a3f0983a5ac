"""A year of shopping as commands: what the demo's client sends, in which arrays and order.

Every household has an account, every store is a merchant, and a household has signed with a store
the evening before it first shops there. A basket is a payment of its sum; one with fuel is held
in steps of 25 dollars and captured with `final`, as at a pump. Everything is named by the data's
own numbers, so sending any of it again changes nothing: that is all that resuming takes.

The agreements come ahead so that a household's purchases keep their order: in one array, a
payment that has to wait for its agreement would be overtaken by the next one at another store.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import islice
from typing import Final, NamedTuple

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
from bench.journey import Basket

CURRENCY: Final = "USD"
FIRST_DATE: Final = "2017-01-01"
FIRST_NS: Final = 1_483_228_800_000_000_000
"""Midnight of the first date, UTC."""
LAST_DATE: Final = "2018-01-01"
"""Of the last few baskets: it stays open."""
HOLD_STEP_MINOR: Final = 2_500
FUNDING_STEP_MINOR: Final = 10_000


class Array(NamedTuple):
    """Commands to send together; each array is sent when all of the one before is done."""

    business_date: str
    items: list[Command]


class Cut(NamedTuple):
    """Close a business date: everything on it has been carried out."""

    business_date: str


def account_no(household_id: int) -> str:
    """Return the number of a household's account."""
    return f"household-{household_id}"


def merchant_no(store_id: int) -> str:
    """Return the number of the merchant that a store is."""
    return f"store-{store_id}"


def hold_minor(amount_minor: int) -> int:
    """Return what the pump reserves for a basket: its sum, rounded up to 25 dollars."""
    return _round_up(amount_minor, HOLD_STEP_MINOR)


def opening(baskets: Iterable[Basket]) -> Iterator[Array]:
    """Yield what comes before the first purchase: accounts and merchants, then money.

    A household gets all that its baskets will ever reserve, rounded up to 100 dollars, so that
    nothing is refused in whatever order they come.
    """
    reserved: defaultdict[int, int] = defaultdict(int)
    stores: dict[int, None] = {}
    for basket in baskets:
        amount = basket.amount_minor
        reserved[basket.household_id] += hold_minor(amount) if basket.fuel else amount
        stores[basket.store_id] = None
    opened: list[Command] = [OpenAccount(account_no(household), CURRENCY) for household in reserved]
    opened += [OpenMerchant(merchant_no(store), CURRENCY) for store in stores]
    yield from _arrays(FIRST_DATE, opened)
    funded = [
        FundAccount(account_no(household), "opening", amount, CURRENCY)
        for household, total in reserved.items()
        if (amount := _round_up(total, FUNDING_STEP_MINOR))
    ]
    yield from _arrays(FIRST_DATE, funded)


def replay(baskets: list[Basket], start: str) -> Iterator[Array | Cut]:
    """Yield everything from the business date `start` on; the date of the last basket stays open.

    Args:
        baskets: all of them from the first date on, in order.
    """
    by_date: defaultdict[str, list[Basket]] = defaultdict(list)
    signed = set()
    for basket in baskets:
        if basket.date >= start:
            by_date[basket.date].append(basket)
        elif basket.amount_minor:
            signed.add((basket.household_id, basket.store_id))
    last = baskets[-1].date if baskets else ""
    yield from _arrays(start, _agreements(by_date[start], signed))
    today = start
    while today <= last:
        tomorrow = (date.fromisoformat(today) + timedelta(days=1)).isoformat()
        agreements = _agreements(by_date[tomorrow], signed)
        yield from _day(today, by_date[today], agreements)
        if today < last:
            yield Cut(today)
        today = tomorrow


def _day(
    business_date: str, baskets: Iterable[Basket], agreements: list[Command]
) -> Iterator[Array]:
    """Yield a day's purchases, and tomorrow's agreements behind them.

    The clock moves before whatever it moves for. A capture stands at the end of its hold's
    array: if the clock moved on behind it, the rest would wait with it until the hold is durable.
    """
    items: list[Command] = []
    captures: list[Command] = []
    at = ""
    for basket in baskets:
        amount = basket.amount_minor
        if not amount:
            continue
        if len(items) + len(captures) > ARRAY_MAX - 3:
            yield Array(business_date, items + captures)
            items, captures = [], []
        if basket.at != at:
            at = basket.at
            items.append(AdvanceClock(at))
        number = str(basket.basket_id)
        store = merchant_no(basket.store_id)
        payer = account_no(basket.household_id)
        if basket.fuel:
            items.append(CreateAuthorization(store, number, payer, hold_minor(amount), CURRENCY))
            captures.append(CaptureAuthorization(store, number, number, amount, final=True))
        else:
            items.append(CreatePayment(store, number, payer, amount, CURRENCY))
    yield from _arrays(business_date, [*items, *captures, *agreements])


def _agreements(baskets: Iterable[Basket], signed: set[tuple[int, int]]) -> list[Command]:
    """Return the agreements that these baskets need and nobody has signed yet."""
    needed: list[Command] = []
    for basket in baskets:
        pair = (basket.household_id, basket.store_id)
        if basket.amount_minor and pair not in signed:
            signed.add(pair)
            store = merchant_no(pair[1])
            needed.append(SignAgreement(account_no(pair[0]), store, store))
    return needed


def _arrays(business_date: str, items: Iterable[Command]) -> Iterator[Array]:
    rest = iter(items)
    while array := list(islice(rest, ARRAY_MAX)):
        yield Array(business_date, array)


def _round_up(amount_minor: int, step_minor: int) -> int:
    return -(-amount_minor // step_minor) * step_minor
