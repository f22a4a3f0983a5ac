"""Money: minor units as integers, fees, and the bounds that keep every figure within 64 bits.

Amounts are `int` minor units of one ISO 4217 currency; there are no floats and no rounding but
the fee's. All money of a currency is issued by its clearing account, which never goes below
-BALANCE_MAX; since a turn that creates money is refused by the runtime, no balance anywhere can
exceed BALANCE_MAX, and none has to be checked for it.
"""

from typing import Final

BALANCE_MAX: Final = 10**18
"""Most that a currency may have in circulation, in minor units; 2**63 is nine times as much."""

BPS: Final = 10_000
"""Basis points in a whole."""


def fee_minor(amount_minor: int, fee_bps: int) -> int:
    """Return the merchant's fee, rounded half up: floor((amount * bps + 5,000) / 10,000).

    It is never more than the amount, because `fee_bps` is at most 10,000.
    """
    return (amount_minor * fee_bps + BPS // 2) // BPS


def share_minor(amount_minor: int, share_bps: int) -> int:
    """Return a share of an amount, rounded down: what a hold may be captured up to."""
    return amount_minor * share_bps // BPS


def used_on(business_date: str, used_date: str, used_minor: int) -> int:
    """Return what counts as used on a business date, given the newest date with any use.

    Args:
        business_date: the date of the command that asks, ISO 8601.
        used_date: the newest business date on which anything was used, empty if never.
        used_minor: what was used on `used_date`.
    """
    return used_minor if business_date <= used_date else 0


def use(business_date: str, used_date: str, used_minor: int, amount_minor: int) -> tuple[str, int]:
    """Return `(used_date, used_minor)` after `amount_minor` more was used.

    A newer business date starts from zero. A straggler of an older date, stamped before the day
    was cut, counts against the newer date: one figure suffices, going back and forth over the
    cut never sets it to zero again, and any run of dates stays within as many daily limits. The
    figure stops at BALANCE_MAX, as paying and refunding in turns could raise it without bound.
    """
    if business_date > used_date:
        return business_date, amount_minor
    return used_date, min(used_minor + amount_minor, BALANCE_MAX)


def give_back(business_date: str, used_date: str, used_minor: int, amount_minor: int) -> int:
    """Return the use that is left after a reversal on the same business date.

    Where a newer date has been used meanwhile, the older date's use is history already and the
    newer one keeps its own.
    """
    return max(used_minor - amount_minor, 0) if business_date == used_date else used_minor
