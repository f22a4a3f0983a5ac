"""The lean clients read and write what the protocols say, in whatever pieces it comes."""

from typing import Any

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from bench.load.http1 import Answer, AnswerReader, encode_request
from bench.load.websocket import MessageReader, text_frame

_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Y: a:b\r\n\r\nbody"


@pytest.mark.parametrize("piece", [1, 7, 1_000])
def test_answers_are_whole_however_they_come(piece: int) -> None:
    reader = AnswerReader()
    data = _ANSWER * 2
    answers = [
        answer
        for at in range(0, len(_ANSWER), piece)
        if (answer := reader.feed(data[at : min(at + piece, len(_ANSWER))])) is not None
    ]
    (answer,) = answers
    assert (answer.status, answer.body) == (201, b"body")
    assert answer.headers() == {"content-length": "4", "x-y": "a:b"}
    assert isinstance(reader.feed(_ANSWER), Answer)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0\r\nContent-Length: 0\r\n\r\n"]
)
def test_what_is_no_answer_of_a_nodes_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="an answer"):
        AnswerReader().feed(data)


def test_request_says_how_long_its_body_is() -> None:
    assert encode_request("POST", "/x", "h:1", {"a": "b"}, b"{}") == (
        b"POST /x HTTP/1.1\r\nhost: h:1\r\ncontent-type: application/json\r\n"
        b"content-length: 2\r\na: b\r\n\r\n{}"
    )


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 200_001])
def test_text_frames_are_what_another_implementation_reads(length: int) -> None:
    text = "".join(chr(0x20 + n % 0x5F) for n in range(length))
    server = Connection(ConnectionType.SERVER)
    server.receive_data(text_frame(text.encode()))
    events: list[Any] = list(server.events())
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == text
    assert events[-1].message_finished


@pytest.mark.parametrize("piece", [1, 3, 100_000])
def test_messages_are_whole_however_they_come(piece: int) -> None:
    server = Connection(ConnectionType.SERVER)
    texts = ["short", "x" * 300, "y" * 70_000, ""]
    data = b"".join(server.send(TextMessage(text)) for text in texts)
    data += server.send(TextMessage("in ", message_finished=False)) + server.send(Ping(b"p"))
    data += server.send(TextMessage("two")) + server.send(CloseConnection(code=4408))
    reader = MessageReader()
    messages = []
    for at in range(0, len(data), piece):
        messages += reader.feed(data[at : at + piece])
    assert [each.decode() for each in messages] == [*texts, "in two"]
    assert reader.closed == 4408
    server.receive_data(reader.reply)
    assert [event.payload for event in server.events() if isinstance(event, Pong)] == [b"p"]


def test_frames_that_a_server_may_not_send_are_an_error() -> None:
    with pytest.raises(ValueError, match="masked"):
        MessageReader().feed(text_frame(b"masked"))
    with pytest.raises(ValueError, match="opcode"):
        MessageReader().feed(b"\x82\x00")
