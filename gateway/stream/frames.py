"""Frames: whole messages out of a stream's bytes, and frames for what is sent.

This is section 5 of RFC 6455. wsproto reads the frames: masks, lengths in their shortest form,
reserved bits (no extension is ever agreed on, so a compressed frame is a fault), fragments, UTF-8.
Added here is what bounds them: the bytes and fragments of a message, and a client's control frames.
"""

import struct
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from wsproto.frame_protocol import CloseReason, FrameProtocol, Opcode, ParseFailed

from gateway.stream.bounds import MESSAGE_BYTES, StreamBounds
from gateway.stream.closing import CloseCode, CloseError

_TEXT: Final = 0x81  # the only fragment of a text message
_SHORT, _LONG = 126, 1 << 16


class Text(Struct, frozen=True):
    """A whole message."""

    body: bytes


class Ping(Struct, frozen=True):
    """The client wants to hear something: the same in a pong."""

    payload: bytes


class Pong(Struct, frozen=True):
    """The client is there."""


class Left(Struct, frozen=True):
    """The client ends the stream: nothing that it sends after this counts."""


class Frames:
    """Reads what comes in on one stream.

    Args:
        bounds: of messages, fragments and control frames.
        now: monotonic seconds.

    Attributes:
        begun_at: when a message began whose end has not come; None where none has.
        broken: what came in was no frame, and where the next would begin is not known.
    """

    __slots__ = (
        "_at",
        "_bounds",
        "_controls",
        "_fragments",
        "_held",
        "_now",
        "_protocol",
        "begun_at",
        "broken",
    )

    def __init__(self, bounds: StreamBounds, now: Callable[[], float]) -> None:
        self._protocol = FrameProtocol(client=False, extensions=[])
        self._bounds = bounds
        self._now = now
        self._held = bytearray()
        self._fragments = 0
        self._controls = float(bounds.controls_at_once)
        self._at = now()
        self.begun_at: float | None = None
        self.broken = False

    def feed(self, data: bytes) -> None:
        """Take what has come in."""
        if not self.broken:
            self._protocol.receive_bytes(data)

    def next(self) -> Text | Ping | Pong | Left | None:
        """Return what comes next, None where more bytes are wanted.

        Raises:
            CloseError: PROTOCOL_ERROR, NOT_TEXT, NOT_UTF8, TOO_LARGE, TOO_MANY_PINGS.
        """
        try:
            for frame in self._protocol.received_frames():
                payload = frame.payload
                if frame.opcode is Opcode.TEXT:
                    assert isinstance(payload, str)
                    self._add(payload.encode(), fragment_ends=frame.frame_finished)
                    if frame.message_finished:
                        return self._whole()
                elif frame.opcode is Opcode.BINARY:
                    raise CloseError(CloseCode.NOT_TEXT, "messages are text")
                elif frame.opcode is Opcode.CLOSE:
                    return Left()
                else:
                    assert isinstance(payload, (bytes, bytearray))
                    self._count_control()
                    return Ping(bytes(payload)) if frame.opcode is Opcode.PING else Pong()
        except ParseFailed as error:
            self.broken = True
            utf8 = error.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA
            code = CloseCode.NOT_UTF8 if utf8 else CloseCode.PROTOCOL_ERROR
            raise CloseError(code, str(error)) from None
        return None

    def _add(self, piece: bytes, *, fragment_ends: bool) -> None:
        if self.begun_at is None:
            self.begun_at = self._now()
        # One buffer: a client that sends byte by byte must not have each kept as an object.
        self._held += piece
        self._fragments += fragment_ends
        if len(self._held) > MESSAGE_BYTES:
            raise CloseError(CloseCode.TOO_LARGE, f"a message has at most {MESSAGE_BYTES} bytes")
        if self._fragments > self._bounds.fragments_max:
            raise CloseError(
                CloseCode.TOO_LARGE, f"a message has at most {self._bounds.fragments_max} fragments"
            )

    def _whole(self) -> Text:
        text = Text(bytes(self._held))
        self._held = bytearray()
        self._fragments = 0
        self.begun_at = None
        return text

    def _count_control(self) -> None:
        now = self._now()
        more = (now - self._at) * self._bounds.controls_per_s
        self._controls = min(float(self._bounds.controls_at_once), self._controls + more) - 1
        self._at = now
        if self._controls < 0:
            raise CloseError(CloseCode.TOO_MANY_PINGS, "control frames come too often")

    def pong(self, payload: bytes) -> bytes:
        """Return the frame that answers a ping."""
        return bytes(self._protocol.pong(payload))

    def ping(self) -> bytes:
        """Return the frame that asks the client whether it is there."""
        return bytes(self._protocol.ping())

    def close(self, code: int, reason: str) -> bytes:
        """Return the last frame."""
        return bytes(self._protocol.close(code, reason))


def text_frame(body: bytes) -> bytes:
    """Return a message of UTF-8 as the one frame that it is.

    wsproto's way takes text and makes four copies; messages here are bytes, up to a MiB of them.
    """
    size = len(body)
    if size < _SHORT:
        return struct.pack("!BB", _TEXT, size) + body
    if size < _LONG:
        return struct.pack("!BBH", _TEXT, 126, size) + body
    return struct.pack("!BBQ", _TEXT, 127, size) + body
