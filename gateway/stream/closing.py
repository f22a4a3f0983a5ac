"""Closing: with which code a stream ends, and what still leaves before it does.

Codes up to 1015 are those of RFC 6455, section 7.4; the 4000s are an application's own, and the
last three digits of ours are the HTTP status that says the same. docs/STREAM.md has what a client
does after each; `tests/gateway/stream/test_page.py` holds it to this table.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from msgspec import Struct


class CloseCode(IntEnum):
    """Why a stream has ended."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    NOT_TEXT = 1003
    NOT_UTF8 = 1007
    TOO_MANY_PINGS = 1008
    TOO_LARGE = 1009
    INTERNAL = 1011
    BAD_FRAME = 4400
    NOT_AUTHORIZED = 4401
    TOO_SLOW = 4408
    RESUME_CONFLICT = 4409


class Flush(IntEnum):
    """What is sent before the close frame."""

    NOTHING = 0
    READY = 1
    """Answers that are durable."""
    ALL = 2
    """Answers to all that was begun, once they are."""


_FLUSHES: Final[Mapping[CloseCode, Flush]] = {
    CloseCode.NORMAL: Flush.NOTHING,  # the client said so, and reads no more
    CloseCode.GOING_AWAY: Flush.ALL,
    CloseCode.NOT_AUTHORIZED: Flush.NOTHING,
    CloseCode.TOO_SLOW: Flush.NOTHING,
    CloseCode.INTERNAL: Flush.NOTHING,
}


class Close(Struct, frozen=True):
    """The end of a stream.

    Attributes:
        reason: for people; at most 123 bytes of it are sent.
    """

    code: CloseCode
    reason: str = ""

    @property
    def flush(self) -> Flush:
        """What is sent before it."""
        return _FLUSHES.get(self.code, Flush.READY)


class CloseError(Exception):
    """What came in ends the stream.

    Attributes:
        close: how.
    """

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.close = Close(code, reason)
