"""A request on its way in: httptools reads what `gateway.listener.framing` has let through.

The framing is what both listeners share: it has found the request line, Host and the body's length
sound, which httptools, alone, takes more leniently than RFC 9112 wants a server to. httptools reads
the fields and takes chunks apart, and whatever it finds wrong beyond that ends the connection. Of a
body nothing is kept that nobody will look at, nor what is more than its limit.
"""

import re
from typing import Final

from httptools import HttpParserError, HttpRequestParser
from msgspec import Struct

from gateway.errors import RequestCode, RequestError
from gateway.listener.bounds import DISCARDED_BYTES
from gateway.listener.framing import Framing
from gateway.listener.names import Names

_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST"})
_UPGRADE: Final = re.compile(rb"^upgrade:(.*)\r\n", re.IGNORECASE | re.MULTILINE)


class Line(Struct, frozen=True):
    """What a request's first line says.

    Attributes:
        path: as it was sent, without the query and what an absolute form begins with.
    """

    method: str
    path: str
    query: bytes
    version: bytes


class Incoming:
    """One request of a connection.

    Args:
        names: those of the listener.
        framing: of the connection; it has just let this request's header block through.
        sound: what it has let through, down to the request's end at most.

    Attributes:
        line: its first line.
        headers: names in lower case; of one that came twice the values, joined by commas.
        lasts: whether the connection may go on after it.
        whole: whether it has come in to its end.
        size: bytes of its body so far.

    Raises:
        RequestError: MALFORMED_REQUEST, MISDIRECTED_REQUEST.
    """

    __slots__ = (
        "_body",
        "_in_head",
        "_kept",
        "_limit",
        "_parser",
        "headers",
        "lasts",
        "line",
        "size",
        "whole",
    )

    def __init__(self, names: Names, framing: Framing, sound: bytes) -> None:
        end = sound.index(b"\r\n")
        method, sent, version = sound[:end].split(b" ")
        _, target = names.addressed(sent, framing.host)
        path, _, query = target.partition(b"?")
        self.line = Line(method.decode("ascii"), path.decode("ascii"), query, version)
        self.headers: dict[str, str] = {}
        self.lasts = version == b"HTTP/1.1"
        self.whole = False
        self.size = 0
        self._in_head = True
        self._kept = True
        self._limit = DISCARDED_BYTES
        self._body: list[bytes] = []
        if method not in _METHODS or target is not sent:
            # httptools knows some methods, means something by one or two of them, and has views of
            # its own on what an absolute form is. Both have been read already.
            sound = b"%b / %b%b" % (method if method in _METHODS else b"PUT", version, sound[end:])
        if framing.upgrade:
            # Another protocol is let alone (RFC 9110, section 7.8); httptools would switch to it.
            head, _, body = sound.partition(b"\r\n\r\n")
            head += b"\r\n"
            for asked in _UPGRADE.findall(head):
                self.on_header(b"upgrade", asked)
            sound = _UPGRADE.sub(b"", head) + b"\r\n" + body
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self.take(sound)

    @property
    def body(self) -> bytes:
        """What was kept of its body."""
        body = self._body
        return body[0] if len(body) == 1 else b"".join(body)

    @property
    def kept_bytes(self) -> int:
        """How much of its body is kept."""
        return self.size if self._kept else 0

    @property
    def too_large(self) -> bool:
        """Whether its body is longer than it may be."""
        return self.size > self._limit

    def expect(self, bytes_max: int, *, kept: bool) -> None:
        """Hear how long its body may be, and whether anybody will look at it."""
        self._limit = bytes_max
        self._kept = kept
        self._bound()

    def take(self, sound: bytes) -> None:
        """Take what else was let through of it.

        Raises:
            RequestError: MALFORMED_REQUEST.
        """
        assert self._parser is not None
        try:
            self._parser.feed_data(sound)
        except HttpParserError as error:
            raise RequestError(RequestCode.MALFORMED_REQUEST, str(error)) from None
        if self.size:
            self._bound()

    def _bound(self) -> None:
        """Keep nothing of a body that nobody will look at."""
        if not self._kept or self.size > self._limit:
            self._kept = False
            self._body.clear()

    def end(self) -> None:
        """Take nothing any more."""
        self._parser = None  # each refers to the other; only the garbage collector would free them

    # What httptools calls:

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; what trails a body is left."""
        if not self._in_head:
            return
        headers = self.headers
        key = name.decode("ascii").lower()
        text = value.decode("latin-1").strip(" \t")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """See that the header is over."""
        self._in_head = False
        wishes = self.headers.get("connection")
        if wishes is not None and "close" in map(str.strip, wishes.lower().split(",")):
            # httptools would have asked Proxy-Connection, too, which is no field of ours.
            self.lasts = False

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self.size += len(piece)
        if self._kept:
            self._body.append(piece)

    def on_message_complete(self) -> None:
        """See that it is whole."""
        self.whole = True
