"""Framing: what no two parsers could read in two ways passes, and nothing else does."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.listener.bounds import Bounds
from gateway.listener.framing import Framing

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

SOUND = [
    HEAD,
    HEAD * 3,
    b"\r\n" + HEAD,
    b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
    b"BREW /pot?a=b HTTP/1.1\r\nhOsT:\t x \t\r\nEmpty:\r\nX: \xe9\t\xff\r\n\r\n",
    POST + b"Content-Length: 0\r\n\r\n" + HEAD,
    POST + b"Content-Length: 003\r\n\r\n\n\0\r" + HEAD,
    CHUNKED + b"3\r\na\nb\r\n00Fe;name=value\r\n" + b"\0" * 254 + b"\r\n0\r\n\r\n" + HEAD,
    CHUNKED.replace(b"chunked", b"Chunked") + b"0\r\nTrailer: value\r\n\r\n" + HEAD,
]

FAULTY = {
    # Two lengths, or none that is one (RFC 9112, section 6).
    POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: 3, 3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: +3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: 0x3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: \xb3\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: \r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Content-Length: 3\t\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Transfer-Encoding: chunked\t\r\n\r\n": "TRANSFER_CODING",
    POST + b"Content-Length: " + b"9" * 16 + b"\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": "MALFORMED_REQUEST",
    b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n": "MALFORMED_REQUEST",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n": "TRANSFER_CODING",
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n": "TRANSFER_CODING",
    POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n": "MALFORMED_REQUEST",
    # Lines.
    b"GET / HTTP/1.1\nHost: x\n\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\n\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\rContent-Length: 9\r\n\r\n": "MALFORMED_REQUEST",
    b"\n" + HEAD: "MALFORMED_REQUEST",
    # Fields.
    b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\n Host: x\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nna(me: x\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nn\xe4me: x\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nName: a\0b\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nName: a\x7fb\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n": "MALFORMED_REQUEST",
    # The first line.
    b"GET /\r\n": "MALFORMED_REQUEST",
    b"GET  / HTTP/1.1\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1 \r\n": "MALFORMED_REQUEST",
    b"GET\t/\tHTTP/1.1\r\n": "MALFORMED_REQUEST",
    b" GET / HTTP/1.1\r\n": "MALFORMED_REQUEST",
    b"get / HTTP/1.1\r\n": "MALFORMED_REQUEST",
    b"GET / http/1.1\r\n": "MALFORMED_REQUEST",
    b"GET / HTTP/1.1.1\r\n": "MALFORMED_REQUEST",
    b"GET /\xff HTTP/1.1\r\n": "MALFORMED_REQUEST",
    b"PRI * HTTP/2.0\r\n": "HTTP_VERSION",
    b"GET / HTTP/3.0\r\n": "HTTP_VERSION",
    b"GET / HTTP/1.2\r\n": "HTTP_VERSION",
    b"GET / HTTP/0.9\r\n": "HTTP_VERSION",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": "MALFORMED_REQUEST",
    # Sizes, whether the block has come in whole or not.
    b"GET /" + b"a" * 8_192: "TARGET_TOO_LONG",
    b"GET /" + b"a" * 8_192 + HEAD[5:]: "TARGET_TOO_LONG",
    POST + b"A: " + b"a" * 16_384: "HEADERS_TOO_LARGE",
    POST + b"A: " + b"a" * 16_384 + b"\r\n\r\n": "HEADERS_TOO_LARGE",
    POST + b"A: a\r\n" * 100 + b"\r\n": "HEADERS_TOO_LARGE",
    # Chunks and trailers.
    CHUNKED + b"3\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"-3\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"0x3\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b" 3\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"3 \r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"123456789\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"3;a\nb\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"3;" + b"a" * 256: "MALFORMED_REQUEST",
    CHUNKED + b"3;" + b"a" * 256 + b"\r\nabc": "MALFORMED_REQUEST",
    CHUNKED + b"3\r\nabcd\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"3\r\nabc\n": "MALFORMED_REQUEST",
    CHUNKED + b"1\r\na\r\n" * 4_097: "MALFORMED_REQUEST",
    CHUNKED + b"0\r\nA: " + b"a" * 16_384: "HEADERS_TOO_LARGE",
    CHUNKED + b"0\r\n" + b"A: a\r\n" * 101 + b"\r\n": "HEADERS_TOO_LARGE",
    CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"0\r\nA: b\r\ncontent-length: 3\r\n\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"0\r\nHOST: y\r\n\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"0\r\n folded\r\n\r\n": "MALFORMED_REQUEST",
    CHUNKED + b"0\r\nA: a\n\n": "MALFORMED_REQUEST",
}  # fmt: skip


def _fed(framing: Framing, data: bytes) -> bytes:
    """Return what of it passes, request by request."""
    framing.take(data)
    passed = b""
    while sound := framing.sound():
        passed += sound
    return passed


def _code(framing: Framing) -> str | None:
    return None if framing.fault is None else framing.fault.problem.code


@pytest.mark.parametrize("data", SOUND)
def test_sound_requests_pass_byte_by_byte_and_at_once(data: bytes) -> None:
    at_once = Framing(Bounds())
    passed = _fed(at_once, data)
    assert at_once.fault is None
    assert passed == data.removeprefix(b"\r\n")
    assert not at_once.in_head
    assert not at_once.in_body
    slowly = Framing(Bounds())
    assert b"".join(_fed(slowly, data[n : n + 1]) for n in range(len(data))) == passed
    assert slowly.heads == at_once.heads


@pytest.mark.parametrize("data", FAULTY, ids=lambda data: repr(data[-60:]))
def test_fault_is_found_and_nothing_of_it_passes(data: bytes) -> None:
    """What is sound before it does pass, and nothing at all after it."""
    for before in (b"", HEAD):
        framing = Framing(Bounds())
        passed = _fed(framing, before + data)
        assert _code(framing) == FAULTY[data]
        in_body = data.startswith(CHUNKED)
        assert passed.startswith(before + CHUNKED) if in_body else passed == before
        assert _fed(framing, HEAD) == b""
    slowly = Framing(Bounds())
    for n in range(0, len(data), 5):
        _fed(slowly, data[n : n + 5])
    assert slowly.fault is not None


def test_requests_pass_one_by_one() -> None:
    framing = Framing(Bounds())
    requests = [
        HEAD,
        POST + b"Content-Length: 3\r\n\r\nabc",
        CHUNKED + b"1\r\na\r\n0\r\n\r\n",
        HEAD,
    ]
    framing.take(b"".join(requests))
    assert [framing.sound() for _ in requests] == requests
    assert framing.sound() == b""


def test_whole_block_is_bounded_like_a_part_of_one() -> None:
    """Stock h11 bounds what is incomplete: a header of 20 KB that comes at once got a 200."""
    head = POST + b"A: " + b"a" * 20_000 + b"\r\n\r\n"
    h11_alone = h11.Connection(h11.SERVER, max_incomplete_event_size=16_384)
    h11_alone.receive_data(head)
    assert isinstance(h11_alone.next_event(), h11.Request)
    framing = Framing(Bounds())
    assert _fed(framing, head) == b""
    assert _code(framing) == "HEADERS_TOO_LARGE"


def test_it_is_known_what_is_to_come() -> None:
    framing = Framing(Bounds())
    for data, in_head, in_body in [
        (b"\r\n", False, False),
        (b"PO", True, False),
        (CHUNKED[2:], False, True),
        (b"3\r\nab", False, True),
        (b"c\r\n0\r\n\r\nG", True, False),
    ]:
        _fed(framing, data)
        assert (framing.in_head, framing.in_body) == (in_head, in_body)
    assert framing.heads == 1


# Pieces that a request is made of, sound ones and such that smuggle: in any order and number.
_PIECES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n", b"POST /a HTTP/1.0\r\n", b"Host: x\r\n", b"Host: x\r\n\r\n", b"\r\n",
        b"Content-Length: 3\r\n", b"Content-Length: 4\r\n\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n", b"transfer-encoding:chunked\r\n", b"A: b\r\n",
        b" c\r\n", b"abc", b"abcd", b"3\r\nabc\r\n", b"0\r\n", b"0\r\n\r\n", b"3;x\r\n", b"\n",
        b"\r", b"\0", b": ", HEAD, CHUNKED, b"FF\r\n" + b"a" * 255 + b"\r\n",
        b"Expect: 100-continue\r\n",
    ]
)  # fmt: skip
_TRAFFIC = st.lists(st.one_of(_PIECES, st.binary(max_size=4)), max_size=24).map(b"".join)


def _heard(data: bytes) -> tuple[int, int, bool]:
    """Return how many requests h11 sees begin and end in it, and whether it finds fault."""
    connection = h11.Connection(h11.SERVER)
    begun = ended = 0
    if data:  # no data would be its end
        connection.receive_data(data)
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            return begun, ended, True
        begun += isinstance(event, h11.Request)
        if isinstance(event, h11.EndOfMessage):
            ended += 1
            if connection.their_state is not h11.DONE:
                return begun, ended, False  # HTTP/1.0: it hears nothing any more
            response = h11.Response(status_code=200, headers=[(b"content-length", b"0")])
            connection.send(response)
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        elif event is h11.NEED_DATA or event is h11.PAUSED:
            return begun, ended, False


@given(st.one_of(_TRAFFIC, _TRAFFIC.map(lambda data: HEAD + CHUNKED + data)))
def test_h11_reads_what_passes_in_the_same_way(data: bytes) -> None:
    """It finds no fault in it, and requests begin and end for it where they do for us."""
    framing = Framing(Bounds())
    passed = _fed(framing, data)
    begun, ended, faulty = _heard(passed)
    if b"HTTP/1.0" in passed:
        return
    assert not faulty
    assert begun == framing.heads
    assert ended == framing.heads - framing.in_body


@given(_TRAFFIC, st.lists(st.integers(0, 200), max_size=8))
def test_pieces_in_which_it_comes_make_no_difference(data: bytes, cuts: list[int]) -> None:
    whole, pieces = Framing(Bounds()), Framing(Bounds())
    passed = _fed(whole, data)
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    begin, again = 0, b""
    for end in ends:
        again += _fed(pieces, data[begin:end])
        begin = end
    assert again == passed
    assert (whole.fault is None) == (pieces.fault is None)
    assert (whole.heads, whole.in_head, whole.in_body) == (
        pieces.heads,
        pieces.in_head,
        pieces.in_body,
    )
