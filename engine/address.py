"""Addresses: the short readable names of actors, and the slots they fall into.

An address is `kind/number`, for example `account/6217001234567890`. Its slot,
`crc32(address) % 1024`, comes first in every row key of the actor, so that slots can move
between shards one day without touching a key.
"""

import re
import zlib
from typing import Final

SLOTS: Final = 1024
NUMBER_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$"
"""What callers may use as a number: 1 to 64 ASCII characters, no slash, no blank."""

# The whole text: `$` alone also matches before a newline at the end.
_number_matches = re.compile(NUMBER_PATTERN).fullmatch


class AddressError(ValueError):
    """The text is not an address: `kind/number` with a number of at most 64 ASCII bytes."""


def compose(kind: str, number: str) -> str:
    """Return the address of the actor `number` of `kind`.

    Raises:
        AddressError: the number is not 1 to 64 characters of the allowed set.
    """
    if _number_matches(number) is None:
        raise AddressError(f"not an actor's number: {number!r}")
    return f"{kind}/{number}"


def split(address: str) -> tuple[str, str]:
    """Return `(kind, number)` of an address.

    Raises:
        AddressError: the text has no kind, no number, or a number that is not allowed.
    """
    kind, slash, number = address.partition("/")
    if not slash or not kind or _number_matches(number) is None:
        raise AddressError(f"not an address: {address!r}")
    return kind, number


def is_address(text: str) -> bool:
    """Return whether the text is an address, of whatever kind."""
    kind, slash, number = text.partition("/")
    return bool(slash and kind and _number_matches(number))


def slot(address: str) -> int:
    """Return the slot (0 to 1023) that an address falls into, the same on every machine."""
    return zlib.crc32(address.encode("ascii")) % SLOTS


def shard_of(address: str, shards: int) -> int:
    """Return the shard that owns an address, by version 1 of the slot map.

    Each shard has a range of slots, in order, so that rows in key order stay so over all shards.
    """
    return slot(address) * shards // SLOTS


def row_key(address: str) -> bytes:
    """Return the key of the actor's own row: two bytes of slot, then the address."""
    raw = address.encode("ascii")
    return (zlib.crc32(raw) % SLOTS).to_bytes(2, "big") + raw
