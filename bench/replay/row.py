"""Rows: what one line of a replay's file says, or what is wrong with it.

A row that is not what docs/REPLAY.md describes is a mistake with a stable code; the first that
applies is given, in the order of the columns, and a time that goes back comes last.
"""

import csv
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from engine.address import NUMBER_PATTERN

COLUMNS: Final = (
    *("kind", "reference", "payer", "merchant", "amount_minor", "currency", "time", "original"),
)
AMOUNT_MAX: Final = 10**13
YEARS: Final = range(1970, 2200)

OPENING: Final = frozenset({"payment", "hold", "transfer"})
"""Kinds that stand for themselves."""
FOLLOWING: Final = frozenset({"capture", "void", "release", "refund", "reversal"})
"""Kinds that belong to an earlier payment or hold."""
WHOLE: Final = frozenset({"void", "release", "reversal"})
"""Kinds that concern all that there is, so that an amount says nothing."""


class Mistake(StrEnum):
    """What may be wrong with a line; the codes of malformed rows, in order of precedence.

    ===================  ======================================================================
    LINE_TOO_LONG        more than 4,096 bytes
    NOT_TEXT             not UTF-8, or a NUL in it
    BAD_QUOTES           a quoted field does not end, or goes on behind its end
    WRONG_COLUMN_COUNT   not eight fields
    UNKNOWN_KIND         none of the eight kinds
    INVALID_REFERENCE    not 1 to 64 of the characters that a number may have
    INVALID_PAYER        likewise; may be empty where the row has an original
    INVALID_MERCHANT     likewise
    INVALID_AMOUNT       no integer from 1 to 10**13; may be 0 or empty for void, release, reversal
    INVALID_CURRENCY     not three letters from A to Z
    INVALID_TIME         not RFC 3339 in UTC, or not from 1970 to 2199
    MISSING_ORIGINAL     what has to belong to a payment or hold names none
    UNEXPECTED_ORIGINAL  what stands for itself names one
    INVALID_ORIGINAL     not a number
    TIME_GOES_BACK       earlier than a well-formed row before it
    ===================  ======================================================================
    """

    LINE_TOO_LONG = "LINE_TOO_LONG"
    NOT_TEXT = "NOT_TEXT"
    BAD_QUOTES = "BAD_QUOTES"
    WRONG_COLUMN_COUNT = "WRONG_COLUMN_COUNT"
    UNKNOWN_KIND = "UNKNOWN_KIND"
    INVALID_REFERENCE = "INVALID_REFERENCE"
    INVALID_PAYER = "INVALID_PAYER"
    INVALID_MERCHANT = "INVALID_MERCHANT"
    INVALID_AMOUNT = "INVALID_AMOUNT"
    INVALID_CURRENCY = "INVALID_CURRENCY"
    INVALID_TIME = "INVALID_TIME"
    MISSING_ORIGINAL = "MISSING_ORIGINAL"
    UNEXPECTED_ORIGINAL = "UNEXPECTED_ORIGINAL"
    INVALID_ORIGINAL = "INVALID_ORIGINAL"
    TIME_GOES_BACK = "TIME_GOES_BACK"


class Row(NamedTuple):
    """A well-formed row.

    Attributes:
        payer, original: empty where the row has none.
        amount_minor: 0 where the row has none.
        at_us: its time, microseconds since 1970-01-01 UTC.
        time: the same in RFC 3339; its first ten characters are the business date.
    """

    kind: str
    reference: str
    payer: str
    merchant: str
    amount_minor: int
    currency: str
    at_us: int
    time: str
    original: str

    @property
    def date(self) -> str:
        """The business date that the row belongs to."""
        return self.time[:10]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_number = re.compile(NUMBER_PATTERN.removesuffix("$")).fullmatch
_digits = re.compile(r"[0-9]{1,19}", re.ASCII).fullmatch
_currency = re.compile(r"[A-Z]{3}").fullmatch
_instant = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(?:[Zz]|\+00:00)"
).fullmatch


def fields(line: bytes) -> list[str] | Mistake:
    """Return the fields of a line of comma-separated values, without its line break."""
    if b"\0" in line:
        return Mistake.NOT_TEXT
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return Mistake.NOT_TEXT
    if '"' not in text:
        return text.split(",")
    try:
        (found,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError):
        return Mistake.BAD_QUOTES
    return found


def parse(line: bytes) -> Row | Mistake:
    """Return what a line says, which is not yet known to come in order of time."""
    found = fields(line)
    if isinstance(found, Mistake):
        return found
    if len(found) != len(COLUMNS):
        return Mistake.WRONG_COLUMN_COUNT
    kind, reference, payer, merchant, amount, currency, time, original = found
    if kind not in OPENING and kind not in FOLLOWING:
        return Mistake.UNKNOWN_KIND
    follows = kind in FOLLOWING
    if _number(reference) is None:
        return Mistake.INVALID_REFERENCE
    if _number(payer) is None and not (follows and not payer):
        return Mistake.INVALID_PAYER
    if _number(merchant) is None:
        return Mistake.INVALID_MERCHANT
    whole = kind in WHOLE
    amount_minor = 0
    if amount or not whole:
        if _digits(amount) is None:
            return Mistake.INVALID_AMOUNT
        amount_minor = int(amount)
        if amount_minor > AMOUNT_MAX or not (amount_minor or whole):
            return Mistake.INVALID_AMOUNT
    if _currency(currency) is None:
        return Mistake.INVALID_CURRENCY
    at = instant(time)
    if at is None:
        return Mistake.INVALID_TIME
    if follows:
        if not original:
            return Mistake.MISSING_ORIGINAL
        if _number(original) is None:
            return Mistake.INVALID_ORIGINAL
    elif original:
        return Mistake.UNEXPECTED_ORIGINAL
    return Row(kind, reference, payer, merchant, amount_minor, currency, *at, original)


def instant(text: str) -> tuple[int, str] | None:
    """Return an RFC 3339 instant in UTC as microseconds since 1970 and as text of one form.

    Digits beyond the microsecond are cut off. None if it is no such instant.
    """
    match = _instant(text)
    if match is None:
        return None
    day, clock, fraction = match.groups()
    time = f"{day}T{clock}{fraction[:7] if fraction else ''}"
    try:
        at = datetime.fromisoformat(f"{day}T{clock}+00:00")
    except ValueError:
        return None
    if at.year not in YEARS:
        return None
    beyond_us = int(fraction[1:7].ljust(6, "0")) if fraction else 0
    return (at - _EPOCH) // timedelta(microseconds=1) + beyond_us, f"{time}Z"
