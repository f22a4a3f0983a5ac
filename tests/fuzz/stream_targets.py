"""Targets of the stream: its frames out of raw bytes, and what its messages say.

`frames` reads the same bytes at once and in pieces, and holds what comes out to wsproto alone, fed
at once: the same messages, and no more of anything held than its bounds allow. `message` holds what
a message errands to what POST /v1/commands would make of the same commands.
"""

import json
import struct
from typing import Final

from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from gateway.errors import Problem, RequestError
from gateway.stream.bounds import MESSAGE_BYTES, StreamBounds
from gateway.stream.closing import CloseCode, CloseError
from gateway.stream.frames import Frames, Left, Ping, Pong, Text
from gateway.stream.messages import Errands, Resume, read_message
from tests.fuzz.json_targets import ENTRY, TOKENS
from tests.fuzz.target import Target, pieces

_BOUNDS: Final = StreamBounds()
_MASK: Final = b"\x11\x22\x33\x44"


def _frame(first: int, payload: bytes, mask: bytes = _MASK) -> bytes:
    """Return a client's frame, masked (RFC 6455, section 5.2)."""
    size = len(payload)
    long = struct.pack("!H", size) if 125 < size < 1 << 16 else b""
    head = bytes([first, 0x80 | (126 if long else size)]) + long + mask
    return head + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def _heard(data: bytes, size: int) -> tuple[list[Text | Ping | Pong | Left], CloseCode | None]:
    """Return what frames there are in it, and how it ends if it has a fault."""
    frames = Frames(_BOUNDS, lambda: 0.0)
    found: list[Text | Ping | Pong | Left] = []
    try:
        for piece in pieces(data, size):
            frames.feed(piece)
            while (each := frames.next()) is not None:
                found.append(each)
                if isinstance(each, Left):
                    return found, None
            assert len(frames._held) <= MESSAGE_BYTES
    except CloseError as error:
        code = error.close.code
        return found, code
    return found, None


def _texts_alone(data: bytes) -> list[str]:
    """Return the whole messages that wsproto finds in it, down to the first fault or farewell."""
    protocol = FrameProtocol(client=False, extensions=[])
    protocol.receive_bytes(data)
    found, text = [], ""
    try:
        for frame in protocol.received_frames():
            if frame.opcode is Opcode.TEXT:
                text += str(frame.payload)
                if frame.message_finished:
                    found.append(text)
                    text = ""
            elif frame.opcode in {Opcode.BINARY, Opcode.CLOSE}:
                break
    except ParseFailed:
        pass
    return found


def _frames(data: bytes) -> None:
    """The first byte says in pieces of what size the rest comes a second time."""
    size, data = (data[0] or 256) if data else 1, data[1:]
    at_once = _heard(data, max(1, len(data)))
    in_pieces = _heard(data, size)
    if CloseCode.TOO_LARGE not in {at_once[1], in_pieces[1]}:
        assert at_once == in_pieces
    texts = [each.body.decode() for each in at_once[0] if isinstance(each, Text)]
    theirs = _texts_alone(data)
    assert texts == theirs[: len(texts)]
    if at_once[1] in {None, CloseCode.PROTOCOL_ERROR, CloseCode.NOT_UTF8}:
        assert texts == theirs


FRAMES: Final = Target(
    "frames",
    _frames,
    (
        b"\1" + _frame(0x81, b'{"resume":0}') * 2,
        b"\3" + _frame(0x01, b"[") + _frame(0x89, b"ping") + _frame(0x00, b"") + _frame(0x80, b"]"),
        b"\0" + _frame(0x81, b"a" * 300) + _frame(0x8A, b"") + _frame(0x88, b"\x03\xe8bye"),
        b"\5" + _frame(0x81, "茶👛".encode()) + _frame(0x01, b"\xe8") + _frame(0x80, b"\x8c\xb6"),
        b"\0" + _frame(0xC1, b"\xaa\x56\x02\0") + _frame(0x82, b"\0"),
        b"\2" + _frame(0x89, b"") * 30,
    ),
    (
        *(b"\x81\x80" + _MASK, b"\x01\x80" + _MASK, b"\x80\x80" + _MASK, b"\x88\x80" + _MASK),
        *(b"\x89\x80" + _MASK, b"\xfe\x00\x7e", b"\xff\0\0\0\0\0\x10\0\0", b"\xff" + b"\xff" * 8),
        *(
            b"\x81\x05hello",
            b"\x83",
            b"\xc1",
            b"\x00",
            _MASK,
            b"\xed\xa0\x80",
            b"\x88\x81",
            b"\x03",
        ),
    ),
)


def _said(data: bytes) -> Errands | Resume | None:
    """Return what a message says, None where it is refused as a whole."""
    try:
        return read_message(data)
    except RequestError as error:
        problem = error.problem
    assert problem.status in {400, 413, 422}
    assert problem.detail.isascii()
    return None


def _message(data: bytes) -> None:
    said = _said(data)
    if said is None:
        return
    sent = json.loads(data)
    if isinstance(said, Resume):
        assert sent == {"resume": said.resume}
        return
    errands = sent if isinstance(sent, list) else [sent]
    assert list(said.ids) == [each["id"] for each in errands]
    assert len(said.entries) == len(errands)
    for id_, entry, errand in zip(said.ids, said.entries, errands, strict=True):
        assert 1 <= len(id_) <= 64
        assert id_.isascii()
        assert id_.isprintable()
        if isinstance(entry, Problem):
            assert entry.status in {400, 422}
            assert entry.detail.isascii()
        else:
            assert errand.keys() == {"id", "do"}


MESSAGE: Final = Target(
    "message",
    _message,
    (
        b'{"id":"a1","do":' + ENTRY + b"}",
        b'[{"id":"a1","do":' + ENTRY + b'}, {"do":' + ENTRY.replace(b"O1", b"O2") + b',"id":"~"}]',
        b' {"resume":7}',
        b'{"id":"a:","do":{"command":"close_refund","merchant_no":"M1","refund_no":":"}}',
    ),
    (*TOKENS, b'"id":', b'"do":', b'{"resume":', b'"id":"a1",', b"9223372036854775807"),
)
