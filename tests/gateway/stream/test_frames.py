"""Frames in and out, without I/O: what is let through, and with which code the rest ends."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, TextMessage
from wsproto.events import Ping as WsPing

from gateway.stream.bounds import MESSAGE_BYTES, StreamBounds
from gateway.stream.closing import CloseCode, CloseError
from gateway.stream.frames import Frames, Left, Ping, Text, text_frame

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are


def frame(first: int, body: bytes = b"", *, masked: bool = True, length: bytes = b"") -> bytes:
    """Return a client's frame: the first byte has the end bit, the reserved ones, the opcode."""
    size = len(body)
    if not length and size > 125:
        length = struct.pack("!BH", 126, size) if size < 1 << 16 else struct.pack("!BQ", 127, size)
    length = length or bytes([size])
    if not masked:
        return bytes([first]) + length + body
    key = b"\x11\x22\x33\x44"
    hidden = bytes(each ^ key[at % 4] for at, each in enumerate(body))
    return bytes([first, length[0] | 0x80]) + length[1:] + key + hidden


class Line:
    """Frames with a clock that a test moves."""

    def __init__(self, **bounds: Any) -> None:
        self.now = 0.0
        self.frames = Frames(StreamBounds(**bounds), lambda: self.now)

    def read(self, data: bytes) -> list[Any]:
        """Feed bytes and return all that comes of them."""
        self.frames.feed(data)
        found = []
        while (each := self.frames.next()) is not None:
            found.append(each)
            if isinstance(each, Left):
                break
        return found

    def ends(self, data: bytes) -> CloseCode:
        """Return the code with which bytes end the stream."""
        with pytest.raises(CloseError) as caught:
            self.read(data)
        return caught.value.close.code


def test_fragments_are_one_message_and_pings_may_come_between() -> None:
    data = frame(0x01, b"[1,") + frame(0x89, b"hm?") + frame(0x00) + frame(0x80, b"2]")
    assert Line().read(data) == [Ping(b"hm?"), Text(b"[1,2]")]


def test_byte_by_byte_is_the_same_as_at_once() -> None:
    data = frame(0x01, "é[".encode()) + frame(0x80, b"x" * 200) + frame(0x81, b"{}")
    line = Line()
    found = [each for byte in data for each in line.read(bytes([byte]))]
    assert found == Line().read(data) == [Text("é[".encode() + b"x" * 200), Text(b"{}")]
    assert line.frames.begun_at is None


FAULTS = {
    "unmasked": (frame(0x81, b"{}", masked=False), CloseCode.PROTOCOL_ERROR),
    "compressed": (frame(0xC1, b"\x02\x00"), CloseCode.PROTOCOL_ERROR),
    "second reserved bit": (frame(0xA1, b"{}"), CloseCode.PROTOCOL_ERROR),
    "third reserved bit": (frame(0x91, b"{}"), CloseCode.PROTOCOL_ERROR),
    "reserved opcode": (frame(0x83, b"{}"), CloseCode.PROTOCOL_ERROR),
    "reserved control opcode": (frame(0x8B, b""), CloseCode.PROTOCOL_ERROR),
    "fragmented ping": (frame(0x09, b""), CloseCode.PROTOCOL_ERROR),
    "long ping": (frame(0x89, b"x" * 126), CloseCode.PROTOCOL_ERROR),
    "continuation of nothing": (frame(0x80, b"{}"), CloseCode.PROTOCOL_ERROR),
    "message within a message": (frame(0x01, b"{") + frame(0x81, b"{}"), CloseCode.PROTOCOL_ERROR),
    "length longer than need be": (
        frame(0x81, b"{}", length=struct.pack("!BH", 126, 2)),
        CloseCode.PROTOCOL_ERROR,
    ),
    "length of 64 bits longer than need be": (
        frame(0x81, b"{}", length=struct.pack("!BQ", 127, 2)),
        CloseCode.PROTOCOL_ERROR,
    ),
    "length with the highest bit": (
        frame(0x81, b"", length=struct.pack("!BQ", 127, 1 << 63)),
        CloseCode.PROTOCOL_ERROR,
    ),
    "close of one byte": (frame(0x88, b"\x03"), CloseCode.PROTOCOL_ERROR),
    "close with a code for nobody": (
        frame(0x88, struct.pack("!H", 1006)),
        CloseCode.PROTOCOL_ERROR,
    ),
    "close with text that is none": (
        frame(0x88, struct.pack("!H", 1000) + b"\xff"),
        CloseCode.NOT_UTF8,
    ),
    "binary": (frame(0x82, b"{}"), CloseCode.NOT_TEXT),
    "no UTF-8": (frame(0x81, b"\xff"), CloseCode.NOT_UTF8),
    "half a character": (frame(0x81, b"\xc3"), CloseCode.NOT_UTF8),
    "surrogate": (frame(0x81, b"\xed\xa0\x80"), CloseCode.NOT_UTF8),
    "too large": (frame(0x81, b" " * (MESSAGE_BYTES + 1)), CloseCode.TOO_LARGE),
    "too large in two": (
        frame(0x01, b" " * MESSAGE_BYTES) + frame(0x80, b" "),
        CloseCode.TOO_LARGE,
    ),
    "too large in bytes, not in characters": (
        frame(0x81, "é".encode() * (MESSAGE_BYTES // 2) + b" "),
        CloseCode.TOO_LARGE,
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_fault_ends_the_stream_with_its_code(case: str) -> None:
    data, code = FAULTS[case]
    line = Line()
    assert line.ends(data) is code
    assert line.read(frame(0x81, b"{}") * 3 if line.frames.broken else b"") == []


def test_what_is_as_large_as_may_be_passes() -> None:
    assert Line().read(frame(0x81, b" " * MESSAGE_BYTES)) == [Text(b" " * MESSAGE_BYTES)]


def test_length_alone_promises_nothing() -> None:
    """A header that announces 2^62 bytes takes no memory; what comes is counted."""
    line = Line()
    head = frame(0x81, b"", length=struct.pack("!BQ", 127, 1 << 62))
    assert line.read(head) == []
    assert line.ends(b" " * (MESSAGE_BYTES + 1)) is CloseCode.TOO_LARGE


@pytest.mark.parametrize("piece", [b"", b"x"])
def test_endless_fragments_end(piece: bytes) -> None:
    line = Line(fragments_max=50)
    assert line.read(frame(0x01, piece) + frame(0x00, piece) * 49) == []
    assert line.frames.begun_at is not None
    assert line.ends(frame(0x00, piece)) is CloseCode.TOO_LARGE


@pytest.mark.parametrize("opcode", [0x89, 0x8A])
def test_control_frames_are_counted(opcode: int) -> None:
    line = Line(controls_at_once=5, controls_per_s=1.0)
    assert len(line.read(frame(opcode, b"") * 5)) == 5
    line.now += 2
    assert len(line.read(frame(opcode, b"") * 2)) == 2
    line.now += 0.5
    assert line.ends(frame(opcode, b"")) is CloseCode.TOO_MANY_PINGS


def test_nothing_counts_after_the_client_has_left() -> None:
    line = Line()
    assert line.read(frame(0x88, struct.pack("!H", 1000)) + frame(0x81, b"{}")) == [Left()]
    assert line.read(frame(0x81, b"{}")) == []


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=20))
def test_any_bytes_are_frames_or_end_with_a_code(data: bytes, cuts: list[int]) -> None:
    """However they are cut, the same comes of them; nothing but a code is raised."""

    def outcome(pieces: list[bytes]) -> list[Any]:
        line = Line(controls_at_once=1_000)
        found: list[Any] = []
        try:
            for piece in pieces:
                found += line.read(piece)
                if found and isinstance(found[-1], Left):
                    break
        except CloseError as error:
            found.append(error.close.code)
        return found

    pieces, begin = [], 0
    for cut in cuts:
        pieces.append(data[begin : begin + cut])
        begin += cut
    whole = outcome([data])
    parted = outcome([*pieces, data[begin:]])
    # What came before a fault in the same piece is read before it, too.
    assert parted == whole


@given(st.lists(st.text(max_size=70_000), max_size=4))
def test_messages_of_a_client_come_out_as_they_went_in(texts: list[str]) -> None:
    client = Connection(ConnectionType.CLIENT)
    data = b"".join(client.send(TextMessage(text)) for text in texts)
    assert Line().read(data) == [Text(text.encode()) for text in texts]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, MESSAGE_BYTES])
def test_message_is_read_by_a_client_as_it_was_sent(size: int) -> None:
    client = Connection(ConnectionType.CLIENT)
    line = Line()
    ending = line.frames.ping() + line.frames.close(CloseCode.BAD_FRAME, "é" * 200)
    client.receive_data(text_frame(b"x" * size) + ending)
    text, ping, close = client.events()
    assert isinstance(text, TextMessage)
    assert (text.data, text.message_finished) == ("x" * size, True)
    assert isinstance(ping, WsPing)
    assert isinstance(close, CloseConnection)
    assert (close.code, close.reason) == (4400, "é" * 61)  # 123 bytes at most


def test_bytes_of_a_client_are_no_message() -> None:
    data = Connection(ConnectionType.CLIENT).send(BytesMessage(b"{}"))
    assert Line().ends(data) is CloseCode.NOT_TEXT
