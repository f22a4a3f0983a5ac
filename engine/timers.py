"""Durable timers: rows `(due, address, name)`, read under an overlay of what is not durable yet.

Keys begin with the due time, so that what is due is a short scan from the start of the table.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from engine.batch import Payloads, overlaid
from storage.errors import CorruptRowError
from storage.row import TIMERS
from storage.store import Snapshot

NEVER: Final = 2**63 - 1


class Timer(Struct, array_like=True, frozen=True):
    """A timer's row: the encoded message that the actor gets when it fires.

    `attempts` counts turns begun with it during cautious recovery.
    """

    body: bytes
    attempts: int = 0


_decode = msgspec.msgpack.Decoder(Timer).decode
encode_timer = msgspec.msgpack.Encoder().encode


def open_timer(key: bytes, payload: bytes) -> Timer:
    """Return the timer in a row.

    Raises:
        CorruptRowError: the row is not a timer.
    """
    try:
        return _decode(payload)
    except msgspec.DecodeError as error:
        raise CorruptRowError(TIMERS, key, str(error)) from error


def timer_key(due_ns: int, address: str, name: str) -> bytes:
    """Return the row key of a timer."""
    return due_ns.to_bytes(8, "big") + address.encode("ascii") + b"\0" + name.encode("ascii")


def timer_row(body: Struct, attempts: int = 0) -> bytes:
    """Return the payload of a timer's row."""
    return encode_timer(Timer(encode_timer(body), attempts))


def split_timer_key(key: bytes) -> tuple[int, str, str]:
    """Return `(due_ns, address, name)` of a timer's key."""
    address, _, name = key[8:].partition(b"\0")
    return int.from_bytes(key[:8], "big"), address.decode("ascii"), name.decode("ascii")


def scan(
    snapshot: Snapshot, overlays: Iterable[Payloads], until_ns: int
) -> Iterator[tuple[bytes, bytes]]:
    """Return `(key, payload)` of the timers due up to `until_ns`, in order of their due time.

    Args:
        snapshot: what is durable.
        overlays: timers put and deleted since, older batch first.
        until_ns: inclusive, nanoseconds since 1970-01-01 UTC.
    """
    stop = min(until_ns + 1, NEVER).to_bytes(8, "big")
    return overlaid(snapshot, TIMERS, overlays, stop=stop)
