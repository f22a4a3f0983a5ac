"""A lean client of WebSocket (RFC 6455): text messages out, masked, and whole messages in.

No extensions, one subprotocol; pings are answered. As with `http1`, what does not look as
expected ends it loudly.
"""

import os
from typing import Final

_FINAL: Final = 0x80
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA

HANDSHAKE: Final = {
    "upgrade": "websocket",
    "connection": "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "piaohao.v1.json",
}
"""Headers of the request, besides Sec-WebSocket-Key and the signature's."""


def text_frame(payload: bytes) -> bytes:
    """Return a message in one frame."""
    return _frame(_TEXT, payload)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        head = bytes((_FINAL | opcode, 0x80 | length))
    elif length < 1 << 16:
        head = bytes((_FINAL | opcode, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, 0x80 | 127)) + length.to_bytes(8, "big")
    mask = os.urandom(4)
    # As one large number: a loop over bytes would make the client the bottleneck.
    key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    masked = (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
    return head + mask + masked


class MessageReader:
    """Puts messages together from what comes in.

    Attributes:
        reply: frames that have to be sent back: take them, and empty it.
        closed: the code with which the other side has closed; 0 while it has not.
    """

    def __init__(self) -> None:
        self._buffered = b""
        self._parts: list[bytes] = []
        self.reply = b""
        self.closed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what has come in; returns the messages that have become whole.

        Raises:
            ValueError: a frame is masked, or not of a kind that is expected.
        """
        buffered = self._buffered + data if self._buffered else data
        messages: list[bytes] = []
        at = 0
        while (found := _header(buffered, at)) is not None:
            first, start, length = found
            if len(buffered) < start + length:
                break
            at = start + length
            self._take(first, buffered[start:at], messages)
        self._buffered = buffered[at:]
        return messages

    def _take(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        opcode = first & 0xF
        if opcode in (0, _TEXT):
            self._parts.append(payload)
            if first & _FINAL:
                messages.append(b"".join(self._parts))
                self._parts = []
        elif opcode == _PING:
            self.reply += _frame(_PONG, payload)
        elif opcode == _CLOSE:
            self.closed = int.from_bytes(payload[:2], "big") or 1005
        elif opcode != _PONG:
            raise ValueError(f"a frame with opcode {opcode}")


def _header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """Return a frame's first byte, where its payload begins, and how long that is."""
    if len(data) < at + 2:
        return None
    first, length = data[at], data[at + 1]
    if length & 0x80 or first & 0x70:
        raise ValueError("a server's frame that is masked, or has an extension's bit")
    size = {126: 2, 127: 8}.get(length, 0)
    start = at + 2 + size
    if len(data) < start:
        return None
    return first, start, int.from_bytes(data[at + 2 : start], "big") if size else length
