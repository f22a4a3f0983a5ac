"""Targets of HTTP: where requests begin and end, whom they are for, what stands in their targets.

`framing` holds the reader of our own to h11, and to itself when the same bytes come in pieces.
`express` has httptools read what passes, as the express listener does: each request is to be what
h11 takes it for, field by field and byte by byte.
`address` holds names, paths and queries to the standard library where that reads the same.
"""

from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import h11

from gateway.endpoint import Router
from gateway.errors import RequestError
from gateway.express.request import Incoming
from gateway.listener.bounds import Bounds
from gateway.listener.framing import Framing
from gateway.listener.names import named
from gateway.table import ENDPOINTS
from gateway.target import parameters, path_number
from tests.fuzz.target import Target, pieces

_BOUNDS: Final = Bounds()
_SHORT: Final = named(["x"], "http")
_NAMES: Final = named(["pay.example", "pay.example:8443", "[::1]:8443"], "https")
_ROUTER: Final = Router(ENDPOINTS)


def passed_by(framing: Framing, data: bytes) -> bytes:
    """Return what of it passes, request by request."""
    framing.take(data)
    passed = b""
    while sound := framing.sound():
        passed += sound
    return passed


def heard_by_h11(data: bytes) -> tuple[int, int, bool]:
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
                return begun, ended, False  # HTTP/1.0, or close: it hears nothing any more
            response = h11.Response(status_code=200, headers=[(b"content-length", b"0")])
            connection.send(response)
            connection.send(h11.EndOfMessage())
            connection.start_next_cycle()
        elif event is h11.NEED_DATA or event is h11.PAUSED:
            return begun, ended, False


Heard = tuple[bytes, bytes, dict[str, str], bytes]
"""Method, target, headers and body of a request."""


def requests_by_h11(data: bytes) -> list[Heard]:
    """Return the requests in it that h11 sees to their ends."""
    connection = h11.Connection(h11.SERVER)
    found: list[Heard] = []
    if data:
        connection.receive_data(data)
    method, target, headers, body = b"", b"", dict[str, str](), b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            method, target, headers, body = event.method, event.target, {}, b""
            for name, value in event.headers:
                key, text = name.decode("ascii"), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            found.append((method, target, headers, body))
            if connection.their_state is not h11.DONE:
                return found
            response = h11.Response(status_code=200, headers=[(b"content-length", b"0")])
            connection.send(response)
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                return found
            connection.start_next_cycle()
        else:
            return found


def _outcome(framing: Framing) -> tuple[str | None, int, bool, bool]:
    code = None if framing.fault is None else framing.fault.problem.code
    return code, framing.heads, framing.in_head, framing.in_body


def _framing(data: bytes) -> None:
    """The first byte says in pieces of what size the rest comes a second time."""
    size, data = (data[0] or 256) if data else 1, data[1:]
    whole, cut = Framing(_BOUNDS), Framing(_BOUNDS)
    passed = passed_by(whole, data)
    again = b""
    for piece in pieces(data, size):
        again += passed_by(cut, piece)
        # What is held is at most a block that has not ended, and one chunk's line.
        assert len(cut._held) <= _BOUNDS.head_bytes + _BOUNDS.chunk_line_bytes
    assert again == passed
    assert (whole.fault is None) == (cut.fault is None)
    if whole.fault is None:
        assert _outcome(whole) == _outcome(cut)
    begun, ended, faulty = heard_by_h11(passed)
    if b"HTTP/1.0" in passed or b"close" in passed.lower():
        return  # h11 hears no second request, which is for our connection to see to as well
    assert not faulty, "h11 refuses what passes"
    assert begun == whole.heads
    assert ended == whole.heads - whole.in_body


def _express(data: bytes) -> None:
    """The first byte says in pieces of what size the rest comes."""
    size, data = (data[0] or 256) if data else 1, data[1:]
    framing = Framing(_BOUNDS)
    incoming: Incoming | None = None
    found: list[Heard] = []
    passed = b""
    lasts = True
    for piece in pieces(data, size):
        framing.take(piece)
        while lasts and (sound := framing.sound()):
            passed += sound
            try:
                if incoming is None:
                    incoming = Incoming(_SHORT, framing, sound)
                    incoming.expect(1 << 16, kept=True)
                else:
                    incoming.take(sound)
            except RequestError:
                return  # the connection ends
            assert incoming.whole is not framing.in_body
            if incoming.whole:
                line = incoming.line
                target = line.path.encode() + (b"?" + line.query if line.query else b"")
                found.append((line.method.encode(), target, incoming.headers, incoming.body))
                lasts = incoming.lasts
                incoming.end()
                incoming = None
    if any(method == b"CONNECT" for method, *_ in found):
        return  # h11 waits for another protocol; for us it is a method like any that is not known
    theirs = requests_by_h11(passed)
    assert len(theirs) == len(found)
    for (method, target, headers, body), other in zip(found, theirs, strict=True):
        if "transfer-encoding" in headers:
            headers["transfer-encoding"] = "chunked"  # h11 writes it so, however it came
        assert (method, headers, body) == (other[0], other[2], other[3])
        assert other[1].removesuffix(b"?").endswith(target) or target == b"/"


_GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_POST: Final = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\n"
_CHUNKED: Final = _POST + b"Transfer-Encoding: chunked\r\n\r\n"

FRAMING: Final = Target(
    "framing",
    _framing,
    (
        b"\0" + _GET * 3,
        b"\1" + _POST + b"Content-Length: 3\r\n\r\nabc" + _GET,
        b"\5\r\n"
        + _CHUNKED
        + b"3\r\na\nb\r\n00F;name=value\r\n0123456789abcde\r\n0\r\n\r\n"
        + _GET,
        b"\3" + _CHUNKED + b"0\r\nTrailer: value\r\n\r\n" + _GET,
        b"\7GET /a?b=c HTTP/1.0\r\nhOsT:\t x \t\r\nEmpty:\r\nX: \xe9\t\xff\r\n\r\n",
        b"\2" + _POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _GET,
        b"\4" + _POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    ),
    (
        *(b"GET ", b"POST ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"Host: x\r\n"),
        *(b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:", b"gzip"),
        *(b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b":", b";", b", ", b"+1", b"0x1"),
        *(b"0\r\n\r\n", b"ffffffff", b"1\r\na\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n"),
        *(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff", b"\x7f", b"a" * 300, b"A: b\r\n" * 101),
    ),
)

EXPRESS: Final = Target(
    "express",
    _express,
    (
        *FRAMING.sown,
        b"\1GET http://x/a?b HTTP/1.1\r\nHost: x:80\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
        b"\0CONNECT / HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\nContent-Length: 1\r\n\r\nb" + _GET,
        b"\4" + _CHUNKED + b'1;a="b";c\r\nx\r\n0;d\r\nE: f\r\n\r\n' + _GET,
        b"\0" + _GET.replace(b"Host", b"Connection: keep-alive\r\nHost") * 2,
    ),
    (*FRAMING.tokens, b"Upgrade: websocket\r\n", b"http://x", b"CONNECT ", b"PURGE ", b"SOURCE "),
)


def _address(data: bytes) -> None:
    """Lines: the target, Host."""
    target, _, host = data.partition(b"\n")
    if not target or not all(0x21 <= each <= 0x7E for each in target):
        return  # `Framing` lets no other first line through
    try:
        authority, path_and_query = _NAMES.addressed(target, host)
    except RequestError:
        authority, path_and_query = "", target
    else:
        split = urlsplit(b"//" + host.lower())
        assert authority.partition("]")[0].lstrip("[").split(":8443")[0] == (
            (split.hostname or b"").decode()
        )
    path, _, query = path_and_query.decode("ascii").partition("?")
    try:
        _, numbers = _ROUTER.find("POST", path)
    except RequestError:
        numbers = {}
    for number in numbers.values():
        assert "/" not in number
    for segment in path.split("/"):
        try:
            number = path_number(segment)
        except RequestError:
            continue
        assert number.encode() == unquote_to_bytes(segment)
    try:
        found = parameters(query.encode())
    except RequestError:
        return
    theirs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    assert list(found.items()) == theirs


ADDRESS: Final = Target(
    "address",
    _address,
    (
        b"/v1/payments/M1/O1?limit=10&cursor=AAA\npay.example",
        b"/v1/authorizations/M%311/H%C3%A91?order=time&from=2026-01-05T08%3A00%3A00Z\n[::1]:8443",
        b"https://pay.example:8443/v1/payments?a=+%2B%20b&c=\npay.example:8443",
        b"*\npay.example",
    ),
    (
        *(b"%2F", b"%00", b"%C3%A9", b"%ED%A0%80", b"%E2%80%AE", b"%", b"%zz", b"//", b"/../"),
        *(b"http://", b"https://", b"@", b"#", b"?", b"&", b"=", b";", b"+", b"[", b"]", b":443"),
        *(b"%65%CC%81", b"a=b&" * 21, b":65536", b":0443", b".", b"\xff"),
    ),
)
