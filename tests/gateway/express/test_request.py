"""Requests: what the framing lets through httptools reads in the same way as h11 does."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.express.request import Incoming
from gateway.listener.bounds import Bounds
from gateway.listener.framing import Framing
from gateway.listener.names import named

pytestmark = pytest.mark.one_shard  # nothing here depends on how many there are

NAMES = named(["x"], "http")

_LINES = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1",
     b"HEAD /{a}\"<>\\^`| HTTP/1.1", b"BREW /p HTTP/1.1",
     b"PUT / HTTP/1.0", b"CONNECT /a HTTP/1.1", b"PRI / HTTP/1.1", b"M-SEARCH / HTTP/1.1",
     b"GET http://x/b?c HTTP/1.1", b"GET HTTP://X:80 HTTP/1.1", b"DESCRIBE / HTTP/1.1"]
)  # fmt: skip
_VALUES = st.binary(max_size=12).map(lambda value: value.translate(None, bytes({*range(32), 127})))
_FIELDS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([b"A", b"a", b"Accept", b"X-Y_z", b"cookie"]),
            _VALUES,
        ),
        st.sampled_from(
            [(b"Connection", b"close"), (b"Connection", b"Upgrade"), (b"Upgrade", b"h2c"),
             (b"upgrade", b"websocket"), (b"Connection", b"keep-alive"),
             (b"Expect", b"100-continue"),
             (b"Connection", b"A, close"), (b"Proxy-Connection", b"close")]
        ),
    ),
    max_size=6,
)  # fmt: skip
_BODIES = st.one_of(
    st.just((b"", b"")),
    st.binary(max_size=9).map(lambda body: (b"Content-Length: %d\r\n" % len(body), body)),
    st.lists(st.binary(min_size=1, max_size=5), max_size=3).map(
        lambda chunks: (
            b"Transfer-Encoding: chunked\r\n",
            b"".join(b'%X;a=b;c="d e"\r\n%b\r\n' % (len(chunk), chunk) for chunk in chunks)
            + b"0\r\nTrailer: x\r\n\r\n",
        )
    ),
)


@given(_LINES, _FIELDS, _BODIES, st.lists(st.integers(1, 60), max_size=5))
def test_sound_request_is_read_as_h11_reads_it(
    line: bytes,
    fields: list[tuple[bytes, bytes]],
    body: tuple[bytes, bytes],
    cuts: list[int],
) -> None:
    """Fields, body, and whether the connection lasts; in whatever pieces it comes."""
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    data = line + b"\r\nHost: x\r\n" + lines + body[0] + b"\r\n" + body[1]
    framing = Framing(Bounds())
    incoming = None
    begin = 0
    for end in (*sorted(min(cut, len(data)) for cut in cuts), len(data)):
        framing.take(data[begin:end])
        begin = end
        while sound := framing.sound():
            if incoming is None:
                incoming = Incoming(NAMES, framing, sound)
            else:
                incoming.take(sound)
    if framing.fault is not None:  # chunks are not for HTTP/1.0
        return
    assert incoming is not None
    assert incoming.whole
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data)
    request = reader.next_event()
    assert isinstance(request, h11.Request)
    heard = b""
    while isinstance(event := reader.next_event(), h11.Data):
        heard += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert incoming.line.method == request.method.decode()
    assert incoming.body == heard
    joined: dict[str, str] = {}
    for name, value in request.headers:
        key, text = name.decode(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    assert incoming.headers == joined
    if reader.their_state in {h11.DONE, h11.MUST_CLOSE}:  # not after CONNECT, nor Upgrade
        lasts = request.http_version == b"1.1" and reader.their_state is not h11.MUST_CLOSE
        assert incoming.lasts == lasts
    incoming.end()


_PIECES = st.sampled_from(
    [b"3\r\nabc\r\n", b"0\r\n", b"0\r\n\r\n", b"\r\n", b"1;a\r\nx\r\n", b"1;a=\"b\r\nx\r\n", b"ff",
     b"1;a b\r\nx\r\n", b"1; a\r\nx\r\n", b"A: b\r\n", b"A : b\r\n", b"\n", b"\r", b"\0", b"x"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=10).map(b"".join))
def test_body_that_the_framing_lets_through_httptools_reads(data: bytes) -> None:
    """It finds no fault where there was none, and the end where that is."""
    framing = Framing(Bounds())
    framing.take(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    try:
        incoming = Incoming(NAMES, framing, framing.sound())
        while framing.in_body and (sound := framing.sound()):
            incoming.take(sound)
    except RequestError as error:
        raise AssertionError(data) from error
    if framing.fault is None:
        assert incoming.whole == (not framing.in_body)
    incoming.end()
